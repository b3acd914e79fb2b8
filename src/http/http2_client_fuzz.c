/* Any bytes of a server: events come in their order, once, and nothing after the last. */
#include "core/memory.h"
#include "http/http2_client.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS = 3, HELD_BYTES = 128 * 1024 };

struct one {
    struct http2_call call;
    struct arena *arena;
    size_t bytes;
    bool has_head;
    bool is_over;
};

static struct one *one_of(struct http2_call *call)
{
    struct one *one = list_entry(call, struct one, call);
    assert(!one->is_over);
    return one;
}

static void on_head(struct http2_call *call, const struct http1_response *response)
{
    struct one *one = one_of(call);
    assert(!one->has_head && response->status >= 200 && response->status <= 599);
    one->has_head = true;
    if (response->status == 299) { /* one that leaves at once */
        one->is_over = true;
        http2_call_leave(call);
    }
}

static void on_data(struct http2_call *call, struct text data)
{
    struct one *one = one_of(call);
    assert(one->has_head);
    one->bytes += data.len;
    assert(one->bytes <= HELD_BYTES); /* nobody takes anything */
}

static void on_ended(struct http2_call *call, const struct http_headers *trailers)
{
    struct one *one = one_of(call);
    assert(one->has_head && trailers != NULL);
    one->is_over = true;
    http2_call_leave(call);
}

static void on_lost(struct http2_call *call, enum http2_loss loss, const char *reason)
{
    struct one *one = one_of(call);
    assert(reason != NULL && (loss == HTTP2_REFUSED || loss == HTTP2_RESET));
    one->is_over = true;
}

static void on_sent(struct http2_call *call)
{
    (void)one_of(call);
}

static const struct http2_client_events events = { on_head, on_data, on_ended, on_lost, on_sent };

static void ask(struct one *one, struct http2_client *client, bool has_body)
{
    static const struct text head = { "POST / HTTP/1.1\r\nHost: a\r\n\r\n", 28 };
    *one = (struct one){ .arena = arena_new(1 << 18, 0) };
    bool is_asked = http2_call_ask(&one->call, client, one->arena, has_body ? HTTP_POST : HTTP_GET,
                                   T("http"), head, has_body);
    assert(is_asked);
    if (has_body)
        assert(http2_call_send(&one->call, T("abc"), false, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct one ones[CALLS];
    struct buffer out = buffer_of(1 << 22);
    struct http2_client *client = http2_client_new(&events);
    size_t piece = size > 0 ? data[0] + 1u : 1;
    struct text rest = text_from((const char *)data + (size > 0), size - (size > 0));
    for (size_t i = 0; i < CALLS; i++)
        ask(&ones[i], client, i == 1);
    bool is_good = http2_client_write(client, &out, 65536);
    while (is_good && rest.len > 0) {
        struct text part = text_part(rest, 0, piece);
        rest = text_skip(rest, part.len);
        is_good = http2_client_receive(client, part);
        buffer_clear(&out);
        is_good = is_good && http2_client_write(client, &out, 65536);
    }
    (void)http2_client_most(client);
    for (size_t i = 0; i < CALLS; i++) {
        http2_call_leave(&ones[i].call);
        arena_free(ones[i].arena);
    }
    http2_client_free(client);
    buffer_done(&out);
    return 0;
}
