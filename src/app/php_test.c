/* Where paths lead below a folder of documents, what a request becomes, and the permits that edge
 * processes share. */
#include "app/php_private.h"

#include "core/sys.h"
#include "core/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- places ---- */

static const char *const made[] = { "index.php",       "a.php",          "style.css",
                                    "page.phtml",      "x.PHP",          ".htaccess",
                                    "sub/index.php",   "doc/index.html", "empty/a.txt",
                                    ".well-known/acme" };

static void make_tree(const char *root)
{
    static const char *const folders[] = { "sub", "doc", "empty", ".well-known", "dir.php" };
    char path[256];
    for (size_t i = 0; i < COUNT(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, folders[i]);
        CHECK(mkdir(path, 0755) == 0, "%s", path);
    }
    for (size_t i = 0; i < COUNT(made); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, made[i]);
        AUTO(fd_close) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        CHECK(fd >= 0, "%s", path);
    }
    snprintf(path, sizeof(path), "%s/leak.php", root);
    CHECK(symlink("/etc/hostname", path) == 0, "a link that leads out");
    snprintf(path, sizeof(path), "%s/link.php", root);
    CHECK(symlink("a.php", path) == 0, "a link that stays inside");
}

static void remove_tree(const char *root)
{
    char path[256];
    static const char *const rest[] = { "leak.php", "link.php",    "sub",     "doc",
                                        "empty",    ".well-known", "dir.php", "" };
    for (size_t i = 0; i < COUNT(made) + COUNT(rest); i++) {
        snprintf(path, sizeof(path), "%s/%s", root,
                 i < COUNT(made) ? made[i] : rest[i - COUNT(made)]);
        remove(path);
    }
}

TEST(php_place_finds_scripts_and_hides_sources)
{
    static const struct {
        const char *path;
        enum php_place_kind kind;
        const char *script, *path_info;
    } cases[] = {
        { "/", PLACE_SCRIPT, "/index.php", "" },
        { "/a.php", PLACE_SCRIPT, "/a.php", "" },
        { "/a.php/b/c.php", PLACE_SCRIPT, "/a.php", "/b/c.php" },
        { "/a.php/", PLACE_SCRIPT, "/a.php", "/" },
        { "/link.php", PLACE_SCRIPT, "/link.php", "" },
        { "/leak.php", PLACE_SCRIPT, "/index.php", "" },
        { "/b.php", PLACE_SCRIPT, "/index.php", "" },
        { "/style.css", PLACE_FILE, "", "" },
        { "/style.css/", PLACE_SCRIPT, "/index.php", "" },
        { "/style.css/a.php", PLACE_SCRIPT, "/index.php", "" },
        { "/page.phtml", PLACE_NONE, "", "" },
        { "/x.PHP", PLACE_NONE, "", "" },
        { "/.htaccess", PLACE_NONE, "", "" },
        { "/sub/.git/config", PLACE_NONE, "", "" },
        { "/.well-known/acme", PLACE_FILE, "", "" },
        { "/sub", PLACE_FOLDER, "", "" },
        { "/sub/", PLACE_SCRIPT, "/sub/index.php", "" },
        { "/doc", PLACE_FOLDER, "", "" },
        { "/doc/", PLACE_FILE, "", "" },
        { "/empty/", PLACE_SCRIPT, "/index.php", "" },
        { "/empty", PLACE_SCRIPT, "/index.php", "" },
        { "/dir.php", PLACE_SCRIPT, "/index.php", "" },
        { "/dir.php/x", PLACE_SCRIPT, "/index.php", "" },
        { "*", PLACE_NONE, "", "" },
    };
    char root[] = "/tmp/trilith-php-XXXXXX";
    REQUIRE(mkdtemp(root) != NULL, "a folder");
    make_tree(root);
    AUTO(fd_close) int documents = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct arena *arena = arena_new(1 << 20, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct php_place place =
            php_place_find(documents, text_of(cases[i].path), T("index.php"), arena);
        CHECK(place.kind == cases[i].kind, "%s: %d", cases[i].path, place.kind);
        CHECK(place.kind != PLACE_SCRIPT || text_equal(place.script, text_of(cases[i].script)),
              "%s: %.*s", cases[i].path, FMT(place.script));
        CHECK(text_equal(place.path_info, text_of(cases[i].path_info)), "%s: %.*s", cases[i].path,
              FMT(place.path_info));
    }
    struct php_place none = php_place_find(documents, T("/nothing"), T("other.php"), arena);
    CHECK(none.kind == PLACE_NONE, "no front script");
    arena_free(arena);
    remove_tree(root);
    CHECK(access(root, F_OK) != 0, "nothing is left");
}

/* ---- parameters ---- */

static struct text value_of(struct text records, const char *name)
{
    struct text content = text_part(text_skip(records, 8), 0, records.len - 16);
    while (content.len > 2) {
        size_t lens[2];
        for (int i = 0; i < 2; i++) {
            const uint8_t *at = (const uint8_t *)content.data;
            bool is_long = at[0] >= 128;
            lens[i] = is_long ? (size_t)(at[0] & 127) << 24 | (size_t)at[1] << 16 |
                                    (size_t)at[2] << 8 | at[3]
                              : at[0];
            content = text_skip(content, is_long ? 4 : 1);
        }
        struct text found = text_part(content, 0, lens[0]);
        struct text value = text_part(content, lens[0], lens[1]);
        if (text_equal(found, text_of(name)))
            return value;
        content = text_skip(content, lens[0] + lens[1]);
    }
    return (struct text){ NULL, 0 };
}

TEST(php_params_say_what_was_asked)
{
    struct http_header headers[] = {
        { T("Host"), T("blog.test:8080"), FIELD_HOST },
        { T("Cookie"), T("a=1"), FIELD_COOKIE },
        { T("X-Two"), T("1"), FIELD_OTHER },
        { T("cookie"), T("b=2"), FIELD_COOKIE },
        { T("x-two"), T("2"), FIELD_OTHER },
        { T("Proxy"), T("http://evil"), FIELD_PROXY },
        { T("X_Forged"), T("no"), FIELD_OTHER },
        { T("Content-Type"), T("text/plain"), FIELD_CONTENT_TYPE },
    };
    struct http_request request = {
        .method = HTTP_POST,
        .method_text = T("POST"),
        .target = T("http://blog.test:8080/x/a.php/b?c"),
        .raw_path = T("/x/a.php/b"),
        .path = T("/x/a.php/b"),
        .query = T("c"),
        .has_query = true,
        .host = T("blog.test"),
        .authority = T("blog.test:8080"),
        .scheme = T("https"),
        .minor_version = 1,
        .headers = { headers, COUNT(headers), COUNT(headers) },
    };
    struct php_script script = { .documents = T("/srv/public"),
                                 .mount = T("/x"),
                                 .place = { PLACE_SCRIPT, T("/a.php"), T("/b") } };
    static const struct {
        const char *name, *value;
    } wanted[] = {
        { "REQUEST_METHOD", "POST" },
        { "REQUEST_URI", "/x/a.php/b?c" },
        { "QUERY_STRING", "c" },
        { "SCRIPT_NAME", "/x/a.php" },
        { "SCRIPT_FILENAME", "/srv/public/a.php" },
        { "DOCUMENT_ROOT", "/srv/public" },
        { "PATH_INFO", "/b" },
        { "PATH_TRANSLATED", "/srv/public/b" },
        { "HTTP_HOST", "blog.test:8080" },
        { "SERVER_NAME", "blog.test" },
        { "SERVER_PORT", "8080" },
        { "HTTPS", "on" },
        { "HTTP_COOKIE", "a=1; b=2" },
        { "HTTP_X_TWO", "1, 2" },
        { "CONTENT_TYPE", "text/plain" },
        { "CONTENT_LENGTH", "5" },
        { "REDIRECT_STATUS", "200" },
    };
    static const char *const absent[] = { "HTTP_PROXY", "HTTP_X_FORGED", "HTTP_CONTENT_TYPE" };
    AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
    struct arena *arena = arena_new(1 << 20, 0);
    CHECK(php_params_write(&out, &request, &script, 5, arena) == OK, "it fits");
    for (size_t i = 0; i < COUNT(wanted); i++) {
        struct text value = value_of(buffer_text(&out), wanted[i].name);
        CHECK(text_equal(value, text_of(wanted[i].value)), "%s: %.*s", wanted[i].name, FMT(value));
    }
    for (size_t i = 0; i < COUNT(absent); i++)
        CHECK(value_of(buffer_text(&out), absent[i]).data == NULL, "%s", absent[i]);
    out.limit = 100;
    buffer_done(&out);
    CHECK(php_params_write(&out, &request, &script, 5, arena) == ERR_LIMIT, "too long");
    arena_free(arena);
}

/* ---- permits ---- */

TEST(php_share_gives_each_permit_once)
{
    struct php_share *share;
    struct why why;
    int fd = -1;
    REQUIRE(php_share_create(&fd, &why) == OK, "%s", why.text);
    REQUIRE(php_share_map(fd, &share, &why) == OK, "%s", why.text);
    int a = php_share_take(share, 2, 0), b = php_share_take(share, 2, 1);
    CHECK(a >= 0 && b >= 0 && a != b, "two");
    CHECK(php_share_take(share, 2, 0) < 0 && !php_share_is_free(share, 2), "no third");
    php_share_leave(share, a);
    CHECK(php_share_take(share, 2, 1) == a, "given back");
    CHECK(php_share_elder(share, 0, 0) < 0 && php_share_keeper(share, 0) < 0, "nobody else");
    atomic_store(&share->edges[1].waiting_us, 500);
    atomic_store(&share->edges[2].waiting_us, 400);
    atomic_store(&share->edges[2].idle, 1);
    atomic_store(&share->edges[1].waiting, 3);
    atomic_store(&share->edges[2].waiting, 4);
    CHECK(php_share_waiting(share) == 7, "in all of them");
    CHECK(php_share_elder(share, 0, 0) == 2, "the one that waits longest");
    CHECK(php_share_elder(share, 0, 450) == 2 && php_share_elder(share, 0, 400) < 0, "than me");
    CHECK(php_share_elder(share, 2, 0) == 1, "never oneself");
    CHECK(php_share_keeper(share, 0) == 2 && php_share_keeper(share, 2) < 0, "idle ones");
    php_share_start(share, 1);
    CHECK(php_share_take(share, 2, 0) >= 0 && php_share_take(share, 2, 0) >= 0,
          "a crashed edge gives all back");
    php_share_unmap(share);
    fd_close(&fd);
}
