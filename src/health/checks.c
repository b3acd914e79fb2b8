/* See checks.h. */
#include "health/checks.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "health/judge.h"
#include "health/visit.h"
#include "stream/resolve.h"

#include <stdio.h>

enum {
    LOOK_MS = 100,    /* how often the board is looked at for what edges and people did */
    FIRST_MS = 50,    /* the first checks of many backends are spread over this time */
    NAME_LEAST_S = 1, /* how long the address of a name is used, whatever its TTL */
    NAME_MOST_S = 60,
};

struct check {
    struct list link;
    struct checks *checks;
    struct health_entry *entry;
    const struct site_pool *pool;
    struct site_backend backend;
    struct judge judge;
    struct tls_peer *peer; /* NULL: it is visited without TLS */
    const struct tls_context *peer_context;
    struct loop_timer timer;
    struct visit *visit;     /* NULL: waits for its time */
    struct resolve *resolve; /* the name is being asked for; the timer is its deadline */
    struct address resolved; /* of a backend by name */
    int64_t resolved_until_ms;
    int64_t started_ms; /* of the last one */
    int64_t seen_bad;   /* what edges had counted by then */
    bool is_wanted;
};

struct checks {
    struct loop *loop;
    struct health_board *board;
    const struct site *site;
    const struct site_server *server;
    struct tls_context *inside; /* NULL: servers of the site are spoken to without TLS */
    struct outside *outside;
    struct list list;
    struct check *by_entry[HEALTH_ENTRIES];
    struct loop_timer look;
    uint32_t version;
    uint32_t random;
};

static uint32_t next_random(struct checks *checks)
{
    uint32_t x = checks->random; /* xorshift: only spreads load */
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return checks->random = x;
}

/* ---- one check ---- */

static void plan_next(struct check *check)
{
    int64_t now_ms = loop_now_ms(check->checks->loop);
    int64_t due_ms = judge_next_ms(check->started_ms, check->pool->check.interval_ms, now_ms,
                                   next_random(check->checks));
    loop_timer_start(check->checks->loop, &check->timer, due_ms - now_ms);
}

static void note(struct check *check, const struct visit_result *result)
{
    const struct judge *judge = &check->judge;
    const struct site_check *policy = &check->pool->check;
    char reason[HEALTH_REASON_SIZE];
    bool was_up = judge->state == HEALTH_UP;
    bool has_changed = judge_result(&check->judge, result->is_good, policy->rise, policy->fall);
    if (judge->state != HEALTH_DOWN && !result->is_good)
        snprintf(reason, sizeof(reason), "%lld of %lld checks failed: %s", (long long)judge->bad,
                 (long long)policy->fall, result->reason);
    else if (judge->state == HEALTH_DOWN && result->is_good)
        snprintf(reason, sizeof(reason), "%lld of %lld checks good: %s", (long long)judge->good,
                 (long long)policy->rise, result->reason);
    else
        snprintf(reason, sizeof(reason), "%s", result->reason);
    health_judge(check->checks->board, check->entry, judge->state, text_of(reason),
                 result->is_good ? result->latency_us : -1, clock_wall_ms());
    if (has_changed && judge->state == HEALTH_DOWN)
        log_warn("health", was_up ? "backend went down" : "backend is down",
                 STRING("backend", check->entry->name), STRING("reason", reason));
    else if (has_changed)
        log_info("health", "backend is up", STRING("backend", check->entry->name),
                 STRING("reason", reason), INT("latency_us", result->latency_us));
}

static void visited(void *owner, const struct visit_result *result)
{
    struct check *check = owner;
    check->visit = NULL;
    note(check, result);
    plan_next(check);
}

/* Servers of the site take both, strangers perhaps only the one. */
static bool speaks_http2(const struct site_pool *pool)
{
    return pool->protocol != SITE_HTTP1 && !pool->is_secure;
}

static void visit(struct check *check, const struct address *address)
{
    struct visit_plan plan = { .address = *address,
                               .check = &check->pool->check,
                               .proxy_protocol = check->pool->proxy_protocol,
                               .is_http2 = speaks_http2(check->pool),
                               .peer = check->peer };
    check->visit = visit_start(check->checks->loop, &plan, visited, check);
}

/* ---- backends by name: one that has no address is down, like any other that does not answer ----
 */

static void has_no_address(struct check *check, const char *reason)
{
    struct visit_result result = { .is_good = false, .latency_us = -1 };
    snprintf(result.reason, sizeof(result.reason), "the name '%.*s': %s", FMT(check->backend.host),
             reason);
    visited(check, &result);
}

static void resolved(void *owner, const struct resolve_answer *answer)
{
    struct check *check = owner;
    struct loop *loop = check->checks->loop;
    int64_t ttl_s = answer->ttl_s < NAME_LEAST_S  ? NAME_LEAST_S
                    : answer->ttl_s > NAME_MOST_S ? NAME_MOST_S
                                                  : answer->ttl_s;
    check->resolve = NULL;
    loop_timer_stop(loop, &check->timer);
    if (answer->err != OK || answer->count == 0) {
        has_no_address(check, answer->err != OK ? err_text(answer->err) : "has no address");
        return;
    }
    check->resolved = answer->addresses[0];
    check->resolved_until_ms = loop_now_ms(loop) + ttl_s * 1000;
    visit(check, &check->resolved);
}

/* ---- when it is due ---- */

static void run(struct loop_timer *timer)
{
    struct check *check = list_entry(timer, struct check, timer);
    struct checks *checks = check->checks;
    int64_t now_ms = loop_now_ms(checks->loop);
    if (check->resolve != NULL) {
        resolve_cancel(check->resolve);
        check->resolve = NULL;
        has_no_address(check, "no answer of a name server in time");
        return;
    }
    check->started_ms = now_ms;
    check->seen_bad = health_bad(checks->board, check->entry);
    if (check->backend.address.len > 0) {
        visit(check, &check->backend.address);
    } else if (now_ms < check->resolved_until_ms) {
        visit(check, &check->resolved);
    } else {
        check->resolve = resolve_start(checks->loop, check->backend.host,
                                       (uint16_t)check->backend.port, resolved, check);
        loop_timer_start(checks->loop, &check->timer, check->pool->check.timeout_ms);
    }
}

static void check_free(struct check *check)
{
    visit_cancel(check->visit);
    resolve_cancel(check->resolve);
    loop_timer_stop(check->checks->loop, &check->timer);
    list_remove(&check->link);
    tls_peer_unref(check->peer);
    check->checks->by_entry[health_index(check->checks->board, check->entry)] = NULL;
    memory_free(check);
}

/* Nobody looks at it from now on, so nothing is known of it. */
static void check_drop(struct check *check)
{
    health_judge(check->checks->board, check->entry, HEALTH_UNKNOWN, T(""), -1, clock_wall_ms());
    check_free(check);
}

static struct check *check_new(struct checks *checks, struct health_entry *entry)
{
    struct check *check = NEW(struct check);
    check->checks = checks;
    check->entry = entry;
    check->judge.state = (enum health_state)atomic_load(&entry->judged);
    check->judge.has_been_up = check->judge.state != HEALTH_UNKNOWN; /* as far as we know */
    loop_timer_init(&check->timer, run);
    list_append(&checks->list, &check->link);
    checks->by_entry[health_index(checks->board, entry)] = check;
    loop_timer_start(checks->loop, &check->timer, next_random(checks) % FIRST_MS);
    return check;
}

/* ---- which ones ---- */

static bool is_checked(const struct site *site, const struct site_pool *pool,
                       const struct site_server *server)
{
    return pool->check.is_active && site_is_on(site, &pool->on, server);
}

/* The session goes with it: a visit soon begins another. */
static void set_peer(struct check *check)
{
    const struct site_backend *backend = &check->backend;
    struct checks *checks = check->checks;
    struct tls_context *tls =
        check->pool->is_secure ? checks->inside : outside_find(checks->outside, check->pool);
    struct text name = backend->server != NULL ? backend->server->name : backend->host;
    if (check->peer != NULL && check->peer_context == tls)
        return;
    tls_peer_unref(check->peer);
    check->peer = NULL;
    check->peer_context = tls;
    if (tls != NULL && tls_peer_new(tls, name, &check->peer, NULL) != OK)
        log_warn("health", "a backend has no name that a certificate could cover",
                 STRING("backend", check->entry->name));
}

static void want(struct checks *checks, struct health_entry *entry, const struct site_pool *pool,
                 const struct site_backend *backend)
{
    if (entry == NULL || health_member(entry) == HEALTH_MEMBER_REMOVED)
        return;
    struct check *found = checks->by_entry[health_index(checks->board, entry)];
    if (found == NULL)
        found = check_new(checks, entry);
    found->is_wanted = true;
    found->pool = pool;
    found->backend = *backend;
    set_peer(found);
}

static void want_pool(struct checks *checks, const struct site_pool *pool)
{
    char prefix[HEALTH_NAME_SIZE];
    size_t at = 0;
    struct health_entry *entry;
    for (size_t i = 0; i < pool->backend_count; i++)
        want(checks, health_use(checks->board, pool->backends[i].board), pool, &pool->backends[i]);
    snprintf(prefix, sizeof(prefix), "%.*s/", FMT(pool->name));
    while ((entry = health_next(checks->board, text_of(prefix), &at)) != NULL) {
        struct site_backend backend;
        struct text rest = text_skip(text_of(entry->name), strlen(prefix));
        if (health_member(entry) == HEALTH_MEMBER_ADDED &&
            site_backend_read(checks->site, rest, 0, &backend) == NULL)
            want(checks, entry, pool, &backend);
    }
}

static void sync(struct checks *checks)
{
    checks->version = health_version(checks->board);
    list_each (at, &checks->list)
        list_entry(at, struct check, link)->is_wanted = false;
    for (size_t i = 0; i < checks->site->pool_count; i++)
        if (is_checked(checks->site, checks->site->pools[i], checks->server))
            want_pool(checks, checks->site->pools[i]);
    list_each (at, &checks->list) {
        struct check *check = list_entry(at, struct check, link);
        if (!check->is_wanted)
            check_drop(check);
    }
}

/* ---- what others did meanwhile ---- */

/* An edge that could not reach it brings the next check forward. */
static void hurry(struct check *check)
{
    struct checks *checks = check->checks;
    int64_t bad = health_bad(checks->board, check->entry);
    int64_t pause_ms = check->pool->check.interval_ms / 4;
    bool is_due = loop_now_ms(checks->loop) - check->started_ms >= pause_ms;
    bool is_running = check->visit != NULL || check->resolve != NULL;
    if (bad == check->seen_bad || is_running || !is_due)
        return;
    check->seen_bad = bad;
    loop_timer_start(checks->loop, &check->timer, 0);
}

static void look(struct loop_timer *timer)
{
    struct checks *checks = list_entry(timer, struct checks, look);
    if (health_version(checks->board) != checks->version)
        sync(checks);
    list_each (at, &checks->list)
        hurry(list_entry(at, struct check, link));
    loop_timer_start(checks->loop, &checks->look, LOOK_MS);
}

/* ---- all of them ---- */

struct checks *checks_new(struct loop *loop, struct health_board *board)
{
    struct checks *checks = NEW(struct checks);
    checks->loop = loop;
    checks->board = board;
    list_init(&checks->list);
    loop_timer_init(&checks->look, look);
    sys_random(&checks->random, sizeof(checks->random));
    checks->random |= 1; /* a xorshift of zero stays there */
    return checks;
}

void checks_use(struct checks *checks, const struct site *site, const struct site_server *server,
                struct tls_context *inside, struct outside *outside)
{
    tls_context_unref(checks->inside);
    checks->inside = inside != NULL ? tls_context_ref(inside) : NULL;
    outside_free(checks->outside);
    checks->outside = outside;
    checks->site = site;
    checks->server = server;
    list_each (at, &checks->list) {
        struct check *check = list_entry(at, struct check, link);
        check->resolved_until_ms = 0;
        if (check->visit == NULL && check->resolve == NULL)
            continue;
        visit_cancel(check->visit); /* its policy goes with the old site */
        resolve_cancel(check->resolve);
        check->visit = NULL;
        check->resolve = NULL;
        loop_timer_start(checks->loop, &check->timer, 0);
    }
    sync(checks);
    loop_timer_start(checks->loop, &checks->look, LOOK_MS);
}

bool checks_are_wanted(const struct site *site, const struct site_server *server)
{
    for (size_t i = 0; i < site->pool_count; i++)
        if (is_checked(site, site->pools[i], server))
            return true;
    return false;
}

size_t checks_count(const struct checks *checks)
{
    size_t count = 0;
    list_each (at, &checks->list)
        count++;
    return count;
}

void checks_free(struct checks *checks)
{
    if (checks == NULL)
        return;
    loop_timer_stop(checks->loop, &checks->look);
    list_each (at, &checks->list)
        check_drop(list_entry(at, struct check, link));
    tls_context_unref(checks->inside);
    outside_free(checks->outside);
    memory_free(checks);
}
