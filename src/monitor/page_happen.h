#ifndef MONITOR_PAGE_HAPPEN_H
#define MONITOR_PAGE_HAPPEN_H

/* Alerts and events for the page: the functions of struct api_source that know alerts.h. */

#include "monitor/alerts.h"

/* Their context. */
struct page_happen {
    struct alerts *alerts;
    const struct site *site; /* of the serving generation */
};

void page_happen_alerts(void *context, struct buffer *out);
void page_happen_events(void *context, int64_t from_ms, int64_t to_ms, struct buffer *out);

#endif
