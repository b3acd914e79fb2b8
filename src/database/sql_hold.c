/*
 * What a switchover asks of the proxy: it says how many sessions still have something open on the
 * primary (nothing new begins there: sql_run), so that the primary is closed when there are none,
 * and it ends those that cannot follow to the new one.
 *
 *   announced ─► sql_hold_look ─► report(version, open) ─► ... ─► report(version, 0) ─► closed
 */
#include "database/sql_private.h"

#include "core/log.h"

#include <stdio.h>

enum { QUICK_MS = 2000 /* after an announcement another one is likely */ };

/* Refused by a server that is closed, or broken by it. A plain read is not. */
static bool has_open(const struct sql_session *session)
{
    if (session->links[SQL_IS_PRIMARY] == NULL)
        return false;
    bool is_running = session->target == SQL_IS_PRIMARY && session->verdict.where != SQL_ANY &&
                      (session->state == SQL_BUSY || session->state == SQL_SENDING);
    return is_running || session->in_transaction || session->has_locks;
}

static uint32_t count_open(const struct sql_proxy *proxy)
{
    uint32_t count = 0;
    list_each (at, &proxy->sessions)
        count += has_open(list_entry(at, struct sql_session, link));
    return count;
}

bool sql_hold_look(struct sql_proxy *proxy)
{
    if (proxy->announced == NULL)
        return false;
    int64_t now_ms = loop_now_ms(proxy->loop);
    bool is_holding = sql_proxy_is_holding(proxy); /* reads what was announced */
    bool is_new = !proxy->has_reported || proxy->reported != proxy->announced_version;
    if (is_new)
        proxy->quick_until_ms = now_ms + QUICK_MS;
    if (is_new || is_holding)
        primary_board_report(proxy->announced, proxy->announced_version, count_open(proxy));
    proxy->reported = proxy->announced_version;
    proxy->has_reported = true;
    return is_holding || now_ms < proxy->quick_until_ms;
}

bool sql_hold_has_state(const struct sql_session *session)
{
    return session->pinned != NULL || session->is_kept_there || session->is_relayed;
}

bool sql_hold_is_left_behind(const struct sql_session *session)
{
    const struct sql_backend *backend = session->links[SQL_IS_PRIMARY];
    return sql_hold_has_state(session) && backend != NULL && !backend->server->is_primary &&
           sql_proxy_primary(session->proxy) != NULL;
}

void sql_hold_refuse(struct sql_session *session)
{
    char message[256];
    const char *what = session->pinned != NULL  ? session->pinned
                       : session->is_kept_there ? "variable or statement"
                                                : "login of a user of its own";
    snprintf(
        message, sizeof(message),
        "The server that has this session's state (%s) takes no writes any more: connect again",
        what);
    metrics_add(&session->proxy->metrics->sql_failed, 1);
    sql_command_refuse(session, 1053, "08S01", message);
    sql_session_end(session);
}

void sql_hold_moved(struct sql_proxy *proxy)
{
    size_t count = 0;
    list_each (at, &proxy->sessions) {
        struct sql_session *session = list_entry(at, struct sql_session, link);
        if (session->state != SQL_IDLE || !sql_hold_is_left_behind(session))
            continue;
        sql_session_end(session);
        count++;
    }
    if (count > 0)
        log_info("sql", "sessions with state on the old primary were ended",
                 INT("count", (int64_t)count));
}
