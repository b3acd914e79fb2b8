/*
 * Forwarding headers; see forwarded.h.
 *
 * Where both kinds are there X-Forwarded-For counts: most proxies write that one only, and pass on
 * a Forwarded header that the client made up.
 */
#include "http/forwarded.h"

enum {
    HOPS_MOST = 32, /* the nearest ones are looked at */
    NODE_MOST = 64, /* longer than any address with port and quotes */
};

/* The last HOPS_MOST nodes, in the order of the headers. */
struct hops {
    struct text nodes[HOPS_MOST];
    size_t count; /* ever */
};

static void add_hop(struct hops *hops, struct text node)
{
    hops->nodes[hops->count++ % HOPS_MOST] = node;
}

/* ---- X-Forwarded-For: a comma-separated list of addresses ---- */

static void read_list(const struct http_headers *headers, struct hops *hops)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (headers->items[i].field != FIELD_X_FORWARDED_FOR)
            continue;
        struct text rest = headers->items[i].value;
        while (rest.len > 0) {
            struct text node = text_trim(text_next(&rest, ','));
            if (node.len > 0) /* RFC 9110 5.6.1: empty elements do not count */
                add_hop(hops, node);
        }
    }
}

/* ---- Forwarded: elements of name=value pairs (RFC 7239 4) ---- */

static void skip_blanks(struct text *rest)
{
    while (rest->len > 0 && (rest->data[0] == ' ' || rest->data[0] == '\t'))
        *rest = text_skip(*rest, 1);
}

static struct text take_token(struct text *rest)
{
    size_t len = 0;
    while (len < rest->len && http_is_token(text_part(*rest, len, 1)))
        len++;
    struct text token = text_part(*rest, 0, len);
    *rest = text_skip(*rest, len);
    return token;
}

/* A token, or a quoted string without its quotes. False when it is neither. Escapes are left as
 * they are: no address has one. */
static bool take_value(struct text *rest, struct text *value_out)
{
    if (rest->len == 0 || rest->data[0] != '"') {
        *value_out = take_token(rest);
        return value_out->len > 0;
    }
    size_t end = 1;
    while (end < rest->len && rest->data[end] != '"')
        end += rest->data[end] == '\\' ? 2 : 1;
    if (end >= rest->len)
        return false;
    *value_out = text_part(*rest, 1, end - 1);
    *rest = text_skip(*rest, end + 1);
    return true;
}

struct element {
    struct text node; /* of for= */
    struct text proto;
};

/* One element, up to its comma or the end. False when it is malformed. */
static bool take_element(struct text *rest, struct element *element)
{
    *element = (struct element){ 0 };
    for (;;) {
        struct text name, value;
        skip_blanks(rest);
        if (rest->len > 0 && rest->data[0] != ',' && rest->data[0] != ';') {
            name = take_token(rest);
            if (name.len == 0 || rest->len == 0 || rest->data[0] != '=')
                return false;
            *rest = text_skip(*rest, 1);
            if (!take_value(rest, &value))
                return false;
            if (text_equal_fold(name, T("for")))
                element->node = value;
            if (text_equal_fold(name, T("proto")))
                element->proto = value;
        }
        skip_blanks(rest);
        if (rest->len == 0)
            return true;
        char separator = rest->data[0];
        *rest = text_skip(*rest, 1);
        if (separator == ',')
            return true;
        if (separator != ';')
            return false;
    }
}

/* False when one header is malformed: then none is believed. */
static bool read_forwarded(const struct http_headers *headers, struct hops *hops,
                           struct text *proto_out)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (headers->items[i].field != FIELD_FORWARDED)
            continue;
        struct text rest = headers->items[i].value;
        while (rest.len > 0) {
            struct element element;
            if (!take_element(&rest, &element))
                return false;
            add_hop(hops, element.node.len > 0 ? element.node : T("unknown"));
            *proto_out = element.proto;
        }
    }
    return true;
}

/* ---- the client ---- */

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". A port that
 * cannot be read ("_x") makes the whole unreadable. */
static bool read_node(struct text node, struct address *out)
{
    uint64_t port = 0;
    if (node.len > NODE_MOST)
        return false;
    if (address_parse_ip(node, 0, out) == OK)
        return true;
    size_t colon = node.len;
    while (colon > 0 && node.data[colon - 1] != ':')
        colon--;
    if (colon == 0 || !text_to_uint(text_skip(node, colon), UINT16_MAX, &port))
        return false;
    struct text ip = text_part(node, 0, colon - 1);
    bool is_bare_v6 = text_find(ip, ':') >= 0 && !text_starts_with(ip, T("["));
    return !is_bare_v6 && address_parse_ip(ip, (uint16_t)port, out) == OK;
}

static bool is_trusted(const struct http_trust *trust, const struct address *address)
{
    return networks_contain(trust->networks, trust->count, address);
}

bool http_forwarded_client(const struct http_headers *headers, const struct http_trust *trust,
                           struct address *client_out)
{
    struct hops hops;
    struct text proto;
    bool is_told = false;
    hops.count = 0;
    read_list(headers, &hops);
    if (hops.count == 0 && !read_forwarded(headers, &hops, &proto))
        return false;
    size_t seen = hops.count < HOPS_MOST ? hops.count : HOPS_MOST;
    for (size_t i = 0; i < seen; i++) {
        struct address address;
        if (!read_node(hops.nodes[(hops.count - 1 - i) % HOPS_MOST], &address))
            break;
        *client_out = address;
        is_told = true;
        if (!is_trusted(trust, &address))
            break;
    }
    return is_told;
}

/* The scheme that the peer, the last to write, says its client used. Empty: it does not say. */
static struct text find_scheme(const struct http_headers *headers)
{
    struct hops hops = { .count = 0 };
    struct text last = http_headers_value(headers, FIELD_X_FORWARDED_PROTO);
    if (last.len == 0 && !read_forwarded(headers, &hops, &last))
        return T("");
    while (text_find(last, ',') >= 0)
        text_next(&last, ',');
    last = text_trim(last);
    if (text_equal_fold(last, T("https")))
        return T("https");
    return text_equal_fold(last, T("http")) ? T("http") : T("");
}

static bool has_claims(const struct http_headers *headers)
{
    return http_headers_find(headers, FIELD_X_FORWARDED_FOR) != NULL ||
           http_headers_find(headers, FIELD_X_FORWARDED_PROTO) != NULL ||
           http_headers_find(headers, FIELD_X_FORWARDED_HOST) != NULL ||
           http_headers_find(headers, FIELD_FORWARDED) != NULL;
}

static void remove_claims(struct http_request *request)
{
    request->was_forwarded = http_headers_find(&request->headers, FIELD_FORWARDED) != NULL;
    http_headers_remove(&request->headers, FIELD_X_FORWARDED_FOR);
    http_headers_remove(&request->headers, FIELD_X_FORWARDED_PROTO);
    http_headers_remove(&request->headers, FIELD_X_FORWARDED_HOST);
    http_headers_remove(&request->headers, FIELD_FORWARDED);
}

void http_forwarded_take(struct http_request *request, const struct http_trust *trust)
{
    const struct http_headers *headers = &request->headers;
    if (!has_claims(headers))
        return;
    if (trust->count == 0 || !is_trusted(trust, &request->client)) {
        remove_claims(request);
        return;
    }
    struct address client = request->client;
    struct text scheme = find_scheme(headers);
    request->is_forwarded = true;
    request->peer = request->client;
    if (http_forwarded_client(headers, trust, &client))
        request->client = client;
    if (scheme.len > 0)
        request->scheme = scheme;
}

/* ---- for the next hop ---- */

static void write_header(struct buffer *out, struct text name, struct text value)
{
    buffer_append(out, name);
    buffer_append(out, T(": "));
    buffer_append(out, value);
    buffer_append(out, T("\r\n"));
}

/* The values of all headers of that name as one list, with a comma behind it when there is any. */
static void write_values(struct buffer *out, const struct http_headers *headers,
                         enum http_field field)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (headers->items[i].field != field || headers->items[i].value.len == 0)
            continue;
        buffer_append(out, headers->items[i].value);
        buffer_append(out, T(", "));
    }
}

/* RFC 7239 6: an IPv6 address is in brackets and quotes. A host may have a colon: quotes, and no
 * host has one inside. */
static void write_element(struct buffer *out, const struct address *peer, struct text ip,
                          struct text host, struct text scheme)
{
    bool is_v6 = address_family(peer) == AF_INET6;
    buffer_append(out, is_v6 ? T("for=\"[") : T("for="));
    buffer_append(out, ip);
    buffer_append(out, is_v6 ? T("]\"") : T(""));
    if (host.len > 0 && text_find(host, '"') < 0 && text_find(host, '\\') < 0) {
        buffer_append(out, T(";host=\""));
        buffer_append(out, host);
        buffer_append(out, T("\""));
    }
    buffer_append(out, T(";proto="));
    buffer_append(out, scheme);
    buffer_append(out, T("\r\n"));
}

void http_forwarded_write(const struct http_request *request, struct text host, struct buffer *out)
{
    char ip[ADDRESS_TEXT_SIZE];
    const struct http_headers *headers = &request->headers;
    const struct address *peer = request->is_forwarded ? &request->peer : &request->client;
    bool is_local = address_family(peer) == AF_UNIX || peer->len == 0;
    if (is_local)
        text_copy_to(T("unknown"), ip, sizeof(ip)); /* RFC 7239 6.2 */
    else
        address_format_ip(peer, ip);
    buffer_append(out, T("X-Forwarded-For: "));
    if (request->is_forwarded)
        write_values(out, headers, FIELD_X_FORWARDED_FOR);
    buffer_append(out, text_of(ip));
    buffer_append(out, T("\r\nX-Forwarded-Proto: "));
    buffer_append(out, request->scheme);
    buffer_append(out, T("\r\n"));
    struct text first =
        request->is_forwarded ? http_headers_value(headers, FIELD_X_FORWARDED_HOST) : T("");
    write_header(out, T("X-Forwarded-Host"), first.len > 0 ? first : host);
    bool has_forwarded = http_headers_find(headers, FIELD_FORWARDED) != NULL;
    if (!has_forwarded && !request->was_forwarded)
        return;
    buffer_append(out, T("Forwarded: "));
    write_values(out, headers, FIELD_FORWARDED);
    write_element(out, peer, text_of(ip), host, request->scheme);
}
