/*
 * Everything a WSGI environ says about a request is made here, so that the worker only turns bytes
 * into strings: header names in upper case, duplicates joined, what must not be passed on left out
 * (names with '_' could imitate another header, "Proxy" would set HTTP_PROXY: httpoxy).
 */
#include "app/environ.h"

struct table {
    uint8_t *data;
    size_t len;
    uint32_t count;
    bool is_full;
};

static const enum segment_key field_keys[FIELD_COUNT] = {
    [FIELD_HOST] = KEY_HTTP_HOST,
    [FIELD_USER_AGENT] = KEY_HTTP_USER_AGENT,
    [FIELD_REFERER] = KEY_HTTP_REFERER,
    [FIELD_COOKIE] = KEY_HTTP_COOKIE,
    [FIELD_CONNECTION] = KEY_HTTP_CONNECTION,
    [FIELD_ACCEPT_ENCODING] = KEY_HTTP_ACCEPT_ENCODING,
    [FIELD_CACHE_CONTROL] = KEY_HTTP_CACHE_CONTROL,
    [FIELD_IF_NONE_MATCH] = KEY_HTTP_IF_NONE_MATCH,
    [FIELD_IF_MODIFIED_SINCE] = KEY_HTTP_IF_MODIFIED_SINCE,
    [FIELD_IF_MATCH] = KEY_HTTP_IF_MATCH,
    [FIELD_IF_UNMODIFIED_SINCE] = KEY_HTTP_IF_UNMODIFIED_SINCE,
    [FIELD_IF_RANGE] = KEY_HTTP_IF_RANGE,
    [FIELD_RANGE] = KEY_HTTP_RANGE,
    [FIELD_X_FORWARDED_FOR] = KEY_HTTP_X_FORWARDED_FOR,
    [FIELD_X_FORWARDED_PROTO] = KEY_HTTP_X_FORWARDED_PROTO,
    [FIELD_X_FORWARDED_HOST] = KEY_HTTP_X_FORWARDED_HOST,
    [FIELD_FORWARDED] = KEY_HTTP_FORWARDED,
    [FIELD_X_REQUEST_ID] = KEY_HTTP_X_REQUEST_ID,
    [FIELD_TRACEPARENT] = KEY_HTTP_TRACEPARENT,
    [FIELD_VIA] = KEY_HTTP_VIA,
};

/* Room for len bytes, or NULL and is_full. */
static char *table_take(struct table *table, size_t len)
{
    if (table->is_full || len > SEGMENT_REQUEST_BYTES - table->len) {
        table->is_full = true;
        return NULL;
    }
    char *at = (char *)table->data + table->len;
    table->len += len;
    return at;
}

static void table_copy(struct table *table, struct text text)
{
    char *at = table_take(table, text.len);
    if (at != NULL && text.len > 0)
        memcpy(at, text.data, text.len);
}

static void table_entry(struct table *table, enum segment_key key, size_t name_bytes,
                        size_t value_bytes)
{
    struct segment_entry entry = { .key = (uint16_t)key,
                                   .name_bytes = (uint16_t)name_bytes,
                                   .value_bytes = (uint32_t)value_bytes };
    table_copy(table, text_from((const char *)&entry, sizeof(entry)));
    table->count++;
}

static void table_add(struct table *table, enum segment_key key, struct text value)
{
    table_entry(table, key, 0, value.len);
    table_copy(table, value);
}

static void table_add_number(struct table *table, enum segment_key key, int64_t number)
{
    char digits[TEXT_UINT_SIZE];
    table_add(table, key, text_from(digits, text_write_uint((uint64_t)number, digits)));
}

/* ---- headers ---- */

static bool is_passed_on(const struct http_header *header)
{
    switch ((int)header->field) {
    case FIELD_CONTENT_LENGTH:
    case FIELD_CONTENT_TYPE:      /* these two are entries without HTTP_ */
    case FIELD_TRANSFER_ENCODING: /* the body is whole now */
    case FIELD_EXPECT:
    case FIELD_PROXY:
        return false;
    default:
        return text_find(header->name, '_') < 0 && header->name.len < UINT16_MAX - 5;
    }
}

static bool is_same_name(const struct http_header *a, const struct http_header *b)
{
    return a->field == b->field && (a->field != FIELD_OTHER || text_equal_fold(a->name, b->name));
}

static bool was_before(const struct http_headers *headers, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (is_same_name(&headers->items[i], &headers->items[at]))
            return true;
    }
    return false;
}

static void add_name(struct table *table, struct text name)
{
    table_copy(table, T("HTTP_"));
    char *at = table_take(table, name.len);
    if (at == NULL)
        return;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        at[i] = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
    }
}

/* All headers of this name in one entry. */
static void add_header(struct table *table, const struct http_headers *headers, size_t first)
{
    const struct http_header *header = &headers->items[first];
    struct text separator = header->field == FIELD_COOKIE ? T("; ") : T(", ");
    enum segment_key key = field_keys[header->field];
    size_t bytes = header->value.len;
    for (size_t i = first + 1; i < headers->count; i++) {
        if (is_same_name(&headers->items[i], header))
            bytes += separator.len + headers->items[i].value.len;
    }
    table_entry(table, key, key == KEY_OTHER ? header->name.len + 5 : 0, bytes);
    if (key == KEY_OTHER)
        add_name(table, header->name);
    table_copy(table, header->value);
    for (size_t i = first + 1; i < headers->count; i++) {
        if (!is_same_name(&headers->items[i], header))
            continue;
        table_copy(table, separator);
        table_copy(table, headers->items[i].value);
    }
}

static void add_headers(struct table *table, const struct http_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (is_passed_on(&headers->items[i]) && !was_before(headers, i))
            add_header(table, headers, i);
    }
}

/* ---- the rest ---- */

static void add_address(struct table *table, enum segment_key ip_key, enum segment_key port_key,
                        const struct address *address)
{
    char ip[ADDRESS_TEXT_SIZE] = "";
    int family = address_family(address);
    if (family != AF_INET && family != AF_INET6) {
        table_add(table, ip_key, T(""));
        return;
    }
    address_format_ip(address, ip);
    table_add(table, ip_key, text_of(ip));
    table_add_number(table, port_key, address_port(address));
}

static void add_server(struct table *table, const struct http_request *request)
{
    char ip[ADDRESS_TEXT_SIZE] = "localhost";
    bool is_https = text_equal(request->scheme, T("https"));
    int family = address_family(&request->server);
    bool has_port = family == AF_INET || family == AF_INET6;
    if (has_port)
        address_format_ip(&request->server, ip);
    table_add(table, KEY_SERVER_NAME, text_is_empty(request->host) ? text_of(ip) : request->host);
    table_add_number(table, KEY_SERVER_PORT,
                     has_port   ? address_port(&request->server)
                     : is_https ? 443
                                : 80);
    table_add(table, KEY_SERVER_PROTOCOL, http_request_protocol(request));
    table_add(table, KEY_URL_SCHEME, request->scheme);
    if (is_https)
        table_add(table, KEY_HTTPS, T("on"));
}

static struct text content_type(const struct http_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (headers->items[i].field == FIELD_CONTENT_TYPE)
            return headers->items[i].value;
    }
    return T("");
}

enum err app_environ_build(const struct http_request *request, struct text mount,
                           int64_t body_length, struct segment_slot *slot)
{
    struct table table = { .data = slot->request };
    struct text type = content_type(&request->headers);
    bool is_mounted = text_starts_with(request->path, mount);
    table_add(&table, KEY_REQUEST_METHOD, request->method_text);
    table_add(&table, KEY_SCRIPT_NAME, is_mounted ? mount : T(""));
    table_add(&table, KEY_PATH_INFO, text_skip(request->path, is_mounted ? mount.len : 0));
    table_add(&table, KEY_QUERY_STRING, request->query);
    table_add(&table, KEY_REQUEST_URI, request->target);
    if (!text_is_empty(type))
        table_add(&table, KEY_CONTENT_TYPE, type);
    if (body_length >= 0)
        table_add_number(&table, KEY_CONTENT_LENGTH, body_length);
    add_server(&table, request);
    add_address(&table, KEY_REMOTE_ADDR, KEY_REMOTE_PORT, &request->client);
    table_add(&table, KEY_REQUEST_ID, text_of(request->id));
    if (http_headers_find(&request->headers, FIELD_X_REQUEST_ID) == NULL)
        table_add(&table, KEY_HTTP_X_REQUEST_ID, text_of(request->id));
    add_headers(&table, &request->headers);
    if (table.is_full)
        return ERR_LIMIT;
    slot->table_bytes = (uint32_t)table.len;
    slot->entry_count = table.count;
    slot->body_length = body_length > 0 ? body_length : 0;
    slot->body_offset = (uint32_t)table.len;
    slot->body_is_file = 0;
    slot->is_head = request->method == HTTP_HEAD;
    return OK;
}

bool app_environ_add_body(struct segment_slot *slot, struct text body)
{
    if (body.len > SEGMENT_REQUEST_BYTES - slot->table_bytes)
        return false;
    if (body.len > 0)
        memcpy(slot->request + slot->table_bytes, body.data, body.len);
    return true;
}
