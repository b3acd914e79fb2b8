/* Answers of a responder: none that was not signed for it is ever taken. */
#include "core/clock.h"
#include "stream/local_ca.h"
#include "stream/tls_staple.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_context *make_context(void)
{
    static const uint8_t secret[LOCAL_CA_SECRET_BYTES] = "fuzz";
    struct text name = T("www.example.com");
    struct buffer chain = buffer_of(32768), key = buffer_of(16384);
    struct why why;
    struct tls_context *context = NULL;
    enum err err =
        local_ca_issue(secret, T("fuzz"), &name, 1, clock_wall_ms() / 1000, &chain, &key, &why);
    assert(err == OK);
    err = local_ca_write(secret, T("fuzz"), &chain, &why); /* the issuer is in the chain */
    assert(err == OK);
    struct tls_pair pair = { buffer_text(&chain), buffer_text(&key), "fuzz" };
    struct tls_settings settings = { .pairs = &pair, .count = 1, .protocols = "http/1.1" };
    err = tls_context_new(&settings, &context, &why);
    assert(err == OK);
    buffer_done(&chain);
    buffer_done(&key);
    return context;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_context *context;
    struct why why = { "" };
    if (context == NULL)
        context = make_context();
    enum err err =
        tls_staple_take(context, 0, text_from((const char *)data, size), 1800000000, &why);
    assert(err != OK && why.text[0] != '\0');
    return 0;
}
