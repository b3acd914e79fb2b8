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

static void append_escaped(struct buffer *out, struct text text, size_t max)
{
    static const char digits[] = "0123456789abcdef";
    size_t end = out->len + max;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        bool is_plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
        if (out->len + (is_plain ? 1 : 4) > end)
            return;
        if (is_plain) {
            buffer_append_byte(out, byte);
            continue;
        }
        const char escape[] = { '\\', 'x', digits[byte >> 4], digits[byte & 15] };
        buffer_append(out, text_from(escape, sizeof(escape)));
    }
}

static void append_or_dash(struct buffer *out, struct text text, size_t max)
{
    if (text.len == 0)
        buffer_append_byte(out, '-');
    else
        append_escaped(out, text, max);
}

static void append_client(struct buffer *out, const struct http_request *request)
{
    char ip[ADDRESS_TEXT_SIZE] = "";
    if (request->client.len > 0 && address_family(&request->client) != AF_UNIX)
        address_format_ip(&request->client, ip);
    append_or_dash(out, text_of(ip), sizeof(ip));
}

static void line_combined(struct buffer *out, const struct http_record *record,
                          const struct http_request *request, int64_t wall_ms)
{
    char time[CLOCK_LOG_SIZE];
    clock_format_log(wall_ms / 1000, time);
    append_client(out, request);
    buffer_print(out, " - - [%s] \"", time);
    append_or_dash(out, request->method_text, METHOD_MAX);
    buffer_append_byte(out, ' ');
    append_or_dash(out, request->target, TARGET_MAX);
    buffer_print(out, " HTTP/1.%d\" %d %lld \"", request->minor_version, record->status,
                 (long long)record->body_sent_bytes);
    append_or_dash(out, http_headers_value(&request->headers, FIELD_REFERER), REFERER_MAX);
    buffer_append(out, T("\" \""));
    append_or_dash(out, http_headers_value(&request->headers, FIELD_USER_AGENT), AGENT_MAX);
    buffer_append(out, T("\" host="));
    append_or_dash(out, request->host, HOST_MAX);
    buffer_append(out, T(" id="));
    append_or_dash(out, text_of(request->id), sizeof(request->id));
    buffer_append(out, T(" by=\""));
    append_or_dash(out, record->answered_by, BY_MAX);
    buffer_print(out, "\" total_us=%lld wait_us=%lld work_us=%lld", (long long)record->total_us,
                 (long long)record->wait_us, (long long)record->work_us);
    if (record->failure != NULL) {
        buffer_append(out, T(" failure=\""));
        append_escaped(out, text_of(record->failure), FAILURE_MAX);
        buffer_append_byte(out, '"');
    }
}

/* "name":"value", cut at max bytes of escaped text. */
static void append_member(struct buffer *out, const char *name, struct text value, size_t max)
{
    buffer_print(out, ",\"%s\":\"", name);
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
                      const struct http_request *request, int64_t wall_ms)
{
    char time[CLOCK_ISO_SIZE], ip[ADDRESS_TEXT_SIZE] = "";
    clock_format_iso(wall_ms, time);
    if (request->client.len > 0 && address_family(&request->client) != AF_UNIX)
        address_format_ip(&request->client, ip);
    buffer_print(out, "{\"time\":\"%s\"", time);
    append_member(out, "id", text_of(request->id), sizeof(request->id));
    append_member(out, "client", text_of(ip), sizeof(ip));
    append_member(out, "method", request->method_text, METHOD_MAX);
    append_member(out, "host", request->host, HOST_MAX);
    append_member(out, "target", request->target, TARGET_MAX);
    buffer_print(out, ",\"protocol\":\"HTTP/1.%d\",\"status\":%d", request->minor_version,
                 record->status);
    buffer_print(out, ",\"received_bytes\":%lld,\"sent_bytes\":%lld,\"body_bytes\":%lld",
                 (long long)record->received_bytes, (long long)record->sent_bytes,
                 (long long)record->body_sent_bytes);
    buffer_print(out, ",\"total_us\":%lld,\"wait_us\":%lld,\"work_us\":%lld",
                 (long long)record->total_us, (long long)record->wait_us,
                 (long long)record->work_us);
    append_member(out, "by", record->answered_by, BY_MAX);
    append_member(out, "referer", http_headers_value(&request->headers, FIELD_REFERER),
                  REFERER_MAX);
    append_member(out, "agent", http_headers_value(&request->headers, FIELD_USER_AGENT), AGENT_MAX);
    if (record->failure != NULL)
        append_member(out, "failure", text_of(record->failure), FAILURE_MAX);
    buffer_append_byte(out, '}');
}

void web_access_line(struct buffer *out, enum site_access_log form,
                     const struct http_record *record, int64_t wall_ms)
{
    const struct http_request *request = record->request != NULL ? record->request : &nothing;
    switch (form) {
    case ACCESS_LOG_COMBINED:
        line_combined(out, record, request, wall_ms);
        break;
    case ACCESS_LOG_JSON:
        line_json(out, record, request, wall_ms);
        break;
    case ACCESS_LOG_OFF:
        return;
    }
    buffer_append_byte(out, '\n');
}
