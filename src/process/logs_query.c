/* See logs.h: which lines are wanted. Pure. */
#include "process/logs.h"

#include <ctype.h>
#include <inttypes.h>

/* ---- status ---- */

static bool read_code(struct text text, int64_t *out)
{
    uint64_t code;
    if (text.len != 3 || !text_to_uint(text, 999, &code) || code < 100)
        return false;
    *out = (int64_t)code;
    return true;
}

bool logs_status_read(struct text text, struct logs_query *query)
{
    struct text rest = text, from = text_next(&rest, '-');
    int64_t first, last;
    if (text.len == 3 && text_ends_with(text, T("xx")) && text.data[0] >= '1' &&
        text.data[0] <= '9') {
        query->status_from = 100 * (text.data[0] - '0');
        query->status_to = query->status_from + 99;
        return true;
    }
    if (!read_code(from, &first))
        return false;
    last = first;
    if (rest.data != NULL && (!read_code(rest, &last) || last < first))
        return false;
    query->status_from = first;
    query->status_to = last;
    return true;
}

/* ---- "LINES FILES FOLLOW STATUS ID" ---- */

void logs_query_write(const struct logs_query *query, struct buffer *out)
{
    buffer_print(out, "%" PRId64 " %s%s %s ", query->lines, query->has_main ? "m" : "",
                 query->has_access ? "a" : "", query->follow ? "f" : "-");
    if (query->status_from > 0)
        buffer_print(out, "%" PRId64 "-%" PRId64 " ", query->status_from, query->status_to);
    else
        buffer_append(out, T("- "));
    buffer_print(out, "%s", query->id[0] != '\0' ? query->id : "-");
}

static bool is_id(struct text id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.data[i] <= ' ' || id.data[i] > '~')
            return false;
    return id.len > 0;
}

enum err logs_query_read(struct text words, struct logs_query *query_out)
{
    struct logs_query query = { 0 };
    struct text rest = words;
    struct text lines = text_next(&rest, ' '), files = text_next(&rest, ' ');
    struct text follow = text_next(&rest, ' '), status = text_next(&rest, ' ');
    uint64_t count;
    if (!text_to_uint(lines, LOGS_LINES_MOST, &count) || !is_id(rest))
        return ERR_SYNTAX;
    query.lines = (int64_t)count;
    query.has_main = text_equal(files, T("m")) || text_equal(files, T("ma"));
    query.has_access = text_equal(files, T("a")) || text_equal(files, T("ma"));
    query.follow = text_equal(follow, T("f"));
    bool is_good = (query.has_main || query.has_access) &&
                   (query.follow || text_equal(follow, T("-"))) &&
                   (text_equal(status, T("-")) || logs_status_read(status, &query)) &&
                   (text_equal(rest, T("-")) || text_copy_to(rest, query.id, sizeof(query.id)));
    if (!is_good)
        return ERR_SYNTAX;
    *query_out = query;
    return OK;
}

/* ---- lines ---- */

/* Of both forms: the number behind the request, or the member. Quotes inside are escaped in both.
 */
static bool find_status(struct text line, int64_t *out)
{
    struct text code;
    if (text_starts_with(line, T("{"))) {
        ssize_t at = text_find_text(line, T("\"status\":"));
        if (at < 0)
            return false;
        code = text_skip(line, (size_t)at + sizeof("\"status\":") - 1);
    } else {
        struct text rest = line;
        text_next(&rest, '"');
        text_next(&rest, '"');
        code = text_skip(rest, 1);
    }
    return read_code(text_part(code, 0, 3), out);
}

bool logs_matches(const struct logs_query *query, bool is_access, struct text line)
{
    int64_t status;
    if (is_access ? !query->has_access : !query->has_main)
        return false;
    if (query->id[0] != '\0' && text_find_text(line, text_of(query->id)) < 0)
        return false;
    if (query->status_from == 0)
        return true;
    return is_access && find_status(line, &status) && status >= query->status_from &&
           status <= query->status_to;
}

/* ---- time ---- */

/* Days from 1970-01-01 to that day of the Gregorian calendar. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400, year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* The digits of text in [from, from + len), or -1. */
static int64_t digits(struct text text, size_t from, size_t len)
{
    uint64_t value;
    struct text part = text_part(text, from, len);
    return part.len == len && text_to_uint(part, 9999, &value) ? (int64_t)value : -1;
}

static int64_t time_of(int64_t year, int64_t month, int64_t day, struct text clock)
{
    int64_t hour = digits(clock, 0, 2), minute = digits(clock, 3, 2), second = digits(clock, 6, 2);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || minute < 0 ||
        second < 0)
        return -1;
    return (((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000;
}

/* "2026-11-21T10:26:49.123Z" */
static int64_t iso_time(struct text text)
{
    int64_t ms = digits(text, 20, 3);
    int64_t time_ms =
        time_of(digits(text, 0, 4), digits(text, 5, 2), digits(text, 8, 2), text_skip(text, 11));
    return time_ms >= 0 && ms >= 0 ? time_ms + ms : -1;
}

/* "21/Nov/2026:10:26:49 +0000" */
static int64_t combined_time(struct text text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    ssize_t month = text_find_text(T(months), text_part(text, 3, 3));
    if (month < 0 || month % 3 != 0 || text.len < 20)
        return -1;
    return time_of(digits(text, 7, 4), month / 3 + 1, digits(text, 0, 2), text_skip(text, 12));
}

int64_t logs_time_ms(bool is_access, struct text line)
{
    struct text json = T("{\"time\":\"");
    if (text_starts_with(line, json))
        return iso_time(text_skip(line, json.len));
    ssize_t bracket = is_access ? text_find(line, '[') : -1;
    return bracket >= 0 ? combined_time(text_skip(line, (size_t)bracket + 1)) : iso_time(line);
}
