/*
 * The server: its connections, the current configuration generation, what is shared by all
 * connections (pools, the Date line, request ids) and the graceful end.
 */
#include "http/http_private.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "http/http2_private.h"

struct http_config *config_ref(struct http_config *config)
{
    config->references++;
    return config;
}

void config_unref(struct http_config *config)
{
    if (--config->references == 0 && config->released != NULL)
        config->released(config);
}

struct http1_limits server_limits(const struct http_config *config)
{
    return (struct http1_limits){ config->limits.head_bytes, config->limits.target_bytes,
                                  config->limits.header_count };
}

static void check_drained(struct http_server *server)
{
    void (*drained)(void *) = server->drained;
    if (!server->is_draining || server->count > 0 || drained == NULL)
        return;
    server->drained = NULL;
    drained(server->argument);
}

static void run_task(struct loop_task *task)
{
    check_drained(list_entry(task, struct http_server, task));
}

struct http_server *http_server_new(struct loop *loop, struct http_config *config)
{
    struct http_server *server = NEW(struct http_server);
    server->loop = loop;
    list_init(&server->connections);
    loop_task_init(&server->task, run_task);
    sys_random(server->random, sizeof(server->random));
    server->random[0] |= 1; /* the generator must not start at zero */
    config->references = 1;
    server->config = config;
    server->scratch = buffer_of(5 * HPACK_STRING_BYTES);
    return server;
}

void http_server_set_config(struct http_server *server, struct http_config *config)
{
    struct http_config *old = server->config;
    if (old == config)
        return;
    config->references = 1;
    server->config = config;
    config_unref(old);
}

void http_server_accept(struct http_server *server, int fd, const struct address *peer,
                        void (*released)(void *), void *argument)
{
    connection_new(server, NULL, fd, peer, released, argument);
}

void http_server_accept_tls(struct http_server *server, struct tls_context *tls, int fd,
                            const struct address *peer, void (*released)(void *), void *argument)
{
    connection_new(server, tls, fd, peer, released, argument);
}

void http_server_drain(struct http_server *server, void (*drained)(void *), void *argument)
{
    server->is_draining = true;
    server->drained = drained;
    server->argument = argument;
    list_each (at, &server->connections)
        connection_drain(list_entry(at, struct connection, link));
    loop_defer(server->loop, &server->task);
}

size_t http_server_connections(const struct http_server *server)
{
    return server->count;
}

void server_released(struct http_server *server)
{
    server->count--;
    check_drained(server);
}

void http_server_free(struct http_server *server)
{
    if (server == NULL)
        return;
    list_each (at, &server->connections) {
        struct connection *conn = list_entry(at, struct connection, link);
        connection_abort(conn, "server closed");
        stream_abort(conn->stream); /* also one that only waits for its client to close */
        list_remove(&conn->link);
        conn->server = NULL;
    }
    loop_task_cancel(&server->task);
    while (server->idle_exchanges != NULL) {
        struct http_exchange *exchange = server->idle_exchanges;
        server->idle_exchanges = exchange->next;
        buffer_done(&exchange->collect.memory);
        arena_free(exchange->arena);
        memory_free(exchange);
    }
    chunk_pool_done(&server->chunks);
    buffer_done(&server->scratch);
    config_unref(server->config);
    memory_free(server);
}

struct text server_date(struct http_server *server)
{
    int64_t now_s = loop_wall_s(server->loop);
    if (server->date_s != now_s || server->date_len == 0) {
        char date[CLOCK_HTTP_SIZE];
        clock_format_http(now_s, date);
        size_t len = strlen(date);
        memcpy(server->date, "Date: ", 6);
        memcpy(server->date + 6, date, len);
        memcpy(server->date + 6 + len, "\r\n", 2);
        server->date_len = len + 8;
        server->date_s = now_s;
    }
    return text_from(server->date, server->date_len);
}

/* xorshift128+: ids must differ, nobody trusts them. */
static uint64_t next_random(uint64_t state[2])
{
    uint64_t a = state[0], b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return state[1] + b;
}

/* Eight hex digits of 32 bits, one in each byte. */
static uint64_t hex_digits(uint32_t bits)
{
    uint64_t spread = bits;
    spread = (spread | spread << 16) & UINT64_C(0x0000FFFF0000FFFF);
    spread = (spread | spread << 8) & UINT64_C(0x00FF00FF00FF00FF);
    spread = (spread | spread << 4) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    /* 1 in each byte above 9: adding 6 carries into bit 4 */
    uint64_t letters =
        ((spread + UINT64_C(0x0606060606060606)) >> 4) & UINT64_C(0x0101010101010101);
    return spread + UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
}

void server_make_id(struct http_server *server, char id[33])
{
    for (size_t part = 0; part < 4; part += 2) {
        uint64_t bits = next_random(server->random);
        uint64_t low = hex_digits((uint32_t)bits), high = hex_digits((uint32_t)(bits >> 32));
        memcpy(id + part * 8, &low, 8);
        memcpy(id + part * 8 + 8, &high, 8);
    }
    id[32] = '\0';
}
