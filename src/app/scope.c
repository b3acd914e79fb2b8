/*
 * Everything an ASGI scope says about a request is made here, so that the worker only turns bytes
 * into objects. Headers stay apart and in order, in lower case (the ASGI specification); left out
 * is what must not be passed on: names with '_' (frameworks turn '-' into '_', so they could
 * imitate another header), "Proxy" (httpoxy) and what belongs to the connection and is done with.
 */
#include "app/scope.h"

struct table {
    uint8_t *data;
    size_t len;
    uint32_t count;
    bool is_full;
};

static char *add_entry(struct table *table, enum segment_key key, size_t name_bytes,
                       struct text value)
{
    struct segment_entry entry = { .key = (uint16_t)key,
                                   .name_bytes = (uint16_t)name_bytes,
                                   .value_bytes = (uint32_t)value.len };
    size_t room = SEGMENT_REQUEST_BYTES - table->len;
    if (table->is_full || room < sizeof(entry) + name_bytes ||
        value.len > room - sizeof(entry) - name_bytes) {
        table->is_full = true;
        return NULL;
    }
    char *at = (char *)table->data + table->len;
    memcpy(at, &entry, sizeof(entry));
    at += sizeof(entry);
    if (value.len > 0)
        memcpy(at + name_bytes, value.data, value.len);
    table->len += sizeof(entry) + name_bytes + value.len;
    table->count++;
    return at;
}

static void add(struct table *table, enum segment_key key, struct text value)
{
    add_entry(table, key, 0, value);
}

static void add_number(struct table *table, enum segment_key key, int64_t number)
{
    char digits[TEXT_UINT_SIZE];
    add(table, key, text_from(digits, text_write_uint((uint64_t)number, digits)));
}

static void add_header(struct table *table, struct text name, struct text value)
{
    char *at = add_entry(table, KEY_OTHER, name.len, value);
    for (size_t i = 0; at != NULL && i < name.len; i++)
        at[i] = text_lower(name.data[i]);
}

static bool is_passed_on(const struct http_header *header)
{
    switch ((int)header->field) {
    case FIELD_TRANSFER_ENCODING: /* the body is whole now, with a length of ours */
    case FIELD_EXPECT:
    case FIELD_PROXY:
        return false;
    default:
        return text_find(header->name, '_') < 0 && header->name.len <= UINT16_MAX;
    }
}

static void add_address(struct table *table, enum segment_key ip_key, enum segment_key port_key,
                        const struct address *address)
{
    char ip[ADDRESS_TEXT_SIZE] = "";
    int family = address_family(address);
    if (family != AF_INET && family != AF_INET6)
        return;
    address_format_ip(address, ip);
    add(table, ip_key, text_of(ip));
    add_number(table, port_key, address_port(address));
}

enum err app_scope_build(const struct http_request *request, int64_t body_length,
                         struct segment_slot *slot)
{
    struct table table = { .data = slot->request };
    char length[TEXT_UINT_SIZE];
    add(&table, KEY_REQUEST_METHOD, request->method_text);
    add(&table, KEY_PATH_INFO, request->path);
    add(&table, KEY_REQUEST_URI, request->raw_path);
    add(&table, KEY_QUERY_STRING, request->query);
    add(&table, KEY_SERVER_PROTOCOL,
        request->is_http2 ? T("2") : text_skip(http_request_protocol(request), 5));
    add(&table, KEY_URL_SCHEME, request->scheme);
    add_address(&table, KEY_REMOTE_ADDR, KEY_REMOTE_PORT, &request->client);
    add_address(&table, KEY_SERVER_NAME, KEY_SERVER_PORT, &request->server);
    add(&table, KEY_REQUEST_ID, text_of(request->id));
    for (size_t i = 0; i < request->headers.count; i++) {
        const struct http_header *header = &request->headers.items[i];
        if (is_passed_on(header))
            add_header(&table, header->name, header->value);
    }
    if (body_length >= 0 && request->content_length < 0) { /* it came in chunks */
        size_t len = text_write_uint((uint64_t)body_length, length);
        add_header(&table, T("content-length"), text_from(length, len));
    }
    if (http_headers_find(&request->headers, FIELD_X_REQUEST_ID) == NULL)
        add_header(&table, T("x-request-id"), text_of(request->id));
    if (table.is_full)
        return ERR_LIMIT;
    slot->table_bytes = (uint32_t)table.len;
    slot->entry_count = table.count;
    slot->body_length = body_length > 0 ? body_length : 0;
    slot->body_offset = (uint32_t)table.len;
    slot->body_is_file = 0;
    slot->is_head = request->method == HTTP_HEAD;
    slot->is_socket = 0;
    return OK;
}
