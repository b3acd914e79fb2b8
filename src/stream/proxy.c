/*
 * The PROXY protocol, read and written; see proxy.h and HAProxy's doc/proxy-protocol.txt.
 *
 *   v1   PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n       at most 107 bytes
 *   v2   signature(12) version|command family|transport length(2) addresses TLVs
 */
#include "stream/proxy.h"

#include "core/reader.h"

#include <stdio.h>

enum {
    V1_MAX = 107,
    V2_HEAD = 16,
    V2_SIGNATURE = 12,
    V2_UNIX_PATH = 108,
    COMMAND_LOCAL = 0,
    COMMAND_PROXY = 1,
    TLV_AUTHORITY = 0x02,
    TLV_CRC32C = 0x03,
    TLV_UNIQUE_ID = 0x05,
    UNIQUE_ID_MAX = 128,
    AUTHORITY_MAX = 255,
};

static const char signature[V2_SIGNATURE + 1] = "\r\n\r\n\0\r\nQUIT\n";

/* ---- version 1 ---- */

/* A number without sign or leading zeros. */
static bool read_port(struct text text, uint16_t *out)
{
    uint64_t port;
    if ((text.len > 1 && text.data[0] == '0') || !text_to_uint(text, UINT16_MAX, &port))
        return false;
    *out = (uint16_t)port;
    return true;
}

static bool read_ip(struct text text, int family, struct text port_text, struct address *out)
{
    uint16_t port;
    return text.len > 0 && text.data[0] != '[' && read_port(port_text, &port) &&
           address_parse_ip(text, port, out) == OK && address_family(out) == family;
}

/* "TCP4 source destination port port", or "UNKNOWN" and anything. */
static bool read_v1(struct text line, struct proxy_header *header)
{
    struct text words[5] = { 0 };
    struct text rest = line;
    if (text_equal(line, T("UNKNOWN")) || text_starts_with(line, T("UNKNOWN ")))
        return true;
    for (size_t i = 0; i < COUNT(words); i++)
        words[i] = text_next(&rest, ' ');
    bool is_v4 = text_equal(words[0], T("TCP4"));
    if (rest.data != NULL || (!is_v4 && !text_equal(words[0], T("TCP6"))))
        return false;
    int family = is_v4 ? AF_INET : AF_INET6;
    return read_ip(words[1], family, words[3], &header->source) &&
           read_ip(words[2], family, words[4], &header->destination);
}

static enum proxy_state parse_v1(struct text bytes, struct proxy_header *header)
{
    struct text line = text_part(bytes, 0, V1_MAX);
    ssize_t end = text_find_text(line, T("\r\n"));
    if (end < 0)
        return line.len < V1_MAX && text_find(line, '\n') < 0 ? PROXY_MORE : PROXY_BAD;
    header->version = PROXY_V1;
    header->len = (size_t)end + 2;
    return read_v1(text_skip(text_part(line, 0, (size_t)end), 6), header) ? PROXY_DONE : PROXY_BAD;
}

/* ---- version 2 ---- */

/* CRC-32C (RFC 3720 12.1), bit by bit: a header is short, and few carry one. */
static uint32_t crc32c(struct text bytes, size_t zero_from)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.len; i++) {
        bool is_zero = i >= zero_from && i < zero_from + 4;
        crc ^= is_zero ? 0 : (uint8_t)bytes.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (UINT32_C(0x82F63B78) & (0 - (crc & 1)));
    }
    return ~crc;
}

static void take_v4(struct reader *reader, struct address *source, struct address *destination)
{
    struct text ips = reader_take(reader, 8);
    uint16_t ports[2];
    ports[0] = read_u16(reader);
    ports[1] = read_u16(reader);
    struct address *out[] = { source, destination };
    for (size_t i = 0; i < 2 && !reader->bad; i++) {
        *out[i] = (struct address){ .len = sizeof(out[i]->u.v4) };
        out[i]->u.v4.sin_family = AF_INET;
        memcpy(&out[i]->u.v4.sin_addr, ips.data + 4 * i, 4);
        address_set_port(out[i], ports[i]);
    }
}

static void take_v6(struct reader *reader, struct address *source, struct address *destination)
{
    struct text ips = reader_take(reader, 32);
    uint16_t ports[2];
    ports[0] = read_u16(reader);
    ports[1] = read_u16(reader);
    struct address *out[] = { source, destination };
    for (size_t i = 0; i < 2 && !reader->bad; i++) {
        *out[i] = (struct address){ .len = sizeof(out[i]->u.v6) };
        out[i]->u.v6.sin6_family = AF_INET6;
        memcpy(&out[i]->u.v6.sin6_addr, ips.data + 16 * i, 16);
        address_set_port(out[i], ports[i]);
    }
}

/* A path fills its place with NULs; without a name, or an abstract one, it tells nothing. */
static void take_path(struct reader *reader, struct address *out)
{
    struct text place = reader_take(reader, V2_UNIX_PATH);
    ssize_t end = text_find(place, '\0');
    if (end > 0 && address_from_path(text_part(place, 0, (size_t)end), out) != OK)
        *out = (struct address){ 0 };
}

enum { FAMILY_UNSPEC, FAMILY_V4, FAMILY_V6, FAMILY_UNIX, FAMILIES, TRANSPORTS = 3 };

static bool take_addresses(struct reader *reader, uint8_t family, struct proxy_header *header)
{
    struct address source = { 0 }, destination = { 0 };
    if (family >> 4 >= FAMILIES || (family & 15) >= TRANSPORTS)
        return false;
    if (family >> 4 == FAMILY_V4) {
        take_v4(reader, &source, &destination);
    } else if (family >> 4 == FAMILY_V6) {
        take_v6(reader, &source, &destination);
    } else if (family >> 4 == FAMILY_UNIX) {
        take_path(reader, &source);
        take_path(reader, &destination);
    }
    if (!header->is_local && (family & 15) != 0) {
        header->source = source;
        header->destination = destination;
    }
    return !reader->bad;
}

/* bytes: the whole header. A type that is not known is left alone. */
static bool take_tlvs(struct reader *reader, struct text bytes, struct proxy_header *header)
{
    while (!reader->bad && reader_left(reader) > 0) {
        uint8_t type = read_u8(reader);
        struct text value = reader_take(reader, read_u16(reader));
        size_t at = reader->at - value.len;
        if (reader->bad)
            return false;
        if (type == TLV_AUTHORITY && value.len <= AUTHORITY_MAX)
            header->authority = value;
        if (type == TLV_UNIQUE_ID && value.len <= UNIQUE_ID_MAX)
            header->unique_id = value;
        if (type == TLV_CRC32C) {
            struct reader sum = reader_of(value);
            if (value.len != 4 || read_u32(&sum) != crc32c(bytes, at))
                return false;
        }
    }
    return !reader->bad;
}

static enum proxy_state parse_v2(struct text bytes, struct proxy_header *header)
{
    struct reader head = reader_of(text_skip(bytes, V2_SIGNATURE));
    uint8_t command = read_u8(&head), family = read_u8(&head);
    size_t len = read_u16(&head);
    if (bytes.len > V2_SIGNATURE && (command >> 4 != 2 || (command & 15) > COMMAND_PROXY))
        return PROXY_BAD;
    if (head.bad)
        return PROXY_MORE;
    header->len = V2_HEAD + len;
    if (header->len > PROXY_LIMIT)
        return PROXY_BAD;
    if (bytes.len < header->len)
        return PROXY_MORE;
    header->version = PROXY_V2;
    header->is_local = (command & 15) == COMMAND_LOCAL;
    struct text whole = text_part(bytes, 0, header->len);
    struct reader reader = reader_of(whole);
    reader_take(&reader, V2_HEAD);
    if (header->is_local && family >> 4 == FAMILY_UNSPEC)
        return PROXY_DONE; /* what follows must be skipped, whatever it is */
    bool is_good = take_addresses(&reader, family, header) &&
                   (family >> 4 == FAMILY_UNSPEC || take_tlvs(&reader, whole, header));
    return is_good ? PROXY_DONE : PROXY_BAD;
}

/* ---- both ---- */

static bool may_be(struct text bytes, struct text begin)
{
    return bytes.len >= begin.len ? text_starts_with(bytes, begin) : text_starts_with(begin, bytes);
}

enum proxy_state proxy_parse(struct text bytes, struct proxy_header *header_out)
{
    struct text begin = text_from(signature, V2_SIGNATURE);
    struct proxy_header header = { 0 };
    enum proxy_state state = PROXY_BAD;
    if (bytes.len == 0)
        return PROXY_MORE;
    if (may_be(bytes, begin))
        state = bytes.len < begin.len ? PROXY_MORE : parse_v2(bytes, &header);
    else if (may_be(bytes, T("PROXY ")))
        state = bytes.len < 6 ? PROXY_MORE : parse_v1(bytes, &header);
    if (state == PROXY_DONE)
        *header_out = header;
    return state;
}

/* ---- writing ---- */

/* IPv4 among IPv6 is written in IPv6's form: both addresses are of one family. */
static void put_ip(const struct address *address, bool is_v4, char *out)
{
    static const char mapped[12] = { [10] = (char)0xff, [11] = (char)0xff };
    if (is_v4) {
        memcpy(out, &address->u.v4.sin_addr, 4);
    } else if (address_family(address) == AF_INET) {
        memcpy(out, mapped, sizeof(mapped));
        memcpy(out + sizeof(mapped), &address->u.v4.sin_addr, 4);
    } else {
        memcpy(out, &address->u.v6.sin6_addr, 16);
    }
}

static void put_port(const struct address *address, char *out)
{
    uint16_t port = address_port(address);
    out[0] = (char)(port >> 8);
    out[1] = (char)port;
}

static size_t put_v2_head(char *out, int command, int family, size_t len)
{
    memcpy(out, signature, V2_SIGNATURE);
    out[12] = (char)(0x20 | command);
    out[13] = (char)family;
    out[14] = (char)(len >> 8);
    out[15] = (char)len;
    return V2_HEAD + len;
}

static size_t write_v2(const struct address *source, const struct address *destination, bool is_v4,
                       char *out)
{
    size_t ip = is_v4 ? 4 : 16;
    put_ip(source, is_v4, out + V2_HEAD);
    put_ip(destination, is_v4, out + V2_HEAD + ip);
    put_port(source, out + V2_HEAD + 2 * ip);
    put_port(destination, out + V2_HEAD + 2 * ip + 2);
    return put_v2_head(out, COMMAND_PROXY, (is_v4 ? FAMILY_V4 : FAMILY_V6) << 4 | 1, 2 * ip + 4);
}

static size_t write_v1(const struct address *source, const struct address *destination, bool is_v4,
                       char *out)
{
    char ips[2][ADDRESS_TEXT_SIZE];
    const struct address *both[] = { source, destination };
    for (size_t i = 0; i < 2; i++) {
        struct address wide = { .len = sizeof(wide.u.v6) };
        wide.u.v6.sin6_family = AF_INET6;
        put_ip(both[i], false, (char *)&wide.u.v6.sin6_addr);
        address_format_ip(is_v4 ? both[i] : &wide, ips[i]);
    }
    return (size_t)snprintf(out, PROXY_WRITE_MAX, "PROXY TCP%c %.45s %.45s %u %u\r\n",
                            is_v4 ? '4' : '6', ips[0], ips[1], address_port(source),
                            address_port(destination));
}

static bool is_ip(const struct address *address)
{
    int family = address_family(address);
    return family == AF_INET || family == AF_INET6;
}

size_t proxy_write(enum proxy_version version, const struct address *source,
                   const struct address *destination, char out[PROXY_WRITE_MAX])
{
    bool is_v4 = address_family(source) == AF_INET && address_family(destination) == AF_INET;
    bool is_told = is_ip(source) && is_ip(destination);
    if (version == PROXY_V1 && is_told)
        return write_v1(source, destination, is_v4, out);
    if (version == PROXY_V1)
        return proxy_write_local(version, out);
    return is_told ? write_v2(source, destination, is_v4, out)
                   : put_v2_head(out, COMMAND_PROXY, 0, 0);
}

size_t proxy_write_local(enum proxy_version version, char out[PROXY_WRITE_MAX])
{
    if (version == PROXY_V1)
        return (size_t)snprintf(out, PROXY_WRITE_MAX, "PROXY UNKNOWN\r\n");
    return put_v2_head(out, COMMAND_LOCAL, 0, 0);
}
