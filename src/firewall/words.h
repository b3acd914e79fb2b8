#ifndef FIREWALL_WORDS_H
#define FIREWALL_WORDS_H

/*
 * Private to rules.c: nft's JSON (libnftables-json(5)) in the words of rules. Each takes over the
 * json_t that it is given and returns one that is the caller's.
 */

#include "firewall/rules.h"

#include <jansson.h>

struct family {
    const char *protocol, *reserved, *set, *mask;
    bool is_v4;
};

enum { FAMILIES = 2 };
extern const struct family families[FAMILIES];

struct rules {
    const struct rules_request *request;
    json_t *commands;
    bool is_audit;
};

json_t *word_payload(const char *protocol, const char *field);
json_t *word_meta(const char *key);
json_t *word_match(const char *op, json_t *left, json_t *right);
json_t *word_any_of(json_t *list);
json_t *word_verdict(const char *name);
json_t *word_counter(const char *name);
/* "tcp reset", or what ICMP says. */
json_t *word_refusal(const char *type);
/* The address of a client as it is counted and banned: all of IPv4, the network of IPv6. */
json_t *word_client(const struct family *family, const char *field);

/* {verb: {what: object}} for our table. */
void rules_command(struct rules *rules, const char *verb, const char *what, json_t *object);
void rules_rule(struct rules *rules, const char *chain, json_t *expressions, const char *comment);
/* Ends a rule that keeps packets out: with `mode: audit` they are only counted. */
void rules_keep_out(struct rules *rules, const char *chain, json_t *expressions,
                    const char *counter_name, json_t *end, const char *comment);

/* ---- addresses ---- */

void word_add_address(json_t *list, const struct family *family, const struct address *address);
/* networks[index], unless it lies in another one: nft takes no such set. */
void word_add_network(json_t *list, const struct family *family, const struct network *networks,
                      size_t count, size_t index);
/* The party's addresses of the family; NULL: anyone may be it. */
json_t *word_party(const struct site_party *party, const struct family *family,
                   const struct site_server *self);

#endif
