/*
 * Any bytes as a site file: no crash, and either a site or at least one mistake.
 */
#include "site/site.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    enum err err =
        site_parse(text_from((const char *)data, size), "site.yaml", false, &site, &mistakes);
    if ((err == OK) != (site != NULL) || (err == OK) != (mistakes.count == 0))
        abort();
    if (err != OK && text_is_empty(buffer_text(&mistakes.text)))
        abort();
    site_mistakes_done(&mistakes);
    site_free(site);
    return 0;
}
