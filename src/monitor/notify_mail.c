/* A note as a mail (RFC 5322): plain text, for a person on a phone. */
#include "core/clock.h"
#include "monitor/notify.h"

#include <jansson.h>
#include <stdio.h>

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* One line, ASCII: nothing of it can begin another field. */
static void append_line(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++)
        buffer_append_byte(out, *text >= ' ' && *text <= '~' ? (uint8_t)*text : '?');
}

/* UTF-8 as it is, but for controls: a line feed would end it. */
static void append_text(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++)
        buffer_append_byte(out, (uint8_t)*text >= ' ' && *text != 0x7f ? (uint8_t)*text : ' ');
}

static struct text sender(const struct notify_task *task, char out[320])
{
    if (!text_is_empty(task->receiver->from))
        return task->receiver->from;
    snprintf(out, 320, "trilith@%.*s", FMT(task->site->name));
    return text_of(out);
}

static void write_head(const struct notify_task *task, const json_t *note, int64_t wall_ms,
                       struct buffer *out)
{
    char date[CLOCK_HTTP_SIZE], from[320];
    const struct site_receiver *receiver = task->receiver;
    clock_format_http(wall_ms / 1000, date);
    buffer_print(out, "From: <%.*s>\r\nTo: ", FMT(sender(task, from)));
    for (size_t i = 0; i < receiver->to_count; i++)
        buffer_print(out, "%s<%.*s>", i > 0 ? ",\r\n " : "", FMT(receiver->to[i]));
    buffer_print(out, "\r\nDate: %.25s +0000\r\nSubject: [%.*s] ", date, FMT(task->site->name));
    append_line(out, string_of(note, "status"));
    buffer_print(out, ": ");
    append_line(out, string_of(note, "summary"));
    buffer_print(out, "\r\nMessage-ID: <%lld.%08x@%.*s>\r\n", (long long)wall_ms,
                 text_hash(task->note), FMT(task->site->name));
    buffer_print(out, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                      "Content-Type: text/plain; charset=utf-8\r\n"
                      "Content-Transfer-Encoding: 8bit\r\n\r\n");
}

static void write_field(struct buffer *out, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    buffer_print(out, "%-9s ", name);
    append_text(out, value);
    buffer_print(out, "\r\n");
}

static void write_body(const json_t *note, struct buffer *out)
{
    const json_t *also = json_object_get(note, "also"), *one;
    size_t index;
    append_text(out, string_of(note, "summary"));
    buffer_print(out, "\r\n\r\n");
    write_field(out, "status", string_of(note, "status"));
    write_field(out, "severity", string_of(note, "severity"));
    write_field(out, "alert", string_of(note, "alert"));
    write_field(out, "element", string_of(note, "element"));
    write_field(out, "server", string_of(note, "server"));
    write_field(out, "since", string_of(note, "since"));
    write_field(out, "until", string_of(note, "until"));
    write_field(out, "id", string_of(note, "id"));
    if (json_array_size(also) > 0)
        buffer_print(out, "\r\nWhat follows from it:\r\n");
    json_array_foreach(also, index, one)
    {
        buffer_print(out, "  - ");
        append_text(out, string_of(one, "summary"));
        buffer_print(out, "\r\n");
    }
}

enum err notify_mail_write(const struct notify_task *task, int64_t wall_ms, struct buffer *out)
{
    json_t *note = json_loadb(task->note.data, task->note.len, 0, NULL);
    bool is_note = json_is_object(note);
    if (is_note) {
        write_head(task, note, wall_ms, out);
        write_body(note, out);
    }
    json_decref(note);
    return is_note && !out->failed ? OK : ERR_SYNTAX;
}
