/* Commands of people: one line in, one JSON object out. See README.md. */
#include "monitor/alerts_private.h"

#include "core/clock.h"

#include <stdio.h>

enum {
    EVENTS_MOST = 100,
    SILENCE_MOST_MS_BITS = 45,
    LIST_BYTES = 44000, /* of alerts: an answer is one frame of process/peer.h */
};

struct writing {
    const struct alerts *alerts;
    struct buffer *out;
    size_t count, left_out;
};

static void refuse(struct buffer *out, const char *reason)
{
    buffer_append(out, T("{\"ok\":false,\"error\":\""));
    buffer_append_json(out, text_of(reason));
    buffer_append(out, T("\"}"));
}

static void separate(struct writing *writing)
{
    if (writing->count++ > 0)
        buffer_append_byte(writing->out, ',');
}

static void put(struct buffer *out, const char *name, const char *value)
{
    buffer_print(out, "\"%s\":\"", name);
    buffer_append_json(out, text_of(value));
    buffer_append_byte(out, '"');
}

/* ---- the list ---- */

static void write_one(void *context, const struct alert *alert)
{
    struct writing *writing = context;
    if (alert->step == ALERT_PENDING)
        return;
    if (writing->out->len > LIST_BYTES) {
        writing->left_out++;
        return;
    }
    separate(writing);
    alert_write(writing->alerts->rules, writing->alerts->site, alert, writing->out);
}

static void write_silences(const struct alerts *alerts, struct buffer *out)
{
    for (size_t i = 0; i < alerts->book->silence_count; i++) {
        const struct silence *silence = &alerts->book->silences[i];
        char until[CLOCK_ISO_SIZE];
        clock_format_iso(silence->until_wall_ms, until);
        buffer_append(out, i > 0 ? T(",{") : T("{"));
        put(out, "pattern", silence->pattern);
        buffer_append_byte(out, ',');
        put(out, "until", until);
        buffer_append_byte(out, '}');
    }
}

static size_t waiting_for(const struct outbox *outbox, size_t receiver)
{
    size_t count = 0;
    for (size_t i = 0; i < outbox->count; i++)
        count += (outbox->notes[i].missing & (1U << receiver)) != 0;
    return count;
}

static void write_receivers(const struct alerts *alerts, struct buffer *out)
{
    const struct outbox *outbox = &alerts->outbox;
    for (size_t i = 0; i < outbox->receiver_count; i++) {
        const struct outbox_receiver *receiver = &outbox->receivers[i];
        buffer_append(out, i > 0 ? T(",{") : T("{"));
        put(out, "receiver", receiver->said);
        buffer_print(out, ",\"waiting\":%zu,\"failures\":%zu,", waiting_for(outbox, i),
                     receiver->failures);
        put(out, "trouble", receiver->trouble);
        buffer_append_byte(out, '}');
    }
}

static void answer_list(struct alerts *alerts, struct buffer *out)
{
    struct writing writing = { alerts, out, 0, 0 };
    buffer_append(out, T("{\"ok\":true,\"alerts\":["));
    alert_book_each(alerts->book, write_one, &writing);
    buffer_append(out, T("],\"silences\":["));
    write_silences(alerts, out);
    buffer_append(out, T("],\"receivers\":["));
    write_receivers(alerts, out);
    buffer_print(out,
                 "],\"left_out\":%zu,\"given_up\":%llu,\"looked\":%llu,"
                 "\"servers\":%zu,\"heard\":%zu}",
                 writing.left_out, (unsigned long long)alerts->outbox.given_up,
                 (unsigned long long)alerts->book->turn, alerts->site->server_count, alerts->heard);
}

/* ---- silences ---- */

/* "MS PATTERN" */
static void answer_silence(struct alerts *alerts, struct text rest, struct buffer *out)
{
    uint64_t ms;
    if (!text_to_uint(text_next(&rest, ' '), UINT64_C(1) << SILENCE_MOST_MS_BITS, &ms)) {
        refuse(out, "that is no duration");
        return;
    }
    enum err err = alert_silence(alerts->book, rest, clock_wall_ms() + (int64_t)ms);
    if (err == OK)
        answer_list(alerts, out);
    else
        refuse(out, err == ERR_LIMIT ? "there are too many silences; end one first"
                                     : "a silence needs the name of an alert, an element or a "
                                       "server, not longer than 199 characters");
}

static void answer_unsilence(struct alerts *alerts, struct text pattern, struct buffer *out)
{
    if (alert_unsilence(alerts->book, pattern) == OK)
        answer_list(alerts, out);
    else
        refuse(out, "there is no such silence; `trilith alerts` lists those that there are");
}

/* ---- a test of the receivers ---- */

static void answer_test(struct alerts *alerts, struct buffer *out)
{
    struct buffer note AUTO(buffer_done) = buffer_of(OUTBOX_NOTE_LIMIT);
    int64_t wall_ms = clock_wall_ms();
    char now[CLOCK_ISO_SIZE], text[320];
    if (alerts->outbox.receiver_count == 0) {
        refuse(out, "the site file names no receiver; add webhook, command or mail to "
                    "monitor.alerts");
        return;
    }
    clock_format_iso(wall_ms, now);
    snprintf(text, sizeof(text), "%.*s: this is a test, nothing is wrong", FMT(alerts->site->name));
    buffer_append(&note, T("{\"site\":\""));
    buffer_append_json(&note, alerts->site->name);
    buffer_print(&note,
                 "\",\"status\":\"test\",\"alert\":\"test\",\"element\":\"\",\"server\":\"\","
                 "\"severity\":\"warning\",\"summary\":\"this is a test, nothing is wrong\","
                 "\"since\":\"%s\",\"id\":\"test@%lld\",",
                 now, (long long)wall_ms);
    put(&note, "text", text);
    buffer_append(&note, T(",\"also\":[]}"));
    outbox_add(&alerts->outbox, buffer_text(&note), wall_ms);
    alerts_send(alerts);
    answer_list(alerts, out);
}

/* ---- events ---- */

static void write_event(void *context, const struct event *event)
{
    struct writing *writing = context;
    struct buffer *out = writing->out;
    char time[CLOCK_ISO_SIZE];
    clock_format_iso(event->time_ms, time);
    separate(writing);
    buffer_append_byte(out, '{');
    put(out, "time", time);
    buffer_append_byte(out, ',');
    put(out, "kind", event->kind);
    buffer_append_byte(out, ',');
    put(out, "server", event->server);
    buffer_append_byte(out, ',');
    put(out, "level", event->level);
    buffer_append_byte(out, ',');
    put(out, "text", event->text);
    buffer_append_byte(out, '}');
}

/* "N": the newest. */
static void answer_events(struct alerts *alerts, struct text rest, struct buffer *out)
{
    struct writing writing = { alerts, out, 0, 0 };
    struct why why = { "the list of events is not open" };
    uint64_t most;
    if (!text_to_uint(rest, EVENTS_MOST, &most)) {
        refuse(out, "that is not how many events there can be");
        return;
    }
    buffer_append(out, T("{\"ok\":true,\"events\":["));
    if (alerts->events != NULL &&
        event_each(alerts->events, 0, INT64_MAX, (size_t)most, write_event, &writing, &why) == OK) {
        buffer_append(out, T("]}"));
        return;
    }
    buffer_clear(out);
    refuse(out, why.text);
}

void alerts_command(struct alerts *alerts, struct text line, struct buffer *out)
{
    struct text rest = line, word = text_next(&rest, ' ');
    struct text verb = rest.data != NULL ? text_next(&rest, ' ') : T("list");
    if (alerts->site == NULL || !text_equal(word, T("alerts")))
        refuse(out, "the monitor does not know what to do with that");
    else if (text_equal(verb, T("list")))
        answer_list(alerts, out);
    else if (text_equal(verb, T("silence")))
        answer_silence(alerts, rest, out);
    else if (text_equal(verb, T("unsilence")))
        answer_unsilence(alerts, rest, out);
    else if (text_equal(verb, T("test")))
        answer_test(alerts, out);
    else if (text_equal(verb, T("events")))
        answer_events(alerts, rest, out);
    else
        refuse(out, "known: alerts list|silence|unsilence|test|events");
    alerts_save(alerts);
}
