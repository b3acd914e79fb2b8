/* The answers of name servers: any bytes, to a query that was asked. And /etc/hosts. */
#include "stream/resolve.h"

#include "core/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t query[RESOLVE_QUERY_SIZE];
    struct resolve_answer answer = { 0 };
    struct text bytes = text_from((const char *)data, size);
    size_t len = resolve_write_query(T("api.example.com"), 0x1234, RESOLVE_A, query);
    (void)resolve_read_answer(bytes, text_from((const char *)query, len), 80, &answer);
    resolve_read_hosts(bytes, T("api.example.com"), 80, &answer);
    return 0;
}
