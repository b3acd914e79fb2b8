#ifndef CORE_ADDRESS_H
#define CORE_ADDRESS_H

/* An IPv4 or IPv6 address with a port, or a Unix socket path. */

#include "core/error.h"
#include "core/text.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } u;
    socklen_t len; /* 0: no address */
};

enum { ADDRESS_TEXT_SIZE = 128 };

/* "192.0.2.1", "2001:db8::1" (brackets allowed) with the port given, or ERR_SYNTAX. No names. */
MUST_CHECK enum err address_parse_ip(struct text ip, uint16_t port, struct address *address_out);

/* "192.0.2.1:80", "[2001:db8::1]:80", ":80" (all addresses), "80", "unix:/path". */
MUST_CHECK enum err address_parse(struct text text, struct address *address_out);

MUST_CHECK enum err address_from_path(struct text path, struct address *address_out);

/* AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC for no address. */
int address_family(const struct address *address);
uint16_t address_port(const struct address *address);
void address_set_port(struct address *address, uint16_t port);
bool address_is_loopback(const struct address *address);
bool address_equal(const struct address *a, const struct address *b);

/* The ip alone ("2001:db8::1"), or ip and port ("[2001:db8::1]:80"); "unix:/path" for both. */
void address_format_ip(const struct address *address, char out[ADDRESS_TEXT_SIZE]);
void address_format(const struct address *address, char out[ADDRESS_TEXT_SIZE]);

#endif
