/* A blocking connection to a MariaDB, by libmariadb: strict deadlines, no option files. */
#include "database/client.h"

#include "core/buffer.h"
#include "core/memory.h"

#include <errmsg.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <stdarg.h>
#include <stdio.h>

enum { STATEMENT_LIMIT = 65536, TEXT_LIMIT = 256 };

struct client {
    MYSQL *mysql;
};

static bool is_lost(unsigned error)
{
    return error == CR_SERVER_GONE_ERROR || error == CR_SERVER_LOST ||
           error == CR_COMMANDS_OUT_OF_SYNC || error == ER_SERVER_SHUTDOWN ||
           error == ER_CONNECTION_KILLED;
}

static enum err connect_error(unsigned error)
{
    if (error == ER_ACCESS_DENIED_ERROR || error == ER_HOST_NOT_PRIVILEGED ||
        error == ER_HOST_IS_BLOCKED || error == ER_DBACCESS_DENIED_ERROR)
        return ERR_DENIED;
    return error == CR_SERVER_LOST ? ERR_TIMEOUT : ERR_CLOSED;
}

static void set_options(MYSQL *mysql, const struct client_target *target)
{
    unsigned timeout = (unsigned)target->timeout_s, off = 0;
    unsigned protocol = target->socket != NULL ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
    mysql_optionsv(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &timeout);
    mysql_optionsv(mysql, MYSQL_OPT_READ_TIMEOUT, &timeout);
    mysql_optionsv(mysql, MYSQL_OPT_WRITE_TIMEOUT, &timeout);
    mysql_optionsv(mysql, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_optionsv(mysql, MYSQL_OPT_LOCAL_INFILE, &off);
    mysql_optionsv(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    if (target->tls == NULL || target->socket != NULL)
        return;
    const my_bool on = 1;
    mysql_optionsv(mysql, MYSQL_OPT_SSL_ENFORCE, &on);
    mysql_optionsv(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &on); /* its address, too */
    mysql_optionsv(mysql, MARIADB_OPT_TLS_VERSION, "TLSv1.3");
    mysql_optionsv(mysql, MYSQL_OPT_SSL_CA, target->tls->authority);
    mysql_optionsv(mysql, MYSQL_OPT_SSL_CERT, target->tls->chain);
    mysql_optionsv(mysql, MYSQL_OPT_SSL_KEY, target->tls->key);
}

enum err client_open(const struct client_target *target, struct client **client_out,
                     struct why *why)
{
    char user[TEXT_LIMIT], host[ADDRESS_TEXT_SIZE] = "localhost";
    unsigned port = 0;
    if (!text_copy_to(target->user, user, sizeof(user)))
        return fail(why, ERR_LIMIT, "the user's name is too long");
    if (target->socket == NULL) {
        address_format_ip(target->address, host);
        port = address_port(target->address);
    }
    MYSQL *mysql = mysql_init(NULL);
    if (mysql == NULL)
        return fail(why, ERR_SYSTEM, "no memory for a connection");
    set_options(mysql, target);
    if (mysql_real_connect(mysql, host, user, target->password, NULL, port, target->socket, 0) ==
        NULL) {
        enum err err = connect_error(mysql_errno(mysql));
        fail(why, err, "%s", mysql_error(mysql));
        mysql_close(mysql);
        return err;
    }
    *client_out = NEW(struct client);
    (*client_out)->mysql = mysql;
    return OK;
}

void client_close(struct client *client)
{
    if (client == NULL)
        return;
    mysql_close(client->mysql);
    memory_free(client);
}

void client_drop(struct client **client)
{
    client_close(*client);
    *client = NULL;
}

unsigned client_error(const struct client *client)
{
    return mysql_errno(client->mysql);
}

static enum err query_failed(struct client *client, struct why *why)
{
    unsigned error = mysql_errno(client->mysql);
    return fail(why, is_lost(error) ? ERR_CLOSED : ERR_STATE, "%s (error %u)",
                mysql_error(client->mysql), error);
}

static enum err copy_rows(MYSQL_RES *result, struct arena *arena, struct client_rows *rows)
{
    rows->columns = mysql_num_fields(result);
    rows->count = mysql_num_rows(result);
    struct text *names = arena_alloc(arena, rows->columns * sizeof(struct text));
    struct text *values = arena_alloc(arena, (rows->count * rows->columns + 1) * sizeof(*values));
    if (names == NULL || values == NULL)
        return ERR_LIMIT;
    const MYSQL_FIELD *fields = mysql_fetch_fields(result);
    for (size_t i = 0; i < rows->columns; i++)
        names[i] = arena_copy(arena, text_from(fields[i].name, fields[i].name_length));
    for (size_t row = 0; row < rows->count; row++) {
        MYSQL_ROW cells = mysql_fetch_row(result);
        const unsigned long *lengths = mysql_fetch_lengths(result);
        for (size_t i = 0; cells != NULL && i < rows->columns; i++) {
            if (cells[i] == NULL)
                continue;
            struct text *value = &values[row * rows->columns + i];
            *value = arena_copy(arena, text_from(cells[i], lengths[i]));
            if (value->data == NULL)
                return ERR_LIMIT;
        }
    }
    rows->names = names;
    rows->values = values;
    return OK;
}

enum err client_query(struct client *client, const char *sql, struct arena *arena,
                      struct client_rows *rows_out, struct why *why)
{
    if (mysql_real_query(client->mysql, sql, strlen(sql)) != 0)
        return query_failed(client, why);
    MYSQL_RES *result = mysql_store_result(client->mysql);
    if (result == NULL && mysql_field_count(client->mysql) > 0)
        return query_failed(client, why);
    if (rows_out == NULL) {
        mysql_free_result(result);
        return OK;
    }
    *rows_out = (struct client_rows){ 0 };
    if (result == NULL)
        return OK;
    enum err err = copy_rows(result, arena, rows_out);
    mysql_free_result(result);
    return err == OK ? OK : fail(why, err, "the database's answer is too large");
}

enum err client_run(struct client *client, struct why *why, const char *format, ...)
{
    char sql[STATEMENT_LIMIT];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(sql, sizeof(sql), format, arguments);
    va_end(arguments);
    if (len < 0 || (size_t)len >= sizeof(sql))
        return fail(why, ERR_LIMIT, "the statement is too long");
    enum err err = client_query(client, sql, NULL, NULL, why);
    explicit_bzero(sql, (size_t)len);
    return err;
}

struct text client_value(const struct client_rows *rows, size_t row, const char *name)
{
    for (size_t i = 0; row < rows->count && i < rows->columns; i++)
        if (text_equal_fold(rows->names[i], text_of(name)))
            return rows->values[row * rows->columns + i];
    return (struct text){ NULL, 0 };
}

int64_t client_number(const struct client_rows *rows, size_t row, const char *name,
                      int64_t otherwise)
{
    uint64_t number;
    struct text value = client_value(rows, row, name);
    return value.data != NULL && text_to_uint(value, INT64_MAX, &number) ? (int64_t)number
                                                                         : otherwise;
}
