#ifndef CORE_LOG_H
#define CORE_LOG_H

/*
 * The log of a process: one line per event, a fixed message and typed fields:
 *
 *     log_warn("balancer", "backend timed out", TEXT("backend", name), MS("after", waited_ms));
 *
 *     2026-11-21T10:26:49.123Z warn  edge/0 balancer: backend timed out backend=web-01 after=30ms
 *
 * Levels: error needs a person, warn was handled, info is a change of state, debug is for
 * developers. Outside text is escaped. Writing never blocks when the sink is non-blocking: what
 * does not fit is dropped and counted (log_dropped). Libraries return errors and do not log; the
 * layer that decides logs once. Secrets are never passed to these functions.
 */

#include "core/text.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *name;
    enum { LOG_TEXT, LOG_INT, LOG_MS, LOG_BYTES } kind;
    struct text text;
    int64_t number;
};

#define TEXT(name_, text_) ((struct log_field){ .name = name_, .kind = LOG_TEXT, .text = text_ })
#define STRING(name_, text_) TEXT(name_, text_of(text_))
#define INT(name_, value_) ((struct log_field){ .name = name_, .kind = LOG_INT, .number = value_ })
#define MS(name_, value_) ((struct log_field){ .name = name_, .kind = LOG_MS, .number = value_ })
#define BYTES(name_, value_)                                                                       \
    ((struct log_field){ .name = name_, .kind = LOG_BYTES, .number = value_ })

/* Where this process' lines go (default: 2), the name in them ("edge/0"; copied) and the lowest
 * level that is written (default LOG_INFO). */
void log_start(int fd, const char *process_name, enum log_level lowest);
void log_set_level(enum log_level lowest);

/* Lines that could not be written since the start. */
uint64_t log_dropped(void);

void log_write(enum log_level level, const char *area, const char *message,
               const struct log_field *fields, size_t count);

#define LOG_(level, area, message, ...)                                                            \
    log_write(                                                                                     \
        level, area, message, (const struct log_field[]){ { 0 }, ##__VA_ARGS__ } + 1,              \
        sizeof((const struct log_field[]){ { 0 }, ##__VA_ARGS__ }) / sizeof(struct log_field) - 1)
#define log_error(area, message, ...) LOG_(LOG_ERROR, area, message, ##__VA_ARGS__)
#define log_warn(area, message, ...) LOG_(LOG_WARN, area, message, ##__VA_ARGS__)
#define log_info(area, message, ...) LOG_(LOG_INFO, area, message, ##__VA_ARGS__)
#define log_debug(area, message, ...) LOG_(LOG_DEBUG, area, message, ##__VA_ARGS__)

#endif
