/*
 * Answers that are kept: the head is made once, by the usual way through the filters, and then used
 * for every request that gets the same answer. What differs from one to the next, Date and
 * Connection, is put behind it.
 */
#include "http/http_private.h"

#include "core/memory.h"
#include "http/http2_private.h"

/* ---- blobs ---- */

struct http_blob *http_blob_new(size_t len)
{
    struct http_blob *blob = memory_resize(NULL, sizeof(*blob) + len + 1);
    blob->references = 1;
    blob->len = len;
    return blob;
}

struct http_blob *http_blob_ref(struct http_blob *blob)
{
    blob->references++;
    return blob;
}

void http_blob_unref(struct http_blob *blob)
{
    if (blob != NULL && --blob->references == 0)
        memory_free(blob);
}

/* ---- heads ---- */

enum { HEAD_LIMIT = 8192 };

static bool can_keep(const struct http_exchange *exchange)
{
    for (const struct http_filter *filter = exchange->filters; filter != NULL;
         filter = filter->next)
        if (!filter->is_fixed)
            return false;
    return !exchange->is_head_sent && !exchange->is_complete && !exchange->is_broken &&
           !exchange->is_tunnel;
}

static void field_append(struct buffer *out, struct text name, struct text value)
{
    buffer_append(out, name);
    buffer_append(out, T(": "));
    buffer_append(out, value);
    buffer_append(out, T("\r\n"));
}

static bool has_long_name(const struct http_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].name.len > LONGEST_NAME)
            return true;
    return false;
}

struct http_blob *http_response_head_keep(struct http_exchange *exchange)
{
    if (!can_keep(exchange))
        return NULL;
    exchange_filter_head(exchange);
    bool has_length = exchange->status != 204 && exchange->status != 304;
    if ((has_length && exchange->length < 0) || has_long_name(&exchange->headers))
        return NULL;
    AUTO(buffer_done) struct buffer head = buffer_of(HEAD_LIMIT);
    char line[STATUS_LINE_MAX];
    buffer_append(&head, text_from(line, exchange_status_line(exchange->status, line)));
    if (exchange->config->server_name.len > 0)
        field_append(&head, T("Server"), exchange->config->server_name);
    for (size_t i = 0; i < exchange->headers.count; i++)
        field_append(&head, exchange->headers.items[i].name, exchange->headers.items[i].value);
    if (has_length) {
        buffer_append(&head, T("Content-Length: "));
        buffer_append_uint(&head, (uint64_t)exchange->length);
        buffer_append(&head, T("\r\n"));
    }
    if (head.failed)
        return NULL;
    struct http_blob *blob = http_blob_new(head.len);
    memcpy(blob->data, head.data, head.len);
    return blob;
}

static char *put(char *at, struct text text)
{
    memcpy(at, text.data, text.len);
    return at + text.len;
}

static void write_kept(struct http_exchange *exchange, const struct http_blob *head)
{
    struct http_server *server = exchange->conn->server;
    struct text date = server_date(server);
    struct text connection = T("\r\n");
    if (!exchange->keep_alive)
        connection = T("Connection: close\r\n\r\n");
    else if (exchange->request.minor_version == 0)
        connection = T("Connection: keep-alive\r\n\r\n");
    char *at = output_reserve(&exchange->lane->output, &server->chunks,
                              head->len + date.len + connection.len);
    put(put(put(at, text_from(head->data, head->len)), date), connection);
}

static void append_body(struct http_exchange *exchange, struct http_blob *body)
{
    struct output *output = &exchange->lane->output;
    struct chunk_pool *pool = &exchange->conn->server->chunks;
    if (exchange->lane->stream != NULL)
        output_share_blob(output, pool, body, 0, body->len);
    else
        output_append_blob(output, pool, body, 0, body->len);
}

bool http_response_kept(struct http_exchange *exchange, int status, struct http_blob *head,
                        struct http_blob *body)
{
    if (!can_keep(exchange))
        return false;
    exchange->status = status;
    exchange->length = body != NULL ? (int64_t)body->len : -1;
    exchange->is_filtered = exchange->is_head_sent = true;
    exchange->drops_body = exchange->request.method == HTTP_HEAD || status == 204 || status == 304;
    if (exchange->lane->stream != NULL) {
        bool is_all = body == NULL || body->len == 0 || exchange->drops_body;
        http2_send_head(exchange->lane->stream, head, is_all);
    } else {
        exchange->keep_alive = exchange_may_keep_alive(exchange);
        write_kept(exchange, head);
    }
    if (body != NULL && body->len > 0 && !exchange->drops_body) {
        append_body(exchange, body);
        exchange->body_sent = (int64_t)body->len;
    }
    exchange_finish(exchange);
    exchange_queued(exchange);
    return true;
}
