/*
 * Prepared statements: the client has our numbers; each connection that a statement is needed on
 * gets it prepared there when that is so, and told the types of its parameters, which a client says
 * only once.
 */
#include "database/sql_private.h"

#include "core/memory.h"

enum {
    ID_AT = SQL_HEAD + 1,
    FLAGS_AT = ID_AT + 4,
    NULLS_AT = FLAGS_AT + 1 + 4, /* behind the flags and the number of iterations */
    LAST = -1,                   /* "the one that was prepared last" (MariaDB) */
};

static void free_one(struct sql_prepared *prepared)
{
    buffer_done(&prepared->text);
    buffer_done(&prepared->types);
    memory_free(prepared);
}

void sql_prepared_done(struct sql_session *session)
{
    while (session->prepared_count > 0)
        free_one(session->prepared[--session->prepared_count]);
    memory_free(session->prepared);
    session->prepared = NULL;
    session->statement = NULL;
}

/* Place of the first whose number is not smaller: they are in order. */
static size_t place_of(const struct sql_session *session, uint32_t id)
{
    size_t low = 0, high = session->prepared_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (session->prepared[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct sql_prepared *find(struct sql_session *session, struct text packet)
{
    struct reader reader = reader_of(text_skip(packet, ID_AT));
    uint32_t id = (uint32_t)sql_read_number(&reader, 4);
    if (id == (uint32_t)LAST)
        id = session->last_prepared;
    size_t at = place_of(session, id);
    bool is_there = !reader.bad && at < session->prepared_count && session->prepared[at]->id == id;
    return is_there ? session->prepared[at] : NULL;
}

static void forget(struct sql_session *session, struct sql_prepared *prepared)
{
    size_t at = place_of(session, prepared->id);
    memmove(session->prepared + at, session->prepared + at + 1,
            (session->prepared_count - at - 1) * sizeof(struct sql_prepared *));
    session->prepared_count--;
    if (session->statement == prepared)
        session->statement = NULL;
    free_one(prepared);
}

bool sql_prepared_is_known(const struct sql_session *session, const struct sql_backend *backend)
{
    const struct sql_prepared *prepared = session->statement;
    return session->command == SQL_COM_STMT_PREPARE ||
           prepared->lives[session->target] == backend->life;
}

static void know(struct sql_session *session, const struct sql_backend *backend)
{
    struct sql_prepared *prepared = session->statement;
    prepared->ids[session->target] = session->reply.statement;
    prepared->lives[session->target] = backend->life;
    prepared->has_types[session->target] = false;
}

void sql_prepared_again(struct sql_session *session, const struct sql_backend *backend)
{
    know(session, backend);
}

/* ---- preparing ---- */

bool sql_prepare(struct sql_session *session, struct text packet)
{
    if (session->prepared_count >= SQL_STATEMENTS_MOST) {
        sql_command_refuse(session, 1461, "42000",
                           "Can't create more than max_prepared_stmt_count statements");
        return false;
    }
    struct sql_dialect dialect = session->dialect;
    struct sql_prepared *prepared = NEW(struct sql_prepared);
    struct text text = text_skip(packet, SQL_HEAD + 1);
    dialect.is_cut = session->is_cut;
    dialect.is_multi = false;
    sql_statement_read(text, &dialect, &prepared->verdict);
    prepared->verdict.name = T("");
    if (prepared->verdict.effects & SQL_USE)
        prepared->verdict.effects |= SQL_PIN;
    prepared->id = session->last_prepared + 1;
    prepared->text = buffer_of(SQL_REQUEST_MOST);
    prepared->types = buffer_of(2 * 65536);
    if (!session->is_cut)
        buffer_append(&prepared->text, text);
    session->prepared = memory_resize(session->prepared, (session->prepared_count + 1) *
                                                             sizeof(struct sql_prepared *));
    session->prepared[session->prepared_count++] = prepared;
    session->last_prepared = prepared->id;
    session->statement = prepared;
    session->kind = SQL_REPLY_PREPARE;
    session->target = sql_route(session, &prepared->verdict);
    return true;
}

void sql_prepare_failed(struct sql_session *session)
{
    forget(session, session->statement);
}

void sql_prepare_done(struct sql_session *session)
{
    struct sql_prepared *prepared = session->statement;
    if (session->reply.error != 0) {
        sql_prepare_failed(session);
        return;
    }
    prepared->parameters = session->reply.parameters;
    know(session, session->links[session->target]);
    session->statement = NULL;
}

/* ---- using ---- */

static struct sql_prepared *need(struct sql_session *session, struct text packet)
{
    session->statement = find(session, packet);
    if (session->statement == NULL && session->command != SQL_COM_STMT_SEND_LONG_DATA)
        sql_command_refuse(session, 1243, "HY000",
                           "Unknown prepared statement handler given to the SQL proxy");
    return session->statement;
}

static size_t types_at(const struct sql_prepared *prepared)
{
    return NULLS_AT + (prepared->parameters + 7u) / 8;
}

/* Keeps the types that the client says with this execution. */
static void keep_types(struct sql_prepared *prepared, struct text packet)
{
    size_t at = types_at(prepared), len = 2 * (size_t)prepared->parameters;
    if (prepared->parameters == 0 || packet.len < at + 1 + len || packet.data[at] != 1)
        return;
    buffer_clear(&prepared->types);
    buffer_append(&prepared->types, text_part(packet, at + 1, len));
    prepared->has_types[SQL_IS_PRIMARY] = prepared->has_types[SQL_IS_REPLICA] = false;
}

bool sql_execute(struct sql_session *session, struct text packet)
{
    struct sql_prepared *prepared = need(session, packet);
    if (prepared == NULL)
        return false;
    session->verdict = prepared->verdict;
    session->target = SQL_IS_PRIMARY;
    bool is_plain = session->command == SQL_COM_STMT_EXECUTE && packet.len > FLAGS_AT &&
                    packet.data[FLAGS_AT] == 0 && !prepared->has_long && !session->is_cut;
    if (is_plain)
        session->target = sql_route(session, &prepared->verdict);
    if (session->command == SQL_COM_STMT_EXECUTE)
        keep_types(prepared, packet);
    return true;
}

bool sql_execute_asks_cursor(const struct sql_session *session)
{
    struct text packet = buffer_text(&session->request);
    return session->command == SQL_COM_STMT_EXECUTE && packet.len > FLAGS_AT &&
           packet.data[FLAGS_AT] != 0;
}

bool sql_prepared_use(struct sql_session *session, struct text packet)
{
    struct sql_prepared *prepared = need(session, packet);
    if (prepared == NULL)
        return false;
    session->kind = SQL_REPLY_SHORT;
    if (session->command == SQL_COM_STMT_FETCH) {
        session->kind = SQL_REPLY_ROWS;
    } else if (session->command == SQL_COM_STMT_RESET) {
        prepared->has_long = false;
        if (prepared->lives[SQL_IS_PRIMARY] == 0)
            session->target = SQL_IS_REPLICA;
    } else {
        prepared->has_long = true;
        session->has_no_answer = true;
    }
    return true;
}

static void put_id(char *packet, uint32_t id)
{
    for (size_t i = 0; i < 4; i++)
        packet[ID_AT + i] = (char)(uint8_t)(id >> 8 * i);
}

/* The same execution with the types in it. */
static void put_types(struct sql_session *session, const struct sql_prepared *prepared)
{
    struct buffer old = session->request;
    struct text packet = buffer_text(&old);
    size_t at = types_at(prepared);
    session->request = buffer_of(old.limit);
    size_t begin = sql_packet_begin(&session->request);
    buffer_append(&session->request, text_part(packet, SQL_HEAD, at - SQL_HEAD));
    buffer_append_byte(&session->request, 1);
    buffer_append(&session->request, buffer_text(&prepared->types));
    buffer_append(&session->request, text_skip(packet, at + 1));
    sql_packet_end(&session->request, begin, 0);
    buffer_done(&old);
}

void sql_execute_fit(struct sql_session *session, const struct sql_backend *backend)
{
    struct sql_prepared *prepared = session->statement;
    enum sql_role target = session->target;
    size_t at = types_at(prepared);
    (void)backend;
    if (session->request.len < FLAGS_AT)
        return;
    put_id(session->request.data, prepared->ids[target]);
    if (session->command != SQL_COM_STMT_EXECUTE || prepared->parameters == 0 ||
        session->request.len <= at)
        return;
    bool says = session->request.data[at] == 1;
    if (!says && !prepared->has_types[target] && prepared->types.len > 0 && !session->is_cut)
        put_types(session, prepared);
    prepared->has_types[target] = true;
}

void sql_prepared_close(struct sql_session *session, struct text packet)
{
    struct sql_prepared *prepared = find(session, packet);
    if (prepared == NULL)
        return;
    for (size_t i = 0; i < SQL_ROLES; i++) {
        struct sql_backend *backend = session->links[i];
        if (backend == NULL || prepared->lives[i] != backend->life || backend->state != SQL_OPEN)
            continue;
        size_t begin = sql_packet_begin(&backend->wire.waiting);
        buffer_append_byte(&backend->wire.waiting, SQL_COM_STMT_CLOSE);
        sql_put(&backend->wire.waiting, prepared->ids[i], 4);
        sql_packet_end(&backend->wire.waiting, begin, 0);
        sql_wire_flush(&backend->wire);
    }
    forget(session, prepared);
}
