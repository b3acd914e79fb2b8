/* HPACK: the examples of RFC 7541, what is refused, and nghttp2 as the other side. */
#include "http/hpack.h"

#include "core/memory.h"
#include "core/test.h"

#include <nghttp2/nghttp2.h>

enum { SCRATCH_BYTES = 5 * HPACK_STRING_BYTES, MOST_FIELDS = 40 };

struct decoding {
    struct hpack_decoder decoder;
    struct buffer scratch;
    struct buffer seen; /* "name: value\n" of all fields */
};

static void decoding_init(struct decoding *d)
{
    *d = (struct decoding){ .scratch = buffer_of(SCRATCH_BYTES), .seen = buffer_of(1 << 20) };
    hpack_decoder_init(&d->decoder);
}

static void decoding_done(struct decoding *d)
{
    hpack_decoder_done(&d->decoder);
    buffer_done(&d->scratch);
    buffer_done(&d->seen);
}

static enum hpack_state take(struct decoding *d, struct text *in)
{
    struct hpack_field field;
    enum hpack_state state;
    while ((state = hpack_decode(&d->decoder, in, &d->scratch, &field)) == HPACK_FIELD) {
        buffer_append(&d->seen, field.name);
        buffer_append(&d->seen, T(": "));
        buffer_append(&d->seen, field.value);
        buffer_append(&d->seen, T("\n"));
    }
    return state;
}

/* A whole block in pieces that end at each multiple of `piece`. True: it is good. */
static bool decode(struct decoding *d, struct text block, size_t piece)
{
    struct buffer rest = buffer_of(1 << 20);
    bool is_good = true;
    hpack_decode_begin(&d->decoder);
    buffer_clear(&d->seen);
    for (size_t at = 0; at < block.len && is_good; at += piece) {
        buffer_append(&rest, text_part(block, at, piece));
        struct text in = buffer_text(&rest);
        is_good = take(d, &in) == HPACK_MORE;
        buffer_consume(&rest, rest.len - in.len);
    }
    is_good = is_good && rest.len == 0;
    buffer_done(&rest);
    return is_good;
}

#define GET_1 ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
#define GET_2 GET_1 "cache-control: no-cache\n"
#define GET_3                                                                                      \
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n"              \
    "custom-key: custom-value\n"

TEST(hpack_decodes_the_examples)
{
    static const struct {
        struct text block[3];
        const char *seen[3];
        size_t size; /* of the table at the end */
    } cases[] = {
        /* C.3, C.4: requests on one connection, plain and coded */
        { { { "\x82\x86\x84\x41\x0fwww.example.com", 20 },
            { "\x82\x86\x84\xbe\x58\x08no-cache", 14 },
            { "\x82\x87\x85\xbf\x40\x0a"
              "custom-key\x0c"
              "custom-value",
              29 } },
          { GET_1, GET_2, GET_3 },
          164 },
        { { { "\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", 17 },
            { "\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf", 12 },
            { "\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b"
              "\xb8\xe8\xb4\xbf",
              24 } },
          { GET_1, GET_2, GET_3 },
          164 },
        /* C.2: never indexed, not indexed, added */
        { { { "\x10\x08password\x06secret", 17 },
            { "\x04\x0c/sample/path", 14 },
            { "\x40\x0a"
              "custom-key\x0d"
              "custom-header",
              26 } },
          { "password: secret\n", ":path: /sample/path\n", "custom-key: custom-header\n" },
          55 },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t piece = 1; piece <= 30; piece++) {
            struct decoding d;
            decoding_init(&d);
            for (size_t k = 0; k < 3; k++) {
                CHECK(decode(&d, cases[i].block[k], piece), "case %zu, block %zu, pieces of %zu", i,
                      k, piece);
                CHECK(text_equal(buffer_text(&d.seen), text_of(cases[i].seen[k])),
                      "case %zu, block %zu: '%.*s'", i, k, FMT(buffer_text(&d.seen)));
            }
            CHECK(d.decoder.table.size == cases[i].size, "case %zu: a table of %u", i,
                  d.decoder.table.size);
            decoding_done(&d);
        }
}

TEST(hpack_refuses_what_is_none)
{
    static const struct {
        const char *what;
        struct text block;
    } cases[] = {
        { "index 0", { "\x80", 1 } },
        { "index that is not there", { "\xbe", 1 } },
        { "far index", { "\xff\x80\x80\x01", 4 } },
        { "integer without end", { "\xff\xff\xff\xff\xff\xff\x7f", 7 } },
        { "name that is not there", { "\x7e\x01z", 3 } },
        { "table over our limit", { "\x3f\xe2\x1f", 3 } },
        { "table changed behind a field", { "\x82\x20", 2 } },
        { "string over every limit", { "\x40\x7f\x82\xff\x03", 5 } },
        { "coded string with the end symbol", { "\x40\x84\xff\xff\xff\xff\x01z", 8 } },
        { "padding of eight bits", { "\x40\x82\x1f\xff\x01z", 6 } },
        { "padding of zeros", { "\x40\x81\x18\x01z", 5 } },
        { "nothing but padding", { "\x40\x81\xff\x01z", 5 } },
        { "a field that is cut off", { "\x40\x01x\x05y", 5 } },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t piece = 1; piece <= 8; piece++) {
            struct decoding d;
            decoding_init(&d);
            CHECK(!decode(&d, cases[i].block, piece), "%s", cases[i].what);
            decoding_done(&d);
        }
}

TEST(hpack_table_keeps_its_size)
{
    struct hpack_table table;
    struct hpack_field field;
    char value[3000];
    hpack_table_init(&table);
    for (size_t i = 0; i < 20000; i++) {
        size_t len = i * 7919 % (i % 50 == 0 ? 3000 : 60);
        memset(value, 'a' + (int)(i % 26), len);
        hpack_table_add(&table, T("name"), text_from(value, len), 0);
        CHECK(table.size <= HPACK_TABLE_BYTES && table.capacity <= 2 * HPACK_TABLE_BYTES,
              "%u bytes in %u", table.size, table.capacity);
        for (uint32_t age = 0; age < table.count && age < 3; age++) {
            size_t then = i - age;
            bool is_there = hpack_table_get(&table, 62 + age, &field);
            CHECK(is_there && field.value.len == then * 7919 % (then % 50 == 0 ? 3000 : 60) &&
                      (field.value.len == 0 ||
                       field.value.data[field.value.len - 1] == (char)('a' + (int)(then % 26))),
                  "%zu, %u before", i, age);
        }
    }
    size_t made = 0;
    for (size_t i = 0; i < 20000; i++) {
        made = i == 10000 ? memory_count() : made;
        hpack_table_add(&table, T("name"), text_from(value, i % 60), 0);
    }
    CHECK(memory_count() == made, "nothing is allocated");
    CHECK(!hpack_table_get(&table, 62 + table.count, &field), "behind the last");
    hpack_table_add(&table, text_from(value, 2000), text_from(value, 2065), 0);
    CHECK(table.count == 0 && table.size == 0, "what does not fit empties it");
    hpack_table_add(&table, text_from(value, 2000), text_from(value, 2064), 0);
    CHECK(table.count == 1 && table.size == HPACK_TABLE_BYTES, "what just fits is there");
    hpack_table_resize(&table, 100);
    CHECK(table.count == 0, "a smaller one");
    hpack_table_done(&table);
}

TEST(hpack_huffman_of_each_byte)
{
    char plain[3], coded[16], back[16];
    for (unsigned first = 0; first < 256; first++)
        for (unsigned second = 0; second < 256; second++) {
            plain[0] = (char)first;
            plain[1] = (char)second;
            plain[2] = 'x';
            struct text text = text_from(plain, sizeof(plain));
            char *end = hpack_huffman_encode(text, coded);
            size_t len = (size_t)(end - coded);
            CHECK(len == hpack_huffman_len(text), "length");
            ssize_t got = hpack_huffman_decode(text_from(coded, len), back);
            CHECK(got == 3 && memcmp(plain, back, 3) == 0, "%u %u", first, second);
        }
}

/* ---- nghttp2 as the other side ---- */

static const char *const names[] = {
    "date", "server", "content-type", "x-a-name-of-ours", "content-length", "set-cookie", "vary",
};

/* Values that come again and those that do not, short, long and empty ones, any bytes. */
static size_t make_value(unsigned *seed, char *out)
{
    *seed = *seed * 1103515245 + 12345;
    unsigned kind = *seed >> 16 & 7;
    size_t len = kind == 0 ? 0 : kind == 1 ? 1500 : *seed >> 20 & 31;
    unsigned step = kind < 6 ? 0 : *seed >> 24;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(kind == 7 ? step + i * 37 : 'a' + (i + step) % 26);
    return len;
}

static void check_inflated(nghttp2_hd_inflater *inflater, const char *block, const char *end,
                           const struct hpack_field *fields, size_t count)
{
    const uint8_t *at = (const uint8_t *)block;
    size_t left = (size_t)(end - block), seen = 0;
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, at, left, 1);
        REQUIRE(used >= 0, "nghttp2 says %s", nghttp2_strerror((int)used));
        at += used;
        left -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            REQUIRE(seen < count, "more fields than were sent");
            CHECK(text_equal(fields[seen].name, text_from((char *)nv.name, nv.namelen)) &&
                      text_equal(fields[seen].value, text_from((char *)nv.value, nv.valuelen)),
                  "field %zu", seen);
            seen++;
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0)
            break;
    }
    CHECK(seen == count, "%zu of %zu fields", seen, count);
    nghttp2_hd_inflate_end_headers(inflater);
}

TEST(hpack_encodes_for_nghttp2)
{
    static char values[MOST_FIELDS][1600], block[1 << 18];
    struct hpack_encoder encoder;
    nghttp2_hd_inflater *inflater;
    unsigned seed = 1;
    hpack_encoder_init(&encoder);
    REQUIRE(nghttp2_hd_inflate_new(&inflater) == 0, "inflater");
    for (int round = 0; round < 500; round++) {
        struct hpack_field fields[MOST_FIELDS + 1];
        size_t count = 0;
        if (round % 40 == 39) { /* the peer changes its table, also twice between two blocks */
            uint32_t limit = round % 80 == 39 ? 200 : 4096;
            hpack_encoder_limit(&encoder, 50);
            nghttp2_hd_inflate_change_table_size(inflater, 50);
            hpack_encoder_limit(&encoder, limit);
            nghttp2_hd_inflate_change_table_size(inflater, limit);
        }
        char *end = hpack_encode_begin(&encoder, block);
        int status = 200 + round;
        char digits[TEXT_UINT_SIZE];
        end = hpack_encode_status(&encoder, end, status);
        fields[count++] =
            (struct hpack_field){ T(":status"),
                                  text_from(digits, text_write_uint((uint64_t)status, digits)) };
        for (size_t i = 0; i < MOST_FIELDS; i++) {
            struct text name = text_of(names[(seed >> 8) % COUNT(names)]);
            struct text value = text_from(values[i], make_value(&seed, values[i]));
            char *before = end;
            end = hpack_encode(&encoder, end, name, value, (enum hpack_use)(i % 3));
            CHECK((size_t)(end - before) <= name.len + value.len + HPACK_FIELD_MOST, "room");
            fields[count++] = (struct hpack_field){ name, value };
        }
        check_inflated(inflater, block, end, fields, count);
    }
    nghttp2_hd_inflate_del(inflater);
    hpack_encoder_done(&encoder);
}

TEST(hpack_decodes_nghttp2)
{
    static char values[MOST_FIELDS][1600];
    static uint8_t block[1 << 18];
    struct decoding d;
    nghttp2_hd_deflater *deflater;
    unsigned seed = 7;
    decoding_init(&d);
    REQUIRE(nghttp2_hd_deflate_new(&deflater, 4096) == 0, "deflater");
    for (int round = 0; round < 300; round++) {
        nghttp2_nv nv[MOST_FIELDS];
        struct buffer wanted = buffer_of(1 << 20);
        if (round % 50 == 49)
            nghttp2_hd_deflate_change_table_size(deflater, round % 100 == 49 ? 100 : 4096);
        for (size_t i = 0; i < MOST_FIELDS; i++) {
            struct text name = text_of(names[(seed >> 8) % COUNT(names)]);
            struct text value = text_from(values[i], make_value(&seed, values[i]));
            nv[i] = (nghttp2_nv){ (uint8_t *)(uintptr_t)name.data, (uint8_t *)values[i], name.len,
                                  value.len, NGHTTP2_NV_FLAG_NONE };
            buffer_append(&wanted, name);
            buffer_append(&wanted, T(": "));
            buffer_append(&wanted, value);
            buffer_append(&wanted, T("\n"));
        }
        ssize_t len = nghttp2_hd_deflate_hd(deflater, block, sizeof(block), nv, MOST_FIELDS);
        CHECK(len > 0 && decode(&d, text_from((char *)block, (size_t)len),
                                round % 3 == 0 ? 7 : (size_t)len),
              "round %d", round);
        CHECK(text_equal(buffer_text(&d.seen), buffer_text(&wanted)), "round %d: fields", round);
        buffer_done(&wanted);
    }
    nghttp2_hd_deflate_del(deflater);
    decoding_done(&d);
}

TEST(hpack_encoder_says_when_a_block_stays_the_same)
{
    struct hpack_encoder encoder;
    char block[256], again[256];
    hpack_encoder_init(&encoder);
    hpack_encode(&encoder, block, T("server"), T("Trilith"), HPACK_KEEP);
    uint32_t changes = encoder.changes;
    char *end = hpack_encode(&encoder, block, T("server"), T("Trilith"), HPACK_KEEP);
    char *other = hpack_encode(&encoder, again, T("server"), T("Trilith"), HPACK_KEEP);
    CHECK(encoder.changes == changes && end - block == 1 && other - again == 1, "an index");
    hpack_encode(&encoder, block, T("etag"), T("\"1\""), HPACK_PASS);
    CHECK(encoder.changes == changes, "what passes changes nothing");
    hpack_encoder_limit(&encoder, 0);
    CHECK(encoder.changes != changes, "another limit does");
    end = hpack_encode_begin(&encoder, block);
    CHECK(end - block == 1 && block[0] == 0x20, "a table of nothing is told");
    end = hpack_encode(&encoder, block, T("server"), T("Trilith"), HPACK_KEEP);
    CHECK(end - block > 1 && encoder.table.count == 0, "nothing is kept any more");
    hpack_encoder_done(&encoder);
}
