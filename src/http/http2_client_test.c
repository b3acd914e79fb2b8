/*
 * The client of HTTP/2 against nghttp2's server, in memory. What the server said once is then given
 * to other clients in pieces: byte by byte, cut at each offset.
 */
#include "http/http2_client.h"

#include "core/memory.h"
#include "core/test.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>

enum { CALLS = 8, BIG = 300000 };

/* ---- the server: what it answers is chosen by the path ---- */

struct server {
    nghttp2_session *session;
    char paths[32][24];  /* by stream / 2 */
    size_t received[32]; /* bytes of bodies */
    size_t left[32];     /* of answers */
    bool has_trailers[32];
    char seen[64]; /* the last request's fields that the test looks at */
};

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                         strlen(value), NGHTTP2_NV_FLAG_NONE };
}

static ssize_t give_body(nghttp2_session *session, int32_t id, uint8_t *data, size_t most,
                         uint32_t *flags, nghttp2_data_source *source, void *argument)
{
    struct server *server = argument;
    size_t *left = &server->left[id / 2], len = *left < most ? *left : most;
    memset(data, 'b', len);
    *left -= len;
    if (*left > 0)
        return (ssize_t)len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (server->has_trailers[id / 2]) {
        nghttp2_nv fields[] = { nv("grpc-status", "0"), nv("content-length", "5") };
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, fields, 1);
    }
    return (ssize_t)len;
}

static void answer(struct server *server, int32_t id)
{
    const char *path = server->paths[id / 2];
    nghttp2_data_provider body = { .read_callback = give_body };
    nghttp2_nv fields[] = { nv(":status", "200"), nv("x-a", "b"),
                            nv("content-type", "text/plain") };
    nghttp2_nv early[] = { nv(":status", "103"), nv("link", "</a>") };
    size_t *left = &server->left[id / 2];
    *left = strcmp(path, "/big") == 0 ? BIG : 5;
    server->has_trailers[id / 2] = strcmp(path, "/trailers") == 0;
    if (strcmp(path, "/interim") == 0)
        nghttp2_submit_headers(server->session, 0, id, NULL, early, 2, NULL);
    if (strcmp(path, "/only") == 0)
        nghttp2_submit_response(server->session, id, fields, 3, NULL);
    else if (strcmp(path, "/reset") == 0)
        nghttp2_submit_rst_stream(server->session, 0, id, NGHTTP2_INTERNAL_ERROR);
    else if (strcmp(path, "/refuse") == 0)
        nghttp2_submit_rst_stream(server->session, 0, id, NGHTTP2_REFUSED_STREAM);
    else
        nghttp2_submit_response(server->session, id, fields, 3, &body);
}

static int on_server_header(nghttp2_session *session, const nghttp2_frame *frame,
                            const uint8_t *name, size_t name_len, const uint8_t *value,
                            size_t value_len, uint8_t flags, void *argument)
{
    struct server *server = argument;
    struct text key = text_from((const char *)name, name_len);
    struct text text = text_from((const char *)value, value_len);
    if (text_equal(key, T(":path")))
        text_copy_to(text, server->paths[frame->hd.stream_id / 2], sizeof(server->paths[0]));
    if (text_equal(key, T("x-end")) || text_equal(key, T(":authority")) || text_equal(key, T("te")))
        text_copy_to(text, server->seen, sizeof(server->seen));
    CHECK(!text_equal(key, T("connection")) && !text_equal(key, T("host")), "only for HTTP/1");
    return 0;
}

static int on_server_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                          size_t len, void *argument)
{
    ((struct server *)argument)->received[id / 2] += len;
    return 0;
}

static int on_server_frame(nghttp2_session *session, const nghttp2_frame *frame, void *argument)
{
    bool has_stream = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (has_stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        answer(argument, frame->hd.stream_id);
    return 0;
}

static void server_start(struct server *server, uint32_t streams)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry entry = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams };
    *server = (struct server){ 0 };
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_server_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_server_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_server_frame);
    nghttp2_session_server_new(&server->session, callbacks, server);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(server->session, 0, &entry, 1);
}

/* ---- the client's side ---- */

struct one {
    struct http2_call call;
    struct arena *arena;
    struct buffer log; /* "200 b|body...|end grpc-status=0" */
    size_t bytes;
    size_t sent;
    bool takes; /* what comes */
    bool leaves_at_head;
};

static struct one *one_of(struct http2_call *call)
{
    return list_entry(call, struct one, call);
}

static void on_head(struct http2_call *call, const struct http1_response *response)
{
    struct one *one = one_of(call);
    const struct http_header *header = http_headers_find_name(&response->headers, T("x-a"));
    buffer_print(&one->log, "%d %.*s %d|", response->status,
                 FMT(header != NULL ? header->value : T("")), (int)response->framing);
    if (one->leaves_at_head)
        http2_call_leave(call);
}

static void on_data(struct http2_call *call, struct text data)
{
    struct one *one = one_of(call);
    one->bytes += data.len;
    if (one->takes)
        http2_call_take(call, data.len);
}

static void on_ended(struct http2_call *call, const struct http_headers *trailers)
{
    struct one *one = one_of(call);
    buffer_print(&one->log, "%zu|end", one->bytes);
    for (size_t i = 0; i < trailers->count; i++)
        buffer_print(&one->log, " %.*s=%.*s", FMT(trailers->items[i].name),
                     FMT(trailers->items[i].value));
    http2_call_leave(call);
}

static void on_lost(struct http2_call *call, enum http2_loss loss, const char *reason)
{
    buffer_print(&one_of(call)->log, "%s", loss == HTTP2_REFUSED ? "refused" : "reset");
    CHECK(reason != NULL && reason[0] != '\0', "why");
}

static void on_sent(struct http2_call *call)
{
    one_of(call)->sent++;
}

static const struct http2_client_events events = { on_head, on_data, on_ended, on_lost, on_sent };

static void one_ask(struct one *one, struct http2_client *client, const char *path, bool has_body)
{
    AUTO(buffer_done) struct buffer head = buffer_of(4096);
    *one = (struct one){ .log = buffer_of(4096), .arena = arena_new(1 << 20, 0), .takes = true };
    buffer_print(&head,
                 "%s %s HTTP/1.1\r\nHost: www.foobar.com\r\nTE: trailers\r\nConnection: TE\r\n"
                 "X-A: b\r\n\r\n",
                 has_body ? "POST" : "GET", path);
    CHECK(http2_call_ask(&one->call, client, one->arena, has_body ? HTTP_POST : HTTP_GET, T("http"),
                         buffer_text(&head), has_body),
          "ask");
}

static void one_done(struct one *one)
{
    http2_call_leave(&one->call);
    buffer_done(&one->log);
    arena_free(one->arena);
}

static bool log_is(const struct one *one, const char *want)
{
    return text_equal(buffer_text(&one->log), text_of(want));
}

/* Until nobody has anything to say. What the server says goes to *said, too. */
static bool talk(struct http2_client *client, struct server *server, struct buffer *said)
{
    AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
    for (int i = 0; i < 1000; i++) {
        const uint8_t *data;
        buffer_clear(&out);
        if (!http2_client_write(client, &out, 65536))
            return false;
        bool is_quiet = out.len == 0;
        (void)!nghttp2_session_mem_recv(server->session, (const uint8_t *)out.data, out.len);
        ssize_t len;
        while ((len = nghttp2_session_mem_send(server->session, &data)) > 0) {
            struct text text = text_from((const char *)data, (size_t)len);
            is_quiet = false;
            if (said != NULL)
                buffer_append(said, text);
            if (!http2_client_receive(client, text))
                return false;
        }
        if (is_quiet)
            return true;
    }
    return false;
}

static const struct {
    const char *path, *want;
} cases[] = {
    { "/hello", "200 b 3|5|end" }, { "/trailers", "200 b 3|5|end grpc-status=0" },
    { "/only", "200 b 0|0|end" },  { "/interim", "200 b 3|5|end" },
    { "/reset", "reset" },         { "/refuse", "refused" },
};

static void ask_all(struct http2_client *client, struct one ones[COUNT(cases)])
{
    for (size_t i = 0; i < COUNT(cases); i++)
        one_ask(&ones[i], client, cases[i].path, false);
}

TEST(http2_client_hears_answers_in_any_pieces)
{
    struct server server;
    struct one ones[COUNT(cases)];
    struct buffer said = buffer_of(1 << 20);
    server_start(&server, 100);
    struct http2_client *client = http2_client_new(&events);
    ask_all(client, ones);
    CHECK(talk(client, &server, &said), "the connection lives");
    CHECK(strcmp(server.seen, "trailers") == 0, "the last header: %s", server.seen);
    for (size_t i = 0; i < COUNT(cases); i++) {
        CHECK(log_is(&ones[i], cases[i].want), "%s: %.*s", cases[i].path,
              FMT(buffer_text(&ones[i].log)));
        one_done(&ones[i]);
    }
    http2_client_free(client);
    for (size_t cut = 1; cut <= said.len; cut++) { /* 1: byte by byte; else: two pieces */
        AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
        struct text rest = buffer_text(&said);
        client = http2_client_new(&events);
        ask_all(client, ones);
        bool is_good = http2_client_write(client, &out, 65536);
        while (rest.len > 0 && is_good) {
            struct text piece = text_part(rest, 0, cut);
            is_good = http2_client_receive(client, piece);
            rest = text_skip(rest, piece.len);
        }
        for (size_t i = 0; i < COUNT(cases); i++) {
            CHECK(log_is(&ones[i], cases[i].want), "%s in pieces of %zu: %.*s", cases[i].path, cut,
                  FMT(buffer_text(&ones[i].log)));
            one_done(&ones[i]);
        }
        http2_client_free(client);
    }
    nghttp2_session_del(server.session);
    buffer_done(&said);
}

TEST(http2_client_sends_bodies_and_trailers)
{
    struct server server;
    struct one one;
    struct buffer body = buffer_of(BIG);
    struct http_headers trailers = { 0 };
    server_start(&server, 100);
    struct http2_client *client = http2_client_new(&events);
    memset(buffer_reserve(&body, BIG), 'x', BIG);
    body.len = BIG;
    one_ask(&one, client, "/hello", true);
    CHECK(http_headers_add(&trailers, one.arena, FIELD_OTHER, T("X-End"), T("here")), "trailer");
    CHECK(talk(client, &server, NULL) && one.log.len == 0, "it waits for the body");
    CHECK(http2_call_send(&one.call, T("first"), false, NULL) && one.sent == 0, "a piece");
    CHECK(talk(client, &server, NULL) && one.sent == 1, "told when it is gone");
    CHECK(server.received[0] == 5, "%zu", server.received[0]);
    CHECK(http2_call_send(&one.call, buffer_text(&body), true, &trailers), "the rest");
    CHECK(talk(client, &server, NULL) && one.sent == 1, "not for the last");
    CHECK(server.received[0] == 5 + BIG, "%zu arrived", server.received[0]);
    CHECK(strcmp(server.seen, "here") == 0, "and the trailer: %s", server.seen);
    CHECK(log_is(&one, "200 b 3|5|end"), "%.*s", FMT(buffer_text(&one.log)));
    one_done(&one);
    http2_client_free(client);
    nghttp2_session_del(server.session);
    buffer_done(&body);
}

TEST(http2_client_holds_up_who_pauses_and_nobody_else)
{
    struct server server;
    struct one slow, quick[3];
    server_start(&server, 100);
    struct http2_client *client = http2_client_new(&events);
    one_ask(&slow, client, "/big", false);
    slow.takes = false;
    CHECK(talk(client, &server, NULL) && slow.bytes == 128 * 1024, "%zu came", slow.bytes);
    for (size_t i = 0; i < COUNT(quick); i++) {
        one_ask(&quick[i], client, "/big", false);
        CHECK(talk(client, &server, NULL) && log_is(&quick[i], "200 b 3|300000|end"), "%.*s",
              FMT(buffer_text(&quick[i].log)));
        one_done(&quick[i]);
    }
    slow.takes = true;
    http2_call_take(&slow.call, slow.bytes);
    CHECK(talk(client, &server, NULL) && log_is(&slow, "200 b 3|300000|end"), "goes on");
    one_done(&slow);
    http2_client_free(client);
    nghttp2_session_del(server.session);
}

TEST(http2_client_lets_calls_leave)
{
    struct server server;
    struct one one, other;
    server_start(&server, 1);
    struct http2_client *client = http2_client_new(&events);
    CHECK(http2_client_most(client) == 100, "before it is known: %zu", http2_client_most(client));
    one_ask(&one, client, "/big", false);
    one.leaves_at_head = true; /* from inside its own event */
    CHECK(talk(client, &server, NULL) && one.bytes == 0, "%zu came", one.bytes);
    CHECK(http2_client_most(client) == 1, "as the server said");
    one_ask(&other, client, "/hello", true); /* before its head went out */
    http2_call_leave(&other.call);
    one_done(&other);
    one_ask(&other, client, "/hello", true); /* in the middle of its body */
    CHECK(http2_call_send(&other.call, T("abc"), false, NULL), "a piece");
    CHECK(talk(client, &server, NULL), "on its way");
    http2_call_leave(&other.call);
    CHECK(talk(client, &server, NULL) && other.log.len == 0, "no event any more");
    one_done(&other);
    one_done(&one);
    one_ask(&one, client, "/hello", false);
    CHECK(talk(client, &server, NULL) && log_is(&one, "200 b 3|5|end"), "the next is served");
    one_done(&one);
    http2_client_free(client);
    nghttp2_session_del(server.session);
}

TEST(http2_client_goes_when_the_server_does)
{
    struct server server;
    struct one one, late;
    server_start(&server, 100);
    struct http2_client *client = http2_client_new(&events);
    one_ask(&one, client, "/hello", true);
    CHECK(talk(client, &server, NULL), "on its way");
    one_ask(&late, client, "/hello", false);
    nghttp2_submit_goaway(server.session, 0, one.call.id, NGHTTP2_NO_ERROR, NULL, 0);
    CHECK(talk(client, &server, NULL), "there is one to wait for");
    CHECK(http2_client_most(client) == 0, "no more of them");
    CHECK(log_is(&late, "refused"), "the server did nothing with it: %.*s",
          FMT(buffer_text(&late.log)));
    CHECK(http2_call_send(&one.call, T(""), true, NULL), "the end of its body");
    CHECK(!talk(client, &server, NULL), "then the connection is over");
    CHECK(log_is(&one, "200 b 3|5|end"), "%.*s", FMT(buffer_text(&one.log)));
    one_done(&one);
    one_done(&late);
    http2_client_free(client);
    nghttp2_session_del(server.session);
}

TEST(http2_client_refuses_what_is_no_http2)
{
    static const char *const others[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    };
    for (size_t i = 0; i < COUNT(others); i++) {
        AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
        struct http2_client *client = http2_client_new(&events);
        struct one one;
        one_ask(&one, client, "/hello", false);
        CHECK(http2_client_write(client, &out, 65536), "the preface");
        CHECK(text_starts_with(buffer_text(&out), T("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), "first");
        bool is_good = http2_client_receive(client, text_of(others[i]));
        CHECK(!is_good || !http2_client_write(client, &out, 65536), "%s", others[i]);
        CHECK(one.log.len == 0, "whoever owns the connection tells its calls");
        one_done(&one);
        http2_client_free(client);
    }
}
