#ifndef WEB_GENERATION_H
#define WEB_GENERATION_H

/* One configuration generation as the edge uses it: router, handlers, pages, http_config. */

#include "web/compress.h"
#include "web/files.h"
#include "web/page.h"
#include "web/rate_limit.h"
#include "web/web.h"

struct web_generation {
    struct http_config config;   /* config.owner is this */
    struct http_handler handler; /* the router */
    struct arena *arena;
    struct generation *source; /* owned */
    const struct site_route *routes;
    struct web_router *router;
    size_t route_count;
    struct http_handler **handlers; /* of each route */
    struct board_series **series;   /* of each route; NULL without a board */
    struct web_rate **rates;        /* of each route; NULL without a limit */
    bool has_rates;
    void (**frees)(struct http_handler *);
    struct http_handler *balancer; /* takes what comes from outside; NULL: the router does */
    void (*free_balancer)(struct http_handler *);
    struct board_series *balancer_series;
    uint16_t inside;                   /* port */
    struct tls_context *tls;           /* NULL: clients do not come in encrypted here */
    struct metrics *metrics;           /* of this process */
    struct offenders *offenders;       /* who asked too much; NULL: nobody wants to know */
    struct challenges *challenges;     /* of a CA; NULL: none is asked */
    struct tls_context *inside_server; /* NULL: what servers of the site say is not encrypted */
    struct tls_context *inside_client;
    struct tls_context *inside_http2; /* the same for HTTP/2; NULL: nobody is spoken to by it */
    struct outside *outside;          /* of upstreams by https */
    struct web_files *files;
    struct web_compressors *compressors;
    struct web_pages pages;
    void *part; /* of the edge's other service; NULL: none, or it left */
    struct loop_task release;
    void *edge;
};

/* Builds it. Takes over `source` only on success. The caller sets the call-backs of config that
 * concern it (finished, released). */
MUST_CHECK enum err web_generation_new(struct loop *loop, struct process *process,
                                       struct generation *source, const struct web_maker *makers,
                                       size_t maker_count, const struct web_front *front,
                                       struct web_generation **generation_out, struct why *why);

/* Accepts NULL. Nothing may use its config any more. */
void web_generation_free(struct web_generation *generation);

#endif
