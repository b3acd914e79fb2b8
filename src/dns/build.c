/*
 * The zone of a site. From the topology come SOA, NS (ns1, ns2... with their addresses), the
 * addresses of the site at its own name and at the zone's, and each server by name. The records of
 * the file are added; where the file gives addresses or an alias for a name, the derived ones for
 * that name are left out.
 */
#include "dns/build.h"

#include "core/buffer.h"
#include "dns/record.h"

#include <stdio.h>

enum {
    REFRESH_S = 3600,
    RETRY_S = 600,
    EXPIRE_S = 1209600, /* two weeks */
};

static bool is_address_type(uint16_t type)
{
    return type == DNS_TYPE_A || type == DNS_TYPE_AAAA || type == DNS_TYPE_CNAME;
}

static enum err name_of_record(const struct dns_zone *zone, const struct site_record *record,
                               struct dns_name *name_out, struct why *why)
{
    if (text_equal(record->name, T("@"))) {
        *name_out = zone->apex;
        return OK;
    }
    bool is_full = text_ends_with(record->name, T("."));
    enum err err = dns_name_parse(record->name, is_full ? NULL : &zone->apex, name_out, why);
    return err == OK ? OK : fail_in(why, err, "name '%.*s'", FMT(record->name));
}

/* Does the file itself say where that name is? */
static bool is_given(const struct dns_zone *zone, const struct site *site,
                     const struct dns_name *name)
{
    for (size_t i = 0; i < site->dns.record_count; i++) {
        struct dns_name other;
        if (is_address_type(dns_type_of(site->dns.records[i].type)) &&
            name_of_record(zone, &site->dns.records[i], &other, NULL) == OK &&
            dns_name_equal(name, &other))
            return true;
    }
    return false;
}

static enum err add_address(struct dns_zone *zone, const struct dns_name *name,
                            const struct address *address, struct why *why)
{
    struct dns_data data;
    uint16_t type = dns_data_from_address(zone, address, &data);
    if (type == 0)
        return OK;
    return dns_zone_add(zone, name, type, zone->ttl, &data, why);
}

/* The addresses of the servers in `on` (all when it is empty) at that name. */
static enum err add_servers(struct dns_zone *zone, const struct site *site,
                            const struct site_on *on, const struct dns_name *name, struct why *why)
{
    if (is_given(zone, site, name))
        return OK;
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        enum err err =
            site_is_on(site, on, server) ? add_address(zone, name, &server->address, why) : OK;
        if (err != OK)
            return err;
    }
    return OK;
}

static struct dns_name *name_below(struct dns_zone *zone, struct text label, struct why *why)
{
    struct dns_name *name = ARENA_NEW(zone->arena, struct dns_name);
    enum err err = name != NULL ? dns_name_parse(label, &zone->apex, name, why) : ERR_LIMIT;
    return err == OK ? name : NULL;
}

static enum err add_soa(struct dns_zone *zone, struct why *why)
{
    char bytes[20];
    const uint32_t numbers[] = { zone->serial, REFRESH_S, RETRY_S, EXPIRE_S, zone->ttl };
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(numbers[i / 4] >> (24 - 8 * (i % 4)));
    struct dns_data data = { .names = { name_below(zone, T("ns1"), why),
                                        name_below(zone, T("hostmaster"), why) },
                             .tail = arena_copy(zone->arena, text_from(bytes, sizeof(bytes))) };
    if (data.names[0] == NULL || data.names[1] == NULL)
        return ERR_LIMIT;
    return dns_zone_add(zone, &zone->apex, DNS_TYPE_SOA, zone->ttl, &data, why);
}

/* ns1... for each server that has the dns role, with its address. */
static enum err add_name_servers(struct dns_zone *zone, const struct site *site, struct why *why)
{
    size_t count = 0;
    for (size_t i = 0; i < site->server_count; i++) {
        char label[24];
        if (!site_is_on(site, &site->dns.on, &site->servers[i]))
            continue;
        snprintf(label, sizeof(label), "ns%zu", ++count);
        struct dns_name *name = name_below(zone, text_of(label), why);
        if (name == NULL)
            return ERR_LIMIT;
        struct dns_data data = { .names = { name } };
        enum err err = dns_zone_add(zone, &zone->apex, DNS_TYPE_NS, zone->ttl, &data, why);
        if (err == OK && !is_given(zone, site, name))
            err = add_address(zone, name, &site->servers[i].address, why);
        if (err != OK)
            return err;
    }
    return OK;
}

static enum err add_site(struct dns_zone *zone, const struct site *site, struct why *why)
{
    struct dns_name name;
    /* where browsers should go */
    const struct site_on *doors =
        site->balancer.is_present ? &site->balancer.pool.on : &site->web.on;
    enum err err = dns_name_parse(site->name, NULL, &name, why);
    if (err == OK)
        err = add_servers(zone, site, doors, &zone->apex, why);
    if (err == OK && !dns_name_equal(&name, &zone->apex))
        err = add_servers(zone, site, doors, &name, why);
    for (size_t i = 0; err == OK && site->has_servers && i < site->server_count; i++) {
        struct dns_name *server = name_below(zone, site->servers[i].name, why);
        if (server == NULL)
            return ERR_LIMIT;
        if (!is_given(zone, site, server))
            err = add_address(zone, server, &site->servers[i].address, why);
    }
    return err;
}

static enum err add_record(struct dns_zone *zone, const struct site_record *record, struct why *why)
{
    struct dns_name name;
    struct dns_data data;
    uint16_t type = dns_type_of(record->type);
    if (type == 0)
        return fail(why, ERR_UNKNOWN,
                    "type '%.*s': must be A, AAAA, CNAME, TXT, MX, CAA, NS or SRV",
                    FMT(record->type));
    enum err err = name_of_record(zone, record, &name, why);
    if (err == OK && !dns_name_is_below(&name, &zone->apex))
        err = fail(why, ERR_RANGE, "name '%.*s' is not in this zone", FMT(record->name));
    if (err != OK)
        return err;
    err = dns_data_parse(zone, type, record->value, &data, why);
    if (err != OK)
        return fail_in(why, err, "%.*s of '%.*s'", FMT(record->type), FMT(record->name));
    uint32_t ttl = record->ttl > 0 ? (uint32_t)record->ttl : zone->ttl;
    return dns_zone_add(zone, &name, type, ttl, &data, why);
}

static enum err add_records(struct dns_zone *zone, const struct site *site, struct why *why)
{
    for (size_t i = 0; i < site->dns.record_count; i++) {
        const struct site_record *record = &site->dns.records[i];
        enum err err = add_record(zone, record, why);
        if (err != OK)
            return fail_in(why, err, "%.*s:%d:%d: dns.records", FMT(site->file), record->place.line,
                           record->place.column);
    }
    return OK;
}

enum err dns_zone_build(const struct site *site, uint32_t serial, struct dns_zone **zone_out,
                        struct why *why)
{
    struct dns_name apex;
    enum err err = dns_name_parse(site->domain, NULL, &apex, why);
    if (err != OK)
        return fail_in(why, err, "the zone's name '%.*s'", FMT(site->domain));
    struct dns_zone *zone = dns_zone_new(&apex, (uint32_t)site->dns.ttl, serial);
    err = add_soa(zone, why);
    if (err == OK)
        err = add_name_servers(zone, site, why);
    if (err == OK)
        err = add_site(zone, site, why);
    if (err == OK)
        err = add_records(zone, site, why);
    if (err == OK) {
        err = dns_zone_finish(zone, why);
        if (err != OK)
            err = fail_in(why, err, "%.*s:%d:%d: dns", FMT(site->file), site->dns.place.line,
                          site->dns.place.column);
    }
    if (err != OK) {
        dns_zone_free(zone);
        return err;
    }
    *zone_out = zone;
    return OK;
}
