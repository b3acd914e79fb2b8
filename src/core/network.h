#ifndef CORE_NETWORK_H
#define CORE_NETWORK_H

/* A network: an IP address and how many of its first bits all its members share. */

#include "core/address.h"

struct network {
    uint8_t ip[16]; /* IPv4: the first four */
    uint8_t bits;
    bool is_v4;
};

/* "192.0.2.0/24", "2001:db8::/32", or one address. ERR_SYNTAX; ERR_RANGE when bits behind the
 * prefix are set ("192.0.2.1/24"), so that a slip of the pen is not read as something larger. */
MUST_CHECK enum err network_parse(struct text text, struct network *network_out);

/* The network of the address alone; false when it has no IP. */
bool network_of(const struct address *address, struct network *network_out);

/* An IPv4 address in IPv6's form (::ffff:192.0.2.1) counts as IPv4. */
bool network_contains(const struct network *network, const struct address *address);
bool networks_contain(const struct network *networks, size_t count, const struct address *address);

#endif
