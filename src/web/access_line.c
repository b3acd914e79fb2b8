/*
 * The text of an access log line. Every part has a limit that counts escaped bytes, so their sum
 * stays below ACCESS_LINE_MAX whatever the client sent. In the combined form bytes that are not
 * printable ASCII, quotes and backslashes become \xHH; in JSON the usual escapes, and \u00XX for
 * bytes that are no UTF-8.
 */
#include "core/clock.h"
#include "web/access_log.h"

enum {
    METHOD_MAX = 64,
    TARGET_MAX = 1800,
    REFERER_MAX = 600,
    AGENT_MAX = 500,
    HOST_MAX = 260,
    BY_MAX = 160,
    FAILURE_MAX = 80,
};

static const struct http_request nothing; /* for connections that never sent a whole head */

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

static void append_escaped(struct buffer *out, struct text text, size_t max)
{
    static const char digits[] = "0123456789abcdef";
    while (text.len > 0 && max > 0) {
        size_t run = 0;
        while (run < text.len && run < max && is_plain((uint8_t)text.data[run]))
            run++;
        buffer_append(out, text_from(text.data, run));
        text = text_skip(text, run);
        max -= run;
        if (text.len == 0 || max < 4)
            return;
        uint8_t byte = (uint8_t)text.data[0];
        const char escape[] = { '\\', 'x', digits[byte >> 4], digits[byte & 15] };
        buffer_append(out, text_from(escape, sizeof(escape)));
        text = text_skip(text, 1);
        max -= 4;
    }
}

static void append_number(struct buffer *out, struct text name, int64_t value)
{
    buffer_append(out, name);
    buffer_append_uint(out, value > 0 ? (uint64_t)value : 0);
}

static void append_or_dash(struct buffer *out, struct text text, size_t max)
{
    if (text.len == 0)
        buffer_append_byte(out, '-');
    else
        append_escaped(out, text, max);
}

/* The address of the client; IPv4 without the C library's slow way. */
static void append_ip(struct buffer *out, const struct address *client)
{
    char ip[ADDRESS_TEXT_SIZE] = "";
    if (client->len > 0 && address_family(client) == AF_INET) {
        uint8_t bytes[4];
        memcpy(bytes, &client->u.v4.sin_addr, sizeof(bytes));
        append_number(out, T(""), bytes[0]);
        append_number(out, T("."), bytes[1]);
        append_number(out, T("."), bytes[2]);
        append_number(out, T("."), bytes[3]);
        return;
    }
    if (client->len > 0 && address_family(client) != AF_UNIX)
        address_format_ip(client, ip);
    append_or_dash(out, text_of(ip), sizeof(ip));
}

/* The time is made once per second. */
static void append_log_time(struct buffer *out, struct web_access_clock *clock, int64_t wall_ms)
{
    if (clock->second != wall_ms / 1000 || clock->text[0] == '\0') {
        clock->second = wall_ms / 1000;
        clock_format_log(clock->second, clock->text);
    }
    buffer_append(out, text_of(clock->text));
}

static void line_combined(struct buffer *out, const struct http_record *record,
                          const struct http_request *request)
{
    buffer_append(out, T("] \""));
    append_or_dash(out, request->method_text, METHOD_MAX);
    buffer_append_byte(out, ' ');
    append_or_dash(out, request->target, TARGET_MAX);
    append_number(out, T(" HTTP/1."), request->minor_version);
    append_number(out, T("\" "), record->status);
    append_number(out, T(" "), record->body_sent_bytes);
    buffer_append(out, T(" \""));
    append_or_dash(out, http_headers_value(&request->headers, FIELD_REFERER), REFERER_MAX);
    buffer_append(out, T("\" \""));
    append_or_dash(out, http_headers_value(&request->headers, FIELD_USER_AGENT), AGENT_MAX);
    buffer_append(out, T("\" host="));
    append_or_dash(out, request->host, HOST_MAX);
    buffer_append(out, T(" id="));
    append_or_dash(out, text_of(request->id), sizeof(request->id));
    buffer_append(out, T(" by=\""));
    append_or_dash(out, record->answered_by, BY_MAX);
    append_number(out, T("\" total_us="), record->total_us);
    append_number(out, T(" wait_us="), record->wait_us);
    append_number(out, T(" work_us="), record->work_us);
    if (record->failure != NULL) {
        buffer_append(out, T(" failure=\""));
        append_escaped(out, text_of(record->failure), FAILURE_MAX);
        buffer_append_byte(out, '"');
    }
}

/* "name":"value", cut at max bytes of escaped text. */
static void append_member(struct buffer *out, const char *name, struct text value, size_t max)
{
    buffer_append(out, T(",\""));
    buffer_append(out, text_of(name));
    buffer_append(out, T("\":\""));
    size_t start = out->len;
    size_t fits = value.len < max ? value.len : max;
    /* escapes make up to six bytes of one: shorten until it fits, then it is whole characters */
    for (;;) {
        buffer_append_json(out, text_from(value.data, fits));
        if (out->len - start <= max || fits == 0)
            break;
        out->len = start;
        fits = fits > 16 ? fits * 3 / 4 : fits - 1;
    }
    buffer_append_byte(out, '"');
}

static void line_json(struct buffer *out, const struct http_record *record,
                      const struct http_request *request)
{
    buffer_append(out, T("\",\"client\":\""));
    append_ip(out, &request->client);
    buffer_append_byte(out, '"');
    append_member(out, "id", text_of(request->id), sizeof(request->id));
    append_member(out, "method", request->method_text, METHOD_MAX);
    append_member(out, "host", request->host, HOST_MAX);
    append_member(out, "target", request->target, TARGET_MAX);
    append_number(out, T(",\"protocol\":\"HTTP/1."), request->minor_version);
    append_number(out, T("\",\"status\":"), record->status);
    append_number(out, T(",\"received_bytes\":"), record->received_bytes);
    append_number(out, T(",\"sent_bytes\":"), record->sent_bytes);
    append_number(out, T(",\"body_bytes\":"), record->body_sent_bytes);
    append_number(out, T(",\"total_us\":"), record->total_us);
    append_number(out, T(",\"wait_us\":"), record->wait_us);
    append_number(out, T(",\"work_us\":"), record->work_us);
    append_member(out, "by", record->answered_by, BY_MAX);
    append_member(out, "referer", http_headers_value(&request->headers, FIELD_REFERER),
                  REFERER_MAX);
    append_member(out, "agent", http_headers_value(&request->headers, FIELD_USER_AGENT), AGENT_MAX);
    if (record->failure != NULL)
        append_member(out, "failure", text_of(record->failure), FAILURE_MAX);
    buffer_append_byte(out, '}');
}

void web_access_line(struct buffer *out, struct web_access_clock *clock, enum site_access_log form,
                     const struct http_record *record, int64_t wall_ms)
{
    const struct http_request *request = record->request != NULL ? record->request : &nothing;
    char time[CLOCK_ISO_SIZE];
    switch (form) {
    case ACCESS_LOG_COMBINED:
        append_ip(out, &request->client);
        buffer_append(out, T(" - - ["));
        append_log_time(out, clock, wall_ms);
        line_combined(out, record, request);
        break;
    case ACCESS_LOG_JSON:
        clock_format_iso(wall_ms, time);
        buffer_append(out, T("{\"time\":\""));
        buffer_append(out, text_of(time));
        line_json(out, record, request);
        break;
    case ACCESS_LOG_OFF:
        return;
    }
    buffer_append_byte(out, '\n');
}
