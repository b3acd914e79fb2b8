/* Reading and comparing lists of global transaction ids. */
#include "database/gtid.h"

#include <stdio.h>

static struct text trim_all(struct text text)
{
    while (text.len > 0 && (uint8_t)text.data[0] <= ' ')
        text = text_skip(text, 1);
    while (text.len > 0 && (uint8_t)text.data[text.len - 1] <= ' ')
        text.len--;
    return text;
}

static bool parse_one(struct text text, struct gtid *out)
{
    uint64_t domain, server, sequence;
    struct text rest = trim_all(text);
    struct text first = text_next(&rest, '-'), second = text_next(&rest, '-');
    if (!text_to_uint(first, UINT32_MAX, &domain) || !text_to_uint(second, UINT32_MAX, &server) ||
        !text_to_uint(rest, UINT64_MAX, &sequence))
        return false;
    *out = (struct gtid){ (uint32_t)domain, (uint32_t)server, sequence };
    return true;
}

enum err gtid_parse(struct text text, struct gtid_list *list_out)
{
    struct gtid_list list;
    struct text rest = trim_all(text);
    list.count = 0;
    bool is_more = rest.len > 0;
    while (is_more) {
        is_more = text_find(rest, ',') >= 0; /* also when nothing stands behind it */
        if (list.count == GTID_LIST_LIMIT)
            return ERR_LIMIT;
        if (!parse_one(text_next(&rest, ','), &list.items[list.count]))
            return ERR_SYNTAX;
        list.count++;
    }
    *list_out = list;
    return OK;
}

uint64_t gtid_last(const struct gtid_list *list, uint32_t domain)
{
    uint64_t last = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].domain == domain && list->items[i].sequence > last)
            last = list->items[i].sequence;
    return last;
}

bool gtid_is_beyond(const struct gtid_list *a, const struct gtid_list *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].sequence > gtid_last(b, a->items[i].domain))
            return true;
    return false;
}

static const struct gtid *find(const struct gtid_list *list, const struct gtid *like)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].domain == like->domain && list->items[i].server == like->server)
            return &list->items[i];
    return NULL;
}

bool gtid_find_errant(const struct gtid_list *state, const struct gtid_list *primary, uint32_t own,
                      struct gtid *errant_out)
{
    for (size_t i = 0; i < state->count; i++) {
        const struct gtid *item = &state->items[i], *other = find(primary, item);
        bool is_errant = other != NULL ? item->sequence > other->sequence
                                       : item->server == own ||
                                             item->sequence > gtid_last(primary, item->domain);
        if (is_errant) {
            *errant_out = *item;
            return true;
        }
    }
    return false;
}

void gtid_format(const struct gtid *gtid, char out[GTID_TEXT_SIZE])
{
    snprintf(out, GTID_TEXT_SIZE, "%u-%u-%llu", gtid->domain, gtid->server,
             (unsigned long long)gtid->sequence);
}

void gtid_list_format(const struct gtid_list *list, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < list->count && at < size; i++) {
        char one[GTID_TEXT_SIZE];
        gtid_format(&list->items[i], one);
        at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? "," : "", one);
    }
}
