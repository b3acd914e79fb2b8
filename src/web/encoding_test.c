/* Choice of a content coding. */
#include "web/encoding.h"
#include "core/test.h"

enum {
    BR = ENCODING_BIT(ENCODING_BR),
    ZSTD = ENCODING_BIT(ENCODING_ZSTD),
    GZIP = ENCODING_BIT(ENCODING_GZIP)
};

TEST(web_encoding_chooses_by_quality)
{
    static const struct {
        const char *accept;
        unsigned available;
        enum web_encoding want;
    } cases[] = {
        { "", ENCODING_ALL, ENCODING_IDENTITY },
        { "gzip", ENCODING_ALL, ENCODING_GZIP },
        { "GZIP", ENCODING_ALL, ENCODING_GZIP },
        { "x-gzip", ENCODING_ALL, ENCODING_GZIP },
        { "gzip, deflate, br, zstd", ENCODING_ALL, ENCODING_BR },
        { "gzip, deflate, br, zstd", ZSTD | GZIP, ENCODING_ZSTD },
        { "gzip, deflate, br", ZSTD, ENCODING_IDENTITY },
        { "gzip;q=1.0, br;q=0.5", ENCODING_ALL, ENCODING_GZIP },
        { "gzip ; q=0.001 , br;q=0", ENCODING_ALL, ENCODING_GZIP },
        { "gzip;q=0", GZIP, ENCODING_IDENTITY },
        { "*", ENCODING_ALL, ENCODING_BR },
        { "*;q=0", ENCODING_ALL, ENCODING_IDENTITY },
        { "*;q=0.5, br;q=0", ENCODING_ALL, ENCODING_ZSTD },
        { "identity, gzip;q=0.5", GZIP, ENCODING_IDENTITY },
        { "identity;q=0.5, gzip;q=0.8", GZIP, ENCODING_GZIP },
        { "identity;q=0, gzip", 0, ENCODING_IDENTITY },
        { "gzip;q=2", GZIP, ENCODING_IDENTITY },
        { "gzip;q=0.1234", GZIP, ENCODING_IDENTITY },
        { "gzip;q=", GZIP, ENCODING_IDENTITY },
        { "gzip;level=9", GZIP, ENCODING_IDENTITY },
        { ",,;,gzip,,", GZIP, ENCODING_GZIP },
        { "gzipp, gzi", GZIP, ENCODING_IDENTITY },
        { "deflate", ENCODING_ALL, ENCODING_IDENTITY },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct web_encodings accepted = web_encoding_parse(text_of(cases[i].accept));
        CHECK(web_encoding_choose(&accepted, cases[i].available, web_encoding_by_size) ==
                  cases[i].want,
              "%s", cases[i].accept);
    }
}

TEST(web_encoding_order_breaks_ties)
{
    struct web_encodings accepted = web_encoding_parse(T("gzip, br, zstd"));
    CHECK(web_encoding_choose(&accepted, ENCODING_ALL, web_encoding_by_speed) == ENCODING_ZSTD,
          "speed");
    CHECK(web_encoding_choose(&accepted, BR | GZIP, web_encoding_by_speed) == ENCODING_BR,
          "speed without zstd");
}

TEST(web_encoding_survives_cut_values)
{
    struct text value = T("gzip;q=0.5, br;q=1.000, *;q=0, identity;q=0.3");
    for (size_t len = 0; len <= value.len; len++) {
        struct web_encodings accepted = web_encoding_parse(text_from(value.data, len));
        for (int i = 0; i < ENCODING_COUNT; i++)
            CHECK(accepted.quality[i] <= 1000, "cut at %zu", len);
    }
}

TEST(web_encoding_joins_headers)
{
    struct http_header items[] = {
        { T("Accept-Encoding"), T("gzip"), FIELD_ACCEPT_ENCODING },
        { T("Host"), T("br"), FIELD_HOST },
        { T("Accept-Encoding"), T("zstd;q=0.9"), FIELD_ACCEPT_ENCODING },
    };
    struct http_headers headers = { items, COUNT(items), COUNT(items) };
    struct web_encodings accepted = web_encoding_accepted(&headers);
    CHECK(accepted.quality[ENCODING_GZIP] == 1000, "first");
    CHECK(accepted.quality[ENCODING_ZSTD] == 900, "second");
    CHECK(accepted.quality[ENCODING_BR] == 0, "another header");
}
