/*
 * Which backend a request would be given and what it would be sent, in words; for `trilith
 * explain`. Makes the very pool that an edge would have from what is on the health board, and asks
 * it.
 */
#include "balancer/balancer_private.h"

#include "core/memory.h"

enum { HEAD_LIMIT = 65536 };

static void print_reason(const struct balancer_policy *policy, struct buffer *out)
{
    static const char *const whats[] = { "path", "header", "cookie" };
    switch (policy->algorithm) {
    case BALANCER_ROUND_ROBIN:
        buffer_print(out, "round-robin: in turn, by weight; the next request gets the next one");
        break;
    case BALANCER_LEAST_CONNECTIONS:
        buffer_print(out, "least-connections: the fewest requests for its weight");
        break;
    case BALANCER_RANDOM_TWO:
        buffer_print(out, "random-two: the less busy of two drawn by weight");
        break;
    case BALANCER_IP_HASH:
        buffer_print(out, "ip-hash: the client's address leads there");
        break;
    case BALANCER_CONSISTENT_HASH:
        buffer_print(out, "consistent-hash: the %s%s%.*s leads there", whats[policy->hash],
                     policy->hash_name.len > 0 ? " " : "", FMT(policy->hash_name));
        break;
    }
}

static void print_target(const struct target *target, const struct health_board *board,
                         const struct target *picked, struct buffer *out)
{
    struct health_view view;
    (void)health_read(board, target->entry, &view);
    buffer_print(out, "    %s %s: %s%s%s", target == picked ? "->" : "  ", target->name,
                 health_state_name(view.state), view.reason[0] != '\0' ? ", " : "", view.reason);
    buffer_print(out, "; weight %lld, %lld in flight%s%s\n",
                 (long long)health_weight(target->entry, target->weight), (long long)view.active,
                 target->is_backup ? ", backup" : "",
                 view.member == HEALTH_MEMBER_REMOVED ? ", removed" : "");
}

/* Whether a line of the head, whose lines end with CR LF, begins with the name. */
static bool has_header(struct text head, struct text name)
{
    while (head.len > 0) {
        struct text line = text_next(&head, '\n');
        if (text_equal_fold(text_part(line, 0, name.len), name) && line.len > name.len &&
            line.data[name.len] == ':')
            return true;
    }
    return false;
}

/* The head that it would get, line by line, and what of the client's it would not. */
static void print_head(const struct target *target, const struct http_request *request,
                       struct buffer *out)
{
    struct buffer head AUTO(buffer_done) = buffer_of(HEAD_LIMIT);
    balancer_write_head(&head, request, text_of(target->authority));
    struct text rest = buffer_text(&head);
    buffer_print(out, "  it gets\n");
    while (rest.len > 0) {
        struct text line = text_next(&rest, '\n');
        if (line.len > 1)
            buffer_print(out, "    %.*s\n", (int)line.len - 1, line.data);
    }
    for (size_t i = 0; i < request->headers.count; i++)
        if (!has_header(buffer_text(&head), request->headers.items[i].name))
            buffer_print(out, "  not passed on: %.*s\n", FMT(request->headers.items[i].name));
}

/* The requests that edges have there count for least-connections and the like. */
static void enter_active(struct pool *pool, const struct health_board *board)
{
    for (size_t i = 0; i < pool->target_count; i++) {
        struct target *target = &pool->targets[i];
        struct health_view view;
        (void)health_read(board, target->entry, &view);
        for (int64_t n = 0; n < view.active && n < pool->policy.connections; n++)
            chooser_enter(pool->choosers[target->is_backup ? 1 : 0], target->index);
    }
}

static void leave_active(struct pool *pool)
{
    for (size_t i = 0; i < pool->target_count; i++) {
        struct target *target = &pool->targets[i];
        struct chooser *chooser = pool->choosers[target->is_backup ? 1 : 0];
        while (chooser_active(chooser, target->index) > 0)
            chooser_leave(chooser, target->index);
    }
}

/* Names need not be resolved to say which would be asked: they get an address that is never used.
 */
static struct balancer_backend *with_addresses(const struct balancer_pool *settings)
{
    struct balancer_backend *copies = memory_new_array(settings->count + 1, sizeof(*copies));
    for (size_t i = 0; i < settings->count; i++) {
        copies[i] = settings->backends[i];
        if (copies[i].address.len == 0)
            (void)!address_parse_ip(T("0.0.0.0"), (uint16_t)copies[i].port, &copies[i].address);
    }
    return copies;
}

static void no_down(struct pool *pool, struct target *target)
{
    (void)pool;
    (void)target;
}

static void no_room(struct pool *pool)
{
    (void)pool;
}

static ssize_t ask(struct pool *pool, const struct balancer_pool *settings,
                   const struct http_request *request, struct buffer *out)
{
    struct choice choice = { .random = pool->random };
    uint64_t sticky = balancer_key_of(&pool->policy, request, &choice);
    enter_active(pool, settings->health);
    struct target *picked = pool_take(pool, &choice, sticky);
    if (picked != NULL)
        pool_leave(picked); /* this one is not in flight */
    buffer_print(out, "  pool      %.*s, ", FMT(settings->name));
    if (picked != NULL && sticky != 0 && picked->id == sticky)
        buffer_print(out, "the cookie '%.*s' names its server", FMT(pool->policy.sticky));
    else
        print_reason(&pool->policy, out);
    buffer_print(out, "\n");
    for (size_t i = 0; i < pool->target_count; i++)
        print_target(&pool->targets[i], settings->health, picked, out);
    if (picked == NULL)
        buffer_print(out, "  answer    503: none of them may be asked, or has room\n");
    else
        print_head(picked, request, out);
    if (picked != NULL && pool->policy.sticky.len > 0 && picked->id != sticky)
        buffer_print(out, "  adds      Set-Cookie: %.*s=%016llx\n", FMT(pool->policy.sticky),
                     (unsigned long long)picked->id);
    leave_active(pool);
    return picked != NULL && picked->index < settings->count ? (ssize_t)picked->index : -1;
}

ssize_t balancer_explain(const struct balancer_pool *settings, const struct http_request *request,
                         struct buffer *out)
{
    static const struct pool_events events = { no_down, no_room };
    struct loop *loop;
    struct why why;
    if (loop_new(LOOP_EPOLL, &loop, &why) != OK) {
        buffer_print(out, "  pool      %.*s: %s\n", FMT(settings->name), why.text);
        return -1;
    }
    struct pool *pool = NEW(struct pool);
    struct balancer_pool copy = *settings;
    struct balancer_backend *backends = with_addresses(settings);
    copy.backends = backends;
    copy.cursor = NULL; /* looking must not take somebody's turn */
    pool_init(pool, loop, &copy, &events);
    ssize_t index = ask(pool, settings, request, out);
    pool_stop(pool);
    pool_done(pool);
    memory_free(pool);
    memory_free(backends);
    loop_free(loop);
    return index;
}
