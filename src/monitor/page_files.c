/*
 * The files of the page, which are in the program: each also compressed, once, and with a tag, so
 * that a browser asks for what it has only whether it has changed.
 */
#include "monitor/page_private.h"

#include "core/memory.h"
#include "core/openssl.h"

#include <stdio.h>
#include <zlib.h>

extern const char page_index_start[], page_index_end[];
extern const char page_login_start[], page_login_end[];
extern const char page_script_start[], page_script_end[];
extern const char page_style_start[], page_style_end[];
extern const char page_icon_start[], page_icon_end[];

enum { TAG_SIZE = 20, FILE_COUNT = 4, GZIP_BITS = 15 + 16, GZIP_LEVEL = 9 };

/* Where a complaint goes in the login page. */
#define COMPLAINT_PLACE "<label"

struct page_file {
    struct text name, type, data;
    struct http_blob *compressed;
    char tag[TAG_SIZE];
};

struct page_files {
    struct page_file files[FILE_COUNT];
};

static struct text between(const char *start, const char *end)
{
    return text_from(start, (size_t)(end - start));
}

static struct http_blob *compress_file(struct text data)
{
    z_stream stream = { .next_in = (uint8_t *)(uintptr_t)data.data,
                        .avail_in = (unsigned)data.len };
    if (deflateInit2(&stream, GZIP_LEVEL, Z_DEFLATED, GZIP_BITS, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    struct http_blob *blob = http_blob_new(deflateBound(&stream, (unsigned long)data.len));
    stream.next_out = (uint8_t *)blob->data;
    stream.avail_out = (unsigned)blob->len;
    bool is_done = deflate(&stream, Z_FINISH) == Z_STREAM_END;
    blob->len = stream.total_out;
    deflateEnd(&stream);
    if (is_done)
        return blob;
    http_blob_unref(blob);
    return NULL;
}

struct page_files *page_files_new(void)
{
    struct page_files *files = NEW(struct page_files);
    const struct page_file all[FILE_COUNT] = {
        { .name = T("index.html"),
          .type = T("text/html; charset=utf-8"),
          .data = between(page_index_start, page_index_end) },
        { .name = T("page.js"),
          .type = T("text/javascript; charset=utf-8"),
          .data = between(page_script_start, page_script_end) },
        { .name = T("page.css"),
          .type = T("text/css; charset=utf-8"),
          .data = between(page_style_start, page_style_end) },
        { .name = T("icon.svg"),
          .type = T("image/svg+xml"),
          .data = between(page_icon_start, page_icon_end) },
    };
    for (size_t i = 0; i < FILE_COUNT; i++) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        struct page_file *file = &files->files[i];
        *file = all[i];
        file->compressed = compress_file(file->data);
        EVP_Digest(file->data.data, file->data.len, digest, NULL, EVP_sha256(), NULL);
        snprintf(file->tag, sizeof(file->tag), "\"%02x%02x%02x%02x%02x%02x\"", digest[0], digest[1],
                 digest[2], digest[3], digest[4], digest[5]);
    }
    return files;
}

void page_files_free(struct page_files *files)
{
    for (size_t i = 0; files != NULL && i < FILE_COUNT; i++)
        http_blob_unref(files->files[i].compressed);
    memory_free(files);
}

static void send_file(struct http_exchange *exchange, const struct page_file *file)
{
    const struct http_headers *headers = &http_exchange_request(exchange)->headers;
    bool has_it = http_headers_has_token(headers, FIELD_IF_NONE_MATCH, text_of(file->tag));
    bool is_small = file->compressed != NULL &&
                    http_headers_has_token(headers, FIELD_ACCEPT_ENCODING, T("gzip"));
    size_t len = is_small ? file->compressed->len : file->data.len;
    http_response_start(exchange, has_it ? 304 : 200, has_it ? 0 : (int64_t)len);
    http_response_header(exchange, FIELD_CONTENT_TYPE, file->type);
    http_response_header(exchange, FIELD_ETAG, text_of(file->tag));
    http_response_header(exchange, FIELD_VARY, T("Accept-Encoding, Cookie"));
    if (is_small && !has_it)
        http_response_header(exchange, FIELD_CONTENT_ENCODING, T("gzip"));
    if (has_it)
        http_response_send(exchange, T(""), true);
    else if (is_small)
        http_response_blob(exchange, file->compressed, 0, len, true);
    else
        http_response_send(exchange, file->data, true);
}

bool page_files_answer(const struct page_files *files, struct http_exchange *exchange,
                       struct text name)
{
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (!text_equal(files->files[i].name, name))
            continue;
        send_file(exchange, &files->files[i]);
        return true;
    }
    return false;
}

void page_files_door(struct http_exchange *exchange, int status, struct text complaint)
{
    struct text door = between(page_login_start, page_login_end);
    ssize_t at = text_find_text(door, T(COMPLAINT_PLACE));
    struct buffer out = buffer_of(65536);
    if (complaint.len > 0 && at > 0) {
        buffer_append(&out, text_part(door, 0, (size_t)at));
        buffer_append(&out, T("<p class=\"wrong\" role=\"alert\">"));
        buffer_append(&out, complaint); /* a sentence of ours */
        buffer_append(&out, T("</p>"));
        door = text_skip(door, (size_t)at);
    }
    buffer_append(&out, door);
    http_reply(exchange, status, T("text/html; charset=utf-8"), buffer_text(&out));
    buffer_done(&out);
}
