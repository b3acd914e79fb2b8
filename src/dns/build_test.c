/* Names, values of records, and what a site's zone must refuse. */
#include "dns/build.h"

#include "core/test.h"
#include "dns/record.h"

TEST(dns_names_are_checked)
{
    static const struct {
        const char *text;
        enum err err;
        size_t len;
    } cases[] = {
        { "www", OK, 16 },
        { "WWW.", OK, 16 },
        { "a.b", OK, 16 },
        { "_sip._tcp", OK, 22 },
        { "*", OK, 14 },
        { "*.a", OK, 16 },
        { "a.*", ERR_SYNTAX, 0 },
        { "", ERR_SYNTAX, 0 },
        { ".", ERR_SYNTAX, 0 },
        { "a..b", ERR_SYNTAX, 0 },
        { "a b", ERR_SYNTAX, 0 },
        { "\xff", ERR_SYNTAX, 0 },
        { "0123456789012345678901234567890123456789012345678901234567890123", ERR_LIMIT, 0 },
    };
    struct dns_name apex, name;
    REQUIRE(dns_name_parse(T("foobar.com"), NULL, &apex, NULL) == OK, "apex");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct why why = { "" };
        enum err err = dns_name_parse(text_of(cases[i].text), &apex, &name, &why);
        CHECK(err == cases[i].err, "'%s': %s %s", cases[i].text, err_text(err), why.text);
        if (err == OK)
            CHECK(name.len == cases[i].len && dns_name_is_below(&name, &apex), "'%s': %u",
                  cases[i].text, name.len);
    }
    struct dns_name other;
    REQUIRE(dns_name_parse(T("xfoobar.com"), NULL, &other, NULL) == OK, "other");
    CHECK(!dns_name_is_below(&other, &apex), "only whole labels count");
    CHECK(!dns_name_is_below(&apex, &name), "above is not below");
}

static enum err parse(const struct dns_zone *zone, const char *type, const char *value,
                      struct dns_data *data, struct why *why)
{
    return dns_data_parse(zone, dns_type_of(text_of(type)), text_of(value), data, why);
}

TEST(dns_values_are_read)
{
    static const struct {
        const char *type, *value;
        enum err err;
        struct text head;
        const char *name;
    } cases[] = {
        { "A", "192.0.2.1", OK, T("\xc0\0\2\1"), NULL },
        { "A", "2001:db8::1", ERR_SYNTAX, T(""), NULL },
        { "A", "192.0.2.1 192.0.2.2", ERR_SYNTAX, T(""), NULL },
        { "AAAA", "::1", OK, T("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), NULL },
        { "CNAME", "www", OK, T(""), "www.foobar.com" },
        { "CNAME", "@", OK, T(""), "foobar.com" },
        { "CNAME", "a.example.net", OK, T(""), "a.example.net" },
        { "NS", "ns.example.net.", OK, T(""), "ns.example.net" },
        { "MX", "10 mail", OK, T("\0\x0a"), "mail.foobar.com" },
        { "MX", "mail", ERR_SYNTAX, T(""), NULL },
        { "MX", "70000 mail", ERR_SYNTAX, T(""), NULL },
        { "SRV", "1 2 5060 sip.example.net", OK, T("\0\1\0\2\x13\xc4"), "sip.example.net" },
        { "SRV", "1 2 sip", ERR_SYNTAX, T(""), NULL },
        { "TXT", "plain text", OK, T("\x0aplain text"), NULL },
        { "TXT", "\"one\" \"t\\\"wo\"", OK, T("\3one\4t\"wo"), NULL },
        { "TXT", "\"open", ERR_SYNTAX, T(""), NULL },
        { "TXT", "", OK, T("\0"), NULL },
        { "CAA", "0 issue \"ca.example\"", OK, T("\0\5issueca.example"), NULL },
        { "CAA", "0", ERR_SYNTAX, T(""), NULL },
        { "CAA", "256 issue \"x\"", ERR_SYNTAX, T(""), NULL },
        { "PTR", "x", ERR_UNSUPPORTED, T(""), NULL },
    };
    struct dns_name apex, name;
    REQUIRE(dns_name_parse(T("foobar.com"), NULL, &apex, NULL) == OK, "apex");
    struct dns_zone *zone = dns_zone_new(&apex, 60, 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dns_data data = { .names = { NULL, NULL } };
        struct why why = { "" };
        enum err err = parse(zone, cases[i].type, cases[i].value, &data, &why);
        CHECK(err == cases[i].err, "%s %s: %s %s", cases[i].type, cases[i].value, err_text(err),
              why.text);
        if (err != OK || cases[i].err != OK)
            continue;
        CHECK(text_equal(data.head, cases[i].head), "%s %s", cases[i].type, cases[i].value);
        if (cases[i].name != NULL &&
            dns_name_parse(text_of(cases[i].name), NULL, &name, NULL) == OK)
            CHECK(data.names[0] != NULL && dns_name_equal(data.names[0], &name), "%s",
                  cases[i].value);
    }
    dns_zone_free(zone);
}

TEST(dns_long_text_is_cut_into_strings)
{
    char text[600];
    memset(text, 'x', sizeof(text));
    struct dns_name apex;
    struct dns_data data;
    REQUIRE(dns_name_parse(T("foobar.com"), NULL, &apex, NULL) == OK, "apex");
    struct dns_zone *zone = dns_zone_new(&apex, 60, 1);
    REQUIRE(dns_data_parse(zone, DNS_TYPE_TXT, text_from(text, sizeof(text)), &data, NULL) == OK,
            "parse");
    CHECK(data.head.len == 603 && (uint8_t)data.head.data[0] == 255 &&
              (uint8_t)data.head.data[256] == 255 && (uint8_t)data.head.data[512] == 90,
          "%zu bytes", data.head.len);
    dns_zone_free(zone);
}

/* For a message: what the buffer holds, as a string. */
static const char *words_of(struct buffer *buffer)
{
    buffer_append_byte(buffer, 0);
    return buffer->data != NULL ? buffer->data : "";
}

/* The mistake that the site file's check or the zone itself finds; "" for a zone that can be. */
static void build(const char *records, struct why *why)
{
    struct buffer source = buffer_of(65536);
    struct site *site;
    struct site_mistakes mistakes = { .text = buffer_of(65536) };
    struct dns_zone *zone = NULL;
    buffer_print(&source, "site: www.foobar.com\nweb: { static: { /: . } }\ndns: { records: %s }\n",
                 records);
    why->text[0] = '\0';
    if (site_parse(buffer_text(&source), "/x/site.yaml", false, &site, &mistakes) != OK) {
        (void)fail(why, ERR_SYNTAX, "%s", words_of(&mistakes.text));
    } else {
        if (dns_zone_build(site, 1, &zone, why) == OK)
            dns_zone_free(zone);
        site_free(site);
    }
    site_mistakes_done(&mistakes);
    buffer_done(&source);
}

TEST(dns_zones_that_cannot_be_are_refused)
{
    static const struct {
        const char *records;
        const char *says; /* NULL: it is fine */
    } cases[] = {
        { "[]", NULL },
        { "[{ name: \"@\", type: A, value: 192.0.2.9 }]", NULL },
        { "[{ name: \"*\", type: A, value: 192.0.2.9 }]", NULL },
        { "[{ name: \"@\", type: CNAME, value: cdn.example.net }]", "CNAME must be the only" },
        { "[{ name: a, type: CNAME, value: b.c }, { name: a, type: TXT, value: x }]",
          "CNAME must be the only" },
        { "[{ name: ns1, type: CNAME, value: b.c }]", NULL }, /* foolish, but ours to serve */
        { "[{ name: \"*\", type: NS, value: ns.example.net }]", "wildcard cannot be delegated" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct why why;
        build(cases[i].records, &why);
        if (cases[i].says == NULL)
            CHECK(why.text[0] == '\0', "%s: %s", cases[i].records, why.text);
        else
            CHECK(strstr(why.text, cases[i].says) != NULL, "%s: %s", cases[i].records, why.text);
    }
}

TEST(dns_zone_checks_aliases_itself)
{
    struct dns_name apex, a, b;
    struct why why;
    REQUIRE(dns_name_parse(T("foobar.com"), NULL, &apex, NULL) == OK &&
                dns_name_parse(T("a"), &apex, &a, NULL) == OK &&
                dns_name_parse(T("b"), &apex, &b, NULL) == OK,
            "names");
    const struct dns_data to_a = { .names = { &a, NULL } }, to_b = { .names = { &b, NULL } };
    const struct {
        const struct dns_name *name;
        uint16_t type;
        const char *says;
    } cases[] = {
        { &apex, DNS_TYPE_CNAME, "own name cannot have a CNAME" },
        { &a, DNS_TYPE_CNAME, "only one CNAME" },
        { &a, DNS_TYPE_TXT, "can have no other records" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dns_zone *zone = dns_zone_new(&apex, 60, 1);
        CHECK(dns_zone_finish(zone, &why) == ERR_MISSING, "no SOA");
        CHECK(dns_zone_add(zone, &apex, DNS_TYPE_SOA, 60, &to_a, &why) == OK &&
                  dns_zone_add(zone, &a, DNS_TYPE_CNAME, 60, &to_b, &why) == OK &&
                  dns_zone_add(zone, cases[i].name, cases[i].type, 60, &to_a, &why) == OK,
              "%s", why.text);
        CHECK(dns_zone_finish(zone, &why) != OK && strstr(why.text, cases[i].says) != NULL, "%s",
              why.text);
        dns_zone_free(zone);
    }
}
