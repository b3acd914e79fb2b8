#ifndef CORE_TEXT_H
#define CORE_TEXT_H

/*
 * A slice of bytes: a pointer and a length, not NUL-terminated, never owning. The empty text has
 * len 0 and data that must not be read. Comparison is by bytes; *_fold ignores the case of ASCII
 * letters only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

struct text {
    const char *data;
    size_t len;
};

/* A text of a string literal. */
#define T(literal) ((struct text){ (literal), sizeof(literal) - 1 })

/* For printf("%.*s"): FMT(text) */
#define FMT(text) ((int)(text).len), ((text).data)

static inline struct text text_of(const char *string)
{
    return (struct text){ string, string != NULL ? strlen(string) : 0 };
}

static inline struct text text_from(const char *data, size_t len)
{
    return (struct text){ data, len };
}

static inline bool text_is_empty(struct text text)
{
    return text.len == 0;
}

static inline bool text_equal(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool text_equal_fold(struct text a, struct text b);

static inline bool text_starts_with(struct text text, struct text prefix)
{
    return text.len >= prefix.len && text_equal(text_from(text.data, prefix.len), prefix);
}

bool text_ends_with(struct text text, struct text suffix);

/* Orders by bytes, shorter first on a tie; <0, 0 or >0. */
int text_compare(struct text a, struct text b);

/* The part from `from` (clamped) to the end; the part [from, from+len) (clamped). */
static inline struct text text_skip(struct text text, size_t from)
{
    if (from > text.len)
        from = text.len;
    return (struct text){ text.data != NULL ? text.data + from : NULL, text.len - from };
}

static inline struct text text_part(struct text text, size_t from, size_t len)
{
    struct text tail = text_skip(text, from);
    if (tail.len > len)
        tail.len = len;
    return tail;
}

/* Without spaces and tabs at both ends (RFC 9110 OWS). */
struct text text_trim(struct text text);

/* Index of the first `byte` or of the first occurrence of `part`, -1 if there is none. */
ssize_t text_find(struct text text, char byte);
ssize_t text_find_text(struct text text, struct text part);

/* Cuts *rest at the first `separator`: returns what is before it and moves *rest behind it. With no
 * separator left returns all and empties *rest (data NULL, so a loop can end on it). */
struct text text_next(struct text *rest, char separator);

enum { TEXT_UINT_SIZE = 21 };

/* The number in decimal digits, without a NUL; returns how many (1 to 20). */
size_t text_write_uint(uint64_t number, char out[TEXT_UINT_SIZE]);

/* Digits only, no sign, no spaces, at most max. False (out untouched) otherwise. */
bool text_to_uint(struct text text, uint64_t max, uint64_t *out);
bool text_hex_to_uint(struct text text, uint64_t max, uint64_t *out);

/* Copies at most size-1 bytes and terminates. Returns false if the text did not fit or holds NUL.
 */
bool text_copy_to(struct text text, char *out, size_t size);

/* FNV-1a, for tables whose keys an attacker does not choose; text_hash_fold ignores ASCII case. */
uint32_t text_hash(struct text text);
uint32_t text_hash_fold(struct text text);

/* Edit distance (insert, delete, replace, swap), for suggestions; `limit` + 1 when it is larger. */
size_t text_distance(struct text a, struct text b, size_t limit);

static inline char text_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

#endif
