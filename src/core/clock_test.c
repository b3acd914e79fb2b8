/* Dates of HTTP and logs. */
#include "core/clock.h"
#include "core/test.h"

#include <string.h>

TEST(clock_formats_dates)
{
    char http[CLOCK_HTTP_SIZE], iso[CLOCK_ISO_SIZE], log[CLOCK_LOG_SIZE];
    clock_format_http(784111777, http);
    clock_format_iso(784111777123, iso);
    clock_format_log(784111777, log);
    CHECK(strcmp(http, "Sun, 06 Nov 1994 08:49:37 GMT") == 0, "%s", http);
    CHECK(strcmp(iso, "1994-11-06T08:49:37.123Z") == 0, "%s", iso);
    CHECK(strcmp(log, "06/Nov/1994:08:49:37 +0000") == 0, "%s", log);
}

TEST(clock_reads_the_three_http_dates)
{
    static const struct {
        const char *in;
        int64_t want;
    } cases[] = {
        { "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 },
        { "Sunday, 06-Nov-94 08:49:37 GMT", 784111777 },
        { "Sun Nov  6 08:49:37 1994", 784111777 },
        { "Sun, 06 Nov 1994 08:49:37 GMT ", -1 },
        { "Sun, 06 Nov 1994 08:49:37", -1 },
        { "Sun, 06 Foo 1994 08:49:37 GMT", -1 },
        { "Sun, 32 Nov 1994 08:49:37 GMT", -1 },
        { "Sun, 06 Nov 1994 24:49:37 GMT", -1 },
        { "784111777", -1 },
        { "", -1 },
        { "Sun, 06 Nov 1994 08:49:37 GMTxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", -1 },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(clock_parse_http(cases[i].in, strlen(cases[i].in)) == cases[i].want, "'%s'",
              cases[i].in);
}
