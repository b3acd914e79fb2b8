/* Media types. */
#include "web/mime.h"
#include "core/test.h"

TEST(web_mime_type_by_extension)
{
    static const struct {
        const char *name, *type;
    } cases[] = {
        { "index.html", "text/html; charset=utf-8" },
        { "A/B/STYLE.CSS", "text/css; charset=utf-8" },
        { "x.3gp", "video/3gpp" },
        { "x.zst", "application/zstd" },
        { "app.min.js", "text/javascript; charset=utf-8" },
        { "font.woff2", "font/woff2" },
        { "README", "application/octet-stream" },
        { "dir.html/README", "application/octet-stream" },
        { "name.", "application/octet-stream" },
        { "x.averyveryverylongextension", "application/octet-stream" },
        { "", "application/octet-stream" },
        { "pic.svg", "image/svg+xml" },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(text_equal(web_mime_type(text_of(cases[i].name)), text_of(cases[i].type)), "%s",
              cases[i].name);
}

TEST(web_mime_knows_what_shrinks)
{
    static const struct {
        const char *type;
        bool want;
    } cases[] = {
        { "text/html; charset=utf-8", true },
        { "TEXT/PLAIN", true },
        { "application/json", true },
        { "application/problem+json ;x=y", true },
        { "image/svg+xml", true },
        { "application/wasm", true },
        { "image/png", false },
        { "text/event-stream", false },
        { "text/event-stream; charset=utf-8", false },
        { "font/woff2", false },
        { "", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(web_mime_is_compressible(text_of(cases[i].type)) == cases[i].want, "%s",
              cases[i].type);
}

TEST(web_mime_table_is_sorted)
{
    /* every extension is found, which fails when the table is not in order */
    static const char *const some[] = { "7z",  "asc", "conf", "epub", "h",   "jar", "key", "md",
                                        "oga", "ppt", "rss",  "toml", "vcf", "xz",  "yml" };
    for (size_t i = 0; i < COUNT(some); i++) {
        char name[32] = "x.";
        CHECK(text_copy_to(text_of(some[i]), name + 2, sizeof(name) - 2), "fits");
        bool is_known = !text_equal(web_mime_type(text_of(name)), T("application/octet-stream"));
        CHECK(is_known || text_equal(text_of(some[i]), T("key")), "%s", some[i]);
    }
}
