/* PROXY headers: whole, byte by byte, cut at each offset; and what is written is read again. */
#include "stream/proxy.h"

#include "core/test.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb" /* 192.0.2.1:56324 192.0.2.2:443 */
#define V6_IP "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0"
#define V6 V6_IP "\x01" V6_IP "\x02\xdc\x04\x01\xbb"
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define PATH_PLACE "/run/a\0\0" HUNDRED

struct example {
    const char *what;
    struct text bytes;
    enum proxy_state state;
    const char *source, *destination; /* NULL: none */
};

static const struct example examples[] = {
    { "v1", T("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), PROXY_DONE, "192.0.2.1:56324",
      "192.0.2.2:443" },
    { "v1 v6", T("PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n"), PROXY_DONE, "[2001:db8::1]:0",
      "[2001:db8::2]:65535" },
    { "v1 unknown", T("PROXY UNKNOWN\r\n"), PROXY_DONE, NULL, NULL },
    { "v1 unknown and more", T("PROXY UNKNOWN ffff:: ffff:: 1 1\r\n"), PROXY_DONE, NULL, NULL },
    { "v1 unknown as a prefix", T("PROXY UNKNOWNS\r\n"), PROXY_BAD, NULL, NULL },
    { "v1 port with a zero", T("PROXY TCP4 192.0.2.1 192.0.2.2 056 443\r\n"), PROXY_BAD, 0, 0 },
    { "v1 port too large", T("PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n"), PROXY_BAD, 0, 0 },
    { "v1 family mixed", T("PROXY TCP4 192.0.2.1 ::1 1 443\r\n"), PROXY_BAD, 0, 0 },
    { "v1 brackets", T("PROXY TCP6 [::1] ::1 1 443\r\n"), PROXY_BAD, 0, 0 },
    { "v1 two spaces", T("PROXY TCP4  192.0.2.1 192.0.2.2 1 443\r\n"), PROXY_BAD, 0, 0 },
    { "v1 one word more", T("PROXY TCP4 192.0.2.1 192.0.2.2 1 443 \r\n"), PROXY_BAD, 0, 0 },
    { "v1 one word less", T("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), PROXY_BAD, 0, 0 },
    { "v1 bare newline", T("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), PROXY_BAD, 0, 0 },
    { "v1 too long", T("PROXY UNKNOWN " HUNDRED "\r\n"), PROXY_BAD, 0, 0 },
    { "v1 lower case", T("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_BAD, 0, 0 },
    { "v1 other", T("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_BAD, 0, 0 },
    { "a request", T("GET / HTTP/1.1\r\n\r\n"), PROXY_BAD, 0, 0 },
    { "v2", T(SIGNATURE "\x21\x11\x00\x0c" V4), PROXY_DONE, "192.0.2.1:56324", "192.0.2.2:443" },
    { "v2 v6", T(SIGNATURE "\x21\x21\x00\x24" V6), PROXY_DONE, "[2001:db8::1]:56324",
      "[2001:db8::2]:443" },
    { "v2 unix", T(SIGNATURE "\x21\x31\x00\xd8" PATH_PLACE PATH_PLACE), PROXY_DONE, "unix:/run/a",
      "unix:/run/a" },
    { "v2 unix without an end",
      T(SIGNATURE "\x21\x31\x00\xd8"
                  "87654321" HUNDRED PATH_PLACE),
      PROXY_DONE, NULL, "unix:/run/a" },
    { "v2 local", T(SIGNATURE "\x20\x00\x00\x00"), PROXY_DONE, NULL, NULL },
    { "v2 local with what is skipped", T(SIGNATURE "\x20\x00\x00\x03xyz"), PROXY_DONE, 0, 0 },
    { "v2 local with addresses", T(SIGNATURE "\x20\x11\x00\x0c" V4), PROXY_DONE, 0, 0 },
    { "v2 unspec", T(SIGNATURE "\x21\x00\x00\x00"), PROXY_DONE, 0, 0 },
    { "v2 unspec and bytes",
      T(SIGNATURE "\x21\x00\x00\x05"
                  "\1\1\1\1\1"),
      PROXY_DONE, 0, 0 },
    { "v2 family without transport", T(SIGNATURE "\x21\x10\x00\x0c" V4), PROXY_DONE, 0, 0 },
    { "v2 datagram", T(SIGNATURE "\x21\x12\x00\x0c" V4), PROXY_DONE, "192.0.2.1:56324",
      "192.0.2.2:443" },
    { "v2 command", T(SIGNATURE "\x22\x11\x00\x0c" V4), PROXY_BAD, 0, 0 },
    { "v2 version", T(SIGNATURE "\x31\x11\x00\x0c" V4), PROXY_BAD, 0, 0 },
    { "v2 family", T(SIGNATURE "\x21\x41\x00\x0c" V4), PROXY_BAD, 0, 0 },
    { "v2 transport", T(SIGNATURE "\x21\x13\x00\x0c" V4), PROXY_BAD, 0, 0 },
    { "v2 short addresses", T(SIGNATURE "\x21\x11\x00\x0b" V4), PROXY_BAD, 0, 0 },
    { "v2 longer than the limit", T(SIGNATURE "\x21\x11\xff\xff" V4), PROXY_BAD, 0, 0 },
    { "v2 tlv", T(SIGNATURE "\x21\x11\x00\x15" V4 "\x02\x00\x01y\x05\x00\x02zz"), PROXY_DONE,
      "192.0.2.1:56324", "192.0.2.2:443" },
    { "v2 unknown tlv", T(SIGNATURE "\x21\x11\x00\x0f" V4 "\xe0\x00\x00"), PROXY_DONE,
      "192.0.2.1:56324", "192.0.2.2:443" },
    { "v2 tlv past the end", T(SIGNATURE "\x21\x11\x00\x0f" V4 "\x02\x00\x01"), PROXY_BAD, 0, 0 },
    { "v2 half a tlv", T(SIGNATURE "\x21\x11\x00\x0e" V4 "\x02\x00"), PROXY_BAD, 0, 0 },
    { "v2 wrong sum", T(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04zzzz"), PROXY_BAD, 0, 0 },
};

static bool is_same(const struct address *address, const char *text)
{
    char out[ADDRESS_TEXT_SIZE];
    address_format(address, out);
    return text == NULL ? address->len == 0 : strcmp(out, text) == 0;
}

TEST(proxy_headers_are_read)
{
    for (size_t i = 0; i < COUNT(examples); i++) {
        const struct example *at = &examples[i];
        struct proxy_header header = { 0 };
        enum proxy_state state = proxy_parse(at->bytes, &header);
        CHECK(state == at->state, "%s: %d", at->what, (int)state);
        if (state != PROXY_DONE)
            continue;
        CHECK(header.len == at->bytes.len, "%s: %zu of %zu", at->what, header.len, at->bytes.len);
        CHECK(is_same(&header.source, at->source), "%s: source", at->what);
        CHECK(is_same(&header.destination, at->destination), "%s: destination", at->what);
    }
}

TEST(proxy_headers_are_read_byte_by_byte)
{
    for (size_t i = 0; i < COUNT(examples); i++) {
        const struct example *at = &examples[i];
        struct proxy_header header = { 0 };
        enum proxy_state state = PROXY_MORE;
        size_t have = 0;
        while (state == PROXY_MORE && have <= at->bytes.len)
            state = proxy_parse(text_from(at->bytes.data, have++), &header);
        CHECK(state == at->state, "%s: %d after %zu bytes", at->what, (int)state, have);
        CHECK(state != PROXY_DONE || have == at->bytes.len + 1, "%s: none too early", at->what);
    }
}

TEST(proxy_tlvs_are_found)
{
    struct text bytes = T(SIGNATURE "\x21\x11\x00\x1d" V4 "\x02\x00\x01y\x05\x00\x02zz\x01\x00\x05"
                                    "hello"
                                    "GET");
    struct proxy_header header = { 0 };
    REQUIRE(proxy_parse(bytes, &header) == PROXY_DONE, "is read");
    CHECK(header.len == bytes.len - 3, "what follows is the client's");
    CHECK(text_equal(header.authority, T("y")), "authority");
    CHECK(text_equal(header.unique_id, T("zz")), "id");
}

TEST(proxy_sum_is_checked)
{
    /* worked out by another program over the header with a zeroed sum */
    char bytes[] = SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x00\x00\x00\x00";
    struct text text = text_from(bytes, sizeof(bytes) - 1);
    struct proxy_header header = { 0 };
    CHECK(proxy_parse(text, &header) == PROXY_BAD, "zeros are not it");
    memcpy(bytes + text.len - 4, "\xd6\xc8\xc7\x5f", 4);
    CHECK(proxy_parse(text, &header) == PROXY_DONE, "the right one");
    bytes[20]++;
    CHECK(proxy_parse(text, &header) == PROXY_BAD, "a bit was turned");
}

TEST(proxy_headers_are_written)
{
    static const struct {
        const char *source, *destination;
        const char *v1;
        const char *v2_source; /* as it is read again */
    } cases[] = {
        { "192.0.2.1:56324", "192.0.2.2:443", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
          "192.0.2.1:56324" },
        { "[2001:db8::1]:1", "[2001:db8::2]:2", "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
          "[2001:db8::1]:1" },
        { "192.0.2.1:1", "[2001:db8::2]:2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n",
          "[::ffff:192.0.2.1]:1" },
        { "unix:/run/a", "192.0.2.2:1", "PROXY UNKNOWN\r\n", NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct address source, destination;
        struct proxy_header header = { 0 };
        char out[PROXY_WRITE_MAX];
        REQUIRE(address_parse(text_of(cases[i].source), &source) == OK &&
                    address_parse(text_of(cases[i].destination), &destination) == OK,
                "addresses");
        size_t len = proxy_write(PROXY_V1, &source, &destination, out);
        CHECK(text_equal(text_from(out, len), text_of(cases[i].v1)), "%.*s", (int)len, out);
        len = proxy_write(PROXY_V2, &source, &destination, out);
        REQUIRE(proxy_parse(text_from(out, len), &header) == PROXY_DONE, "is read again");
        CHECK(header.len == len && is_same(&header.source, cases[i].v2_source), "%s",
              cases[i].source);
    }
}

TEST(proxy_local_headers_are_written)
{
    for (int version = PROXY_V1; version <= PROXY_V2; version++) {
        struct proxy_header header = { 0 };
        char out[PROXY_WRITE_MAX];
        size_t len = proxy_write_local((enum proxy_version)version, out);
        CHECK(proxy_parse(text_from(out, len), &header) == PROXY_DONE, "v%d is read", version);
        CHECK(header.source.len == 0 && header.len == len, "v%d tells no address", version);
        CHECK(version == PROXY_V1 || header.is_local, "v2 says that it is local");
    }
}
