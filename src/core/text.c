/* Byte slices; see text.h. */
#include "core/text.h"

bool text_equal_fold(struct text a, struct text b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (text_lower(a.data[i]) != text_lower(b.data[i]))
            return false;
    return true;
}

bool text_ends_with(struct text text, struct text suffix)
{
    return text.len >= suffix.len && text_equal(text_skip(text, text.len - suffix.len), suffix);
}

int text_compare(struct text a, struct text b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 ? memcmp(a.data, b.data, shorter) : 0;
    if (order != 0 || a.len == b.len)
        return order;
    return a.len < b.len ? -1 : 1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct text text_trim(struct text text)
{
    while (text.len > 0 && is_blank(text.data[0]))
        text = text_skip(text, 1);
    while (text.len > 0 && is_blank(text.data[text.len - 1]))
        text.len--;
    return text;
}

ssize_t text_find(struct text text, char byte)
{
    const char *at = text.len > 0 ? memchr(text.data, byte, text.len) : NULL;
    return at != NULL ? at - text.data : -1;
}

ssize_t text_find_text(struct text text, struct text part)
{
    if (part.len == 0)
        return 0;
    const char *at = text.len > 0 ? memmem(text.data, text.len, part.data, part.len) : NULL;
    return at != NULL ? at - text.data : -1;
}

struct text text_next(struct text *rest, char separator)
{
    ssize_t at = text_find(*rest, separator);
    struct text all = *rest;
    if (at < 0) {
        *rest = (struct text){ NULL, 0 };
        return all;
    }
    *rest = text_skip(all, (size_t)at + 1);
    return text_from(all.data, (size_t)at);
}

size_t text_write_uint(uint64_t number, char out[TEXT_UINT_SIZE])
{
    char digits[TEXT_UINT_SIZE];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

bool text_to_uint(struct text text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        if (value > (max - digit) / 10 || digit > max)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = text_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_hex_to_uint(struct text text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int digit = hex_value(text.data[i]);
        if (digit < 0 || (uint64_t)digit > max || value > (max - (uint64_t)digit) / 16)
            return false;
        value = value * 16 + (uint64_t)digit;
    }
    *out = value;
    return true;
}

bool text_copy_to(struct text text, char *out, size_t size)
{
    if (size == 0 || text.len >= size || text_find(text, '\0') >= 0)
        return false;
    if (text.len > 0)
        memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return true;
}

uint32_t text_hash(struct text text)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (uint8_t)text.data[i]) * 16777619U;
    return hash;
}

uint32_t text_hash_fold(struct text text)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (uint8_t)text_lower(text.data[i])) * 16777619U;
    return hash;
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

size_t text_distance(struct text a, struct text b, size_t limit)
{
    enum { LONGEST = 64 }; /* names are short; longer ones are never near misses */
    size_t rows[3][LONGEST + 1];
    if (a.len > LONGEST || b.len > LONGEST)
        return limit + 1;
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t replace = above[j - 1] + (a.data[i - 1] != b.data[j - 1] ? 1 : 0);
            row[j] = smallest(above[j] + 1, row[j - 1] + 1, replace);
            bool swapped =
                i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1];
            if (swapped && rows[(i - 2) % 3][j - 2] + 1 < row[j])
                row[j] = rows[(i - 2) % 3][j - 2] + 1;
        }
    }
    size_t distance = rows[a.len % 3][b.len];
    return distance > limit ? limit + 1 : distance;
}
