/* The pure parts of resolving: queries, answers, /etc/hosts. */
#include "stream/resolve.h"

#include "core/reader.h"

enum {
    HEAD_BYTES = 12,
    NAME_MOST = 253,
    LABEL_MOST = 63,
    CLASS_IN = 1,
    TYPE_OPT = 41,
    UDP_BYTES = 1232, /* fits any path without fragments */
    FLAG_ANSWER = 0x8000,
    FLAG_RECURSE = 0x0100,
    RCODE_MASK = 15,
    RCODE_NO_NAME = 3,
    TTL_MOST_S = 3600,
    TTL_HOSTS_S = 10,
};

static uint8_t *put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

size_t resolve_write_query(struct text name, uint16_t id, uint16_t type,
                           uint8_t out[RESOLVE_QUERY_SIZE])
{
    struct text rest = name;
    if (text_ends_with(rest, T(".")))
        rest.len--;
    if (rest.len == 0 || rest.len > NAME_MOST)
        return 0;
    uint8_t *at = put_u16(out, id);
    at = put_u16(at, FLAG_RECURSE);
    at = put_u16(at, 1); /* question */
    at = put_u16(put_u16(at, 0), 0);
    at = put_u16(at, 1); /* OPT */
    while (rest.data != NULL) {
        struct text label = text_next(&rest, '.');
        if (label.len == 0 || label.len > LABEL_MOST)
            return 0;
        *at++ = (uint8_t)label.len;
        memcpy(at, label.data, label.len);
        at += label.len;
    }
    *at++ = 0;
    at = put_u16(put_u16(at, type), CLASS_IN);
    *at++ = 0; /* OPT: the root's name, type, size, no flags, no options */
    at = put_u16(put_u16(at, TYPE_OPT), UDP_BYTES);
    at = put_u16(put_u16(put_u16(at, 0), 0), 0);
    return (size_t)(at - out);
}

static void add(struct resolve_answer *answer, const struct address *address)
{
    for (size_t i = 0; i < answer->count; i++)
        if (address_equal(&answer->addresses[i], address))
            return;
    if (answer->count < RESOLVE_ADDRESSES)
        answer->addresses[answer->count++] = *address;
}

static void add_bytes(struct resolve_answer *answer, struct text bytes, uint16_t port)
{
    struct address address = { 0 };
    if (bytes.len == sizeof(address.u.v4.sin_addr)) {
        address.u.v4.sin_family = AF_INET;
        memcpy(&address.u.v4.sin_addr, bytes.data, bytes.len);
        address.len = sizeof(address.u.v4);
    } else {
        address.u.v6.sin6_family = AF_INET6;
        memcpy(&address.u.v6.sin6_addr, bytes.data, bytes.len);
        address.len = sizeof(address.u.v6);
    }
    address_set_port(&address, port);
    add(answer, &address);
}

/* ---- answers ---- */

static void skip_name(struct reader *reader)
{
    for (;;) {
        uint8_t len = read_u8(reader);
        if (reader->bad || len == 0)
            return;
        if ((len & 0xc0) == 0xc0) {
            read_u8(reader);
            return;
        }
        if (len > LABEL_MOST)
            reader->bad = true;
        reader_take(reader, len);
    }
}

static void read_record(struct reader *reader, uint16_t type, uint16_t port,
                        struct resolve_answer *answer)
{
    skip_name(reader);
    uint16_t its_type = read_u16(reader), its_class = read_u16(reader);
    int64_t ttl_s = read_u32(reader);
    struct text data = reader_take(reader, read_u16(reader));
    if (reader->bad || its_class != CLASS_IN)
        return;
    if (ttl_s < answer->ttl_s)
        answer->ttl_s = ttl_s;
    if (its_type == type && data.len == (type == RESOLVE_A ? 4U : 16U))
        add_bytes(answer, data, port);
}

bool resolve_read_answer(struct text packet, struct text query, uint16_t port,
                         struct resolve_answer *answer)
{
    struct reader asked = reader_of(query), reader = reader_of(packet);
    uint16_t id = read_u16(&asked), its_id = read_u16(&reader), flags = read_u16(&reader);
    uint16_t questions = read_u16(&reader), records = read_u16(&reader);
    reader_take(&reader, 4);
    reader_take(&asked, HEAD_BYTES - 2);
    size_t question_at = asked.at;
    skip_name(&asked);
    uint16_t type = read_u16(&asked);
    struct text question = text_part(query, question_at, asked.at + 2 - question_at);
    if (reader.bad || asked.bad || its_id != id || (flags & FLAG_ANSWER) == 0)
        return false;
    unsigned rcode = flags & RCODE_MASK;
    if (questions == 0 && rcode != 0 && rcode != RCODE_NO_NAME) {
        answer->err = ERR_SYSTEM; /* some say no more when they refuse */
        answer->ttl_s = TTL_MOST_S;
        return true;
    }
    /* some servers change the case of the name; type and class have none */
    if (questions != 1 || !text_equal_fold(reader_take(&reader, question.len), question))
        return false;
    answer->ttl_s = TTL_MOST_S;
    for (unsigned i = 0; i < records && !reader.bad; i++)
        read_record(&reader, type, port, answer);
    /* a truncated answer has some of the addresses: enough to go on */
    if (rcode == RCODE_NO_NAME)
        answer->err = ERR_NOT_FOUND;
    else
        answer->err = rcode == 0 ? OK : ERR_SYSTEM;
    return true;
}

/* ---- /etc/hosts ---- */

static struct text next_word(struct text *line)
{
    size_t from = 0;
    while (from < line->len &&
           (line->data[from] == ' ' || line->data[from] == '\t' || line->data[from] == '\r'))
        from++;
    size_t to = from;
    while (to < line->len && line->data[to] != ' ' && line->data[to] != '\t' &&
           line->data[to] != '\r')
        to++;
    struct text word = text_part(*line, from, to - from);
    *line = text_skip(*line, to);
    return word;
}

void resolve_read_hosts(struct text hosts, struct text name, uint16_t port,
                        struct resolve_answer *answer)
{
    while (hosts.data != NULL && hosts.len > 0) {
        struct text line = text_next(&hosts, '\n');
        line = text_next(&line, '#');
        struct text ip = next_word(&line);
        for (struct text word = next_word(&line); word.len > 0; word = next_word(&line)) {
            struct address address;
            if (text_equal_fold(word, name) && address_parse_ip(ip, port, &address) == OK) {
                add(answer, &address);
                answer->ttl_s = TTL_HOSTS_S;
            }
        }
    }
}
