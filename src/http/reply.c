/* Whole answers in one call, and the built-in error page. */
#include "http/http_private.h"

#include "core/sys.h"

void http_reply(struct http_exchange *exchange, int status, struct text content_type,
                struct text body)
{
    http_response_start(exchange, status, (int64_t)body.len);
    if (content_type.len > 0)
        http_response_header(exchange, FIELD_CONTENT_TYPE, content_type);
    http_response_send(exchange, body, true);
}

void exchange_reset_answer(struct http_exchange *exchange)
{
    while (exchange->pieces != NULL) {
        fd_close(&exchange->pieces->file);
        exchange->pieces = exchange->pieces->next;
    }
    exchange->headers.count = 0;
    exchange->status = 0;
    exchange->length = -1;
    if (exchange->is_filtered)
        exchange->filters = NULL; /* they are made for one head */
    exchange->is_filtered = exchange->is_tunnel = false;
}

void exchange_reply_builtin(struct http_exchange *exchange, int status)
{
    const char *words = http_status_text(status);
    exchange_reset_answer(exchange);
    struct text page =
        arena_print(exchange->arena,
                    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                    "<title>%d %s</title>\n<style>body{font:16px/1.5 system-ui,sans-serif;"
                    "margin:15vh auto;max-width:36em;padding:0 1em;color:#222}"
                    "small{color:#777}</style></head>\n"
                    "<body><h1>%d %s</h1>\n<p><small>Request %s</small></p></body></html>\n",
                    status, words, status, words, exchange->request.id);
    if (page.data == NULL) /* the arena is full */
        page = T("error\n");
    http_response_start(exchange, status, (int64_t)page.len);
    http_response_header(exchange, FIELD_CONTENT_TYPE, T("text/html; charset=utf-8"));
    http_response_header(exchange, FIELD_CACHE_CONTROL, T("no-store"));
    http_response_send(exchange, page, true);
}

void http_reply_error(struct http_exchange *exchange, int status)
{
    struct http_config *config = exchange->config;
    if (exchange->is_complete)
        return;
    if (exchange->is_head_sent) {
        http_response_abort(exchange);
        return;
    }
    exchange_reset_answer(exchange);
    bool is_nested = exchange->is_page;
    exchange->is_page = true;
    if (is_nested || config->error_page == NULL || !config->error_page(config, exchange, status))
        exchange_reply_builtin(exchange, status);
    exchange_wake(exchange);
}

struct wait_filter {
    struct http_filter filter;
    int64_t wait_s;
};

static void add_retry_after(struct http_filter *filter, struct http_exchange *exchange)
{
    char number[TEXT_UINT_SIZE];
    const struct wait_filter *wait = (const struct wait_filter *)filter;
    size_t len = text_write_uint((uint64_t)wait->wait_s, number);
    http_response_header(exchange, FIELD_RETRY_AFTER, text_from(number, len));
}

/* A filter, as an error page may be a file that another handler answers with. */
void http_reply_error_wait(struct http_exchange *exchange, int status, int64_t wait_s)
{
    struct wait_filter *wait = ARENA_NEW(exchange->arena, struct wait_filter);
    if (wait != NULL) {
        wait->filter.head = add_retry_after;
        wait->wait_s = wait_s;
        http_filter_add(exchange, &wait->filter);
    }
    http_reply_error(exchange, status);
}
