/*
 * What a client can write into the fields that web reads: one input is five lines, of Range,
 * Accept-Encoding, entity tags, a path, and text for the access log. What comes out must be inside
 * its bounds, and nothing may get out of a header line, an HTML attribute or a log line.
 */
#include "web/access_log.h"
#include "web/condition.h"
#include "web/encoding.h"
#include "web/path.h"
#include "web/range.h"
#include "web/reply.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_BYTES = 5000 };

static void check_range(struct text value)
{
    struct web_range ranges[RANGE_LIMIT];
    size_t count = 0;
    if (web_range_parse(value, BODY_BYTES, ranges, &count) != RANGE_SOME)
        return;
    assert(count > 0 && count <= RANGE_LIMIT);
    for (size_t i = 0; i < count; i++) {
        assert(ranges[i].start >= 0 && ranges[i].len > 0);
        assert(ranges[i].start + ranges[i].len <= BODY_BYTES);
        assert(i == 0 || ranges[i].start > ranges[i - 1].start + ranges[i - 1].len);
    }
}

static void check_encoding(struct text value)
{
    struct web_encodings accepted = web_encoding_parse(value);
    for (int i = 0; i < ENCODING_COUNT; i++)
        assert(accepted.quality[i] <= 1000);
    enum web_encoding best = web_encoding_choose(&accepted, ENCODING_ALL, web_encoding_by_size);
    assert(best == ENCODING_IDENTITY || accepted.quality[best] > 0);
}

static void check_location(struct text path)
{
    struct site_route route = { .path = T("/old"), .redirect = T("/") };
    AUTO(buffer_done) struct buffer location = buffer_of(1 << 20);
    web_redirect_target(&location, &route, path, (struct text){ NULL, 0 }, false);
    assert(http_is_field_value(buffer_text(&location)));
    assert(!text_starts_with(buffer_text(&location), T("//")));
    AUTO(buffer_done) struct buffer html = buffer_of(1 << 20);
    web_html_escape(&html, path);
    for (size_t i = 0; i < html.len; i++)
        assert(html.data[i] != '<' && html.data[i] != '"' && html.data[i] != '\'');
    if (web_path_is_public(path, true))
        assert(text_find_text(path, T("/..")) < 0 && !text_starts_with(path, T("..")));
}

static void check_log_line(struct text text, enum site_access_log form)
{
    struct http_header headers[] = { { T("Referer"), text, FIELD_REFERER },
                                     { T("User-Agent"), text, FIELD_USER_AGENT } };
    struct http_request request = { .method_text = text, .target = text, .host = text };
    request.headers = (struct http_headers){ headers, 2, 2 };
    struct http_record record = { .request = &request, .answered_by = text };
    struct web_access_clock clock = { 0 };
    AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
    web_access_line(&out, &clock, form, &record, 0);
    assert(out.len > 0 && out.len <= ACCESS_LINE_MAX);
    for (size_t i = 0; i + 1 < out.len; i++)
        assert((uint8_t)out.data[i] >= 0x20);
    assert(out.data[out.len - 1] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text rest = text_from((const char *)data, size);
    check_range(text_next(&rest, '\n'));
    check_encoding(text_next(&rest, '\n'));
    struct text tags = text_next(&rest, '\n');
    if (web_etag_matches(tags, T("\"a\""), true))
        assert(web_etag_matches(tags, T("\"a\""), false));
    check_location(text_next(&rest, '\n'));
    check_log_line(rest, ACCESS_LOG_COMBINED);
    check_log_line(rest, ACCESS_LOG_JSON);
    return 0;
}
