/*
 * Values: texts of the file -> numbers with units, and back. Pure; no file, no mistakes.
 */
#include "site/field.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit size_units[] = {
    { "", 1 },
    { "b", 1 },
    { "k", 1024 },
    { "kib", 1024 },
    { "kb", 1000 },
    { "m", 1024 * 1024 },
    { "mib", 1024 * 1024 },
    { "mb", 1000 * 1000 },
    { "g", 1024 * 1024 * 1024 },
    { "gib", 1024 * 1024 * 1024 },
    { "gb", 1000 * 1000 * 1000 },
    { "t", 1024LL * 1024 * 1024 * 1024 },
    { "tib", 1024LL * 1024 * 1024 * 1024 },
    { "tb", 1000LL * 1000 * 1000 * 1000 },
};

#define SECOND 1000LL
#define DAY (24 * 3600 * SECOND)

static const struct unit time_units[] = {
    { "ms", 1 },          { "s", SECOND },        { "sec", SECOND },
    { "m", 60 * SECOND }, { "min", 60 * SECOND }, { "h", 3600 * SECOND },
    { "d", DAY },         { "w", 7 * DAY },       { "y", 365 * DAY },
};

static size_t count_while(struct text text, size_t at, bool digits)
{
    size_t end = at;
    while (end < text.len && (text.data[end] >= '0' && text.data[end] <= '9') == digits &&
           (digits || text.data[end] != ' '))
        end++;
    return end - at;
}

/* Reads "NUMBER UNIT" at *at and moves *at behind it. */
static bool next_amount(struct text text, const struct unit *units, size_t unit_count, size_t *at,
                        int64_t *out)
{
    uint64_t number;
    size_t digits = count_while(text, *at, true);
    if (!text_to_uint(text_part(text, *at, digits), INT64_MAX / 2, &number))
        return false;
    *at += digits;
    while (*at < text.len && text.data[*at] == ' ')
        *at += 1;
    size_t letters = count_while(text, *at, false);
    struct text name = text_part(text, *at, letters);
    *at += letters;
    for (size_t i = 0; i < unit_count; i++) {
        if (text_equal_fold(name, text_of(units[i].name)))
            return !__builtin_mul_overflow((int64_t)number, units[i].factor, out);
    }
    return false;
}

bool parse_size(struct text text, int64_t *bytes_out)
{
    size_t at = 0;
    int64_t bytes;
    if (!next_amount(text, size_units, COUNT(size_units), &at, &bytes) || at != text.len)
        return false;
    *bytes_out = bytes;
    return true;
}

bool parse_time(struct text text, int64_t *ms_out)
{
    int64_t sum = 0;
    size_t at = 0;
    if (text_equal(text, T("0"))) {
        *ms_out = 0;
        return true;
    }
    if (text_is_empty(text))
        return false;
    while (at < text.len) {
        int64_t part;
        if (!next_amount(text, time_units, COUNT(time_units), &at, &part) ||
            __builtin_add_overflow(sum, part, &sum))
            return false;
    }
    *ms_out = sum;
    return true;
}

bool site_parse_time(struct text text, int64_t *ms_out)
{
    return parse_time(text, ms_out);
}

bool is_token(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL)
            return false;
    }
    return name.len > 0;
}

/* The largest unit that divides value. */
static const char *format_units(const struct unit *units, size_t count, int64_t value,
                                const char *gap, char out[32])
{
    const struct unit *best = &units[0];
    for (size_t i = 0; i < count; i++) {
        if (value != 0 && value % units[i].factor == 0 && units[i].factor > best->factor)
            best = &units[i];
    }
    snprintf(out, 32, "%" PRId64 "%s%s", value / best->factor, gap, best->name);
    return out;
}

const char *format_number(enum field_kind kind, int64_t value, char out[32])
{
    static const struct unit sizes[] = {
        { "bytes", 1 },
        { "KiB", 1024 },
        { "MiB", 1024 * 1024 },
        { "GiB", 1024 * 1024 * 1024 },
        { "TiB", 1024LL * 1024 * 1024 * 1024 },
    };
    static const struct unit times[] = {
        { "ms", 1 }, { "s", SECOND }, { "m", 60 * SECOND }, { "h", 3600 * SECOND }, { "d", DAY },
    };
    if (kind == FIELD_SIZE)
        return format_units(sizes, COUNT(sizes), value, " ", out);
    if (kind == FIELD_TIME && value == 0)
        return "0";
    if (kind == FIELD_TIME)
        return format_units(times, COUNT(times), value, "", out);
    if (kind == FIELD_SECONDS)
        return format_number(FIELD_TIME, value * SECOND, out);
    snprintf(out, 32, "%" PRId64 "%s", value, kind == FIELD_PERCENT ? "%" : "");
    return out;
}

bool site_read_time(struct text text, int64_t *ms_out)
{
    return parse_time(text, ms_out);
}
