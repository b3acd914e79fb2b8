/*
 * Sends a file. The steps follow RFC 9110: choose the representation (12), set its validators
 * (8.8), evaluate the conditions (13.2.2), then the range (14.2).
 *
 * Codings, best first: a sibling made beforehand, a form compressed once and kept (small files),
 * the filter on the fly (large ones). The last two never answer a Range: their bytes are not
 * stable.
 */
#include "web/send.h"
#include "core/clock.h"
#include "core/sys.h"
#include "web/compress.h"
#include "web/condition.h"
#include "web/range.h"

#include <string.h>

struct sending {
    struct http_exchange *exchange;
    const struct http_request *request;
    struct web_files *files;
    struct web_file *file;
    struct web_compressors *pool;
    struct web_body *body;
    enum web_encoding encoding;
    bool is_negotiable;
    bool uses_filter;
    bool has_range;
    bool is_dated; /* nothing in its heads depends on the time */
    struct text etag;
    struct text modified;
};

static void choose_sibling(struct sending *s, const struct web_encodings *accepted)
{
    unsigned available = 0;
    for (int i = ENCODING_IDENTITY + 1; i < ENCODING_COUNT; i++) {
        enum web_encoding encoding = (enum web_encoding)i;
        if (accepted->quality[i] > 0 && web_file_sibling(s->files, s->file, encoding) != NULL)
            available |= ENCODING_BIT(encoding);
    }
    s->encoding = web_encoding_choose(accepted, available, web_encoding_by_size);
    s->body = &s->file->bodies[s->encoding];
}

static void choose_made(struct sending *s)
{
    enum web_encoding encoding =
        web_compress_choose(&s->request->headers, s->file->type, s->body->size);
    if (encoding == ENCODING_IDENTITY)
        return;
    struct web_body *made = web_file_compressed(s->files, s->file, encoding);
    if (made != NULL) {
        s->encoding = encoding;
        s->body = made;
        return;
    }
    s->uses_filter = !s->file->is_kept;
}

static void choose(struct sending *s)
{
    s->body = &s->file->bodies[ENCODING_IDENTITY];
    if (!s->is_negotiable || http_headers_find(&s->request->headers, FIELD_ACCEPT_ENCODING) == NULL)
        return;
    struct web_encodings accepted = web_encoding_accepted(&s->request->headers);
    choose_sibling(s, &accepted);
    if (s->encoding == ENCODING_IDENTITY && !s->has_range)
        choose_made(s);
}

static void validators_make(struct sending *s)
{
    struct arena *arena = http_exchange_arena(s->exchange);
    s->etag = text_of(s->body->etag);
    if (s->uses_filter)
        s->etag = arena_print(arena, "W/%s", s->body->etag);
    int64_t now_s = loop_wall_s(http_exchange_loop(s->exchange));
    s->modified = text_of(s->file->modified);
    s->is_dated = s->file->modified_s <= now_s && !s->uses_filter;
    if (s->file->modified_s > now_s) { /* RFC 9110 8.8.2.1: never later than Date */
        char now[CLOCK_HTTP_SIZE];
        clock_format_http(now_s, now);
        s->modified = arena_copy(arena, text_of(now));
    }
}

/* The headers that 200, 206 and 304 share (RFC 9110 15.4.5). */
static void headers_common(struct sending *s)
{
    http_response_header(s->exchange, FIELD_ETAG, s->etag);
    http_response_header(s->exchange, FIELD_LAST_MODIFIED, s->modified);
    if (s->is_negotiable)
        http_response_header(s->exchange, FIELD_VARY, T("Accept-Encoding"));
}

static void headers_body(struct sending *s, struct text type)
{
    headers_common(s);
    http_response_header(s->exchange, FIELD_CONTENT_TYPE, type);
    if (s->encoding != ENCODING_IDENTITY)
        http_response_header(s->exchange, FIELD_CONTENT_ENCODING, web_encoding_name(s->encoding));
    if (!s->uses_filter)
        http_response_header(s->exchange, FIELD_ACCEPT_RANGES, T("bytes"));
}

static void send_part(struct sending *s, struct web_range range, bool is_last)
{
    if (s->body->memory != NULL) {
        http_response_blob(s->exchange, s->body->memory, (size_t)range.start, (size_t)range.len,
                           is_last);
        return;
    }
    int fd = s->body->fd;
    if (is_last)
        s->body->fd = -1; /* the exchange owns it from here on */
    http_response_file(s->exchange, fd, is_last, range.start, range.len, is_last);
}

/* The head of the last answer of that kind, or NULL; then head_keep once the headers are set. */
static struct http_blob *head_kept(const struct sending *s, enum web_head kind)
{
    return s->is_dated ? s->body->heads[kind] : NULL;
}

static void head_keep(struct sending *s, enum web_head kind)
{
    if (s->body->memory != NULL && s->is_dated && s->body->heads[kind] == NULL)
        s->body->heads[kind] = http_response_head_keep(s->exchange);
}

static void send_not_modified(struct sending *s)
{
    struct http_blob *head = head_kept(s, WEB_HEAD_NOT_MODIFIED);
    if (head != NULL && http_response_kept(s->exchange, 304, head, NULL))
        return;
    http_response_start(s->exchange, 304, 0);
    headers_common(s);
    head_keep(s, WEB_HEAD_NOT_MODIFIED);
    http_response_send(s->exchange, (struct text){ NULL, 0 }, true);
}

static void send_whole(struct sending *s)
{
    struct http_blob *head = head_kept(s, WEB_HEAD_WHOLE);
    if (head != NULL && http_response_kept(s->exchange, 200, head, s->body->memory))
        return;
    http_response_start(s->exchange, 200, s->body->size);
    headers_body(s, s->file->type);
    if (s->uses_filter)
        web_compress_attach(s->exchange, s->pool);
    else
        head_keep(s, WEB_HEAD_WHOLE);
    send_part(s, (struct web_range){ 0, s->body->size }, true);
}

static void send_range(struct sending *s, struct web_range range)
{
    struct arena *arena = http_exchange_arena(s->exchange);
    struct text place =
        arena_print(arena, "bytes %lld-%lld/%lld", (long long)range.start,
                    (long long)(range.start + range.len - 1), (long long)s->body->size);
    http_response_start(s->exchange, 206, range.len);
    headers_body(s, s->file->type);
    http_response_header(s->exchange, FIELD_CONTENT_RANGE, place);
    send_part(s, range, true);
}

/* multipart/byteranges (RFC 9110 14.6) */
static void send_ranges(struct sending *s, const struct web_range *ranges, size_t count)
{
    struct arena *arena = http_exchange_arena(s->exchange);
    struct text heads[RANGE_LIMIT];
    char boundary[33];
    sys_random_hex(boundary, sizeof(boundary), 16);
    int64_t length = 0;
    for (size_t i = 0; i < count; i++) {
        heads[i] = arena_print(
            arena, "%s--%s\r\nContent-Type: %.*s\r\nContent-Range: bytes %lld-%lld/%lld\r\n\r\n",
            i > 0 ? "\r\n" : "", boundary, FMT(s->file->type), (long long)ranges[i].start,
            (long long)(ranges[i].start + ranges[i].len - 1), (long long)s->body->size);
        length += (int64_t)heads[i].len + ranges[i].len;
    }
    struct text end = arena_print(arena, "\r\n--%s--\r\n", boundary);
    struct text type = arena_print(arena, "multipart/byteranges; boundary=%s", boundary);
    if (end.data == NULL || type.data == NULL) {
        http_reply_error(s->exchange, 503);
        return;
    }
    http_response_start(s->exchange, 206, length + (int64_t)end.len);
    headers_body(s, type);
    for (size_t i = 0; i < count; i++) {
        http_response_send(s->exchange, heads[i], false);
        send_part(s, ranges[i], false);
    }
    http_response_send(s->exchange, end, true);
}

static void send_unsatisfied(struct sending *s)
{
    struct text place =
        arena_print(http_exchange_arena(s->exchange), "bytes */%lld", (long long)s->body->size);
    http_response_start(s->exchange, 416, 0);
    http_response_header(s->exchange, FIELD_CONTENT_RANGE, place);
    http_response_send(s->exchange, (struct text){ NULL, 0 }, true);
}

static void send_asked(struct sending *s, const struct web_selected *selected)
{
    struct web_range ranges[RANGE_LIMIT];
    size_t count = 0;
    int64_t now_s = loop_wall_s(http_exchange_loop(s->exchange));
    enum web_range_result result = RANGE_NONE;
    const struct http_headers *headers = &s->request->headers;
    if (s->has_range && web_condition_range_applies(headers, selected, now_s))
        result = web_range_parse(http_headers_value(headers, FIELD_RANGE), s->body->size, ranges,
                                 &count);
    switch (result) {
    case RANGE_NONE:
        send_whole(s);
        return;
    case RANGE_SOME:
        if (count == 1)
            send_range(s, ranges[0]);
        else
            send_ranges(s, ranges, count);
        return;
    case RANGE_UNSATISFIED:
        send_unsatisfied(s);
        return;
    }
}

void web_send_file(struct http_exchange *exchange, struct web_files *files, struct web_file *file,
                   struct web_compressors *pool)
{
    const struct http_request *request = http_exchange_request(exchange);
    struct sending s = {
        .exchange = exchange,
        .request = request,
        .files = files,
        .file = file,
        .pool = pool,
        .is_negotiable = pool != NULL && file->is_compressible,
        .has_range = request->method == HTTP_GET &&
                     http_headers_find(&request->headers, FIELD_RANGE) != NULL,
    };
    choose(&s);
    validators_make(&s);
    struct web_selected selected = { s.etag, file->modified_s };
    switch (web_condition_check(&request->headers, true, &selected)) {
    case CONDITION_GO:
        send_asked(&s, &selected);
        return;
    case CONDITION_NOT_MODIFIED:
        send_not_modified(&s);
        return;
    case CONDITION_FAILED:
        http_reply_error(exchange, 412);
        return;
    }
}
