/*
 * Who answers when a server of the site could and others could, too: the one here, as long as it
 * works. And the answer for what nobody here was made for.
 */
#include "metrics/metrics.h"
#include "web/reply.h"
#include "web/web.h"

struct near {
    struct http_handler handler;
    struct http_handler *near, *far; /* NULL: none */
    const struct health_entry *own;  /* of the one here, as the checks see it */
    uint16_t inside;
};

struct status {
    struct http_handler handler;
    int status;
};

static void near_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct near *self = (struct near *)handler;
    /* A request is passed on at most once, so that none runs in circles when all are down. */
    bool was_passed = address_port(&http_exchange_request(exchange)->server) == self->inside;
    bool works = self->near != NULL && health_state(self->own) != HEALTH_DOWN;
    struct http_handler *next = (works || was_passed || self->far == NULL) ? self->near : self->far;
    if (next == NULL)
        http_reply_error(exchange, 421);
    else
        next->start(next, exchange);
}

struct http_handler *web_near_handler(const struct web_setup *setup, const struct site_app *app,
                                      struct http_handler *near, struct http_handler *far)
{
    struct near *self = ARENA_NEW(setup->arena, struct near);
    struct text server = setup->generation->server->name;
    struct text name = arena_print(setup->arena, "%.*s/%.*s", FMT(app->pool.name), FMT(server));
    if (self == NULL || name.data == NULL)
        return NULL;
    *self = (struct near){
        .handler = { .name = "app", .start = near_start },
        .near = near,
        .far = far,
        .own = near != NULL ? health_use(setup->process->health, name) : NULL,
        .inside = (uint16_t)setup->generation->site->listen.inside,
    };
    return &self->handler;
}

bool web_near_is(const struct http_handler *handler)
{
    return handler != NULL && handler->start == near_start;
}

struct http_handler *web_near_of(struct http_handler *handler)
{
    return ((struct near *)handler)->near;
}

struct http_handler *web_far_of(struct http_handler *handler)
{
    return ((struct near *)handler)->far;
}

static void status_start(struct http_handler *handler, struct http_exchange *exchange)
{
    http_reply_error(exchange, ((struct status *)handler)->status);
}

struct http_handler *web_status_new(struct arena *arena, int status)
{
    struct status *self = ARENA_NEW(arena, struct status);
    if (self == NULL)
        return NULL;
    *self = (struct status){ { .name = "status", .start = status_start }, status };
    return &self->handler;
}
