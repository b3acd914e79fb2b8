/*
 * Where a request goes: the forms of the target (RFC 9112 3.2), the Host header, the path decoded
 * once without dot segments (RFC 3986 5.2.4, applied to the decoded path so that %2e cannot hide
 * one). A path that leaves the root is refused, not clamped.
 */
#include "http/http1_private.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = text_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The decoded length, -1 for a bad or zero %xx. */
static ssize_t percent_decode(struct text raw, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char byte = raw.data[i];
        if (byte == '%') {
            int high = i + 2 < raw.len ? hex_digit(raw.data[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex_digit(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0)
                return -1;
            byte = (char)(high * 16 + low);
            i += 2;
        }
        out[len++] = byte;
    }
    return (ssize_t)len;
}

/* Works in place; path[0] is '/'. The new length, -1 when it leaves the root. */
static ssize_t remove_dot_segments(char *path, size_t len)
{
    size_t out = 0;
    for (size_t at = 0; at < len;) {
        /* path[at] is '/'; the segment behind it ends at the next one */
        size_t end = at + 1;
        while (end < len && path[end] != '/')
            end++;
        struct text segment = text_from(path + at + 1, end - at - 1);
        bool is_up = text_equal(segment, T(".."));
        if (is_up && out == 0)
            return -1;
        if (is_up)
            do
                out--;
            while (path[out] != '/');
        if (!is_up && !text_equal(segment, T("."))) {
            memmove(path + out, path + at, end - at);
            out += end - at;
        } else if (end == len) {
            path[out++] = '/';
        }
        at = end;
    }
    return (ssize_t)out;
}

/* Nothing to decode and no segment that starts with a dot. */
static bool is_plain_path(struct text path)
{
    char before = '\0';
    for (size_t i = 0; i < path.len; i++) {
        char c = path.data[i];
        if (c == '%' || (c == '.' && before == '/'))
            return false;
        before = c;
    }
    return true;
}

bool http1_decode_path(struct text raw_path, struct arena *arena, struct text *path_out)
{
    if (raw_path.len == 0 || raw_path.data[0] != '/')
        return false;
    if (is_plain_path(raw_path)) {
        *path_out = raw_path;
        return true;
    }
    char *path = arena_bytes(arena, raw_path.len + 1);
    if (path == NULL)
        return false;
    ssize_t len = percent_decode(raw_path, path);
    if (len > 0)
        len = remove_dot_segments(path, (size_t)len);
    if (len <= 0)
        return false;
    *path_out = text_from(path, (size_t)len);
    return true;
}

static bool is_host_byte(char c)
{
    static const bool table[256] = {
        ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['-'] = true,
        ['.'] = true,         ['_'] = true,         ['~'] = true,
    };
    return table[(uint8_t)c];
}

/* Length of the host part: a bracketed IPv6 address or a name; 0 if it is neither. */
static size_t host_length(struct text authority)
{
    size_t len = 0;
    if (authority.len > 0 && authority.data[0] == '[') {
        struct address address;
        ssize_t end = text_find(authority, ']');
        bool is_address = end > 2 && address_parse_ip(text_part(authority, 1, (size_t)end - 1), 0,
                                                      &address) == OK;
        return is_address && address_family(&address) == AF_INET6 ? (size_t)end + 1 : 0;
    }
    while (len < authority.len && is_host_byte(authority.data[len]))
        len++;
    return len;
}

static bool lower_host(struct text host, struct arena *arena, struct text *out)
{
    bool has_upper = false;
    if (host.len > 1 && host.data[host.len - 1] == '.')
        host.len--;
    for (size_t i = 0; i < host.len; i++)
        has_upper |= host.data[i] >= 'A' && host.data[i] <= 'Z';
    if (has_upper) {
        char *copy = arena_bytes(arena, host.len);
        if (copy == NULL)
            return false;
        for (size_t i = 0; i < host.len; i++)
            copy[i] = text_lower(host.data[i]);
        host.data = copy;
    }
    *out = host;
    return true;
}

bool http1_parse_authority(struct text authority, struct arena *arena, struct text *host_out,
                           uint16_t *port_out)
{
    uint64_t port = 0;
    size_t len = host_length(authority);
    struct text rest = text_skip(authority, len);
    if (len == 0 || (rest.len > 0 && rest.data[0] != ':'))
        return false;
    if (rest.len > 1 && !text_to_uint(text_skip(rest, 1), UINT16_MAX, &port))
        return false;
    if (!lower_host(text_from(authority.data, len), arena, host_out))
        return false;
    *port_out = (uint16_t)port;
    return true;
}

/* Exactly one Host for 1.1, at most one for 1.0 (RFC 9112 3.2). */
static enum http1_state parse_host(struct arena *arena, struct http_request *request,
                                   struct http1_problem *problem)
{
    const struct http_header *host = NULL;
    uint16_t port;
    for (size_t i = 0; i < request->headers.count; i++) {
        if (request->headers.items[i].field != FIELD_HOST)
            continue;
        if (host != NULL)
            return http1_refuse(problem, 400, "several Host headers");
        host = &request->headers.items[i];
    }
    if (host == NULL && request->minor_version >= 1)
        return http1_refuse(problem, 400, "no Host header");
    request->host = request->authority = T("");
    if (host == NULL || host->value.len == 0)
        return HTTP1_DONE;
    request->authority = host->value;
    if (!http1_parse_authority(host->value, arena, &request->host, &port))
        return http1_refuse(problem, 400, "malformed Host header");
    return HTTP1_DONE;
}

/* Whoever looks at the Host header sees the host that counts. */
static void replace_host(struct http_request *request)
{
    for (size_t i = 0; i < request->headers.count; i++)
        if (request->headers.items[i].field == FIELD_HOST)
            request->headers.items[i].value = request->authority;
}

/* "http://host:port" in front of the path: its host wins over the Host header (RFC 9112 3.2.2). */
static enum http1_state parse_absolute(struct arena *arena, struct http_request *request,
                                       struct text *origin_out, struct http1_problem *problem)
{
    struct text target = request->target;
    uint16_t port;
    if (!text_equal_fold(text_part(target, 0, 7), T("http://")))
        return http1_refuse(problem, 400, "malformed target");
    struct text rest = text_skip(target, 7);
    size_t len = 0;
    while (len < rest.len && rest.data[len] != '/' && rest.data[len] != '?')
        len++;
    request->authority = text_from(rest.data, len);
    if (!http1_parse_authority(request->authority, arena, &request->host, &port))
        return http1_refuse(problem, 400, "malformed host in the target");
    replace_host(request);
    *origin_out = text_skip(rest, len);
    return HTTP1_DONE;
}

static enum http1_state split_origin(struct text origin, struct arena *arena,
                                     struct http_request *request, struct http1_problem *problem)
{
    ssize_t question = text_find(origin, '?');
    request->has_query = question >= 0;
    request->query = question >= 0 ? text_skip(origin, (size_t)question + 1) : T("");
    request->raw_path = question >= 0 ? text_from(origin.data, (size_t)question) : origin;
    if (request->raw_path.len == 0) /* only after an authority */
        request->raw_path = T("/");
    if (!http1_decode_path(request->raw_path, arena, &request->path))
        return http1_refuse(problem, 400, "malformed path");
    return HTTP1_DONE;
}

enum http1_state http1_parse_target(struct arena *arena, struct http_request *request,
                                    struct http1_problem *problem)
{
    struct text target = request->target;
    for (size_t i = 0; i < target.len; i++)
        if (target.data[i] <= ' ' || target.data[i] == 0x7F || target.data[i] == '#')
            return http1_refuse(problem, 400, "forbidden character in the target");
    if (parse_host(arena, request, problem) == HTTP1_BAD)
        return HTTP1_BAD;
    bool is_asterisk = text_equal(target, T("*"));
    if (target.data[0] != '/' && !is_asterisk &&
        parse_absolute(arena, request, &target, problem) == HTTP1_BAD)
        return HTTP1_BAD;
    /* "OPTIONS http://host" asks for the server as a whole (RFC 9112 3.2.4) */
    if (is_asterisk || (target.len == 0 && request->method == HTTP_OPTIONS)) {
        request->raw_path = request->path = T("*");
        request->query = T("");
        request->has_query = false;
        return request->method == HTTP_OPTIONS
                   ? HTTP1_DONE
                   : http1_refuse(problem, 400, "target * is for OPTIONS only");
    }
    return split_origin(target, arena, request, problem);
}
