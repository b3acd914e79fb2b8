/* A client of HTTP/2 for tests. Frames of nghttp2 over the connection of a struct client. */
#include "http/http2_fixture.h"

#include "core/clock.h"
#include "core/memory.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

enum { PATIENCE_MS = 10000, CLIENT_WINDOW = 1 << 20 };

struct answer *client2_answer(struct client2 *client, int32_t stream)
{
    return &client->answers[(size_t)(stream / 2) % ANSWERS];
}

/* ---- what nghttp2 tells ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *argument)
{
    struct answer *answer = client2_answer(argument, frame->hd.stream_id);
    struct text key = text_from((const char *)name, name_len);
    struct text text = text_from((const char *)value, value_len);
    uint64_t status;
    if (text_equal(key, T(":status")) && text_to_uint(text, 999, &status) && status >= 200)
        answer->status = (int)status;
    else if (text_equal(key, T("content-length")))
        text_copy_to(text, answer->length, sizeof(answer->length));
    else if (text_equal(key, T("server")))
        text_copy_to(text, answer->server, sizeof(answer->server));
    else if (text_equal(key, T("x-end")))
        text_copy_to(text, answer->trailer, sizeof(answer->trailer));
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *argument)
{
    struct answer *answer = client2_answer(argument, id);
    for (size_t i = 0; i < len && answer->bytes + i + 1 < sizeof(answer->start); i++)
        answer->start[answer->bytes + i] = (char)data[i];
    answer->bytes += len;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *argument)
{
    struct client2 *client = argument;
    struct answer *answer = client2_answer(client, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->has_goaway = true;
        client->goaway_code = frame->goaway.error_code;
    } else if (frame->hd.type == NGHTTP2_RST_STREAM) {
        answer->is_reset = true;
        answer->code = frame->rst_stream.error_code;
    } else if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
               (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        answer->is_whole = true;
    }
    return 0;
}

static int on_closed(nghttp2_session *session, int32_t id, uint32_t code, void *argument)
{
    struct client2 *client = argument;
    struct answer *answer = client2_answer(client, id);
    answer->is_closed = true;
    answer->order = ++client->closed;
    return 0;
}

static nghttp2_nv field_of(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                         strlen(value), NGHTTP2_NV_FLAG_NONE };
}

static ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *data, size_t most,
                           uint32_t *flags, nghttp2_data_source *source, void *argument)
{
    struct client2 *client = argument;
    size_t len = client->upload_left < most ? client->upload_left : most;
    if (client->is_upload_held)
        return NGHTTP2_ERR_DEFERRED;
    memset(data, 'u', len);
    client->upload_left -= len;
    if (client->upload_left == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (client->upload_left == 0 && client->trailer != NULL) {
        nghttp2_nv fields[] = { field_of("x-end", client->trailer),
                                field_of("content-type", "never/here") };
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, fields, COUNT(fields));
    }
    return (ssize_t)len;
}

/* ---- life ---- */

static void make_session(struct client2 *client, uint32_t window)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, window > 0);
    nghttp2_option_set_no_http_messaging(option, 1);
    nghttp2_option_set_peer_max_concurrent_streams(option, ANSWERS);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_closed);
    nghttp2_session_client_new2(&client->session, callbacks, client, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
}

bool client2_open(struct client2 *client, struct fixture *fixture, uint32_t window)
{
    *client = (struct client2){ 0 };
    nghttp2_settings_entry entry = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
                                     window > 0 ? window : CLIENT_WINDOW };
    make_session(client, window);
    nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, &entry, 1);
    if (window == 0)
        nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0, CLIENT_WINDOW);
    if (!client_open(&client->wire, fixture))
        return false;
    int on = 1;
    setsockopt(client->wire.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return true;
}

void client2_close(struct client2 *client)
{
    nghttp2_session_del(client->session);
    client_close(&client->wire);
}

/* ---- asking ---- */

int32_t client2_ask_fields(struct client2 *client, const char *const (*fields)[2], size_t count,
                           bool has_body)
{
    nghttp2_nv nv[16];
    nghttp2_data_provider body = { .read_callback = read_upload };
    for (size_t i = 0; i < count; i++)
        nv[i] = field_of(fields[i][0], fields[i][1]);
    return nghttp2_submit_request(client->session, NULL, nv, count, has_body ? &body : NULL, NULL);
}

int32_t client2_ask(struct client2 *client, const char *method, const char *path,
                    ssize_t body_bytes, const char *length)
{
    const char *const fields[][2] = { { ":method", method },
                                      { ":scheme", "http" },
                                      { ":authority", "www.example.com" },
                                      { ":path", path },
                                      { "content-length", length } };
    client->upload_left = body_bytes > 0 ? (size_t)body_bytes : 0;
    return client2_ask_fields(client, fields, length != NULL ? 5 : 4, body_bytes >= 0);
}

void client2_turn(struct client2 *client)
{
    struct client *wire = &client->wire;
    const uint8_t *data;
    ssize_t len;
    while ((len = nghttp2_session_mem_send(client->session, &data)) > 0)
        client_send(wire, text_from((const char *)data, (size_t)len));
    client_pull(wire);
    (void)!nghttp2_session_mem_recv(client->session, (const uint8_t *)wire->input.data,
                                    wire->input.len);
    buffer_clear(&wire->input);
}

int client2_wait(struct client2 *client, int32_t stream)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (!client2_answer(client, stream)->is_closed && !client->wire.is_closed &&
           clock_now_ms() < until_ms)
        client2_turn(client);
    return client2_answer(client, stream)->status;
}

bool client2_is_ended(struct client2 *client)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    do {
        client2_turn(client); /* also what came before the end */
        fixture_turn(client->wire.fixture, 1);
    } while (!client->wire.is_closed && clock_now_ms() < until_ms);
    client2_turn(client);
    return client->wire.is_closed;
}
