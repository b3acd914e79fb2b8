/*
 * The test handler:
 *   /client           the client's address
 *   /hello            answers at once        /later      answers after 20 ms
 *   /hold             fixture->held, for the test to answer
 *   /echo             sends the request's body back as it comes, then its trailers
 *   /collect          collects the body (1000 bytes in memory), answers with its length and sum
 *   /big              4 MiB, pausing when full
 *   /file /part       a file; two parts of it
 *   /short /long      other lengths than announced    /break  breaks off inside the body
 *   /unread           answers without reading the body
 *   /filter           through a filter that doubles each byte; -file: parts of a file; -big: all
 *   /tunnel           101, then echoes    /error   http_reply_error
 */
#include "http/server_fixture.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BIG_BYTES = 4 << 20, FILE_BYTES = 100000, PATIENCE_MS = 10000 };

static struct fixture *fixture_of(struct http_exchange *exchange)
{
    return http_exchange_config(exchange)->owner;
}

static void on_aborted(struct http_exchange *exchange)
{
    fixture_of(exchange)->aborted++;
}

/* ---- /later ---- */

struct later {
    struct loop_timer timer;
    struct http_exchange *exchange;
};

static void on_later(struct loop_timer *timer)
{
    struct later *later = list_entry(timer, struct later, timer);
    http_reply(later->exchange, 200, T("text/plain"), T("later"));
}

static void on_later_aborted(struct http_exchange *exchange)
{
    struct later *later = http_exchange_state(exchange);
    fixture_of(exchange)->aborted++;
    loop_timer_stop(http_exchange_loop(exchange), &later->timer);
}

static const struct http_exchange_events later_events = { .aborted = on_later_aborted };

static void start_later(struct http_exchange *exchange)
{
    struct later *later = ARENA_NEW(http_exchange_arena(exchange), struct later);
    later->exchange = exchange;
    loop_timer_init(&later->timer, on_later);
    http_exchange_attach(exchange, &later_events, later);
    loop_timer_start(http_exchange_loop(exchange), &later->timer, 20);
}

/* ---- bodies ---- */

static void on_echo(struct http_exchange *exchange, struct text data, bool is_last)
{
    const struct http_headers *trailers = &http_exchange_request(exchange)->trailers;
    for (size_t i = 0; is_last && i < trailers->count; i++)
        CHECK(http_response_trailer(exchange, trailers->items[i].name, trailers->items[i].value),
              "trailer");
    http_response_send(exchange, data, is_last);
    if (!is_last && !http_response_is_full(exchange))
        http_body_read(exchange);
}

static void on_echo_drained(struct http_exchange *exchange)
{
    http_body_read(exchange);
}

static void on_collected(struct http_exchange *exchange)
{
    const struct http_body *body = http_body_collected(exchange);
    uint64_t sum = 0;
    for (int64_t at = 0; at < body->length;) {
        char data[4096];
        ssize_t got = (ssize_t)body->memory.len;
        const char *bytes = body->memory.data;
        if (body->file >= 0) {
            got = sys_pread(body->file, data, sizeof(data), at);
            bytes = data;
        }
        for (ssize_t i = 0; i < got; i++)
            sum += (uint8_t)bytes[i];
        at += got > 0 ? got : body->length;
    }
    struct text answer =
        arena_print(http_exchange_arena(exchange), "%lld %llu %s", (long long)body->length,
                    (unsigned long long)sum, body->file >= 0 ? "file" : "memory");
    http_reply(exchange, 200, T("text/plain"), answer);
}

static const struct http_exchange_events body_events = {
    .body = on_echo,
    .drained = on_echo_drained,
    .collected = on_collected,
    .aborted = on_aborted,
};

/* ---- /big ---- */

struct big {
    int64_t left;
};

static void send_big(struct http_exchange *exchange)
{
    static const char block[10000];
    struct big *big = http_exchange_state(exchange);
    struct fixture *fixture = fixture_of(exchange);
    int64_t put = 0;
    while (big->left > 0 && !http_response_is_full(exchange)) {
        size_t len = big->left < (int64_t)sizeof(block) ? (size_t)big->left : sizeof(block);
        big->left -= (int64_t)len;
        put += (int64_t)len;
        http_response_send(exchange, text_from(block, len), big->left == 0);
    }
    if (put > fixture->full_at)
        fixture->full_at = put;
}

static const struct http_exchange_events big_events = {
    .drained = send_big,
    .aborted = on_aborted,
};

static void start_big(struct http_exchange *exchange)
{
    struct big *big = ARENA_NEW(http_exchange_arena(exchange), struct big);
    big->left = BIG_BYTES;
    http_exchange_attach(exchange, &big_events, big);
    http_response_start(exchange, 200, BIG_BYTES);
    send_big(exchange);
}

/* ---- /filter ---- */

static void double_head(struct http_filter *filter, struct http_exchange *exchange)
{
    http_response_set_length(exchange, -1);
    http_response_header_name(exchange, T("X-Filter"), T("double"));
}

static void double_data(struct http_filter *filter, struct http_exchange *exchange,
                        struct text data, bool is_last)
{
    for (size_t i = 0; i < data.len; i++) {
        char two[2] = { data.data[i], data.data[i] };
        http_filter_pass(filter, exchange, text_from(two, 2), is_last && i + 1 == data.len);
    }
    if (is_last && data.len == 0)
        http_filter_pass(filter, exchange, data, true);
}

static void start_filter(struct fixture *fixture, struct http_exchange *exchange, struct text path)
{
    fixture->filter = (struct http_filter){ .head = double_head, .data = double_data };
    http_filter_add(exchange, &fixture->filter);
    http_response_start(exchange, 200, -1);
    if (text_equal(path, T("/filter-big"))) {
        http_response_file(exchange, fixture->file, false, 0, FILE_BYTES, true);
    } else if (text_equal(path, T("/filter-file"))) {
        http_response_file(exchange, fixture->file, false, 0, 5, false);
        http_response_send(exchange, T("xy"), true);
    } else {
        http_response_send(exchange, T("ab"), false);
        http_response_send(exchange, T("cde"), true);
    }
}

/* ---- choice ---- */

static void start_odd(struct fixture *fixture, struct http_exchange *exchange, struct text path)
{
    static const struct http_exchange_events events = { .aborted = on_aborted };
    http_exchange_attach(exchange, &events, NULL);
    if (text_equal(path, T("/hold"))) {
        fixture->held = exchange;
    } else if (text_equal(path, T("/short")) || text_equal(path, T("/long"))) {
        http_response_start(exchange, 200, text_equal(path, T("/short")) ? 10 : 3);
        http_response_send(exchange, T("hello"), true);
    } else if (text_equal(path, T("/break"))) {
        http_response_start(exchange, 200, -1);
        http_response_send(exchange, T("hello"), false);
        http_response_abort(exchange);
    } else if (text_equal(path, T("/tunnel"))) {
        http_exchange_attach(exchange, &body_events, NULL);
        http_response_start(exchange, 101, -1);
        http_response_header(exchange, FIELD_UPGRADE, T("echo"));
        http_response_send(exchange, T(""), !http_exchange_request(exchange)->is_upgrade);
        http_body_read(exchange);
    } else if (text_equal(path, T("/injection"))) {
        http_response_start(exchange, 200, 0);
        CHECK(!http_response_header_name(exchange, T("X"), T("a\r\nY: b")), "value");
        CHECK(!http_response_header_name(exchange, T("X\r\nY"), T("b")), "name");
        CHECK(!http_response_header(exchange, FIELD_CONTENT_LENGTH, T("5")), "framing");
        CHECK(http_response_header(exchange, FIELD_ETAG, T("\"x\"")), "fine");
        http_response_send(exchange, T(""), true);
    } else {
        http_reply_error(exchange, 404);
    }
}

static void start_file(struct fixture *fixture, struct http_exchange *exchange, bool is_parts)
{
    http_response_start(exchange, 200, is_parts ? 16 : FILE_BYTES);
    if (is_parts) {
        http_response_file(exchange, fixture->file, false, 10, 5, false);
        http_response_send(exchange, T("-part-"), false);
        http_response_file(exchange, fixture->file, false, 20, 5, true);
    } else {
        http_response_file(exchange, fixture->file, false, 0, FILE_BYTES, true);
    }
}

static void start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct fixture *fixture = fixture_of(exchange);
    struct text path = http_exchange_request(exchange)->path;
    fixture->started++;
    http_exchange_note(exchange, T("test"), 1, 2);
    if (text_equal(path, T("/hello")) || text_equal(path, T("/unread"))) {
        http_reply(exchange, 200, T("text/plain"), T("hello"));
    } else if (text_equal(path, T("/client"))) {
        char ip[ADDRESS_TEXT_SIZE];
        address_format_ip(&http_exchange_request(exchange)->client, ip);
        http_reply(exchange, 200, T("text/plain"), text_of(ip));
    } else if (text_equal(path, T("/later"))) {
        start_later(exchange);
    } else if (text_equal(path, T("/echo"))) {
        http_exchange_attach(exchange, &body_events, NULL);
        http_response_start(exchange, 200, -1);
        http_body_read(exchange);
    } else if (text_equal(path, T("/collect"))) {
        http_exchange_attach(exchange, &body_events, NULL);
        http_body_collect(exchange, 1000);
    } else if (text_equal(path, T("/big"))) {
        start_big(exchange);
    } else if (text_equal(path, T("/file")) || text_equal(path, T("/part"))) {
        start_file(fixture, exchange, text_equal(path, T("/part")));
    } else if (text_starts_with(path, T("/filter"))) {
        start_filter(fixture, exchange, path);
    } else {
        start_odd(fixture, exchange, path);
    }
}

static void on_finished(struct http_config *config, const struct http_record *record)
{
    struct fixture *fixture = config->owner;
    fixture->records++;
    fixture->last = *record;
    memcpy(fixture->last_id, record->request->id, sizeof(fixture->last_id));
    fixture->last_failure[0] = '\0';
    if (record->failure != NULL)
        text_copy_to(text_of(record->failure), fixture->last_failure,
                     sizeof(fixture->last_failure));
}

static void on_config_released(struct http_config *config)
{
    ((struct fixture *)config->owner)->configs_released++;
}

/* ---- life ---- */

static int make_file(void)
{
    char name[] = "/tmp/http-test-XXXXXX";
    int file = mkostemp(name, O_CLOEXEC);
    if (file < 0)
        return -1;
    unlink(name);
    for (int i = 0; i < FILE_BYTES; i += 10)
        if (sys_pwrite(file, "0123456789", 10, i) != 10)
            fd_close(&file);
    return file;
}

bool fixture_start(struct fixture *fixture, enum loop_backend backend)
{
    struct why why;
    *fixture = (struct fixture){ .listener = -1, .file = make_file() };
    if (!CHECK(loop_new(backend, &fixture->loop, &why) == OK, "%s", why.text))
        return false;
    fixture->handler = (struct http_handler){ "test", start };
    fixture->config = (struct http_config){
        .handler = &fixture->handler,
        .limits = { .head_bytes = 1024,
                    .target_bytes = 200,
                    .header_count = 8,
                    .body_bytes = 1 << 20,
                    .head_ms = 10000,
                    .body_ms = 10000,
                    .send_ms = 10000,
                    .idle_ms = 10000 },
        .spool_folder = "/tmp",
        .server_name = T("Trilith"),
        .finished = on_finished,
        .released = on_config_released,
        .owner = fixture,
    };
    fixture->server = http_server_new(fixture->loop, &fixture->config);
    enum err err = address_parse(T("127.0.0.1:0"), &fixture->address);
    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return CHECK(
        err == OK && fixture->listener >= 0 &&
            bind(fixture->listener, &fixture->address.u.any, fixture->address.len) == 0 &&
            listen(fixture->listener, 100) == 0 &&
            getsockname(fixture->listener, &fixture->address.u.any, &fixture->address.len) == 0,
        "listener: %s", strerror(errno));
}

void fixture_set_times(struct fixture *fixture, int64_t ms)
{
    struct http_limits *limits = &fixture->config.limits;
    limits->head_ms = limits->body_ms = limits->send_ms = limits->idle_ms = ms;
}

void fixture_turn(struct fixture *fixture, int64_t ms)
{
    int64_t until_ms = clock_now_ms() + ms;
    int turns = ms >= 2 ? 8 : 1; /* also where the time passes while others have the core */
    do
        loop_turn(fixture->loop, ms > 0 ? 1 : 0);
    while (--turns > 0 || clock_now_ms() < until_ms);
}

bool fixture_wait(struct fixture *fixture, const int *counter, int least)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (*counter < least && clock_now_ms() < until_ms)
        fixture_turn(fixture, 1);
    return *counter >= least;
}

void fixture_stop(struct fixture *fixture)
{
    if (fixture->server != NULL)
        http_server_free(fixture->server);
    if (fixture->loop != NULL) {
        CHECK(fixture_wait(fixture, &fixture->released, fixture->opened), "all connections gone");
        fixture_turn(fixture, 1);
        loop_free(fixture->loop);
    }
    fd_close(&fixture->listener);
    fd_close(&fixture->file);
}

static void on_released(void *argument)
{
    ((struct fixture *)argument)->released++;
}

bool client_open(struct client *client, struct fixture *fixture)
{
    struct address peer = { .len = sizeof(peer.u) };
    *client = (struct client){ .fixture = fixture,
                               .input = buffer_of(64 << 20),
                               .body = buffer_of(64 << 20) };
    client->arena = arena_new(1 << 20, 0);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!CHECK(connect(client->fd, &fixture->address.u.any, fixture->address.len) == 0,
               "connect: %s", strerror(errno)))
        return false;
    int fd = accept4(fixture->listener, &peer.u.any, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!CHECK(fd >= 0 && sys_set_nonblocking(client->fd, true) == OK, "accept"))
        return false;
    fixture->opened++;
    http_server_accept(fixture->server, fd, &peer, on_released, fixture);
    return true;
}

void client_close(struct client *client)
{
    fd_close(&client->fd);
    arena_free(client->arena);
    buffer_done(&client->input);
    buffer_done(&client->body);
}

void client_pull(struct client *client)
{
    fixture_turn(client->fixture, 0);
    for (int i = 0; i < 64 && !client->is_closed; i++) {
        char *place = buffer_reserve(&client->input, 65536);
        ssize_t got = place != NULL ? sys_read(client->fd, place, 65536) : -1;
        if (got > 0)
            client->input.len += (size_t)got;
        else if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
            client->is_closed = true;
        else
            return;
        client->was_reset = got < 0;
    }
}

void client_send(struct client *client, struct text data)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (data.len > 0 && !client->is_closed && clock_now_ms() < until_ms) {
        ssize_t put = send(client->fd, data.data, data.len, MSG_NOSIGNAL);
        if (put > 0)
            data = text_skip(data, (size_t)put);
        else if (errno != EAGAIN)
            return;
        client_pull(client);
    }
}

void client_trickle(struct client *client, struct text data, size_t piece)
{
    int on = 1;
    setsockopt(client->fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof(on));
    for (size_t at = 0; at < data.len; at += piece) {
        client_send(client, text_part(data, at, piece));
        fixture_turn(client->fixture, 0);
        fixture_turn(client->fixture, 0);
    }
}

void client_shut(struct client *client)
{
    shutdown(client->fd, SHUT_WR);
}

struct text client_header(const struct client *client, enum http_field field)
{
    return http_headers_value(&client->response.headers, field);
}

static struct text unread(const struct client *client)
{
    return text_skip(buffer_text(&client->input), client->used);
}

/* 1: the whole head is there, 0: not yet, -1: it is broken. */
static int try_head(struct client *client, enum http_method method)
{
    static const struct http1_limits limits = { 65536, 65536, 100 };
    struct http1_scan scan = { 0 };
    struct http1_problem problem;
    enum http1_state state = http1_scan(&scan, unread(client), &limits, &problem);
    if (state == HTTP1_MORE)
        return 0;
    if (state == HTTP1_BAD)
        return -1;
    arena_reset(client->arena);
    struct text head =
        arena_copy(client->arena, text_part(unread(client), scan.skip, scan.end - scan.skip));
    client->used += scan.end;
    state = http1_parse_response(head, &limits, method, client->arena, &client->response, &problem);
    return state == HTTP1_DONE ? 1 : -1;
}

static bool read_body(struct client *client, int64_t until_ms)
{
    struct http1_body body;
    struct text data;
    http1_body_init(&body, client->response.framing, client->response.content_length);
    http1_body_keep_trailers(&body, client->arena);
    client->trailers = (struct http_headers){ 0 };
    buffer_clear(&client->body);
    while (clock_now_ms() < until_ms) {
        struct text rest = unread(client);
        size_t before = rest.len;
        enum http1_state state = http1_body_decode(&body, &rest, &data);
        client->used += before - rest.len;
        buffer_append(&client->body, data);
        if (state == HTTP1_MORE && client->is_closed)
            return http1_body_at_end(&body) == HTTP1_DONE;
        if (state == HTTP1_DONE || state == HTTP1_BAD)
            return state == HTTP1_DONE && http1_body_trailers(&body, &client->trailers);
        if (state == HTTP1_MORE) {
            client_pull(client);
            fixture_turn(client->fixture, 0);
        }
    }
    return false;
}

int client_answer(struct client *client, enum http_method method)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    int has_head = try_head(client, method);
    while (has_head == 0 && clock_now_ms() < until_ms && !client->is_closed) {
        client_pull(client);
        fixture_turn(client->fixture, 0);
        has_head = try_head(client, method);
    }
    client->is_whole = has_head == 1 && read_body(client, until_ms);
    return has_head == 1 ? client->response.status : 0;
}

bool client_is_ended(struct client *client)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (!client->is_closed && clock_now_ms() < until_ms) {
        client_pull(client);
        fixture_turn(client->fixture, 1);
    }
    return client->is_closed && unread(client).len == 0;
}
