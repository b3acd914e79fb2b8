/*
 * The commands for nft. The chains, in the order in which a packet meets them:
 *
 *   raw_in    name servers answer without a note of every question (no connection tracking)
 *   input     loopback, bans, what belongs to something that was let in, ICMP, ways, the rest
 *   public    from input: beginnings at ports that are open to everyone, over the limits of one
 *             address or of all
 *   output    loopback, what belongs to something, ICMP, ways, names, time and leases, the rest
 *
 * The rest is refused where the site's own servers or processes ask (they learn it at once) and
 * dropped elsewhere. With `mode: audit` nothing is refused or dropped, only counted.
 */
#include "firewall/words.h"

#include "core/memory.h"

#include <jansson.h>
#include <stdio.h>

enum {
    SETS_SIZE = 65535, /* addresses of which something is remembered */
    SEEN_SIZE = 4096,
    SEEN_S = 3600,
    FRESH_S = 60,
    COMMENT_MOST = 127, /* the kernel's */
    PINGS = 50,
    RAW_PRIORITY = -300,
    VRRP = 112,
    DHCP_SERVER = 67,
    DHCP_CLIENT = 68,
    DHCP6_CLIENT = 546,
    DHCP6_SERVER = 547,
    NAMES_PORT = 53,
    TIME_PORT = 123,
};

/* ---- the table ---- */

static void add_chain(struct rules *rules, const char *name, const char *hook, int priority,
                      const char *policy)
{
    json_t *chain = json_pack("{s:s}", "name", name);
    if (hook != NULL)
        json_object_update_new(chain, json_pack("{s:s,s:s,s:i,s:s}", "type", "filter", "hook", hook,
                                                "prio", priority, "policy", policy));
    rules_command(rules, "add", "chain", chain);
    rules_command(rules, "flush", "chain", json_pack("{s:s}", "name", name));
}

static void add_chains(struct rules *rules)
{
    const char *policy = rules->is_audit ? "accept" : "drop";
    add_chain(rules, "raw_in", "prerouting", RAW_PRIORITY, "accept");
    add_chain(rules, "raw_out", "output", RAW_PRIORITY, "accept");
    add_chain(rules, "input", "input", 0, policy);
    add_chain(rules, "output", "output", 0, policy);
    add_chain(rules, "public", NULL, 0, NULL);
}

static void add_counter(struct rules *rules, const char *name)
{
    const struct firewall_count *old = firewall_counts_find(rules->request->counts, name);
    rules_command(rules, "add", "counter",
                  json_pack("{s:s,s:I,s:I}", "name", name, "packets",
                            (json_int_t)(old != NULL ? old->packets : 0), "bytes",
                            (json_int_t)(old != NULL ? old->bytes : 0)));
}

static const char *const fixed_counters[] = { COUNTER_DROPPED_IN, COUNTER_DROPPED_OUT,
                                              COUNTER_BANNED, COUNTER_LIMITED };

static bool is_used(const struct firewall_plan *plan, const char *name)
{
    for (size_t i = 0; plan != NULL && i < plan->way_count; i++)
        if (strcmp(plan->ways[i].counter, name) == 0)
            return true;
    return false;
}

/* Those of ways that are no more go; the others keep what they have counted. */
static void add_counters(struct rules *rules)
{
    const struct rules_request *request = rules->request;
    const struct firewall_counts *counts = request->counts;
    for (size_t i = 0; counts != NULL && i < counts->count && !request->is_fresh; i++) {
        const struct firewall_count *old = &counts->items[i];
        bool is_kept = is_used(request->plan, old->name) || is_used(request->also, old->name);
        for (size_t j = 0; j < COUNT(fixed_counters); j++)
            is_kept = is_kept || strcmp(fixed_counters[j], old->name) == 0;
        if (!is_kept && old->is_there)
            rules_command(rules, "delete", "counter", json_pack("{s:s}", "name", old->name));
    }
    for (size_t i = 0; i < COUNT(fixed_counters); i++)
        add_counter(rules, fixed_counters[i]);
    for (size_t i = 0; i < request->plan->way_count; i++)
        add_counter(rules, request->plan->ways[i].counter);
    for (size_t i = 0; request->also != NULL && i < request->also->way_count; i++)
        if (!is_used(request->plan, request->also->ways[i].counter))
            add_counter(rules, request->also->ways[i].counter);
}

static void add_bans(struct rules *rules)
{
    const struct rules_request *request = rules->request;
    for (size_t i = 0; i < COUNT(families); i++) {
        char name[16], who[ADDRESS_TEXT_SIZE];
        snprintf(name, sizeof(name), "banned%s", families[i].set);
        rules_command(rules, "add", "set",
                      json_pack("{s:s,s:s,s:[s],s:i}", "name", name, "type",
                                families[i].is_v4 ? "ipv4_addr" : "ipv6_addr", "flags", "timeout",
                                "size", SETS_SIZE));
        rules_command(rules, "flush", "set", json_pack("{s:s}", "name", name));
        json_t *elements = json_array();
        for (size_t j = 0; request->bans != NULL && j < request->bans->count; j++) {
            const struct ban *ban = &request->bans->items[j];
            if (ban->who.is_v4 != families[i].is_v4 || ban->until_s <= request->now_s)
                continue;
            ban_format(&ban->who, who);
            *strchrnul(who, '/') = '\0';
            json_array_append_new(elements,
                                  json_pack("{s:{s:s,s:I}}", "elem", "val", who, "timeout",
                                            (json_int_t)(ban->until_s - request->now_s)));
        }
        if (json_array_size(elements) > 0)
            rules_command(rules, "add", "element",
                          json_pack("{s:s,s:o}", "name", name, "elem", elements));
        else
            json_decref(elements);
    }
}

static void add_table(struct rules *rules)
{
    rules_command(rules, "add", "table", json_object());
    if (rules->request->is_fresh) {
        rules_command(rules, "delete", "table", json_object());
        rules_command(rules, "add", "table", json_object());
    }
    add_chains(rules);
    add_counters(rules);
    add_bans(rules);
}

/* ---- ways ---- */

static void comment_of(const struct rules *rules, const struct firewall_way *way,
                       char out[COMMENT_MOST + 1])
{
    struct text file = rules->request->plan->site->file, name = file;
    while (file.data != NULL)
        name = text_next(&file, '/');
    if (way->edge->place.line > 0)
        snprintf(out, COMMENT_MOST + 1, "%.*s:%d %.*s: %s", FMT(name), way->edge->place.line,
                 FMT(way->edge->name), way->edge->why);
    else
        snprintf(out, COMMENT_MOST + 1, "%.*s: %s", FMT(way->edge->name), way->edge->why);
}

/* Which packets of the way's protocol. */
static json_t *port_match(const struct site_edge *edge)
{
    switch (edge->protocol) {
    case PROTOCOL_TCP:
        return word_match("==", word_payload("tcp", "dport"), json_integer(edge->port));
    case PROTOCOL_UDP:
        return word_match("==", word_payload("udp", "dport"), json_integer(edge->port));
    case PROTOCOL_VRRP:
        break;
    }
    return word_match("==", word_meta("l4proto"), json_integer(VRRP));
}

static void accept_way(struct rules *rules, const struct firewall_way *way, json_t *expressions)
{
    char comment[COMMENT_MOST + 1];
    comment_of(rules, way, comment);
    json_array_append_new(expressions, port_match(way->edge));
    json_array_append_new(expressions, word_counter(way->counter));
    json_array_append_new(expressions, word_verdict("accept"));
    rules_rule(rules, way->is_out ? "output" : "input", expressions, comment);
}

static void add_way(struct rules *rules, const struct firewall_way *way)
{
    const struct site_party *other = way->is_out ? &way->edge->to : &way->edge->from;
    bool is_multicast = way->is_out && way->edge->protocol == PROTOCOL_VRRP;
    for (size_t i = 0; i < COUNT(families); i++) {
        const struct family *family = &families[i];
        json_t *list =
            is_multicast ? NULL : word_party(other, family, rules->request->plan->server);
        if (list == NULL) {
            accept_way(rules, way, json_array());
            return;
        }
        json_t *addresses = word_any_of(list);
        if (json_array_size(list) > 0)
            accept_way(rules, way,
                       json_pack("[o]", word_match("==",
                                                   word_payload(family->protocol,
                                                                way->is_out ? "daddr" : "saddr"),
                                                   json_incref(addresses))));
        json_decref(addresses);
    }
}

static void add_ways(struct rules *rules, bool is_out)
{
    const struct firewall_plan *also = rules->request->also;
    for (size_t i = 0; i < rules->request->plan->way_count; i++)
        if (rules->request->plan->ways[i].is_out == is_out)
            add_way(rules, &rules->request->plan->ways[i]);
    for (size_t i = 0; also != NULL && i < also->way_count; i++)
        if (also->ways[i].is_out == is_out && also->ways[i].edge->kind != EDGE_CONTROL)
            add_way(rules, &also->ways[i]);
}

/* ---- limits ---- */

static bool is_public(const struct firewall_way *way)
{
    return !way->is_out && way->edge->from.kind == PARTY_ANYONE && way->edge->kind != EDGE_ADMIN &&
           way->edge->protocol == PROTOCOL_TCP;
}

static json_t *public_ports(const struct firewall_plan *plan)
{
    json_t *ports = json_array();
    for (size_t i = 0; i < plan->way_count; i++)
        if (is_public(&plan->ways[i]))
            json_array_append_new(ports, json_integer(plan->ways[i].edge->port));
    return ports;
}

/* Of whom nothing is limited: the site's servers, its administrators, proxies in front. */
static json_t *trusted(const struct rules *rules, const struct family *family)
{
    const struct site *site = rules->request->plan->site;
    const struct {
        const struct network *networks;
        size_t count;
    } lists[] = { { site->firewall.admin, site->firewall.admin_count },
                  { site->web.trusted, site->web.trusted_written },
                  { site->balancer.trusted, site->balancer.trusted_count } };
    size_t count = site->server_count, at = 0;
    for (size_t i = 0; i < COUNT(lists); i++)
        count += lists[i].count;
    struct network *all = memory_new_array(count, sizeof(*all));
    for (size_t i = 0; i < site->server_count && site->has_servers; i++)
        at += network_of(&site->servers[i].address, &all[at]) ? 1 : 0;
    for (size_t i = 0; i < COUNT(lists); i++)
        for (size_t j = 0; j < lists[i].count; j++)
            all[at++] = lists[i].networks[j];
    json_t *list = json_array();
    for (size_t i = 0; i < at; i++)
        word_add_network(list, family, all, at, i);
    memory_free(all);
    return list;
}

static json_t *over(int64_t rate)
{
    return json_pack("{s:{s:I,s:I,s:s,s:b}}", "limit", "rate", (json_int_t)rate, "burst",
                     (json_int_t)(2 * rate), "per", "second", "inv", 1);
}

static json_t *meter(const char *name, const struct family *family, json_t *key, json_t *statement)
{
    char full[32];
    snprintf(full, sizeof(full), "%s%s", name, family->set);
    return json_pack("{s:{s:s,s:i,s:o,s:o}}", "meter", "name", full, "size", SETS_SIZE, "key", key,
                     "stmt", statement);
}

static json_t *strangers(const struct rules *rules, const struct family *family)
{
    json_t *known = trusted(rules, family);
    if (json_array_size(known) > 0)
        return json_pack(
            "[o]", word_match("!=", word_payload(family->protocol, "saddr"), word_any_of(known)));
    json_decref(known);
    return json_pack("[o]", word_match("==", word_meta("nfproto"), json_string(family->reserved)));
}

static void add_limits(struct rules *rules)
{
    const struct site_firewall_limits *limits = &rules->request->plan->site->firewall.limits;
    json_t *ports = public_ports(rules->request->plan);
    if (json_array_size(ports) == 0) {
        json_decref(ports);
        return;
    }
    for (size_t i = 0; i < COUNT(families); i++) {
        const struct family *family = &families[i];
        json_t *remembered = json_pack("{s:{s:o,s:i}}", "elem", "val", word_client(family, "saddr"),
                                       "timeout", FRESH_S);
        json_t *expressions = strangers(rules, family);
        json_array_append_new(expressions, meter("fresh", family, remembered, over(limits->fresh)));
        rules_keep_out(rules, "public", expressions, COUNTER_LIMITED, word_verdict("drop"),
                       "firewall.limits.new");
        expressions = strangers(rules, family);
        json_array_append_new(expressions, over(limits->fresh_total));
        rules_keep_out(rules, "public", expressions, COUNTER_LIMITED, word_verdict("drop"),
                       "firewall.limits.new-total");
        expressions = strangers(rules, family);
        json_array_append_new(expressions,
                              meter("open", family, word_client(family, "saddr"),
                                    json_pack("{s:{s:I,s:b}}", "ct count", "val",
                                              (json_int_t)limits->connections, "inv", 1)));
        rules_keep_out(rules, "public", expressions, COUNTER_LIMITED, word_verdict("drop"),
                       "firewall.limits.connections");
    }
    rules_rule(rules, "input",
               json_pack("[o,o,{s:{s:s}}]",
                         word_match("in", json_pack("{s:{s:s}}", "ct", "key", "state"),
                                    json_string("new")),
                         word_match("==", word_payload("tcp", "dport"), word_any_of(ports)), "jump",
                         "target", "public"),
               "beginnings at public ports");
}

/* ---- what every server needs ---- */

static void add_loopback(struct rules *rules, const char *chain, const char *key)
{
    rules_rule(rules, chain,
               json_pack("[o,o]", word_match("==", word_meta(key), json_string("lo")),
                         word_verdict("accept")),
               "the server itself");
}

static void add_known(struct rules *rules, const char *chain)
{
    rules_rule(rules, chain,
               json_pack("[o,o]",
                         word_match("in", json_pack("{s:{s:s}}", "ct", "key", "state"),
                                    json_pack("[s,s]", "established", "related")),
                         word_verdict("accept")),
               "what belongs to something that was let through");
}

/* Who is banned gets nothing, not even through a connection that is open. */
static void drop_banned(struct rules *rules)
{
    for (size_t i = 0; i < COUNT(families); i++) {
        char set[16];
        snprintf(set, sizeof(set), "@banned%s", families[i].set);
        rules_keep_out(rules, "input",
                       json_pack("[o]", word_match("==", word_client(&families[i], "saddr"),
                                                   json_string(set))),
                       COUNTER_BANNED, word_verdict("drop"), "trilith firewall list");
    }
}

static void add_icmp(struct rules *rules, bool is_out)
{
    const char *chain = is_out ? "output" : "input";
    static const char *const pings[] = { "icmp", "icmpv6" };
    for (size_t i = 0; i < COUNT(pings); i++) {
        json_t *expressions = json_pack(
            "[o]", word_match("==", word_payload(pings[i], "type"), json_string("echo-request")));
        if (!is_out)
            json_array_append_new(expressions, json_pack("{s:{s:i,s:i,s:s}}", "limit", "rate",
                                                         PINGS, "burst", PINGS, "per", "second"));
        json_array_append_new(expressions, word_verdict("accept"));
        rules_rule(rules, chain, expressions, "pings");
    }
    rules_rule(rules, chain,
               json_pack("[o,o,o]",
                         word_match("==", word_payload("icmpv6", "type"),
                                    word_any_of(json_pack("[s,s,s,s]", "nd-router-solicit",
                                                          "nd-router-advert", "nd-neighbor-solicit",
                                                          "nd-neighbor-advert"))),
                         word_match("==", word_payload("ip6", "hoplimit"), json_integer(255)),
                         word_verdict("accept")),
               "IPv6 neighbours");
    if (is_out)
        rules_rule(rules, chain,
                   json_pack("[o,o]",
                             word_match("==", word_payload("icmpv6", "type"),
                                        word_any_of(json_pack("[s,s]", "mld-listener-report",
                                                              "mld2-listener-report"))),
                             word_verdict("accept")),
                   "IPv6 multicast groups");
}

static void add_lease(struct rules *rules, bool is_out, int server, int own)
{
    rules_rule(
        rules, is_out ? "output" : "input",
        json_pack(
            "[o,o,o]",
            word_match("==", word_payload("udp", "sport"), json_integer(is_out ? own : server)),
            word_match("==", word_payload("udp", "dport"), json_integer(is_out ? server : own)),
            word_verdict("accept")),
        "leases of addresses (DHCP)");
}

/* Names, time and leases: without them a server goes astray in ways that nobody expects. */
static void add_needs(struct rules *rules)
{
    static const char *const protocols[] = { "udp", "tcp" };
    for (size_t i = 0; i < COUNT(protocols); i++)
        rules_rule(rules, "output",
                   json_pack("[o,o]",
                             word_match("==", word_payload(protocols[i], "dport"),
                                        json_integer(NAMES_PORT)),
                             word_verdict("accept")),
                   "names (DNS)");
    rules_rule(rules, "output",
               json_pack("[o,o]",
                         word_match("==", word_payload("udp", "dport"), json_integer(TIME_PORT)),
                         word_verdict("accept")),
               "time (NTP)");
    add_lease(rules, true, DHCP_SERVER, DHCP_CLIENT);
    add_lease(rules, true, DHCP6_SERVER, DHCP6_CLIENT);
}

/* A name server answers each question without the kernel's taking note of it: that would cost more
 * than the answer, and a flood of questions would fill the table of connections. */
static void add_name_server(struct rules *rules)
{
    for (size_t i = 0; i < rules->request->plan->way_count; i++) {
        const struct firewall_way *way = &rules->request->plan->ways[i];
        if (way->is_out || way->edge->kind != EDGE_DNS || way->edge->protocol != PROTOCOL_UDP)
            continue;
        int port = way->edge->port;
        rules_rule(
            rules, "raw_in",
            json_pack(
                "[o,o,o]", word_match("==", word_payload("udp", "dport"), json_integer(port)),
                word_match(
                    "==", json_pack("{s:{s:s,s:[s]}}", "fib", "result", "type", "flags", "daddr"),
                    json_string("local")),
                word_verdict("notrack")),
            "questions to the name server");
        rules_rule(rules, "raw_out",
                   json_pack("[o,o]",
                             word_match("==", word_payload("udp", "sport"), json_integer(port)),
                             word_verdict("notrack")),
                   "answers of the name server");
        rules_rule(rules, "output",
                   json_pack("[o,o]",
                             word_match("==", word_payload("udp", "sport"), json_integer(port)),
                             word_verdict("accept")),
                   "answers of the name server");
    }
}

/* ---- the rest ---- */

/* Remembers who wanted what, for `trilith firewall show`. */
static void remember(struct rules *rules, bool is_out)
{
    const char *chain = is_out ? "output" : "input";
    for (size_t i = 0; i < COUNT(families); i++) {
        char name[16];
        const char *field = is_out ? "daddr" : "saddr";
        snprintf(name, sizeof(name), "%s%s", is_out ? "refused_out" : "refused_in",
                 families[i].set);
        json_t *key = json_pack("{s:{s:{s:[o,o,o]},s:i}}", "elem", "val", "concat",
                                word_payload(families[i].protocol, field), word_meta("l4proto"),
                                word_payload("th", "dport"), "timeout", SEEN_S);
        json_t *note = json_pack("{s:{s:s,s:i,s:o,s:{s:n}}}", "meter", "name", name, "size",
                                 SEEN_SIZE, "key", key, "stmt", "counter");
        rules_rule(
            rules, chain,
            json_pack("[o,o,o]",
                      word_match("==", word_meta("nfproto"), json_string(families[i].reserved)),
                      word_match("==", word_meta("l4proto"),
                                 word_any_of(json_pack("[s,s]", "tcp", "udp"))),
                      note),
            NULL);
    }
}

static void refuse(struct rules *rules, const char *chain, json_t *expressions, const char *name)
{
    json_t *others = json_deep_copy(expressions);
    json_array_append_new(expressions, word_match("==", word_meta("l4proto"), json_string("tcp")));
    rules_keep_out(rules, chain, expressions, name, word_refusal("tcp reset"), "the rest");
    bool is_out = strcmp(chain, "output") == 0;
    rules_keep_out(rules, chain, others, name,
                   word_refusal(is_out ? "admin-prohibited" : "port-unreachable"), "the rest");
}

static void refuse_rest_in(struct rules *rules)
{
    const struct site *site = rules->request->plan->site;
    remember(rules, false);
    for (size_t i = 0; i < COUNT(families) && site->has_servers && !rules->is_audit; i++) {
        json_t *servers = json_array();
        for (size_t j = 0; j < site->server_count; j++)
            if (&site->servers[j] != rules->request->plan->server)
                word_add_address(servers, &families[i], &site->servers[j].address);
        if (json_array_size(servers) > 0)
            refuse(rules, "input",
                   json_pack("[o]", word_match("==", word_payload(families[i].protocol, "saddr"),
                                               word_any_of(json_incref(servers)))),
                   COUNTER_DROPPED_IN);
        json_decref(servers);
    }
    rules_rule(rules, "input", json_pack("[o]", word_counter(COUNTER_DROPPED_IN)), "the rest");
}

static void refuse_rest_out(struct rules *rules)
{
    remember(rules, true);
    if (rules->is_audit)
        rules_rule(rules, "output", json_pack("[o]", word_counter(COUNTER_DROPPED_OUT)),
                   "the rest");
    else
        refuse(rules, "output", json_array(), COUNTER_DROPPED_OUT);
}

/* ---- all ---- */

void rules_write(const struct rules_request *request, struct buffer *out)
{
    struct rules rules = { .request = request,
                           .commands = json_array(),
                           .is_audit = request->plan->site->firewall.mode == FIREWALL_AUDIT };
    add_table(&rules);
    add_loopback(&rules, "input", "iifname");
    drop_banned(&rules);
    add_known(&rules, "input");
    add_icmp(&rules, false);
    add_limits(&rules);
    add_ways(&rules, false);
    add_lease(&rules, false, DHCP_SERVER, DHCP_CLIENT);
    add_lease(&rules, false, DHCP6_SERVER, DHCP6_CLIENT);
    refuse_rest_in(&rules);
    add_loopback(&rules, "output", "oifname");
    add_known(&rules, "output");
    add_icmp(&rules, true);
    add_name_server(&rules);
    add_ways(&rules, true);
    add_needs(&rules);
    refuse_rest_out(&rules);
    json_t *all = json_pack("{s:o}", "nftables", rules.commands);
    char *text = json_dumps(all, JSON_COMPACT);
    if (text != NULL)
        buffer_append(out, text_of(text));
    out->failed = out->failed || text == NULL;
    memory_free(text);
    json_decref(all);
}
