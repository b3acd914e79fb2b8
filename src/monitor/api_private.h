#ifndef MONITOR_API_PRIVATE_H
#define MONITOR_API_PRIVATE_H

/* Private to api*.c. */

#include "monitor/api.h"
#include "monitor/question.h"

enum { API_ANSWER_LIMIT = 16 << 20, API_STREAMS_LIMIT = 32 };

/* One open api/live. */
struct api_stream {
    struct list link;
    struct api *api;
    struct http_exchange *exchange;
    struct session session;
    size_t behind; /* seconds in a row that it took nothing */
};

struct api {
    struct loop *loop;
    struct api_source source;
    const struct generation *generation;
    struct list streams;
    size_t stream_count;
    size_t *names_sent; /* per server of now: how many names the streams know */
    size_t names_count;
    uint32_t alerts_hash; /* of what was sent last */
    int64_t told_ms;      /* wall clock: until when the streams know what happened; 0: not at all */
    struct buffer event;  /* what is being made for all streams */
};

/* A number as JSON: 4 digits are more than a chart shows; NAN is null. */
void api_write_number(struct buffer *out, double value);

/* `{"site": ...}` */
void api_write_site(const struct api *api, struct buffer *out);

/* `{"alerts": [...]}` */
void api_write_alerts(const struct api *api, struct buffer *out);

/* Answers a range; the work is done before it returns. */
void api_write_range(const struct api *api, const struct question *question, struct buffer *out);

void api_live_start(struct api *api, struct http_exchange *exchange, const struct session *session);

/* The site has changed: all streams learn it anew. */
void api_live_use(struct api *api);

#endif
