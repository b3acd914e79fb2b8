/*
 * Rates of routes; see rate_limit.h. Clients of IPv6 count by their /64: who has one address of it
 * has them all.
 */
#include "web/rate_limit.h"

#include "metrics/metrics.h"

#include <stdio.h>

enum { V6_BYTES = 8 };

struct web_rate {
    struct rate_table *table;
    struct metrics *metrics;
    uint64_t what;
    struct rate rate;
    struct text header; /* empty: by client */
};

struct web_rate *web_rate_new(struct arena *arena, struct process *process,
                              const struct site_route *route, struct text name)
{
    const struct site_rate *limit = &route->rate;
    if (limit->count <= 0 || process->rates == NULL)
        return NULL;
    struct web_rate *rate = ARENA_NEW(arena, struct web_rate);
    if (rate == NULL)
        return NULL;
    int64_t interval_us = limit->per_ms * 1000 / limit->count;
    *rate = (struct web_rate){
        .table = process->rates,
        .metrics = process->metrics,
        .what = text_hash(name),
        .rate = { interval_us > 0 ? interval_us : 1, limit->burst > 0 ? limit->burst : 1 },
        .header = limit->by == SITE_RATE_BY_HEADER ? limit->header : T(""),
    };
    return rate;
}

static uint64_t key_of(const struct web_rate *rate, const struct http_request *request)
{
    struct network client;
    if (rate->header.len > 0) {
        const struct http_header *header = http_headers_find_name(&request->headers, rate->header);
        if (header != NULL && header->value.len > 0)
            return rate_key(rate->table, rate->what ^ 1, header->value.data, header->value.len);
    }
    if (!network_of(&request->client, &client))
        return rate_key(rate->table, rate->what, "", 0); /* a Unix socket: one client */
    return rate_key(rate->table, rate->what, client.ip, client.is_v4 ? 4 : V6_BYTES);
}

bool web_rate_allows(const struct web_rate *rate, struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    int64_t wait_us = 0;
    if (rate == NULL)
        return true;
    int64_t now_us = loop_now_us(http_exchange_loop(exchange));
    if (rate_take(rate->table, key_of(rate, request), &rate->rate, now_us, &wait_us))
        return true;
    metrics_add(&rate->metrics->rate_limited, 1);
    http_exchange_note(exchange, T("rate"), 0, 0);
    http_reply_error_wait(exchange, 429, (wait_us + 999999) / 1000000);
    return false;
}
