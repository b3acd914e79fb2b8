/* Fuzz target: lists of GTIDs, as a database server may send them. */
#include "database/gtid.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gtid_list list;
    struct gtid errant;
    if (gtid_parse(text_from((const char *)data, size), &list) != OK)
        return 0;
    if (list.count > GTID_LIST_LIMIT || gtid_is_beyond(&list, &list))
        abort();
    /* a list names a server twice only when it is broken; then the later may look errant */
    (void)gtid_find_errant(&list, &list, 1, &errant);
    return 0;
}
