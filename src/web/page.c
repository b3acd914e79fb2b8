/*
 * Error pages as they are answered. The built-in one says in a sentence what a visitor can do and
 * shows the request id, by which the owner finds the request in the access log.
 */
#include "web/page.h"
#include "web/path.h"

enum { BUILT_IN_LIMIT = 16384, PAGE_ABOUT = 1536 };

static const struct {
    int status;
    const char *text;
} sentences[] = {
    { 400, "The request could not be understood." },
    { 403, "You are not allowed to see this." },
    { 404, "There is nothing at this address. It may have moved, or the address has a typing "
           "mistake." },
    { 405, "This address does not take that kind of request." },
    { 408, "The request took too long to arrive." },
    { 412, "It has changed since you last saw it." },
    { 413, "What you sent is too large." },
    { 414, "The address is too long." },
    { 431, "The request's headers are too large. Clearing the cookies of this site may help." },
    { 500, "Something went wrong on our side." },
    { 502, "The application did not answer properly. Please try again in a moment." },
    { 503, "The service is busy. Please try again in a moment." },
    { 504, "The application took too long. Please try again in a moment." },
};

static const char *sentence_of(int status)
{
    for (size_t i = 0; i < COUNT(sentences); i++)
        if (sentences[i].status == status)
            return sentences[i].text;
    return status >= 500 ? "Something went wrong on our side." : "The request was not accepted.";
}

#define PAGE_STYLE                                                                                 \
    "<style>:root{color-scheme:light dark}html{height:100%}body{min-height:100%;margin:0;"         \
    "display:grid;place-content:center;font:18px/1.5 system-ui,sans-serif;text-align:center}"      \
    "main{padding:2rem;max-width:32rem}b{display:block;font-size:5rem;line-height:1;"              \
    "letter-spacing:-.04em;opacity:.25}h1{font-size:1.5rem;margin:.5rem 0}p{margin:0}"             \
    "small{display:block;margin-top:2rem;opacity:.5;font:12px ui-monospace,monospace}</style>"

void web_page_write(struct buffer *out, int status, const char *id, bool is_json)
{
    const char *reason = http_status_text(status);
    if (is_json) {
        buffer_print(out, "{\"status\":%d,\"error\":\"", status);
        buffer_append_json(out, text_of(reason));
        buffer_append(out, T("\",\"message\":\""));
        buffer_append_json(out, text_of(sentence_of(status)));
        buffer_append(out, T("\",\"request_id\":\""));
        buffer_append_json(out, text_of(id));
        buffer_append(out, T("\"}\n"));
        return;
    }
    buffer_reserve(out, PAGE_ABOUT); /* in one piece; a failure is sticky */
    buffer_append(out, T("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                         "<meta name=\"viewport\" content=\"width=device-width\">"));
    buffer_append(out, T("<title>"));
    buffer_append_uint(out, (uint64_t)status);
    buffer_append(out, T(" "));
    buffer_append(out, text_of(reason));
    buffer_append(out, T("</title>"));
    buffer_append(out, T(PAGE_STYLE "</head><body><main><b>"));
    buffer_append_uint(out, (uint64_t)status);
    buffer_append(out, T("</b><h1>"));
    buffer_append(out, text_of(reason));
    buffer_append(out, T("</h1><p>"));
    buffer_append(out, text_of(sentence_of(status)));
    buffer_append(out, T("</p>"));
    if (id[0] != '\0') {
        buffer_append(out, T("<small>request "));
        web_html_escape(out, text_of(id));
        buffer_append(out, T("</small>"));
    }
    buffer_append(out, T("</main></body></html>\n"));
}

bool web_page_wants_json(const struct http_headers *headers)
{
    const struct http_header *header = http_headers_find_name(headers, T("Accept"));
    struct text accept = header != NULL ? header->value : T("");
    return text_find_text(accept, T("application/json")) >= 0 &&
           text_find_text(accept, T("text/html")) < 0;
}

static void page_send(struct http_exchange *exchange, int status, struct text type,
                      struct text body)
{
    http_response_start(exchange, status, (int64_t)body.len);
    http_response_header(exchange, FIELD_CONTENT_TYPE, type);
    http_response_header(exchange, FIELD_CACHE_CONTROL, T("no-store"));
    http_response_send(exchange, body, true);
}

void web_pages_answer(const struct web_pages *pages, struct http_exchange *exchange, int status)
{
    for (size_t i = 0; i < pages->count; i++) {
        if (pages->items[i].status != status)
            continue;
        page_send(exchange, status, pages->items[i].type, pages->items[i].body);
        return;
    }
    const struct http_request *request = http_exchange_request(exchange);
    bool is_json = web_page_wants_json(&request->headers);
    AUTO(buffer_done) struct buffer page = buffer_of(BUILT_IN_LIMIT);
    web_page_write(&page, status, request->id, is_json);
    page_send(exchange, status, is_json ? T("application/json") : T("text/html; charset=utf-8"),
              buffer_text(&page));
}
