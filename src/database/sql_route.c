/*
 * Where a command goes, and the settings that every connection of a session must have.
 */
#include "database/sql_private.h"

#include "core/log.h"
#include "core/memory.h"

void sql_pin(struct sql_session *session, const char *reason)
{
    if (session->pinned != NULL)
        return;
    session->pinned = reason;
    log_debug("sql", "a session stays on the primary", INT("session", session->id),
              STRING("why", reason));
}

/* Whether a replica may be asked at all, whatever the statement is. */
static bool may_split(const struct sql_session *session)
{
    return session->pinned == NULL && !session->in_transaction && session->has_autocommit &&
           !session->is_relayed && !session->is_unknown && !session->is_next_primary &&
           !session->proxy->settings.reads_primary;
}

enum sql_role sql_route(struct sql_session *session, const struct sql_verdict *verdict)
{
    if (!may_split(session))
        return SQL_IS_PRIMARY;
    if (verdict->where == SQL_SAME)
        return session->last;
    if (verdict->where != SQL_ANY)
        return SQL_IS_PRIMARY;
    struct sql_backend *backend = session->links[SQL_IS_REPLICA];
    if (backend != NULL && backend->server->is_primary) { /* the roles have changed */
        session->links[SQL_IS_REPLICA] = NULL;
        sql_backend_put(backend);
        backend = NULL;
    }
    if (backend != NULL)
        return sql_server_may_read(backend->server, &session->gtid) ? SQL_IS_REPLICA
                                                                    : SQL_IS_PRIMARY;
    return sql_proxy_replica(session->proxy, &session->gtid) != NULL ? SQL_IS_REPLICA
                                                                     : SQL_IS_PRIMARY;
}

/* ---- settings ---- */

static void drop_setting(struct sql_session *session, size_t at)
{
    buffer_done(&session->history[at]);
    memmove(session->history + at, session->history + at + 1,
            (session->history_count - at - 1) * sizeof(*session->history));
    session->history_count--;
}

void sql_history_add(struct sql_session *session, struct text packet)
{
    for (size_t i = 0; i < session->history_count; i++) {
        if (!text_equal(buffer_text(&session->history[i]), packet))
            continue;
        if (i + 1 == session->history_count)
            return;               /* said twice in a row */
        drop_setting(session, i); /* so the numbers of those before it move on by one */
        session->history_first++;
        break;
    }
    if (session->history_count == SQL_HISTORY_MOST) {
        sql_pin(session, "too many settings");
        return;
    }
    if (session->history == NULL)
        session->history = memory_new_array(SQL_HISTORY_MOST, sizeof(*session->history));
    session->history[session->history_count] = buffer_of(SQL_REQUEST_MOST);
    buffer_append(&session->history[session->history_count++], packet);
}

void sql_history_reset(struct sql_session *session)
{
    static const char reset[] = { 1, 0, 0, 0, SQL_COM_RESET_CONNECTION };
    sql_history_add(session, text_from(reset, sizeof(reset)));
}

const struct buffer *sql_history_next(struct sql_session *session, struct sql_backend *backend)
{
    if (backend->replayed < session->history_first)
        backend->replayed = session->history_first;
    uint64_t at = backend->replayed - session->history_first;
    return at < session->history_count ? &session->history[at] : NULL;
}

void sql_history_done(struct sql_session *session)
{
    while (session->history_count > 0) {
        buffer_done(&session->history[--session->history_count]);
        session->history_first++;
    }
    memory_free(session->history);
    session->history = NULL;
}

/* As after the login, but for what the history says. */
void sql_session_clear(struct sql_session *session)
{
    sql_history_done(session);
    sql_prepared_done(session);
    session->pinned = NULL;
    session->has_locks = false;
    session->is_kept_there = session->is_next_primary = session->in_transaction = false;
    session->has_autocommit = true;
    session->dialect.ansi_quotes = session->dialect.no_backslash_escapes = false;
    session->last = SQL_IS_PRIMARY;
}
