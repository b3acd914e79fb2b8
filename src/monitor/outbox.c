/* See outbox.h. */
#include "monitor/outbox.h"

#include "core/memory.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum {
    PAUSE_MS = 1000, /* after the first failure; it doubles */
    PAUSE_MOST_MS = 300000,
    DOUBLINGS = 9,
    SAVE_VERSION = 1,
};

/* ---- receivers ---- */

static uint32_t mix(uint32_t hash, struct text text)
{
    return (hash ^ text_hash(text)) * 16777619U + (uint32_t)text.len;
}

uint32_t receiver_identity(const struct site_receiver *receiver)
{
    uint32_t hash = mix((uint32_t)receiver->kind + 1, receiver->url);
    for (size_t i = 0; i < receiver->argument_count; i++)
        hash = mix(hash, receiver->arguments[i]);
    for (size_t i = 0; i < receiver->to_count; i++)
        hash = mix(hash, receiver->to[i]);
    return hash;
}

void receiver_say(const struct site_receiver *receiver, char *out, size_t size)
{
    switch (receiver->kind) {
    case RECEIVER_WEBHOOK: /* the path is often a secret */
        snprintf(out, size, "webhook at %.*s port %lld", FMT(receiver->host),
                 (long long)receiver->port);
        return;
    case RECEIVER_COMMAND:
        snprintf(out, size, "command %.*s", FMT(receiver->arguments[0]));
        return;
    case RECEIVER_MAIL:
        snprintf(out, size, "mail to %.*s", FMT(receiver->to[0]));
        return;
    }
}

static ssize_t find_receiver(const struct outbox_receiver *receivers, size_t count,
                             uint32_t identity)
{
    for (size_t i = 0; i < count; i++)
        if (receivers[i].identity == identity)
            return (ssize_t)i;
    return -1;
}

/* ---- notes ---- */

void outbox_init(struct outbox *outbox)
{
    *outbox = (struct outbox){ 0 };
}

void outbox_done(struct outbox *outbox)
{
    for (size_t i = 0; i < outbox->count; i++)
        memory_free(outbox->notes[i].json);
    outbox_init(outbox);
}

static void remove_note(struct outbox *outbox, size_t at)
{
    memory_free(outbox->notes[at].json);
    outbox->count--;
    memmove(&outbox->notes[at], &outbox->notes[at + 1],
            (outbox->count - at) * sizeof(outbox->notes[0]));
    outbox->has_changed = true;
}

static void remove_delivered(struct outbox *outbox)
{
    for (size_t i = outbox->count; i-- > 0;)
        if (outbox->notes[i].missing == 0)
            remove_note(outbox, i);
}

void outbox_use(struct outbox *outbox, const struct site_alerts *alerts)
{
    struct outbox_receiver before[ALERTS_RECEIVERS];
    size_t before_count = outbox->receiver_count;
    ssize_t was[ALERTS_RECEIVERS];
    memcpy(before, outbox->receivers, sizeof(before));
    outbox->receiver_count = 0;
    for (size_t i = 0; i < alerts->receiver_count; i++) {
        uint32_t identity = receiver_identity(&alerts->receivers[i]);
        struct outbox_receiver *receiver = &outbox->receivers[outbox->receiver_count];
        if (find_receiver(outbox->receivers, outbox->receiver_count, identity) >= 0)
            continue; /* written twice: gets it once */
        ssize_t at = find_receiver(before, before_count, identity);
        was[outbox->receiver_count++] = at;
        *receiver = at >= 0 ? before[at] : (struct outbox_receiver){ .identity = identity };
        receiver_say(&alerts->receivers[i], receiver->said, sizeof(receiver->said));
    }
    for (size_t i = 0; i < outbox->count; i++) {
        uint32_t missing = 0;
        for (size_t j = 0; j < outbox->receiver_count; j++)
            if (was[j] >= 0 && (outbox->notes[i].missing & (1U << was[j])) != 0)
                missing |= 1U << j;
        outbox->notes[i].missing = missing;
    }
    remove_delivered(outbox);
}

static void add_note(struct outbox *outbox, struct text json, int64_t wall_ms, uint32_t missing)
{
    if (missing == 0 || json.len > OUTBOX_NOTE_LIMIT)
        return;
    if (outbox->count == OUTBOX_NOTES) {
        outbox->given_up++;
        remove_note(outbox, 0);
    }
    struct outbox_note *note = &outbox->notes[outbox->count++];
    char *copy = memory_new(json.len + 1);
    memcpy(copy, json.data, json.len);
    *note = (struct outbox_note){
        .serial = ++outbox->last_serial, .json = copy, .wall_ms = wall_ms, .missing = missing
    };
    outbox->has_changed = true;
}

void outbox_add(struct outbox *outbox, struct text json, int64_t wall_ms)
{
    add_note(outbox, json, wall_ms, (1U << outbox->receiver_count) - 1);
}

static void give_up_old(struct outbox *outbox, int64_t wall_ms)
{
    while (outbox->count > 0 && wall_ms - outbox->notes[0].wall_ms > OUTBOX_DAY_MS) {
        outbox->given_up++;
        remove_note(outbox, 0);
    }
}

/* The oldest note that the receiver has not got; -1: none. */
static ssize_t first_missing(const struct outbox *outbox, size_t receiver)
{
    for (size_t i = 0; i < outbox->count; i++)
        if ((outbox->notes[i].missing & (1U << receiver)) != 0)
            return (ssize_t)i;
    return -1;
}

static void note_failure(struct outbox_receiver *receiver, int64_t now_ms, struct text trouble)
{
    int64_t pause_ms = (int64_t)PAUSE_MS
                       << (receiver->failures < DOUBLINGS ? receiver->failures : DOUBLINGS);
    receiver->failures++;
    receiver->job = 0;
    receiver->next_ms = now_ms + (pause_ms < PAUSE_MOST_MS ? pause_ms : PAUSE_MOST_MS);
    snprintf(receiver->trouble, sizeof(receiver->trouble), "%.*s", FMT(trouble));
}

bool outbox_next(struct outbox *outbox, int64_t now_ms, int64_t wall_ms, struct outbox_job *job_out)
{
    give_up_old(outbox, wall_ms);
    for (size_t i = 0; i < outbox->receiver_count; i++) {
        struct outbox_receiver *receiver = &outbox->receivers[i];
        if (receiver->job != 0 && now_ms >= receiver->job_until_ms)
            note_failure(receiver, now_ms, T("the process that sends does not answer"));
        ssize_t at = first_missing(outbox, i);
        if (receiver->job != 0 || at < 0 || now_ms < receiver->next_ms)
            continue;
        receiver->job = ++outbox->last_job;
        receiver->job_serial = outbox->notes[at].serial;
        receiver->job_until_ms = now_ms + OUTBOX_PATIENCE_MS;
        *job_out = (struct outbox_job){ .number = receiver->job,
                                        .receiver = receiver->identity,
                                        .note = text_of(outbox->notes[at].json) };
        return true;
    }
    return false;
}

const struct outbox_receiver *outbox_result(struct outbox *outbox, uint64_t job,
                                            struct text trouble, int64_t now_ms)
{
    for (size_t i = 0; i < outbox->receiver_count && job != 0; i++) {
        struct outbox_receiver *receiver = &outbox->receivers[i];
        if (receiver->job != job)
            continue;
        if (trouble.len > 0) {
            note_failure(receiver, now_ms, trouble);
            return receiver;
        }
        receiver->job = 0;
        receiver->failures = 0;
        receiver->next_ms = now_ms;
        receiver->trouble[0] = '\0';
        for (size_t j = 0; j < outbox->count; j++) /* unless it was given up meanwhile */
            if (outbox->notes[j].serial == receiver->job_serial)
                outbox->notes[j].missing &= ~(1U << i);
        outbox->has_changed = true;
        remove_delivered(outbox);
        return receiver;
    }
    return NULL;
}

void outbox_restart(struct outbox *outbox, int64_t now_ms)
{
    for (size_t i = 0; i < outbox->receiver_count; i++)
        if (outbox->receivers[i].job != 0)
            note_failure(&outbox->receivers[i], now_ms, T("the process that sends has crashed"));
}

/* ---- over the life of the process ---- */

static int append(const char *data, size_t len, void *context)
{
    buffer_append(context, text_from(data, len));
    return 0;
}

static json_t *save_note(const struct outbox *outbox, const struct outbox_note *note)
{
    json_t *missing = json_array();
    for (size_t i = 0; i < outbox->receiver_count; i++)
        if ((note->missing & (1U << i)) != 0)
            json_array_append_new(missing, json_integer((json_int_t)outbox->receivers[i].identity));
    return json_pack("{s:s, s:I, s:o}", "note", note->json, "wall_ms", (json_int_t)note->wall_ms,
                     "missing", missing);
}

void outbox_save(struct outbox *outbox, struct buffer *out)
{
    json_t *notes = json_array();
    for (size_t i = 0; i < outbox->count; i++) {
        json_t *saved = save_note(outbox, &outbox->notes[i]);
        if (saved != NULL)
            json_array_append_new(notes, saved);
    }
    json_t *root = json_pack("{s:i, s:I, s:o}", "version", SAVE_VERSION, "last_job",
                             (json_int_t)outbox->last_job, "notes", notes);
    if (root == NULL || json_dump_callback(root, append, out, JSON_COMPACT) != 0)
        out->failed = true;
    json_decref(root);
    outbox->has_changed = false;
}

static void load_note(struct outbox *outbox, json_t *saved)
{
    const char *json;
    json_int_t wall_ms;
    json_t *missing, *one;
    size_t index;
    uint32_t bits = 0;
    if (json_unpack(saved, "{s:s, s:I, s:o}", "note", &json, "wall_ms", &wall_ms, "missing",
                    &missing) != 0)
        return;
    json_array_foreach(missing, index, one)
    {
        ssize_t at = find_receiver(outbox->receivers, outbox->receiver_count,
                                   (uint32_t)json_integer_value(one));
        if (at >= 0)
            bits |= 1U << at;
    }
    add_note(outbox, text_of(json), wall_ms, bits);
}

void outbox_load(struct outbox *outbox, struct text json)
{
    json_t *root = json_loadb(json.data, json.len, 0, NULL), *one;
    size_t index;
    json_int_t last = json_integer_value(json_object_get(root, "last_job"));
    if (json_integer_value(json_object_get(root, "version")) == SAVE_VERSION) {
        outbox->last_job = last > 0 ? (uint64_t)last + OUTBOX_NOTES : 0; /* old answers may come */
        json_array_foreach(json_object_get(root, "notes"), index, one) load_note(outbox, one);
    }
    json_decref(root);
    outbox->has_changed = false;
}

/* ---- packets: "NUMBER RECEIVER NOTE", "NUMBER[ TROUBLE]" ---- */

void outbox_job_write(const struct outbox_job *job, struct buffer *out)
{
    buffer_print(out, "%" PRIu64 " %" PRIu32 " ", job->number, job->receiver);
    buffer_append(out, job->note);
}

enum err outbox_job_read(struct text packet, struct outbox_job *job_out)
{
    uint64_t number, receiver;
    struct text rest = packet;
    if (!text_to_uint(text_next(&rest, ' '), UINT64_MAX, &number) || number == 0 ||
        !text_to_uint(text_next(&rest, ' '), UINT32_MAX, &receiver) || rest.len == 0 ||
        rest.len > OUTBOX_NOTE_LIMIT)
        return ERR_SYNTAX;
    *job_out =
        (struct outbox_job){ .number = number, .receiver = (uint32_t)receiver, .note = rest };
    return OK;
}

void outbox_result_write(uint64_t job, struct text trouble, struct buffer *out)
{
    buffer_print(out, "%" PRIu64, job);
    if (trouble.len > 0)
        buffer_print(out, " %.*s", FMT(trouble));
}

enum err outbox_result_read(struct text packet, uint64_t *job_out, struct text *trouble_out)
{
    struct text rest = packet, none = { "", 0 };
    if (!text_to_uint(text_next(&rest, ' '), UINT64_MAX, job_out) || *job_out == 0)
        return ERR_SYNTAX;
    *trouble_out = rest.data != NULL ? rest : none;
    return OK;
}
