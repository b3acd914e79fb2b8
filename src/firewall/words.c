/* See words.h. */
#include "firewall/words.h"

const struct family families[FAMILIES] = {
    { "ip", "ipv4", "4", NULL, true },
    { "ip6", "ipv6", "6", "ffff:ffff:ffff:ffff::", false },
};

json_t *word_payload(const char *protocol, const char *field)
{
    return json_pack("{s:{s:s,s:s}}", "payload", "protocol", protocol, "field", field);
}

json_t *word_meta(const char *key)
{
    return json_pack("{s:{s:s}}", "meta", "key", key);
}

/* Takes both sides over, like all below take what they are given. */
json_t *word_match(const char *op, json_t *left, json_t *right)
{
    return json_pack("{s:{s:s,s:o,s:o}}", "match", "op", op, "left", left, "right", right);
}

json_t *word_any_of(json_t *list)
{
    return json_pack("{s:o}", "set", list);
}

json_t *word_verdict(const char *name)
{
    return json_pack("{s:n}", name);
}

json_t *word_counter(const char *name)
{
    return json_pack("{s:s}", "counter", name);
}

json_t *word_refusal(const char *type)
{
    bool is_reset = strcmp(type, "tcp reset") == 0;
    return is_reset ? json_pack("{s:{s:s}}", "reject", "type", type)
                    : json_pack("{s:{s:s,s:s}}", "reject", "type", "icmpx", "expr", type);
}

/* The address of a client as it is counted and banned: all of IPv4, the network of IPv6. */
json_t *word_client(const struct family *family, const char *field)
{
    json_t *address = word_payload(family->protocol, field);
    return family->mask == NULL ? address : json_pack("{s:[o,s]}", "&", address, family->mask);
}

void rules_command(struct rules *rules, const char *verb, const char *what, json_t *object)
{
    json_object_set_new(object, "family", json_string("inet"));
    json_object_set_new(object, strcmp(what, "table") == 0 ? "name" : "table",
                        json_string(FIREWALL_TABLE));
    json_array_append_new(rules->commands, json_pack("{s:{s:o}}", verb, what, object));
}

void rules_rule(struct rules *rules, const char *chain, json_t *expressions, const char *comment)
{
    json_t *object = json_pack("{s:s,s:o}", "chain", chain, "expr", expressions);
    if (comment != NULL)
        json_object_set_new(object, "comment", json_string(comment));
    rules_command(rules, "add", "rule", object);
}

/* Ends a rule that keeps packets out: with `mode: audit` they only are counted. */
void rules_keep_out(struct rules *rules, const char *chain, json_t *expressions,
                    const char *counter_name, json_t *end, const char *comment)
{
    json_array_append_new(expressions, word_counter(counter_name));
    if (rules->is_audit)
        json_decref(end);
    else
        json_array_append_new(expressions, end);
    rules_rule(rules, chain, expressions, comment);
}

/* ---- addresses ---- */

void word_add_address(json_t *list, const struct family *family, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    if ((address_family(address) == AF_INET) != family->is_v4 ||
        address_family(address) == AF_UNIX || address->len == 0)
        return;
    address_format_ip(address, text);
    json_array_append_new(list, json_string(text));
}

static bool covers(const struct network *wide, const struct network *narrow)
{
    if (wide->is_v4 != narrow->is_v4 || wide->bits > narrow->bits)
        return false;
    for (unsigned i = 0; i < wide->bits; i++)
        if (((wide->ip[i / 8] ^ narrow->ip[i / 8]) & (0x80 >> i % 8)) != 0)
            return false;
    return true;
}

/* nft takes no network that lies in another one of its set. */
void word_add_network(json_t *list, const struct family *family, const struct network *networks,
                      size_t count, size_t index)
{
    const struct network *network = &networks[index];
    char text[ADDRESS_TEXT_SIZE];
    for (size_t i = 0; i < count; i++)
        if (i != index && covers(&networks[i], network) &&
            (i < index || !covers(network, &networks[i])))
            return;
    if (network->is_v4 != family->is_v4)
        return;
    ban_format(network, text);
    *strchrnul(text, '/') = '\0';
    json_array_append_new(
        list, json_pack("{s:{s:s,s:i}}", "prefix", "addr", text, "len", (int)network->bits));
}

/* The party's addresses of the family; NULL: anyone may be it. */
json_t *word_party(const struct site_party *party, const struct family *family,
                   const struct site_server *self)
{
    json_t *list = json_array();
    switch (party->kind) {
    case PARTY_SERVERS:
        for (size_t i = 0; i < party->server_count; i++)
            if (party->servers[i] != self)
                word_add_address(list, family, &party->servers[i]->address);
        return list;
    case PARTY_NETWORKS:
        for (size_t i = 0; i < party->network_count; i++)
            word_add_network(list, family, party->networks, party->network_count, i);
        return list;
    case PARTY_HOST:
        if (party->address.len == 0)
            break; /* whatever its name means at the moment */
        word_add_address(list, family, &party->address);
        return list;
    case PARTY_ANYONE:
    case PARTY_RESOLVERS:
        break;
    }
    json_decref(list);
    return NULL;
}
