/*
 * Moves the primary in order. Runs on the primary, because that is the one server that can give the
 * role away: its last transaction writes the new primary's name into trilith.tier, and whoever has
 * applied that transaction has applied everything before it.
 *
 *   check ─► hold ─► drain ─► close ─► wait ─► decide ─► confirm
 *
 * What holds when this process is killed (or its server, or the other one):
 *   before `close`    nothing has changed; the hold ends by itself
 *   before `decide`   the lock 'trilith.switchover' goes with our connection, and the agent opens
 *                     the old primary again: the record still names it
 *   after `decide`    the record names the new primary; its agent opens it as soon as it has
 *                     applied the record, the old one follows it. Nobody can write in between.
 * So at no time can two servers be written: the old one is closed before the record exists, and the
 * new one opens by the record only.
 */
#include "database/keeper.h"

#include "core/clock.h"
#include "core/log.h"
#include "database/quote.h"

#include <stdio.h>

enum {
    CLIENT_S = 15,
    LAG_WAIT_MS = 20000, /* for the target to catch up */
    LAG_LIMIT_MS = 3000, /* of the target, to begin at all */
    HOLD_MS = 15000,     /* how long the SQL proxies wait for us at most */
    ANNOUNCE_MS = 1000,
    DRAIN_MS = 2000, /* for transactions that are open when the hold begins */
    CLOSE_S = 3,     /* for running statements to end */
    CATCH_UP_S = 10, /* before the hold */
    CATCH_UP_TRIES = 5,
    NEAR_MS = 50,
    WAIT_S = 5, /* for the target to apply everything */
    CONFIRM_MS = 10000,
    FOLLOW_MS = 10000, /* for the old primary to replicate from the new one */
    ATTACH_MS = 5000,  /* for a replica that is just being set up */
    ROUSE_MS = 120,    /* agents and SQL proxies look that often, and more often when announced */
    ROUSE_HOLD_MS = 1, /* rouses them and holds nothing */
    POLL_MS = 3,
    COUNT_EVERY_MS = 105, /* InnoDB renews its list only when nobody has read it for 100 ms */
};

struct move {
    struct session *session;
    const struct site_server *target;
    struct client *here;   /* the primary, as the agent */
    struct client *there;  /* the target, as the monitor */
    struct arena *scratch; /* of one question */
    bool is_closed;        /* writing was switched off here */
    int64_t held_ms;       /* how long writes were held */
    int64_t hold_ms;       /* when the hold began (clock_now_ms), 0: none */
};

/* ---- check ---- */

static bool is_replicating(struct client *client, struct arena *scratch)
{
    struct client_rows rows;
    arena_reset(scratch);
    return client_query(client, "SHOW SLAVE STATUS", scratch, &rows, NULL) == OK &&
           text_equal(client_value(&rows, 0, "Slave_IO_Running"), T("Yes")) &&
           text_equal(client_value(&rows, 0, "Slave_SQL_Running"), T("Yes"));
}

/* Right after another switchover it may need a moment. */
static bool wait_replicating(struct move *move, struct client *client, int64_t limit_ms)
{
    int64_t end_ms = clock_now_ms() + limit_ms;
    while (!is_replicating(client, move->scratch)) {
        if (clock_now_ms() > end_ms)
            return false;
        clock_sleep_ms(POLL_MS);
    }
    return true;
}

static enum err check_replica(struct move *move, struct why *why)
{
    struct client_rows rows;
    struct session *session = move->session;
    const char *name = arena_print(session->arena, "%.*s", FMT(move->target->name)).data;
    bool is_good = wait_replicating(move, move->there, ATTACH_MS);
    enum err err = client_query(move->there, "SHOW SLAVE STATUS", session->arena, &rows, why);
    if (err != OK)
        return fail_in(why, err, "%s", name);
    if (rows.count == 0)
        return fail(why, ERR_STATE,
                    "%s does not replicate: run `trilith database rebuild %s` first", name, name);
    if (!is_good)
        return fail(why, ERR_STATE,
                    "the replication of %s stands still: %.*s%.*s; `trilith status` there says "
                    "more, `trilith database rebuild %s` fills it anew",
                    name, FMT(client_value(&rows, 0, "Last_SQL_Error")),
                    FMT(client_value(&rows, 0, "Last_IO_Error")), name);
    int64_t lag_ms = 0, end_ms = clock_now_ms() + LAG_WAIT_MS;
    while (err == OK) { /* it may be catching up */
        arena_reset(move->scratch);
        err =
            client_query(move->there, "SELECT lag_ms FROM trilith.lag", move->scratch, &rows, why);
        lag_ms = err == OK ? client_number(&rows, 0, "lag_ms", 0) : 0;
        if (lag_ms <= LAG_LIMIT_MS || clock_now_ms() > end_ms)
            break;
        clock_sleep_ms(POLL_MS);
    }
    if (err != OK)
        return fail_in(why, err, "%s", name);
    if (lag_ms > LAG_LIMIT_MS)
        return fail(
            why, ERR_STATE,
            "%s is %lld ms behind the primary (at most %d) and does not catch up: try again when "
            "less is written",
            name, (long long)lag_ms, LAG_LIMIT_MS);
    return OK;
}

static enum err check(struct move *move, struct why *why)
{
    struct client_rows rows;
    struct session *session = move->session;
    if (!site_is_on(session->site, &session->site->database.on, move->target))
        return fail(why, ERR_STATE, "%.*s has no database: `database.on` does not name it",
                    FMT(move->target->name));
    enum err err =
        client_query(move->here, "SELECT @@read_only AS closed", session->arena, &rows, why);
    if (err != OK)
        return err;
    if (client_number(&rows, 0, "closed", 1) != 0)
        return fail(why, ERR_STATE,
                    "%.*s is the primary but cannot be written (yet): look at `trilith status` "
                    "there, and try again",
                    FMT(session->self->name));
    err = session_client(session, move->target, ACCOUNT_MONITOR, CLIENT_S, &move->there, why);
    return err == OK ? check_replica(move, why) : err;
}

/* ---- hold ---- */

/* Returns how many sessions of SQL proxies have something open on the primary at the end. */
static uint64_t announce(struct move *move, uint64_t epoch, const struct site_server *primary,
                         int64_t hold_ms)
{
    const struct session *session = move->session;
    const struct peer_announcement announcement = {
        .epoch = epoch,
        .primary = primary->name,
        .hold_ms = hold_ms,
        .drain_ms = hold_ms > ROUSE_HOLD_MS ? DRAIN_MS : 0,
    };
    struct peer_heard heard =
        peer_announce(session->generation->state, session->site, &announcement, ANNOUNCE_MS);
    if (heard.taken < session->site->server_count)
        log_warn("keeper", "not every server could be told", INT("told", (int64_t)heard.taken),
                 INT("of", (int64_t)session->site->server_count));
    return heard.open;
}

/* Nobody else may open or close this server from here on. */
static enum err lock(struct move *move, struct why *why)
{
    struct client_rows rows;
    enum err err = client_query(move->here, "SELECT GET_LOCK('trilith.switchover', 2) AS got",
                                move->session->arena, &rows, why);
    if (err == OK && client_number(&rows, 0, "got", 0) != 1)
        err = fail(why, ERR_BUSY, "another switchover is under way");
    return err;
}

static int64_t count_open(struct move *move)
{
    struct client_rows rows;
    struct buffer sql = buffer_of(1024);
    buffer_append(&sql, T("SELECT COUNT(*) AS n FROM information_schema.innodb_trx t JOIN "
                          "information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE "
                          "p.user = "));
    quote_string(&sql, move->session->site->database.name);
    buffer_append_byte(&sql, '\0');
    arena_reset(move->scratch);
    enum err err = client_query(move->here, sql.data, move->scratch, &rows, NULL);
    buffer_done(&sql);
    return err == OK ? client_number(&rows, 0, "n", 0) : 0;
}

/* Who came past the SQL proxies is not held, but may end the transaction that is open. */
static void drain_others(struct move *move)
{
    int64_t end_ms = move->hold_ms + DRAIN_MS, open = 0;
    while ((open = count_open(move)) > 0 && clock_now_ms() < end_ms)
        clock_sleep_ms(COUNT_EVERY_MS);
    if (open > 0)
        session_note(move->session, "%lld transactions are still open after %d ms: they will fail",
                     (long long)open, DRAIN_MS);
}

/* ---- close, wait ---- */

static enum err close_here(struct move *move, struct why *why)
{
    struct why reason = { "" };
    enum err err = client_run(move->here, &reason, "SET SESSION lock_wait_timeout = %d", CLOSE_S);
    move->is_closed = true; /* whatever becomes of the next statement */
    if (err == OK)
        err = client_run(move->here, &reason, "SET GLOBAL read_only = ON");
    if (err == ERR_STATE)
        return fail(why, err,
                    "writing could not be stopped within %d s (%s): a statement runs for long, see "
                    "SHOW PROCESSLIST",
                    CLOSE_S, reason.text);
    return err == OK ? OK : fail(why, err, "%s", reason.text);
}

/* Until the target has applied what is committed here now. */
static enum err wait_for_target(struct move *move, int limit_s, struct why *why)
{
    struct client_rows rows;
    struct session *session = move->session;
    struct why reason = { "" };
    enum err err = client_query(move->here, "SELECT @@gtid_binlog_pos AS position", session->arena,
                                &rows, why);
    if (err != OK)
        return err;
    struct text position = client_value(&rows, 0, "position");
    struct text sql = arena_print(session->arena, "SELECT MASTER_GTID_WAIT('%.*s', %d) AS late",
                                  FMT(position), limit_s);
    err = client_query(move->there, sql.data, session->arena, &rows, &reason);
    if (err == OK && client_number(&rows, 0, "late", 1) == 0)
        return OK;
    return fail(why, err == OK ? ERR_TIMEOUT : err, "%.*s did not get all transactions in %d s%s%s",
                FMT(move->target->name), limit_s, err == OK ? "" : ": ", reason.text);
}

/* Before anybody is held: what is left to apply during the hold is what is written meanwhile. */
static enum err catch_up(struct move *move, struct why *why)
{
    enum err err = OK;
    int64_t took_ms = INT64_MAX;
    for (int i = 0; i < CATCH_UP_TRIES && took_ms > NEAR_MS && err == OK; i++) {
        int64_t started_ms = clock_now_ms();
        err = wait_for_target(move, CATCH_UP_S, why);
        took_ms = clock_now_ms() - started_ms;
    }
    return err;
}

/* ---- decide, confirm ---- */

static void roll_back(struct move *move)
{
    struct why why = { "" };
    enum err err = OK;
    if (move->is_closed)
        err = client_run(move->here, &why, "SET GLOBAL read_only = OFF");
    if (err != OK) /* the agent does it, as soon as our lock is gone with the connection */
        log_error("keeper", "cannot open the primary again", STRING("why", why.text));
    if (move->hold_ms != 0)
        announce(move, move->session->epoch, move->session->self, 0);
}

/* The record, as the last transaction of this primary. From here on there is no way back. */
static enum err decide(struct client *client, struct session *session,
                       const struct site_server *target, struct why *why)
{
    struct buffer sql = buffer_of(1024);
    buffer_print(&sql, "REPLACE INTO trilith.tier VALUES (1, %llu, ",
                 (unsigned long long)session->epoch + 1);
    quote_string(&sql, target->name);
    buffer_append(&sql, T(")"));
    buffer_append_byte(&sql, '\0');
    enum err err = client_query(client, sql.data, session->arena, NULL, why);
    buffer_done(&sql);
    return err;
}

static bool is_open(struct move *move)
{
    struct client_rows rows;
    struct session *session = move->session;
    arena_reset(move->scratch);
    enum err err = client_query(move->there,
                                "SELECT @@read_only AS closed, (SELECT epoch FROM trilith.tier "
                                "WHERE id = 1) AS epoch",
                                move->scratch, &rows, NULL);
    if (err == ERR_CLOSED) {
        client_drop(&move->there);
        if (session_client(session, move->target, ACCOUNT_MONITOR, 1, &move->there, NULL) != OK)
            move->there = NULL;
    }
    return err == OK && client_number(&rows, 0, "closed", 1) == 0 &&
           client_number(&rows, 0, "epoch", 0) > (int64_t)session->epoch;
}

static enum err confirm(struct move *move, struct why *why)
{
    struct session *session = move->session;
    int64_t end_ms = clock_now_ms() + CONFIRM_MS;
    while (clock_now_ms() < end_ms) {
        if (move->there == NULL)
            (void)!session_client(session, move->target, ACCOUNT_MONITOR, 1, &move->there, NULL);
        else if (is_open(move))
            return OK;
        clock_sleep_ms(POLL_MS);
    }
    return fail(why, ERR_TIMEOUT,
                "%.*s is the primary from now on, but has not begun to take writes within %d s. It "
                "will as soon as it runs and has all transactions of %.*s: keep both running. Only "
                "if it is lost for good: `trilith database switchover %.*s --force`",
                FMT(move->target->name), CONFIRM_MS / 1000, FMT(session->self->name),
                FMT(session->self->name));
}

/* ---- all of it ---- */

static enum err move_primary(struct move *move, struct why *why)
{
    struct session *session = move->session;
    enum err err = check(move, why);
    if (err == OK)
        err = catch_up(move, why);
    if (err == OK)
        err = lock(move, why);
    if (err != OK)
        return err;
    session_note(session, "checked: %.*s can take over", FMT(move->target->name));
    announce(move, session->epoch, session->self, ROUSE_HOLD_MS);
    clock_sleep_ms(ROUSE_MS);
    /* every SQL proxy holds what is new and answers when what was open has ended */
    move->hold_ms = clock_now_ms();
    uint64_t open = announce(move, session->epoch, session->self, HOLD_MS);
    session_note(session, "new statements are held");
    if (open > 0)
        session_note(session, "%llu sessions still have something open after %d ms: it will fail",
                     (unsigned long long)open, DRAIN_MS);
    drain_others(move);
    err = close_here(move, why);
    if (err == OK) {
        session_note(session, "%.*s takes no more writes", FMT(session->self->name));
        err = wait_for_target(move, WAIT_S, why);
    }
    if (err != OK) {
        roll_back(move);
        return fail_in(why, err, "nothing was moved, %.*s is the primary as before",
                       FMT(session->self->name));
    }
    session_note(session, "%.*s has every transaction", FMT(move->target->name));
    struct why reason = { "" };
    err = decide(move->here, session, move->target, &reason);
    if (err == ERR_STATE) { /* refused, so not written */
        roll_back(move);
        return fail(why, err, "nothing was moved, %.*s is the primary as before: %s",
                    FMT(session->self->name), reason.text);
    }
    /* a lost connection may have come before or behind the commit: the target tells */
    err = confirm(move, why);
    if (err != OK)
        return err;
    announce(move, session->epoch + 1, move->target, 0);
    move->held_ms = clock_now_ms() - move->hold_ms;
    session_note(session, "%.*s takes writes", FMT(move->target->name));
    /* it is done; that the old primary follows is only waited for */
    enum err free = client_query(move->here, "DO RELEASE_LOCK('trilith.switchover')", move->scratch,
                                 NULL, NULL);
    if (free != OK || !wait_replicating(move, move->here, FOLLOW_MS))
        session_note(session, "%.*s does not follow it yet: look at `trilith status` there",
                     FMT(session->self->name));
    else
        session_note(session, "%.*s follows it", FMT(session->self->name));
    return OK;
}

/* The primary is lost, says a person: this server takes its place. */
static enum err take_over(struct session *session, const struct site_server *lost,
                          struct client *here, struct buffer *answer, struct why *why)
{
    AUTO(client_drop) struct client *there = NULL;
    struct client_rows rows;
    if (lost != session->self &&
        session_client(session, lost, ACCOUNT_MONITOR, 2, &there, NULL) == OK &&
        client_query(there, "SELECT @@read_only AS closed", session->arena, &rows, NULL) == OK &&
        client_number(&rows, 0, "closed", 1) == 0)
        return fail(why, ERR_STATE, "%.*s is alive and takes writes: run the same without --force",
                    FMT(lost->name));
    enum err err = decide(here, session, session->self, why);
    if (err != OK)
        return err;
    session_note(session, "%.*s is the primary, on your word that %.*s is lost",
                 FMT(session->self->name), FMT(lost->name));
    const struct peer_announcement announcement = { .epoch = session->epoch + 1,
                                                    .primary = session->self->name };
    (void)peer_announce(session->generation->state, session->site, &announcement, ANNOUNCE_MS);
    buffer_print(answer,
                 "%.*s takes over. What only %.*s had is lost; when it comes back it follows, and "
                 "is to be rebuilt if it has such transactions",
                 FMT(session->self->name), FMT(lost->name));
    return OK;
}

static enum err run(struct session *session, const struct site_server *target, bool is_forced,
                    struct buffer *answer, struct why *why)
{
    AUTO(client_drop) struct client *here = NULL;
    const struct site_server *primary;
    enum err err = session_client(session, session->self, ACCOUNT_AGENT, CLIENT_S, &here, why);
    if (err == OK)
        err = session_primary(session, here, &primary, why);
    if (err != OK)
        return err;
    if (primary == target) {
        buffer_print(answer, "%.*s is the primary already", FMT(target->name));
        return OK;
    }
    if (is_forced && target != session->self)
        return fail(why, ERR_STATE, "--force is for the server itself");
    if (is_forced)
        return take_over(session, primary, here, answer, why);
    if (primary != session->self) {
        char command[PEER_LINE_LIMIT];
        if (session->word_count > 1) /* passed on already: the servers do not agree yet */
            return fail(why, ERR_STATE, "%.*s says that %.*s is the primary: try again in a moment",
                        FMT(session->self->name), FMT(primary->name));
        snprintf(command, sizeof(command), "switchover %.*s passed-on", FMT(target->name));
        return session_ask(session, primary, command, 60000, NULL, NULL, answer, why);
    }
    struct move move = {
        .session = session, .target = target, .here = here, .scratch = arena_new(1 << 20, 0)
    };
    err = move_primary(&move, why);
    client_close(move.there);
    arena_free(move.scratch);
    if (err == OK)
        buffer_print(answer, "%.*s is the primary; writes were held for %lld ms", FMT(target->name),
                     (long long)move.held_ms);
    return err;
}

enum err keeper_switch(struct session *session, struct buffer *answer, struct why *why)
{
    const struct site_server *target = site_server_find(session->site, session->words[0]);
    struct text option = session->word_count > 1 ? session->words[1] : T("passed-on");
    bool is_forced = text_equal(option, T("force"));
    if (!is_forced && !text_equal(option, T("passed-on")))
        return fail(why, ERR_UNKNOWN, "unknown word '%.*s'", FMT(option));
    if (target == NULL)
        return fail(why, ERR_NOT_FOUND, "the site has no server '%.*s'", FMT(session->words[0]));
    return run(session, target, is_forced, answer, why);
}
