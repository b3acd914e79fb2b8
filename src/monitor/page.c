/*
 * What the page answers, and to whom. Every answer carries the rules for the browser: nothing from
 * elsewhere, no frame around it, nothing kept in a cache.
 */
#include "monitor/page_private.h"

#include "core/clock.h"
#include "core/log.h"
#include "monitor/question.h"

enum { FORM_LIMIT = 4096, LOGINS_AT_ONCE = 10, LOGIN_EVERY_US = 1000000, RATE_LOGIN = 0x70616765 };

static struct page *page_of(struct http_handler *handler)
{
    return list_entry(handler, struct page, handler);
}

/* ---- headers of every answer ---- */

static void add_rules(struct http_filter *filter, struct http_exchange *exchange)
{
    static const struct {
        const char *name, *value;
    } rules[] = {
        { "Content-Security-Policy",
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
          "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" },
        { "X-Content-Type-Options", "nosniff" },
        { "X-Frame-Options", "DENY" },
        { "Referrer-Policy", "no-referrer" },
        { "Cross-Origin-Opener-Policy", "same-origin" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
    };
    (void)filter;
    for (size_t i = 0; i < COUNT(rules); i++)
        http_response_header_name(exchange, text_of(rules[i].name), text_of(rules[i].value));
    const struct http_headers *headers = http_response_headers(exchange);
    bool has_tag = http_headers_find(headers, FIELD_ETAG) != NULL;
    http_response_header(exchange, FIELD_CACHE_CONTROL, has_tag ? T("no-cache") : T("no-store"));
}

/* ---- who is it? ---- */

static bool is_logged_in(const struct page *page, const struct http_exchange *exchange,
                         struct session *session_out)
{
    const struct http_request *request = http_exchange_request(exchange);
    int64_t now_s = clock_wall_ms() / 1000;
    for (size_t i = 0; i < request->headers.count; i++)
        if (request->headers.items[i].field == FIELD_COOKIE &&
            session_read(&page->keys, request->headers.items[i].value, now_s, session_out))
            return true;
    return false;
}

static bool is_secure(const struct http_exchange *exchange)
{
    return text_equal(http_exchange_request(exchange)->scheme, T("https"));
}

static void send_home(struct http_exchange *exchange, const char *cookie)
{
    http_response_start(exchange, 303, 0);
    http_response_header(exchange, FIELD_LOCATION, T("./"));
    http_response_header(exchange, FIELD_SET_COOKIE, text_of(cookie));
    http_response_send(exchange, T(""), true);
}

/* ---- login and logout ---- */

static bool may_try(const struct page *page, const struct http_request *request)
{
    static const struct rate rate = { .interval_us = LOGIN_EVERY_US, .burst = LOGINS_AT_ONCE };
    char address[ADDRESS_TEXT_SIZE];
    int64_t wait_us;
    struct rate_table *table = page->self->rates;
    if (table == NULL)
        return true;
    address_format_ip(&request->client, address);
    uint64_t key = rate_key(table, RATE_LOGIN, address, text_of(address).len);
    return rate_take(table, key, &rate, clock_now_us(), &wait_us);
}

static void on_form(struct http_exchange *exchange)
{
    struct page *page = http_exchange_state(exchange);
    const struct http_body *body = http_body_collected(exchange);
    struct text token = T("");
    char cookie[SESSION_COOKIE_SIZE];
    int64_t now_s = clock_wall_ms() / 1000;
    if (body->file < 0)
        question_value(body->memory, "token", http_exchange_arena(exchange), &token);
    if (!session_token_is_right(&page->keys, text_trim(token))) {
        log_warn("monitor", "a login to the page failed: wrong token");
        page_files_door(exchange, 401, T("This is not the token."));
        return;
    }
    struct session session;
    session_start(&session, now_s);
    session_write_cookie(&page->keys, &session, now_s, is_secure(exchange), cookie);
    log_info("monitor", "logged in to the page");
    send_home(exchange, cookie);
}

static const struct http_exchange_events form_events = { .collected = on_form };

static void log_in(struct page *page, struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    if (request->content_length > FORM_LIMIT || request->content_length < 0) {
        http_reply_error(exchange, 413);
        return;
    }
    if (!may_try(page, request)) {
        page_files_door(exchange, 429, T("Too many tries: wait a few seconds."));
        return;
    }
    http_exchange_attach(exchange, &form_events, page);
    http_body_collect(exchange, FORM_LIMIT);
}

static void log_out(struct page *page, struct http_exchange *exchange)
{
    struct session session;
    char cookie[SESSION_COOKIE_SIZE];
    if (is_logged_in(page, exchange, &session)) {
        session_end(&page->keys, &session);
        api_end_session(page->api, &session);
    }
    session_write_no_cookie(&page->keys, cookie);
    send_home(exchange, cookie);
}

/* Of another site's page, says the browser (Fetch Metadata). The cookie is not sent then anyway. */
static bool is_foreign(const struct http_request *request)
{
    const struct http_header *site = http_headers_find_name(&request->headers, T("Sec-Fetch-Site"));
    return site != NULL && !text_equal(site->value, T("same-origin")) &&
           !text_equal(site->value, T("none"));
}

static void answer_post(struct page *page, struct http_exchange *exchange, struct text path)
{
    if (is_foreign(http_exchange_request(exchange)))
        http_reply_error(exchange, 403);
    else if (text_equal(path, T("/login")))
        log_in(page, exchange);
    else if (text_equal(path, T("/logout")))
        log_out(page, exchange);
    else
        http_reply_error(exchange, 404);
}

/* ---- the rest ---- */

/* The page itself; a login lasts from the last time that it was opened. */
static void open_page(struct page *page, struct http_exchange *exchange, struct session *session)
{
    char cookie[SESSION_COOKIE_SIZE];
    int64_t now_s = clock_wall_ms() / 1000;
    session->end_s = now_s + SESSION_SECONDS;
    session_write_cookie(&page->keys, session, now_s, is_secure(exchange), cookie);
    http_response_header(exchange, FIELD_SET_COOKIE, text_of(cookie));
    page_files_answer(page->files, exchange, T("index.html"));
}

static void answer_get(struct page *page, struct http_exchange *exchange, struct text path)
{
    struct session session;
    bool is_known = is_logged_in(page, exchange, &session);
    struct text name = text_skip(path, 1);
    if (text_is_empty(name) && is_known)
        open_page(page, exchange, &session);
    else if (text_is_empty(name))
        page_files_door(exchange, 200, T(""));
    else if (text_starts_with(name, T("api/")) && !is_known)
        http_reply(exchange, 401, T("application/json"), T("{\"error\":\"log in first\"}"));
    else if (text_starts_with(name, T("api/")))
        api_answer(page->api, exchange, text_skip(name, 4), &session);
    else if (text_equal(name, T("index.html")) || !page_files_answer(page->files, exchange, name))
        http_reply_error(exchange, 404);
}

void page_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct page *page = page_of(handler);
    const struct http_request *request = http_exchange_request(exchange);
    struct http_filter *filter = ARENA_NEW(http_exchange_arena(exchange), struct http_filter);
    if (filter == NULL) {
        http_reply_error(exchange, 503);
        return;
    }
    *filter = (struct http_filter){ .head = add_rules };
    http_filter_add(exchange, filter);
    if (request->method == HTTP_POST) {
        answer_post(page, exchange, request->path);
    } else if (request->method == HTTP_GET || request->method == HTTP_HEAD) {
        answer_get(page, exchange, request->path);
    } else {
        http_response_header(exchange, FIELD_ALLOW, T("GET, HEAD, POST"));
        http_reply(exchange, 405, T("text/plain"), T("GET, HEAD or POST\n"));
    }
}
