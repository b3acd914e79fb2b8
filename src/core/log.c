/* One write per line, so lines of several processes on one pipe never mix (PIPE_BUF). */
#include "core/log.h"

#include "core/clock.h"
#include "core/sys.h"

#include <limits.h>
#include <stdio.h>

static struct {
    int fd;
    enum log_level lowest;
    char name[32];
    uint64_t dropped;
} sink = { .fd = 2, .lowest = LOG_INFO, .name = "trilith" };

void log_start(int fd, const char *process_name, enum log_level lowest)
{
    sink.fd = fd;
    sink.lowest = lowest;
    snprintf(sink.name, sizeof(sink.name), "%s", process_name);
}

void log_set_level(enum log_level lowest)
{
    sink.lowest = lowest;
}

uint64_t log_dropped(void)
{
    return sink.dropped;
}

struct line {
    char data[PIPE_BUF]; /* longer lines are cut: a pipe write up to this size is atomic */
    size_t len;
};

static void put(struct line *line, const char *data, size_t len)
{
    size_t room = sizeof(line->data) - 1 - line->len;
    if (len > room)
        len = room;
    memcpy(line->data + line->len, data, len);
    line->len += len;
}

static bool is_plain(uint8_t byte)
{
    return byte > 0x20 && byte != 0x7F && byte != '"' && byte != '\\' && byte != '=';
}

static void put_text(struct line *line, struct text text)
{
    bool plain = text.len > 0;
    for (size_t i = 0; i < text.len && plain; i++)
        plain = is_plain((uint8_t)text.data[i]);
    if (plain) {
        put(line, text.data, text.len);
        return;
    }
    put(line, "\"", 1);
    for (size_t i = 0; i < text.len; i++) {
        char escaped[8];
        uint8_t byte = (uint8_t)text.data[i];
        int len = snprintf(escaped, sizeof(escaped),
                           byte == '"' || byte == '\\'   ? "\\%c"
                           : byte < 0x20 || byte == 0x7F ? "\\x%02x"
                                                         : "%c",
                           byte);
        put(line, escaped, (size_t)len);
    }
    put(line, "\"", 1);
}

static void put_field(struct line *line, const struct log_field *field)
{
    static const char *const units[] = { [LOG_INT] = "", [LOG_MS] = "ms", [LOG_BYTES] = "B" };
    char number[64];
    put(line, " ", 1);
    put(line, field->name, strlen(field->name));
    put(line, "=", 1);
    if (field->kind == LOG_TEXT) {
        put_text(line, field->text);
        return;
    }
    int len =
        snprintf(number, sizeof(number), "%lld%s", (long long)field->number, units[field->kind]);
    put(line, number, (size_t)len);
}

void log_write(enum log_level level, const char *area, const char *message,
               const struct log_field *fields, size_t count)
{
    static const char *const names[] = { "debug", "info ", "warn ", "error" };
    char time[CLOCK_ISO_SIZE], start[128];
    struct line line = { .len = 0 };
    if (level < sink.lowest)
        return;
    clock_format_iso(clock_wall_ms(), time);
    int len =
        snprintf(start, sizeof(start), "%s %s %s %.20s: ", time, names[level], sink.name, area);
    put(&line, start, (size_t)len);
    put(&line, message, strlen(message));
    for (size_t i = 0; i < count; i++)
        put_field(&line, &fields[i]);
    line.data[line.len++] = '\n';
    if (sys_write(sink.fd, line.data, line.len) != (ssize_t)line.len)
        sink.dropped++;
}
