/*
 * The zone as a hash table of names with their sets of records: adding, looking up, and the checks
 * that make every answer well defined before the first query.
 */
#include "dns/zone.h"

enum { ARENA_LIMIT = 256 << 20, FIRST_TABLE_SIZE = 64 };

struct dns_zone *dns_zone_new(const struct dns_name *apex, uint32_t ttl, uint32_t serial)
{
    struct arena *arena = arena_new(ARENA_LIMIT, 16384);
    struct dns_zone *zone = ARENA_NEW(arena, struct dns_zone);
    zone->arena = arena;
    zone->apex = *apex;
    zone->ttl = ttl;
    zone->serial = serial;
    return zone;
}

void dns_zone_free(struct dns_zone *zone)
{
    if (zone != NULL)
        arena_free(zone->arena);
}

/* ---- the table ---- */

static struct dns_node **slot_of(const struct dns_zone *zone, struct text wire, uint32_t hash)
{
    size_t mask = zone->table_size - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        struct dns_node *node = zone->table[at];
        if (node == NULL || (node->hash == hash && text_equal(dns_name_text(&node->name), wire)))
            return &zone->table[at];
    }
}

struct dns_node *dns_zone_find(const struct dns_zone *zone, struct text wire)
{
    return zone->table_size > 0 ? *slot_of(zone, wire, text_hash(wire)) : NULL;
}

struct dns_node *dns_zone_find_wildcard(const struct dns_zone *zone, const struct dns_name *name)
{
    struct dns_name above = *name;
    if (!zone->has_wildcards)
        return NULL;
    do
        above = dns_name_parent(&above);
    while (above.len > zone->apex.len && dns_zone_find(zone, dns_name_text(&above)) == NULL);
    /* the name asked for has a label more than `above`, so this one fits too */
    struct dns_name wildcard = { .wire = { 1, '*' }, .len = (uint8_t)(above.len + 2) };
    memcpy(wildcard.wire + 2, above.wire, above.len);
    return dns_zone_find(zone, dns_name_text(&wildcard));
}

static bool grow(struct dns_zone *zone)
{
    struct dns_zone bigger = *zone;
    bigger.table_size = zone->table_size > 0 ? zone->table_size * 2 : FIRST_TABLE_SIZE;
    bigger.table = arena_alloc(zone->arena, bigger.table_size * sizeof(*bigger.table));
    if (bigger.table == NULL)
        return false;
    for (size_t i = 0; i < zone->table_size; i++)
        if (zone->table[i] != NULL)
            *slot_of(&bigger, dns_name_text(&zone->table[i]->name), zone->table[i]->hash) =
                zone->table[i];
    *zone = bigger;
    return true;
}

static struct dns_node *node_make(struct dns_zone *zone, const struct dns_name *name)
{
    struct text wire = dns_name_text(name);
    struct dns_node *node = dns_zone_find(zone, wire);
    if (node != NULL)
        return node;
    if (zone->node_count * 2 >= zone->table_size && !grow(zone))
        return NULL;
    node = ARENA_NEW(zone->arena, struct dns_node);
    if (node == NULL)
        return NULL;
    node->name = *name;
    node->hash = text_hash(wire);
    *slot_of(zone, wire, node->hash) = node;
    zone->node_count++;
    return node;
}

/* The node and those between it and the apex, which exist without records (RFC 8020). */
static struct dns_node *node_make_all(struct dns_zone *zone, const struct dns_name *name)
{
    struct dns_node *node = node_make(zone, name);
    struct dns_name parent = *name;
    while (node != NULL && !dns_name_equal(&parent, &zone->apex)) {
        parent = dns_name_parent(&parent);
        if (node_make(zone, &parent) == NULL)
            return NULL;
    }
    return node;
}

/* ---- records ---- */

const struct dns_set *dns_node_set(const struct dns_node *node, uint16_t type)
{
    for (const struct dns_set *set = node->sets; set != NULL; set = set->next)
        if (set->type == type)
            return set;
    return NULL;
}

static bool data_equal(const struct dns_data *a, const struct dns_data *b)
{
    for (size_t i = 0; i < COUNT(a->names); i++)
        if ((a->names[i] == NULL) != (b->names[i] == NULL) ||
            (a->names[i] != NULL && !dns_name_equal(a->names[i], b->names[i])))
            return false;
    return text_equal(a->head, b->head) && text_equal(a->tail, b->tail);
}

static struct dns_set *set_make(struct dns_zone *zone, struct dns_node *node, uint16_t type,
                                uint32_t ttl)
{
    struct dns_set **end = &node->sets;
    while (*end != NULL && (*end)->type != type)
        end = &(*end)->next;
    if (*end == NULL) {
        *end = ARENA_NEW(zone->arena, struct dns_set);
        if (*end == NULL)
            return NULL;
        (*end)->type = type;
        (*end)->ttl = ttl;
    }
    if (ttl < (*end)->ttl) /* one TTL per set (RFC 2181 5.2) */
        (*end)->ttl = ttl;
    return *end;
}

enum err dns_zone_add(struct dns_zone *zone, const struct dns_name *name, uint16_t type,
                      uint32_t ttl, const struct dns_data *data, struct why *why)
{
    if (!dns_name_is_below(name, &zone->apex))
        return fail(why, ERR_RANGE, "the name is not in this zone");
    struct dns_node *node = node_make_all(zone, name);
    struct dns_set *set = node != NULL ? set_make(zone, node, type, ttl) : NULL;
    if (set == NULL)
        return fail(why, ERR_LIMIT, "the zone is too large");
    struct dns_record **end = &set->records;
    for (; *end != NULL; end = &(*end)->next)
        if (data_equal(&(*end)->data, data))
            return OK;
    *end = ARENA_NEW(zone->arena, struct dns_record);
    if (*end == NULL)
        return fail(why, ERR_LIMIT, "the zone is too large");
    (*end)->data = *data;
    return OK;
}

/* ---- checks ---- */

bool dns_zone_is_delegated(const struct dns_zone *zone, const struct dns_name *name)
{
    struct dns_name at = *name;
    if (!zone->has_cuts)
        return false;
    while (at.len > zone->apex.len) {
        const struct dns_node *node = dns_zone_find(zone, dns_name_text(&at));
        if (node != NULL && node->is_cut)
            return true;
        at = dns_name_parent(&at);
    }
    return false;
}

static void name_to_print(const struct dns_name *name, char out[DNS_NAME_LIMIT + 1])
{
    size_t end = 0;
    for (size_t at = 0; name->wire[at] != 0; at += name->wire[at] + (size_t)1) {
        memcpy(out + end, name->wire + at + 1, name->wire[at]);
        end += name->wire[at];
        out[end++] = '.';
    }
    out[end > 0 ? end - 1 : 0] = '\0';
}

static enum err check_node(const struct dns_zone *zone, const struct dns_node *node,
                           struct why *why)
{
    char name[DNS_NAME_LIMIT + 1];
    const struct dns_set *alias = dns_node_set(node, DNS_TYPE_CNAME);
    name_to_print(&node->name, name);
    if (node->is_cut && name[0] == '*')
        return fail(why, ERR_RANGE, "%s: a wildcard cannot be delegated (RFC 4592 4.2)", name);
    if (alias == NULL)
        return OK;
    if (node == zone->apex_node)
        return fail(why, ERR_RANGE,
                    "%s: the zone's own name cannot have a CNAME (RFC 1912 2.4); give it A and "
                    "AAAA records",
                    name);
    if (node->sets->next != NULL)
        return fail(why, ERR_RANGE, "%s: a name with a CNAME can have no other records", name);
    if (alias->records->next != NULL)
        return fail(why, ERR_RANGE, "%s: a name can have only one CNAME", name);
    return OK;
}

enum err dns_zone_finish(struct dns_zone *zone, struct why *why)
{
    zone->apex_node = dns_zone_find(zone, dns_name_text(&zone->apex));
    if (zone->apex_node == NULL || dns_node_set(zone->apex_node, DNS_TYPE_SOA) == NULL)
        return fail(why, ERR_MISSING, "the zone has no SOA record");
    for (size_t i = 0; i < zone->table_size; i++) {
        struct dns_node *node = zone->table[i];
        if (node == NULL)
            continue;
        node->is_cut = node != zone->apex_node && dns_node_set(node, DNS_TYPE_NS) != NULL;
        zone->has_cuts = zone->has_cuts || node->is_cut;
        zone->has_wildcards =
            zone->has_wildcards || (node->name.wire[0] == 1 && node->name.wire[1] == '*');
        enum err err = check_node(zone, node, why);
        if (err != OK)
            return err;
    }
    for (size_t i = 0; i < zone->table_size; i++) {
        enum err err = zone->table[i] != NULL ? dns_node_compile(zone, zone->table[i], why) : OK;
        if (err != OK)
            return err;
    }
    return OK;
}
