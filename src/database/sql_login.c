/*
 * Greeting, login and mysql_native_password: the answer is SHA1(password) XOR
 * SHA1(challenge + SHA1(SHA1(password))).
 */
#include "database/sql_login.h"

#include <openssl/sha.h>

enum { CHALLENGE_FRONT = 8, PROTOCOL_VERSION = 10 };

/* ---- greeting ---- */

bool sql_greeting_read(struct text body, struct sql_greeting *greeting_out)
{
    struct reader reader = reader_of(body);
    struct sql_greeting greeting = { 0 };
    uint8_t version = read_u8(&reader);
    struct text name = sql_read_string(&reader);
    greeting.thread = (uint32_t)sql_read_number(&reader, 4);
    struct text front = reader_take(&reader, CHALLENGE_FRONT);
    read_u8(&reader);
    greeting.capabilities = sql_read_number(&reader, 2);
    greeting.collation = read_u8(&reader);
    greeting.status = (uint16_t)sql_read_number(&reader, 2);
    greeting.capabilities |= sql_read_number(&reader, 2) << 16;
    read_u8(&reader);
    reader_take(&reader, 6);
    uint64_t more = sql_read_number(&reader, 4);
    struct text back = reader_take(&reader, SQL_SCRAMBLE - CHALLENGE_FRONT);
    if (reader.bad || version != PROTOCOL_VERSION ||
        !(greeting.capabilities & SQL_SECURE_CONNECTION) ||
        !text_copy_to(name, greeting.version, sizeof(greeting.version)))
        return false;
    if (!(greeting.capabilities & SQL_CLIENT_MYSQL))
        greeting.capabilities |= more << 32;
    memcpy(greeting.challenge, front.data, CHALLENGE_FRONT);
    memcpy(greeting.challenge + CHALLENGE_FRONT, back.data, SQL_SCRAMBLE - CHALLENGE_FRONT);
    *greeting_out = greeting;
    return true;
}

void sql_greeting_write(struct buffer *out, const struct sql_greeting *greeting)
{
    size_t begin = sql_packet_begin(out);
    uint64_t capabilities = greeting->capabilities;
    buffer_append_byte(out, PROTOCOL_VERSION);
    buffer_append(out, text_of(greeting->version));
    buffer_append_byte(out, 0);
    sql_put(out, greeting->thread, 4);
    buffer_append(out, text_from(greeting->challenge, CHALLENGE_FRONT));
    buffer_append_byte(out, 0);
    sql_put(out, capabilities & 0xffff, 2);
    sql_put(out, greeting->collation, 1);
    sql_put(out, greeting->status, 2);
    sql_put(out, capabilities >> 16 & 0xffff, 2);
    sql_put(out, SQL_SCRAMBLE + 1, 1);
    sql_put(out, 0, 6);
    sql_put(out, capabilities & SQL_CLIENT_MYSQL ? 0 : capabilities >> 32, 4);
    buffer_append(out,
                  text_from(greeting->challenge + CHALLENGE_FRONT, SQL_SCRAMBLE - CHALLENGE_FRONT));
    buffer_append_byte(out, 0);
    buffer_append(out, T(SQL_NATIVE));
    buffer_append_byte(out, 0);
    sql_packet_end(out, begin, 0);
}

/* ---- login ---- */

static struct text read_answer(struct reader *reader, uint64_t capabilities)
{
    if (capabilities & SQL_AUTH_LENENC)
        return sql_read_text(reader);
    if (capabilities & SQL_SECURE_CONNECTION)
        return reader_take(reader, read_u8(reader));
    return sql_read_string(reader);
}

/* Some clients leave out the last NUL. */
static struct text read_last_string(struct reader *reader)
{
    struct text rest = { (const char *)reader->data + reader->at, reader_left(reader) };
    if (rest.len == 0 || text_find(rest, '\0') >= 0)
        return rest.len > 0 ? sql_read_string(reader) : T("");
    return reader_take(reader, rest.len);
}

bool sql_login_read(struct text body, struct sql_login *login_out)
{
    struct reader reader = reader_of(body);
    struct sql_login login = { .capabilities = sql_read_number(&reader, 4) };
    sql_read_number(&reader, 4);
    login.collation = read_u8(&reader);
    reader_take(&reader, 19);
    uint64_t more = sql_read_number(&reader, 4);
    if (reader.bad || !(login.capabilities & SQL_PROTOCOL_41))
        return false;
    if (!(login.capabilities & SQL_CLIENT_MYSQL))
        login.capabilities |= more << 32;
    login.wants_tls = (login.capabilities & SQL_TLS) && reader_left(&reader) == 0;
    if (!login.wants_tls) {
        login.user = sql_read_string(&reader);
        login.answer = read_answer(&reader, login.capabilities);
        if ((login.capabilities & SQL_CONNECT_WITH_DB) && reader_left(&reader) > 0)
            login.schema = read_last_string(&reader);
        if (login.capabilities & SQL_PLUGIN_AUTH)
            login.plugin = read_last_string(&reader);
        if ((login.capabilities & SQL_CONNECT_ATTRS) && reader_left(&reader) > 0)
            login.attributes = sql_read_text(&reader);
    }
    *login_out = login;
    return !reader.bad;
}

static void write_login_head(struct buffer *out, uint64_t capabilities, uint16_t collation)
{
    sql_put(out, capabilities & 0xffffffff, 4);
    sql_put(out, 1 << 30, 4); /* the largest packet; the server has its own limit */
    sql_put(out, collation, 1);
    for (size_t i = 0; i < 19; i++)
        buffer_append_byte(out, 0);
    sql_put(out, capabilities & SQL_CLIENT_MYSQL ? 0 : capabilities >> 32, 4);
}

void sql_login_write_tls(struct buffer *out, uint64_t capabilities, uint16_t collation,
                         uint8_t sequence)
{
    size_t begin = sql_packet_begin(out);
    write_login_head(out, capabilities | SQL_TLS, collation);
    sql_packet_end(out, begin, sequence);
}

void sql_login_write(struct buffer *out, const struct sql_login *login, uint8_t sequence)
{
    size_t begin = sql_packet_begin(out);
    uint64_t capabilities = login->capabilities;
    write_login_head(out, capabilities, login->collation);
    buffer_append(out, login->user);
    buffer_append_byte(out, 0);
    if (capabilities & SQL_AUTH_LENENC)
        sql_put_length(out, login->answer.len);
    else
        buffer_append_byte(out, (uint8_t)login->answer.len);
    buffer_append(out, login->answer);
    if (capabilities & SQL_CONNECT_WITH_DB) {
        buffer_append(out, login->schema);
        buffer_append_byte(out, 0);
    }
    buffer_append(out, T(SQL_NATIVE));
    buffer_append_byte(out, 0);
    if (capabilities & SQL_CONNECT_ATTRS)
        sql_put_text(out, login->attributes);
    sql_packet_end(out, begin, sequence);
}

/* ---- change of user ---- */

bool sql_change_user_read(struct text body, uint64_t capabilities, struct sql_login *login_out)
{
    struct reader reader = reader_of(body);
    struct sql_login login = { .capabilities = capabilities };
    read_u8(&reader);
    login.user = sql_read_string(&reader);
    login.answer = capabilities & SQL_SECURE_CONNECTION ? reader_take(&reader, read_u8(&reader))
                                                        : sql_read_string(&reader);
    login.schema = reader_left(&reader) > 0 ? read_last_string(&reader) : T("");
    if (reader_left(&reader) >= 2)
        login.collation = (uint16_t)sql_read_number(&reader, 2);
    if ((capabilities & SQL_PLUGIN_AUTH) && reader_left(&reader) > 0)
        login.plugin = read_last_string(&reader);
    if ((capabilities & SQL_CONNECT_ATTRS) && reader_left(&reader) > 0)
        login.attributes = sql_read_text(&reader);
    *login_out = login;
    return !reader.bad;
}

void sql_change_user_write(struct buffer *out, const struct sql_login *login)
{
    size_t begin = sql_packet_begin(out);
    buffer_append_byte(out, SQL_COM_CHANGE_USER);
    buffer_append(out, login->user);
    buffer_append_byte(out, 0);
    buffer_append_byte(out, (uint8_t)login->answer.len);
    buffer_append(out, login->answer);
    buffer_append(out, login->schema);
    buffer_append_byte(out, 0);
    sql_put(out, login->collation, 2);
    buffer_append(out, T(SQL_NATIVE));
    buffer_append_byte(out, 0);
    if (login->capabilities & SQL_CONNECT_ATTRS)
        sql_put_text(out, login->attributes);
    sql_packet_end(out, begin, 0);
}

/* ---- another method ---- */

void sql_switch_write(struct buffer *out, const char challenge[SQL_SCRAMBLE], uint8_t sequence)
{
    size_t begin = sql_packet_begin(out);
    buffer_append_byte(out, 0xfe);
    buffer_append(out, T(SQL_NATIVE));
    buffer_append_byte(out, 0);
    buffer_append(out, text_from(challenge, SQL_SCRAMBLE));
    buffer_append_byte(out, 0);
    sql_packet_end(out, begin, sequence);
}

bool sql_switch_read(struct text body, char challenge_out[SQL_SCRAMBLE])
{
    struct reader reader = reader_of(body);
    bool is_switch = read_u8(&reader) == 0xfe;
    struct text method = sql_read_string(&reader);
    struct text challenge = reader_take(&reader, SQL_SCRAMBLE);
    if (reader.bad || !is_switch || !text_equal(method, T(SQL_NATIVE)))
        return false;
    memcpy(challenge_out, challenge.data, SQL_SCRAMBLE);
    return true;
}

/* ---- mysql_native_password ---- */

struct text sql_native_answer(struct text password, const char challenge[SQL_SCRAMBLE],
                              char out[SQL_SCRAMBLE])
{
    uint8_t once[SQL_SCRAMBLE], joined[2 * SQL_SCRAMBLE], mask[SQL_SCRAMBLE];
    if (password.len == 0)
        return T("");
    SHA1((const uint8_t *)password.data, password.len, once);
    memcpy(joined, challenge, SQL_SCRAMBLE);
    SHA1(once, SQL_SCRAMBLE, joined + SQL_SCRAMBLE);
    SHA1(joined, sizeof(joined), mask);
    for (size_t i = 0; i < SQL_SCRAMBLE; i++)
        out[i] = (char)(once[i] ^ mask[i]);
    explicit_bzero(once, sizeof(once));
    return text_from(out, SQL_SCRAMBLE);
}

bool sql_native_check(struct text password, const char challenge[SQL_SCRAMBLE], struct text answer)
{
    char right[SQL_SCRAMBLE];
    struct text expected = sql_native_answer(password, challenge, right);
    if (answer.len != expected.len)
        return false;
    unsigned difference = 0;
    for (size_t i = 0; i < expected.len; i++)
        difference |= (unsigned)(answer.data[i] ^ expected.data[i]);
    return difference == 0;
}
