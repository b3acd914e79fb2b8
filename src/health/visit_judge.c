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

enum { PROTOCOL_10 = 10, ERROR_PACKET = 0xff, SQLSTATE_LEN = 6 };

enum visit_verdict visit_judge_mysql(struct text answer, bool is_end,
                                     char reason[HEALTH_REASON_SIZE])
{
    struct text rest = text_skip(answer, 4);
    if (answer.len < 5)
        return is_end ? verdict(reason, VISIT_BAD, "the connection ended before a greeting")
                      : VISIT_MORE;
    const uint8_t *at = (const uint8_t *)answer.data;
    size_t len = at[0] + ((size_t)at[1] << 8) + ((size_t)at[2] << 16);
    if (len < 5 || len > 4096 || (at[4] != PROTOCOL_10 && at[4] != ERROR_PACKET))
        return verdict(reason, VISIT_BAD, "no greeting of a MySQL server");
    if (rest.len < len)
        return is_end ? verdict(reason, VISIT_BAD, "the greeting broke off") : VISIT_MORE;
    rest = text_part(rest, 0, len);
    if (at[4] == ERROR_PACKET) {
        unsigned number = at[5] + ((unsigned)at[6] << 8);
        struct text message = text_skip(rest, 3);
        if (text_starts_with(message, T("#")))
            message = text_skip(message, SQLSTATE_LEN);
        return verdict(reason, VISIT_BAD, "MySQL error %u: %.*s", number, FMT(message));
    }
    struct text version = text_skip(rest, 1);
    ssize_t end = text_find(version, '\0');
    if (end <= 0)
        return verdict(reason, VISIT_BAD, "no greeting of a MySQL server");
    return verdict(reason, VISIT_GOOD, "greets as %.*s", (int)(end < SHOWN ? end : SHOWN),
                   version.data);
}
