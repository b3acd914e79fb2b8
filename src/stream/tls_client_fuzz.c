/* Bytes of a server to a client's TLS, whole and byte by byte: it never takes one for the server it
 * looks for, gives no data, and stays at its failure. */
#include "stream/local_ca.h"
#include "stream/tls.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_peer *make_peer(void)
{
    static const uint8_t secret[LOCAL_CA_SECRET_BYTES] = "fuzz";
    struct buffer authority = buffer_of(16384);
    struct tls_context *context = NULL;
    struct tls_peer *peer = NULL;
    enum err err = local_ca_write(secret, T("fuzz"), &authority, NULL);
    assert(err == OK);
    struct tls_client_settings settings = { .authorities = buffer_text(&authority),
                                            .protocol = "http/1.1" };
    err = tls_client_context_new(&settings, &context, NULL);
    assert(err == OK);
    err = tls_peer_new(context, T("web-01"), &peer, NULL);
    assert(err == OK);
    tls_context_unref(context);
    buffer_done(&authority);
    return peer;
}

static void feed(struct tls_peer *peer, struct text bytes, size_t piece)
{
    char data[1024];
    size_t got;
    struct tls *tls = tls_new_client(peer);
    tls_put(tls, T(""));
    enum tls_state state = tls_read(tls, data, sizeof(data), &got);
    assert(state == TLS_MORE && tls_output(tls)->len > 0);
    for (size_t at = 0; at < bytes.len && state == TLS_MORE; at += piece) {
        tls_put(tls, text_part(bytes, at, piece));
        state = tls_read(tls, data, sizeof(data), &got);
        assert(got == 0 && !tls_is_open(tls));
        assert(tls_output(tls)->len < 65536);
    }
    if (state == TLS_FAILED) {
        tls_put(tls, bytes);
        state = tls_read(tls, data, sizeof(data), &got);
        assert(state == TLS_FAILED && got == 0 && !tls_write(tls, T("x")));
    }
    tls_free(tls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_peer *peer;
    if (peer == NULL)
        peer = make_peer();
    feed(peer, text_from((const char *)data, size), size > 0 ? size : 1);
    feed(peer, text_from((const char *)data, size), 1);
    return 0;
}
