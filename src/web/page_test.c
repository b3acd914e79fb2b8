/* The built-in error page and the folder listing. */
#include "web/page.h"
#include "core/sys.h"
#include "core/test.h"
#include "web/listing.h"

#include <stdio.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has(const struct buffer *page, struct text part)
{
    return text_find_text(buffer_text(page), part) >= 0;
}

TEST(web_page_says_what_happened)
{
    AUTO(buffer_done) struct buffer page = buffer_of(16384);
    web_page_write(&page, 404, "abc<123", false);
    CHECK(has(&page, T("<title>404 Not Found</title>")), "title");
    CHECK(has(&page, T("abc&lt;123")), "id, escaped");
    buffer_clear(&page);
    web_page_write(&page, 503, "\"id", true);
    json_t *json = json_loadb(page.data, page.len, 0, NULL);
    CHECK(json_integer_value(json_object_get(json, "status")) == 503, "JSON");
    json_decref(json);
}

TEST(web_page_json_only_for_who_asks)
{
    static const struct {
        const char *accept;
        bool want;
    } cases[] = {
        { "application/json", true },
        { "application/json, text/plain, */*", true },
        { "text/html,application/json;q=0.9", false },
        { "*/*", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_header item = { T("Accept"), text_of(cases[i].accept), FIELD_OTHER };
        struct http_headers headers = { &item, 1, 1 };
        CHECK(web_page_wants_json(&headers) == cases[i].want, "%s", cases[i].accept);
    }
}

static const char *const names[] = { "b.txt", "a <b>&\".txt", ".hidden", "javascript:alert(1)" };

static void listing_check(const char *folder)
{
    AUTO(fd_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(buffer_done) struct buffer page = buffer_of(1 << 20);
    REQUIRE(web_listing_write(&page, fd, T("/files/<x>/"), false), "written");
    CHECK(has(&page, T("<h1>/files/&lt;x&gt;/</h1>")), "title is escaped");
    CHECK(has(&page, T("href=\"./a%20%3Cb%3E%26%22.txt\">a &lt;b&gt;&amp;&quot;.txt</a>")),
          "name is escaped: %.*s", FMT(buffer_text(&page)));
    CHECK(has(&page, T("href=\"./javascript%3Aalert%281%29\"")), "no scheme");
    CHECK(!has(&page, T(".hidden")), "hidden files stay so");
    CHECK(!has(&page, T("linked")), "links too");
    CHECK(has(&page, T("<td>12.3 KB</td>")), "size");
    CHECK(has(&page, T("href=\"../\"")), "way up");
    ssize_t sub = text_find_text(buffer_text(&page), T("\"./sub/\""));
    ssize_t first = text_find_text(buffer_text(&page), T("\"./a%20"));
    ssize_t second = text_find_text(buffer_text(&page), T("\"./b.txt\""));
    CHECK(sub > 0 && sub < first && first < second, "folders first, then by name");
}

TEST(web_listing_shows_a_folder)
{
    char folder[] = "/tmp/trilith-list-XXXXXX", path[256], content[12345] = "";
    struct why why;
    REQUIRE(mkdtemp(folder) != NULL, "mkdtemp");
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        CHECK(sys_replace_file(path, text_from(content, sizeof(content)), 0644, (uid_t)-1,
                               (gid_t)-1, &why) == OK,
              "%s", path);
    }
    snprintf(path, sizeof(path), "%s/sub", folder);
    CHECK(mkdir(path, 0755) == 0, "mkdir");
    snprintf(path, sizeof(path), "%s/linked", folder);
    CHECK(symlink("b.txt", path) == 0, "symlink");
    listing_check(folder);
    CHECK(unlink(path) == 0, "unlink");
    snprintf(path, sizeof(path), "%s/sub", folder);
    CHECK(rmdir(path) == 0, "rmdir");
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        CHECK(unlink(path) == 0, "%s", path);
    }
    CHECK(rmdir(folder) == 0, "rmdir");
}
