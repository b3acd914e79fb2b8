/*
 * A client: its bytes in and out, and its end. What it says is understood in sql_enter.c (login)
 * and sql_command.c.
 */
#include "database/sql_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdio.h>

enum {
    LOGIN_MS = 10000,
    WIRE_MOST = 64 * 1024 * 1024, /* never reached: servers wait at SQL_WAITING_MOST */
    LOGIN_PACKET_MOST = 16384,
};

/* ---- the end ---- */

void sql_session_release(struct sql_session *session)
{
    for (size_t i = 0; i < SQL_ROLES; i++) {
        struct sql_backend *backend = session->links[i];
        session->links[i] = NULL;
        if (backend == NULL)
            continue;
        bool is_idle = session->state == SQL_IDLE || session->target != i;
        if (is_idle && backend->state == SQL_OPEN)
            sql_backend_put(backend);
        else
            sql_backend_close(backend);
    }
}

static void stop(struct sql_session *session)
{
    list_remove(&session->hold_link);
    loop_timer_stop(session->proxy->loop, &session->timer);
    sql_session_release(session);
}

void sql_session_end(struct sql_session *session)
{
    if (session->wire.stream == NULL)
        return;
    stop(session);
    session->state = SQL_ENDING;
    sql_wire_flush(&session->wire);
    if (session->wire.is_sending) {
        sql_wire_hurry(&session->wire);
        return;
    }
    stream_close(session->wire.stream);
    session->wire.stream = NULL;
}

void sql_session_abort(struct sql_session *session)
{
    if (session->wire.stream == NULL)
        return;
    stop(session);
    session->state = SQL_ENDING;
    stream_abort(session->wire.stream);
    session->wire.stream = NULL;
}

void sql_session_fail(struct sql_session *session, uint8_t sequence, uint16_t code,
                      const char *state, const char *message)
{
    if (session->wire.stream == NULL)
        return;
    sql_write_error(&session->wire.waiting, sequence, code, state, message);
    sql_wire_flush(&session->wire);
}

static void closed(struct stream *stream)
{
    struct sql_session *session = stream_owner(stream);
    struct sql_proxy *proxy = session->proxy;
    list_remove(&session->link);
    proxy->session_count--;
    metrics_add(&proxy->metrics->sql_sessions_open, -1);
    sql_wire_done(&session->wire);
    buffer_done(&session->in);
    buffer_done(&session->request);
    buffer_done(&session->hidden);
    sql_reply_done(&session->reply);
    sql_history_done(session);
    sql_prepared_done(session);
    memory_free(session);
    if (proxy->drained != NULL && proxy->session_count == 0) /* else it is freed without */
        proxy->drained(proxy->owner);
}

/* ---- bytes in ---- */

/* A packet of the login; the client says one thing at a time then. */
static void take_login(struct sql_session *session)
{
    struct text in = buffer_text(&session->in);
    if (in.len < SQL_HEAD)
        return;
    size_t len = sql_packet_length(in.data);
    if (len > LOGIN_PACKET_MOST) {
        sql_session_abort(session);
        return;
    }
    if (in.len < SQL_HEAD + len)
        return;
    session->sequence = (uint8_t)in.data[3];
    struct buffer packet = session->in; /* the body must stay while it is read */
    session->in = buffer_of(packet.limit);
    buffer_append(&session->in, text_skip(in, SQL_HEAD + len));
    struct text body = text_part(in, SQL_HEAD, len);
    if (session->state == SQL_GREETED)
        sql_enter(session, body);
    else
        sql_enter_answer(session, body);
    buffer_done(&packet);
}

/* The rest of what goes to the server as it comes. Returns the bytes used. */
static size_t take_upload(struct sql_session *session, struct text data)
{
    struct sql_backend *backend = session->links[session->target];
    size_t used = sql_upload_read(&session->upload, data);
    buffer_append(&backend->wire.waiting, text_part(data, 0, used));
    sql_wire_flush(&backend->wire);
    if (session->upload.is_done && session->state == SQL_SENDING) {
        session->state = SQL_BUSY;
        sql_reply_go_on(&session->reply);
    }
    if (session->upload.is_done) {
        session->is_cut = false;
        if (session->has_no_answer)
            session->state = SQL_IDLE;
    }
    return used;
}

static bool is_uploading(const struct sql_session *session)
{
    return session->state == SQL_SENDING || (session->state == SQL_BUSY && session->is_cut);
}

/* A whole command in data, or the front of one that is too large to be held: takes it and returns
 * its length; 0: not enough is here. */
static size_t take_command(struct sql_session *session, struct text data)
{
    if (data.len < SQL_HEAD)
        return 0;
    size_t len = SQL_HEAD + sql_packet_length(data.data);
    bool is_whole = data.len >= len && len < SQL_HEAD + SQL_PACKET_MOST;
    if (!is_whole && data.len < SQL_REQUEST_MOST)
        return 0;
    struct text packet = text_part(data, 0, len);
    metrics_add(&session->proxy->metrics->sql_commands, 1);
    if (!is_whole) {
        session->upload = sql_upload_of(false);
        packet = text_part(packet, 0, sql_upload_read(&session->upload, packet));
    }
    sql_command(session, packet, !is_whole && !session->upload.is_done);
    return packet.len;
}

/* Takes what data has; returns the bytes used. */
static size_t take(struct sql_session *session, struct text data)
{
    size_t used = 0, step = 1;
    while (used < data.len && step > 0) {
        struct text rest = text_skip(data, used);
        step = is_uploading(session)        ? take_upload(session, rest)
               : session->state == SQL_IDLE ? take_command(session, rest)
                                            : 0;
        used += step;
    }
    return used;
}

void sql_session_step(struct sql_session *session)
{
    if (session->in.len == 0 || session->wire.stream == NULL)
        return;
    if (session->state <= SQL_OPENING) {
        take_login(session);
        return;
    }
    buffer_consume(&session->in, take(session, buffer_text(&session->in)));
    if (session->in.len == 0 && session->in.capacity > SQL_REQUEST_MOST)
        buffer_done(&session->in);
}

void sql_session_receive(struct sql_session *session)
{
    struct sql_backend *backend = session->links[session->target];
    if (session->wire.stream == NULL || session->has_ended)
        return;
    session->is_paused =
        session->in.len >= 2 * SQL_REQUEST_MOST ||
        (is_uploading(session) && sql_wire_load(&backend->wire) > SQL_WAITING_MOST);
    if (!session->is_paused)
        stream_receive(session->wire.stream, 0);
    else if (backend != NULL)
        sql_wire_hurry(&backend->wire); /* it goes on when that has left */
}

static void received(struct stream *stream, struct text data, enum err err)
{
    struct sql_session *session = stream_owner(stream);
    if (session->wire.stream == NULL)
        return;
    if (err != OK || data.len == 0) {
        session->has_ended = true;
        sql_session_abort(session);
        return;
    }
    size_t used = 0;
    if (session->in.len == 0 && session->state > SQL_OPENING)
        used = take(session, data);
    if (session->wire.stream == NULL)
        return;
    if (used < data.len) {
        buffer_append(&session->in, text_skip(data, used));
        sql_session_step(session);
    }
    sql_session_receive(session);
}

/* ---- bytes out ---- */

static void sent(struct stream *stream, enum err err)
{
    struct sql_session *session = stream_owner(stream);
    if (session->wire.stream == NULL)
        return;
    if (err != OK) {
        sql_session_abort(session);
        return;
    }
    sql_wire_sent(&session->wire);
    if (session->state == SQL_ENDING && !session->wire.is_sending) {
        stream_close(session->wire.stream);
        session->wire.stream = NULL;
        return;
    }
    struct sql_backend *backend = session->links[session->target];
    if (backend != NULL && sql_wire_load(&session->wire) <= SQL_WAITING_MOST)
        sql_backend_resume(backend);
}

static const struct stream_events events = {
    .received = received,
    .sent = sent,
    .closed = closed,
};

/* ---- the beginning ---- */

static void login_late(struct loop_timer *timer)
{
    sql_session_abort(list_entry(timer, struct sql_session, timer));
}

static void greet(struct sql_session *session)
{
    struct sql_greeting greeting = {
        .thread = session->id,
        .capabilities = SQL_CAPABILITIES,
        .collation = 45, /* utf8mb4_general_ci */
        .status = SQL_STATUS_AUTOCOMMIT,
    };
    sys_random(session->challenge, SQL_SCRAMBLE);
    for (size_t i = 0; i < SQL_SCRAMBLE; i++) /* some clients take it for a string */
        session->challenge[i] = (char)('!' + (uint8_t)session->challenge[i] % 93);
    memcpy(greeting.challenge, session->challenge, SQL_SCRAMBLE);
    memcpy(greeting.version, session->proxy->version, sizeof(greeting.version));
    sql_greeting_write(&session->wire.waiting, &greeting);
    sql_wire_flush(&session->wire);
}

static void refuse(struct sql_session *session)
{
    sql_session_fail(session, 0, 1040, "08004",
                     "Too many connections (the SQL proxy's own limit is reached)");
    sql_session_end(session);
}

void sql_session_new(void *owner, int fd, const struct address *peer)
{
    struct sql_proxy *proxy = owner;
    struct sql_session *session = NEW(struct sql_session);
    session->proxy = proxy;
    session->id = SQL_FIRST_ID + (proxy->next_id++ & (SQL_FIRST_ID - 1));
    session->has_autocommit = true;
    session->in = buffer_of(4 * SQL_REQUEST_MOST + 262144);
    session->request = buffer_of(SQL_REQUEST_MOST + 65536);
    session->hidden = buffer_of(65536);
    list_init(&session->link);
    list_init(&session->hold_link);
    list_append(&proxy->sessions, &session->link);
    loop_timer_init(&session->timer, login_late);
    loop_timer_start(proxy->loop, &session->timer, LOGIN_MS);
    sql_wire_init(&session->wire, WIRE_MOST);
    session->wire.stream = stream_new(proxy->loop, fd, peer, &events, session);
    proxy->session_count++;
    metrics_add(&proxy->metrics->sql_sessions, 1);
    metrics_add(&proxy->metrics->sql_sessions_open, 1);
    if (proxy->session_count > proxy->settings.sessions) {
        refuse(session);
        return;
    }
    greet(session);
    stream_receive(session->wire.stream, 0);
}
