/*
 * The section dns: the zone's time to live and extra records. Each type of record has a row with
 * the check of its value.
 */
#include "site/field.h"

#include <ctype.h>

/* ---- values of records; NULL or what is wrong, and what is allowed ---- */

static const char *check_a(struct text value)
{
    struct address address;
    if (address_parse_ip(value, 0, &address) == OK && address_family(&address) == AF_INET)
        return NULL;
    return "is not an IPv4 address; write one like 192.0.2.1";
}

static const char *check_aaaa(struct text value)
{
    struct address address;
    if (address_parse_ip(value, 0, &address) == OK && address_family(&address) == AF_INET6)
        return NULL;
    return "is not an IPv6 address; write one like 2001:db8::1";
}

static struct text without_dot(struct text host)
{
    bool has_dot = host.len > 1 && host.data[host.len - 1] == '.';
    return text_part(host, 0, has_dot ? host.len - 1 : host.len);
}

static const char *check_target(struct text value)
{
    if (host_problem(without_dot(value), false, true) == NULL)
        return NULL;
    return "is not a host name; write one like mail.example.com";
}

static const char *check_txt(struct text value)
{
    return value.len <= 4000 ? NULL : "is too long; a text may have 4000 characters";
}

/* Reads `count` numbers up to `max`, each followed by a space. */
static bool skip_numbers(struct text *rest, size_t count, uint64_t max)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t number;
        if (!text_to_uint(text_next(rest, ' '), max, &number))
            return false;
        *rest = text_trim(*rest);
    }
    return true;
}

static const char *check_mx(struct text value)
{
    struct text rest = value;
    if (skip_numbers(&rest, 1, 65535) && check_target(rest) == NULL)
        return NULL;
    return "is not PRIORITY HOST; write it like \"10 mail.example.com\"";
}

static const char *check_srv(struct text value)
{
    struct text rest = value;
    if (skip_numbers(&rest, 3, 65535) && check_target(rest) == NULL)
        return NULL;
    return "is not PRIORITY WEIGHT PORT HOST; write it like \"10 5 5060 sip.example.com\"";
}

static const char *check_caa(struct text value)
{
    static const char *const tags[] = { "issue", "issuewild", "iodef" };
    struct text rest = value;
    bool is_good = skip_numbers(&rest, 1, 255);
    struct text tag = text_next(&rest, ' ');
    struct text quoted = text_trim(rest);
    bool is_tag = false;
    for (size_t i = 0; i < COUNT(tags); i++)
        is_tag = is_tag || text_equal(tag, text_of(tags[i]));
    if (is_good && is_tag && quoted.len >= 2 && quoted.data[0] == '"' &&
        quoted.data[quoted.len - 1] == '"')
        return NULL;
    return "is not FLAGS TAG \"VALUE\"; write it like '0 issue \"letsencrypt.org\"'";
}

static const struct record_type {
    const char *name;
    const char *(*check)(struct text value);
} record_types[] = {
    { "A", check_a },   { "AAAA", check_aaaa }, { "CNAME", check_target }, { "TXT", check_txt },
    { "MX", check_mx }, { "CAA", check_caa },   { "NS", check_target },    { "SRV", check_srv },
};

/* ---- records ---- */

static void check_type(struct reading *reading, const struct node *node, const struct path *path,
                       struct text value)
{
    struct text names[COUNT(record_types)];
    char word[SHOWN_SIZE];
    for (size_t i = 0; i < COUNT(record_types); i++) {
        names[i] = text_of(record_types[i].name);
        if (text_equal(value, names[i]))
            return;
    }
    struct text near = nearest(value, names, COUNT(record_types));
    for (size_t i = 0; i < COUNT(record_types); i++) {
        if (text_equal_fold(value, names[i]))
            near = names[i];
    }
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a record type, did you mean '%.*s'?", shown(value, word),
                     FMT(near));
    else
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a record type; allowed: A AAAA CNAME TXT MX CAA NS SRV",
                     shown(value, word));
}

static void check_record_name(struct reading *reading, const struct node *node,
                              const struct path *path, struct text value)
{
    char word[SHOWN_SIZE];
    if (text_equal(value, T("@")) || text_equal(value, T("*")))
        return;
    uint64_t number;
    bool is_number = text_to_uint(value, UINT64_MAX, &number); /* a reverse zone's "10" is fine */
    const char *problem = is_number ? NULL : host_problem(value, true, true);
    if (problem != NULL)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' %s; names are relative to the domain, '@' is the domain itself",
                     shown(value, word), problem);
}

static const struct field record_rows[] = {
    { .name = "name",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_record, name, struct text),
      .is_required = true,
      .check = check_record_name,
      .form = "name",
      .example = "mail",
      .help = "Name relative to the domain; `@` is the domain itself, `*` any name." },
    { .name = "type",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_record, type, struct text),
      .is_required = true,
      .check = check_type,
      .form = "A, AAAA, CNAME, TXT, MX, CAA, NS or SRV",
      .example = "TXT",
      .help = "Type of the record." },
    { .name = "value",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_record, value, struct text),
      .is_required = true,
      .form = "text",
      .example = "\"v=spf1 -all\"",
      .help = "Value as in a zone file: `\"10 mail.example.com\"` for MX." },
    { .name = "ttl",
      .kind = FIELD_SECONDS,
      .offset = AT(struct site_record, ttl, int64_t),
      .otherwise = "`dns.ttl`",
      .min = 1,
      .max = 604800,
      .example = "1h",
      .help = "How long others may keep the answer." },
};
const struct fields record_fields = { record_rows, COUNT(record_rows) };

static void check_value(struct reading *reading, const struct node *node, const struct path *path,
                        const struct site_record *record)
{
    const struct node *value = node_find(node, T("value"));
    struct path at = { path, T("value"), 0 };
    char word[SHOWN_SIZE];
    if (value == NULL || text_is_empty(record->value))
        return;
    for (size_t i = 0; i < COUNT(record_types); i++) {
        if (!text_equal(record->type, text_of(record_types[i].name)))
            continue;
        const char *problem = record_types[i].check(record->value);
        if (problem != NULL)
            mistakes_add(reading->mistakes, value->place, &at, "'%s' %s",
                         shown(record->value, word), problem);
    }
}

static void read_records(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    struct site_dns *dns = section;
    if (!expect_kind(reading, node, path, NODE_LIST,
                     "a list, like - { name: mail, type: A, value: 192.0.2.1 }"))
        return;
    size_t index = 0;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path at = { path, { NULL, 0 }, index++ };
        struct site_record *record =
            append_item(reading->arena, &dns->records, &dns->record_count, sizeof(*record));
        *record = (struct site_record){ .place = entry->value->place };
        fields_read(reading, entry->value, &at, &record_fields, record);
        check_value(reading, entry->value, &at, record);
    }
}

static const struct field rows[] = {
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct site_dns, on, struct site_on),
      .otherwise = "every server",
      .help = "Servers that answer DNS queries." },
    { .name = "ttl",
      .kind = FIELD_SECONDS,
      .offset = AT(struct site_dns, ttl, int64_t),
      .preset = "60s",
      .min = 1,
      .max = 604800,
      .help = "How long others may keep an answer." },
    { .name = "records",
      .kind = FIELD_OWN,
      .read = read_records,
      .fields = &record_fields,
      .form = "list of records",
      .otherwise = "none",
      .schema = "{\"type\":\"array\",\"items\":%}",
      .example = "[ { name: \"@\", type: MX, value: \"10 mail.example.com\" } ]",
      .help = "Records beside those that Trilith makes for the site and its servers." },
};
const struct fields dns_fields = { rows, COUNT(rows) };
