#ifndef WEB_WEB_H
#define WEB_WEB_H

/*
 * The web role and the edge process it lives in: takes connections, routes requests by host and
 * path, answers from files, redirects and fixed answers, compresses, writes the access log. Other
 * answers (application, upstream) are made by handlers that src/main.c gives it, so this folder
 * knows no other role.
 */

#include "http/http.h"
#include "process/process.h"
#include "stream/inside.h"
#include "stream/outside.h"

/* What a maker may use. All of it lives until `free` was called for the handler. */
struct web_setup {
    struct loop *loop;
    struct generation *generation;
    struct process *process;
    struct arena *arena;     /* of the generation; freed after all its handlers */
    struct web_files *files; /* for web_files_handler */
    struct web_compressors *compressors;
    struct tls_context *inside; /* to connect to other servers of the site; NULL: without TLS */
    struct tls_context *inside_http2; /* the same for HTTP/2; NULL: it is not used */
    struct outside *outside;          /* to upstreams by https */
};

/* Makes the handlers of one kind of route. */
struct web_maker {
    enum site_action action;
    /* Called once per route of that action while a generation is built. */
    enum err (*make)(const struct web_setup *setup, const struct site_route *route,
                     struct http_handler **handler_out, struct why *why);
    /* No exchange uses the handler any more. */
    void (*free)(struct http_handler *handler);
};

/* What else takes connections in an edge, beside HTTP (layer 4); a part of it per generation. */
struct web_service {
    /* Once per process; lives as long as that. edge: for web_log_connection(). */
    void *(*start)(struct loop *loop, struct process *process, void *edge);
    enum err (*make)(void *service, const struct web_setup *setup, void **part_out,
                     struct why *why);
    /* The generation serves: the part takes connections from now on. */
    void (*serve)(void *part);
    /* It takes no more, or never did, and is not used again; what is open goes on. */
    void (*leave)(void *part);
    /* drained() once when nothing is open any more, from the loop. */
    void (*drain)(void *service, void (*drained)(void *), void *argument);
};

/* A line in the access log for a connection that was no request. edge: see web_service.start. */
void web_log_connection(void *edge, const struct http_record *record);

/* Makes the handler that answers on a balancer instead of the routes: it passes everything on. */
struct web_front {
    enum err (*make)(const struct web_setup *setup, struct http_handler **handler_out,
                     struct why *why);
    void (*free)(struct http_handler *handler);
    const struct web_service *service; /* NULL: none */
};

/* A handler that prefers `near`, an answerer on this server, while it works, and else passes the
 * exchange to `far`, its equals on other servers. What came from another server (by the port
 * listen.inside) is never passed on again. Each may be NULL, both live longer than the handler. It
 * lives in setup->arena; nothing is to be freed. NULL: too many routes. */
struct http_handler *web_near_handler(const struct web_setup *setup, const struct site_app *app,
                                      struct http_handler *near, struct http_handler *far);
bool web_near_is(const struct http_handler *handler);
struct http_handler *web_near_of(struct http_handler *handler);
struct http_handler *web_far_of(struct http_handler *handler);

/* A handler that answers from the files of a folder (descriptor, not owned) as a static route does,
 * for makers whose route has files too. `path`: the prefix of the route's paths that is no part of
 * the names. It lives in setup->arena; nothing is to be freed. NULL: too many routes. */
struct http_handler *web_files_handler(const struct web_setup *setup,
                                       const struct site_route *route, struct text path,
                                       struct text folder, int fd);

/* Says in words which route answers the request and what its rules put on the answer. The route;
 * NULL: 404, or 405 when another method would do. */
const struct site_route *web_explain(const struct site *site, const struct http_request *request,
                                     struct buffer *out);

/* Main of an edge process: serves until the parent says stop or is gone; returns the exit status.
 */
int web_run(struct process *self, const struct web_maker *makers, size_t count,
            const struct web_front *front);

/* The parts of the edge's struct role, for src/main.c. */
#define WEB_NEEDS                                                                                  \
    "listen.http listen.inside listen.tcp. static. app. command. fpm. error. tls. "                \
    "acme.challenges firewall.offenders " INSIDE_NEEDS " " OUTSIDE_NEEDS
enum { WEB_START_ORDER = 30 };

/* site.web.workers, or one per core; 0 when this server takes no requests: it has neither web nor
 * balancer, nor an app that other servers pass requests to. */
size_t web_count(const struct generation *generation);
/* "edge/N" */
void web_title(const struct generation *generation, size_t index, char *out, size_t size);
/* In the parent: opens the listening sockets, the static folders and the error pages. */
enum err web_prepare(struct generation *generation, struct why *why);

/* A struct role for web with this run function. */
#define WEB_ROLE(run_, prepare_)                                                                   \
    {                                                                                              \
        .name = "web", .summary = "serves files and routes requests", .reload = RELOAD_SWAP,       \
        .start_order = WEB_START_ORDER, .needs = WEB_NEEDS, .count = web_count,                    \
        .title = web_title, .prepare = prepare_, .run = run_, .folder = "web",                     \
        .has_access_log = true                                                                     \
    }

#endif
