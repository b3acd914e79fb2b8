/*
 * What the choice of a target depends on: the key of the hashing algorithms, and the cookie of a
 * sticky pool, which says the id of a target in 16 hex digits.
 */
#include "balancer/balancer_private.h"

#include <stdio.h>

enum { ID_DIGITS = 16, COOKIE_SIZE = 512 };

/* Of the first cookie of that name. */
static struct text cookie_value(const struct http_headers *headers, struct text name)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (headers->items[i].field != FIELD_COOKIE)
            continue;
        struct text rest = headers->items[i].value;
        while (rest.len > 0) {
            struct text value = text_trim(text_next(&rest, ';'));
            if (text_equal(text_trim(text_next(&value, '=')), name))
                return text_trim(value);
        }
    }
    return T("");
}

static uint64_t hash_of(struct text text)
{
    return choose_hash(text.data, text.len);
}

static uint64_t client_hash(const struct address *client)
{
    switch (address_family(client)) {
    case AF_INET:
        return choose_hash(&client->u.v4.sin_addr, sizeof(client->u.v4.sin_addr));
    case AF_INET6:
        return choose_hash(&client->u.v6.sin6_addr, sizeof(client->u.v6.sin6_addr));
    default:
        return 0;
    }
}

/* What the request does not have is replaced by who sends it. */
static uint64_t key_of(const struct balancer_policy *policy, const struct http_request *request)
{
    struct text value = T("");
    switch (policy->hash) {
    case BALANCER_HASH_PATH:
        return hash_of(request->path);
    case BALANCER_HASH_HEADER: {
        const struct http_header *header =
            http_headers_find_name(&request->headers, policy->hash_name);
        value = header != NULL ? header->value : value;
        break;
    }
    case BALANCER_HASH_COOKIE:
        value = cookie_value(&request->headers, policy->hash_name);
        break;
    }
    return value.len > 0 ? hash_of(value) : client_hash(&request->client);
}

uint64_t balancer_key_of(const struct balancer_policy *policy, const struct http_request *request,
                         struct choice *choice)
{
    uint64_t sticky_id = 0;
    if (policy->algorithm == BALANCER_IP_HASH)
        choice->key = client_hash(&request->client);
    else if (policy->algorithm == BALANCER_CONSISTENT_HASH)
        choice->key = key_of(policy, request);
    if (policy->sticky.len == 0)
        return 0;
    struct text id = cookie_value(&request->headers, policy->sticky);
    return id.len == ID_DIGITS && text_hex_to_uint(id, UINT64_MAX, &sticky_id) ? sticky_id : 0;
}

void balancer_read_key(struct call *call)
{
    call->sticky_id = balancer_key_of(&call->upstream->pool.policy,
                                      http_exchange_request(call->exchange), &call->choice);
}

void balancer_write_sticky(const struct call *call)
{
    const struct pool *pool = &call->upstream->pool;
    const struct http_request *request = http_exchange_request(call->exchange);
    char value[COOKIE_SIZE];
    if (pool->policy.sticky.len == 0 || call->target->id == call->sticky_id)
        return;
    if (pool_has_id(pool, call->sticky_id))
        return; /* its own one is only full or away for now */
    int len = snprintf(value, sizeof(value), "%s=%016llx; Path=/; HttpOnly; SameSite=Lax%s",
                       pool->sticky, (unsigned long long)call->target->id,
                       text_equal(request->scheme, T("https")) ? "; Secure" : "");
    if (len > 0 && len < (int)sizeof(value))
        http_response_header(call->exchange, FIELD_SET_COOKIE, text_from(value, (size_t)len));
}
