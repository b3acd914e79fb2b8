/*
 * The texts that set a MariaDB up. Everything that comes from the site file or is a path is quoted
 * here for the language it goes into: option file, SQL, URL.
 */
#include "database/config.h"

#include "database/quote.h"
#include "database/tier.h"

#include <sys/un.h>

enum { MEBIBYTE = 1024 * 1024 };

enum err database_place_find(struct arena *arena, struct text state,
                             struct database_place *place_out, struct why *why)
{
    struct {
        const char **path;
        const char *name;
    } parts[] = {
        { &place_out->folder, "database" },
        { &place_out->data, "database/data" },
        { &place_out->fresh, "database/data.new" },
        { &place_out->incoming, "database/data.incoming" },
        { &place_out->rebuilt, "database/data.rebuilt" },
        { &place_out->old, "database/data.old" },
        { &place_out->options, "database/my.cnf" },
        { &place_out->init, "database/init.sql" },
        { &place_out->temporary, "database/tmp" },
        { &place_out->socket, "run/database/database.sock" },
    };
    size_t longest = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    if (state.len + 1 + strlen("run/database/database.sock") > longest)
        return fail(why, ERR_LIMIT,
                    "the state folder '%.*s' is too long: the database's socket in it may have %zu "
                    "characters; choose a shorter one with --state",
                    FMT(state), longest);
    for (size_t i = 0; i < state.len; i++)
        if ((uint8_t)state.data[i] < ' ')
            return fail(why, ERR_SYNTAX, "the state folder's name has control characters in it");
    for (size_t i = 0; i < COUNT(parts); i++) {
        struct text path = arena_print(arena, "%.*s/%s", FMT(state), parts[i].name);
        if (path.data == NULL)
            return fail(why, ERR_LIMIT, "no memory for paths");
        *parts[i].path = path.data;
    }
    return OK;
}

enum err database_name_check(struct text name, struct why *why)
{
    static const char *const taken[] = {
        "mysql", "sys", "information_schema", "performance_schema", "root", "PUBLIC"
    };
    for (size_t i = 0; i < COUNT(taken); i++)
        if (text_equal_fold(name, text_of(taken[i])))
            return fail(why, ERR_RANGE,
                        "database.name: '%s' is used by MariaDB itself, choose another", taken[i]);
    return OK;
}

int64_t database_log_bytes(int64_t memory)
{
    int64_t size = memory / 4 / MEBIBYTE * MEBIBYTE;
    int64_t least = (int64_t)96 * MEBIBYTE, most = (int64_t)2048 * MEBIBYTE;
    return size < least ? least : size > most ? most : size;
}

static void write_path(struct buffer *out, const char *name, const char *path)
{
    buffer_print(out, "%s = \"", name);
    for (; *path != '\0'; path++) {
        if (*path == '\\')
            buffer_append_byte(out, '\\');
        buffer_append_byte(out, (uint8_t)*path);
    }
    buffer_append(out, T("\"\n"));
}

void database_write_options(struct buffer *out, const struct site_database *database,
                            struct text listen, const struct database_place *place, bool is_tier)
{
    int64_t port = is_tier && database->port == 0 ? DATABASE_PORT : database->port;
    buffer_append(out, T("# Written by trilith at each start: changes here are lost.\n"
                         "[mariadbd]\n"));
    write_path(out, "datadir", place->data);
    write_path(out, "socket", place->socket);
    write_path(out, "tmpdir", place->temporary);
    write_path(out, "secure_file_priv", place->temporary);
    write_path(out, "init_file", place->init);
    buffer_append(out, T("pid_file = mariadbd.pid\n"));
    if (port > 0)
        buffer_print(out, "bind_address = %.*s\nport = %lld\n", FMT(listen), (long long)port);
    else
        buffer_append(out, T("skip_networking = ON\n"));
    buffer_append(out, T("silent_startup = ON\n" /* warnings and errors only */
                         "skip_name_resolve = ON\n"
                         "local_infile = OFF\n"
                         "symbolic_links = OFF\n"
                         "performance_schema = OFF\n"
                         "character_set_server = utf8mb4\n"
                         "collation_server = utf8mb4_unicode_520_ci\n"
                         "max_allowed_packet = 64M\n"
                         "table_open_cache = 1000\n"
                         "table_definition_cache = 800\n"
                         "key_buffer_size = 8M\n"
                         "aria_pagecache_buffer_size = 16M\n"
                         "innodb_flush_log_at_trx_commit = 1\n"
                         "innodb_file_per_table = ON\n"
                         "innodb_strict_mode = ON\n"));
    if (!is_tier)
        buffer_append(out, T("skip_log_bin\n"));
    /* each connection may need 5 files at most when it joins that many tables */
    buffer_print(out,
                 "max_connections = %lld\n"
                 "open_files_limit = %lld\n"
                 "innodb_buffer_pool_size = %lld\n"
                 "innodb_log_file_size = %lld\n",
                 (long long)database->connections, (long long)database->connections * 5 + 2100,
                 (long long)database->memory, (long long)database_log_bytes(database->memory));
}

static void write_account(struct buffer *out, struct text name, const char *host)
{
    quote_identifier(out, name);
    buffer_print(out, "@'%s'", host);
}

static void write_user(struct buffer *out, struct text name, const char *host, struct text password)
{
    static const char *const verbs[] = { "CREATE USER IF NOT EXISTS ", "ALTER USER " };
    for (size_t i = 0; i < COUNT(verbs); i++) {
        buffer_append(out, text_of(verbs[i]));
        write_account(out, name, host);
        buffer_append(out, T(" IDENTIFIED BY "));
        quote_string(out, password);
        buffer_append(out, T(";\n"));
    }
    buffer_append(out, T("REVOKE ALL PRIVILEGES, GRANT OPTION FROM "));
    write_account(out, name, host);
    buffer_append(out, T(";\nGRANT " DATABASE_PRIVILEGES " ON "));
    quote_pattern(out, name);
    buffer_append(out, T(".* TO "));
    write_account(out, name, host);
    buffer_append(out, T(";\n"));
}

/* The account that may do nothing but connect and ask how much is done. */
static void write_figures(struct buffer *out, struct text password)
{
    static const char *const verbs[] = { "CREATE USER IF NOT EXISTS ", "ALTER USER " };
    for (size_t i = 0; i < COUNT(verbs); i++) {
        buffer_print(out, "%strilith_figures@localhost IDENTIFIED BY ", verbs[i]);
        quote_string(out, password);
        buffer_append(out, T(";\n"));
    }
}

void database_write_init(struct buffer *out, const struct site_database *database,
                         struct text password, struct text figures_password)
{
    /* the server reads one statement per line */
    buffer_append(out, T("CREATE DATABASE IF NOT EXISTS "));
    quote_identifier(out, database->name);
    buffer_append(out, T(";\nDELETE FROM mysql.global_priv WHERE User = '';\n"
                         "DELETE FROM mysql.db WHERE User = '';\n"
                         "DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';\n"
                         "FLUSH PRIVILEGES;\n"));
    if (!text_equal_fold(database->name, T("trilith_figures")))
        write_figures(out, figures_password);
    write_user(out, database->name, "localhost", password);
    if (database->port > 0) {
        write_user(out, database->name, "%", password);
        return;
    }
    buffer_append(out, T("DROP USER IF EXISTS "));
    write_account(out, database->name, "%");
    buffer_append(out, T(";\n"));
}

static void write_encoded(struct buffer *out, struct text text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.data[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (is_plain)
            buffer_append_byte(out, c);
        else
            buffer_print(out, "%%%02X", c);
    }
}

static void write_url_head(struct buffer *out, const struct site_database *database,
                           struct text password)
{
    buffer_append(out, T("mysql://"));
    write_encoded(out, database->name);
    buffer_append_byte(out, ':');
    write_encoded(out, password);
    buffer_append_byte(out, '@');
}

void database_write_url(struct buffer *out, const struct site_database *database,
                        struct text password, struct text socket)
{
    write_url_head(out, database, password);
    buffer_append(out, T("localhost/"));
    write_encoded(out, database->name);
    buffer_append(out, T("?unix_socket="));
    write_encoded(out, socket);
}

void database_write_remote_url(struct buffer *out, const struct site_database *database,
                               struct text password, const struct address *address)
{
    char place[ADDRESS_TEXT_SIZE];
    address_format(address, place);
    write_url_head(out, database, password);
    buffer_print(out, "%s/", place);
    write_encoded(out, database->name);
}

int database_version(struct text text)
{
    ssize_t at = text_find_text(text, T("Ver "));
    struct text rest = at >= 0 ? text_skip(text, (size_t)at + 4) : text_trim(text);
    struct text major = text_next(&rest, '.');
    struct text minor = text_next(&rest, '.');
    uint64_t high, low;
    if (!text_to_uint(major, 99, &high) || !text_to_uint(minor, 99, &low))
        return 0;
    return (int)(high * 100 + low);
}
