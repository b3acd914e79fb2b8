/*
 * The states of an answer. Packets that say something (the first of a result, OK, EOF, ERR) are
 * looked at whole; all others are only counted, and runs of them are passed on in one piece.
 */
#include "database/sql_reply.h"

enum { FIRST, COLUMNS, COLUMNS_END, ROWS, PARAMETERS, PARAMETERS_END, LAST };
enum { HELD_MOST = 65536 };

void sql_reply_begin(struct sql_reply *reply, enum sql_reply_kind kind, uint64_t capabilities,
                     uint64_t client)
{
    struct buffer held = reply->held;
    if (held.limit == 0)
        held = buffer_of(HELD_MOST + SQL_HEAD);
    buffer_clear(&held);
    reply->is_done = reply->wants_file = reply->is_bad = reply->has_status = false;
    reply->has_changed = reply->has_schema = reply->is_continued = false;
    reply->status = reply->error = reply->parameters = 0;
    reply->insert_id = reply->packets = reply->columns = 0;
    reply->gtid = (struct sql_gtid){ 0 };
    reply->statement = reply->show_as = reply->definitions = 0;
    reply->asks_cursor = false;
    reply->skip = 0;
    reply->capabilities = capabilities;
    reply->client = client;
    reply->kind = kind;
    reply->step = kind == SQL_REPLY_FIELDS || kind == SQL_REPLY_ROWS ? ROWS : FIRST;
    reply->held = held;
}

void sql_reply_done(struct sql_reply *reply)
{
    buffer_done(&reply->held);
}

void sql_reply_go_on(struct sql_reply *reply)
{
    reply->wants_file = false;
    reply->step = LAST;
}

static bool has_eof(const struct sql_reply *reply)
{
    return (reply->capabilities & SQL_DEPRECATE_EOF) == 0;
}

/* Does this packet say something? Its first byte is only known when the body is not empty. */
static bool is_telling(const struct sql_reply *reply, size_t len, uint8_t first)
{
    if (reply->is_continued)
        return false;
    if (reply->step != ROWS)
        return reply->step != COLUMNS && reply->step != PARAMETERS;
    /* a row that begins with 0xfe has a text of 16 MiB in front */
    return first == 0xff || (first == 0xfe && len < (has_eof(reply) ? 9 : SQL_PACKET_MOST));
}

/* ---- what it says ---- */

static void take_status(struct sql_reply *reply, uint16_t status)
{
    reply->status = status;
    reply->has_status = true;
    reply->step = FIRST;
    reply->is_done = (status & SQL_STATUS_MORE_RESULTS) == 0;
}

static bool take_ok(struct sql_reply *reply, struct text body, struct sql_ok *ok)
{
    if (!sql_ok_read(body, reply->capabilities, ok))
        return false;
    take_status(reply, ok->status);
    reply->has_changed |= ok->has_changed;
    if (ok->insert_id != 0)
        reply->insert_id = ok->insert_id;
    if (ok->gtid.sequence != 0)
        reply->gtid = ok->gtid;
    if (ok->has_schema) {
        reply->has_schema = text_copy_to(ok->schema, reply->schema, sizeof(reply->schema));
        reply->has_changed |= !reply->has_schema;
    }
    return true;
}

static bool take_error(struct sql_reply *reply, struct text body)
{
    uint16_t code = sql_error_code(body);
    if (code == 0)
        return false;
    if (code == 0xffff && (reply->capabilities & SQL_PROGRESS))
        return true; /* a report of progress; the answer is still to come */
    reply->error = code;
    reply->is_done = true;
    return true;
}

static void begin_columns(struct sql_reply *reply, uint64_t count, bool has_definitions)
{
    reply->columns = has_definitions ? count : 0;
    reply->step = reply->columns > 0 ? COLUMNS : has_eof(reply) ? COLUMNS_END : ROWS;
}

static bool take_count(struct sql_reply *reply, struct text body)
{
    struct reader reader = reader_of(body);
    uint64_t count = sql_read_length(&reader);
    bool has_definitions = true;
    if (reply->capabilities & SQL_CACHE_METADATA)
        has_definitions = read_u8(&reader) != 0;
    if (reader.bad || count == 0)
        return false;
    begin_columns(reply, count, has_definitions);
    return true;
}

/* Behind the parameters, or when there are none. */
static void prepare_columns(struct sql_reply *reply)
{
    reply->columns = reply->definitions;
    reply->definitions = 0;
    if (reply->columns > 0)
        reply->step = COLUMNS;
    else
        reply->is_done = true;
}

static bool take_prepared(struct sql_reply *reply, struct text body)
{
    struct reader reader = reader_of(body);
    read_u8(&reader);
    reply->statement = (uint32_t)sql_read_number(&reader, 4);
    reply->definitions = (uint32_t)sql_read_number(&reader, 2);
    reply->parameters = (uint16_t)sql_read_number(&reader, 2);
    reply->columns = reply->parameters;
    if (reader.bad)
        return false;
    if (reply->columns > 0)
        reply->step = PARAMETERS;
    else
        prepare_columns(reply);
    return true;
}

static bool take_rows_end(struct sql_reply *reply, struct text body, struct sql_ok *ok)
{
    if ((uint8_t)body.data[0] == 0xff)
        return take_error(reply, body);
    if (!has_eof(reply) && body.len >= 7)
        return take_ok(reply, body, ok);
    if (body.len != 5)
        return false;
    take_status(reply, sql_eof_status(body));
    return true;
}

static bool take_first(struct sql_reply *reply, struct text body, struct sql_ok *ok)
{
    uint8_t first = body.len > 0 ? (uint8_t)body.data[0] : 0xff;
    if (reply->kind == SQL_REPLY_LINE && first != 0xff) {
        reply->is_done = true;
        return true;
    }
    if (first == 0xff)
        return take_error(reply, body);
    if (first == 0 && reply->kind == SQL_REPLY_PREPARE)
        return take_prepared(reply, body);
    if (first == 0)
        return take_ok(reply, body, ok);
    if (first == 0xfe && reply->kind == SQL_REPLY_SHORT)
        return take_rows_end(reply, body, ok);
    if (reply->kind != SQL_REPLY_QUERY)
        return false;
    if (first == 0xfb) {
        reply->wants_file = true;
        return reply->step == FIRST;
    }
    return reply->step == FIRST && take_count(reply, body);
}

static bool take_columns_end(struct sql_reply *reply, struct text body)
{
    if (body.len > 0 && (uint8_t)body.data[0] == 0xff)
        return take_error(reply, body);
    if (body.len != 5 || (uint8_t)body.data[0] != 0xfe)
        return false;
    uint16_t status = sql_eof_status(body);
    if (reply->step == PARAMETERS_END) {
        prepare_columns(reply);
    } else if (reply->kind == SQL_REPLY_PREPARE) {
        take_status(reply, status);
        reply->is_done = true;
    } else if ((status & SQL_STATUS_CURSOR_EXISTS) && reply->asks_cursor) {
        take_status(reply, status); /* the rows are asked for later */
    } else {
        reply->step = ROWS;
    }
    return true;
}

/* What the client sees of a telling packet, head included. */
static void show(struct sql_reply *reply, struct text packet, const struct sql_ok *ok,
                 struct buffer *out)
{
    if (out == NULL)
        return;
    size_t begin = out->len;
    bool hides = ok->tracked_at > 0 && (reply->capabilities & ~reply->client & SQL_SESSION_TRACK) &&
                 (ok->status & SQL_STATUS_STATE_CHANGED);
    buffer_append(out, hides ? text_part(packet, 0, SQL_HEAD + ok->tracked_at) : packet);
    if (out->failed)
        return;
    char *body = out->data + begin + SQL_HEAD;
    if (hides) {
        struct reader reader = reader_of(text_from(body, ok->tracked_at));
        read_u8(&reader);
        sql_read_length(&reader);
        sql_read_length(&reader);
        body[reader.at + 1] = (char)(body[reader.at + 1] & ~(SQL_STATUS_STATE_CHANGED >> 8));
        sql_packet_end(out, begin, (uint8_t)packet.data[3]);
    }
    if (reply->show_as != 0 && reply->packets == 1 && reply->statement != 0)
        for (size_t i = 0; i < 4; i++)
            body[1 + i] = (char)(uint8_t)(reply->show_as >> 8 * i);
}

/* A whole packet that says something. */
static void take(struct sql_reply *reply, struct text packet, struct buffer *out)
{
    struct text body = text_skip(packet, SQL_HEAD);
    struct sql_ok ok = { 0 };
    bool is_good = reply->step == ROWS ? take_rows_end(reply, body, &ok)
                   : reply->step == COLUMNS_END || reply->step == PARAMETERS_END
                       ? take_columns_end(reply, body)
                       : take_first(reply, body, &ok);
    reply->packets++;
    reply->is_bad = !is_good;
    if (is_good)
        show(reply, packet, &ok, out);
}

/* A packet that only counts has passed, len bytes of body. */
static void count(struct sql_reply *reply, size_t len)
{
    bool is_definition = reply->step == COLUMNS || reply->step == PARAMETERS;
    reply->packets++;
    reply->is_continued = len == SQL_PACKET_MOST;
    if (!is_definition || reply->is_continued || --reply->columns > 0)
        return;
    if (reply->step == PARAMETERS && has_eof(reply))
        reply->step = PARAMETERS_END;
    else if (reply->step == PARAMETERS)
        prepare_columns(reply);
    else if (has_eof(reply))
        reply->step = COLUMNS_END;
    else if (reply->kind == SQL_REPLY_PREPARE)
        reply->is_done = true;
    else
        reply->step = ROWS;
}

/* ---- the stream of packets ---- */

/* How much of the packet whose front is here must be seen before something can be said. */
static size_t needed(const struct sql_reply *reply, struct text front)
{
    if (front.len < SQL_HEAD)
        return SQL_HEAD;
    size_t len = sql_packet_length(front.data);
    if (front.len == SQL_HEAD && len > 0)
        return SQL_HEAD + 1;
    uint8_t first = len > 0 ? (uint8_t)front.data[SQL_HEAD] : 0;
    return is_telling(reply, len, first) ? SQL_HEAD + len : len > 0 ? SQL_HEAD + 1 : SQL_HEAD;
}

/* The front holds all that is needed: either a whole telling packet, which is taken, or the first
 * bytes of one that only passes. Returns how many bytes of that one are still to pass. */
static size_t decide(struct sql_reply *reply, struct text front, struct buffer *out)
{
    size_t len = sql_packet_length(front.data);
    uint8_t first = len > 0 ? (uint8_t)front.data[SQL_HEAD] : 0;
    if (is_telling(reply, len, first)) {
        take(reply, text_part(front, 0, SQL_HEAD + len), out);
        return 0;
    }
    reply->length = len;
    return SQL_HEAD + len;
}

/* Completes the packet that was cut; returns the bytes used of data. */
static size_t fill(struct sql_reply *reply, struct text data, struct buffer *out)
{
    struct buffer *held = &reply->held;
    size_t used = 0, want;
    while (held->len < (want = needed(reply, buffer_text(held))) && used < data.len) {
        struct text part = text_part(data, used, want - held->len);
        buffer_append(held, part);
        used += part.len;
        if (held->failed || want > HELD_MOST) {
            reply->is_bad = true;
            return used;
        }
    }
    if (held->len < want)
        return used;
    size_t pass = decide(reply, buffer_text(held), out);
    if (pass > 0) {
        if (out != NULL)
            buffer_append(out, buffer_text(held));
        reply->skip = pass - held->len;
        if (reply->skip == 0)
            count(reply, reply->length);
    }
    buffer_clear(held);
    return used;
}

static bool goes_on(const struct sql_reply *reply)
{
    return !reply->is_done && !reply->is_bad && !reply->wants_file;
}

/* Packets that only pass, from `at`, as many as are here; returns where they end. */
static size_t pass_packets(struct sql_reply *reply, struct text data, size_t at)
{
    while (at < data.len && goes_on(reply)) {
        if (reply->skip == 0) {
            struct text front = text_skip(data, at);
            size_t len = front.len >= SQL_HEAD ? sql_packet_length(front.data) : 1;
            if (front.len < SQL_HEAD + (len > 0 ? 1u : 0u))
                return at;
            if (is_telling(reply, len, len > 0 ? (uint8_t)front.data[SQL_HEAD] : 0))
                return at;
            reply->length = len;
            reply->skip = SQL_HEAD + len;
        }
        size_t part = reply->skip < data.len - at ? reply->skip : data.len - at;
        at += part;
        reply->skip -= part;
        if (reply->skip == 0)
            count(reply, reply->length);
    }
    return at;
}

size_t sql_reply_read(struct sql_reply *reply, struct text data, struct buffer *out)
{
    size_t at = 0;
    while (at < data.len && goes_on(reply)) {
        if (reply->held.len > 0) {
            at += fill(reply, text_skip(data, at), out);
            continue;
        }
        size_t passed = pass_packets(reply, data, at);
        if (passed > at && out != NULL)
            buffer_append(out, text_part(data, at, passed - at));
        at = passed;
        struct text front = text_skip(data, at);
        if (front.len == 0 || !goes_on(reply))
            break;
        if (front.len < needed(reply, text_part(front, 0, SQL_HEAD + 1))) {
            at += fill(reply, front, out);
            continue;
        }
        at += SQL_HEAD + sql_packet_length(front.data);
        decide(reply, front, out);
    }
    return at;
}
