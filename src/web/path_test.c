/* Paths: prefixes, hidden files, and that nothing outside the folder can be opened. */
#include "web/path.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(web_path_prefix_is_whole_segments)
{
    static const struct {
        const char *path, *prefix;
        bool want;
        const char *rest;
    } cases[] = {
        { "/a", "/a", true, "" },      { "/a/", "/a", true, "" },   { "/a/b", "/a", true, "b" },
        { "/a/b", "/a/", true, "b" },  { "/a", "/a/", true, "" },   { "/ab", "/a", false, NULL },
        { "/ab", "/a/", false, NULL }, { "/", "/", true, "" },      { "/x/y/", "/", true, "x/y/" },
        { "/a//b", "/a", true, "b" },  { "/A", "/a", false, NULL }, { "*", "/", false, NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text path = text_of(cases[i].path), prefix = text_of(cases[i].prefix);
        CHECK(web_path_has_prefix(path, prefix) == cases[i].want, "%s in %s", cases[i].path,
              cases[i].prefix);
        if (cases[i].want)
            CHECK(text_equal(web_path_rest(path, prefix), text_of(cases[i].rest)), "%s",
                  cases[i].path);
    }
}

TEST(web_path_hides_dot_files)
{
    static const struct {
        const char *rest;
        bool is_root, want;
    } cases[] = {
        { "", true, true },
        { "a/b.css", true, true },
        { ".git/config", true, false },
        { "a/.env", true, false },
        { "../x", true, false },
        { "a/../x", true, false },
        { "./a", true, false },
        { ".well-known/acme", true, true },
        { ".well-known/acme", false, false },
        { ".well-known/.git", true, false },
        { "a/.well-known/x", true, false },
        { ".well-knownx", true, false },
        { "a..b/c.", true, true },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(web_path_is_public(text_of(cases[i].rest), cases[i].is_root) == cases[i].want, "%s",
              cases[i].rest);
    CHECK(!web_path_is_public(text_from("a\0b", 3), true), "NUL");
}

static void file_make(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    struct why why;
    CHECK(sys_replace_file(path, T("x"), 0644, (uid_t)-1, (gid_t)-1, &why) == OK, "%s", path);
}

static void link_make(const char *target, const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    CHECK(symlink(target, path) == 0, "%s", path);
}

static void tree_remove(const char *folder, const char *const *names, size_t count)
{
    char path[256];
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        CHECK(remove(path) == 0, "%s", path);
    }
    CHECK(rmdir(folder) == 0, "%s", folder);
}

TEST(web_path_open_stays_inside)
{
    char folder[] = "/tmp/trilith-path-XXXXXX";
    REQUIRE(mkdtemp(folder) != NULL, "mkdtemp");
    char sub[256];
    snprintf(sub, sizeof(sub), "%s/sub", folder);
    REQUIRE(mkdir(sub, 0755) == 0, "mkdir");
    file_make(folder, "file");
    file_make(folder, "sub/deep");
    link_make("file", folder, "inside");
    link_make("../file", folder, "sub/up");
    link_make("/etc/passwd", folder, "absolute");
    link_make("../../etc/passwd", folder, "sub/escape");
    link_make("/proc/self/fd/0", folder, "magic");
    static const struct {
        const char *path;
        bool plain, followed;
    } cases[] = {
        { "file", true, true },
        { "sub/deep", true, true },
        { "sub//deep", true, true },
        { "inside", false, true },
        { "sub/up", false, true },
        { "absolute", false, false },
        { "sub/escape", false, false },
        { "magic", false, false },
        { "../etc/passwd", false, false },
        { "/etc/passwd", false, false },
        { "sub/../../etc/passwd", false, false },
        { "missing", false, false },
        { "file/", false, false },
        { "file/x", false, false },
    };
    AUTO(fd_close) int root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO(fd_close) int plain = web_path_open(root, cases[i].path, false, 0);
        AUTO(fd_close) int followed = web_path_open(root, cases[i].path, true, 0);
        CHECK((plain >= 0) == cases[i].plain, "plain %s", cases[i].path);
        CHECK((followed >= 0) == cases[i].followed, "followed %s", cases[i].path);
    }
    static const char *const names[] = { "sub/up", "sub/escape", "sub/deep", "sub",
                                         "inside", "absolute",   "magic",    "file" };
    tree_remove(folder, names, COUNT(names));
}

TEST(web_path_encodes_and_escapes)
{
    AUTO(buffer_done) struct buffer out = buffer_of(4096);
    web_path_encode(&out, T("/a b/%2F?#\"\\\r\n\xc3\xa9~"));
    CHECK(text_equal(buffer_text(&out), T("/a%20b/%252F%3F%23%22%5C%0D%0A%C3%A9~")), "%.*s",
          FMT(buffer_text(&out)));
    buffer_clear(&out);
    web_html_escape(&out, T("<a href=\"x\">&'"));
    CHECK(text_equal(buffer_text(&out), T("&lt;a href=&quot;x&quot;&gt;&amp;&#39;")), "%.*s",
          FMT(buffer_text(&out)));
}
