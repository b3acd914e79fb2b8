/*
 * The answers that are made at once: the site, alerts, events, ranges. See api.h.
 */
#include "monitor/api_private.h"

#include "core/clock.h"
#include "core/memory.h"

#include <math.h>

void api_write_number(struct buffer *out, double value)
{
    if (isfinite(value))
        buffer_print(out, "%.4g", value);
    else
        buffer_append(out, T("null"));
}

static void write_string(struct buffer *out, struct text text)
{
    buffer_append_byte(out, '"');
    buffer_append_json(out, text);
    buffer_append_byte(out, '"');
}

static bool has_app(const struct site *site, const struct site_server *server)
{
    for (size_t i = 0; i < site->app_count; i++)
        if (site_is_on(site, &site->apps[i].on, server))
            return true;
    return false;
}

static void write_roles(struct buffer *out, const struct site *site,
                        const struct site_server *server)
{
    const struct {
        const char *name;
        bool is_here;
    } roles[] = {
        { "balancer", site_balances(site, server) },
        { "web", site_serves(site, server) },
        { "app", has_app(site, server) },
        { "database", site->database.is_present && site_is_on(site, &site->database.on, server) },
        { "dns", site->dns.is_present && site_is_on(site, &site->dns.on, server) },
        { "monitor", site_watches(site, server) },
    };
    bool is_first = true;
    for (size_t i = 0; i < COUNT(roles); i++) {
        if (!roles[i].is_here)
            continue;
        buffer_print(out, "%s\"%s\"", is_first ? "" : ",", roles[i].name);
        is_first = false;
    }
}

static void write_server(struct buffer *out, const struct site *site,
                         const struct site_server *server)
{
    char address[ADDRESS_TEXT_SIZE];
    address_format_ip(&server->address, address);
    buffer_append(out, T("{\"name\":"));
    write_string(out, server->name);
    buffer_print(out, ",\"address\":\"%s\",\"roles\":[", address);
    write_roles(out, site, server);
    buffer_append(out, T("]}"));
}

static void write_app(struct buffer *out, const struct site *site, const struct site_app *app)
{
    bool is_first = true;
    buffer_append(out, T("{\"name\":"));
    write_string(out, app->name);
    buffer_append(out, T(",\"servers\":["));
    for (size_t i = 0; i < site->server_count; i++) {
        if (!site_is_on(site, &app->on, &site->servers[i]))
            continue;
        if (!is_first)
            buffer_append_byte(out, ',');
        write_string(out, site->servers[i].name);
        is_first = false;
    }
    buffer_append(out, T("]}"));
}

/* One that cannot be made is left out. */
static void write_picture(const struct api *api, struct buffer *out)
{
    struct buffer picture = buffer_of(API_ANSWER_LIMIT);
    if (api->source.picture != NULL)
        api->source.picture(api->generation->site, &picture);
    while (picture.len > 0 && picture.data[picture.len - 1] == '\n')
        picture.len--; /* an event's data is one line */
    if (picture.len > 0 && !picture.failed) {
        buffer_append(out, T(",\"picture\":"));
        buffer_append(out, buffer_text(&picture));
    }
    buffer_done(&picture);
}

void api_write_site(const struct api *api, struct buffer *out)
{
    const struct site *site = api->generation->site;
    buffer_append(out, T("{\"site\":"));
    write_string(out, site->name);
    buffer_print(out, ",\"version\":\"" TRILITH_VERSION "\",\"generation\":%llu,\"monitor\":",
                 (unsigned long long)api->generation->number);
    write_string(out, api->generation->server->name);
    buffer_append(out, T(",\"servers\":["));
    for (size_t i = 0; i < site->server_count; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        write_server(out, site, &site->servers[i]);
    }
    buffer_append(out, T("],\"apps\":["));
    for (size_t i = 0; i < site->app_count; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        write_app(out, site, &site->apps[i]);
    }
    buffer_append_byte(out, ']');
    if (site->database.is_present && site->database.primary != NULL) {
        buffer_append(out, T(",\"primary\":"));
        write_string(out, site->database.primary->name);
    }
    write_picture(api, out);
    buffer_append_byte(out, '}');
}

void api_write_alerts(const struct api *api, struct buffer *out)
{
    buffer_append(out, T("{\"alerts\":["));
    if (api->source.alerts != NULL)
        api->source.alerts(api->source.context, out);
    buffer_append(out, T("]}"));
}

static void reply(struct http_exchange *exchange, struct buffer *out)
{
    if (out->failed)
        http_reply_error(exchange, 500);
    else
        http_reply(exchange, 200, T("application/json"), buffer_text(out));
    buffer_done(out);
}

static void reply_wrong(struct http_exchange *exchange, const struct why *why)
{
    struct buffer out = buffer_of(4096);
    buffer_append(&out, T("{\"error\":\""));
    buffer_append_json(&out, text_of(why->text));
    buffer_append(&out, T("\"}"));
    http_reply(exchange, 400, T("application/json"), buffer_text(&out));
    buffer_done(&out);
}

static void answer_events(struct api *api, struct http_exchange *exchange)
{
    struct text query = http_exchange_request(exchange)->query, from, to;
    struct arena *arena = http_exchange_arena(exchange);
    struct why why = { "from, to: must be numbers" };
    uint64_t from_s, to_s;
    if (!question_value(query, "from", arena, &from) || !question_value(query, "to", arena, &to) ||
        !text_to_uint(from, INT32_MAX * 100ULL, &from_s) ||
        !text_to_uint(to, INT32_MAX * 100ULL, &to_s)) {
        reply_wrong(exchange, &why);
        return;
    }
    struct buffer out = buffer_of(API_ANSWER_LIMIT);
    buffer_append(&out, T("{\"events\":["));
    if (api->source.events != NULL)
        api->source.events(api->source.context, 1000 * (int64_t)from_s, 1000 * (int64_t)to_s, &out);
    buffer_append(&out, T("]}"));
    reply(exchange, &out);
}

static void answer_range(struct api *api, struct http_exchange *exchange)
{
    struct question question;
    struct why why = { "" };
    struct buffer out = buffer_of(API_ANSWER_LIMIT);
    if (question_parse(http_exchange_request(exchange)->query, http_exchange_arena(exchange),
                       &question, &why) != OK) {
        reply_wrong(exchange, &why);
        return;
    }
    api_write_range(api, &question, &out);
    reply(exchange, &out);
}

void api_answer(struct api *api, struct http_exchange *exchange, struct text name,
                const struct session *session)
{
    struct buffer out = buffer_of(API_ANSWER_LIMIT);
    if (text_equal(name, T("site"))) {
        api_write_site(api, &out);
        reply(exchange, &out);
    } else if (text_equal(name, T("alerts"))) {
        api_write_alerts(api, &out);
        reply(exchange, &out);
    } else if (text_equal(name, T("events"))) {
        answer_events(api, exchange);
    } else if (text_equal(name, T("range"))) {
        answer_range(api, exchange);
    } else if (text_equal(name, T("live"))) {
        api_live_start(api, exchange, session);
    } else {
        http_reply_error(exchange, 404);
    }
}

struct api *api_new(struct loop *loop, const struct api_source *source)
{
    struct api *api = NEW(struct api);
    api->loop = loop;
    api->source = *source;
    api->event = buffer_of(API_ANSWER_LIMIT);
    list_init(&api->streams);
    return api;
}

void api_use(struct api *api, const struct generation *generation)
{
    api->generation = generation;
    api_live_use(api);
}
