/* Bytes of a client to the server's TLS, whole and byte by byte: no data before a handshake, and
 * nothing after a failure. */
#include "core/clock.h"
#include "stream/local_ca.h"
#include "stream/tls.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_context *make_context(void)
{
    static const uint8_t secret[LOCAL_CA_SECRET_BYTES] = "fuzz";
    struct text names[] = { T("www.example.com"), T("*.example.org"), T("127.0.0.1") };
    struct buffer chain = buffer_of(16384), key = buffer_of(16384);
    struct why why;
    struct tls_context *context = NULL;
    enum err err = local_ca_issue(secret, T("fuzz"), names, COUNT(names), clock_wall_ms() / 1000,
                                  &chain, &key, &why);
    struct tls_pair pair = { buffer_text(&chain), buffer_text(&key), "fuzz" };
    struct tls_settings settings = { .pairs = &pair, .count = 1, .protocols = "http/1.1" };
    assert(err == OK);
    err = tls_context_new(&settings, &context, &why);
    assert(err == OK);
    buffer_done(&chain);
    buffer_done(&key);
    return context;
}

static void feed(struct tls_context *context, struct text bytes, size_t piece)
{
    char data[1024];
    size_t got;
    enum tls_state state = TLS_MORE;
    struct tls *tls = tls_new(context);
    for (size_t at = 0; at < bytes.len && state == TLS_MORE; at += piece) {
        tls_put(tls, text_part(bytes, at, piece));
        state = tls_read(tls, data, sizeof(data), &got);
        assert(state != TLS_DATA); /* nobody can finish a handshake without an answer */
        assert(!tls_is_open(tls));
        assert(tls_output(tls)->len < 65536);
    }
    if (state == TLS_FAILED) {
        tls_put(tls, bytes);
        state = tls_read(tls, data, sizeof(data), &got);
        assert(state == TLS_FAILED && got == 0);
    }
    tls_free(tls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_context *context;
    if (context == NULL)
        context = make_context();
    feed(context, text_from((const char *)data, size), size > 0 ? size : 1);
    feed(context, text_from((const char *)data, size), 1);
    return 0;
}
