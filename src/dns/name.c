/* Domain names: from text as people write it to wire form, and how they relate. */
#include "dns/name.h"

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static enum err add_label(struct dns_name *name, struct text label, struct why *why)
{
    if (label.len == 0)
        return fail(why, ERR_SYNTAX, "has an empty label (two dots in a row?)");
    if (label.len > DNS_LABEL_LIMIT)
        return fail(why, ERR_LIMIT, "label '%.*s' is longer than %d characters", FMT(label),
                    DNS_LABEL_LIMIT);
    bool is_wildcard = name->len == 0 && text_equal(label, T("*"));
    for (size_t i = 0; i < label.len; i++)
        if (!is_name_byte(label.data[i]) && !is_wildcard)
            return fail(why, ERR_SYNTAX, "'%.*s' may only have letters, digits, '-' and '_'",
                        FMT(label));
    if (name->len + 1 + label.len + 1 > DNS_NAME_LIMIT)
        return fail(why, ERR_LIMIT, "is longer than %d bytes", DNS_NAME_LIMIT);
    name->wire[name->len++] = (uint8_t)label.len;
    for (size_t i = 0; i < label.len; i++)
        name->wire[name->len++] = dns_lower((uint8_t)label.data[i]);
    return OK;
}

enum err dns_name_parse(struct text text, const struct dns_name *origin, struct dns_name *name_out,
                        struct why *why)
{
    static const struct dns_name root = { .len = 1 };
    struct dns_name name = { .len = 0 };
    if (origin == NULL)
        origin = &root;
    if (text_ends_with(text, T(".")))
        text = text_part(text, 0, text.len - 1);
    if (text.len == 0)
        return fail(why, ERR_SYNTAX, "is empty");
    while (text.data != NULL) {
        enum err err = add_label(&name, text_next(&text, '.'), why);
        if (err != OK)
            return err;
    }
    if (name.len + origin->len > DNS_NAME_LIMIT)
        return fail(why, ERR_LIMIT, "is longer than %d bytes", DNS_NAME_LIMIT);
    memcpy(name.wire + name.len, origin->wire, origin->len);
    name.len = (uint8_t)(name.len + origin->len);
    *name_out = name;
    return OK;
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
    return a->len == b->len && memcmp(a->wire, b->wire, a->len) == 0;
}

struct dns_name dns_name_parent(const struct dns_name *name)
{
    struct dns_name parent = { .len = 1 };
    size_t skip = name->wire[0] + (size_t)1;
    if (name->len > skip) {
        parent.len = (uint8_t)(name->len - skip);
        memcpy(parent.wire, name->wire + skip, parent.len);
    }
    return parent;
}

bool dns_name_is_below(const struct dns_name *name, const struct dns_name *origin)
{
    size_t at = 0;
    while (name->len - at > origin->len) /* only label borders count: xfoobar.com is not below */
        at += name->wire[at] + (size_t)1;
    return name->len - at == origin->len && memcmp(name->wire + at, origin->wire, origin->len) == 0;
}
