/*
 * Header lists and names. Lists are short (about ten entries), so a walk that compares one enum per
 * entry is faster than any index that would have to be built first.
 */
#include "http/http1_private.h"

static const struct text field_names[FIELD_COUNT] = { [FIELD_OTHER] = { "", 0 },
#define X(code, name) [code] = { name, sizeof(name) - 1 },
                                                      HTTP_FIELD_LIST(X)
#undef X
};

/* The known names by length, each row ended by FIELD_OTHER: few candidates are left to compare. */
enum { LONGEST_FIELD = 19, MOST_OF_A_LENGTH = 7 };
static const uint8_t fields_by_length[LONGEST_FIELD + 1][MOST_OF_A_LENGTH] = {
    [2] = { FIELD_TE },
    [3] = { FIELD_VIA },
    [4] = { FIELD_HOST, FIELD_DATE, FIELD_ETAG, FIELD_VARY },
    [5] = { FIELD_RANGE, FIELD_ALLOW, FIELD_PROXY },
    [6] = { FIELD_COOKIE, FIELD_EXPECT, FIELD_SERVER },
    [7] = { FIELD_REFERER, FIELD_UPGRADE, FIELD_TRAILER },
    [8] = { FIELD_IF_MATCH, FIELD_IF_RANGE, FIELD_LOCATION },
    [9] = { FIELD_FORWARDED },
    [10] = { FIELD_CONNECTION, FIELD_USER_AGENT, FIELD_SET_COOKIE, FIELD_KEEP_ALIVE },
    [11] = { FIELD_TRACEPARENT, FIELD_RETRY_AFTER },
    [12] = { FIELD_CONTENT_TYPE, FIELD_X_REQUEST_ID },
    [13] = { FIELD_CACHE_CONTROL, FIELD_IF_NONE_MATCH, FIELD_LAST_MODIFIED, FIELD_CONTENT_RANGE,
             FIELD_ACCEPT_RANGES },
    [14] = { FIELD_CONTENT_LENGTH },
    [15] = { FIELD_ACCEPT_ENCODING, FIELD_X_FORWARDED_FOR },
    [16] = { FIELD_CONTENT_ENCODING, FIELD_PROXY_CONNECTION, FIELD_X_FORWARDED_HOST },
    [17] = { FIELD_TRANSFER_ENCODING, FIELD_IF_MODIFIED_SINCE, FIELD_X_FORWARDED_PROTO },
    [19] = { FIELD_IF_UNMODIFIED_SINCE },
};

enum http_field http_field_find(struct text name)
{
    if (name.len > LONGEST_FIELD)
        return FIELD_OTHER;
    const uint8_t *candidates = fields_by_length[name.len];
    for (size_t i = 0; i < MOST_OF_A_LENGTH && candidates[i] != FIELD_OTHER; i++)
        if (text_equal_fold(name, field_names[candidates[i]]))
            return (enum http_field)candidates[i];
    return FIELD_OTHER;
}

_Static_assert(FIELD_COUNT <= 64, "a bit for each field");

static uint64_t field_bit(enum http_field field)
{
    return UINT64_C(1) << field;
}

static bool may_have(const struct http_headers *headers, enum http_field field)
{
    return headers->present == 0 || (headers->present & field_bit(field)) != 0;
}

struct text http_field_name(enum http_field field)
{
    return field_names[field];
}

const struct http_header *http_headers_find(const struct http_headers *headers,
                                            enum http_field field)
{
    if (!may_have(headers, field))
        return NULL;
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].field == field)
            return &headers->items[i];
    return NULL;
}

const struct http_header *http_headers_find_name(const struct http_headers *headers,
                                                 struct text name)
{
    enum http_field field = http_field_find(name);
    if (field != FIELD_OTHER)
        return http_headers_find(headers, field);
    for (size_t i = 0; i < headers->count; i++)
        if (text_equal_fold(headers->items[i].name, name))
            return &headers->items[i];
    return NULL;
}

struct text http_headers_value(const struct http_headers *headers, enum http_field field)
{
    const struct http_header *header = http_headers_find(headers, field);
    return header != NULL ? header->value : T("");
}

bool http_headers_add(struct http_headers *headers, struct arena *arena, enum http_field field,
                      struct text name, struct text value)
{
    enum { FIRST_CAPACITY = 16 }; /* what browsers send fits */
    if (headers->count == headers->capacity) {
        size_t capacity = headers->capacity > 0 ? headers->capacity * 2 : FIRST_CAPACITY;
        struct http_header *items = arena_alloc(arena, capacity * sizeof(*items));
        if (items == NULL)
            return false;
        if (headers->count > 0)
            memcpy(items, headers->items, headers->count * sizeof(*items));
        headers->items = items;
        headers->capacity = capacity;
    }
    headers->items[headers->count++] = (struct http_header){ name, value, field };
    if (headers->present != 0 || headers->count == 1)
        headers->present |= field_bit(field);
    return true;
}

bool http_trailer_is_allowed(enum http_field field, struct text name)
{
    static const struct text refused[] = {
#define NAME(name) { name, sizeof(name) - 1 }
        NAME("Authorization"),
        NAME("Proxy-Authorization"),
        NAME("Proxy-Authenticate"),
        NAME("WWW-Authenticate"),
        NAME("Max-Forwards"),
        NAME("Age"),
        NAME("Expires"),
        NAME("Pragma"),
        NAME("HTTP2-Settings"),
#undef NAME
    };
    if (field != FIELD_OTHER) /* what this program acts upon */
        return field == FIELD_ETAG;
    for (size_t i = 0; i < COUNT(refused); i++)
        if (text_equal_fold(name, refused[i]))
            return false;
    return true;
}

void http_headers_remove(struct http_headers *headers, enum http_field field)
{
    size_t kept = 0;
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].field != field)
            headers->items[kept++] = headers->items[i];
    headers->count = kept;
    headers->present &= ~field_bit(field);
}

static bool list_has_token(struct text list, struct text token)
{
    while (list.len > 0)
        if (text_equal_fold(text_trim(text_next(&list, ',')), token))
            return true;
    return false;
}

bool http_headers_has_token(const struct http_headers *headers, enum http_field field,
                            struct text token)
{
    if (!may_have(headers, field))
        return false;
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].field == field && list_has_token(headers->items[i].value, token))
            return true;
    return false;
}

bool http_is_token(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!http1_is_token_byte(text.data[i]))
            return false;
    return text.len > 0;
}

bool http_is_field_value(struct text text)
{
    return http1_find_control(text, 0) == text.len;
}

enum http_method http1_method_find(struct text name)
{
    static const struct text names[] = {
#define X(code, name_) [code] = { name_, sizeof(name_) - 1 },
        HTTP_METHOD_LIST(X)
#undef X
    };
    for (size_t i = 0; i < COUNT(names); i++)
        if (text_equal(name, names[i]))
            return (enum http_method)i;
    return HTTP_OTHER;
}
