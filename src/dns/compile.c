/*
 * Builds the wire form of a node's answers, once per generation: follows CNAMEs inside the zone,
 * adds the SOA to negative answers and addresses to NS, MX and SRV, and compresses names against
 * the question and against what was written before.
 */
#include "core/buffer.h"
#include "core/memory.h"
#include "dns/zone.h"

enum {
    CHAIN_LIMIT = 8, /* CNAMEs followed; more is a loop or a mistake */
    KNOWN_LIMIT = 64,
    EXTRA_LIMIT = 32,
    POINTER_LIMIT = 1024,
    POINTER_REACH = 0x4000 - DNS_NAME_LIMIT, /* room for delta: 14 bits of offset */
    CLASS_IN = 1,
    TAIL_LIMIT = 60000, /* leaves room for header, question and OPT in a message */
};

struct writer {
    const struct dns_zone *zone;
    struct buffer out;
    size_t base; /* offset of the tail in the message when the node's own name is asked for */
    struct known {
        uint8_t wire[DNS_NAME_LIMIT];
        uint8_t len;
        uint16_t offset;
    } known[KNOWN_LIMIT];
    size_t known_count;
    uint16_t pointers[POINTER_LIMIT];
    size_t pointer_count;
    const struct dns_name *extra[EXTRA_LIMIT]; /* targets whose addresses are wanted */
    size_t extra_count;
    uint16_t counts[3];
};

enum { SECTION_ANSWER, SECTION_AUTHORITY, SECTION_ADDITIONAL };

static void learn(struct writer *writer, const uint8_t *wire, size_t len, size_t offset)
{
    if (writer->known_count == KNOWN_LIMIT || offset >= POINTER_REACH || len <= 1)
        return;
    struct known *known = &writer->known[writer->known_count++];
    memcpy(known->wire, wire, len);
    known->len = (uint8_t)len;
    known->offset = (uint16_t)offset;
}

static const struct known *find_known(const struct writer *writer, const uint8_t *wire, size_t len)
{
    for (size_t i = 0; i < writer->known_count; i++)
        if (writer->known[i].len == len && memcmp(writer->known[i].wire, wire, len) == 0)
            return &writer->known[i];
    return NULL;
}

static void write_name(struct writer *writer, const struct dns_name *name)
{
    for (size_t at = 0; at < name->len; at += name->wire[at] + (size_t)1) {
        size_t left = name->len - at;
        const struct known *known = find_known(writer, name->wire + at, left);
        if (known != NULL && writer->pointer_count < POINTER_LIMIT) {
            writer->pointers[writer->pointer_count++] = (uint16_t)writer->out.len;
            buffer_append_u16(&writer->out, (uint16_t)(0xc000 | known->offset));
            return;
        }
        learn(writer, name->wire + at, left, writer->base + writer->out.len);
        size_t label = name->wire[at] + (size_t)1;
        buffer_append(&writer->out, text_from((const char *)name->wire + at, label));
    }
}

static void write_record(struct writer *writer, int section, const struct dns_name *owner,
                         uint16_t type, uint32_t ttl, const struct dns_data *data)
{
    struct buffer *out = &writer->out;
    write_name(writer, owner);
    buffer_append_u16(out, type);
    buffer_append_u16(out, CLASS_IN);
    buffer_append_u32(out, ttl);
    size_t length_at = out->len;
    buffer_append_u16(out, 0);
    buffer_append(out, data->head);
    for (size_t i = 0; i < COUNT(data->names); i++)
        if (data->names[i] != NULL && type == DNS_TYPE_SRV) /* not compressed: RFC 2782 */
            buffer_append(out, dns_name_text(data->names[i]));
        else if (data->names[i] != NULL)
            write_name(writer, data->names[i]);
    buffer_append(out, data->tail);
    writer->counts[section]++;
    if (out->failed)
        return;
    size_t len = out->len - length_at - 2;
    out->data[length_at] = (char)(len >> 8);
    out->data[length_at + 1] = (char)len;
}

static void want_addresses(struct writer *writer, const struct dns_name *name)
{
    for (size_t i = 0; i < writer->extra_count; i++)
        if (dns_name_equal(writer->extra[i], name))
            return;
    if (writer->extra_count < EXTRA_LIMIT)
        writer->extra[writer->extra_count++] = name;
}

static void write_set(struct writer *writer, int section, const struct dns_name *owner,
                      const struct dns_set *set)
{
    for (const struct dns_record *record = set->records; record != NULL; record = record->next) {
        write_record(writer, section, owner, set->type, set->ttl, &record->data);
        bool leads_on =
            set->type == DNS_TYPE_NS || set->type == DNS_TYPE_MX || set->type == DNS_TYPE_SRV;
        if (leads_on && record->data.names[0] != NULL)
            want_addresses(writer, record->data.names[0]);
    }
}

static void write_additional(struct writer *writer, bool with_glue)
{
    static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
    for (size_t i = 0; i < writer->extra_count; i++) {
        const struct dns_name *name = writer->extra[i];
        const struct dns_node *node = dns_zone_find(writer->zone, dns_name_text(name));
        if (node == NULL || (!with_glue && dns_zone_is_delegated(writer->zone, name)))
            continue;
        for (size_t j = 0; j < COUNT(types); j++) {
            const struct dns_set *set = dns_node_set(node, types[j]);
            if (set != NULL)
                write_set(writer, SECTION_ADDITIONAL, name, set);
        }
    }
}

/* How long "there is no such thing" may be remembered: the smaller of the SOA's own TTL and its
 * last field (RFC 2308 5), which is the zone's TTL. */
static void write_negative(struct writer *writer)
{
    const struct dns_node *apex = writer->zone->apex_node;
    write_set(writer, SECTION_AUTHORITY, &apex->name, dns_node_set(apex, DNS_TYPE_SOA));
}

/* The node that answers for a name in the zone. */
static const struct dns_node *find_node(const struct dns_zone *zone, const struct dns_name *name)
{
    const struct dns_node *node = dns_zone_find(zone, dns_name_text(name));
    return node != NULL || !dns_name_is_below(name, &zone->apex)
               ? node
               : dns_zone_find_wildcard(zone, name);
}

/* Answers for a type (NONE: one that exists nowhere) asked at a node; returns the rcode. */
static enum dns_rcode write_answer(struct writer *writer, const struct dns_node *node,
                                   uint16_t type)
{
    const struct dns_name *owner = &node->name;
    for (size_t hops = 0; hops < CHAIN_LIMIT; hops++) {
        const struct dns_set *set = type != DNS_TYPE_NONE ? dns_node_set(node, type) : NULL;
        const struct dns_set *alias = dns_node_set(node, DNS_TYPE_CNAME);
        if (set != NULL) {
            write_set(writer, SECTION_ANSWER, owner, set);
            return DNS_NOERROR;
        }
        if (alias == NULL) {
            write_negative(writer);
            return DNS_NOERROR;
        }
        write_set(writer, SECTION_ANSWER, owner, alias);
        owner = alias->records->data.names[0];
        if (!dns_name_is_below(owner, &writer->zone->apex) ||
            dns_zone_is_delegated(writer->zone, owner))
            return DNS_NOERROR; /* the resolver goes on from there */
        node = find_node(writer->zone, owner);
        if (node == NULL) {
            write_negative(writer);
            return DNS_NXDOMAIN; /* the last name's (RFC 6604 3) */
        }
    }
    return DNS_NOERROR;
}

static void writer_start(struct writer *writer, const struct dns_zone *zone,
                         const struct dns_node *node)
{
    buffer_clear(&writer->out);
    writer->zone = zone;
    writer->base = DNS_HEADER_SIZE + node->name.len + (size_t)DNS_QUESTION_TAIL;
    writer->known_count = writer->pointer_count = writer->extra_count = 0;
    memset(writer->counts, 0, sizeof(writer->counts));
    for (size_t at = 0; node->name.wire[at] != 0; at += node->name.wire[at] + (size_t)1)
        learn(writer, node->name.wire + at, node->name.len - at, DNS_HEADER_SIZE + at);
}

static enum err writer_end(struct writer *writer, size_t needed_len, enum dns_rcode rcode,
                           bool is_authoritative, struct dns_tail *tail_out, struct why *why)
{
    struct arena *arena = writer->zone->arena;
    size_t pointer_bytes = writer->pointer_count * sizeof(uint16_t);
    struct text bytes = arena_copy(arena, buffer_text(&writer->out));
    uint16_t *pointers = arena_alloc(arena, pointer_bytes + sizeof(uint16_t));
    if (writer->out.failed || bytes.data == NULL || pointers == NULL)
        return fail(why, ERR_LIMIT, "a name has more records than fit in one answer");
    memcpy(pointers, writer->pointers, pointer_bytes);
    *tail_out = (struct dns_tail){ .data = (const uint8_t *)bytes.data,
                                   .len = (uint16_t)bytes.len,
                                   .needed_len = (uint16_t)needed_len,
                                   .pointers = pointers,
                                   .pointer_count = (uint16_t)writer->pointer_count,
                                   .rcode = (uint8_t)rcode,
                                   .is_authoritative = is_authoritative };
    memcpy(tail_out->counts, writer->counts, sizeof(writer->counts));
    return OK;
}

static enum err compile_answer(struct writer *writer, const struct dns_zone *zone,
                               const struct dns_node *node, uint16_t type,
                               struct dns_tail *tail_out, struct why *why)
{
    writer_start(writer, zone, node);
    enum dns_rcode rcode = write_answer(writer, node, type);
    size_t needed_len = writer->out.len;
    write_additional(writer, false);
    return writer_end(writer, needed_len, rcode, true, tail_out, why);
}

static enum err compile_referral(struct writer *writer, const struct dns_zone *zone,
                                 struct dns_node *node, struct why *why)
{
    writer_start(writer, zone, node);
    write_set(writer, SECTION_AUTHORITY, &node->name, dns_node_set(node, DNS_TYPE_NS));
    write_additional(writer, true);
    /* glue is needed: without it the delegation may be unusable (RFC 9471) */
    return writer_end(writer, writer->out.len, DNS_NOERROR, false, &node->referral, why);
}

/* Where the CNAMEs of a node lead, inside the zone. */
static const struct dns_node *chain_end(const struct dns_zone *zone, const struct dns_node *node)
{
    for (size_t hops = 0; hops < CHAIN_LIMIT; hops++) {
        const struct dns_set *alias = dns_node_set(node, DNS_TYPE_CNAME);
        const struct dns_node *target =
            alias != NULL ? find_node(zone, alias->records->data.names[0]) : NULL;
        if (target == NULL)
            break;
        node = target;
    }
    return node;
}

static enum err compile_types(struct writer *writer, const struct dns_zone *zone,
                              struct dns_node *node, struct why *why)
{
    const struct dns_node *end = chain_end(zone, node);
    const struct dns_set *lists[] = { node->sets, end != node ? end->sets : NULL };
    size_t count = 0;
    for (size_t i = 0; i < COUNT(lists); i++)
        for (const struct dns_set *set = lists[i]; set != NULL; set = set->next)
            count++;
    node->answers = arena_alloc(zone->arena, (count + 1) * sizeof(*node->answers));
    if (node->answers == NULL)
        return fail(why, ERR_LIMIT, "the zone is too large");
    for (size_t i = 0; i < COUNT(lists); i++)
        for (const struct dns_set *set = lists[i]; set != NULL; set = set->next) {
            struct dns_answer_of *answer = &node->answers[node->answer_count];
            answer->type = set->type;
            enum err err = compile_answer(writer, zone, node, set->type, &answer->tail, why);
            if (err != OK)
                return err;
            node->answer_count++;
        }
    return OK;
}

enum err dns_node_compile(const struct dns_zone *zone, struct dns_node *node, struct why *why)
{
    struct writer *writer = NEW(struct writer);
    writer->out = buffer_of(TAIL_LIMIT);
    enum err err = compile_types(writer, zone, node, why);
    if (err == OK)
        err = compile_answer(writer, zone, node, DNS_TYPE_NONE, &node->other, why);
    if (err == OK && node->is_cut)
        err = compile_referral(writer, zone, node, why);
    buffer_done(&writer->out);
    memory_free(writer);
    const struct dns_set *first = node->sets;
    node->any = node->other;
    for (size_t i = 0; i < node->answer_count; i++)
        if (first != NULL && node->answers[i].type == first->type) {
            node->any = node->answers[i].tail;
            break;
        }
    return err;
}
