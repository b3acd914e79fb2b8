/*
 * Bodies: a length, chunks (RFC 9112 7.1) or until the end. The chunk lines are read by a byte
 * machine so that it does not matter where the input is cut:
 *
 *   SIZE -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *   size 0: SIZE_LF -> TRAILER -> [NAME -> VALUE -> VALUE_LF -> TRAILER]... -> END_LF
 *
 * No blanks around anything, no empty extension, no bare CR or LF: what others read in two ways is
 * refused.
 */
#include "http/http1_private.h"

enum {
    CHUNK_LINE_LIMIT = 256, /* size and extensions; nobody uses long ones but attackers */
    TRAILERS_LIMIT = 8192,
};

enum step {
    STEP_SIZE_FIRST,
    STEP_SIZE,
    STEP_EXTENSION_NAME_FIRST,
    STEP_EXTENSION_NAME,
    STEP_EXTENSION_VALUE_FIRST,
    STEP_EXTENSION_VALUE,
    STEP_QUOTED,
    STEP_QUOTED_PAIR,
    STEP_QUOTED_END,
    STEP_SIZE_LF,
    STEP_DATA,
    STEP_DATA_CR,
    STEP_DATA_LF,
    STEP_TRAILER,
    STEP_TRAILER_NAME,
    STEP_TRAILER_VALUE,
    STEP_TRAILER_LF,
    STEP_END_LF,
    STEP_DONE,
    STEP_BAD,
};

void http1_body_init(struct http1_body *body, enum http1_framing framing, int64_t content_length)
{
    *body = (struct http1_body){ .framing = framing, .step = STEP_SIZE_FIRST };
    if (framing == HTTP1_LENGTH)
        body->left = content_length;
    body->is_done = framing == HTTP1_NO_BODY || (framing == HTTP1_LENGTH && content_length == 0);
}

static enum step refuse(struct http1_body *body, const char *reason)
{
    body->problem = (struct http1_problem){ 400, reason };
    return STEP_BAD;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = text_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind a complete size, extension name or extension value. */
static enum step after_part(struct http1_body *body, char c)
{
    if (c == ';')
        return STEP_EXTENSION_NAME_FIRST;
    if (c == '\r')
        return STEP_SIZE_LF;
    return refuse(body, "malformed chunk line");
}

static enum step take_size(struct http1_body *body, enum step step, char c)
{
    int digit = hex_digit(c);
    if (digit < 0)
        return step == STEP_SIZE ? after_part(body, c) : refuse(body, "malformed chunk size");
    if (body->left > (INT64_MAX >> 4))
        return refuse(body, "chunk size too large");
    body->left = body->left * 16 + digit;
    return STEP_SIZE;
}

static bool is_text_byte(char c)
{
    uint8_t byte = (uint8_t)c;
    return (byte >= ' ' || byte == '\t') && byte != 0x7F;
}

/* chunk-ext = *( ";" token [ "=" ( token / quoted-string ) ] ) */
static enum step take_extension(struct http1_body *body, enum step step, char c)
{
    bool is_token = http1_is_token_byte(c);
    if (step == STEP_EXTENSION_NAME_FIRST)
        return is_token ? STEP_EXTENSION_NAME : refuse(body, "empty chunk extension");
    if (step == STEP_EXTENSION_NAME && is_token)
        return STEP_EXTENSION_NAME;
    if (step == STEP_EXTENSION_NAME && c == '=')
        return STEP_EXTENSION_VALUE_FIRST;
    if (step == STEP_EXTENSION_VALUE_FIRST && c == '"')
        return STEP_QUOTED;
    if (step == STEP_EXTENSION_VALUE_FIRST)
        return is_token ? STEP_EXTENSION_VALUE : refuse(body, "empty chunk extension value");
    if (step == STEP_EXTENSION_VALUE && is_token)
        return STEP_EXTENSION_VALUE;
    if (step == STEP_QUOTED && c == '"')
        return STEP_QUOTED_END;
    if (step == STEP_QUOTED && c == '\\')
        return STEP_QUOTED_PAIR;
    if (step == STEP_QUOTED || step == STEP_QUOTED_PAIR)
        return is_text_byte(c) ? STEP_QUOTED : refuse(body, "control in a chunk extension");
    return after_part(body, c);
}

/* "\r\n" alone, as nearly always, takes no memory. */
static bool keep_trailer(struct http1_body *body, char c)
{
    if (body->arena == NULL || (body->trailers.len == 0 && (c == '\r' || c == '\n')))
        return true;
    if (body->trailers.data == NULL)
        body->trailers.data = arena_bytes(body->arena, TRAILERS_LIMIT);
    if (body->trailers.data == NULL || body->trailers.len == TRAILERS_LIMIT)
        return false;
    ((char *)(uintptr_t)body->trailers.data)[body->trailers.len++] = c;
    return true;
}

static enum step take_trailer(struct http1_body *body, enum step step, char c)
{
    if (++body->line_len > TRAILERS_LIMIT)
        return refuse(body, "trailers too large");
    if (step == STEP_TRAILER && c == '\r')
        return STEP_END_LF;
    if (step == STEP_TRAILER)
        return http1_is_token_byte(c) ? STEP_TRAILER_NAME : refuse(body, "malformed trailer");
    if (step == STEP_TRAILER_NAME && c == ':')
        return STEP_TRAILER_VALUE;
    if (step == STEP_TRAILER_NAME)
        return http1_is_token_byte(c) ? STEP_TRAILER_NAME : refuse(body, "malformed trailer");
    if (c == '\r')
        return STEP_TRAILER_LF;
    return is_text_byte(c) ? STEP_TRAILER_VALUE : refuse(body, "control in a trailer");
}

static enum step take_line_end(struct http1_body *body, enum step step, char c)
{
    if (c != (step == STEP_DATA_CR ? '\r' : '\n'))
        return refuse(body, "malformed end of a chunk line");
    switch ((int)step) {
    case STEP_DATA_CR:
        return STEP_DATA_LF;
    case STEP_DATA_LF:
        body->line_len = 0;
        return STEP_SIZE_FIRST;
    case STEP_SIZE_LF:
        body->line_len = 0;
        return body->left > 0 ? STEP_DATA : STEP_TRAILER;
    case STEP_TRAILER_LF:
        return STEP_TRAILER;
    default:
        return STEP_DONE; /* STEP_END_LF */
    }
}

static enum step take_byte(struct http1_body *body, enum step step, char c)
{
    if (step <= STEP_QUOTED_END && ++body->line_len > CHUNK_LINE_LIMIT)
        return refuse(body, "chunk line too long");
    if (step <= STEP_SIZE)
        return take_size(body, step, c);
    if (step <= STEP_QUOTED_END)
        return take_extension(body, step, c);
    if (step >= STEP_TRAILER && step <= STEP_TRAILER_VALUE)
        return take_trailer(body, step, c);
    return take_line_end(body, step, c);
}

/* Cuts up to body->left bytes of content off the input. */
static enum http1_state take_data(struct http1_body *body, struct text *input,
                                  struct text *data_out)
{
    size_t len = input->len;
    if (body->framing != HTTP1_UNTIL_CLOSE) {
        if ((uint64_t)len > (uint64_t)body->left)
            len = (size_t)body->left;
        body->left -= (int64_t)len;
    }
    *data_out = text_from(input->data, len);
    *input = text_skip(*input, len);
    body->received += (int64_t)len;
    return len > 0 ? HTTP1_DATA : HTTP1_MORE;
}

static enum http1_state decode_chunked(struct http1_body *body, struct text *input,
                                       struct text *data_out)
{
    while (input->len > 0) {
        if (body->step == STEP_DATA) {
            enum http1_state state = take_data(body, input, data_out);
            if (body->left == 0)
                body->step = STEP_DATA_CR;
            return state;
        }
        bool is_trailer = body->step >= STEP_TRAILER;
        body->step = (int)take_byte(body, (enum step)body->step, input->data[0]);
        if (is_trailer && body->step != STEP_BAD && !keep_trailer(body, input->data[0]))
            body->step = (int)refuse(body, "trailers too large");
        if (body->step == STEP_BAD)
            return HTTP1_BAD;
        *input = text_skip(*input, 1);
        if (body->step == STEP_DONE) {
            body->is_done = true;
            return HTTP1_DONE;
        }
    }
    return HTTP1_MORE;
}

enum http1_state http1_body_decode(struct http1_body *body, struct text *input,
                                   struct text *data_out)
{
    *data_out = text_from("", 0);
    if (body->is_done)
        return HTTP1_DONE;
    if (body->step == STEP_BAD)
        return HTTP1_BAD;
    if (body->framing == HTTP1_CHUNKED)
        return decode_chunked(body, input, data_out);
    enum http1_state state = take_data(body, input, data_out);
    body->is_done = body->framing == HTTP1_LENGTH && body->left == 0;
    return state;
}

enum http1_state http1_body_at_end(struct http1_body *body)
{
    if (body->is_done || body->framing == HTTP1_UNTIL_CLOSE) {
        body->is_done = true;
        return HTTP1_DONE;
    }
    if (body->step != STEP_BAD)
        refuse(body, "ended inside its body");
    body->step = STEP_BAD;
    return HTTP1_BAD;
}

void http1_body_keep_trailers(struct http1_body *body, struct arena *arena)
{
    body->arena = arena;
}

bool http1_body_trailers(const struct http1_body *body, struct http_headers *trailers)
{
    static const struct http1_limits limits = { TRAILERS_LIMIT, TRAILERS_LIMIT, HTTP_TRAILERS };
    struct text lines = body->trailers;
    struct http_headers all = { 0 };
    struct http1_problem problem;
    if (lines.len == 0)
        return true;
    if (http1_parse_fields(&lines, &limits, body->arena, &all, &problem) == HTTP1_BAD)
        return false;
    for (size_t i = 0; i < all.count; i++) {
        const struct http_header *item = &all.items[i];
        if (http_trailer_is_allowed(item->field, item->name) &&
            !http_headers_add(trailers, body->arena, item->field, item->name, item->value))
            return false;
    }
    return true;
}
