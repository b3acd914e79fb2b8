/*
 * The data of a record from the text in the site file: one small function per type, in a table.
 */
#include "dns/record.h"

#include "core/address.h"
#include "core/buffer.h"

enum { STRING_LIMIT = 255, TEXT_LIMIT = 16384 };

struct parse {
    const struct dns_zone *zone;
    struct text rest; /* what is left of the value */
    struct buffer head;
    const struct dns_name *name;
    struct why *why;
};

static struct text next_word(struct parse *parse)
{
    parse->rest = text_trim(parse->rest);
    size_t len = 0;
    while (len < parse->rest.len && parse->rest.data[len] != ' ' && parse->rest.data[len] != '\t')
        len++;
    struct text word = text_part(parse->rest, 0, len);
    parse->rest = text_trim(text_skip(parse->rest, len));
    return word;
}

static enum err number(struct parse *parse, const char *what, uint64_t most)
{
    uint64_t value;
    struct text word = next_word(parse);
    if (!text_to_uint(word, most, &value))
        return fail(parse->why, ERR_SYNTAX, "%s must be a number from 0 to %llu, not '%.*s'", what,
                    (unsigned long long)most, FMT(word));
    if (most > 255)
        buffer_append_byte(&parse->head, (uint8_t)(value >> 8));
    buffer_append_byte(&parse->head, (uint8_t)value);
    return OK;
}

static enum err host(struct parse *parse)
{
    struct text word = next_word(parse);
    struct dns_name *name = ARENA_NEW(parse->zone->arena, struct dns_name);
    if (name == NULL)
        return fail(parse->why, ERR_LIMIT, "the zone is too large");
    parse->name = name;
    if (text_equal(word, T("@"))) {
        *name = parse->zone->apex;
        return OK;
    }
    bool is_full = text_find(word, '.') >= 0;
    enum err err = dns_name_parse(word, is_full ? NULL : &parse->zone->apex, name, parse->why);
    return err == OK ? OK : fail_in(parse->why, err, "host name '%.*s'", FMT(word));
}

static enum err parse_ip(struct parse *parse, int family, const char *example)
{
    struct address address;
    struct dns_data data = { 0 };
    struct text word = next_word(parse);
    if (address_parse_ip(word, 0, &address) != OK || address_family(&address) != family)
        return fail(parse->why, ERR_SYNTAX, "'%.*s' must be an %s", FMT(word), example);
    dns_data_from_address(parse->zone, &address, &data);
    parse->head.len = 0;
    buffer_append(&parse->head, data.head);
    return OK;
}

static enum err parse_a(struct parse *parse)
{
    return parse_ip(parse, AF_INET, "IPv4 address such as 192.0.2.1");
}

static enum err parse_aaaa(struct parse *parse)
{
    return parse_ip(parse, AF_INET6, "IPv6 address such as 2001:db8::1");
}

static enum err parse_mx(struct parse *parse)
{
    enum err err = number(parse, "the preference (first word)", 65535);
    return err == OK ? host(parse) : err;
}

static enum err parse_srv(struct parse *parse)
{
    static const char *const parts[] = { "the priority", "the weight", "the port" };
    for (size_t i = 0; i < COUNT(parts); i++) {
        enum err err = number(parse, parts[i], 65535);
        if (err != OK)
            return err;
    }
    return host(parse);
}

/* One <character-string> in quotes: \" and \\ stand for themselves. */
static enum err quoted(struct parse *parse, struct buffer *out)
{
    size_t at = 1;
    for (; at < parse->rest.len && parse->rest.data[at] != '"'; at++) {
        at += parse->rest.data[at] == '\\' && at + 1 < parse->rest.len;
        buffer_append_byte(out, (uint8_t)parse->rest.data[at]);
    }
    if (at >= parse->rest.len)
        return fail(parse->why, ERR_SYNTAX, "the closing '\"' is missing");
    parse->rest = text_trim(text_skip(parse->rest, at + 1));
    return OK;
}

/* Long text is cut into strings of 255 bytes, which readers put together again (RFC 7208 3.3). */
static void append_strings(struct buffer *out, struct text text)
{
    do {
        struct text part = text_part(text, 0, STRING_LIMIT);
        buffer_append_byte(out, (uint8_t)part.len);
        buffer_append(out, part);
        text = text_skip(text, part.len);
    } while (text.len > 0);
}

static enum err parse_txt(struct parse *parse)
{
    parse->rest = text_trim(parse->rest);
    if (parse->rest.len == 0 || parse->rest.data[0] != '"') {
        append_strings(&parse->head, parse->rest);
        parse->rest = (struct text){ NULL, 0 };
        return OK;
    }
    while (parse->rest.len > 0) {
        struct buffer string = buffer_of(TEXT_LIMIT);
        enum err err = parse->rest.data[0] == '"'
                           ? quoted(parse, &string)
                           : fail(parse->why, ERR_SYNTAX, "text after a quoted string");
        append_strings(&parse->head, buffer_text(&string));
        buffer_done(&string);
        if (err != OK)
            return err;
    }
    return OK;
}

static enum err parse_caa(struct parse *parse)
{
    enum err err = number(parse, "the flags (first word)", 255);
    if (err != OK)
        return err;
    struct text tag = next_word(parse);
    if (tag.len == 0 || tag.len > 15)
        return fail(parse->why, ERR_SYNTAX, "must look like: 0 issue \"letsencrypt.org\"");
    buffer_append_byte(&parse->head, (uint8_t)tag.len);
    buffer_append(&parse->head, tag);
    if (parse->rest.len > 0 && parse->rest.data[0] == '"')
        return quoted(parse, &parse->head);
    buffer_append(&parse->head, parse->rest);
    parse->rest = (struct text){ NULL, 0 };
    return OK;
}

static const struct type {
    const char *name;
    uint16_t type;
    enum err (*parse)(struct parse *parse);
} types[] = {
    { "A", DNS_TYPE_A, parse_a },       { "AAAA", DNS_TYPE_AAAA, parse_aaaa },
    { "CNAME", DNS_TYPE_CNAME, host },  { "NS", DNS_TYPE_NS, host },
    { "MX", DNS_TYPE_MX, parse_mx },    { "TXT", DNS_TYPE_TXT, parse_txt },
    { "CAA", DNS_TYPE_CAA, parse_caa }, { "SRV", DNS_TYPE_SRV, parse_srv },
};

uint16_t dns_type_of(struct text name)
{
    for (size_t i = 0; i < COUNT(types); i++)
        if (text_equal_fold(name, text_of(types[i].name)))
            return types[i].type;
    return 0;
}

static enum err run_parser(struct parse *parse, uint16_t type)
{
    for (size_t i = 0; i < COUNT(types); i++)
        if (types[i].type == type) {
            enum err err = types[i].parse(parse);
            if (err == OK && text_trim(parse->rest).len > 0)
                return fail(parse->why, ERR_SYNTAX, "'%.*s' is too much", FMT(parse->rest));
            return err;
        }
    return fail(parse->why, ERR_UNSUPPORTED, "this type of record is not supported");
}

enum err dns_data_parse(const struct dns_zone *zone, uint16_t type, struct text value,
                        struct dns_data *data_out, struct why *why)
{
    struct parse parse = { .zone = zone, .rest = value, .head = buffer_of(TEXT_LIMIT), .why = why };
    enum err err = run_parser(&parse, type);
    if (err == OK && parse.head.failed)
        err = fail(why, ERR_LIMIT, "is longer than %d bytes", TEXT_LIMIT);
    struct text head = arena_copy(zone->arena, buffer_text(&parse.head));
    if (err == OK && head.data == NULL)
        err = fail(why, ERR_LIMIT, "the zone is too large");
    buffer_done(&parse.head);
    if (err == OK)
        *data_out = (struct dns_data){ .head = head, .names = { parse.name, NULL } };
    return err;
}

uint16_t dns_data_from_address(const struct dns_zone *zone, const struct address *address,
                               struct dns_data *data_out)
{
    struct text bytes;
    int family = address_family(address);
    if (family == AF_INET)
        bytes = text_from((const char *)&address->u.v4.sin_addr, 4);
    else if (family == AF_INET6)
        bytes = text_from((const char *)&address->u.v6.sin6_addr, 16);
    else
        return 0;
    *data_out = (struct dns_data){ .head = arena_copy(zone->arena, bytes) };
    return family == AF_INET ? DNS_TYPE_A : DNS_TYPE_AAAA;
}
