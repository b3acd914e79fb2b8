/* Socket addresses; see address.h. */
#include "core/address.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>

enum err address_parse_ip(struct text ip, uint16_t port, struct address *address_out)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct address address = { 0 };
    if (ip.len >= 2 && ip.data[0] == '[' && ip.data[ip.len - 1] == ']')
        ip = text_part(ip, 1, ip.len - 2);
    if (!text_copy_to(ip, text, sizeof(text)))
        return ERR_SYNTAX;
    if (inet_pton(AF_INET, text, &address.u.v4.sin_addr) == 1) {
        address.u.v4.sin_family = AF_INET;
        address.u.v4.sin_port = htons(port);
        address.len = sizeof(address.u.v4);
    } else if (inet_pton(AF_INET6, text, &address.u.v6.sin6_addr) == 1) {
        address.u.v6.sin6_family = AF_INET6;
        address.u.v6.sin6_port = htons(port);
        address.len = sizeof(address.u.v6);
    } else {
        return ERR_SYNTAX;
    }
    *address_out = address;
    return OK;
}

enum err address_from_path(struct text path, struct address *address_out)
{
    struct address address = { 0 };
    address.u.local.sun_family = AF_UNIX;
    if (path.len == 0 ||
        !text_copy_to(path, address.u.local.sun_path, sizeof(address.u.local.sun_path)))
        return ERR_SYNTAX;
    address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    *address_out = address;
    return OK;
}

enum err address_parse(struct text text, struct address *address_out)
{
    uint64_t port = 0;
    if (text_starts_with(text, T("unix:")))
        return address_from_path(text_skip(text, 5), address_out);
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':')
        colon--;
    if (!text_to_uint(text_skip(text, colon), 65535, &port))
        return ERR_SYNTAX;
    if (colon <= 1)
        return address_parse_ip(T("::"), (uint16_t)port, address_out);
    return address_parse_ip(text_part(text, 0, colon - 1), (uint16_t)port, address_out);
}

int address_family(const struct address *address)
{
    return address->len > 0 ? address->u.any.sa_family : AF_UNSPEC;
}

uint16_t address_port(const struct address *address)
{
    int family = address_family(address);
    if (family == AF_INET)
        return ntohs(address->u.v4.sin_port);
    return family == AF_INET6 ? ntohs(address->u.v6.sin6_port) : 0;
}

void address_set_port(struct address *address, uint16_t port)
{
    int family = address_family(address);
    if (family == AF_INET)
        address->u.v4.sin_port = htons(port);
    else if (family == AF_INET6)
        address->u.v6.sin6_port = htons(port);
}

bool address_is_loopback(const struct address *address)
{
    int family = address_family(address);
    if (family == AF_INET)
        return ntohl(address->u.v4.sin_addr.s_addr) >> 24 == 127;
    if (family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&address->u.v6.sin6_addr);
    return family == AF_UNIX;
}

bool address_equal(const struct address *a, const struct address *b)
{
    if (address_family(a) != address_family(b) || address_port(a) != address_port(b))
        return false;
    switch (address_family(a)) {
    case AF_INET:
        return a->u.v4.sin_addr.s_addr == b->u.v4.sin_addr.s_addr;
    case AF_INET6:
        return memcmp(&a->u.v6.sin6_addr, &b->u.v6.sin6_addr, sizeof(a->u.v6.sin6_addr)) == 0;
    case AF_UNIX:
        return strcmp(a->u.local.sun_path, b->u.local.sun_path) == 0;
    default:
        return true;
    }
}

/* By hand: this is done for each request, and inet_ntop goes through printf. */
static void format_v4(const struct in_addr *ip, char *out)
{
    uint32_t number = ntohl(ip->s_addr);
    for (int shift = 24; shift >= 0; shift -= 8) {
        out += text_write_uint(number >> shift & 0xff, out);
        *out++ = shift > 0 ? '.' : '\0';
    }
}

void address_format_ip(const struct address *address, char out[ADDRESS_TEXT_SIZE])
{
    int family = address_family(address);
    text_copy_to(T("-"), out, ADDRESS_TEXT_SIZE);
    if (family == AF_INET)
        format_v4(&address->u.v4.sin_addr, out);
    else if (family == AF_INET6)
        inet_ntop(AF_INET6, &address->u.v6.sin6_addr, out, ADDRESS_TEXT_SIZE);
    else if (family == AF_UNIX)
        snprintf(out, ADDRESS_TEXT_SIZE, "unix:%s", address->u.local.sun_path);
}

void address_format(const struct address *address, char out[ADDRESS_TEXT_SIZE])
{
    char ip[ADDRESS_TEXT_SIZE];
    int family = address_family(address);
    address_format_ip(address, ip);
    if (family == AF_INET6)
        snprintf(out, ADDRESS_TEXT_SIZE, "[%.100s]:%u", ip, address_port(address));
    else if (family == AF_INET)
        snprintf(out, ADDRESS_TEXT_SIZE, "%.100s:%u", ip, address_port(address));
    else
        snprintf(out, ADDRESS_TEXT_SIZE, "%s", ip);
}
