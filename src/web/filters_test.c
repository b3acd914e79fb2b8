/* What happens to the answers of others (applications, upstreams) on their way out. */
#include "core/memory.h"
#include "core/test.h"
#include "web/web_test.h"

#include <stdio.h>
#include <zlib.h>

static const char site_text[] =
    "site: www.foobar.com\n"
    "listen: { http: 8080 }\n"
    "app: { wsgi: \"a:b\", root: ROOT }\n"
    "web: { errors: { 502: ROOT/502.html } }\n"
    "routes:\n"
    "  - path: /\n"
    "    app: app\n"
    "    headers: { X-Frame-Options: DENY, Vary: Cookie, x-powered-by: nobody }\n"
    "  - { path: /plain, app: app, compress: no }\n";

enum { PIECE = 3000, PIECES = 4 };

static void header(struct http_exchange *exchange, const char *name, const char *value)
{
    CHECK(http_response_header_name(exchange, text_of(name), text_of(value)), "%s", name);
}

static void pieces_send(struct http_exchange *exchange)
{
    char piece[PIECE];
    for (int i = 0; i < PIECES; i++) {
        memset(piece, 'a' + i, sizeof(piece));
        http_response_send(exchange, text_from(piece, sizeof(piece)), i + 1 == PIECES);
    }
}

/* The path says what kind of answer an application gives. */
static void answer_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct text path = http_exchange_request(exchange)->path;
    if (text_equal(path, T("/fail"))) {
        http_reply_error(exchange, 502);
        return;
    }
    bool is_known = text_ends_with(path, T("/known"));
    http_response_start(exchange, 200, is_known ? PIECE * PIECES : -1);
    header(exchange, "Content-Type",
           text_equal(path, T("/picture")) ? "image/png" : "text/html; charset=utf-8");
    header(exchange, "X-Frame-Options", "SAMEORIGIN");
    header(exchange, "X-Powered-By", "secret 1.0");
    header(exchange, "ETag", "\"v1\"");
    if (text_equal(path, T("/cookie")))
        header(exchange, "Set-Cookie", "session=1");
    if (text_equal(path, T("/no-transform")))
        header(exchange, "Cache-Control", "no-transform");
    if (text_equal(path, T("/coded")))
        header(exchange, "Content-Encoding", "br");
    if (text_equal(path, T("/small")))
        http_response_send(exchange, T("small but of unknown length"), true);
    else
        pieces_send(exchange);
}

static struct http_handler answerer = { .name = "app", .start = answer_start };

static enum err answerer_make(const struct web_setup *setup, const struct site_route *route,
                              struct http_handler **handler_out, struct why *why)
{
    *handler_out = &answerer;
    return OK;
}

static bool start(struct bench *bench)
{
    static const struct web_maker maker = { .action = ACTION_APP, .make = answerer_make };
    if (!bench_folder(bench))
        return false;
    bench_file(bench, "502.html", T("<h1>we will be back</h1>"));
    if (bench_start(bench, site_text, &maker, 1))
        return true;
    bench_stop(bench);
    return false;
}

static struct buffer ask(struct bench *bench, const char *path, const char *coding)
{
    char request[256];
    snprintf(request, sizeof(request),
             "GET %s HTTP/1.1\r\nHost: www.foobar.com\r\nAccept-Encoding: %s\r\n\r\n", path,
             coding);
    return bench_ask(bench, request);
}

TEST(web_filter_compresses_where_it_may)
{
    static const struct {
        const char *path, *coding, *etag;
    } cases[] = {
        { "/", "gzip", "W/\"v1\"" },      { "/known", "gzip", "W/\"v1\"" },
        { "/small", "gzip", "W/\"v1\"" }, { "/picture", NULL, "\"v1\"" },
        { "/cookie", NULL, "\"v1\"" },    { "/no-transform", NULL, "\"v1\"" },
        { "/plain", NULL, "\"v1\"" },     { "/coded", "br", "\"v1\"" },
    };
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO(buffer_done) struct buffer answer = ask(&bench, cases[i].path, "gzip");
        CHECK(answer_status(&answer) == 200, "%s", cases[i].path);
        CHECK(text_equal(answer_header(&answer, "Content-Encoding"), text_of(cases[i].coding)),
              "%s", cases[i].path);
        CHECK(text_equal(answer_header(&answer, "ETag"), text_of(cases[i].etag)), "%s",
              cases[i].path);
    }
    bench_stop(&bench);
}

TEST(web_filter_keeps_the_bytes)
{
    static const char *const paths[] = { "/", "/known" };
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    for (size_t i = 0; i < COUNT(paths); i++) {
        AUTO(buffer_done) struct buffer answer = ask(&bench, paths[i], "gzip");
        struct text body = answer_body(&answer);
        char plain[PIECE * PIECES + 1];
        z_stream stream = { .next_in = (Bytef *)body.data, .avail_in = (uInt)body.len };
        stream.next_out = (Bytef *)plain;
        stream.avail_out = sizeof(plain);
        CHECK(inflateInit2(&stream, 31) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END, "%s",
              paths[i]);
        inflateEnd(&stream);
        CHECK(sizeof(plain) - stream.avail_out == PIECE * PIECES, "%s", paths[i]);
        CHECK(plain[0] == 'a' && plain[PIECE * PIECES - 1] == 'd', "%s", paths[i]);
    }
    bench_stop(&bench);
}

TEST(web_rules_of_a_route)
{
    struct bench bench;
    REQUIRE(start(&bench), "bench");
    AUTO(buffer_done) struct buffer answer = ask(&bench, "/", "identity");
    CHECK(text_equal(answer_header(&answer, "X-Frame-Options"), T("DENY")), "the file's word");
    CHECK(text_equal(answer_header(&answer, "X-Powered-By"), T("nobody")), "in any case");
    CHECK(text_find_text(buffer_text(&answer), T("secret")) < 0, "replaced, not added");
    CHECK(text_find_text(buffer_text(&answer), T("Vary: Cookie")) > 0 &&
              text_find_text(buffer_text(&answer), T("Vary: Accept-Encoding")) > 0,
          "lists are added to");
    AUTO(buffer_done) struct buffer failed = ask(&bench, "/fail", "identity");
    CHECK(answer_status(&failed) == 502, "status");
    CHECK(text_equal(answer_header(&failed, "X-Frame-Options"), T("DENY")), "on errors too");
    CHECK(text_equal(answer_header(&failed, "Cache-Control"), T("no-store")), "never kept");
    CHECK(text_equal(answer_body(&failed), T("<h1>we will be back</h1>")), "own page");
    bench_stop(&bench);
}
