/*
 * Answers of a zone made from a site file: each is decoded in full and compared as text, over UDP
 * and TCP limits, with and without EDNS; and malformed packets cut at every byte.
 */
#include "dns/answer.h"

#include "core/buffer.h"
#include "core/reader.h"
#include "core/test.h"
#include "dns/build.h"
#include "dns/record.h"

#include <stdio.h>

static const char site_text[] =
    "site: www.foobar.com\n"
    "servers: { web-01: 198.51.100.11, web-02: 198.51.100.12, six: \"2001:db8::6\" }\n"
    "web: { on: [web-01, web-02], static: { /: . } }\n"
    "dns:\n"
    "  on: [web-01]\n"
    "  records:\n"
    "    - { name: shop, type: CNAME, value: www.foobar.com }\n"
    "    - { name: out, type: CNAME, value: other.example.net }\n"
    "    - { name: gone, type: CNAME, value: nothing.foobar.com }\n"
    "    - { name: chain, type: CNAME, value: shop.foobar.com }\n"
    "    - { name: loop1, type: CNAME, value: loop2.foobar.com }\n"
    "    - { name: loop2, type: CNAME, value: loop1.foobar.com }\n"
    "    - { name: \"@\", type: MX, value: \"10 six.foobar.com\" }\n"
    "    - { name: \"@\", type: TXT, value: \"v=spf1 -all\", ttl: 300s }\n"
    "    - { name: \"@\", type: CAA, value: '0 issue \"ca.example\"' }\n"
    "    - { name: _sip._tcp, type: SRV, value: \"1 2 5060 six.foobar.com\" }\n"
    "    - { name: sub, type: NS, value: ns.sub.foobar.com }\n"
    "    - { name: ns.sub, type: A, value: 192.0.2.53 }\n"
    "    - { name: \"*.wild\", type: A, value: 192.0.2.77 }\n"
    "    - { name: \"*.alias\", type: CNAME, value: www.foobar.com }\n"
    "    - { name: real.wild, type: TXT, value: here }\n";

/* For a message: what the buffer holds, as a string. */
static const char *words_of(struct buffer *buffer)
{
    buffer_append_byte(buffer, 0);
    return buffer->data != NULL ? buffer->data : "";
}

static struct dns_zone *zone_of(const char *source)
{
    struct site *site;
    struct site_mistakes mistakes = { .text = buffer_of(65536) };
    struct dns_zone *zone = NULL;
    struct why why = { "" };
    enum err err = site_parse(text_of(source), "/x/site.yaml", false, &site, &mistakes);
    if (CHECK(err == OK, "%s", words_of(&mistakes.text))) {
        CHECK(dns_zone_build(site, 7, &zone, &why) == OK, "%s", why.text);
        site_free(site);
    }
    site_mistakes_done(&mistakes);
    return zone;
}

/* ---- queries ---- */

struct ask {
    uint16_t id, flags, type, class;
    bool has_opt;
    uint8_t opt_version;
    uint16_t opt_size, opt_flags;
};

static size_t write_query(uint8_t *out, const char *name, const struct ask *ask)
{
    struct buffer packet = buffer_of(1024);
    struct text rest = text_of(name);
    buffer_append_u16(&packet, ask->id);
    buffer_append_u16(&packet, ask->flags);
    buffer_append_u16(&packet, 1);
    buffer_append_u32(&packet, 0);
    buffer_append_u16(&packet, ask->has_opt);
    while (rest.len > 0) {
        struct text label = text_next(&rest, '.');
        buffer_append_byte(&packet, (uint8_t)label.len);
        buffer_append(&packet, label);
    }
    buffer_append_byte(&packet, 0);
    buffer_append_u16(&packet, ask->type);
    buffer_append_u16(&packet, ask->class != 0 ? ask->class : 1);
    if (ask->has_opt) {
        buffer_append_byte(&packet, 0);
        buffer_append_u16(&packet, DNS_TYPE_OPT);
        buffer_append_u16(&packet, ask->opt_size);
        buffer_append_u16(&packet, ask->opt_version);
        buffer_append_u16(&packet, ask->opt_flags);
        buffer_append_u16(&packet, 8); /* a cookie (RFC 7873), which is ignored */
        buffer_append_u16(&packet, 10);
        buffer_append_u16(&packet, 4);
        buffer_append(&packet, T("1234"));
    }
    size_t len = packet.len;
    memcpy(out, packet.data, len);
    buffer_done(&packet);
    return len;
}

/* ---- answers as text ---- */

static void show_name(struct reader *reader, struct buffer *out)
{
    struct reader at = *reader;
    bool jumped = false;
    for (int hops = 0; hops < 200 && !at.bad; hops++) {
        uint8_t len = read_u8(&at);
        if (len >= 0xc0) {
            size_t target = (size_t)(len & 0x3f) << 8 | read_u8(&at);
            if (!jumped)
                reader->at = at.at;
            jumped = true;
            at.bad = at.bad || target >= at.at; /* pointers go back only */
            at.at = target < at.len ? target : at.len;
            continue;
        }
        struct text label = reader_take(&at, len);
        if (len == 0)
            break;
        buffer_append(out, label);
        buffer_append_byte(out, '.');
    }
    if (!jumped)
        reader->at = at.at;
    reader->bad = reader->bad || at.bad;
}

static void show_data(struct reader *reader, uint16_t type, struct text data, struct buffer *out)
{
    struct reader inside = *reader; /* names need the whole message */
    inside.at -= data.len;
    if (type == DNS_TYPE_MX || type == DNS_TYPE_SRV)
        for (size_t i = 0; i < (type == DNS_TYPE_MX ? 1 : 3); i++)
            buffer_print(out, "%u ", read_u16(&inside));
    if (type == DNS_TYPE_A || type == DNS_TYPE_AAAA || type == DNS_TYPE_TXT ||
        type == DNS_TYPE_CAA) {
        for (size_t i = 0; i < data.len; i++)
            buffer_print(out, "%02x", (uint8_t)data.data[i]);
        return;
    }
    show_name(&inside, out);
    if (type == DNS_TYPE_SOA) {
        buffer_append_byte(out, ' ');
        show_name(&inside, out);
        buffer_print(out, " %u", read_u32(&inside));
        reader_take(&inside, 16);
    }
    reader->bad = reader->bad || inside.bad || inside.at != reader->at;
}

static void show_record(struct reader *reader, struct buffer *out)
{
    struct buffer owner = buffer_of(4096);
    show_name(reader, &owner);
    uint16_t type = read_u16(reader);
    uint16_t class = read_u16(reader);
    uint32_t ttl = read_u32(reader);
    struct text data = reader_take(reader, read_u16(reader));
    if (type == DNS_TYPE_OPT) {
        buffer_print(out, " opt(%u,%08x)", class, ttl);
    } else {
        buffer_print(out, " %.*s/%u/%u=", FMT(buffer_text(&owner)), type, ttl);
        show_data(reader, type, data, out);
    }
    buffer_done(&owner);
}

/* "id rcode flags: question |answer |authority |additional" */
static void show(struct text packet, struct buffer *out)
{
    struct reader reader = reader_of(packet);
    uint16_t id = read_u16(&reader), flags = read_u16(&reader), counts[4];
    for (size_t i = 0; i < 4; i++)
        counts[i] = read_u16(&reader);
    buffer_print(out, "%u%s%s%s%s:", flags & 15, (flags & 0x0400) != 0 ? " aa" : "",
                 (flags & 0x0200) != 0 ? " tc" : "", (flags & 0x0100) != 0 ? " rd" : "",
                 (flags & 0x8000) != 0 && id == 4711 ? "" : " BAD");
    if (counts[0] > 0) {
        buffer_append_byte(out, ' ');
        show_name(&reader, out);
        reader_take(&reader, 4);
    }
    for (size_t section = 1; section < 4; section++) {
        buffer_append(out, T(" |"));
        for (size_t i = 0; i < counts[section]; i++)
            show_record(&reader, out);
    }
    if (reader.bad || reader_left(&reader) > 0)
        buffer_append(out, T(" MALFORMED"));
}

static void check_answer(const struct dns_zone *zone, const char *name, struct ask ask, bool is_tcp,
                         const char *expected)
{
    uint8_t query[1024], *out = (uint8_t[DNS_TCP_LIMIT]){ 0 };
    struct buffer text = buffer_of(1 << 20);
    ask.id = 4711;
    size_t len = write_query(query, name, &ask);
    struct dns_reply reply = dns_answer(zone, text_from((char *)query, len), is_tcp, out);
    show(text_from((char *)out, reply.len), &text);
    CHECK(text_equal(buffer_text(&text), text_of(expected)), "%s/%u\n  is '%.*s'\n not '%s'", name,
          ask.type, FMT(buffer_text(&text)), expected);
    buffer_done(&text);
}

#define SOA " foobar.com./6/60=ns1.foobar.com. hostmaster.foobar.com. 7"
#define WWW(owner) " " owner "/1/60=c633640b " owner "/1/60=c633640c"

TEST(dns_answers_from_the_zone)
{
    static const struct {
        const char *name;
        uint16_t type;
        const char *expected;
    } cases[] = {
        { "www.foobar.com", 1, "0 aa: www.foobar.com. |" WWW("www.foobar.com.") " | |" },
        { "wWw.FooBar.cOM", 1, "0 aa: wWw.FooBar.cOM. |" WWW("wWw.FooBar.cOM.") " | |" },
        { "foobar.com", 1, "0 aa: foobar.com. |" WWW("foobar.com.") " | |" },
        { "www.foobar.com", 28, "0 aa: www.foobar.com. | |" SOA " |" },
        { "six.foobar.com", 28,
          "0 aa: six.foobar.com. | six.foobar.com./28/60=20010db8000000000000000000000006 | |" },
        { "nothing.foobar.com", 1, "3 aa: nothing.foobar.com. | |" SOA " |" },
        { "a.b.c.www.foobar.com", 1, "3 aa: a.b.c.www.foobar.com. | |" SOA " |" },
        { "_tcp.foobar.com", 1, "0 aa: _tcp.foobar.com. | |" SOA " |" }, /* empty non-terminal */
        { "foobar.com", 6, "0 aa: foobar.com. |" SOA " | |" },
        { "foobar.com", 2,
          "0 aa: foobar.com. | foobar.com./2/60=ns1.foobar.com. | | "
          "ns1.foobar.com./1/60=c633640b" },
        { "foobar.com", 15,
          "0 aa: foobar.com. | foobar.com./15/60=10 six.foobar.com. | | "
          "six.foobar.com./28/60=20010db8000000000000000000000006" },
        { "foobar.com", 16, "0 aa: foobar.com. | foobar.com./16/300=0b763d73706631202d616c6c | |" },
        { "foobar.com", 257,
          "0 aa: foobar.com. | foobar.com./257/60=000569737375656361"
          "2e6578616d706c65 | |" },
        { "_sip._tcp.foobar.com", 33,
          "0 aa: _sip._tcp.foobar.com. | _sip._tcp.foobar.com./33/60=1 2 5060 six.foobar.com. | | "
          "six.foobar.com./28/60=20010db8000000000000000000000006" },
        { "web-02.foobar.com", 1,
          "0 aa: web-02.foobar.com. | web-02.foobar.com./1/60=c633640c | |" },
        { "foobar.com", 255, "0 aa: foobar.com. |" SOA " | |" }, /* ANY: one set (RFC 8482) */
        { "shop.foobar.com", 1,
          "0 aa: shop.foobar.com. | shop.foobar.com./5/60=www.foobar.com." WWW(
              "www.foobar.com.") " | |" },
        { "shop.foobar.com", 5,
          "0 aa: shop.foobar.com. | shop.foobar.com./5/60=www.foobar.com. | |" },
        { "shop.foobar.com", 255,
          "0 aa: shop.foobar.com. | shop.foobar.com./5/60=www.foobar.com. | |" },
        { "shop.foobar.com", 28,
          "0 aa: shop.foobar.com. | shop.foobar.com./5/60=www.foobar.com. |" SOA " |" },
        { "chain.foobar.com", 1,
          "0 aa: chain.foobar.com. | chain.foobar.com./5/60=shop.foobar.com. "
          "shop.foobar.com./5/60=www.foobar.com." WWW("www.foobar.com.") " | |" },
        { "out.foobar.com", 1,
          "0 aa: out.foobar.com. | out.foobar.com./5/60=other.example.net. | |" },
        { "gone.foobar.com", 1,
          "3 aa: gone.foobar.com. | gone.foobar.com./5/60=nothing.foobar.com. |" SOA " |" },
        { "sub.foobar.com", 1,
          "0: sub.foobar.com. | | sub.foobar.com./2/60=ns.sub.foobar.com. | "
          "ns.sub.foobar.com./1/60=c0000235" },
        { "a.b.sub.foobar.com", 1,
          "0: a.b.sub.foobar.com. | | sub.foobar.com./2/60=ns.sub.foobar.com. | "
          "ns.sub.foobar.com./1/60=c0000235" },
        { "ns.sub.foobar.com", 1,
          "0: ns.sub.foobar.com. | | sub.foobar.com./2/60=ns.sub.foobar.com. | "
          "ns.sub.foobar.com./1/60=c0000235" },
        { "sub.foobar.com", 43, "0 aa: sub.foobar.com. | |" SOA " |" }, /* DS: the parent's */
        { "x.wild.foobar.com", 1,
          "0 aa: x.wild.foobar.com. | x.wild.foobar.com./1/60=c000024d | |" },
        { "x.y.wild.foobar.com", 1,
          "0 aa: x.y.wild.foobar.com. | x.y.wild.foobar.com./1/60=c000024d | |" },
        { "x.wild.foobar.com", 28, "0 aa: x.wild.foobar.com. | |" SOA " |" },
        { "real.wild.foobar.com", 1, "0 aa: real.wild.foobar.com. | |" SOA " |" },
        { "x.real.wild.foobar.com", 1, "3 aa: x.real.wild.foobar.com. | |" SOA " |" },
        { "long-name.alias.foobar.com", 1,
          "0 aa: long-name.alias.foobar.com. | "
          "long-name.alias.foobar.com./5/60=www.foobar.com." WWW("www.foobar.com.") " | |" },
        { "example.com", 1, "5: example.com. | | |" },
        { "com", 1, "5: com. | | |" },
        { "", 2, "5:  | | |" },
        { "xfoobar.com", 1, "5: xfoobar.com. | | |" },
        { "www.foobar.com", 252, "5: www.foobar.com. | | |" }, /* AXFR */
        { "www.foobar.com", 41, "1: www.foobar.com. | | |" },
    };
    struct dns_zone *zone = zone_of(site_text);
    REQUIRE(zone != NULL, "the zone");
    for (size_t i = 0; i < COUNT(cases); i++)
        check_answer(zone, cases[i].name, (struct ask){ .type = cases[i].type }, false,
                     cases[i].expected);
    dns_zone_free(zone);
}

TEST(dns_flags_and_edns_follow_the_query)
{
    static const struct {
        const char *what;
        struct ask ask;
        const char *expected;
    } cases[] = {
        { "RD goes back, RA is never set",
          { .flags = 0x0100 },
          "0 aa rd: web-01.foobar.com. | "
          "web-01.foobar.com./1/60=c633640b | |" },
        { "AD, TC, AA, RA and Z do not go back",
          { .flags = 0x06e0 },
          "0 aa: web-01.foobar.com. | web-01.foobar.com./1/60=c633640b | |" },
        { "EDNS",
          { .has_opt = true, .opt_size = 4096 },
          "0 aa: web-01.foobar.com. | web-01.foobar.com./1/60=c633640b | | opt(1232,00000000)" },
        { "DO goes back, Z bits do not",
          { .has_opt = true, .opt_size = 4096, .opt_flags = 0xffff },
          "0 aa: web-01.foobar.com. | web-01.foobar.com./1/60=c633640b | | opt(1232,00008000)" },
        { "BADVERS",
          { .has_opt = true, .opt_size = 4096, .opt_version = 1 },
          "0: web-01.foobar.com. | | | opt(1232,01000000)" },
        { "CH is refused", { .class = 3 }, "5: web-01.foobar.com. | | |" },
        { "ANY class is refused", { .class = 255 }, "5: web-01.foobar.com. | | |" },
        { "NOTIFY", { .flags = 0x2000 }, "4: web-01.foobar.com. | | |" },
        { "UPDATE", { .flags = 0x2800 }, "4: web-01.foobar.com. | | |" },
        { "NOTIFY with EDNS",
          { .flags = 0x2000, .has_opt = true, .opt_size = 512 },
          "4: web-01.foobar.com. | | | opt(1232,00000000)" },
        { "status", { .flags = 0x1000 }, "4: web-01.foobar.com. | | |" },
    };
    struct dns_zone *zone = zone_of(site_text);
    REQUIRE(zone != NULL, "the zone");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ask ask = cases[i].ask;
        ask.type = 1;
        check_answer(zone, "web-01.foobar.com", ask, false, cases[i].expected);
    }
    dns_zone_free(zone);
}

TEST(dns_large_answers_are_cut_over_udp_only)
{
    struct buffer source = buffer_of(1 << 20), many = buffer_of(1 << 20);
    buffer_print(&source, "site: www.foobar.com\nweb: { static: { /: . } }\ndns:\n  records:\n");
    for (int i = 0; i < 100; i++)
        buffer_print(&source, "  - { name: big, type: A, value: 192.0.2.%d }\n", i);
    buffer_append_byte(&source, 0);
    struct dns_zone *zone = zone_of(source.data);
    REQUIRE(zone != NULL, "the zone");
    check_answer(zone, "big.foobar.com", (struct ask){ .type = 1 }, false,
                 "0 aa tc: big.foobar.com. | | |");
    check_answer(zone, "big.foobar.com",
                 (struct ask){ .type = 1, .has_opt = true, .opt_size = 65535 }, false,
                 "0 aa tc: big.foobar.com. | | | opt(1232,00000000)");
    buffer_append(&many, T("0 aa: big.foobar.com. |"));
    for (int i = 0; i < 100; i++)
        buffer_print(&many, " big.foobar.com./1/60=c00002%02x", i);
    buffer_append(&many, text_from(" | |", 5));
    check_answer(zone, "big.foobar.com", (struct ask){ .type = 1 }, true, many.data);
    dns_zone_free(zone);
    buffer_done(&source);
    buffer_done(&many);
}

TEST(dns_survives_every_cut_and_every_byte)
{
    struct dns_zone *zone = zone_of(site_text);
    REQUIRE(zone != NULL, "the zone");
    uint8_t query[1024], copy[1024], *out = (uint8_t[DNS_TCP_LIMIT]){ 0 };
    struct ask ask = { .id = 4711, .type = 1, .has_opt = true, .opt_size = 1232 };
    size_t whole = write_query(query, "www.foobar.com", &ask);
    for (size_t len = 0; len < whole; len++) {
        struct dns_reply reply = dns_answer(zone, text_from((char *)query, len), false, out);
        bool is_formerr = reply.outcome == DNS_REJECTED && reply.len == DNS_HEADER_SIZE &&
                          (out[3] & 15) == DNS_FORMERR;
        CHECK(len < DNS_HEADER_SIZE ? reply.outcome == DNS_SILENCE : is_formerr, "cut at %zu", len);
    }
    for (size_t at = 0; at < whole; at++)
        for (unsigned value = 0; value < 256; value++) {
            memcpy(copy, query, whole);
            copy[at] = (uint8_t)value;
            struct dns_reply reply = dns_answer(zone, text_from((char *)copy, whole), false, out);
            struct buffer text = buffer_of(65536);
            show(text_from((char *)out, reply.len), &text);
            if (reply.outcome != DNS_SILENCE)
                CHECK(text_find_text(buffer_text(&text), T("MALFORMED")) < 0, "byte %zu = %u: %.*s",
                      at, value, FMT(buffer_text(&text)));
            buffer_done(&text);
        }
    query[2] = 0x80;
    CHECK(dns_answer(zone, text_from((char *)query, whole), false, out).outcome == DNS_SILENCE,
          "an answer is never answered: no loops between servers");
    dns_zone_free(zone);
}

TEST(dns_malformed_queries_are_formerr)
{
    static const struct {
        const char *what;
        struct text packet;
    } cases[] = {
        { "no question", T("\0\1\0\0\0\0\0\0\0\0\0\0") },
        { "two questions", T("\0\1\0\0\0\2\0\0\0\0\0\0\0\0\1\0\1\0\0\1\0\1") },
        { "a pointer as name", T("\0\1\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1") },
        { "a label of 64", T("\0\1\0\0\0\1\0\0\0\0\0\0\x40\0\1\0\1") },
        { "bytes behind the end", T("\0\1\0\0\0\1\0\0\0\0\0\0\0\0\1\0\1x") },
        { "a record that is not there", T("\0\1\0\0\0\1\0\0\0\0\0\1\0\0\1\0\1") },
        { "OPT as answer", T("\0\1\0\0\0\1\0\1\0\0\0\0\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\0\0") },
        { "OPT with a name", T("\0\1\0\0\0\1\0\0\0\0\0\1\0\0\1\0\1\1a\0\0\x29\4\xd0\0\0\0\0\0\0") },
        { "two OPT", T("\0\1\0\0\0\1\0\0\0\0\0\2\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\0\0"
                       "\0\0\x29\4\xd0\0\0\0\0\0\0") },
        { "half an option",
          T("\0\1\0\0\0\1\0\0\0\0\0\1\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\0\3\0\x0a\0") },
    };
    struct dns_zone *zone = zone_of(site_text);
    REQUIRE(zone != NULL, "the zone");
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t out[DNS_UDP_LIMIT];
        struct dns_reply reply = dns_answer(zone, cases[i].packet, false, out);
        CHECK(reply.outcome == DNS_REJECTED && (out[3] & 15) == DNS_FORMERR, "%s", cases[i].what);
    }
    dns_zone_free(zone);
}
