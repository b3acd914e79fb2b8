/* What a responder sends: an answer of HTTP, or a reason why it is none. */
#include "stream/tls_staple.h"
#include "web/staple.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct why why = { "" };
    struct buffer der = buffer_of(TLS_STAPLE_LIMIT);
    enum err err = web_staple_read(text_from((const char *)data, size), &der, &why);
    assert(err == OK ? der.len <= size : why.text[0] != '\0');
    buffer_done(&der);
    return 0;
}
