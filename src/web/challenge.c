/* What a CA asks over HTTP to see that this server answers for a name (HTTP-01, RFC 8555 8.3). */
#include "metrics/challenges.h"
#include "web/https.h"

#define FOLDER T("/.well-known/acme-challenge/")

bool web_challenge_answer(const struct web_generation *self, struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    char answer[CHALLENGE_TOKEN_LIMIT + CHALLENGE_ACCOUNT_SIZE + 1];
    bool is_get = request->method == HTTP_GET || request->method == HTTP_HEAD;
    if (self->challenges == NULL || !is_get || !text_starts_with(request->path, FOLDER) ||
        !challenges_answer(self->challenges, text_skip(request->path, FOLDER.len), answer))
        return false;
    struct text body = arena_copy(http_exchange_arena(exchange), text_of(answer));
    http_exchange_note(exchange, T("acme"), 0, 0);
    if (body.data == NULL) {
        http_reply_error(exchange, 503);
        return true;
    }
    http_response_start(exchange, 200, (int64_t)body.len);
    http_response_header(exchange, FIELD_CONTENT_TYPE, T("application/octet-stream"));
    http_response_send(exchange, body, true);
    return true;
}
