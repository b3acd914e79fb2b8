/* See metrics_page.h. What is shown is what was measured last, so however often somebody asks, it
 * costs no more than the text. */
#include "monitor/metrics_page.h"

#include "core/memory.h"
#include "core/sys.h"
#include "http/http.h"
#include "monitor/expose.h"

enum {
    CONNECTIONS = 32,
    TEXT_LIMIT = 4 << 20, /* of an answer; 512 series are far below */
};

struct metrics_page {
    struct loop *loop;
    const struct collect *collect;
    const struct generation *generation;
    struct stream_listener *listener;
    struct http_server *server;
    struct http_config config;
    struct http_handler handler;
};

enum err metrics_page_prepare(struct generation *generation, struct why *why)
{
    struct address address = generation->server->address;
    address_set_port(&address, (uint16_t)generation->site->listen.metrics);
    return generation_listen(generation, &address, SOCK_STREAM, why, "agent.metrics");
}

/* ---- who ---- */

static bool is_loopback(const struct address *address)
{
    static const struct network v4 = { .ip = { 127 }, .bits = 8, .is_v4 = true };
    static const struct network v6 = { .ip = { [15] = 1 }, .bits = 128 };
    return network_contains(&v4, address) || network_contains(&v6, address);
}

static bool is_welcome(const struct metrics_page *page, const struct address *from)
{
    const struct site *site = page->generation->site;
    struct address ip = *from;
    address_set_port(&ip, 0);
    for (size_t i = 0; i < site->server_count; i++)
        if (address_equal(&site->servers[i].address, &ip))
            return true;
    return is_loopback(from) ||
           networks_contain(site->monitor.scrape, site->monitor.scrape_count, from);
}

static void released(void *argument)
{
    struct metrics_page *page = argument;
    if (page->listener != NULL)
        stream_listener_released(page->listener);
}

static void accepted(void *owner, int fd, const struct address *peer)
{
    struct metrics_page *page = owner;
    if (is_welcome(page, peer)) {
        http_server_accept(page->server, fd, peer, released, page);
        return;
    }
    fd_close(&fd);
    stream_listener_released(page->listener);
}

/* ---- what ---- */

static void answer(struct http_handler *handler, struct http_exchange *exchange)
{
    struct metrics_page *page = list_entry(handler, struct metrics_page, handler);
    const struct http_request *request = http_exchange_request(exchange);
    if (!text_equal(request->path, T("/metrics"))) {
        http_reply_error(exchange, 404);
        return;
    }
    if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        http_reply_error(exchange, 405);
        return;
    }
    const struct http_header *accept = http_headers_find_name(&request->headers, T("Accept"));
    enum expose_format format = accept != NULL ? expose_choose(accept->value) : EXPOSE_TEXT;
    struct buffer text = buffer_of(TEXT_LIMIT);
    expose_write(&page->collect->table, format, &text);
    if (text.failed)
        http_reply_error(exchange, 500);
    else
        http_reply(exchange, 200, expose_content_type(format), buffer_text(&text));
    buffer_done(&text);
}

static void finished(struct http_config *config, const struct http_record *record)
{
    (void)config;
    (void)record;
}

static void config_released(struct http_config *config)
{
    (void)config; /* part of the page, which stays */
}

struct metrics_page *metrics_page_new(struct loop *loop, const struct collect *collect)
{
    struct metrics_page *page = NEW(struct metrics_page);
    page->loop = loop;
    page->collect = collect;
    page->handler = (struct http_handler){ "metrics", answer };
    page->config = (struct http_config){
        .handler = &page->handler,
        .limits = { .head_bytes = 16384,
                    .target_bytes = 1024,
                    .header_count = 64,
                    .body_bytes = 1,
                    .connections = CONNECTIONS,
                    .head_ms = 5000,
                    .body_ms = 5000,
                    .send_ms = 10000,
                    .idle_ms = 75000 },
        .spool_folder = "/nonexistent", /* no body is ever kept */
        .server_name = T("Trilith"),
        .finished = finished,
        .released = config_released,
        .owner = page,
    };
    page->server = http_server_new(loop, &page->config);
    return page;
}

enum err metrics_page_use(struct metrics_page *page, const struct generation *generation,
                          struct why *why)
{
    struct stream_listener *listener = stream_listener_new(
        page->loop, generation_fd(generation, "agent.metrics"), CONNECTIONS, accepted, page);
    if (listener == NULL)
        return fail(why, ERR_SYSTEM, "cannot listen for /metrics");
    stream_listener_free(page->listener);
    page->listener = listener;
    page->generation = generation;
    return OK;
}
