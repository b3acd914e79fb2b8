/* See php_config.h. The file has PHP's ini syntax, where quotes, backslashes, line feeds and ${...}
 * mean something: values are quoted, and what cannot be is refused. */
#include "app/php_config.h"

enum { IDLE_MARGIN_MS = 2000 };

static int64_t seconds_up(int64_t ms)
{
    return (ms + 999) / 1000;
}

static void write_pool(const struct site_app *app, struct buffer *out)
{
    long long most = app->workers_most, least = app->workers;
    buffer_print(out, "[%.*s]\nlisten = %s\n", FMT(app->name), PHP_SOCKET_NAME);
    buffer_print(out, "pm = %s\npm.max_children = %lld\n", least == most ? "static" : "dynamic",
                 most);
    if (least != most)
        buffer_print(out,
                     "pm.start_servers = %lld\npm.min_spare_servers = %lld\n"
                     "pm.max_spare_servers = %lld\n",
                     least, least, most);
    if (app->max_requests > 0)
        buffer_print(out, "pm.max_requests = %lld\n", (long long)app->max_requests);
    /* counted from the end of the request before, when the connection is kept */
    buffer_print(out, "request_terminate_timeout = %llds\n",
                 (long long)seconds_up(app->request_ms + app->grace_ms + IDLE_MARGIN_MS));
    buffer_append(out, T("clear_env = no\ncatch_workers_output = yes\n"
                         "decorate_workers_output = no\nsecurity.limit_extensions = .php\n"
                         "ping.path = " PHP_PING_PATH "\n"));
}

static bool is_flag(struct text value)
{
    static const char *const flags[] = { "on", "off", "true", "false", "yes", "no" };
    for (size_t i = 0; i < COUNT(flags); i++)
        if (text_equal_fold(value, text_of(flags[i])))
            return true;
    return false;
}

static bool is_writable(struct text value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((uint8_t)value.data[i] < ' ' || value.data[i] == '"' || value.data[i] == '\\' ||
            value.data[i] == '$')
            return false;
    return true;
}

static bool is_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = text_lower(name.data[i]);
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-')
            return false;
    }
    return name.len > 0;
}

static enum err write_value(const struct site_app *app, struct text value, struct buffer *out)
{
    if (!is_writable(value) || !is_writable(app->root))
        return ERR_RANGE;
    while (value.len > 0) {
        ssize_t at = text_find_text(value, T("{root}"));
        buffer_append(out, at < 0 ? value : text_part(value, 0, (size_t)at));
        if (at < 0)
            break;
        buffer_append(out, app->root);
        value = text_skip(value, (size_t)at + 6);
    }
    return OK;
}

static enum err write_setting(const struct site_app *app, const struct site_variable *setting,
                              struct buffer *out, struct why *why)
{
    bool flag = is_flag(setting->value);
    if (!is_name(setting->name))
        return fail(why, ERR_RANGE, "app '%.*s': settings: '%.*s' is not the name of a directive",
                    FMT(app->name), FMT(setting->name));
    buffer_print(out, "php_admin_%s[%.*s] = \"", flag ? "flag" : "value", FMT(setting->name));
    if (write_value(app, setting->value, out) != OK)
        return fail(why, ERR_RANGE,
                    "app '%.*s': settings: the value of '%.*s' may not have quotes, backslashes, "
                    "dollar signs or control characters",
                    FMT(app->name), FMT(setting->name));
    buffer_append(out, T("\"\n"));
    return OK;
}

static bool has_setting(const struct site_app *app, const char *name)
{
    for (size_t i = 0; i < app->setting_count; i++)
        if (text_equal(app->settings[i].name, text_of(name)))
            return true;
    return false;
}

enum err php_config_write(const struct site_app *app, struct buffer *out, struct why *why)
{
    buffer_append(out, T("; made by trilith for one start of php-fpm\n[global]\n"
                         "error_log = /dev/null\ndaemonize = no\nlog_limit = 8192\n"));
    buffer_print(out, "process_control_timeout = %llds\n", (long long)seconds_up(app->grace_ms));
    write_pool(app, out);
    if (app->memory > 0 && !has_setting(app, "memory_limit"))
        buffer_print(out, "php_admin_value[memory_limit] = \"%lld\"\n", (long long)app->memory);
    for (size_t i = 0; i < app->setting_count; i++) {
        enum err err = write_setting(app, &app->settings[i], out, why);
        if (err != OK)
            return err;
    }
    return out->failed ? fail(why, ERR_LIMIT, "app '%.*s': too many settings", FMT(app->name)) : OK;
}
