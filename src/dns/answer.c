/*
 * One query in, one answer out (RFC 1034 4.3.2, RFC 6891, RFC 8906).
 *
 *   header ok? ──► opcode? ──► question, other records, OPT ──► version? class? zone? ──► tail
 *
 * The question is copied back as it came, so the case of its letters is kept (0x20), and the tail
 * that was built with the zone is copied behind it.
 */
#include "dns/answer.h"

#include "core/reader.h"

enum {
    FLAG_QR = 0x8000,
    FLAG_AA = 0x0400,
    FLAG_TC = 0x0200,
    FLAG_RD = 0x0100,
    FLAG_CD = 0x0010,
    OPCODE_MASK = 0x7800,
    EDNS_DO = 0x8000,
    OPT_SIZE = 11,
    CLASS_IN = 1,
    TYPE_FIRST_META = 249, /* TKEY, TSIG, IXFR, AXFR, MAILB, MAILA; then ANY */
};

struct query {
    uint16_t id;
    uint16_t flags;
    uint16_t counts[4];
    struct text question;             /* as it came */
    struct dns_name name;             /* lower case */
    uint8_t labels[DNS_LABELS_LIMIT]; /* where each begins in name; the root is not one */
    size_t label_count;
    uint16_t type;
    uint16_t class;
    bool has_opt;
    uint16_t opt_size;
    uint8_t opt_version;
    bool wants_dnssec;
};

/* ---- reading ---- */

static bool read_question_name(struct reader *reader, struct query *query)
{
    for (;;) {
        uint8_t len = read_u8(reader);
        if (reader->bad || len > DNS_LABEL_LIMIT || query->name.len + len + 1 > DNS_NAME_LIMIT)
            return false; /* also a pointer: there is nothing before it to point to */
        if (len > 0)
            query->labels[query->label_count++] = (uint8_t)query->name.len;
        query->name.wire[query->name.len++] = len;
        struct text label = reader_take(reader, len);
        for (size_t i = 0; i < label.len; i++)
            query->name.wire[query->name.len++] = dns_lower((uint8_t)label.data[i]);
        if (len == 0)
            return true;
    }
}

static bool read_question(struct reader *reader, struct query *query)
{
    size_t start = reader->at;
    if (query->counts[0] != 1 || !read_question_name(reader, query))
        return false;
    query->type = read_u16(reader);
    query->class = read_u16(reader);
    query->question = text_from((const char *)reader->data + start, reader->at - start);
    return !reader->bad;
}

/* Only passed over: nothing is ever read through a pointer. */
static bool skip_name(struct reader *reader, bool *is_root_out)
{
    *is_root_out = true;
    for (size_t len = 0; len <= DNS_NAME_LIMIT;) {
        uint8_t label = read_u8(reader);
        if (reader->bad || label == 0)
            return !reader->bad;
        *is_root_out = false;
        if (label >= 0xc0) {
            read_u8(reader);
            return !reader->bad;
        }
        if (label > DNS_LABEL_LIMIT)
            return false;
        reader_take(reader, label);
        len += label + (size_t)1;
    }
    return false;
}

static bool options_are_whole(struct text options)
{
    struct reader reader = reader_of(options);
    while (reader_left(&reader) > 0 && !reader.bad) {
        read_u16(&reader); /* the code: none is known here (RFC 6891 6.1.2: ignore) */
        reader_take(&reader, read_u16(&reader));
    }
    return !reader.bad;
}

static bool read_record(struct reader *reader, bool is_additional, struct query *query)
{
    bool is_root;
    if (!skip_name(reader, &is_root))
        return false;
    uint16_t type = read_u16(reader);
    uint16_t class = read_u16(reader);
    uint32_t ttl = read_u32(reader);
    struct text data = reader_take(reader, read_u16(reader));
    if (reader->bad)
        return false;
    if (type != DNS_TYPE_OPT)
        return true;
    if (!is_root || !is_additional || query->has_opt || !options_are_whole(data))
        return false;
    query->has_opt = true;
    query->opt_size = class;
    query->opt_version = (uint8_t)(ttl >> 16);
    query->wants_dnssec = (ttl & EDNS_DO) != 0;
    return true;
}

static bool read_records(struct reader *reader, struct query *query)
{
    for (size_t section = 1; section < 4; section++)
        for (size_t i = 0; i < query->counts[section]; i++)
            if (!read_record(reader, section == 3, query))
                return false;
    return reader_left(reader) == 0;
}

/* ---- writing ---- */

static void put_u16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void write_header(uint8_t *out, const struct query *query, unsigned flags, unsigned rcode,
                         const uint16_t counts[4])
{
    /* RD and CD go back as they came (RFC 1035 4.1.1, RFC 4035 3.1.6) */
    unsigned kept = query->flags & (OPCODE_MASK | FLAG_RD | FLAG_CD);
    put_u16(out, query->id);
    put_u16(out + 2, FLAG_QR | kept | flags | (rcode & 15));
    for (size_t i = 0; i < 4; i++)
        put_u16(out + 4 + 2 * i, counts[i]);
}

static size_t write_opt(uint8_t *out, const struct query *query, unsigned rcode)
{
    memset(out, 0, OPT_SIZE);
    put_u16(out + 1, DNS_TYPE_OPT);
    put_u16(out + 3, DNS_UDP_LIMIT);
    out[5] = (uint8_t)(rcode >> 4);
    put_u16(out + 7, query->wants_dnssec ? EDNS_DO : 0); /* RFC 3225 3 */
    return OPT_SIZE;
}

/* An answer without records: header, question if it was read, OPT if it was asked for. */
static struct dns_reply write_error(const struct query *query, unsigned rcode, uint8_t *out)
{
    uint16_t counts[4] = { query->question.len > 0, 0, 0, query->has_opt };
    size_t len = DNS_HEADER_SIZE;
    write_header(out, query, 0, rcode, counts);
    if (query->question.len > 0)
        memcpy(out + len, query->question.data, query->question.len);
    len += query->question.len;
    if (query->has_opt)
        len += write_opt(out + len, query, rcode);
    return (struct dns_reply){ DNS_REJECTED, len };
}

/* What is written behind the question. */
struct choice {
    const struct dns_tail *tail;
    size_t delta;     /* how much longer the name asked for is than the one it was built for */
    bool is_wildcard; /* the name asked for stands in the place of the node's own */
    unsigned rcode;
};

/* Names in the tail lie delta bytes later than when it was built. */
static void shift_pointers(const struct choice *choice, uint8_t *start, size_t len)
{
    enum { TO_QUESTION = 0xc000 | DNS_HEADER_SIZE };
    for (size_t i = 0; choice->delta > 0 && i < choice->tail->pointer_count; i++) {
        size_t at = choice->tail->pointers[i];
        if (at + 2 > len)
            return;
        unsigned pointer = (unsigned)start[at] << 8 | start[at + 1];
        if (pointer != TO_QUESTION || !choice->is_wildcard)
            put_u16(start + at, pointer + (unsigned)choice->delta);
    }
}

static struct dns_reply write_choice(const struct query *query, const struct choice *choice,
                                     bool is_tcp, uint8_t *out)
{
    const struct dns_tail *tail = choice->tail;
    size_t limit = is_tcp ? DNS_TCP_LIMIT : DNS_PLAIN_LIMIT;
    if (!is_tcp && query->has_opt && query->opt_size > limit)
        limit = query->opt_size < DNS_UDP_LIMIT ? query->opt_size : DNS_UDP_LIMIT;
    size_t start = DNS_HEADER_SIZE + query->question.len;
    size_t room = limit - start - (query->has_opt ? OPT_SIZE : 0);
    size_t len = tail->len <= room ? tail->len : tail->needed_len <= room ? tail->needed_len : 0;
    bool is_cut = tail->needed_len > room;
    uint16_t counts[4] = { 1, is_cut ? 0 : tail->counts[0], is_cut ? 0 : tail->counts[1],
                           len == tail->len ? tail->counts[2] : 0 };
    counts[3] = (uint16_t)(counts[3] + query->has_opt);
    write_header(out, query, (tail->is_authoritative ? FLAG_AA : 0) | (is_cut ? FLAG_TC : 0),
                 choice->rcode, counts);
    memcpy(out + DNS_HEADER_SIZE, query->question.data, query->question.len);
    memcpy(out + start, tail->data, len);
    shift_pointers(choice, out + start, len);
    len += start;
    if (query->has_opt)
        len += write_opt(out + len, query, choice->rcode);
    return (struct dns_reply){ DNS_ANSWERED, len };
}

/* ---- deciding ---- */

static struct text name_from(const struct query *query, size_t label)
{
    size_t at = label < query->label_count ? query->labels[label] : query->name.len - 1;
    return text_from((const char *)query->name.wire + at, query->name.len - at);
}

/* Index of the label where the zone's name begins, -1 when the name is not in the zone. */
static ssize_t find_apex(const struct dns_zone *zone, const struct query *query)
{
    for (size_t i = query->label_count + 1; i-- > 0;) {
        struct text rest = name_from(query, i);
        if (rest.len >= zone->apex.len)
            return text_equal(rest, dns_name_text(&zone->apex)) ? (ssize_t)i : -1;
    }
    return -1;
}

/* The highest delegation at or above the name; *label_out is where its name begins. */
static const struct dns_node *find_cut(const struct dns_zone *zone, const struct query *query,
                                       size_t apex_label, size_t *label_out)
{
    for (size_t i = apex_label; zone->has_cuts && i-- > 0;) {
        const struct dns_node *node = dns_zone_find(zone, name_from(query, i));
        if (node != NULL && node->is_cut) {
            *label_out = i;
            return node;
        }
    }
    return NULL;
}

static const struct dns_tail *find_tail(const struct dns_node *node, uint16_t type)
{
    if (type == DNS_TYPE_ANY)
        return &node->any;
    for (size_t i = 0; i < node->answer_count; i++)
        if (node->answers[i].type == type)
            return &node->answers[i].tail;
    return &node->other;
}

static struct choice choose(const struct dns_zone *zone, const struct query *query,
                            size_t apex_label)
{
    size_t label = 0;
    const struct dns_node *cut = find_cut(zone, query, apex_label, &label);
    bool is_for_parent = cut != NULL && label == 0 && query->type == DNS_TYPE_DS;
    if (cut != NULL && !is_for_parent)
        return (struct choice){ &cut->referral, query->name.len - (size_t)cut->name.len, false,
                                DNS_NOERROR };
    const struct dns_node *node = dns_zone_find(zone, dns_name_text(&query->name));
    bool is_wildcard = node == NULL;
    if (is_wildcard)
        node = dns_zone_find_wildcard(zone, &query->name);
    if (node == NULL)
        return (struct choice){ &zone->apex_node->other, query->name.len - (size_t)zone->apex.len,
                                false, DNS_NXDOMAIN };
    const struct dns_tail *tail = find_tail(node, query->type);
    return (struct choice){ tail, query->name.len - (size_t)node->name.len, is_wildcard,
                            tail->rcode };
}

struct dns_reply dns_answer(const struct dns_zone *zone, struct text packet, bool is_tcp,
                            uint8_t *out)
{
    struct query query = { 0 };
    struct reader reader = reader_of(packet);
    query.id = read_u16(&reader);
    query.flags = read_u16(&reader);
    for (size_t i = 0; i < 4; i++)
        query.counts[i] = read_u16(&reader);
    if (reader.bad || (query.flags & FLAG_QR) != 0)
        return (struct dns_reply){ DNS_SILENCE, 0 };
    bool is_whole = read_question(&reader, &query) && read_records(&reader, &query);
    if (!is_whole) {
        query.question.len = 0;
        query.has_opt = false;
    }
    if ((query.flags & OPCODE_MASK) != 0)
        return write_error(&query, DNS_NOTIMP, out);
    if (!is_whole || query.type == DNS_TYPE_OPT)
        return write_error(&query, DNS_FORMERR, out);
    if (query.has_opt && query.opt_version > 0)
        return write_error(&query, DNS_BADVERS, out);
    ssize_t apex_label = find_apex(zone, &query);
    bool is_meta = query.type >= TYPE_FIRST_META && query.type < DNS_TYPE_ANY;
    if (query.class != CLASS_IN || apex_label < 0 || is_meta)
        return write_error(&query, DNS_REFUSED, out);
    struct choice choice = choose(zone, &query, (size_t)apex_label);
    return write_choice(&query, &choice, is_tcp, out);
}
