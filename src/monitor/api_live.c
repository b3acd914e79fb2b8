/*
 * The stream of live seconds (WHATWG HTML 9.2, server-sent events). Each second is written once,
 * for all streams. A browser that does not take it misses seconds, and is cut off when that lasts:
 * it comes back by itself.
 */
#include "monitor/api_private.h"

#include "core/clock.h"
#include "core/memory.h"

#include <math.h>

enum { BEHIND_LIMIT = 20 };

static void end_stream(struct api_stream *stream)
{
    list_remove(&stream->link);
    stream->api->stream_count--;
}

static void on_aborted(struct http_exchange *exchange)
{
    end_stream(http_exchange_state(exchange));
}

static const struct http_exchange_events stream_events = { .aborted = on_aborted };

static void close_stream(struct api_stream *stream)
{
    struct http_exchange *exchange = stream->exchange;
    end_stream(stream);
    http_response_send(exchange, T(""), true);
}

/* ---- events ---- */

static void begin_event(struct buffer *out, const char *name)
{
    buffer_print(out, "event: %s\ndata: ", name);
}

static void end_event(struct buffer *out)
{
    buffer_append(out, T("\n\n"));
}

static void write_site_event(const struct api *api, struct buffer *out)
{
    begin_event(out, "site");
    api_write_site(api, out);
    end_event(out);
}

static void write_names(const struct now_server *server, struct buffer *out)
{
    begin_event(out, "names");
    buffer_append(out, T("{\"server\":\""));
    buffer_append_json(out, text_of(server->name));
    buffer_append(out, T("\",\"names\":["));
    for (size_t i = 0; i < server->table.count; i++) {
        buffer_append(out, i > 0 ? T(",\"") : T("\""));
        buffer_append_json(out, text_of(server->table.series[i].name));
        buffer_append_byte(out, '"');
    }
    buffer_append(out, T("]}"));
    end_event(out);
}

static void write_values(const struct sample_table *table, struct buffer *out)
{
    bool is_first = true;
    buffer_append(out, T(",\"values\":["));
    for (size_t i = 0; i < table->count; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        api_write_number(out, table->series[i].value);
    }
    buffer_append(out, T("],\"buckets\":{"));
    for (size_t i = 0; i < table->count; i++) {
        const struct sample_series *series = &table->series[i];
        if (series->kind != SAMPLE_HISTOGRAM || series->bucket_count == 0)
            continue;
        buffer_print(out, "%s\"%zu\":[", is_first ? "" : ",", i);
        for (size_t k = 0; k < series->bucket_count; k++)
            buffer_print(out, "%s[%u,%u]", k > 0 ? "," : "", (unsigned)series->buckets[k].bucket,
                         (unsigned)series->buckets[k].count);
        buffer_append_byte(out, ']');
        is_first = false;
    }
    buffer_append_byte(out, '}');
}

/* Of a silent server its age alone: what it said last is not what it is. */
static void write_now(const struct api *api, struct buffer *out)
{
    int64_t now_ms = clock_now_ms();
    begin_event(out, "now");
    buffer_print(out, "{\"time\":%lld,\"servers\":{", (long long)(clock_wall_ms() / 1000));
    for (size_t i = 0; i < api->source.now->count; i++) {
        const struct now_server *server = &api->source.now->servers[i];
        int64_t age_ms = now_age_ms(server, now_ms);
        bool is_silent = now_is_silent(server, now_ms);
        buffer_append(out, i > 0 ? T(",\"") : T("\""));
        buffer_append_json(out, text_of(server->name));
        buffer_append(out, T("\":{\"age_ms\":"));
        api_write_number(out, age_ms < 0 ? (double)NAN : (double)age_ms);
        buffer_print(out, ",\"silent\":%s", is_silent ? "true" : "false");
        if (!is_silent)
            write_values(&server->table, out);
        buffer_append_byte(out, '}');
    }
    buffer_append(out, T("}}"));
    end_event(out);
}

static void write_alerts_event(const struct api *api, struct buffer *out)
{
    begin_event(out, "alerts");
    api_write_alerts(api, out);
    end_event(out);
}

/* What has happened since the last second; nothing is written when that is nothing. */
static void write_news(struct api *api, struct buffer *out)
{
    int64_t from_ms = api->told_ms, to_ms = clock_wall_ms() + 1;
    struct buffer news = buffer_of(API_ANSWER_LIMIT);
    api->told_ms = to_ms;
    if (from_ms != 0 && from_ms < to_ms && api->source.events != NULL)
        api->source.events(api->source.context, from_ms, to_ms, &news);
    if (news.len > 0 && !news.failed) {
        begin_event(out, "events");
        buffer_append(out, T("{\"events\":["));
        buffer_append(out, buffer_text(&news));
        buffer_append(out, T("]}"));
        end_event(out);
    }
    buffer_done(&news);
}

/* ---- to the streams ---- */

static void send_one(struct api_stream *stream, struct text text)
{
    if (http_response_is_full(stream->exchange)) {
        stream->behind++;
        return;
    }
    stream->behind = 0;
    http_response_send(stream->exchange, text, false);
}

static void send_all(struct api *api, struct text text)
{
    list_each (at, &api->streams)
        send_one(list_entry(at, struct api_stream, link), text);
}

/* Names that the streams do not know yet, in front of the values that need them. */
static void write_new_names(struct api *api, struct buffer *out)
{
    const struct now *now = api->source.now;
    if (api->names_count != now->count) {
        memory_free(api->names_sent);
        api->names_sent = memory_new_array(now->count + 1, sizeof(*api->names_sent));
        api->names_count = now->count;
    }
    for (size_t i = 0; i < now->count; i++) {
        if (api->names_sent[i] == now->servers[i].table.count)
            continue;
        api->names_sent[i] = now->servers[i].table.count;
        write_names(&now->servers[i], out);
    }
}

static void close_late(struct api *api)
{
    int64_t now_s = clock_wall_ms() / 1000;
    list_each (at, &api->streams) {
        struct api_stream *stream = list_entry(at, struct api_stream, link);
        if (stream->behind >= BEHIND_LIMIT || stream->session.end_s <= now_s)
            close_stream(stream);
    }
}

void api_second(struct api *api)
{
    struct buffer *out = &api->event;
    close_late(api);
    if (api->stream_count == 0) {
        api->told_ms = 0;
        return;
    }
    buffer_clear(out);
    write_alerts_event(api, out);
    uint32_t hash = text_hash(buffer_text(out));
    if (hash == api->alerts_hash)
        buffer_clear(out);
    api->alerts_hash = hash;
    write_news(api, out);
    write_new_names(api, out);
    write_now(api, out);
    if (!out->failed)
        send_all(api, buffer_text(out));
}

/* Everything that a stream must know before its first second, and that second. */
static void send_beginning(struct api_stream *stream)
{
    const struct api *api = stream->api;
    struct buffer out = buffer_of(API_ANSWER_LIMIT);
    buffer_append(&out, T("retry: 1000\n\n"));
    write_site_event(api, &out);
    for (size_t i = 0; i < api->source.now->count; i++)
        write_names(&api->source.now->servers[i], &out);
    write_alerts_event(api, &out);
    write_now(api, &out);
    if (!out.failed)
        send_one(stream, buffer_text(&out));
    buffer_done(&out);
}

void api_live_start(struct api *api, struct http_exchange *exchange, const struct session *session)
{
    struct api_stream *stream = ARENA_NEW(http_exchange_arena(exchange), struct api_stream);
    if (stream == NULL || api->stream_count >= API_STREAMS_LIMIT) {
        http_reply_error_wait(exchange, 503, 10);
        return;
    }
    *stream = (struct api_stream){ .api = api, .exchange = exchange, .session = *session };
    http_exchange_attach(exchange, &stream_events, stream);
    http_response_start(exchange, 200, -1);
    http_response_header(exchange, FIELD_CONTENT_TYPE, T("text/event-stream"));
    list_append(&api->streams, &stream->link);
    api->stream_count++;
    send_beginning(stream);
}

void api_live_use(struct api *api)
{
    struct buffer out = buffer_of(API_ANSWER_LIMIT);
    memory_free(api->names_sent); /* the numbers of servers may mean others now */
    api->names_sent = NULL;
    api->names_count = 0;
    write_site_event(api, &out);
    if (!out.failed)
        send_all(api, buffer_text(&out));
    buffer_done(&out);
}

void api_end_session(struct api *api, const struct session *session)
{
    list_each (at, &api->streams) {
        struct api_stream *stream = list_entry(at, struct api_stream, link);
        if (text_equal(text_of(stream->session.number), text_of(session->number)))
            close_stream(stream);
    }
}

void api_free(struct api *api)
{
    if (api == NULL)
        return;
    while (!list_is_empty(&api->streams))
        close_stream(list_entry(api->streams.next, struct api_stream, link));
    buffer_done(&api->event);
    memory_free(api->names_sent);
    memory_free(api);
}
