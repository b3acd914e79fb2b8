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

/* ---- combined: written at once into a place of ACCESS_LINE_MAX bytes ---- */

/* Bytes that stand for themselves in a line. */
static const bool plain[256] = {
    [0x20 ... 0x21] = true,
    [0x23 ... 0x5b] = true,
    [0x5d ... 0x7e] = true,
};

static char *put(char *at, struct text text)
{
    memcpy(at, text.data, text.len);
    return at + text.len;
}

static char *put_escaped(char *at, struct text text, size_t max)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = (const uint8_t *)text.data;
    const char *limit = at + max;
    for (const uint8_t *end = from + text.len; from < end; from++) {
        if (plain[*from] && at < limit) {
            *at++ = (char)*from;
            continue;
        }
        if (limit - at < 4)
            break;
        *at++ = '\\';
        *at++ = 'x';
        *at++ = digits[*from >> 4];
        *at++ = digits[*from & 15];
    }
    return at;
}

static char *put_or_dash(char *at, struct text text, size_t max)
{
    if (text.len > 0)
        return put_escaped(at, text, max);
    *at = '-';
    return at + 1;
}

static char *put_number(char *at, int64_t value)
{
    char reversed[20];
    size_t len = 0;
    uint64_t left = value > 0 ? (uint64_t)value : 0;
    do
        reversed[len++] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    while (len > 0)
        *at++ = reversed[--len];
    return at;
}

/* The address of the client; IPv4 without the C library's slow way. */
static char *put_ip(char *at, const struct address *client)
{
    char ip[ADDRESS_TEXT_SIZE] = "";
    if (client->len > 0 && address_family(client) == AF_INET) {
        uint8_t bytes[4];
        memcpy(bytes, &client->u.v4.sin_addr, sizeof(bytes));
        for (int i = 0; i < 4; i++) {
            at = put_number(at, bytes[i]);
            *at++ = '.';
        }
        return at - 1;
    }
    if (client->len > 0 && address_family(client) != AF_UNIX)
        address_format_ip(client, ip);
    return put_or_dash(at, text_of(ip), sizeof(ip));
}

/* The time is made once per second. */
static char *put_time(char *at, struct web_access_clock *clock, int64_t wall_ms)
{
    if (clock->second != wall_ms / 1000 || clock->text[0] == '\0') {
        clock->second = wall_ms / 1000;
        clock_format_log(clock->second, clock->text);
    }
    return put(at, text_of(clock->text));
}

static char *put_times(char *at, const struct http_record *record)
{
    at = put_number(put(at, T("\" total_us=")), record->total_us);
    at = put_number(put(at, T(" wait_us=")), record->wait_us);
    at = put_number(put(at, T(" work_us=")), record->work_us);
    if (record->failure != NULL) {
        at = put_escaped(put(at, T(" failure=\"")), text_of(record->failure), FAILURE_MAX);
        *at++ = '"';
    }
    return at;
}

/* The sum of all limits is below ACCESS_LINE_MAX. */
static void line_combined(struct buffer *out, struct web_access_clock *clock,
                          const struct http_record *record, const struct http_request *request,
                          int64_t wall_ms)
{
    char *start = buffer_reserve(out, ACCESS_LINE_MAX);
    if (start == NULL)
        return;
    const struct http_headers *headers = &request->headers;
    char *at = put(put_ip(start, &request->client), T(" - - ["));
    at = put(put_time(at, clock, wall_ms), T("] \""));
    at = put(put_or_dash(at, request->method_text, METHOD_MAX), T(" "));
    at = put_or_dash(at, request->target, TARGET_MAX);
    if (request->minor_version >= 0)
        at = put(put(at, T(" ")), http_request_protocol(request));
    at = put(at, T("\" "));
    at = put(put_number(at, record->status), T(" "));
    at = put(put_number(at, record->body_sent_bytes), T(" \""));
    at = put_or_dash(at, http_headers_value(headers, FIELD_REFERER), REFERER_MAX);
    at = put(at, T("\" \""));
    at = put_or_dash(at, http_headers_value(headers, FIELD_USER_AGENT), AGENT_MAX);
    at = put_or_dash(put(at, T("\" host=")), request->host, HOST_MAX);
    at = put_or_dash(put(at, T(" id=")), text_of(request->id), sizeof(request->id));
    at = put_or_dash(put(at, T(" by=\"")), record->answered_by, BY_MAX);
    at = put_times(at, record);
    *at++ = '\n';
    out->len += (size_t)(at - start);
}

/* ---- JSON ---- */

static void append_number(struct buffer *out, struct text name, int64_t value)
{
    buffer_append(out, name);
    buffer_append_uint(out, value > 0 ? (uint64_t)value : 0);
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
    char ip[ADDRESS_TEXT_SIZE + 16];
    buffer_append(out, text_from(ip, (size_t)(put_ip(ip, &request->client) - ip)));
    buffer_append_byte(out, '"');
    append_member(out, "id", text_of(request->id), sizeof(request->id));
    append_member(out, "method", request->method_text, METHOD_MAX);
    append_member(out, "host", request->host, HOST_MAX);
    append_member(out, "target", request->target, TARGET_MAX);
    buffer_append(out, T(",\"protocol\":\""));
    buffer_append(out, request->minor_version >= 0 ? http_request_protocol(request) : T("TCP"));
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
        line_combined(out, clock, record, request, wall_ms);
        return;
    case ACCESS_LOG_JSON:
        clock_format_iso(wall_ms, time);
        buffer_append(out, T("{\"time\":\""));
        buffer_append(out, text_of(time));
        line_json(out, record, request);
        buffer_append(out, T("\n"));
        return;
    case ACCESS_LOG_OFF:
        return;
    }
}
