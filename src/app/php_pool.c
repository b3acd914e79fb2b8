/*
 * Connections of one edge process to php-fpm, and the requests that wait for one.
 *
 * A kept connection occupies its child also while it is idle, so each connection has one of the
 * permits that all edge processes share (php_share.c), and an edge gives up an idle one as soon as
 * another edge waits. Whether the child of an idle connection is really free is seen at its receive
 * queue: it reads the last, empty record of a request only when it looks for the next one. After
 * fastcgi_finish_request() it works on, and a request sent to it then would wait for nothing.
 * Scripts that do this are rare, and to wait for the child costs a tenth of a short request; so
 * what may be repeated is sent at once to a child that has just answered, and goes to another one
 * if it is not read soon (php_call.c). Once that happened, nothing is sent in haste for a minute.
 *
 *   opening -> serving a call -> idle -> serving ...        `-> closing -> permit free
 *                             `-> limbo: the child still works for a client that has gone
 */
#include "app/php_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "metrics/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    SEND_MS = 30000,
    IDLE_MS = 1000,
    TICK_MS = 20,
    OUT_LIMIT = 512 * 1024,
    IDLE_BUFFER_BYTES = 16 * 1024,
    SETTLE_AT_ONCE = 16,
    RECENT_MS = 2, /* a child usually comes back from an answer in 0.1 ms */
    CAREFUL_MS = 60 * 1000,
};

struct limbo {
    struct list link;
    int fd;
    int permit;
    int64_t until_ms;
};

enum readiness { CHILD_READY, CHILD_BUSY, CHILD_GONE };

static void serve(struct php_pool *pool);
static enum readiness look_at(const struct php_connection *connection);

/* ---- what the other edges see ---- */

static int64_t first_waits_us(const struct php_pool *pool)
{
    struct php_call *first = list_first(&pool->waiting, struct php_call, link);
    return first != NULL ? first->arrived_us : 0;
}

static void tell_waiting(struct php_pool *pool)
{
    atomic_store(&pool->share->edges[pool->edge].waiting_us, first_waits_us(pool));
    atomic_store(&pool->share->edges[pool->edge].waiting, (uint32_t)pool->waiting_count);
    if (pool->waiting_count > 0 && !loop_timer_is_running(&pool->tick))
        loop_timer_start(pool->loop, &pool->tick, TICK_MS);
}

static void tell_idle(struct php_pool *pool, int change)
{
    if (change > 0)
        atomic_fetch_add(&pool->share->edges[pool->edge].idle, 1);
    else
        atomic_fetch_sub(&pool->share->edges[pool->edge].idle, 1);
}

static void ring(struct php_pool *pool, int edge)
{
    static const uint64_t one = 1;
    if (edge >= 0 && (size_t)edge < pool->edge_count && pool->bells[edge] >= 0 &&
        sys_write(pool->bells[edge], &one, sizeof(one)) < 0)
        return; /* its counter is full: it will wake up all the same */
}

/* A permit is free. Whoever waits longest gets it. */
static void permit_freed(struct php_pool *pool)
{
    int elder = php_share_elder(pool->share, pool->edge, first_waits_us(pool));
    if (elder >= 0)
        ring(pool, elder);
    else
        serve(pool);
}

/* ---- connections ---- */

static void pool_drop(struct php_pool *pool)
{
    if (!pool->is_freed || pool->connection_count > 0)
        return;
    php_share_unmap(pool->share);
    memory_free((void *)(uintptr_t)pool->root.data);
    memory_free(pool);
}

static void leave_idle(struct php_connection *connection)
{
    if (!connection->is_idle)
        return;
    connection->is_idle = false;
    tell_idle(connection->pool, -1);
}

static void close_connection(struct php_connection *connection, bool is_orderly)
{
    if (connection->is_closing)
        return;
    leave_idle(connection);
    connection->is_closing = true;
    connection->call = NULL;
    list_remove(&connection->link);
    list_append(&connection->pool->busy, &connection->link);
    if (is_orderly && !connection->is_sending)
        stream_close(connection->stream);
    else
        stream_abort(connection->stream);
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct php_connection *connection = stream_owner(stream);
    if (connection->call != NULL)
        php_call_received(connection->call, data, err);
    else if (err == ERR_TIMEOUT && connection->is_idle && look_at(connection) == CHILD_BUSY)
        php_connection_release(connection, PHP_ABANDON);
    else
        close_connection(connection, true); /* idle: it ended, or says something unasked */
}

static void on_sent(struct stream *stream, enum err err)
{
    struct php_connection *connection = stream_owner(stream);
    connection->is_sending = false;
    if (connection->call != NULL)
        php_call_sent(connection->call, err);
    else
        close_connection(connection, false);
}

static void on_closed(struct stream *stream)
{
    struct php_connection *connection = stream_owner(stream);
    struct php_pool *pool = connection->pool;
    list_remove(&connection->link);
    buffer_done(&connection->out);
    buffer_done(&connection->in);
    php_share_leave(pool->share, connection->permit);
    memory_free(connection);
    pool->connection_count--;
    if (pool->is_freed)
        pool_drop(pool);
    else
        permit_freed(pool);
}

static const struct stream_events connection_events = {
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

/* The descriptor of a new connection, or -1 with errno: EAGAIN when php-fpm's queue is full. */
static int open_socket(const struct php_pool *pool)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, &pool->address.u.any, pool->address.len) == 0)
        return fd;
    int error = errno;
    fd_close(&fd);
    errno = error;
    return -1;
}

static struct php_connection *open_connection(struct php_pool *pool)
{
    int permit = php_share_take(pool->share, pool->children, pool->edge);
    if (permit < 0)
        return NULL;
    int fd = open_socket(pool);
    if (fd < 0) {
        php_share_leave(pool->share, permit);
        return NULL;
    }
    struct php_connection *connection = NEW(struct php_connection);
    connection->pool = pool;
    connection->permit = permit;
    connection->fd = fd;
    connection->out = buffer_of(OUT_LIMIT);
    connection->in = buffer_of(PHP_HEAD_LIMIT);
    list_init(&connection->link);
    connection->stream = stream_new(pool->loop, fd, &pool->address, &connection_events, connection);
    list_append(&pool->busy, &connection->link);
    pool->connection_count++;
    return connection;
}

/* ---- idle ones ---- */

static bool is_unread(int fd)
{
    int unread = 0;
    return ioctl(fd, SIOCOUTQ, &unread) == 0 && unread > 0;
}

bool php_connection_is_unread(const struct php_connection *connection)
{
    return is_unread(connection->fd);
}

void php_pool_be_careful(struct php_pool *pool)
{
    pool->careful_until_ms = loop_now_ms(pool->loop) + CAREFUL_MS;
}

static enum readiness look_at(const struct php_connection *connection)
{
    char byte;
    if (php_connection_is_unread(connection))
        return CHILD_BUSY;
    ssize_t got = recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && errno == EAGAIN ? CHILD_READY : CHILD_GONE;
}

/* Has settle tell when the child takes what it has not read yet. */
static void watch(struct php_connection *connection)
{
    struct epoll_event event = { .events = EPOLLOUT | EPOLLET, .data.ptr = NULL };
    if (connection->is_watched)
        return;
    connection->is_watched =
        epoll_ctl(connection->pool->settle, EPOLL_CTL_ADD, connection->fd, &event) == 0;
}

/* Its child has answered a moment ago and will come back, as far as we know. */
static bool may_hurry(const struct php_connection *connection)
{
    const struct php_pool *pool = connection->pool;
    int64_t now_ms = loop_now_ms(pool->loop);
    return now_ms >= pool->careful_until_ms && now_ms - connection->idle_since_ms < RECENT_MS;
}

/* An idle connection whose child waits for a request, or will at once; NULL: none. */
static struct php_connection *find_ready(struct php_pool *pool, struct php_call *call)
{
    list_each (at, &pool->idle) {
        struct php_connection *connection = list_entry(at, struct php_connection, link);
        call->is_hasty = call->is_repeatable && may_hurry(connection);
        if (call->is_hasty)
            return connection;
        switch (look_at(connection)) {
        case CHILD_READY:
            return connection;
        case CHILD_BUSY:
            if (loop_now_ms(pool->loop) - connection->idle_since_ms >= RECENT_MS)
                php_pool_be_careful(pool);
            watch(connection);
            break;
        case CHILD_GONE:
            close_connection(connection, true);
            break;
        }
    }
    return NULL;
}

static void on_settle(struct loop_watch *loop_watch, unsigned events)
{
    struct php_pool *pool = list_entry(loop_watch, struct php_pool, settle_watch);
    struct epoll_event found[SETTLE_AT_ONCE];
    while (epoll_wait(pool->settle, found, SETTLE_AT_ONCE, 0) == SETTLE_AT_ONCE)
        continue;
    serve(pool);
}

/* ---- waiting ---- */

static struct php_connection *obtain(struct php_pool *pool, struct php_call *call, bool *is_kept)
{
    struct php_connection *connection = find_ready(pool, call);
    *is_kept = connection != NULL;
    if (connection == NULL)
        return open_connection(pool);
    leave_idle(connection);
    list_remove(&connection->link);
    list_append(&pool->busy, &connection->link);
    return connection;
}

static void take_out(struct php_pool *pool, struct php_call *call)
{
    list_remove(&call->link);
    call->is_waiting = false;
    pool->waiting_count--;
    metrics_add(&pool->metrics->app_queue, -1);
    board_add(pool->series, APP_QUEUE, -1);
}

static void serve(struct php_pool *pool)
{
    while (pool->waiting_count > 0) {
        bool is_kept;
        struct php_call *call = list_first(&pool->waiting, struct php_call, link);
        struct php_connection *connection = obtain(pool, call, &is_kept);
        if (connection == NULL)
            break;
        take_out(pool, call);
        php_call_begin(call, connection, is_kept);
    }
    tell_waiting(pool);
    if (pool->waiting_count > 0)
        ring(pool, php_share_keeper(pool->share, pool->edge));
}

bool php_pool_is_full(const struct php_pool *pool)
{
    return php_share_waiting(pool->share) >= (size_t)pool->app->queue;
}

bool php_pool_enter(struct php_pool *pool, struct php_call *call)
{
    bool is_kept;
    if (pool->waiting_count == 0 && php_share_elder(pool->share, pool->edge, 0) < 0) {
        struct php_connection *connection = obtain(pool, call, &is_kept);
        if (connection != NULL) {
            php_call_begin(call, connection, is_kept);
            return true;
        }
    }
    if (php_pool_is_full(pool))
        return false;
    list_append(&pool->waiting, &call->link);
    call->is_waiting = true;
    pool->waiting_count++;
    metrics_add(&pool->metrics->app_queue, 1);
    board_add(pool->series, APP_QUEUE, 1);
    tell_waiting(pool);
    if (pool->waiting_count == 1)
        ring(pool, php_share_keeper(pool->share, pool->edge));
    return true;
}

void php_pool_forget(struct php_pool *pool, struct php_call *call)
{
    if (!call->is_waiting)
        return;
    take_out(pool, call);
    tell_waiting(pool);
}

/* Another edge waits: it gets a free permit, or that of the idle connection that was used longest
 * ago. */
static void yield_to(struct php_pool *pool, int elder)
{
    if (php_share_is_free(pool->share, pool->children))
        ring(pool, elder);
    else if (!list_is_empty(&pool->idle))
        close_connection(list_entry(pool->idle.previous, struct php_connection, link), true);
}

static void on_bell(struct loop_watch *watch, unsigned events)
{
    struct php_pool *pool = list_entry(watch, struct php_pool, bell);
    uint64_t count;
    if (sys_read(pool->bells[pool->edge], &count, sizeof(count)) < 0)
        return;
    int elder = php_share_elder(pool->share, pool->edge, first_waits_us(pool));
    if (elder >= 0)
        yield_to(pool, elder);
    else
        serve(pool);
}

/* ---- the end of a request ---- */

void php_connection_send(struct php_connection *connection)
{
    struct iovec iov = { connection->out.data, connection->out.len };
    connection->is_sending = true;
    stream_send(connection->stream, &iov, 1, SEND_MS);
}

static void shrink(struct buffer *buffer)
{
    if (buffer->capacity > IDLE_BUFFER_BYTES)
        buffer_done(buffer);
    buffer_clear(buffer);
}

static void become_idle(struct php_connection *connection)
{
    struct php_pool *pool = connection->pool;
    shrink(&connection->out);
    shrink(&connection->in);
    connection->is_idle = true;
    connection->idle_since_ms = loop_now_ms(pool->loop);
    tell_idle(pool, 1);
    list_remove(&connection->link);
    list_prepend(&pool->idle, &connection->link);
    stream_receive(connection->stream, IDLE_MS);
    if (pool->waiting_count > 0)
        serve(pool);
}

/* The child goes on until it writes, which fails now, or ends. Its socket tells when: the child has
 * closed it, or looks there for the next request. */
static void enter_limbo(struct php_connection *connection)
{
    struct php_pool *pool = connection->pool;
    int fd = fcntl(connection->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return;
    shutdown(fd, SHUT_RD);
    struct limbo *limbo = NEW(struct limbo);
    limbo->fd = fd;
    limbo->permit = connection->permit;
    limbo->until_ms = loop_now_ms(pool->loop) + pool->app->request_ms + pool->app->grace_ms + 1000;
    connection->permit = -1;
    list_append(&pool->limbo, &limbo->link);
    if (!loop_timer_is_running(&pool->tick))
        loop_timer_start(pool->loop, &pool->tick, TICK_MS);
}

void php_connection_release(struct php_connection *connection, enum php_end end)
{
    if (connection == NULL)
        return;
    struct php_pool *pool = connection->pool;
    connection->call = NULL;
    bool may_keep = pool->keeps && !pool->is_freed && !connection->is_sending &&
                    php_share_elder(pool->share, pool->edge, first_waits_us(pool)) < 0;
    if (end == PHP_KEEP && may_keep) {
        become_idle(connection);
        return;
    }
    if (end == PHP_ABANDON && !connection->is_sending && !pool->is_freed)
        enter_limbo(connection);
    close_connection(connection, end != PHP_ABANDON);
}

static void limbo_end(struct php_pool *pool, struct limbo *limbo)
{
    list_remove(&limbo->link);
    fd_close(&limbo->fd);
    php_share_leave(pool->share, limbo->permit);
    memory_free(limbo);
}

static void look_at_limbo(struct php_pool *pool)
{
    list_each (at, &pool->limbo) {
        struct limbo *limbo = list_entry(at, struct limbo, link);
        struct pollfd state = { .fd = limbo->fd };
        bool is_gone = poll(&state, 1, 0) > 0 && (state.revents & POLLHUP) != 0;
        if (is_gone || !is_unread(limbo->fd) || loop_now_ms(pool->loop) >= limbo->until_ms)
            limbo_end(pool, limbo);
    }
}

/* While something waits: for permits that nobody told of, and children in limbo. */
static void on_tick(struct loop_timer *timer)
{
    struct php_pool *pool = list_entry(timer, struct php_pool, tick);
    look_at_limbo(pool);
    serve(pool);
    int elder = php_share_elder(pool->share, pool->edge, 0);
    if (elder >= 0)
        yield_to(pool, elder);
    if ((pool->waiting_count > 0 || !list_is_empty(&pool->limbo)) &&
        !loop_timer_is_running(&pool->tick))
        loop_timer_start(pool->loop, &pool->tick, TICK_MS);
}

/* ---- the pool itself ---- */

enum err php_pool_start(struct php_pool *pool, struct why *why)
{
    list_init(&pool->waiting);
    list_init(&pool->idle);
    list_init(&pool->busy);
    list_init(&pool->limbo);
    loop_timer_init(&pool->tick, on_tick);
    pool->settle = epoll_create1(EPOLL_CLOEXEC);
    if (pool->settle < 0)
        return fail(why, ERR_SYSTEM, "cannot make an epoll descriptor: %s", strerror(errno));
    enum err err =
        loop_watch_start(pool->loop, &pool->settle_watch, pool->settle, LOOP_READ, on_settle);
    if (err == OK) {
        err =
            loop_watch_start(pool->loop, &pool->bell, pool->bells[pool->edge], LOOP_READ, on_bell);
        if (err != OK)
            loop_watch_stop(&pool->settle_watch);
    }
    if (err != OK)
        fd_close(&pool->settle);
    return err == OK ? OK : fail(why, err, "cannot watch descriptors");
}

void php_pool_end(struct php_pool *pool)
{
    loop_timer_stop(pool->loop, &pool->tick);
    loop_watch_stop(&pool->bell);
    loop_watch_stop(&pool->settle_watch);
    fd_close(&pool->settle);
    list_each (at, &pool->limbo)
        limbo_end(pool, list_entry(at, struct limbo, link));
    while (!list_is_empty(&pool->idle))
        close_connection(list_first(&pool->idle, struct php_connection, link), true);
    list_each (at, &pool->busy) {
        struct php_connection *connection = list_entry(at, struct php_connection, link);
        connection->call = NULL;
        if (!connection->is_closing)
            stream_abort(connection->stream);
        connection->is_closing = true;
    }
    pool->is_freed = true;
    pool_drop(pool);
}
