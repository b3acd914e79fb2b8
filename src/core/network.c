/* Networks; see network.h. */
#include "core/network.h"

enum { V4_BITS = 32, V6_BITS = 128, MAPPED_BYTES = 12 };

static const uint8_t mapped[MAPPED_BYTES] = { [10] = 0xff, [11] = 0xff };

bool network_of(const struct address *address, struct network *network_out)
{
    struct network network = { 0 };
    int family = address_family(address);
    if (family == AF_INET) {
        memcpy(network.ip, &address->u.v4.sin_addr, 4);
        network.is_v4 = true;
    } else if (family == AF_INET6) {
        memcpy(network.ip, &address->u.v6.sin6_addr, 16);
        network.is_v4 = memcmp(network.ip, mapped, MAPPED_BYTES) == 0;
        if (network.is_v4) {
            memcpy(network.ip, network.ip + MAPPED_BYTES, 4);
            memset(network.ip + 4, 0, MAPPED_BYTES);
        }
    } else {
        return false;
    }
    network.bits = network.is_v4 ? V4_BITS : V6_BITS;
    *network_out = network;
    return true;
}

static bool has_bits_behind(const struct network *network)
{
    uint8_t first = (uint8_t)(0xff >> network->bits % 8);
    size_t at = network->bits / 8;
    if (at < sizeof(network->ip) && (network->ip[at] & first) != 0)
        return true;
    while (++at < sizeof(network->ip))
        if (network->ip[at] != 0)
            return true;
    return false;
}

enum err network_parse(struct text text, struct network *network_out)
{
    struct address address;
    struct network network;
    uint64_t bits = 0;
    struct text rest = text;
    bool has_bits = text_find(text, '/') >= 0;
    struct text ip = text_next(&rest, '/');
    if (address_parse_ip(ip, 0, &address) != OK || !network_of(&address, &network))
        return ERR_SYNTAX;
    if (has_bits) {
        bool is_short = network.is_v4 && address_family(&address) == AF_INET6;
        if (is_short || !text_to_uint(rest, network.bits, &bits))
            return ERR_SYNTAX;
        network.bits = (uint8_t)bits;
    }
    if (has_bits_behind(&network))
        return ERR_RANGE;
    *network_out = network;
    return OK;
}

bool network_contains(const struct network *network, const struct address *address)
{
    struct network one;
    size_t whole = network->bits / 8, left = network->bits % 8;
    if (!network_of(address, &one) || one.is_v4 != network->is_v4 ||
        memcmp(one.ip, network->ip, whole) != 0)
        return false;
    uint8_t mask = (uint8_t) ~(0xff >> left);
    return left == 0 || ((one.ip[whole] ^ network->ip[whole]) & mask) == 0;
}

bool networks_contain(const struct network *networks, size_t count, const struct address *address)
{
    for (size_t i = 0; i < count; i++)
        if (network_contains(&networks[i], address))
            return true;
    return false;
}
