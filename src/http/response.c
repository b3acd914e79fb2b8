/*
 * The answer of an exchange: start, headers, body, in this order; through the filters; framed and
 * put into the connection's output. The head is written with the first piece of the body, so small
 * answers need one send and a body that comes in one piece always gets a Content-Length.
 */
#include "http/http_private.h"

#include "core/log.h"
#include "core/sys.h"
#include "http/http2_private.h"

#include <fcntl.h>

enum {
    PUMP_BYTES = 16384, /* of a file through the filters in one step */
};

static struct output *output_of(struct http_exchange *exchange)
{
    return &exchange->lane->output;
}

static struct chunk_pool *pool_of(struct http_exchange *exchange)
{
    return &exchange->conn->server->chunks;
}

static void append(struct http_exchange *exchange, struct text text)
{
    output_append(output_of(exchange), pool_of(exchange), text);
}

/* ---- head ---- */

void http_response_start(struct http_exchange *exchange, int status, int64_t length)
{
    if (exchange->is_head_sent || exchange->is_complete)
        return;
    exchange->is_tunnel =
        status == 101 && exchange->request.is_upgrade && !exchange->request.has_body;
    exchange->status = (status >= 200 && status <= 599) || exchange->is_tunnel ? status : 502;
    exchange->length = exchange->is_tunnel ? -1 : length;
    if (exchange->is_tunnel)
        exchange->filters = NULL;
}

/* The server's own; see http.h. */
static bool is_framing(enum http_field field)
{
    return field == FIELD_CONTENT_LENGTH || field == FIELD_TRANSFER_ENCODING ||
           field == FIELD_CONNECTION || field == FIELD_KEEP_ALIVE ||
           field == FIELD_PROXY_CONNECTION || field == FIELD_UPGRADE || field == FIELD_TRAILER ||
           field == FIELD_DATE || field == FIELD_SERVER;
}

static bool add_header(struct http_exchange *exchange, enum http_field field, struct text name,
                       struct text value)
{
    bool is_ours = is_framing(field) && !(exchange->is_tunnel && field == FIELD_UPGRADE);
    if (is_ours || !http_is_field_value(value) || exchange->is_head_sent)
        return false;
    value = arena_copy(exchange->arena, text_trim(value));
    if (field == FIELD_OTHER)
        name = arena_copy(exchange->arena, name);
    return value.data != NULL && name.data != NULL &&
           http_headers_add(&exchange->headers, exchange->arena, field, name, value);
}

bool http_response_header(struct http_exchange *exchange, enum http_field field, struct text value)
{
    return field != FIELD_OTHER && add_header(exchange, field, http_field_name(field), value);
}

bool http_response_header_name(struct http_exchange *exchange, struct text name, struct text value)
{
    if (!http_is_token(name))
        return false;
    enum http_field field = http_field_find(name);
    return add_header(exchange, field, field == FIELD_OTHER ? name : http_field_name(field), value);
}

bool http_response_trailer(struct http_exchange *exchange, struct text name, struct text value)
{
    if (!http_is_token(name) || !http_is_field_value(value) || exchange->is_complete ||
        exchange->trailers.count >= HTTP_TRAILERS)
        return false;
    enum http_field field = http_field_find(name);
    if (!http_trailer_is_allowed(field, name))
        return false;
    name = arena_copy(exchange->arena, name);
    value = arena_copy(exchange->arena, text_trim(value));
    return name.data != NULL && value.data != NULL &&
           http_headers_add(&exchange->trailers, exchange->arena, field, name, value);
}

bool exchange_has_trailers(const struct http_exchange *exchange)
{
    if (exchange->trailers.count == 0 || exchange->drops_body || exchange->is_tunnel)
        return false;
    if (exchange->lane->stream != NULL)
        return true;
    bool has_place = exchange->is_head_sent ? exchange->is_chunked : exchange->length < 0;
    return has_place && http_headers_has_token(&exchange->request.headers, FIELD_TE, T("trailers"));
}

size_t exchange_status_line(int status, char *out)
{
    const char *reason = http_status_text(status);
    size_t len = strlen(reason);
    memcpy(out, "HTTP/1.1 ", 9);
    for (int i = 11; i >= 9; i--, status /= 10)
        out[i] = (char)('0' + status % 10);
    out[12] = ' ';
    memcpy(out + 13, reason, len);
    memcpy(out + 13 + len, "\r\n", 2);
    return len + 15;
}

static void append_field(struct http_exchange *exchange, struct text name, struct text value)
{
    append(exchange, name);
    append(exchange, T(": "));
    append(exchange, value);
    append(exchange, T("\r\n"));
}

/* How the client finds the end of the body, and whether the connection lives on. */
static void append_framing(struct http_exchange *exchange)
{
    bool has_length = exchange->status != 204 && exchange->status != 304;
    if (exchange->is_tunnel) {
        append(exchange, T("Connection: upgrade\r\n"));
        return;
    }
    bool is_new = exchange->request.minor_version >= 1;
    if (has_length && exchange->length >= 0) {
        append(exchange, T("Content-Length: "));
        output_append_uint(output_of(exchange), pool_of(exchange), (uint64_t)exchange->length, 10);
        append(exchange, T("\r\n"));
    } else if (has_length && is_new) {
        exchange->is_chunked = true;
        append(exchange, T("Transfer-Encoding: chunked\r\n"));
    } else if (has_length) {
        exchange->keep_alive = false;
    }
    if (!exchange->keep_alive)
        append(exchange, T("Connection: close\r\n"));
    else if (!is_new)
        append(exchange, T("Connection: keep-alive\r\n"));
}

bool exchange_may_keep_alive(const struct http_exchange *exchange)
{
    const struct connection *conn = exchange->conn;
    bool is_left = !exchange->is_request_done && exchange->request.has_body;
    bool is_long = exchange->request.content_length - exchange->body.received > DROP_LIMIT;
    return exchange->keep_alive && !conn->server->is_draining && !exchange->is_broken &&
           !(is_left && (exchange->expects_continue || is_long));
}

static void write_head1(struct http_exchange *exchange)
{
    struct text server_name = exchange->config->server_name;
    exchange->keep_alive = exchange_may_keep_alive(exchange);
    char line[STATUS_LINE_MAX];
    append(exchange, text_from(line, exchange_status_line(exchange->status, line)));
    append(exchange, server_date(exchange->conn->server));
    if (server_name.len > 0)
        append_field(exchange, T("Server"), server_name);
    for (size_t i = 0; i < exchange->headers.count; i++)
        append_field(exchange, exchange->headers.items[i].name, exchange->headers.items[i].value);
    append_framing(exchange);
    append(exchange, T("\r\n"));
}

/* is_all: no body follows. */
static void write_head(struct http_exchange *exchange, bool is_all)
{
    exchange->is_head_sent = true;
    if (exchange->lane->stream != NULL)
        http2_send_head(exchange->lane->stream, NULL, is_all);
    else
        write_head1(exchange);
    if (exchange->is_tunnel) {
        http1_body_init(&exchange->body, HTTP1_UNTIL_CLOSE, 0);
        exchange->is_request_done = exchange->keep_alive = false;
    }
}

/* ---- body, behind the filters ---- */

static void append_end(struct http_exchange *exchange)
{
    append(exchange, T("0\r\n"));
    for (size_t i = 0; exchange_has_trailers(exchange) && i < exchange->trailers.count; i++)
        append_field(exchange, exchange->trailers.items[i].name, exchange->trailers.items[i].value);
    append(exchange, T("\r\n"));
}

void exchange_finish(struct http_exchange *exchange)
{
    if (exchange->is_chunked && !exchange->drops_body)
        append_end(exchange);
    if (!exchange->drops_body && exchange->length > exchange->body_sent) {
        log_warn("http", "an answer is shorter than announced", BYTES("length", exchange->length),
                 BYTES("sent", exchange->body_sent));
        exchange->failure = "answer shorter than announced";
        exchange->is_broken = true;
    }
    exchange->is_complete = true;
    exchange->output_end = output_of(exchange)->queued;
}

/* How much of len more bytes fits into the announced length. */
static int64_t cut(struct http_exchange *exchange, int64_t len)
{
    if (exchange->length < 0 || len <= exchange->length - exchange->body_sent)
        return len;
    if (exchange->failure == NULL)
        log_warn("http", "an answer is longer than announced", BYTES("length", exchange->length));
    exchange->failure = "answer longer than announced";
    return exchange->length - exchange->body_sent;
}

static void begin_body(struct http_exchange *exchange, int64_t len, bool is_last)
{
    if (exchange->is_head_sent)
        return;
    bool has_more = !is_last || exchange_has_trailers(exchange);
    bool may_say = exchange->request.method != HTTP_HEAD && !exchange->is_tunnel;
    if (!has_more && exchange->length < 0 && may_say)
        exchange->length = len;
    write_head(exchange, !has_more && (exchange->drops_body || exchange->length == 0));
}

static void begin_chunk(struct http_exchange *exchange, int64_t len)
{
    if (!exchange->is_chunked)
        return;
    output_append_uint(output_of(exchange), pool_of(exchange), (uint64_t)len, 16);
    append(exchange, T("\r\n"));
}

/* `blob`: NULL, or what the data is a part of. */
static void sink(struct http_exchange *exchange, struct text data, struct http_blob *blob,
                 bool is_last)
{
    begin_body(exchange, (int64_t)data.len, is_last);
    if (!exchange->drops_body)
        data.len = (size_t)cut(exchange, (int64_t)data.len);
    if (data.len > 0 && !exchange->drops_body) {
        begin_chunk(exchange, (int64_t)data.len);
        if (blob != NULL && exchange->lane->stream != NULL)
            output_share_blob(output_of(exchange), pool_of(exchange), blob,
                              (size_t)(data.data - blob->data), data.len);
        else if (blob != NULL)
            output_append_blob(output_of(exchange), pool_of(exchange), blob,
                               (size_t)(data.data - blob->data), data.len);
        else
            append(exchange, data);
        if (exchange->is_chunked)
            append(exchange, T("\r\n"));
        exchange->body_sent += (int64_t)data.len;
    }
    if (is_last)
        exchange_finish(exchange);
}

/* Owns the descriptor. */
static void sink_file(struct http_exchange *exchange, int file, int64_t offset, int64_t len,
                      bool is_last)
{
    struct output *output = output_of(exchange);
    begin_body(exchange, len, is_last);
    len = cut(exchange, len);
    if (len > 0) {
        begin_chunk(exchange, len);
        if (len > SMALL_FILE_BYTES) {
            output_append_file(output, pool_of(exchange), file, offset, len);
            file = -1;
        } else if (!output_append_from_file(output, pool_of(exchange), file, offset, len)) {
            exchange->failure = "file shorter than announced";
            exchange->is_broken = true;
        }
        if (exchange->is_chunked)
            append(exchange, T("\r\n"));
        exchange->body_sent += len;
    }
    fd_close(&file);
    if (is_last)
        exchange_finish(exchange);
}

/* ---- filters ---- */

static struct http_filter *next_with_data(struct http_filter *filter)
{
    while (filter != NULL && filter->data == NULL)
        filter = filter->next;
    return filter;
}

void http_filter_add(struct http_exchange *exchange, struct http_filter *filter)
{
    if (exchange->is_tunnel)
        return;
    filter->next = exchange->filters;
    exchange->filters = filter;
}

void http_filter_pass(struct http_filter *filter, struct http_exchange *exchange, struct text data,
                      bool is_last)
{
    struct http_filter *next = next_with_data(filter->next);
    if (exchange->is_complete || exchange->is_broken)
        return;
    if (next != NULL)
        next->data(next, exchange, data, is_last);
    else
        sink(exchange, data, NULL, is_last);
}

void exchange_filter_head(struct http_exchange *exchange)
{
    if (exchange->is_filtered)
        return;
    exchange->is_filtered = true;
    if (exchange->status == 0)
        exchange->status = 200;
    for (struct http_filter *filter = exchange->filters; filter != NULL; filter = filter->next)
        if (filter->head != NULL)
            filter->head(filter, exchange);
    exchange->drops_body =
        exchange->request.method == HTTP_HEAD || exchange->status == 204 || exchange->status == 304;
}

static void add_piece(struct http_exchange *exchange, struct piece piece)
{
    struct piece *copy = ARENA_NEW(exchange->arena, struct piece);
    struct piece **end = &exchange->pieces;
    if (copy != NULL && piece.text.len > 0)
        piece.text = arena_copy(exchange->arena, piece.text);
    if (copy == NULL || (piece.text.len > 0 && piece.text.data == NULL)) {
        fd_close(&piece.file);
        exchange->failure = "answer too large for its filters";
        exchange->is_broken = true;
        return;
    }
    while (*end != NULL)
        end = &(*end)->next;
    *copy = piece;
    *end = copy;
}

/* One step of a file through the filters. False when it is broken. */
static bool pump_file(struct http_exchange *exchange, struct http_filter *filter,
                      struct piece *piece)
{
    char data[PUMP_BYTES];
    size_t want = piece->left < PUMP_BYTES ? (size_t)piece->left : PUMP_BYTES;
    ssize_t got = want > 0 ? sys_pread(piece->file, data, want, piece->offset) : 0;
    if (got < (ssize_t)want) {
        exchange->failure = "file shorter than announced";
        exchange->is_broken = true;
        return false;
    }
    piece->offset += got;
    piece->left -= got;
    filter->data(filter, exchange, text_from(data, want), piece->is_last && piece->left == 0);
    return true;
}

bool exchange_pump(struct http_exchange *exchange)
{
    struct piece *piece = exchange->pieces;
    struct http_filter *filter = next_with_data(exchange->filters);
    if (piece == NULL || output_of(exchange)->waiting >= exchange_high_bytes(exchange) ||
        exchange->lane->pumps >= PUMPS_PER_TURN)
        return false;
    exchange->lane->pumps++;
    if (piece->file >= 0 && (!pump_file(exchange, filter, piece) || piece->left > 0))
        return true;
    exchange->pieces = piece->next;
    if (piece->file < 0)
        filter->data(filter, exchange, piece->text, piece->is_last);
    fd_close(&piece->file);
    return true;
}

/* ---- what handlers call ---- */

/* Who heard it is told when it is so no more. */
bool http_response_is_full(struct http_exchange *exchange)
{
    bool is_full =
        exchange->pieces != NULL || exchange->lane->output.waiting >= exchange_high_bytes(exchange);
    exchange->was_full = exchange->was_full || is_full;
    return is_full;
}

void http_response_limit(struct http_exchange *exchange, size_t bytes)
{
    exchange->high_bytes = bytes;
}

void exchange_queued(struct http_exchange *exchange)
{
    exchange_wake(exchange);
    (void)http_response_is_full(exchange);
}

static void send_bytes(struct http_exchange *exchange, struct text data, struct http_blob *blob,
                       bool is_last)
{
    if (exchange->is_complete || exchange->is_broken)
        return;
    exchange_filter_head(exchange);
    struct http_filter *filter = exchange->drops_body ? NULL : next_with_data(exchange->filters);
    if (filter != NULL && exchange->pieces != NULL)
        add_piece(exchange, (struct piece){ .file = -1, .text = data, .is_last = is_last });
    else if (filter != NULL && (data.len > 0 || is_last))
        filter->data(filter, exchange, data, is_last);
    else
        sink(exchange, data, blob, is_last);
    exchange_queued(exchange);
}

void http_response_send(struct http_exchange *exchange, struct text data, bool is_last)
{
    send_bytes(exchange, data, NULL, is_last);
}

void http_response_blob(struct http_exchange *exchange, struct http_blob *blob, size_t start,
                        size_t len, bool is_last)
{
    send_bytes(exchange, text_from(blob->data + start, len), blob, is_last);
}

void http_response_file(struct http_exchange *exchange, int file, bool owns_file, int64_t offset,
                        int64_t len, bool is_last)
{
    int owned = owns_file ? file : fcntl(file, F_DUPFD_CLOEXEC, 0);
    if (exchange->is_complete || exchange->is_broken) {
        fd_close(&owned);
        return;
    }
    if (owned < 0) {
        http_response_abort(exchange);
        return;
    }
    exchange_filter_head(exchange);
    if (exchange->drops_body) {
        fd_close(&owned);
        sink(exchange, text_from("", 0), NULL, is_last);
    } else if (next_with_data(exchange->filters) != NULL) {
        add_piece(exchange, (struct piece){
                                .file = owned, .offset = offset, .left = len, .is_last = is_last });
    } else {
        sink_file(exchange, owned, offset, len, is_last);
    }
    exchange_queued(exchange);
}

void http_response_abort(struct http_exchange *exchange)
{
    if (exchange->is_complete)
        return;
    if (!exchange->is_head_sent) {
        http_reply_error(exchange, 502);
        return;
    }
    if (exchange->failure == NULL)
        exchange->failure = "answer broken off";
    exchange->events = NULL; /* who breaks it off need not be told */
    exchange->is_broken = true;
    exchange_wake(exchange);
}

int http_response_status(const struct http_exchange *exchange)
{
    return exchange->status;
}

void http_response_set_status(struct http_exchange *exchange, int status)
{
    exchange->status = status;
}

int64_t http_response_length(const struct http_exchange *exchange)
{
    return exchange->length;
}

void http_response_set_length(struct http_exchange *exchange, int64_t length)
{
    exchange->length = length;
}

struct http_headers *http_response_headers(struct http_exchange *exchange)
{
    return &exchange->headers;
}

bool http_response_is_head_sent(const struct http_exchange *exchange)
{
    return exchange->is_head_sent;
}

bool http_response_is_started(const struct http_exchange *exchange)
{
    return exchange->status != 0;
}
