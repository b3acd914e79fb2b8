/* Greetings, logins and challenges: what is written is read again; what is cut is refused. */
#include "core/test.h"
#include "database/sql_login.h"

TEST(sql_numbers_of_every_length)
{
    static const struct {
        struct text data;
        uint64_t number;
        bool is_bad;
    } cases[] = {
        { T("\x00"), 0, false },
        { T("\xfa"), 250, false },
        { T("\xfb"), 0, true },
        { T("\xff"), 0, true },
        { T("\xfc\xfb\x00"), 251, false },
        { T("\xfd\x00\x00\x01"), 65536, false },
        { T("\xfe\x01\x00\x00\x00\x00\x00\x00\x80"), 0x8000000000000001ULL, false },
        { T("\xfc\x01"), 0, true },
        { T(""), 0, true },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct reader reader = reader_of(cases[i].data);
        uint64_t number = sql_read_length(&reader);
        CHECK(reader.bad == cases[i].is_bad, "case %zu", i);
        CHECK(reader.bad || number == cases[i].number, "case %zu: %llu", i,
              (unsigned long long)number);
        struct buffer out AUTO(buffer_done) = buffer_of(16);
        sql_put_length(&out, cases[i].number);
        CHECK(cases[i].is_bad || text_equal(buffer_text(&out), cases[i].data), "written %zu", i);
    }
}

TEST(sql_gtids)
{
    static const struct {
        const char *text;
        bool is_good;
    } cases[] = { { "0-1-345", true }, { "4294967295-1-18446744073709551615", true },
                  { "", false },       { "0-1", false },
                  { "0-1-", false },   { "a-1-2", false },
                  { "0-1-2-3", false } };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sql_gtid gtid;
        CHECK(sql_gtid_read(text_of(cases[i].text), &gtid) == cases[i].is_good, "%s",
              cases[i].text);
    }
}

static struct text body_of(const struct buffer *packet)
{
    return text_skip(buffer_text(packet), SQL_HEAD);
}

TEST(sql_greeting_is_read_as_written)
{
    struct buffer out AUTO(buffer_done) = buffer_of(1024);
    struct sql_greeting greeting = { .version = "5.5.5-10.11.19-MariaDB",
                                     .thread = 77,
                                     .capabilities = SQL_SECURE_CONNECTION | SQL_PROTOCOL_41 |
                                                     SQL_PLUGIN_AUTH | SQL_CACHE_METADATA,
                                     .challenge = "0123456789abcdefghij",
                                     .collation = 45,
                                     .status = 2 },
                        back;
    sql_greeting_write(&out, &greeting);
    REQUIRE(sql_greeting_read(body_of(&out), &back), "read");
    CHECK(strcmp(back.version, greeting.version) == 0 && back.thread == 77, "names");
    CHECK(back.capabilities == greeting.capabilities, "MariaDB's own too");
    CHECK(memcmp(back.challenge, greeting.challenge, SQL_SCRAMBLE) == 0, "challenge");
    size_t least = 1 + strlen(greeting.version) + 1 + 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10 + 12;
    for (size_t len = 0; len < least; len++)
        CHECK(!sql_greeting_read(text_part(body_of(&out), 0, len), &back), "cut at %zu", len);
}

TEST(sql_login_is_read_as_written)
{
    struct buffer out AUTO(buffer_done) = buffer_of(1024);
    struct sql_login login = { .capabilities = SQL_PROTOCOL_41 | SQL_SECURE_CONNECTION |
                                               SQL_PLUGIN_AUTH | SQL_CONNECT_WITH_DB |
                                               SQL_CONNECT_ATTRS | SQL_CACHE_METADATA,
                               .collation = 33,
                               .user = T("shop"),
                               .answer = T("12345678901234567890"),
                               .schema = T("goods"),
                               .attributes = T("\x01"
                                               "a\x01"
                                               "b") },
                     back;
    sql_login_write(&out, &login, 1);
    REQUIRE(sql_login_read(body_of(&out), &back), "read");
    CHECK(text_equal(back.user, login.user) && text_equal(back.answer, login.answer), "user");
    CHECK(text_equal(back.schema, login.schema) && back.collation == 33, "schema");
    CHECK(text_equal(back.plugin, T(SQL_NATIVE)), "method");
    CHECK(text_equal(back.attributes, login.attributes), "attributes");
    CHECK(back.capabilities == login.capabilities, "capabilities");
    for (size_t len = 0; len < out.len - SQL_HEAD; len++) /* must not read what is not there */
        (void)!sql_login_read(text_part(body_of(&out), 0, len), &back);
}

TEST(sql_change_of_user_is_read_as_written)
{
    struct buffer out AUTO(buffer_done) = buffer_of(1024);
    struct sql_login login = { .capabilities =
                                   SQL_PROTOCOL_41 | SQL_SECURE_CONNECTION | SQL_PLUGIN_AUTH,
                               .collation = 300,
                               .user = T("shop"),
                               .answer = T("12345678901234567890"),
                               .schema = T("goods") },
                     back;
    sql_change_user_write(&out, &login);
    REQUIRE(sql_change_user_read(body_of(&out), login.capabilities, &back), "read");
    CHECK(text_equal(back.user, login.user) && text_equal(back.answer, login.answer), "user");
    CHECK(text_equal(back.schema, login.schema) && back.collation == 300, "schema");
}

TEST(sql_tls_is_asked_for_in_a_short_login)
{
    struct sql_login login;
    char body[32] = { 0 };
    body[1] = (char)(uint8_t)((SQL_TLS | SQL_PROTOCOL_41) >> 8);
    CHECK(sql_login_read(text_from(body, sizeof(body)), &login) && login.wants_tls, "TLS");
    struct buffer out AUTO(buffer_done) = buffer_of(64);
    sql_login_write_tls(&out, SQL_PROTOCOL_41 | SQL_TRANSACTIONS, 45, 1);
    CHECK(out.len == SQL_HEAD + sizeof(body) && out.data[3] == 1, "%zu bytes", out.len);
    REQUIRE(sql_login_read(body_of(&out), &login), "ours");
    CHECK(login.wants_tls && login.collation == 45, "TLS");
    CHECK(login.capabilities == (SQL_PROTOCOL_41 | SQL_TRANSACTIONS | SQL_TLS), "the rest");
}

TEST(sql_native_password)
{
    char out[SQL_SCRAMBLE];
    const char *challenge = "0123456789abcdefghij";
    struct text answer = sql_native_answer(T("secret"), challenge, out);
    CHECK(answer.len == SQL_SCRAMBLE, "20 bytes");
    CHECK(sql_native_check(T("secret"), challenge, answer), "right");
    CHECK(!sql_native_check(T("Secret"), challenge, answer), "wrong");
    CHECK(!sql_native_check(T("secret"), "0123456789abcdefghiJ", answer), "another challenge");
    CHECK(!sql_native_check(T("secret"), challenge, T("")), "none");
    CHECK(sql_native_check(T(""), challenge, T("")), "none is needed");
    CHECK(!sql_native_check(T(""), challenge, answer), "one that is not needed");
}

TEST(sql_errors_as_servers_say_them)
{
    struct buffer out AUTO(buffer_done) = buffer_of(1024);
    sql_write_error(&out, 3, 1045, "28000", "no");
    CHECK(text_equal(buffer_text(&out), T("\x0b\x00\x00\x03\xff\x15\x04#28000no")), "bytes");
    CHECK(sql_error_code(body_of(&out)) == 1045, "read");
}
