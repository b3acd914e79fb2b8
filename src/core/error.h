#ifndef CORE_ERROR_H
#define CORE_ERROR_H

/*
 * Errors: a typed code for machines and a text for people.
 *
 * A function that can fail returns enum err and writes its outputs only on OK. Where a person will
 * read the reason (site file, start, deploy) the last parameter is a struct why; the hot path
 * carries the code alone. "Not ready yet" is not an error: see enum io in core/loop.h.
 */

#include <stdarg.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#define UNUSED __attribute__((unused))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Runs `function(&variable)` when the variable goes out of scope. */
#define AUTO(function) __attribute__((cleanup(function)))

#define ERR_LIST(X)                                                                                \
    X(OK, "ok")                                                                                    \
    X(ERR_SYNTAX, "malformed input")                                                               \
    X(ERR_LIMIT, "limit reached")                                                                  \
    X(ERR_RANGE, "value out of range")                                                             \
    X(ERR_UNKNOWN, "unknown name")                                                                 \
    X(ERR_MISSING, "something required is missing")                                                \
    X(ERR_EXISTS, "exists already")                                                                \
    X(ERR_NOT_FOUND, "not found")                                                                  \
    X(ERR_DENIED, "permission denied")                                                             \
    X(ERR_BUSY, "busy")                                                                            \
    X(ERR_TIMEOUT, "timed out")                                                                    \
    X(ERR_CLOSED, "closed by the other side")                                                      \
    X(ERR_PROTOCOL, "protocol violated")                                                           \
    X(ERR_UNSUPPORTED, "not supported")                                                            \
    X(ERR_CANCELLED, "cancelled")                                                                  \
    X(ERR_STATE, "not possible in this state")                                                     \
    X(ERR_SYSTEM, "system call failed")

enum err {
#define X(code, text) code,
    ERR_LIST(X)
#undef X
};

/* The fixed English text of a code; never NULL. */
const char *err_text(enum err err);

/* The reason in words. Cut silently at its size; always NUL-terminated once written. */
struct why {
    char text[512];
};

/* Writes the formatted reason (why may be NULL) and returns err, so that callers can
 * `return fail(why, ERR_SYSTEM, "cannot open '%s': %s", path, strerror(errno));` */
enum err fail(struct why *why, enum err err, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "context: " in front of the reason that is already there; returns err. */
enum err fail_in(struct why *why, enum err err, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
