/* Static files, redirects, fixed answers and errors over a real HTTP server. */
#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "web/web_test.h"

#include <stdio.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const char site_text[] =
    "site: www.foobar.com\n"
    "listen: { http: 8080 }\n"
    "web:\n"
    "  static:\n"
    "    /static/: { folder: ROOT/files, cache: 1h }\n"
    "    /list: { folder: ROOT/files, listing: yes, index: none.html }\n"
    "    /links: { folder: ROOT/files, symlinks: yes }\n"
    "    /: { folder: ROOT/files, headers: { X-Frame-Options: DENY } }\n"
    "  errors: { 404: ROOT/404.html }\n"
    "routes:\n"
    "  - { path: /old, redirect: /static/ }\n"
    "  - { path: /gone, respond: \"gone for good\", status: 410 }\n"
    "  - { path: /post, method: POST, respond: \"posted\" }\n";

enum { LARGE_LEN = 200000 };

static void files_make(struct bench *bench)
{
    char *large = memory_new(LARGE_LEN);
    for (size_t i = 0; i < LARGE_LEN; i++)
        large[i] = (char)('a' + i % 26);
    bench_file(bench, "files/index.html", T("<h1>home</h1>"));
    bench_file(bench, "files/sub/index.html", T("<h1>sub</h1>"));
    bench_file(bench, "files/empty/file", T(""));
    bench_file(bench, "files/text.txt", T("0123456789"));
    bench_file(bench, "files/long.txt", text_from(large, 5000));
    bench_file(bench, "files/large.bin", text_from(large, LARGE_LEN));
    bench_file(bench, "files/large.txt", text_from(large, LARGE_LEN));
    bench_file(bench, "files/app.js", text_from(large, 1000));
    bench_file(bench, "files/app.js.br", T("br bytes"));
    bench_file(bench, "files/app.js.gz", T("gz bytes"));
    bench_file(bench, "files/.secret", T("secret"));
    bench_file(bench, "files/.well-known/x.txt", T("known"));
    bench_file(bench, "404.html", T("<h1>my own 404</h1>"));
    bench_file(bench, "outside.txt", T("outside"));
    char path[200];
    snprintf(path, sizeof(path), "%s/files/inside", bench->folder);
    CHECK(symlink("text.txt", path) == 0, "symlink");
    snprintf(path, sizeof(path), "%s/files/escape", bench->folder);
    CHECK(symlink("../outside.txt", path) == 0, "symlink");
    memory_free(large);
}

static bool start(struct bench *bench)
{
    if (!bench_folder(bench))
        return false;
    files_make(bench);
    if (bench_start(bench, site_text, NULL, 0))
        return true;
    bench_stop(bench);
    return false;
}

struct expected {
    const char *request; /* first line without version, then headers */
    int status;
    const char *header, *value; /* value NULL: header must be absent */
    const char *body;           /* NULL: any */
};

static void expect(struct bench *bench, const struct expected *want)
{
    char request[2048];
    struct text rest = text_of(want->request);
    struct text line = text_next(&rest, '\n');
    snprintf(request, sizeof(request), "%.*s HTTP/1.1\r\nHost: www.foobar.com\r\n%.*s%s\r\n",
             FMT(line), FMT(rest), rest.len > 0 ? "\r\n" : "");
    AUTO(buffer_done) struct buffer answer = bench_ask(bench, request);
    CHECK(answer_status(&answer) == want->status, "%s: %.*s", want->request,
          FMT(text_part(buffer_text(&answer), 0, 400)));
    if (want->header != NULL) {
        struct text got = answer_header(&answer, want->header);
        CHECK(text_equal(got, text_of(want->value)), "%s: %s is '%.*s'", want->request,
              want->header, FMT(got));
    }
    if (want->body != NULL) {
        struct text body = answer_body(&answer);
        CHECK(text_equal(body, text_of(want->body)), "%s: body '%.*s'", want->request,
              FMT(text_part(body, 0, 200)));
    }
}

TEST(web_static_answers)
{
    static const struct expected cases[] = {
        { "GET /", 200, "Content-Type", "text/html; charset=utf-8", "<h1>home</h1>" },
        { "GET /", 200, "X-Frame-Options", "DENY", NULL },
        { "HEAD /", 200, "Content-Length", "13", "" },
        { "GET /static", 301, "Location", "/static/", "" },
        { "GET /sub?a=b", 301, "Location", "/sub/?a=b", "" },
        { "GET /sub/", 200, NULL, NULL, "<h1>sub</h1>" },
        { "GET /static/text.txt", 200, "Cache-Control", "public, max-age=3600", "0123456789" },
        { "GET /text.txt", 200, "Cache-Control", NULL, "0123456789" },
        { "GET /text.txt/", 404, NULL, NULL, "<h1>my own 404</h1>" },
        { "GET /text.txt/x", 404, NULL, NULL, NULL },
        { "GET /missing", 404, "X-Frame-Options", "DENY", "<h1>my own 404</h1>" },
        { "GET /static/missing", 404, "Cache-Control", "no-store", NULL },
        { "GET /.secret", 404, NULL, NULL, NULL },
        { "GET /%2esecret", 404, NULL, NULL, NULL },
        { "GET /.well-known/x.txt", 200, NULL, NULL, "known" },
        { "GET /sub%2findex.html", 404, NULL, NULL, NULL },
        { "GET /sub/..%2f..%2foutside.txt", 400, NULL, NULL, NULL },
        { "GET /../../outside.txt", 400, NULL, NULL, NULL },
        { "GET /inside", 404, NULL, NULL, NULL },
        { "GET /links/inside", 200, NULL, NULL, "0123456789" },
        { "GET /links/escape", 404, NULL, NULL, NULL },
        { "GET /empty/", 404, NULL, NULL, NULL },
        { "GET /empty/file", 200, "Content-Length", "0", "" },
        { "DELETE /text.txt", 405, "Allow", "GET, HEAD, OPTIONS", NULL },
        { "OPTIONS /text.txt", 204, "Allow", "GET, HEAD, OPTIONS", "" },
        { "GET /list/empty/", 200, "Content-Type", "text/html; charset=utf-8", NULL },
        { "GET /old/text.txt?q", 302, "Location", "/static/text.txt?q", "" },
        { "GET /gone/x", 410, "Content-Type", "text/plain; charset=utf-8", "gone for good" },
        { "POST /post\nContent-Length: 0", 200, NULL, NULL, "posted" },
    };
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    for (size_t i = 0; i < COUNT(cases); i++)
        expect(&bench, &cases[i]);
    bench_stop(&bench);
}

TEST(web_static_ranges)
{
    static const struct expected cases[] = {
        { "GET /text.txt\nRange: bytes=2-4", 206, "Content-Range", "bytes 2-4/10", "234" },
        { "GET /text.txt\nRange: bytes=-3", 206, "Content-Length", "3", "789" },
        { "GET /text.txt\nRange: bytes=20-", 416, "Content-Range", "bytes */10", "" },
        { "GET /text.txt\nRange: lines=1", 200, NULL, NULL, "0123456789" },
        { "HEAD /text.txt\nRange: bytes=2-4", 200, "Content-Length", "10", "" },
        { "GET /large.bin\nRange: bytes=100000-100002", 206, "Content-Range",
          "bytes 100000-100002/200000", "efg" },
        { "GET /text.txt\nRange: bytes=2-4\r\nIf-Range: \"x\"", 200, NULL, NULL, "0123456789" },
        { "GET /empty/file\nRange: bytes=0-", 416, "Content-Range", "bytes */0", "" },
    };
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    for (size_t i = 0; i < COUNT(cases); i++)
        expect(&bench, &cases[i]);
    AUTO(buffer_done)
    struct buffer answer = bench_ask(&bench, "GET /large.bin HTTP/1.1\r\nHost: a\r\n"
                                             "Range: bytes=0-3,100000-100003\r\n\r\n");
    CHECK(answer_status(&answer) == 206, "two parts");
    CHECK(text_starts_with(answer_header(&answer, "Content-Type"),
                           T("multipart/byteranges; boundary=")),
          "type");
    struct text body = answer_body(&answer);
    CHECK(text_find_text(body, T("Content-Range: bytes 0-3/200000\r\n\r\nabcd\r\n--")) > 0, "%.*s",
          FMT(body));
    CHECK(text_find_text(body, T("Content-Range: bytes 100000-100003/200000\r\n\r\nefgh\r\n--")) >
              0,
          "%.*s", FMT(body));
    uint64_t length = 0;
    CHECK(text_to_uint(answer_header(&answer, "Content-Length"), 1 << 20, &length) &&
              length == body.len,
          "length");
    bench_stop(&bench);
}

/* The request again with a header that quotes one of the first answer. */
static int ask_again(struct bench *bench, const char *path, const char *from, const char *to,
                     const char *extra)
{
    char request[1024];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", path, extra);
    AUTO(buffer_done) struct buffer first = bench_ask(bench, request);
    struct text value = answer_header(&first, from);
    CHECK(value.len > 0, "%s has %s", path, from);
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n%s%s: %.*s\r\n\r\n", path,
             extra, to, FMT(value));
    AUTO(buffer_done) struct buffer second = bench_ask(bench, request);
    CHECK(answer_status(&second) != 304 ||
              (answer_body(&second).len == 0 && text_equal(answer_header(&second, from), value)),
          "304 repeats the validator and has no body");
    return answer_status(&second);
}

TEST(web_static_conditions)
{
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    CHECK(ask_again(&bench, "/text.txt", "ETag", "If-None-Match", "") == 304, "tag");
    CHECK(ask_again(&bench, "/text.txt", "Last-Modified", "If-Modified-Since", "") == 304, "date");
    CHECK(ask_again(&bench, "/text.txt", "ETag", "If-Match", "") == 200, "match");
    static const char *const codings[] = { "Accept-Encoding: gzip\r\n", "Accept-Encoding: br\r\n",
                                           "Accept-Encoding: zstd\r\n" };
    static const char *const paths[] = { "/text.txt", "/long.txt", "/large.txt", "/app.js" };
    for (size_t i = 0; i < COUNT(codings); i++)
        for (size_t j = 0; j < COUNT(paths); j++)
            CHECK(ask_again(&bench, paths[j], "ETag", "If-None-Match", codings[i]) == 304, "%s %s",
                  paths[j], codings[i]);
    static const struct expected failed = { "GET /text.txt\nIf-Match: \"x\"", 412, NULL, NULL,
                                            NULL };
    expect(&bench, &failed);
    bench_stop(&bench);
}

static size_t gunzip(struct text in, char *out, size_t size)
{
    z_stream stream = { .next_in = (Bytef *)in.data, .avail_in = (uInt)in.len };
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)size;
    if (inflateInit2(&stream, 31) != Z_OK)
        return 0;
    int result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return result == Z_STREAM_END ? size - stream.avail_out : 0;
}

static void gzip_check(struct bench *bench, const char *path, size_t want, bool has_length)
{
    char request[256];
    snprintf(request, sizeof(request),
             "GET %s HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n", path);
    AUTO(buffer_done) struct buffer answer = bench_ask(bench, request);
    AUTO(memory_drop) char *plain = memory_new(LARGE_LEN + 1);
    CHECK(answer_status(&answer) == 200, "%s", path);
    CHECK(text_equal(answer_header(&answer, "Content-Encoding"), T("gzip")), "%s", path);
    CHECK(text_equal(answer_header(&answer, "Vary"), T("Accept-Encoding")), "%s", path);
    CHECK(text_starts_with(answer_header(&answer, "ETag"), T("W/\"")), "%s", path);
    CHECK((answer_header(&answer, "Content-Length").len > 0) == has_length, "%s", path);
    CHECK(gunzip(answer_body(&answer), plain, LARGE_LEN + 1) == want, "%s", path);
}

TEST(web_static_codings)
{
    static const struct expected cases[] = {
        { "GET /app.js\nAccept-Encoding: gzip, br", 200, "Content-Encoding", "br", "br bytes" },
        { "GET /app.js\nAccept-Encoding: gzip", 200, "Content-Encoding", "gzip", "gz bytes" },
        { "GET /app.js\nAccept-Encoding: gzip", 200, "Content-Type",
          "text/javascript; charset=utf-8", NULL },
        { "GET /app.js\nAccept-Encoding: gzip", 200, "Accept-Ranges", "bytes", NULL },
        { "GET /app.js\nAccept-Encoding: gzip\r\nRange: bytes=0-1", 206, "Content-Encoding", "gzip",
          "gz" },
        { "GET /app.js", 200, "Vary", "Accept-Encoding", NULL },
        { "GET /app.js", 200, "Content-Encoding", NULL, NULL },
        { "GET /app.js.gz", 200, "Content-Encoding", NULL, "gz bytes" },
        { "GET /text.txt\nAccept-Encoding: gzip", 200, "Content-Encoding", NULL, "0123456789" },
        { "GET /large.bin\nAccept-Encoding: gzip", 200, "Content-Encoding", NULL, NULL },
        { "GET /large.bin\nAccept-Encoding: gzip", 200, "Vary", NULL, NULL },
        { "GET /long.txt\nAccept-Encoding: gzip\r\nRange: bytes=0-1", 206, "Content-Encoding", NULL,
          "ab" },
        { "HEAD /long.txt\nAccept-Encoding: gzip", 200, "Content-Encoding", "gzip", "" },
        { "HEAD /large.txt\nAccept-Encoding: gzip", 200, "Content-Encoding", "gzip", "" },
    };
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    for (size_t i = 0; i < COUNT(cases); i++)
        expect(&bench, &cases[i]);
    gzip_check(&bench, "/long.txt", 5000, true);
    gzip_check(&bench, "/large.txt", LARGE_LEN, false);
    bench_stop(&bench);
}

TEST(web_static_large_file_is_whole)
{
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    AUTO(buffer_done)
    struct buffer answer = bench_ask(&bench, "GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    struct text body = answer_body(&answer);
    CHECK(body.len == LARGE_LEN, "%zu bytes", body.len);
    for (size_t i = 0; i < body.len; i += 997)
        CHECK(body.data[i] == (char)('a' + i % 26), "byte %zu", i);
    bench_stop(&bench);
}

TEST(web_static_folder_made_again)
{
    static const struct expected before = { "GET /static/text.txt", 200, NULL, NULL, "0123456789" };
    static const struct expected after = { "GET /static/text.txt", 200, NULL, NULL, "new" };
    struct bench bench;
    char from[200];
    REQUIRE(start(&bench), "bench");
    expect(&bench, &before);
    snprintf(from, sizeof(from), "%s/files", bench.folder);
    bench_remove(from);
    bench_file(&bench, "files/text.txt", T("new"));
    clock_sleep_ms(210); /* longer than LOOK_MS */
    expect(&bench, &after);
    bench_stop(&bench);
}

/* The answer without its Date. */
static void without_date(struct buffer *answer)
{
    ssize_t start = text_find_text(buffer_text(answer), T("\r\nDate: "));
    if (!CHECK(start >= 0, "Date"))
        return;
    size_t from = (size_t)start + 2;
    ssize_t end = text_find(text_skip(buffer_text(answer), from), '\n');
    size_t len = (size_t)end + 1;
    memmove(answer->data + from, answer->data + from + len, answer->len - from - len);
    answer->len -= len;
}

/* Header lines in another order are the same answer. */
static bool same_answer(const struct buffer *first, const struct buffer *again)
{
    struct text rest = buffer_text(first);
    if (first->len != again->len)
        return false;
    while (rest.len > 0)
        if (text_find_text(buffer_text(again), text_next(&rest, '\n')) < 0)
            return false;
    return true;
}

TEST(web_static_kept_answers_are_the_same)
{
    static const char *const requests[] = {
        "GET /static/text.txt HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "GET /text.txt HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "HEAD /text.txt HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "GET /text.txt HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "GET /gone HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "GET /empty/file HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "GET /long.txt HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "GET /long.txt HTTP/1.1\r\nHost: www.foobar.com\r\nAccept-Encoding: gzip\r\n\r\n",
        "GET /app.js HTTP/1.1\r\nHost: www.foobar.com\r\nAccept-Encoding: br\r\n\r\n",
        "GET /long.txt HTTP/1.1\r\nHost: www.foobar.com\r\nRange: bytes=1-4999\r\n\r\n",
        "GET /static/text.txt HTTP/1.1\r\nHost: www.foobar.com\r\nIf-None-Match: *\r\n\r\n",
        "GET /text.txt HTTP/1.1\r\nHost: www.foobar.com\r\nIf-None-Match: *\r\n\r\n",
    };
    struct bench bench;
    if (!start(&bench))
        return;
    for (size_t i = 0; i < COUNT(requests); i++) {
        AUTO(buffer_done) struct buffer first = bench_ask(&bench, requests[i]);
        without_date(&first);
        for (int round = 0; round < 2; round++) {
            AUTO(buffer_done) struct buffer again = bench_ask(&bench, requests[i]);
            without_date(&again);
            CHECK(same_answer(&first, &again), "%s: %.*s, then %.*s", requests[i],
                  FMT(buffer_text(&first)), FMT(buffer_text(&again)));
        }
    }
    bench_file(&bench, "files/text.txt", T("changed"));
    AUTO(buffer_done) struct buffer changed = bench_ask(&bench, requests[1]);
    CHECK(text_equal(answer_body(&changed), T("changed")), "the file was changed");
    CHECK(text_equal(answer_header(&changed, "Content-Length"), T("7")), "its length too");
    bench_stop(&bench);
}
