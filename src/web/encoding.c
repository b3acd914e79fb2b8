/*
 * Content codings. A coding that is not named gets the quality of "*"; identity, when it is not
 * named either, is the last resort: acceptable with the least weight, unless "*;q=0" says no.
 */
#include "web/encoding.h"

static const struct {
    struct text name;
    struct text suffix;
} encoding_table[ENCODING_COUNT] = {
    [ENCODING_IDENTITY] = { { "identity", 8 }, { "", 0 } },
    [ENCODING_BR] = { { "br", 2 }, { "br", 2 } },
    [ENCODING_ZSTD] = { { "zstd", 4 }, { "zst", 3 } },
    [ENCODING_GZIP] = { { "gzip", 4 }, { "gz", 2 } },
};

const enum web_encoding web_encoding_by_size[ENCODING_COUNT] = { ENCODING_BR, ENCODING_ZSTD,
                                                                 ENCODING_GZIP, ENCODING_IDENTITY };
const enum web_encoding web_encoding_by_speed[ENCODING_COUNT] = { ENCODING_ZSTD, ENCODING_BR,
                                                                  ENCODING_GZIP,
                                                                  ENCODING_IDENTITY };

struct text web_encoding_name(enum web_encoding encoding)
{
    return encoding_table[encoding].name;
}

struct text web_encoding_suffix(enum web_encoding encoding)
{
    return encoding_table[encoding].suffix;
}

/* qvalue of RFC 9110 12.4.2: "0" or "1", a point, up to three digits. */
static bool quality_parse(struct text text, uint16_t *out)
{
    if (text.len < 1 || text.len > 5 || (text.data[0] != '0' && text.data[0] != '1'))
        return false;
    if (text.len > 1 && text.data[1] != '.')
        return false;
    unsigned value = text.data[0] == '1' ? 1000 : 0;
    unsigned unit = 100;
    for (size_t i = 2; i < text.len; i++, unit /= 10) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value += (unsigned)(text.data[i] - '0') * unit;
    }
    if (value > 1000)
        return false;
    *out = (uint16_t)value;
    return true;
}

/* One member: "gzip", "gzip;q=0.5". False when malformed. */
static bool member_parse(struct text member, struct text *name_out, uint16_t *quality_out)
{
    struct text rest = member;
    *name_out = text_trim(text_next(&rest, ';'));
    *quality_out = 1000;
    rest = text_trim(rest);
    if (rest.len >= 2 && text_lower(rest.data[0]) == 'q' && rest.data[1] == '=')
        return quality_parse(text_trim(text_skip(rest, 2)), quality_out);
    return rest.len == 0;
}

enum { NOT_NAMED = 0xffff };

static void members_read(struct web_encodings *out, uint16_t *star, struct text value)
{
    while (value.len > 0) {
        struct text name;
        uint16_t quality;
        if (!member_parse(text_next(&value, ','), &name, &quality))
            continue;
        if (text_equal(name, T("*")))
            *star = quality;
        if (text_equal_fold(name, T("x-gzip"))) /* RFC 9110 8.4.1.3: the same */
            name = T("gzip");
        for (int i = 0; i < ENCODING_COUNT; i++)
            if (text_equal_fold(name, encoding_table[i].name))
                out->quality[i] = quality;
    }
}

static struct web_encodings encodings_not_named(void)
{
    struct web_encodings encodings;
    for (int i = 0; i < ENCODING_COUNT; i++)
        encodings.quality[i] = NOT_NAMED;
    return encodings;
}

static void encodings_complete(struct web_encodings *encodings, uint16_t star)
{
    for (int i = 0; i < ENCODING_COUNT; i++)
        if (encodings->quality[i] == NOT_NAMED && i != ENCODING_IDENTITY)
            encodings->quality[i] = star == NOT_NAMED ? 0 : star;
    if (encodings->quality[ENCODING_IDENTITY] == NOT_NAMED)
        encodings->quality[ENCODING_IDENTITY] = star == 0 ? 0 : 1;
}

struct web_encodings web_encoding_parse(struct text value)
{
    struct web_encodings encodings = encodings_not_named();
    uint16_t star = NOT_NAMED;
    members_read(&encodings, &star, value);
    encodings_complete(&encodings, star);
    return encodings;
}

struct web_encodings web_encoding_accepted(const struct http_headers *headers)
{
    struct web_encodings encodings = encodings_not_named();
    uint16_t star = NOT_NAMED;
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].field == FIELD_ACCEPT_ENCODING)
            members_read(&encodings, &star, headers->items[i].value);
    encodings_complete(&encodings, star);
    return encodings;
}

enum web_encoding web_encoding_choose(const struct web_encodings *accepted, unsigned available,
                                      const enum web_encoding order[ENCODING_COUNT])
{
    enum web_encoding best = ENCODING_IDENTITY;
    uint16_t best_quality = accepted->quality[ENCODING_IDENTITY];
    bool is_first = true;
    for (int i = 0; i < ENCODING_COUNT; i++) {
        enum web_encoding at = order[i];
        bool is_there = (available & ENCODING_BIT(at)) != 0;
        uint16_t quality = accepted->quality[at];
        if (!is_there || quality == 0 || at == ENCODING_IDENTITY)
            continue;
        /* a tie with identity is won by the smaller body */
        if (quality > best_quality || (is_first && quality == best_quality)) {
            best = at;
            best_quality = quality;
            is_first = false;
        }
    }
    return best;
}
