/*
 * Conditional requests. Pure: request headers and validators in, verdict out. A date that cannot be
 * read makes its header void, as RFC 9110 13.1.3 and 13.1.4 ask.
 */
#include "web/condition.h"
#include "core/clock.h"

/* Cuts the next entity tag from *rest, with its quotes and W/. Empty: none or malformed. */
static struct text etag_next(struct text *rest)
{
    struct text none = { NULL, 0 };
    while (rest->len > 0 && (rest->data[0] == ',' || rest->data[0] == ' ' || rest->data[0] == '\t'))
        *rest = text_skip(*rest, 1);
    size_t start = text_starts_with(*rest, T("W/")) ? 2 : 0;
    if (rest->len <= start || rest->data[start] != '"')
        return none;
    ssize_t end = text_find(text_skip(*rest, start + 1), '"');
    if (end < 0)
        return none;
    struct text tag = text_part(*rest, 0, start + (size_t)end + 2);
    *rest = text_skip(*rest, tag.len);
    return tag;
}

static bool etag_is_weak(struct text etag)
{
    return text_starts_with(etag, T("W/"));
}

static bool etag_equal(struct text a, struct text b, bool is_strong)
{
    if (is_strong)
        return !etag_is_weak(a) && text_equal(a, b);
    return text_equal(etag_is_weak(a) ? text_skip(a, 2) : a, etag_is_weak(b) ? text_skip(b, 2) : b);
}

bool web_etag_matches(struct text list, struct text etag, bool is_strong)
{
    if (text_equal(text_trim(list), T("*")))
        return true;
    while (list.len > 0) {
        struct text tag = etag_next(&list);
        if (tag.len == 0)
            return false;
        if (etag_equal(tag, etag, is_strong))
            return true;
    }
    return false;
}

static bool any_etag_matches(const struct http_headers *headers, enum http_field field,
                             struct text etag, bool is_strong)
{
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].field == field &&
            web_etag_matches(headers->items[i].value, etag, is_strong))
            return true;
    return false;
}

/* The date in the header, or -1. */
static int64_t header_date(const struct http_headers *headers, enum http_field field)
{
    struct text value = http_headers_value(headers, field);
    return value.len > 0 ? clock_parse_http(value.data, value.len) : -1;
}

enum web_condition web_condition_check(const struct http_headers *headers, bool is_get_or_head,
                                       const struct web_selected *selected)
{
    if (http_headers_find(headers, FIELD_IF_MATCH) != NULL) {
        if (!any_etag_matches(headers, FIELD_IF_MATCH, selected->etag, true))
            return CONDITION_FAILED;
    } else {
        int64_t since = header_date(headers, FIELD_IF_UNMODIFIED_SINCE);
        if (since >= 0 && selected->modified_s > since)
            return CONDITION_FAILED;
    }
    if (http_headers_find(headers, FIELD_IF_NONE_MATCH) != NULL) {
        if (!any_etag_matches(headers, FIELD_IF_NONE_MATCH, selected->etag, false))
            return CONDITION_GO;
        return is_get_or_head ? CONDITION_NOT_MODIFIED : CONDITION_FAILED;
    }
    int64_t since = header_date(headers, FIELD_IF_MODIFIED_SINCE);
    if (is_get_or_head && since >= 0 && selected->modified_s <= since)
        return CONDITION_NOT_MODIFIED;
    return CONDITION_GO;
}

bool web_condition_range_applies(const struct http_headers *headers,
                                 const struct web_selected *selected, int64_t now_s)
{
    const struct http_header *header = http_headers_find(headers, FIELD_IF_RANGE);
    if (header == NULL)
        return true;
    struct text value = text_trim(header->value);
    if (text_starts_with(value, T("\"")) || text_starts_with(value, T("W/")))
        return etag_equal(value, selected->etag, true);
    /* RFC 9110 8.8.2.2: a date is strong only when the file cannot have changed again in it */
    int64_t date = clock_parse_http(value.data, value.len);
    return date >= 0 && date == selected->modified_s && now_s > selected->modified_s + 1;
}
