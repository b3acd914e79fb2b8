/*
 * A connection of HTTP/2 as its client; see http2_client.h.
 *
 * nghttp2 knows a call by its stream's user data, which http2_call_leave clears: whoever comes back
 * from an event looks there whether the call is still to be had. Of the two windows that of the
 * connection is opened at once for all that comes; that of a stream by who takes the data.
 */
#include "http/http2_client.h"

#include "core/memory.h"
#include "http/http1_private.h"

#include <nghttp2/nghttp2.h>

enum {
    STREAMS_MOST = 128,
    STREAMS_FIRST = 100, /* until the server has said how many */
    STREAM_WINDOW = 128 * 1024,
    WINDOW = 4 * 1024 * 1024,
    HEAD_BYTES = 64 * 1024, /* of an answer */
    HEAD_FIELDS = 256,
    FIELD_BYTES = 4,
    SEND_HEAD_BYTES = 1024 * 1024,
    OUT_LIMIT = 4 * 1024 * 1024,
    FIRST_FIELDS = 4, /* method, scheme, authority, path */
};

struct http2_client {
    const struct http2_client_events *events;
    nghttp2_session *session;
    struct list drained; /* calls whose body may go on */
    bool is_leaving;     /* the server has said that it goes */
};

static struct http2_call *find(struct http2_client *client, int32_t id)
{
    return nghttp2_session_get_stream_user_data(client->session, id);
}

/* ---- ends ---- */

/* Nothing leads to the call from here any more. */
static void forget(struct http2_call *call)
{
    nghttp2_session_set_stream_user_data(call->client->session, call->id, NULL);
    list_remove(&call->drained);
    buffer_done(&call->out);
    call->client = NULL;
}

static void lose(struct http2_call *call, enum http2_loss loss, const char *reason)
{
    const struct http2_client_events *events = call->client->events;
    forget(call);
    events->lost(call, loss, reason);
}

static void end(struct http2_call *call)
{
    if (call->has_ended)
        return;
    call->has_ended = true;
    call->client->events->ended(call, &call->trailers);
}

void http2_call_leave(struct http2_call *call)
{
    if (call->client == NULL)
        return;
    if (!call->has_ended || !call->is_framed)
        nghttp2_submit_rst_stream(call->client->session, NGHTTP2_FLAG_NONE, call->id,
                                  NGHTTP2_CANCEL);
    forget(call);
}

/* ---- the answer ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *argument)
{
    struct http2_call *call = find(argument, frame->hd.stream_id);
    if (call == NULL || call->has_head)
        return 0;
    call->headers = (struct http_headers){ 0 };
    call->status = 0;
    call->head_bytes = 0;
    return 0;
}

/* False: too much. */
static bool add_field(struct http2_call *call, struct text name, struct text value)
{
    struct http_headers *headers = call->has_head ? &call->trailers : &call->headers;
    enum http_field field = http_field_find(name);
    call->head_bytes += name.len + value.len + FIELD_BYTES;
    if (call->head_bytes > HEAD_BYTES || headers->count >= HEAD_FIELDS)
        return false;
    name = field == FIELD_OTHER ? arena_copy(call->arena, name) : http_field_name(field);
    value = arena_copy(call->arena, text_trim(value));
    return name.data != NULL && value.data != NULL &&
           http_headers_add(headers, call->arena, field, name, value);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *argument)
{
    struct http2_call *call = find(argument, frame->hd.stream_id);
    struct text key = text_from((const char *)name, name_len);
    struct text text = text_from((const char *)value, value_len);
    uint64_t status;
    if (call == NULL)
        return 0;
    if (text_equal(key, T(":status"))) /* nghttp2 has seen to it that it is one */
        call->status = text_to_uint(text, 999, &status) ? (int)status : 0;
    else if (!add_field(call, key, text))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* which resets the stream */
    return 0;
}

static enum http1_framing framing_of(const struct http2_call *call, int64_t length, bool is_last)
{
    bool has_none = call->method == HTTP_HEAD || call->status == 204 || call->status == 304;
    if (is_last || has_none)
        return HTTP1_NO_BODY;
    return length >= 0 ? HTTP1_LENGTH : HTTP1_UNTIL_CLOSE;
}

/* The final head is there. False: it is none. */
static bool take_head(struct http2_call *call, bool is_last)
{
    struct http1_lengths lengths;
    struct http1_problem problem;
    if (call->status > 599 ||
        http1_parse_lengths(&call->headers, 1, &lengths, &problem) == HTTP1_BAD)
        return false;
    struct http1_response response = {
        .status = call->status,
        .reason = T(""),
        .minor_version = 1,
        .headers = call->headers,
        .framing = framing_of(call, lengths.content_length, is_last),
        .content_length = lengths.content_length,
        .keep_alive = true,
    };
    call->has_head = true;
    call->client->events->head(call, &response);
    return true;
}

static void head_received(struct http2_client *client, const nghttp2_frame *frame)
{
    struct http2_call *call = find(client, frame->hd.stream_id);
    bool is_last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (call == NULL)
        return;
    if (!call->has_head && call->status >= 100 && call->status < 200)
        return;
    if (!call->has_head && !take_head(call, is_last)) {
        nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, call->id,
                                  NGHTTP2_PROTOCOL_ERROR);
        lose(call, HTTP2_RESET, "its head is malformed");
        return;
    }
    call = find(client, frame->hd.stream_id);
    if (is_last && call != NULL)
        end(call);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *argument)
{
    struct http2_client *client = argument;
    struct http2_call *call;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        head_received(client, frame);
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->is_leaving = true;
    } else if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        call = find(client, frame->hd.stream_id);
        if (call != NULL)
            end(call);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *argument)
{
    struct http2_client *client = argument;
    struct http2_call *call = find(client, id);
    nghttp2_session_consume_connection(session, len);
    if (call != NULL && len > 0)
        client->events->data(call, text_from((const char *)data, len));
    return 0;
}

static const char *reason_of(uint32_t code)
{
    switch (code) {
    case NGHTTP2_REFUSED_STREAM:
        return "it refused the stream";
    case NGHTTP2_PROTOCOL_ERROR:
        return "its answer breaks the protocol of HTTP/2";
    case NGHTTP2_INTERNAL_ERROR:
        return "it reset the stream (internal error), or its head is too large";
    default:
        return "it reset the stream";
    }
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *argument)
{
    struct http2_call *call = find(argument, id);
    if (call == NULL)
        return 0;
    if (call->has_ended) {
        call->is_framed = true; /* or given up: nothing is left to be told */
        return 0;
    }
    lose(call, code == NGHTTP2_REFUSED_STREAM ? HTTP2_REFUSED : HTTP2_RESET, reason_of(code));
    return 0;
}

/* ---- the request ---- */

static nghttp2_nv field_of(struct text name, struct text value)
{
    return (nghttp2_nv){ (uint8_t *)(uintptr_t)name.data, (uint8_t *)(uintptr_t)value.data,
                         name.len, value.len, NGHTTP2_NV_FLAG_NONE };
}

static void submit_trailers(struct http2_call *call)
{
    nghttp2_nv fields[HTTP_TRAILERS];
    const struct http_headers *trailers = call->out_trailers;
    size_t count = trailers->count < HTTP_TRAILERS ? trailers->count : HTTP_TRAILERS;
    for (size_t i = 0; i < count; i++)
        fields[i] = field_of(trailers->items[i].name, trailers->items[i].value);
    nghttp2_submit_trailer(call->client->session, call->id, fields, count);
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *data, size_t most,
                         uint32_t *flags, nghttp2_data_source *source, void *argument)
{
    struct http2_client *client = argument;
    struct http2_call *call = find(client, id);
    if (call == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct text rest = text_skip(buffer_text(&call->out), call->framed);
    size_t len = rest.len < most ? rest.len : most;
    if (len == 0 && !call->is_whole) {
        call->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (len > 0)
        memcpy(data, rest.data, len);
    call->framed += len;
    if (len < rest.len)
        return (ssize_t)len;
    buffer_clear(&call->out);
    call->framed = 0;
    if (!call->is_whole) {
        list_remove(&call->drained);
        list_append(&client->drained, &call->drained);
        return (ssize_t)len;
    }
    call->is_framed = true;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (call->out_trailers != NULL && call->out_trailers->count > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_trailers(call);
    }
    return (ssize_t)len;
}

static bool is_of_http1(enum http_field field)
{
    return field == FIELD_HOST || field == FIELD_CONNECTION || field == FIELD_TRANSFER_ENCODING ||
           field == FIELD_UPGRADE || field == FIELD_KEEP_ALIVE || field == FIELD_PROXY_CONNECTION;
}

/* "GET /path HTTP/1.1" */
static bool read_line(struct text line, struct text *method_out, struct text *target_out)
{
    ssize_t first = text_find(line, ' ');
    if (first <= 0)
        return false;
    *method_out = text_part(line, 0, (size_t)first);
    struct text rest = text_skip(line, (size_t)first + 1);
    ssize_t second = text_find(rest, ' ');
    *target_out = text_part(rest, 0, second > 0 ? (size_t)second : 0);
    return second > 0;
}

/* The fields of the head into fields[], which has room for them. Returns their number; 0: it is no
 * head. */
static size_t read_fields(struct text head, struct text scheme, nghttp2_nv *fields)
{
    struct text line, method, target, authority = T("");
    size_t count = FIRST_FIELDS;
    if (!http1_next_line(&head, &line) || !read_line(line, &method, &target))
        return 0;
    while (http1_next_line(&head, &line)) {
        ssize_t colon = text_find(line, ':');
        if (colon <= 0)
            return 0;
        struct text name = text_part(line, 0, (size_t)colon);
        struct text value = text_trim(text_skip(line, (size_t)colon + 1));
        enum http_field field = http_field_find(name);
        if (field == FIELD_HOST)
            authority = value;
        if (!is_of_http1(field))
            fields[count++] = field_of(name, value);
    }
    fields[0] = field_of(T(":method"), method);
    fields[1] = field_of(T(":scheme"), scheme);
    fields[2] = field_of(T(":authority"), authority);
    fields[3] = field_of(T(":path"), target);
    return count;
}

static size_t count_lines(struct text head)
{
    size_t count = 0;
    for (size_t i = 0; i < head.len; i++)
        count += head.data[i] == '\n';
    return count;
}

bool http2_call_ask(struct http2_call *call, struct http2_client *client, struct arena *arena,
                    enum http_method method, struct text scheme, struct text head, bool has_body)
{
    nghttp2_data_provider body = { .read_callback = read_body };
    nghttp2_nv *fields = arena_alloc(arena, (count_lines(head) + FIRST_FIELDS) * sizeof(*fields));
    size_t count = fields != NULL ? read_fields(head, scheme, fields) : 0;
    int32_t id = count > 0 ? nghttp2_submit_request(client->session, NULL, fields, count,
                                                    has_body ? &body : NULL, call)
                           : -1;
    if (id < 0)
        return false;
    *call = (struct http2_call){ .client = client,
                                 .arena = arena,
                                 .out = buffer_of(OUT_LIMIT),
                                 .method = method,
                                 .id = id,
                                 .is_whole = !has_body,
                                 .is_framed = !has_body };
    list_init(&call->drained);
    return true;
}

bool http2_call_send(struct http2_call *call, struct text data, bool is_last,
                     const struct http_headers *trailers)
{
    if (call->client == NULL || call->is_whole)
        return true; /* it is over: who left it has been told */
    buffer_append(&call->out, data);
    call->is_whole = is_last;
    call->out_trailers = is_last ? trailers : NULL;
    if (call->is_deferred)
        nghttp2_session_resume_data(call->client->session, call->id);
    call->is_deferred = false;
    return !call->out.failed;
}

void http2_call_take(struct http2_call *call, size_t len)
{
    if (call->client != NULL && len > 0)
        nghttp2_session_consume_stream(call->client->session, call->id, len);
}

/* ---- the connection ---- */

static bool make_session(struct http2_client *client)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return false;
    if (nghttp2_option_new(&option) != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return false;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_peer_max_concurrent_streams(option, STREAMS_FIRST);
    nghttp2_option_set_max_send_header_block_length(option, SEND_HEAD_BYTES);
    int result = nghttp2_session_client_new2(&client->session, callbacks, client, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return result == 0;
}

struct http2_client *http2_client_new(const struct http2_client_events *events)
{
    static const nghttp2_settings_entry entries[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_BYTES },
    };
    struct http2_client *client = NEW(struct http2_client);
    client->events = events;
    list_init(&client->drained);
    if (make_session(client) &&
        nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, entries, COUNT(entries)) == 0 &&
        nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0, WINDOW) == 0)
        return client;
    http2_client_free(client);
    return NULL;
}

void http2_client_free(struct http2_client *client)
{
    if (client == NULL)
        return;
    nghttp2_session_del(client->session);
    memory_free(client);
}

bool http2_client_receive(struct http2_client *client, struct text data)
{
    ssize_t used = nghttp2_session_mem_recv(client->session, (const uint8_t *)data.data, data.len);
    return used >= 0 && nghttp2_session_want_read(client->session) != 0;
}

bool http2_client_write(struct http2_client *client, struct buffer *out, size_t most)
{
    struct http2_call *call;
    while (out->len < most) {
        const uint8_t *data;
        ssize_t len = nghttp2_session_mem_send(client->session, &data);
        if (len < 0)
            return false;
        if (len == 0)
            break;
        buffer_append(out, text_from((const char *)data, (size_t)len));
    }
    while ((call = list_first(&client->drained, struct http2_call, drained)) != NULL) {
        list_remove(&call->drained);
        client->events->sent(call);
    }
    return !out->failed && nghttp2_session_want_read(client->session) != 0;
}

size_t http2_client_most(const struct http2_client *client)
{
    uint32_t most = nghttp2_session_get_remote_settings(client->session,
                                                        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (client->is_leaving || nghttp2_session_check_request_allowed(client->session) == 0)
        return 0;
    return most < STREAMS_MOST ? most : STREAMS_MOST;
}
