#ifndef MONITOR_API_H
#define MONITOR_API_H

/*
 * What the page asks for, as JSON (docs/guide/monitoring.md names all of it):
 *
 *   api/site      servers, their parts and addresses
 *   api/range     series over time (question.h)
 *   api/alerts    what is wrong now          api/events   what has happened
 *   api/live      a stream of server-sent events: site, names, then one `now` each second, and
 *                 `alerts` and `events` when there are new ones
 *
 * Who may ask is decided before (page.c).
 */

#include "http/http.h"
#include "monitor/now.h"
#include "monitor/session.h"
#include "monitor/store.h"
#include "process/process.h"

/* Where the facts come from. All but now and store may be NULL. */
struct api_source {
    const struct now *now;
    struct store *store;
    void *context;
    /* Writes the members of a JSON array: {id, severity, state, server, text, since (s), cause
     * (id), silenced}, ... */
    void (*alerts)(void *context, struct buffer *out);
    /* The same: {time (s), kind, server, severity, text}, ... of [from_ms, to_ms), oldest first. */
    void (*events)(void *context, int64_t from_ms, int64_t to_ms, struct buffer *out);
    /* Writes the drawing of the site as a JSON object: places, edges, single points. */
    void (*picture)(const struct site *site, struct buffer *out);
};

struct api;

/* The source is copied. */
struct api *api_new(struct loop *loop, const struct api_source *source);

/* Another generation serves; it must stay until the next call or api_free. */
void api_use(struct api *api, const struct generation *generation);

/* Answers GET (or HEAD) of the path behind "/api/". session: who asks, for streams that have to end
 * with it. */
void api_answer(struct api *api, struct http_exchange *exchange, struct text name,
                const struct session *session);

/* Once a second, when the frames of that second are in. */
void api_second(struct api *api);

/* Ends the streams of a session that is over. */
void api_end_session(struct api *api, const struct session *session);

/* Ends all streams. Accepts NULL. */
void api_free(struct api *api);

#endif
