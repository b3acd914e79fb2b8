/* What an answer says about who gave it. Pure: bytes in, verdict and reason out. */
#include "health/visit.h"

#include "core/arena.h"
#include "http/http1.h"

#include <stdio.h>

enum { HEAD_LIMIT = 32768, SHOWN = 48 };

static enum visit_verdict verdict(char reason[HEALTH_REASON_SIZE], enum visit_verdict verdict,
                                  const char *format, ...) PRINTF_LIKE(3, 4);

/* Reasons are shown on terminals, and part of them comes from outside: only what prints. */
static enum visit_verdict verdict(char reason[HEALTH_REASON_SIZE], enum visit_verdict verdict,
                                  const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, HEALTH_REASON_SIZE, format, args);
    va_end(args);
    for (char *at = reason; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return verdict;
}

/* ---- HTTP ---- */

static bool is_expected(const struct site_check *check, int status)
{
    for (size_t i = 0; i < check->status_count; i++)
        if (status >= check->status[i].from && status <= check->status[i].to)
            return true;
    return false;
}

/* "200-399, 404" */
static void print_expected(const struct site_check *check, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < check->status_count && len < size; i++) {
        const struct site_status_range *range = &check->status[i];
        len += (size_t)snprintf(out + len, size - len, i > 0 ? ", %lld" : "%lld",
                                (long long)range->from);
        if (range->to != range->from && len < size)
            len += (size_t)snprintf(out + len, size - len, "-%lld", (long long)range->to);
    }
}

/* Gathers the content in `content`, which has room for all of it, and looks for what must be there.
 */
static enum visit_verdict judge_body(const struct site_check *check,
                                     const struct http1_response *response, struct text rest,
                                     bool is_end, struct arena *arena,
                                     char reason[HEALTH_REASON_SIZE])
{
    struct http1_body body;
    struct text data;
    size_t len = 0;
    char *content = arena_alloc(arena, rest.len + 1);
    enum http1_state state;
    http1_body_init(&body, response->framing, response->content_length);
    while ((state = http1_body_decode(&body, &rest, &data)) == HTTP1_DATA) {
        memcpy(content + len, data.data, data.len);
        len += data.len;
    }
    if (text_find_text(text_from(content, len), check->body) >= 0)
        return verdict(reason, VISIT_GOOD, "HTTP %d", response->status);
    if (state == HTTP1_BAD)
        return verdict(reason, VISIT_BAD, "HTTP %d with a broken body: %s", response->status,
                       body.problem.reason);
    if (state == HTTP1_MORE && !is_end)
        return VISIT_MORE;
    int shown = check->body.len < SHOWN ? (int)check->body.len : SHOWN;
    return verdict(reason, VISIT_BAD, "HTTP %d, but '%.*s' is not in the body", response->status,
                   shown, check->body.data);
}

static enum visit_verdict judge_head(const struct site_check *check, struct text head,
                                     struct text rest, bool is_end, bool *is_interim,
                                     char reason[HEALTH_REASON_SIZE])
{
    static const struct http1_limits limits = { HEAD_LIMIT, HEAD_LIMIT, 128 };
    struct http1_response response;
    struct http1_problem problem;
    char expected[64];
    struct arena *arena = arena_new(4 * VISIT_ANSWER_LIMIT, 0);
    enum visit_verdict result = VISIT_MORE;
    *is_interim = false;
    if (http1_parse_response(head, &limits, HTTP_GET, arena, &response, &problem) == HTTP1_BAD) {
        result = verdict(reason, VISIT_BAD, "no valid HTTP: %s", problem.reason);
    } else if (response.status < 200 && response.status != 101) {
        *is_interim = true;
    } else if (!is_expected(check, response.status)) {
        print_expected(check, expected, sizeof(expected));
        result = verdict(reason, VISIT_BAD, "HTTP %d, expected %s", response.status, expected);
    } else if (text_is_empty(check->body)) {
        result = verdict(reason, VISIT_GOOD, "HTTP %d", response.status);
    } else {
        result = judge_body(check, &response, rest, is_end, arena, reason);
    }
    arena_free(arena);
    return result;
}

enum visit_verdict visit_judge_http(const struct site_check *check, struct text answer, bool is_end,
                                    char reason[HEALTH_REASON_SIZE])
{
    static const struct http1_limits limits = { HEAD_LIMIT, HEAD_LIMIT, 128 };
    bool is_last = is_end || answer.len >= VISIT_ANSWER_LIMIT, is_interim = true;
    enum visit_verdict result = VISIT_MORE;
    while (is_interim && result == VISIT_MORE) {
        struct http1_scan scan = { 0 };
        struct http1_problem problem;
        enum http1_state state = http1_scan(&scan, answer, &limits, &problem);
        if (state == HTTP1_BAD)
            return verdict(reason, VISIT_BAD, "no valid HTTP: %s", problem.reason);
        if (state == HTTP1_MORE)
            break;
        struct text head = text_part(answer, scan.skip, scan.end - scan.skip);
        answer = text_skip(answer, scan.end);
        result = judge_head(check, head, answer, is_last, &is_interim, reason);
    }
    if (result == VISIT_MORE && is_last)
        return verdict(reason, VISIT_BAD, "the connection ended before an answer");
    return result;
}

/* ---- MySQL ---- */

enum {
    PROTOCOL_10 = 10,
    OK_PACKET = 0x00,
    SWITCH_PACKET = 0xfe, /* asks for another way to prove who one is */
    ERROR_PACKET = 0xff,
    SQLSTATE_LEN = 6,
    PACKET_LIMIT = 4096,
};

/* Takes the next packet off *rest. False: it is not whole, or (*is_bad) no packet. */
static bool next_packet(struct text *rest, struct text *packet_out, bool *is_bad)
{
    const uint8_t *at = (const uint8_t *)rest->data;
    if (rest->len < 4)
        return false;
    size_t len = at[0] + ((size_t)at[1] << 8) + ((size_t)at[2] << 16);
    *is_bad = len == 0 || len > PACKET_LIMIT;
    if (*is_bad || rest->len < 4 + len)
        return false;
    *packet_out = text_part(*rest, 4, len);
    *rest = text_skip(*rest, 4 + len);
    return true;
}

static unsigned error_number(struct text packet)
{
    const uint8_t *at = (const uint8_t *)packet.data;
    return packet.len >= 3 ? at[1] + ((unsigned)at[2] << 8) : 0;
}

static enum visit_verdict judge_error(struct text packet, char reason[HEALTH_REASON_SIZE])
{
    struct text message = text_skip(packet, 3);
    if (text_starts_with(message, T("#")))
        message = text_skip(message, SQLSTATE_LEN);
    return verdict(reason, VISIT_BAD, "MySQL error %u: %.*s", error_number(packet), FMT(message));
}

/* It knows us, or it does not but looked: both need a server that works. What says that it takes
 * nobody is bad: too many connections, shutting down, host blocked, host not allowed. */
static bool is_refusal(unsigned number)
{
    static const unsigned refusals[] = { 1040, 1053, 1129, 1130, 1041, 1135 };
    for (size_t i = 0; i < COUNT(refusals); i++)
        if (number == refusals[i])
            return true;
    return number == 0;
}

enum visit_verdict visit_judge_mysql(struct text answer, bool is_end, size_t *packets_out,
                                     char reason[HEALTH_REASON_SIZE])
{
    struct text packet, version = text_of(NULL);
    bool is_bad = false;
    size_t count = 0;
    for (; next_packet(&answer, &packet, &is_bad); count++) {
        uint8_t kind = (uint8_t)packet.data[0];
        if (kind == ERROR_PACKET && (count == 0 || is_refusal(error_number(packet))))
            return judge_error(packet, reason);
        if (count == 0) {
            version = text_skip(packet, 1);
            ssize_t end = text_find(version, '\0');
            if (kind != PROTOCOL_10 || end <= 0)
                return verdict(reason, VISIT_BAD, "no greeting of a MySQL server");
            version.len = (size_t)(end < SHOWN ? end : SHOWN);
        } else if (kind == OK_PACKET || kind == ERROR_PACKET) {
            return verdict(reason, VISIT_GOOD, "answers as %.*s", FMT(version));
        } else if (kind != SWITCH_PACKET || count > 1) {
            return verdict(reason, VISIT_BAD, "no answer of a MySQL server to a login");
        }
    }
    *packets_out = count;
    if (is_bad)
        return verdict(reason, VISIT_BAD, "no greeting of a MySQL server");
    if (is_end)
        return verdict(reason, VISIT_BAD, "the connection ended before %s",
                       count == 0 ? "a greeting" : "the answer to a login");
    return VISIT_MORE;
}
