/* Log lines as text: cut out of a stream, told apart, tagged and made harmless for a terminal. */
#include "process/log_line.h"

#include "core/clock.h"

#include <stdio.h>

enum { TIME_LEN = 24, LEVEL_AT = 25, LEVEL_LEN = 5, TITLE_AT = 31 };

bool log_line_next(const struct buffer *pending, struct text *line_out, size_t *used_out)
{
    struct text bytes = buffer_text(pending);
    ssize_t end = text_find(text_part(bytes, 0, LOG_LINE_LIMIT), '\n');
    if (end < 0 && bytes.len < LOG_LINE_LIMIT)
        return false;
    size_t len = end >= 0 ? (size_t)end : LOG_LINE_LIMIT;
    *used_out = end >= 0 ? len + 1 : len;
    if (len > 0 && end >= 0 && bytes.data[len - 1] == '\r')
        len--;
    *line_out = text_part(bytes, 0, len);
    return true;
}

/* "2026-11-21T10:26:49.123Z info  " */
static bool has_stamp(struct text line)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
    if (line.len < TITLE_AT)
        return false;
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        bool is_digit = line.data[i] >= '0' && line.data[i] <= '9';
        if (form[i] == 'd' ? !is_digit : line.data[i] != form[i])
            return false;
    }
    static const char *const levels[] = { "debug ", "info  ", "warn  ", "error " };
    for (size_t i = 0; i < COUNT(levels); i++)
        if (text_starts_with(text_skip(line, LEVEL_AT), text_of(levels[i])))
            return true;
    return false;
}

bool log_line_is_own(struct text line, const char *title)
{
    char name[34]; /* the log sink keeps 31 characters */
    snprintf(name, sizeof(name), "%.31s ", title);
    return has_stamp(line) && text_starts_with(text_skip(line, TITLE_AT), text_of(name));
}

/* Bytes that could drive a terminal; UTF-8 passes but for the C1 controls (C2 80 to C2 9F). */
static size_t append_safe(struct text rest, struct buffer *out)
{
    uint8_t byte = (uint8_t)rest.data[0];
    if (byte == 0xC2 && rest.len > 1 && (uint8_t)rest.data[1] < 0xA0) {
        buffer_print(out, "\\xc2\\x%02x", (uint8_t)rest.data[1]);
        return 2;
    }
    if ((byte < 0x20 && byte != '\t') || byte == 0x7F)
        buffer_print(out, "\\x%02x", byte);
    else
        buffer_append_byte(out, byte);
    return 1;
}

static bool is_plain(struct text line)
{
    for (size_t i = 0; i < line.len; i++) {
        uint8_t byte = (uint8_t)line.data[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7F || byte == 0xC2)
            return false;
    }
    return true;
}

void log_line_format(struct text line, const char *title, int64_t wall_ms, struct buffer *out)
{
    char time[CLOCK_ISO_SIZE];
    if (!log_line_is_own(line, title)) {
        clock_format_iso(wall_ms, time);
        buffer_print(out, "%s info  %s: ", time, title);
    }
    if (is_plain(line))
        buffer_append(out, line);
    else
        while (line.len > 0)
            line = text_skip(line, append_safe(line, out));
    buffer_append_byte(out, '\n');
}

enum log_line_role log_line_role(struct text line)
{
    static const struct text openers[] = {
        { "Traceback (most recent call last)", 33 },
        { "During handling of the above exception", 38 },
        { "The above exception was the direct cause", 40 },
        { "  + Exception Group Traceback", 29 },
    };
    for (size_t i = 0; i < COUNT(openers); i++)
        if (text_starts_with(line, openers[i]))
            return LOG_LINE_OPENS;
    bool is_inside = line.len == 0 || line.data[0] == ' ' || line.data[0] == '\t';
    return is_inside ? LOG_LINE_INSIDE : LOG_LINE_SINGLE;
}

enum log_level log_line_level(struct text formatted)
{
    struct text level = text_part(formatted, LEVEL_AT, LEVEL_LEN);
    if (text_equal(level, T("error")))
        return LOG_ERROR;
    if (text_equal(level, T("warn ")))
        return LOG_WARN;
    return text_equal(level, T("debug")) ? LOG_DEBUG : LOG_INFO;
}
