/* The table behind struct metrics, for status and export. */
#include "metrics/metrics.h"

#include <stddef.h>

const struct metrics_entry metrics_entries[] = {
#define X(name_, kind_, help_)                                                                     \
    { .name = #name_,                                                                              \
      .kind = METRICS_##kind_,                                                                     \
      .help = help_,                                                                               \
      .offset = offsetof(struct metrics, name_) },
    METRICS_LIST(X)
#undef X
};
const uint32_t metrics_entry_count = sizeof(metrics_entries) / sizeof(metrics_entries[0]);
