/* What `trilith firewall show` and `list` print, as JSON. */
#include "firewall/kernel.h"
#include "firewall/talk.h"

#include "core/clock.h"
#include "core/memory.h"

#include <jansson.h>
#include <stdio.h>

enum { WHO_LIMIT = 8192 };

/* ---- parties in words ---- */

static void write_network(const struct network *network, struct buffer *out)
{
    char text[ADDRESS_TEXT_SIZE];
    ban_format(network, text);
    *strchrnul(text, '/') = '\0';
    buffer_print(out, "%s/%d", text, network->bits);
}

static void write_party(const struct site_party *party, const struct site_server *self,
                        struct buffer *out)
{
    size_t start = out->len;
    switch (party->kind) {
    case PARTY_ANYONE:
        buffer_print(out, "anyone");
        return;
    case PARTY_RESOLVERS:
        buffer_print(out, "name servers");
        return;
    case PARTY_HOST:
        buffer_print(out, "%.*s%s", FMT(party->host),
                     party->address.len == 0 ? " (any address)" : "");
        return;
    case PARTY_NETWORKS:
        for (size_t i = 0; i < party->network_count; i++) {
            buffer_print(out, "%s", i > 0 ? ", " : "");
            write_network(&party->networks[i], out);
        }
        return;
    case PARTY_SERVERS:
        for (size_t i = 0; i < party->server_count; i++)
            if (party->servers[i] != self)
                buffer_print(out, "%s%.*s", out->len > start ? ", " : "",
                             FMT(party->servers[i]->name));
        return;
    }
}

static const char *protocol_name(enum site_protocol protocol)
{
    static const char *const names[] = {
        [PROTOCOL_TCP] = "tcp", [PROTOCOL_UDP] = "udp", [PROTOCOL_VRRP] = "vrrp"
    };
    return names[protocol];
}

/* ---- ways ---- */

static json_int_t count_of(const struct talk *talk, const char *counter)
{
    const struct firewall_count *count = firewall_counts_find(talk->counts, counter);
    return count != NULL ? (json_int_t)count->packets : 0;
}

static json_t *way_json(const struct talk *talk, const struct firewall_way *way)
{
    struct buffer who AUTO(buffer_done) = buffer_of(WHO_LIMIT);
    const struct site_edge *edge = way->edge;
    write_party(way->is_out ? &edge->to : &edge->from, talk->plan->server, &who);
    return json_pack("{s:s,s:s#,s:s,s:i,s:s#,s:I,s:i,s:s}", "direction", way->is_out ? "out" : "in",
                     "name", edge->name.data, (int)edge->name.len, "protocol",
                     protocol_name(edge->protocol), "port", (int)edge->port, "who",
                     who.len > 0 ? who.data : "", (int)who.len, "count",
                     count_of(talk, way->counter), "line", edge->place.line, "why", edge->why);
}

/* ---- who was refused ---- */

static void add_refused(json_t *list, const char *direction, const json_t *element)
{
    const json_t *item = json_object_get(element, "elem");
    const json_t *key = json_object_get(json_object_get(item, "val"), "concat");
    json_t *who = json_array_get(key, 0), *protocol = json_array_get(key, 1);
    json_t *port = json_array_get(key, 2);
    const json_t *counter = json_object_get(item, "counter");
    json_int_t packets = json_integer_value(json_object_get(counter, "packets"));
    if (!json_is_string(who) || protocol == NULL || port == NULL)
        return;
    json_array_append_new(list,
                          json_pack("{s:s,s:O,s:O,s:O,s:I}", "direction", direction, "address", who,
                                    "protocol", protocol, "port", port, "packets", packets));
}

static void read_meter(json_t *list, const char *direction, struct text listing)
{
    json_t *all = json_loadb(listing.data, listing.len, 0, NULL), *item, *element;
    size_t i, j;
    json_array_foreach(json_object_get(all, "nftables"), i, item)
    {
        const json_t *elements = json_object_get(json_object_get(item, "meter"), "elem");
        json_array_foreach(elements, j, element) add_refused(list, direction, element);
    }
    json_decref(all);
}

static json_t *refused(void)
{
    static const struct {
        const char *meter, *direction;
    } meters[] = { { "refused_in4", "in" },
                   { "refused_in6", "in" },
                   { "refused_out4", "out" },
                   { "refused_out6", "out" } };
    json_t *list = json_array();
    for (size_t i = 0; i < COUNT(meters); i++) {
        struct buffer listing AUTO(buffer_done) = buffer_of(TALK_JSON_LIMIT);
        if (nft_list_meter(meters[i].meter, &listing, NULL) == OK)
            read_meter(list, meters[i].direction, buffer_text(&listing));
    }
    return list;
}

void refused_each(void (*each)(void *context, const char *direction, const char *address,
                               const char *protocol, const char *port),
                  void *context)
{
    json_t *list = refused(), *item;
    size_t index;
    json_array_foreach(list, index, item)
    {
        char number[TEXT_UINT_SIZE + 1];
        const json_t *port = json_object_get(item, "port");
        const char *protocol = json_string_value(json_object_get(item, "protocol"));
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(port));
        each(context, json_string_value(json_object_get(item, "direction")),
             json_string_value(json_object_get(item, "address")), protocol != NULL ? protocol : "",
             json_is_string(port) ? json_string_value(port) : number);
    }
    json_decref(list);
}

static void write_json(json_t *json, struct buffer *out)
{
    char *text = json_dumps(json, JSON_COMPACT);
    buffer_append(out, text_of(text != NULL ? text : ""));
    memory_free(text);
    json_decref(json);
}

void show_write(const struct talk *talk, struct buffer *out)
{
    bool is_audit = talk->plan->site->firewall.mode == FIREWALL_AUDIT;
    struct text name = talk->plan->server->name;
    json_t *ways = json_array();
    for (size_t i = 0; i < talk->plan->way_count; i++)
        json_array_append_new(ways, way_json(talk, &talk->plan->ways[i]));
    write_json(
        json_pack("{s:s#,s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:o}", "server", name.data, (int)name.len,
                  "mode", is_audit ? "audit" : "enforce", "state", talk->state, "ways", ways,
                  COUNTER_DROPPED_IN, count_of(talk, COUNTER_DROPPED_IN), COUNTER_DROPPED_OUT,
                  count_of(talk, COUNTER_DROPPED_OUT), COUNTER_BANNED,
                  count_of(talk, COUNTER_BANNED), COUNTER_LIMITED, count_of(talk, COUNTER_LIMITED),
                  "bans", (json_int_t)talk->bans->count, "refused", refused()),
        out);
}

void list_write(const struct talk *talk, struct buffer *out)
{
    bans_write(talk->bans, out);
}
