/*
 * Reading and writing of the small parts of the MySQL/MariaDB protocol. Nothing here keeps state;
 * whoever reads a stream of packets finds their borders in sql_reply.c or sql_session.c.
 */
#include "database/sql_packet.h"

/* ---- reading ---- */

uint64_t sql_read_number(struct reader *reader, size_t bytes)
{
    struct text text = reader_take(reader, bytes);
    uint64_t number = 0;
    for (size_t i = text.len; i > 0; i--)
        number = number << 8 | (uint8_t)text.data[i - 1];
    return number;
}

uint64_t sql_read_length(struct reader *reader)
{
    uint8_t first = read_u8(reader);
    switch (first) {
    case 0xfc:
        return sql_read_number(reader, 2);
    case 0xfd:
        return sql_read_number(reader, 3);
    case 0xfe:
        return sql_read_number(reader, 8);
    case 0xfb:
    case 0xff:
        reader->bad = true;
        return 0;
    default:
        return first;
    }
}

struct text sql_read_text(struct reader *reader)
{
    uint64_t len = sql_read_length(reader);
    if (len > reader_left(reader))
        reader->bad = true;
    return reader_take(reader, reader->bad ? 0 : (size_t)len);
}

struct text sql_read_string(struct reader *reader)
{
    struct text rest = { (const char *)reader->data + reader->at, reader_left(reader) };
    ssize_t end = rest.len > 0 ? text_find(rest, '\0') : -1;
    if (end < 0) {
        reader->bad = true;
        return T("");
    }
    struct text found = reader_take(reader, (size_t)end);
    reader_take(reader, 1);
    return found;
}

bool sql_gtid_read(struct text text, struct sql_gtid *gtid_out)
{
    struct text rest = text;
    uint64_t domain, server, sequence;
    if (text_is_empty(text) || !text_to_uint(text_next(&rest, '-'), UINT32_MAX, &domain) ||
        rest.data == NULL || !text_to_uint(text_next(&rest, '-'), UINT32_MAX, &server) ||
        rest.data == NULL || !text_to_uint(rest, UINT64_MAX, &sequence))
        return false;
    *gtid_out = (struct sql_gtid){ (uint32_t)domain, (uint32_t)server, sequence };
    return true;
}

enum { TRACK_VARIABLES, TRACK_SCHEMA, TRACK_STATE };

static void read_variables(struct text data, struct sql_ok *ok)
{
    struct reader reader = reader_of(data);
    while (!reader.bad && reader_left(&reader) > 0) {
        struct text name = sql_read_text(&reader), value = sql_read_text(&reader);
        if (!reader.bad && text_equal(name, T("last_gtid")))
            sql_gtid_read(value, &ok->gtid);
    }
}

static bool read_tracked(struct text changes, struct sql_ok *ok)
{
    struct reader reader = reader_of(changes);
    while (!reader.bad && reader_left(&reader) > 0) {
        uint8_t type = read_u8(&reader);
        struct text data = sql_read_text(&reader);
        struct reader inner = reader_of(data);
        if (type == TRACK_VARIABLES) {
            read_variables(data, ok);
        } else if (type == TRACK_SCHEMA) {
            ok->schema = sql_read_text(&inner);
            ok->has_schema = !inner.bad;
        } else if (type == TRACK_STATE) {
            ok->has_changed = true;
        }
    }
    return !reader.bad;
}

bool sql_ok_read(struct text body, uint64_t capabilities, struct sql_ok *ok_out)
{
    struct reader reader = reader_of(body);
    struct sql_ok ok = { .tracked_at = body.len };
    read_u8(&reader);
    sql_read_length(&reader);
    ok.insert_id = sql_read_length(&reader);
    ok.status = (uint16_t)sql_read_number(&reader, 2);
    ok.warnings = (uint16_t)sql_read_number(&reader, 2);
    if (reader.bad)
        return false;
    if ((capabilities & SQL_SESSION_TRACK) && (ok.status & SQL_STATUS_STATE_CHANGED)) {
        sql_read_text(&reader);
        ok.tracked_at = reader.at;
        struct text changes = sql_read_text(&reader);
        if (reader.bad || !read_tracked(changes, &ok))
            return false;
    }
    *ok_out = ok;
    return true;
}

uint16_t sql_eof_status(struct text body)
{
    struct reader reader = reader_of(body);
    bool is_eof = read_u8(&reader) == 0xfe && body.len == 5;
    sql_read_number(&reader, 2);
    uint16_t status = (uint16_t)sql_read_number(&reader, 2);
    return is_eof ? status : 0;
}

uint16_t sql_error_code(struct text body)
{
    struct reader reader = reader_of(body);
    bool is_error = read_u8(&reader) == 0xff;
    uint16_t code = (uint16_t)sql_read_number(&reader, 2);
    return is_error && !reader.bad ? code : 0;
}

/* ---- writing ---- */

void sql_put(struct buffer *out, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buffer_append_byte(out, (uint8_t)(number >> 8 * i));
}

void sql_put_length(struct buffer *out, uint64_t number)
{
    if (number < 0xfb) {
        sql_put(out, number, 1);
    } else if (number <= 0xffff) {
        buffer_append_byte(out, 0xfc);
        sql_put(out, number, 2);
    } else if (number <= 0xffffff) {
        buffer_append_byte(out, 0xfd);
        sql_put(out, number, 3);
    } else {
        buffer_append_byte(out, 0xfe);
        sql_put(out, number, 8);
    }
}

void sql_put_text(struct buffer *out, struct text text)
{
    sql_put_length(out, text.len);
    buffer_append(out, text);
}

size_t sql_packet_begin(struct buffer *out)
{
    size_t begin = out->len;
    sql_put(out, 0, SQL_HEAD);
    return begin;
}

void sql_packet_end(struct buffer *out, size_t begin, uint8_t sequence)
{
    if (out->failed)
        return;
    size_t len = out->len - begin - SQL_HEAD;
    for (size_t i = 0; i < 3; i++)
        out->data[begin + i] = (char)(uint8_t)(len >> 8 * i);
    out->data[begin + 3] = (char)sequence;
}

void sql_write_command(struct buffer *out, enum sql_command command, struct text argument)
{
    size_t begin = sql_packet_begin(out);
    buffer_append_byte(out, (uint8_t)command);
    buffer_append(out, argument);
    sql_packet_end(out, begin, 0);
}

void sql_write_ok(struct buffer *out, uint8_t sequence, uint16_t status)
{
    size_t begin = sql_packet_begin(out);
    sql_put(out, 0, 3);
    sql_put(out, status, 2);
    sql_put(out, 0, 2);
    sql_packet_end(out, begin, sequence);
}

void sql_write_error(struct buffer *out, uint8_t sequence, uint16_t code, const char *state,
                     const char *message)
{
    size_t begin = sql_packet_begin(out);
    buffer_append_byte(out, 0xff);
    sql_put(out, code, 2);
    buffer_print(out, "#%s%s", state, message);
    sql_packet_end(out, begin, sequence);
}
