/* HTTP/2 over real connections, with nghttp2 as the client. */
#include "http/http2_fixture.h"

#include "core/clock.h"
#include "core/memory.h"
#include "http/http2_private.h"

#include <sys/socket.h>

#define START(window)                                                                              \
    struct fixture fixture;                                                                        \
    struct client2 *client = NEW(struct client2);                                                  \
    REQUIRE(fixture_start(&fixture, backend), "start");                                            \
    REQUIRE(client2_open(client, &fixture, window), "open")

#define STOP()                                                                                     \
    client2_close(client);                                                                         \
    memory_free(client);                                                                           \
    fixture_stop(&fixture)

TEST_BOTH(http2_answers)
{
    START(0);
    for (int i = 0; i < 3; i++) {
        int32_t id = client2_ask(client, "GET", "/hello", -1, NULL);
        struct answer *answer = client2_answer(client, id);
        CHECK(client2_wait(client, id) == 200, "status %d", answer->status);
        CHECK(strcmp(answer->start, "hello") == 0 && answer->is_whole, "body");
        CHECK(strcmp(answer->length, "5") == 0, "length");
        CHECK(strcmp(answer->server, "Trilith") == 0, "server");
    }
    REQUIRE(fixture_wait(&fixture, &fixture.records, 3), "records");
    CHECK(fixture.last.status == 200 && fixture.last.body_sent_bytes == 5 &&
              fixture.last.sent_bytes > 14 && fixture.last.received_bytes > 9,
          "record: sent %d, received %d", (int)fixture.last.sent_bytes,
          (int)fixture.last.received_bytes);
    CHECK(strlen(fixture.last_id) == 32, "id");
    int32_t head = client2_ask(client, "HEAD", "/hello", -1, NULL);
    CHECK(client2_wait(client, head) == 200, "HEAD");
    CHECK(client2_answer(client, head)->bytes == 0 &&
              strcmp(client2_answer(client, head)->length, "5") == 0,
          "HEAD has a length and no body");
    CHECK(client2_wait(client, client2_ask(client, "GET", "/nowhere", -1, NULL)) == 404, "404");
    CHECK(client2_wait(client, client2_ask(client, "GET", "/injection", -1, NULL)) == 200, "none");
    STOP();
}

TEST_BOTH(http2_answers_side_by_side)
{
    START(0);
    int32_t ids[60];
    for (size_t i = 0; i < COUNT(ids); i++)
        ids[i] = client2_ask(client, "GET", i % 3 == 0 ? "/later" : "/hello", -1, NULL);
    CHECK(client2_wait(client, ids[1]) == 200, "a quick one");
    for (size_t i = 0; i < COUNT(ids); i++)
        client2_wait(client, ids[i]);
    for (size_t i = 0; i + 1 < COUNT(ids); i += 3)
        CHECK(client2_answer(client, ids[i])->order > client2_answer(client, ids[i + 1])->order,
              "a slow one does not hold up the next");
    for (size_t i = 0; i < COUNT(ids); i++) {
        CHECK(strcmp(client2_answer(client, ids[i])->start, i % 3 == 0 ? "later" : "hello") == 0,
              "answer %zu", i);
    }
    CHECK(fixture_wait(&fixture, &fixture.records, COUNT(ids)), "records");
    STOP();
}

TEST_BOTH(http2_bodies)
{
    static const struct {
        const char *path;
        ssize_t bytes;
        const char *length;
        int status;
        size_t back;
    } cases[] = {
        { "/echo", 0, NULL, 200, 0 },
        { "/echo", 5, NULL, 200, 5 },
        { "/echo", 5, "5", 200, 5 },
        { "/echo", 900000, NULL, 200, 900000 },
        { "/echo", 900000, "900000", 200, 900000 },
        { "/collect", 500, "500", 200, 0 },
        { "/collect", 300000, NULL, 200, 0 },
        { "/collect", 1 << 21, "2097152", 413, 0 },
        { "/collect", 1 << 21, NULL, 413, 0 },
        { "/unread", 500000, "500000", 200, 5 },
    };
    START(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        int32_t id = client2_ask(client, "POST", cases[i].path, cases[i].bytes, cases[i].length);
        int status = client2_wait(client, id);
        const struct answer *answer = client2_answer(client, id);
        CHECK(status == cases[i].status && answer->is_whole, "%s %d: %d", cases[i].path,
              (int)cases[i].bytes, status);
        CHECK(cases[i].back == 0 || answer->bytes == cases[i].back, "%s: %zu of %zu came back",
              cases[i].path, answer->bytes, cases[i].back);
        CHECK(!answer->is_reset || answer->code == NGHTTP2_NO_ERROR, "%s: reset with %u",
              cases[i].path, answer->code);
    }
    CHECK(!client->has_goaway, "the connection lives on");
    STOP();
}

TEST_BOTH(http2_trailers)
{
    START(0);
    client->trailer = "here";
    for (ssize_t bytes = 0; bytes <= 900000; bytes += 300000) {
        int32_t id = client2_ask(client, "POST", "/echo", bytes, NULL);
        const struct answer *answer = client2_answer(client, id);
        CHECK(client2_wait(client, id) == 200 && answer->is_whole && !answer->is_reset, "%d",
              (int)bytes);
        CHECK(answer->bytes == (size_t)bytes && strcmp(answer->trailer, "here") == 0,
              "%zu bytes, trailer '%s'", answer->bytes, answer->trailer);
    }
    client->trailer = NULL;
    int32_t id = client2_ask(client, "POST", "/echo", 5, NULL);
    CHECK(client2_wait(client, id) == 200 && client2_answer(client, id)->trailer[0] == '\0',
          "none without");
    STOP();
}

TEST_BOTH(http2_large_answers)
{
    static const struct {
        const char *path;
        size_t bytes;
    } cases[] = {
        { "/big", 4 << 20 }, { "/file", 100000 },       { "/part", 16 },
        { "/filter", 10 },   { "/filter-big", 200000 }, { "/filter-file", 14 },
    };
    START(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        int32_t id = client2_ask(client, "GET", cases[i].path, -1, NULL);
        CHECK(client2_wait(client, id) == 200, "%s", cases[i].path);
        CHECK(client2_answer(client, id)->bytes == cases[i].bytes, "%s: %zu bytes", cases[i].path,
              client2_answer(client, id)->bytes);
    }
    CHECK(fixture.full_at <= 256 * 1024 + 10000, "at most %d waited", (int)fixture.full_at);
    int32_t ids[40];
    for (size_t i = 0; i < COUNT(ids); i++)
        ids[i] = client2_ask(client, "GET", "/big", -1, NULL);
    for (size_t i = 0; i < COUNT(ids); i++)
        CHECK(client2_wait(client, ids[i]) == 200 &&
                  client2_answer(client, ids[i])->bytes == 4 << 20,
              "big %zu", i);
    STOP();
}

TEST_BOTH(http2_windows_hold_answers)
{
    START(1000);
    int32_t big = client2_ask(client, "GET", "/big", -1, NULL);
    for (int i = 0; i < 50; i++)
        client2_turn(client);
    CHECK(client2_answer(client, big)->bytes == 1000, "%zu bytes in a window of 1000",
          client2_answer(client, big)->bytes);
    int64_t first = fixture.full_at;
    CHECK(first > 0 && first <= 256 * 1024 + 10000, "the handler stopped at %d", (int)first);
    CHECK(client2_wait(client, client2_ask(client, "GET", "/hello", -1, NULL)) == 200,
          "another stream has its own window");
    nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, big, NGHTTP2_CANCEL);
    client2_turn(client);
    CHECK(fixture_wait(&fixture, &fixture.aborted, 1), "its handler is told");
    STOP();
}

/* All that is ready in one piece. */
static void send_together(struct client2 *client)
{
    AUTO(buffer_done) struct buffer all = buffer_of(1 << 20);
    const uint8_t *data;
    ssize_t len;
    while ((len = nghttp2_session_mem_send(client->session, &data)) > 0)
        buffer_append(&all, text_from((const char *)data, (size_t)len));
    client_send(&client->wire, buffer_text(&all));
}

/* RFC 9218: the most urgent first; of the same urgency one after the other, or in turn. */
TEST_BOTH(http2_serves_by_priority)
{
    static const struct {
        const char *first, *second;
        bool is_second_first;
    } cases[] = {
        { "u=3", "u=3", false }, { "u=7", "u=0", true },
        { "u=1", "u=2", false }, { "u=9, x", "i=?0, u=2;a=b", true },
        { "i", "u=3", true },    { "i", "i", false },
    };
    START(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        int32_t ids[2];
        for (size_t k = 0; k < 2; k++) {
            const char *const fields[][2] = {
                { ":method", "GET" },
                { ":scheme", "http" },
                { ":authority", "a" },
                { ":path", "/file" },
                { "priority", k == 0 ? cases[i].first : cases[i].second },
            };
            ids[k] = client2_ask_fields(client, fields, COUNT(fields), false);
        }
        send_together(client);
        CHECK(client2_wait(client, ids[0]) == 200 && client2_wait(client, ids[1]) == 200,
              "case %zu", i);
        bool is_second_first =
            client2_answer(client, ids[1])->order < client2_answer(client, ids[0])->order;
        CHECK(is_second_first == cases[i].is_second_first, "'%s' and '%s'", cases[i].first,
              cases[i].second);
    }
    STOP();
}

TEST_BOTH(http2_broken_answers_are_reset)
{
    static const struct {
        const char *path;
        bool is_reset;
        const char *failure;
    } cases[] = {
        { "/break", true, "answer broken off" },
        { "/short", true, "answer shorter than announced" },
        { "/long", false, "answer longer than announced" },
        { "/hello", false, "" },
    };
    START(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        int32_t id = client2_ask(client, "GET", cases[i].path, -1, NULL);
        client2_wait(client, id);
        const struct answer *answer = client2_answer(client, id);
        CHECK(answer->is_reset == cases[i].is_reset, "%s: reset", cases[i].path);
        CHECK(!answer->is_reset || answer->code == NGHTTP2_INTERNAL_ERROR, "%s: code %u",
              cases[i].path, answer->code);
        CHECK(fixture_wait(&fixture, &fixture.records, (int)i + 1), "record");
        CHECK(strcmp(fixture.last_failure, cases[i].failure) == 0, "%s: '%s'", cases[i].path,
              fixture.last_failure);
    }
    STOP();
}

TEST_BOTH(http2_refuses_what_http1_refuses)
{
    static const char long_path[] = { '/', [1 ... 250] = 'x', '\0' };
    static const char long_value[] = { [0 ... 1100] = 'x', '\0' };
    static const struct {
        const char *what;
        const char *fields[6][2];
        size_t count;
        int status;    /* 0: reset */
        uint32_t code; /* of the reset */
    } cases[] = {
#define F(...) { { ":method", "GET" }, { ":scheme", "http" }, __VA_ARGS__ }
        { "fine", F({ ":path", "/hello" }, { ":authority", "a" }), 4, 200, 0 },
        { "long target", F({ ":path", long_path }, { ":authority", "a" }), 4, 414, 0 },
        { "large head", F({ ":path", "/" }, { ":authority", "a" }, { "x", long_value }), 5, 431,
          0 },
        { "other Host", F({ ":path", "/" }, { ":authority", "a" }, { "host", "b" }), 5, 400, 0 },
        { "blank in the path", F({ ":path", "/ HTTP/1.1" }, { ":authority", "a" }), 4, 0,
          NGHTTP2_PROTOCOL_ERROR },
        { "no path", F({ ":authority", "a" }), 3, 0, NGHTTP2_PROTOCOL_ERROR },
        { "line end", F({ ":path", "/" }, { ":authority", "a" }, { "x", "a\r\nb: c" }), 5, 0,
          NGHTTP2_PROTOCOL_ERROR },
        { "connection", F({ ":path", "/" }, { ":authority", "a" }, { "connection", "close" }), 5, 0,
          NGHTTP2_PROTOCOL_ERROR },
        { "chunked", F({ ":path", "/" }, { ":authority", "a" }, { "transfer-encoding", "chunked" }),
          5, 0, NGHTTP2_PROTOCOL_ERROR },
#undef F
    };
    START(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        int32_t id = client2_ask_fields(client, cases[i].fields, cases[i].count, false);
        int status = client2_wait(client, id);
        const struct answer *answer = client2_answer(client, id);
        CHECK(status == cases[i].status, "%s: %d", cases[i].what, status);
        CHECK(cases[i].status != 0 || (answer->is_reset && answer->code == cases[i].code),
              "%s: reset with %u", cases[i].what, answer->code);
        fixture_turn(&fixture, 2);
    }
    CHECK(fixture.started == 1, "one reached the handler, not %d", fixture.started);
    CHECK(fixture.records == COUNT(cases), "all are logged: %d", fixture.records);
    STOP();
}

TEST_BOTH(http2_tunnels_a_websocket)
{
    static const char *const fields[][2] = { { ":method", "CONNECT" },
                                             { ":protocol", "websocket" },
                                             { ":scheme", "http" },
                                             { ":authority", "a" },
                                             { ":path", "/tunnel" } };
    START(0);
    client2_turn(client); /* the server's settings allow it */
    client2_turn(client);
    client->upload_left = 20;
    int32_t id = client2_ask_fields(client, fields, COUNT(fields), true);
    CHECK(client2_wait(client, id) == 200, "status %d", client2_answer(client, id)->status);
    CHECK(client2_answer(client, id)->bytes == 20 && client2_answer(client, id)->is_whole,
          "%zu bytes came back", client2_answer(client, id)->bytes);
    STOP();
}

TEST_BOTH(http2_limits_streams)
{
    START(0);
    client2_turn(client);
    client2_turn(client);
    CHECK(nghttp2_session_get_remote_settings(client->session,
                                              NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) == 128,
          "announced");
    for (int i = 0; i < 140; i++)
        client2_ask(client, "GET", "/hold", -1, NULL);
    for (int i = 0; i < 20; i++)
        client2_turn(client);
    CHECK(fixture.started == 128, "%d at a time", fixture.started);
    client2_close(client);
    CHECK(fixture_wait(&fixture, &fixture.aborted, 128), "all are told: %d", fixture.aborted);
    CHECK(fixture_wait(&fixture, &fixture.records, 128), "and logged");
    memory_free(client);
    fixture_stop(&fixture);
}

/* ---- abuse ---- */

static bool is_calmed(struct client2 *client)
{
    return client2_is_ended(client) && client->has_goaway &&
           client->goaway_code == NGHTTP2_ENHANCE_YOUR_CALM;
}

TEST_BOTH(http2_calms_rapid_resets)
{
    START(0);
    for (int i = 0; i < 300 && !client->wire.is_closed; i++) {
        int32_t id = client2_ask(client, "GET", "/hold", -1, NULL);
        client2_turn(client);
        nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
        client2_turn(client);
    }
    CHECK(is_calmed(client), "after %d requests", fixture.started);
    CHECK(fixture.started >= 200 && fixture.aborted == fixture.started, "%d started, %d aborted",
          fixture.started, fixture.aborted);
    STOP();
}

TEST_BOTH(http2_lets_clients_reset_what_they_got)
{
    START(0);
    for (int i = 0; i < 400; i++) { /* as one that looks around and now and then changes its mind */
        int32_t id = client2_ask(client, "GET", "/hold", -1, NULL);
        int32_t good = client2_ask(client, "GET", "/hello", -1, NULL);
        client2_wait(client, good);
        nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
        client2_turn(client);
    }
    CHECK(!client->has_goaway && !client->wire.is_closed, "still here");
    STOP();
}

TEST_BOTH(http2_calms_floods)
{
    static const struct {
        const char *what;
        uint8_t frame[17];
        size_t len;
    } floods[] = {
        { "ping", { 0, 0, 8, 6, 0, 0, 0, 0, 0 }, 17 },
        { "settings", { 0, 0, 0, 4, 0, 0, 0, 0, 0 }, 9 },
        { "window", { 0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 13 },
        { "empty data", { 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 9 },
    };
    for (size_t flood = 0; flood < COUNT(floods); flood++) {
        START(0);
        client->is_upload_held = true;
        int32_t id = client2_ask(client, "POST", "/hold", 1, NULL);
        client2_turn(client);
        for (int i = 0; i < 1200 && !client->wire.is_closed; i++) {
            const char *frame = (const char *)floods[flood].frame;
            client_send(&client->wire, text_from(frame, floods[flood].len));
            if (i % 50 == 0)
                client2_turn(client);
        }
        /* so many acknowledgements are too much for the client */
        bool is_settings = floods[flood].frame[3] == NGHTTP2_SETTINGS;
        CHECK(is_settings ? client2_is_ended(client) : is_calmed(client), "%s", floods[flood].what);
        CHECK(client2_answer(client, id)->status == 0, "%s: no answer", floods[flood].what);
        STOP();
    }
}

/* A body in crumbs: each byte is let through alone. */
TEST_BOTH(http2_calms_small_windows)
{
    START(1);
    int32_t id = client2_ask(client, "GET", "/big", -1, NULL);
    for (int i = 0; i < 1500 && !client->wire.is_closed; i++) {
        nghttp2_submit_window_update(client->session, NGHTTP2_FLAG_NONE, id, 1);
        client2_turn(client);
    }
    CHECK(is_calmed(client), "after %zu bytes", client2_answer(client, id)->bytes);
    STOP();
}

static void send_raw(struct client2 *client, uint8_t type, uint8_t flags, uint8_t stream,
                     struct text payload)
{
    char head[9] = { (char)(payload.len >> 16),
                     (char)(payload.len >> 8),
                     (char)payload.len,
                     (char)type,
                     (char)flags,
                     0,
                     0,
                     0,
                     (char)stream };
    client_send(&client->wire, text_from(head, sizeof(head)));
    client_send(&client->wire, payload);
}

TEST_BOTH(http2_ends_continuation_floods)
{
    START(0);
    client2_turn(client);
    send_raw(client, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, T("\x82\x86\x84"));
    for (int i = 0; i < 1000 && !client->wire.is_closed; i++)
        send_raw(client, NGHTTP2_CONTINUATION, 0, 1, T("\x40\x01x\x01y"));
    CHECK(client2_is_ended(client), "closed");
    CHECK(fixture.started == 0, "no handler");
    STOP();
}

/* One long field in the table of HPACK, named a thousand times by a byte each. */
TEST_BOTH(http2_survives_an_hpack_bomb)
{
    START(0);
    client2_turn(client);
    struct buffer bomb = buffer_of(1 << 16);
    char value[3500];
    memset(value, 'x', sizeof(value));
    buffer_append(&bomb, T("\x82\x86\x84\x41\x01"
                           "a\x40\x01z\x7f\xad\x1a"));
    buffer_append(&bomb, text_from(value, sizeof(value)));
    for (int i = 0; i < 12000; i++)
        buffer_append_byte(&bomb, 0xbe);
    send_raw(client, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1,
             buffer_text(&bomb));
    buffer_done(&bomb);
    for (int i = 0; i < 20; i++)
        client2_turn(client);
    CHECK(fixture.started == 0, "no handler");
    CHECK(fixture_wait(&fixture, &fixture.records, 1) && fixture.last.status == 431, "status %d",
          fixture.last.status);
    STOP();
}

/* ---- deadlines ---- */

TEST_BOTH(http2_deadlines)
{
    START(1000);
    CHECK(client2_wait(client, client2_ask(client, "GET", "/hello", -1, NULL)) == 200, "open");
    fixture_set_times(&fixture, 100);
    fixture.config.limits.idle_ms = 10000;
    int32_t big = client2_ask(client, "GET", "/big", -1, NULL);
    CHECK(client2_wait(client, big) == 200, "status");
    CHECK(client2_answer(client, big)->is_reset &&
              client2_answer(client, big)->code == NGHTTP2_CANCEL,
          "a window that stays shut");
    CHECK(fixture_wait(&fixture, &fixture.records, 2) &&
              strcmp(fixture.last_failure, "send timeout") == 0,
          "failure %s", fixture.last_failure);
    client->is_upload_held = true;
    int32_t slow = client2_ask(client, "POST", "/collect", 100, "100");
    CHECK(client2_wait(client, slow) == 408, "a body that stops: %d",
          client2_answer(client, slow)->status);
    CHECK(!client->has_goaway && !client->wire.is_closed, "the connection is good");
    STOP();
}

TEST_BOTH(http2_ends_what_is_idle)
{
    START(0);
    int32_t id = client2_ask(client, "GET", "/later", -1, NULL);
    CHECK(client2_wait(client, id) == 200, "answered");
    fixture.config.limits.idle_ms = 50;
    nghttp2_submit_ping(client->session, NGHTTP2_FLAG_NONE, NULL); /* no sign of use */
    CHECK(client2_is_ended(client) && client->has_goaway && client->goaway_code == NGHTTP2_NO_ERROR,
          "told and closed");
    STOP();
}

TEST_BOTH(http2_heads_have_their_time)
{
    static const char *const cases[] = { "preface", "half a head" };
    for (size_t i = 0; i < COUNT(cases); i++) {
        START(0);
        fixture_set_times(&fixture, 100);
        fixture.config.limits.idle_ms = 10000;
        int64_t started_ms = clock_now_ms();
        if (i == 0)
            client_send(&client->wire, T("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        else
            client2_turn(client);
        if (i == 1)
            send_raw(client, NGHTTP2_HEADERS, 0, 1, T("\x82\x86\x84"));
        while (!client->wire.is_closed && clock_now_ms() < started_ms + 5000) {
            client_pull(&client->wire);
            fixture_turn(&fixture, 1);
        }
        CHECK(client->wire.is_closed, "%s: closed", cases[i]);
        STOP();
    }
}

TEST_BOTH(http2_lives_on_after_a_malformed_head)
{
    static const char *const fields[][2] = { { ":method", "GET" }, { ":scheme", "http" } };
    START(0);
    CHECK(client2_wait(client, client2_ask(client, "GET", "/hello", -1, NULL)) == 200, "open");
    fixture_set_times(&fixture, 60);
    fixture.config.limits.idle_ms = 10000;
    int32_t held = client2_ask(client, "GET", "/hold", -1, NULL);
    int32_t bad = client2_ask_fields(client, fields, COUNT(fields), false);
    client2_wait(client, bad);
    CHECK(client2_answer(client, bad)->is_reset, "reset");
    int64_t until_ms = clock_now_ms() + 200;
    while (clock_now_ms() < until_ms)
        client2_turn(client);
    http_reply(fixture.held, 200, T("text/plain"), T("late"));
    CHECK(client2_wait(client, held) == 200 && !client->has_goaway, "the other is answered");
    STOP();
}

TEST_BOTH(http2_drains)
{
    START(0);
    int32_t id = client2_ask(client, "GET", "/hold", -1, NULL);
    client2_turn(client);
    REQUIRE(fixture_wait(&fixture, &fixture.started, 1), "held");
    const uint8_t *data;
    int32_t late = client2_ask(client, "GET", "/hello", -1, NULL);
    ssize_t len = nghttp2_session_mem_send(client->session, &data);
    CHECK(len > 0 && send(client->wire.fd, data, (size_t)len, 0) == len, "sent");
    http_server_drain(fixture.server, NULL, NULL);
    CHECK(client2_wait(client, late) == 200, "one that was on its way is answered");
    int64_t until_ms = clock_now_ms() + 5000;
    while (nghttp2_session_check_request_allowed(client->session) && clock_now_ms() < until_ms) {
        client2_turn(client);
        fixture_turn(&fixture, 1);
    }
    CHECK(client->has_goaway && client->goaway_code == NGHTTP2_NO_ERROR, "told");
    http_reply(fixture.held, 200, T("text/plain"), T("done"));
    CHECK(client2_wait(client, id) == 200, "the last one is answered");
    CHECK(client2_is_ended(client), "closed");
    STOP();
}

TEST_BOTH(http2_takes_trickled_bytes)
{
    for (size_t piece = 1; piece < 30; piece += 7) {
        START(0);
        const uint8_t *data;
        ssize_t len;
        client2_ask(client, "POST", "/echo", 10, NULL);
        while ((len = nghttp2_session_mem_send(client->session, &data)) > 0)
            client_trickle(&client->wire, text_from((const char *)data, (size_t)len), piece);
        CHECK(client2_wait(client, 1) == 200 && client2_answer(client, 1)->bytes == 10,
              "in pieces of %zu", piece);
        STOP();
    }
}

TEST(http2_calm_counts)
{
    struct http2_calm calm;
    int spent = 0;
    http2_calm_init(&calm, 1000);
    while (http2_calm_spend(&calm, HTTP2_COST_CONTROL, 1000))
        spent++;
    CHECK(spent == 1000, "%d at once", spent);
    for (spent = 0; http2_calm_spend(&calm, HTTP2_COST_CONTROL, 2000); spent++)
        continue;
    CHECK(spent >= 98 && spent <= 100, "%d in a second", spent);
    http2_calm_earn(&calm, 50);
    for (spent = 0; http2_calm_spend(&calm, HTTP2_COST_RESET, 2000); spent++)
        continue;
    CHECK(spent >= 11 && spent <= 13, "%d resets", spent);
}
