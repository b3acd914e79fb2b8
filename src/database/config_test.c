/* The option file, the first SQL, the URL: quoting and what depends on the settings. */
#include "database/config.h"

#include "core/test.h"
#include "database/tier.h"

#include <stdio.h>

static bool has(const struct buffer *buffer, const char *part)
{
    return text_find_text(buffer_text(buffer), text_of(part)) >= 0;
}

TEST(database_options_follow_the_settings)
{
    struct arena *arena = arena_new(65536, 0);
    struct why why = { "" };
    struct database_place place;
    REQUIRE(database_place_find(arena, T("/srv/a \\b#\"c"), &place, &why) == OK, "%s", why.text);
    struct site_database local = { .name = T("shop"), .memory = 134217728, .connections = 200 };
    struct buffer out = buffer_of(65536);
    database_write_options(&out, &local, T("192.0.2.1"), &place, false);
    CHECK(has(&out, "datadir = \"/srv/a \\\\b#\"c/database/data\"\n"), "backslash is escaped");
    CHECK(has(&out, "skip_networking = ON\n"), "no TCP unless asked");
    CHECK(!has(&out, "port ="), "no port");
    CHECK(has(&out, "innodb_buffer_pool_size = 134217728\n"), "memory");
    CHECK(has(&out, "max_connections = 200\n"), "connections");
    CHECK(has(&out, "innodb_flush_log_at_trx_commit = 1\n"), "durable");
    buffer_clear(&out);
    local.port = 3310;
    database_write_options(&out, &local, T("192.0.2.1"), &place, false);
    CHECK(has(&out, "bind_address = 192.0.2.1\nport = 3310\n"), "TCP on the server's address");
    CHECK(!has(&out, "skip_networking"), "TCP is on");
    buffer_done(&out);
    arena_free(arena);
}

TEST(database_place_refuses_what_cannot_work)
{
    char state[128];
    memset(state, 'x', sizeof(state));
    state[0] = '/';
    static const struct {
        size_t len;
        enum err err;
    } cases[] = { { 80, OK }, { 81, ERR_LIMIT }, { 120, ERR_LIMIT } };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(65536, 0);
        struct database_place place;
        struct why why = { "" };
        enum err err = database_place_find(arena, text_from(state, cases[i].len), &place, &why);
        CHECK(err == cases[i].err, "%zu characters: %s", cases[i].len, err_text(err));
        if (err == OK)
            CHECK(strlen(place.socket) == 107, "the longest that fits: %zu", strlen(place.socket));
        else
            CHECK(strstr(why.text, "--state") != NULL, "says what to do: %s", why.text);
        CHECK(database_place_find(arena, T("/a\nb"), &place, &why) == ERR_SYNTAX, "a newline");
        arena_free(arena);
    }
}

TEST(database_init_makes_one_user_with_one_database)
{
    struct site_database database = { .name = T("my_shop") };
    struct buffer out = buffer_of(65536);
    database_write_init(&out, &database, T("a'b\\c"), T("f'"));
    CHECK(has(&out, "CREATE DATABASE IF NOT EXISTS `my_shop`;\n"), "database");
    CHECK(
        has(&out, "CREATE USER IF NOT EXISTS `my_shop`@'localhost' IDENTIFIED BY 'a\\'b\\\\c';\n"),
        "password is quoted");
    CHECK(has(&out, "ALTER USER `my_shop`@'localhost' IDENTIFIED BY 'a\\'b\\\\c';\n"),
          "password is set again");
    CHECK(has(&out, " ON `my\\_shop`.* TO `my_shop`@'localhost';\n"),
          "_ is no pattern: another database must not match");
    CHECK(has(&out, "DROP USER IF EXISTS `my_shop`@'%';\n"), "no user over TCP");
    CHECK(has(&out, "ALTER USER trilith_figures@localhost IDENTIFIED BY 'f\\'';\n"), "figures");
    CHECK(!has(&out, "TO trilith_figures"), "without any right");
    CHECK(!has(&out, "GRANT ALL") && !has(&out, "WITH GRANT"), "nothing more");
    buffer_clear(&out);
    database.port = 3310;
    database.name = T("a`b");
    database_write_init(&out, &database, T("x"), T("y"));
    CHECK(has(&out, "ALTER USER `a``b`@'%' IDENTIFIED BY 'x';\n"),
          "user over TCP, backtick doubled");
    buffer_done(&out);
}

TEST(database_url_is_percent_encoded)
{
    struct site_database database = { .name = T("shop") };
    struct buffer out = buffer_of(65536);
    database_write_url(&out, &database, T("p@:/w"), T("/run/a b/database.sock"));
    CHECK(text_equal(buffer_text(&out), T("mysql://shop:p%40%3A%2Fw@localhost/shop?unix_socket="
                                          "%2Frun%2Fa%20b%2Fdatabase.sock")),
          "%.*s", FMT(buffer_text(&out)));
    buffer_done(&out);
}

TEST(database_names_of_mariadb_are_refused)
{
    static const struct {
        const char *name;
        enum err err;
    } cases[] = { { "guestbook", OK },    { "mysql", ERR_RANGE },
                  { "MySQL", ERR_RANGE }, { "root", ERR_RANGE },
                  { "test", OK },         { "sys", ERR_RANGE },
                  { "sys_of_mine", OK },  { "information_schema", ERR_RANGE } };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(database_name_check(text_of(cases[i].name), NULL) == cases[i].err, "%s",
              cases[i].name);
}

TEST(database_versions_and_sizes_are_read)
{
    static const struct {
        const char *text;
        int version;
    } cases[] = { { "10.11.19-MariaDB", 1011 },
                  { "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu", 1011 },
                  { "11.4.2-MariaDB\n", 1104 },
                  { "", 0 },
                  { "nonsense", 0 } };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(database_version(text_of(cases[i].text)) == cases[i].version, "%s", cases[i].text);
    CHECK(database_log_bytes(0) == 96 << 20, "least");
    CHECK(database_log_bytes((int64_t)1 << 30) == 256 << 20, "a quarter");
    CHECK(database_log_bytes((int64_t)1 << 40) == (int64_t)2048 << 20, "most");
}

TEST(database_accounts_of_secured_servers)
{
    struct site_server servers[] = { { .name = T("db-01") }, { .name = T("db-02") } };
    struct database_passwords passwords = { { "a", "b", "c", "d", "e", "f" } };
    struct site site = { .servers = servers, .server_count = 2, .tls.is_present = true };
    site.database = (struct site_database){ .is_present = true, .name = T("shop") };
    for (size_t i = 0; i < 2; i++)
        REQUIRE(address_parse_ip(i == 0 ? T("192.0.2.1") : T("192.0.2.2"), 0,
                                 &servers[i].address) == OK,
                "address");
    for (int is_mutual = 0; is_mutual < 2; is_mutual++) {
        static const char *const accounts[] = { "`shop`", "`trilith_monitor`",
                                                "`trilith_replication`" };
        struct buffer out = buffer_of(65536);
        site.tls.inside = is_mutual ? INSIDE_MUTUAL : INSIDE_PLAIN;
        database_tier_write_init(&out, &site, &passwords, true);
        for (size_t i = 0; i < COUNT(accounts); i++) {
            char wanted[128];
            const char *password = i == 0 ? "a" : i == 1 ? "d" : "e";
            snprintf(wanted, sizeof(wanted), "CREATE USER %s@'192.0.2.2' IDENTIFIED BY '%s'%s;\n",
                     accounts[i], password, is_mutual ? " REQUIRE X509" : "");
            CHECK(has(&out, wanted), "%s", wanted);
        }
        CHECK(has(&out, "CREATE USER `shop`@'localhost' IDENTIFIED BY 'a';\n"), "the socket");
        buffer_done(&out);
    }
    struct inside_files files = { .authority = "/a", .chain = "/c", .key = "/k" };
    struct buffer out = buffer_of(4096);
    database_tier_write_tls(&out, &files);
    CHECK(has(&out, "ssl_ca = /a\nssl_cert = /c\nssl_key = /k\n"), "files");
    CHECK(has(&out, "require_secure_transport = ON\n"), "nothing in the clear");
    buffer_done(&out);
}
