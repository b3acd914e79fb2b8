/*
 * The proxy: its listeners, its servers and who of them is what. A server that was named the
 * primary (by the site file, or by what was announced since) is it as long as it does not say that
 * it is read-only; then it is the only one that takes writes, if there is exactly one. While there
 * is none, commands that need it wait; when that has taken too long, they fail at once.
 */
#include "database/sql_private.h"

#include "core/log.h"
#include "core/memory.h"

#include <stdio.h>
#include <stdlib.h>

enum { WAKE_MS = 5 /* how often is looked for a primary while somebody waits */ };

/* ---- roles ---- */

static struct sql_server *find_primary(struct sql_proxy *proxy)
{
    struct sql_server *writable = NULL, *named = NULL;
    size_t count = 0;
    for (size_t i = 0; i < proxy->server_count; i++) {
        struct sql_server *server = &proxy->servers[i];
        if (server->is_leaving)
            continue;
        bool takes_writes = server->is_up && server->has_said && server->is_writable;
        if (server->is_named && server->is_up && (takes_writes || !server->has_said))
            named = server;
        if (takes_writes) {
            writable = server;
            count++;
        }
    }
    return named != NULL ? named : count == 1 && !proxy->is_announced ? writable : NULL;
}

void sql_proxy_roles(struct sql_proxy *proxy)
{
    struct sql_server *primary = find_primary(proxy);
    bool is_changed = false;
    for (size_t i = 0; i < proxy->server_count; i++) {
        struct sql_server *server = &proxy->servers[i];
        is_changed |= server->is_primary != (server == primary);
        server->is_primary = server == primary;
    }
    if (primary != NULL)
        proxy->lost_ms = 0;
    else if (proxy->lost_ms == 0)
        proxy->lost_ms = loop_now_ms(proxy->loop);
    if (!is_changed)
        return;
    if (primary != NULL)
        log_info("sql", "writes go to", STRING("server", primary->name));
    else
        log_warn("sql", "no server takes writes");
    if (proxy->roles_changed != NULL)
        proxy->roles_changed(proxy->owner);
    if (primary != NULL)
        sql_hold_moved(proxy);
    sql_proxy_wake(proxy);
}

/* What the servers of the database announced since the last look. */
static void read_announced(struct sql_proxy *proxy)
{
    struct primary_view view;
    uint32_t version = primary_board_version(proxy->announced);
    if (version == proxy->announced_version)
        return;
    proxy->announced_version = version;
    primary_board_read(proxy->announced, &view);
    proxy->hold_until_ms = view.hold_until_ms;
    if (view.name[0] == '\0')
        return;
    proxy->is_announced = view.epoch > 0;
    for (size_t i = 0; i < proxy->server_count; i++) {
        struct sql_server *server = &proxy->servers[i];
        bool was_named = server->is_named;
        server->is_named = strcmp(server->name, view.name) == 0;
        if (server->is_named && !was_named)
            server->has_said = false; /* what it said before does not count now */
        if (was_named && !server->is_named)
            server->is_writable = false;
    }
    sql_proxy_roles(proxy);
}

struct sql_server *sql_proxy_primary(struct sql_proxy *proxy)
{
    for (size_t i = 0; i < proxy->server_count; i++)
        if (proxy->servers[i].is_primary && proxy->servers[i].is_up)
            return &proxy->servers[i];
    return NULL;
}

static bool has_applied(const struct sql_server *server, const struct sql_gtid *gtid)
{
    if (gtid->sequence == 0)
        return true;
    for (size_t i = 0; i < COUNT(server->applied); i++)
        if (server->applied[i].domain == gtid->domain &&
            server->applied[i].sequence >= gtid->sequence)
            return true;
    return false;
}

bool sql_server_may_read(struct sql_server *server, const struct sql_gtid *gtid)
{
    const struct sql_proxy *proxy = server->proxy;
    bool has_primary = proxy->lost_ms == 0;
    if (server->is_primary || !server->is_up || server->is_leaving)
        return false;
    /* without a primary every lag grows, and reads must go on */
    if (has_primary && (server->is_drained || server->lag_ms > proxy->settings.lag_ms))
        return false;
    if (has_applied(server, gtid))
        return true;
    sql_watch_hurry(server);
    return false;
}

struct sql_server *sql_proxy_replica(struct sql_proxy *proxy, const struct sql_gtid *gtid)
{
    for (size_t i = 0; i < proxy->server_count; i++) {
        size_t at = (proxy->next_replica + i) % proxy->server_count;
        if (!sql_server_may_read(&proxy->servers[at], gtid))
            continue;
        proxy->next_replica = at + 1;
        return &proxy->servers[at];
    }
    return NULL;
}

/* ---- what is learned of servers ---- */

void sql_server_failed(struct sql_server *server)
{
    server->failed_ms = loop_now_ms(server->proxy->loop);
    if (!server->is_up)
        return;
    server->is_up = false;
    server->has_said = false;
    log_warn("sql", "a server cannot be reached", STRING("server", server->name));
    sql_pool_close(server);
    sql_proxy_roles(server->proxy);
}

void sql_server_hangs(struct sql_server *server)
{
    struct sql_proxy *proxy = server->proxy;
    sql_server_failed(server);
    list_each (at, &proxy->sessions) {
        struct sql_session *session = list_entry(at, struct sql_session, link);
        for (size_t role = 0; role < SQL_ROLES; role++) {
            struct sql_backend *backend = session->links[role];
            if (backend != NULL && backend->server == server)
                sql_backend_lose(backend);
        }
    }
}

void sql_server_refused(struct sql_server *server)
{
    server->is_writable = false;
    server->has_said = true;
    sql_proxy_roles(server->proxy);
    for (size_t i = 0; i < server->proxy->server_count; i++)
        sql_watch_hurry(&server->proxy->servers[i]);
}

static void take_position(struct sql_server *server, struct text position)
{
    struct text rest = position;
    size_t count = 0;
    while (!text_is_empty(rest) && count < COUNT(server->applied)) {
        struct text one = text_next(&rest, ',');
        if (sql_gtid_read(one, &server->applied[count]))
            count++;
    }
    while (count < COUNT(server->applied))
        server->applied[count++] = (struct sql_gtid){ 0 };
}

void sql_server_said(struct sql_server *server, struct text read_only, struct text position)
{
    server->is_writable = text_equal(read_only, T("0"));
    server->has_said = true;
    if (!server->is_up)
        log_info("sql", "a server is back", STRING("server", server->name));
    server->is_up = true;
    take_position(server, position);
    sql_proxy_roles(server->proxy);
}

/* ---- holding ---- */

bool sql_proxy_is_holding(struct sql_proxy *proxy)
{
    if (proxy->announced != NULL)
        read_announced(proxy);
    return proxy->hold_until_ms != 0 && loop_now_ms(proxy->loop) < proxy->hold_until_ms;
}

static void refuse_held(struct sql_session *session)
{
    static const char message[] = "No database server takes this command at the moment";
    bool is_login = session->state == SQL_OPENING;
    metrics_add(&session->proxy->metrics->sql_failed, 1);
    list_remove(&session->hold_link);
    uint8_t sequence = is_login ? (uint8_t)(session->sequence + 1) : 1;
    if (is_login) {
        sql_session_fail(session, sequence, 1053, "08S01", message);
        sql_session_end(session);
        return;
    }
    if (session->is_cut || session->has_no_answer) {
        sql_session_abort(session);
        return;
    }
    if (session->command == SQL_COM_STMT_PREPARE)
        sql_prepare_failed(session);
    sql_command_refuse(session, 1053, "08S01", message);
    sql_session_step(session);
    sql_session_receive(session);
}

static void held_too_long(struct loop_timer *timer)
{
    refuse_held(list_entry(timer, struct sql_session, timer));
}

void sql_proxy_hold(struct sql_session *session)
{
    struct sql_proxy *proxy = session->proxy;
    int64_t left_ms = proxy->settings.hold_ms;
    if (proxy->lost_ms != 0 && !sql_proxy_is_holding(proxy))
        left_ms -= loop_now_ms(proxy->loop) - proxy->lost_ms;
    list_remove(&session->hold_link);
    list_append(&proxy->held, &session->hold_link);
    bool is_running = session->timer.run == held_too_long && loop_timer_is_running(&session->timer);
    if (!is_running) {
        loop_timer_stop(proxy->loop, &session->timer);
        loop_timer_init(&session->timer, held_too_long);
        loop_timer_start(proxy->loop, &session->timer, left_ms > 0 ? left_ms : 0);
    }
    if (!loop_timer_is_running(&proxy->wake_timer))
        loop_timer_start(proxy->loop, &proxy->wake_timer, WAKE_MS);
}

void sql_proxy_wake(struct sql_proxy *proxy)
{
    struct list waiting;
    list_init(&waiting);
    while (!list_is_empty(&proxy->held)) {
        struct sql_session *session = list_first(&proxy->held, struct sql_session, hold_link);
        list_remove(&session->hold_link);
        list_append(&waiting, &session->hold_link);
    }
    while (!list_is_empty(&waiting)) {
        struct sql_session *session = list_first(&waiting, struct sql_session, hold_link);
        list_remove(&session->hold_link);
        if (session->state == SQL_OPENING)
            sql_enter_again(session);
        else
            sql_run_again(session);
    }
}

/* Looks again while somebody waits; the servers are asked too. */
static void wake_again(struct loop_timer *timer)
{
    struct sql_proxy *proxy = list_entry(timer, struct sql_proxy, wake_timer);
    if (list_is_empty(&proxy->held))
        return;
    for (size_t i = 0; i < proxy->server_count; i++)
        sql_watch_hurry(&proxy->servers[i]);
    loop_timer_start(proxy->loop, &proxy->wake_timer, WAKE_MS);
    bool is_holding = sql_proxy_is_holding(proxy); /* also reads what was announced */
    if (!is_holding && sql_proxy_primary(proxy) != NULL)
        sql_proxy_wake(proxy);
}

/* ---- making ---- */

struct sql_proxy *sql_proxy_new(struct loop *loop, struct metrics *metrics,
                                const struct sql_settings *settings)
{
    struct sql_proxy *proxy = NEW(struct sql_proxy);
    proxy->loop = loop;
    proxy->metrics = metrics;
    proxy->settings = *settings;
    list_init(&proxy->sessions);
    list_init(&proxy->held);
    loop_timer_init(&proxy->wake_timer, wake_again);
    snprintf(proxy->version, sizeof(proxy->version), "5.5.5-10.11.0-MariaDB");
    return proxy;
}

static struct sql_server *find_server(struct sql_proxy *proxy, struct text name)
{
    for (size_t i = 0; i < proxy->server_count; i++)
        if (text_equal(text_of(proxy->servers[i].name), name))
            return &proxy->servers[i];
    return NULL;
}

void sql_server_secure(struct sql_server *server, struct tls_context *tls)
{
    tls_peer_unref(server->peer);
    server->peer = NULL;
    if (tls != NULL && tls_peer_new(tls, text_of(server->name), &server->peer, NULL) != OK)
        abort(); /* the name of a server always is one */
}

struct sql_server *sql_proxy_add(struct sql_proxy *proxy, struct text name,
                                 const struct address *address, bool is_named)
{
    struct sql_server *server = find_server(proxy, name);
    if (server != NULL) { /* connections to an old address end by themselves */
        server->address = *address;
        server->is_leaving = false;
        server->is_named = proxy->is_announced ? server->is_named : is_named;
        sql_watch_start(server);
        return server;
    }
    if (proxy->server_count == SQL_SERVERS)
        return NULL;
    server = &proxy->servers[proxy->server_count++];
    *server = (struct sql_server){ .proxy = proxy,
                                   .address = *address,
                                   .is_up = true,
                                   .is_named = is_named,
                                   .is_primary = is_named,
                                   .lag_ms = -1 };
    text_copy_to(name, server->name, sizeof(server->name));
    list_init(&server->pool);
    sql_watch_start(server);
    return server;
}

void sql_proxy_sweep(struct sql_proxy *proxy)
{
    for (size_t i = 0; i < proxy->server_count; i++) {
        if (!proxy->servers[i].is_leaving)
            continue;
        sql_watch_stop(&proxy->servers[i]);
        sql_pool_close(&proxy->servers[i]);
    }
    sql_proxy_roles(proxy);
}

bool sql_proxy_listen(struct sql_proxy *proxy, int fd)
{
    /* the limit is kept here, so that a client over it gets an error instead of waiting */
    struct stream_listener *listener =
        proxy->listener_count < SQL_LISTENERS
            ? stream_listener_new(proxy->loop, fd, SIZE_MAX, sql_session_new, proxy)
            : NULL;
    if (listener == NULL)
        return false;
    proxy->listeners[proxy->listener_count++] = listener;
    return true;
}

void sql_proxy_unlisten(struct sql_proxy *proxy)
{
    while (proxy->listener_count > 0)
        stream_listener_free(proxy->listeners[--proxy->listener_count]);
}

void sql_proxy_drain(struct sql_proxy *proxy, void (*drained)(void *owner), void *owner)
{
    sql_proxy_unlisten(proxy);
    proxy->is_draining = true;
    proxy->drained = drained;
    proxy->owner = owner;
    if (proxy->session_count == 0) {
        drained(owner);
        return;
    }
    list_each (at, &proxy->sessions) {
        struct sql_session *session = list_entry(at, struct sql_session, link);
        if (session->state == SQL_IDLE && !session->in_transaction)
            sql_session_end(session);
    }
}

void sql_proxy_free(struct sql_proxy *proxy)
{
    sql_proxy_unlisten(proxy);
    proxy->is_draining = true;
    loop_timer_stop(proxy->loop, &proxy->wake_timer);
    list_each (at, &proxy->sessions)
        sql_session_abort(list_entry(at, struct sql_session, link));
    for (size_t i = 0; i < proxy->server_count; i++) {
        sql_watch_stop(&proxy->servers[i]);
        sql_pool_close(&proxy->servers[i]);
        sql_server_secure(&proxy->servers[i], NULL);
    }
    while (proxy->session_count > 0 || proxy->backend_count > 0)
        loop_turn(proxy->loop, 100); /* everything was aborted: all come back soon */
    memory_free(proxy);
}
