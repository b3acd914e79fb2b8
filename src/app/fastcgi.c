/* See fastcgi.h. The numbers are those of the FastCGI specification, version 1.0 of 1996. */
#include "app/fastcgi.h"

enum { VERSION = 1, REQUEST_ID = 1, RESPONDER = 1, KEEP_CONNECTION = 1, LONG_LENGTH = 128 };

enum record_type {
    RECORD_BEGIN = 1,
    RECORD_END = 3,
    RECORD_PARAMS = 4,
    RECORD_STDIN = 5,
    RECORD_STDOUT = 6,
    RECORD_STDERR = 7,
};

/* ---- writing ---- */

static void write_head(struct buffer *out, enum record_type type, size_t len)
{
    buffer_append_byte(out, VERSION);
    buffer_append_byte(out, (uint8_t)type);
    buffer_append_u16(out, REQUEST_ID);
    buffer_append_u16(out, (uint16_t)len);
    buffer_append_u16(out, 0); /* padding, reserved */
}

void fastcgi_write_begin(struct buffer *out, bool keep)
{
    write_head(out, RECORD_BEGIN, 8);
    buffer_append_u16(out, RESPONDER);
    buffer_append_byte(out, keep ? KEEP_CONNECTION : 0);
    buffer_append_byte(out, 0);
    buffer_append_u32(out, 0);
}

void fastcgi_write_stdin(struct buffer *out, size_t len)
{
    write_head(out, RECORD_STDIN, len);
}

static size_t open_bytes(const struct fastcgi_params *params)
{
    return params->out->len - params->record - FASTCGI_HEAD_BYTES;
}

/* Writes the length of the open record into its head. */
static void close_record(struct fastcgi_params *params)
{
    if (params->out->failed)
        return;
    size_t len = open_bytes(params);
    uint8_t *head = (uint8_t *)params->out->data + params->record;
    head[4] = (uint8_t)(len >> 8);
    head[5] = (uint8_t)len;
}

static void open_record(struct fastcgi_params *params)
{
    params->record = params->out->len;
    write_head(params->out, RECORD_PARAMS, 0);
}

void fastcgi_params_begin(struct fastcgi_params *params, struct buffer *out)
{
    *params = (struct fastcgi_params){ .out = out };
    open_record(params);
}

static size_t length_bytes(size_t len)
{
    return len < LONG_LENGTH ? 1 : 4;
}

static void write_length(struct buffer *out, size_t len)
{
    if (len < LONG_LENGTH)
        buffer_append_byte(out, (uint8_t)len);
    else
        buffer_append_u32(out, (uint32_t)len | 1U << 31);
}

void fastcgi_params_add(struct fastcgi_params *params, struct text name, struct text value)
{
    size_t bytes = length_bytes(name.len) + length_bytes(value.len) + name.len;
    if (params->is_full || params->out->failed || bytes > FASTCGI_CONTENT_LIMIT ||
        value.len > FASTCGI_CONTENT_LIMIT - bytes) {
        params->is_full = true;
        return;
    }
    bytes += value.len;
    if (open_bytes(params) + bytes > FASTCGI_CONTENT_LIMIT) {
        close_record(params);
        open_record(params);
    }
    write_length(params->out, name.len);
    write_length(params->out, value.len);
    buffer_append(params->out, name);
    buffer_append(params->out, value);
}

bool fastcgi_params_end(struct fastcgi_params *params)
{
    close_record(params);
    write_head(params->out, RECORD_PARAMS, 0);
    return !params->is_full && !params->out->failed;
}

/* ---- reading ---- */

static enum fastcgi_item bad(struct fastcgi_reader *reader, const char *problem)
{
    reader->problem = problem;
    return FASTCGI_BAD;
}

static struct text take(struct text *input, size_t most)
{
    struct text taken = text_part(*input, 0, most);
    *input = text_skip(*input, taken.len);
    return taken;
}

/* A whole head is there. NULL, or why it cannot be. */
static const char *begin_record(struct fastcgi_reader *reader)
{
    const uint8_t *head = reader->head;
    reader->content_left = (size_t)(head[4] << 8 | head[5]);
    reader->content_at = 0;
    reader->padding_left = head[6];
    if (head[0] != VERSION)
        return "it does not speak FastCGI";
    if (head[2] != 0 || head[3] != REQUEST_ID)
        return "it answers another request";
    if (head[1] == RECORD_STDOUT || head[1] == RECORD_STDERR)
        return NULL;
    if (head[1] != RECORD_END)
        return "it sent a record that is no answer";
    return reader->content_left == sizeof(reader->end) ? NULL : "its last record is malformed";
}

static enum fastcgi_item finish(struct fastcgi_reader *reader)
{
    const uint8_t *end = reader->end;
    reader->has_ended = true;
    reader->app_status =
        (uint32_t)end[0] << 24 | (uint32_t)end[1] << 16 | (uint32_t)end[2] << 8 | (uint32_t)end[3];
    reader->protocol_status = end[4];
    return FASTCGI_END;
}

static bool read_head(struct fastcgi_reader *reader, struct text *input)
{
    struct text part = take(input, FASTCGI_HEAD_BYTES - reader->head_len);
    if (part.len > 0)
        memcpy(reader->head + reader->head_len, part.data, part.len);
    reader->head_len += part.len;
    return reader->head_len == FASTCGI_HEAD_BYTES;
}

/* There is some input and some content left. */
static enum fastcgi_item read_content(struct fastcgi_reader *reader, struct text *input,
                                      struct text *data_out)
{
    struct text part = take(input, reader->content_left);
    reader->content_left -= part.len;
    if (reader->head[1] != RECORD_END) {
        *data_out = part;
        return reader->head[1] == RECORD_STDOUT ? FASTCGI_STDOUT : FASTCGI_STDERR;
    }
    memcpy(reader->end + reader->content_at, part.data, part.len);
    reader->content_at += part.len;
    return reader->content_left > 0 ? FASTCGI_MORE : finish(reader);
}

enum fastcgi_item fastcgi_read(struct fastcgi_reader *reader, struct text *input,
                               struct text *data_out)
{
    *data_out = (struct text){ NULL, 0 };
    if (reader->problem != NULL)
        return FASTCGI_BAD;
    while (input->len > 0) {
        bool is_inside = reader->head_len == FASTCGI_HEAD_BYTES;
        if (is_inside && reader->content_left > 0)
            return read_content(reader, input, data_out);
        if (is_inside && reader->padding_left > 0) {
            reader->padding_left -= take(input, reader->padding_left).len;
            continue;
        }
        if (reader->has_ended)
            return bad(reader, "it sent more than its answer");
        if (is_inside)
            reader->head_len = 0;
        if (!read_head(reader, input))
            break;
        const char *problem = begin_record(reader);
        if (problem != NULL)
            return bad(reader, problem);
    }
    return FASTCGI_MORE;
}
