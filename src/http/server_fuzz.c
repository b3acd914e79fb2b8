/*
 * Any bytes on a connection: the server never fails and what it answers is a row of well-formed
 * answers, at most one per request, or of frames where the input begins with the preface of HTTP/2.
 * The first byte says in what pieces the rest arrives.
 */
#include "core/address.h"
#include "core/memory.h"
#include "core/sys.h"
#include "http/http1.h"

#include <assert.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 2000 };

struct run {
    struct loop *loop;
    enum http_method methods[MOST]; /* of the finished exchanges, in order */
    size_t finished;
    bool is_over;
};

static struct run *run_of(struct http_exchange *exchange)
{
    return http_exchange_config(exchange)->owner;
}

static void on_body(struct http_exchange *exchange, struct text data, bool is_last)
{
    http_response_send(exchange, data, is_last);
    if (!is_last)
        http_body_read(exchange);
}

static void on_collected(struct http_exchange *exchange)
{
    const struct http_body *body = http_body_collected(exchange);
    assert(body != NULL && body->length >= 0);
    http_reply(exchange, 200, T("text/plain"), body->memory);
}

static const struct http_exchange_events events = { .body = on_body, .collected = on_collected };

static void start(struct http_handler *handler, struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    http_exchange_attach(exchange, &events, NULL);
    assert(run_of(exchange)->loop != NULL);
    if (request->is_upgrade) {
        http_response_start(exchange, 101, -1);
        http_response_send(exchange, T(""), false);
        http_body_read(exchange);
        return;
    }
    switch (request->path.len % 4) {
    case 0:
        http_reply_error(exchange, 404);
        break;
    case 1:
        http_reply(exchange, 200, T("text/plain"), request->path);
        break;
    case 2:
        http_response_start(exchange, 200, -1);
        http_body_read(exchange);
        break;
    default:
        http_body_collect(exchange, 64);
    }
}

static void on_finished(struct http_config *config, const struct http_record *record)
{
    struct run *run = config->owner;
    assert(run->finished < MOST);
    run->methods[run->finished++] = record->request->method;
}

static void on_released(void *argument)
{
    ((struct run *)argument)->is_over = true;
}

/* The answers must be well-formed; the last one may be cut off. */
static void check_answers(const struct run *run, struct text output)
{
    static const struct http1_limits limits = { 65536, 65536, 100 };
    struct arena *arena = arena_new(1 << 20, 0);
    for (size_t i = 0; output.len > 0;) {
        struct http1_scan scan = { 0 };
        struct http1_problem problem;
        struct http1_response response;
        struct http1_body body;
        struct text piece;
        enum http1_state state = http1_scan(&scan, output, &limits, &problem);
        assert(state == HTTP1_DONE && i < run->finished);
        state = http1_parse_response(text_part(output, scan.skip, scan.end - scan.skip), &limits,
                                     run->methods[i], arena, &response, &problem);
        assert(state == HTTP1_DONE);
        output = text_skip(output, scan.end);
        http1_body_init(&body, response.framing, response.content_length);
        do
            state = http1_body_decode(&body, &output, &piece);
        while (state == HTTP1_DATA);
        assert(state != HTTP1_BAD);
        if (response.status == 101)
            break;
        i += response.status != 100;
    }
    arena_free(arena);
}

/* Of HTTP/2 (RFC 9113 4.1), none larger than the client allowed; the last one may be cut off. */
static void check_frames(struct text output)
{
    enum { FRAME_HEAD = 9, LARGEST = 16384, LAST_TYPE = 9 };
    while (output.len >= FRAME_HEAD) {
        const uint8_t *head = (const uint8_t *)output.data;
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        assert(len <= LARGEST && head[3] <= LAST_TYPE);
        output = text_skip(output, FRAME_HEAD + len);
    }
}

static void pull(struct run *run, int fd, struct buffer *output)
{
    for (int idle = 0; idle < 3; idle++) {
        char *place = buffer_reserve(output, 65536);
        loop_turn(run->loop, 0);
        ssize_t got = place != NULL ? sys_read(fd, place, 65536) : -1;
        if (got > 0) {
            output->len += (size_t)got;
            idle = -1;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = { 0 };
    struct why why;
    int fds[2];
    struct address peer = { .len = 0 };
    struct buffer output = buffer_of(16 << 20);
    struct http_handler handler = { "fuzz", start };
    struct http_config config = {
        .handler = &handler,
        .limits = { 512, 200, 8, 2000, 10, 1000, 1000, 1000, 1000, MOST - 1000 },
        .spool_folder = "/tmp",
        .finished = on_finished,
        .owner = &run,
    };
    if (size < 2 || loop_new(LOOP_EPOLL, &run.loop, &why) != OK ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return 0;
    struct http_server *server = http_server_new(run.loop, &config);
    http_server_accept(server, fds[1], &peer, on_released, &run);
    size_t piece = data[0] > 0 ? data[0] : size;
    for (size_t at = 1; at < size; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        if (send(fds[0], data + at, len, MSG_NOSIGNAL) < 0)
            break;
        pull(&run, fds[0], &output);
    }
    shutdown(fds[0], SHUT_WR);
    pull(&run, fds[0], &output);
    if (text_starts_with(text_from((const char *)data + 1, size - 1),
                         T("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
        check_frames(buffer_text(&output));
    else
        check_answers(&run, buffer_text(&output));
    http_server_free(server);
    for (int i = 0; i < 10 && !run.is_over; i++)
        loop_turn(run.loop, 0);
    assert(run.is_over);
    fd_close(&fds[0]);
    loop_free(run.loop);
    buffer_done(&output);
    return 0;
}
