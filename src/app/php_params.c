/*
 * The request as the parameters that php turns into $_SERVER (RFC 3875 4.1, and what php-fpm needs
 * beside them). Header names with '_' could imitate another header and are left out, and `Proxy`
 * would set HTTP_PROXY, which programs believe (httpoxy).
 */
#include "app/php_private.h"

#include "http/http1.h"

#include <stdio.h>

enum { NAME_LIMIT = 256 };

static void add_number(struct fastcgi_params *params, struct text name, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%lld", (long long)number);
    fastcgi_params_add(params, name, text_of(digits));
}

/* ---- headers ---- */

static bool is_passed_on(const struct http_header *header)
{
    switch ((int)header->field) {
    case FIELD_HOST: /* given as the authority that was checked */
    case FIELD_CONTENT_LENGTH:
    case FIELD_CONTENT_TYPE: /* parameters of their own */
    case FIELD_TRANSFER_ENCODING:
    case FIELD_EXPECT:
    case FIELD_PROXY:
        return false;
    default:
        return text_find(header->name, '_') < 0 && header->name.len < NAME_LIMIT - 5;
    }
}

static bool is_same(const struct http_header *a, const struct http_header *b)
{
    return a->field == b->field && (a->field != FIELD_OTHER || text_equal_fold(a->name, b->name));
}

static bool was_before(const struct http_headers *headers, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (is_same(&headers->items[i], &headers->items[at]))
            return true;
    return false;
}

/* All values of that name in one. */
static struct text join(const struct http_headers *headers, size_t first, struct arena *arena)
{
    const struct http_header *header = &headers->items[first];
    const char *separator = header->field == FIELD_COOKIE ? "; " : ", ";
    struct text all = header->value;
    for (size_t i = first + 1; all.data != NULL && i < headers->count; i++)
        if (is_same(&headers->items[i], header))
            all =
                arena_print(arena, "%.*s%s%.*s", FMT(all), separator, FMT(headers->items[i].value));
    return all;
}

static void add_header(struct fastcgi_params *params, struct text name, struct text value)
{
    char variable[NAME_LIMIT] = "HTTP_";
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        variable[5 + i] = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
    }
    fastcgi_params_add(params, text_from(variable, 5 + name.len), value);
}

static bool add_headers(struct fastcgi_params *params, const struct http_request *request,
                        struct arena *arena)
{
    const struct http_headers *headers = &request->headers;
    for (size_t i = 0; i < headers->count; i++) {
        if (!is_passed_on(&headers->items[i]) || was_before(headers, i))
            continue;
        struct text value = join(headers, i, arena);
        if (value.data == NULL && headers->items[i].value.len > 0)
            return false;
        add_header(params, headers->items[i].name, value);
    }
    if (!text_is_empty(request->authority))
        fastcgi_params_add(params, T("HTTP_HOST"), request->authority);
    if (http_headers_find(headers, FIELD_X_REQUEST_ID) == NULL)
        fastcgi_params_add(params, T("HTTP_X_REQUEST_ID"), text_of(request->id));
    return true;
}

/* ---- the rest ---- */

static void add_client(struct fastcgi_params *params, const struct address *address)
{
    char ip[ADDRESS_TEXT_SIZE] = "";
    int family = address_family(address);
    if (family == AF_INET || family == AF_INET6)
        address_format_ip(address, ip);
    fastcgi_params_add(params, T("REMOTE_ADDR"), text_of(ip));
    if (ip[0] != '\0')
        add_number(params, T("REMOTE_PORT"), address_port(address));
}

/* SERVER_PORT is what the client wrote, as links are made of it; else ours. */
static void add_server(struct fastcgi_params *params, const struct http_request *request,
                       struct arena *arena)
{
    char ip[ADDRESS_TEXT_SIZE] = "localhost";
    bool is_https = text_equal(request->scheme, T("https"));
    int family = address_family(&request->server);
    bool is_ip = family == AF_INET || family == AF_INET6;
    struct text host;
    uint16_t port = 0;
    if (is_ip)
        address_format_ip(&request->server, ip);
    fastcgi_params_add(params, T("SERVER_NAME"),
                       text_is_empty(request->host) ? text_of(ip) : request->host);
    if (is_ip)
        fastcgi_params_add(params, T("SERVER_ADDR"), text_of(ip));
    bool has_host = http1_parse_authority(request->authority, arena, &host, &port);
    if (!has_host && is_ip)
        port = address_port(&request->server);
    if (port == 0)
        port = is_https ? 443 : 80;
    add_number(params, T("SERVER_PORT"), port);
    fastcgi_params_add(params, T("SERVER_PROTOCOL"), http_request_protocol(request));
    fastcgi_params_add(params, T("REQUEST_SCHEME"), request->scheme);
    if (is_https)
        fastcgi_params_add(params, T("HTTPS"), T("on"));
}

static bool add_script(struct fastcgi_params *params, const struct php_script *script,
                       struct arena *arena)
{
    struct text root = script->documents, path_info = script->place.path_info;
    struct text file = arena_print(arena, "%.*s%.*s", FMT(root), FMT(script->place.script));
    struct text name =
        arena_print(arena, "%.*s%.*s", FMT(script->mount), FMT(script->place.script));
    if (file.data == NULL || name.data == NULL)
        return false;
    fastcgi_params_add(params, T("DOCUMENT_ROOT"), root);
    fastcgi_params_add(params, T("SCRIPT_FILENAME"), file);
    fastcgi_params_add(params, T("SCRIPT_NAME"), name);
    if (text_is_empty(path_info))
        return true;
    struct text translated = arena_print(arena, "%.*s%.*s", FMT(root), FMT(path_info));
    if (translated.data == NULL)
        return false;
    fastcgi_params_add(params, T("PATH_INFO"), path_info);
    fastcgi_params_add(params, T("PATH_TRANSLATED"), translated);
    return true;
}

enum err php_params_write(struct buffer *out, const struct http_request *request,
                          const struct php_script *script, int64_t content_length,
                          struct arena *arena)
{
    struct fastcgi_params params;
    struct text type = http_headers_value(&request->headers, FIELD_CONTENT_TYPE);
    struct text uri = request->target;
    if (!text_starts_with(uri, T("/"))) /* an absolute form */
        uri = arena_print(arena, "%.*s%s%.*s", FMT(request->raw_path),
                          request->has_query ? "?" : "", FMT(request->query));
    fastcgi_params_begin(&params, out);
    fastcgi_params_add(&params, T("GATEWAY_INTERFACE"), T("CGI/1.1"));
    fastcgi_params_add(&params, T("SERVER_SOFTWARE"), T("trilith"));
    fastcgi_params_add(&params, T("REDIRECT_STATUS"), T("200"));
    fastcgi_params_add(&params, T("REQUEST_METHOD"), request->method_text);
    fastcgi_params_add(&params, T("REQUEST_URI"), uri);
    fastcgi_params_add(&params, T("QUERY_STRING"), request->query);
    if (!text_is_empty(type))
        fastcgi_params_add(&params, T("CONTENT_TYPE"), type);
    if (content_length >= 0)
        add_number(&params, T("CONTENT_LENGTH"), content_length);
    bool fits = add_script(&params, script, arena);
    add_server(&params, request, arena);
    add_client(&params, &request->client);
    fits = add_headers(&params, request, arena) && fits;
    return fastcgi_params_end(&params) && fits ? OK : ERR_LIMIT;
}
