/* See pair_fixture.h. */
#include "balancer/pair_fixture.h"

static int64_t turn_back(struct loop_hook *hook)
{
    struct pair *pair = list_entry(hook, struct pair, turn);
    loop_turn(pair->back.loop, 0);
    return 1;
}

void pair_accepted(void *owner, int fd, const struct address *peer)
{
    struct pair *pair = owner;
    pair->accepted++;
    http_server_accept(pair->back.server, fd, peer, NULL, NULL);
}

void pair_open_upstream(struct pair *pair, const struct address *address,
                        const struct balancer_policy *policy)
{
    struct balancer_backend backend = {
        .name = T("back"), .address = *address, .authority = T("localhost"), .weight = 1
    };
    struct balancer_pool pool = {
        .name = T("back"), .policy = *policy, .backends = &backend, .count = 1
    };
    pair->handler = balancer_pool_new(pair->front.loop, &pool);
    pair->upstream = list_entry(pair->handler, struct upstream, handler);
    pair->front.config.handler = pair->handler;
}

void pair_relax(struct http_limits *limits)
{
    limits->head_bytes = 65536;
    limits->header_count = 100;
    limits->head_ms = limits->body_ms = limits->send_ms = limits->idle_ms = 3000;
}

bool pair_start_with(struct pair *pair, enum loop_backend backend,
                     const struct balancer_policy *policy)
{
    *pair = (struct pair){ 0 };
    if (!fixture_start(&pair->front, backend) || !fixture_start(&pair->back, backend))
        return false;
    pair_relax(&pair->front.config.limits);
    pair_relax(&pair->back.config.limits);
    pair->listener =
        stream_listener_new(pair->back.loop, pair->back.listener, 100, pair_accepted, pair);
    loop_hook_start(pair->front.loop, &pair->turn, turn_back);
    pair_open_upstream(pair, &pair->back.address, policy);
    return true;
}

bool pair_start(struct pair *pair, enum loop_backend backend)
{
    return pair_start_with(pair, backend, &BALANCER_POLICY);
}

void pair_stop(struct pair *pair)
{
    http_server_free(pair->front.server);
    pair->front.server = NULL;
    balancer_upstream_free(pair->handler);
    fixture_turn(&pair->front, 5);
    stream_listener_free(pair->listener);
    fixture_turn(&pair->front, 5);
    loop_hook_stop(&pair->turn);
    fixture_stop(&pair->back);
    fixture_stop(&pair->front);
}
