/* See alerts.h. Commands of people are in alerts_answer.c. */
#include "monitor/alerts_private.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdio.h>

enum {
    TROUBLE_EVERY_MS = 60000,
    RETRY_OPEN_MS = 10000,
    STATE_LIMIT = EVENT_VALUE_LIMIT,
    JOB_LIMIT = OUTBOX_NOTE_LIMIT + 64,
};

#define STATE_NAME "alerts" /* of what is remembered */

/* ---- the disk ---- */

static void complain(struct alerts *alerts, const char *why)
{
    int64_t now_ms = clock_now_ms();
    if (alerts->trouble_ms != 0 && now_ms - alerts->trouble_ms < TROUBLE_EVERY_MS)
        return;
    log_error("monitor", "events are lost: the disk does not take them", STRING("why", why));
    alerts->trouble_ms = now_ms;
}

void alerts_add_event(struct alerts *alerts, const struct event *event)
{
    struct why why = { "the list of events is not open" };
    if (alerts->events == NULL || event_add(alerts->events, event, &why) != OK)
        complain(alerts, why.text);
    else
        alerts->trouble_ms = 0;
}

/* Both in one piece, behind the length of the first: either all of it is remembered or nothing. */
void alerts_save(struct alerts *alerts)
{
    struct why why;
    struct buffer book AUTO(buffer_done) = buffer_of(STATE_LIMIT);
    struct buffer all AUTO(buffer_done) = buffer_of(STATE_LIMIT);
    if ((!alerts->book->has_changed && !alerts->outbox.has_changed) || alerts->events == NULL)
        return;
    alert_book_save(alerts->book, &book);
    buffer_print(&all, "%zu\n", book.len);
    buffer_append(&all, buffer_text(&book));
    outbox_save(&alerts->outbox, &all);
    if (all.failed || book.failed)
        complain(alerts, "there are too many alerts");
    else if (event_remember(alerts->events, STATE_NAME, buffer_text(&all), &why) != OK) {
        complain(alerts, why.text);
        alerts->book->has_changed = true; /* again with the next second */
    }
}

static void load(struct alerts *alerts)
{
    struct text saved, rest;
    uint64_t len;
    if (alerts->events == NULL || event_recall(alerts->events, STATE_NAME, &saved, NULL) != OK)
        return;
    rest = saved;
    if (text_to_uint(text_next(&rest, '\n'), STATE_LIMIT, &len) && len <= rest.len) {
        alert_book_load(alerts->book, text_part(rest, 0, (size_t)len), clock_now_ms(),
                        clock_wall_ms());
        outbox_load(&alerts->outbox, text_skip(rest, (size_t)len));
    }
    memory_free((void *)saved.data);
}

static void open_store(struct alerts *alerts)
{
    struct why why;
    int64_t now_ms = clock_now_ms();
    if (alerts->events != NULL || now_ms < alerts->open_again_ms)
        return;
    alerts->open_again_ms = now_ms + RETRY_OPEN_MS;
    if (event_store_open(alerts->folder, &alerts->events, &why) != OK)
        complain(alerts, why.text);
}

/* ---- news ---- */

static struct text server_of(const struct alerts *alerts, const struct alert *alert)
{
    bool is_of_site = alert->server >= 0 && (size_t)alert->server < alerts->site->server_count;
    return is_of_site ? alerts->site->servers[alert->server].name : T("");
}

static void write_down(struct alerts *alerts, const char *kind, const struct alert *alert)
{
    char text[ALERT_TEXT_SIZE], server[EVENT_NAME_SIZE];
    bool is_start = strcmp(kind, "alert") == 0;
    alerts_say(alerts, alert, text);
    snprintf(server, sizeof(server), "%.*s", FMT(server_of(alerts, alert)));
    struct event event = { .time_ms = clock_wall_ms(),
                           .kind = kind,
                           .server = server,
                           .level = !is_start || alert->rule == NULL
                                        ? "info"
                                        : severity_name(alert->rule->severity),
                           .text = text };
    alerts_add_event(alerts, &event);
}

static void tell(struct alerts *alerts, const struct alert *alert, bool is_over)
{
    struct buffer note AUTO(buffer_done) = buffer_of(OUTBOX_NOTE_LIMIT);
    char text[ALERT_TEXT_SIZE];
    alert_note_write(alerts->book, alerts->rules, alerts->site, alert, is_over, clock_wall_ms(),
                     &note);
    if (!note.failed && alerts->is_teller)
        outbox_add(&alerts->outbox, buffer_text(&note), clock_wall_ms());
    alerts_say(alerts, alert, text);
    if (is_over)
        log_info("monitor", "alert is over", STRING("what", text), TEXT("alert", alert->rule_name));
    else
        log_warn("monitor", "alert", STRING("what", text), TEXT("alert", alert->rule_name));
}

static void hear_alert(void *context, enum alert_news news, const struct alert *alert)
{
    struct alerts *alerts = context;
    switch (news) {
    case ALERT_STARTS:
        write_down(alerts, "alert", alert);
        return;
    case ALERT_ENDS:
        write_down(alerts, "resolved", alert);
        return;
    case ALERT_TELL:
        tell(alerts, alert, false);
        return;
    case ALERT_TELL_END:
        tell(alerts, alert, true);
        return;
    }
}

static void hear_event(void *context, const struct event *event)
{
    alerts_add_event(context, event);
}

/* ---- sending ---- */

void alerts_send(struct alerts *alerts)
{
    struct outbox_job job;
    int fd = alerts->results.fd;
    while (alerts->is_watching &&
           outbox_next(&alerts->outbox, clock_now_ms(), clock_wall_ms(), &job)) {
        struct buffer packet AUTO(buffer_done) = buffer_of(JOB_LIMIT);
        outbox_job_write(&job, &packet);
        if (packet.failed || sys_write(fd, packet.data, packet.len) != (ssize_t)packet.len)
            outbox_result(&alerts->outbox, job.number, T("the process that sends is too busy"),
                          clock_now_ms());
    }
}

static void on_trouble(const struct outbox_receiver *receiver)
{
    if (receiver->failures == 1) /* what goes on is not said again and again */
        log_warn("monitor", "a receiver did not take an alert, it will be tried again",
                 STRING("receiver", receiver->said), STRING("why", receiver->trouble));
}

static void on_result(struct loop_watch *watch, unsigned events)
{
    struct alerts *alerts = list_entry(watch, struct alerts, results);
    char packet[1024];
    uint64_t job;
    struct text trouble;
    (void)events;
    ssize_t len = sys_read(watch->fd, packet, sizeof(packet));
    if (len <= 0)
        return;
    struct text result = text_from(packet, (size_t)len);
    if (text_equal(result, T(OUTBOX_HELLO)))
        outbox_restart(&alerts->outbox, clock_now_ms());
    else if (outbox_result_read(result, &job, &trouble) == OK) {
        const struct outbox_receiver *receiver =
            outbox_result(&alerts->outbox, job, trouble, clock_now_ms());
        if (receiver != NULL && trouble.len > 0)
            on_trouble(receiver);
    }
    alerts_save(alerts);
    alerts_send(alerts);
}

/* ---- life ---- */

struct alerts *alerts_new(struct loop *loop, const char *folder)
{
    struct alerts *alerts = NEW(struct alerts);
    alerts->loop = loop;
    alerts->folder = memory_copy_string(folder);
    alerts->rules = rules_new();
    alerts->book = alert_book_new(clock_now_ms());
    alerts->derive = derive_new();
    outbox_init(&alerts->outbox);
    alerts->started_ms = clock_now_ms();
    open_store(alerts);
    return alerts;
}

void alerts_free(struct alerts *alerts)
{
    if (alerts == NULL)
        return;
    if (alerts->is_watching)
        loop_watch_stop(&alerts->results);
    event_store_close(alerts->events);
    derive_free(alerts->derive);
    alert_book_free(alerts->book);
    rules_free(alerts->rules);
    outbox_done(&alerts->outbox);
    memory_free(alerts->folder);
    memory_free(alerts);
}

static void watch_results(struct alerts *alerts, int fd)
{
    if (alerts->is_watching)
        loop_watch_stop(&alerts->results);
    alerts->is_watching =
        fd >= 0 && loop_watch_start(alerts->loop, &alerts->results, fd, LOOP_READ, on_result) == OK;
}

void alerts_use(struct alerts *alerts, const struct generation *generation)
{
    struct alert_hearer hearer = { hear_alert, alerts };
    bool is_first = alerts->site == NULL;
    alerts->site = generation->site;
    alerts->server = generation->server;
    rules_use(alerts->rules, alerts->site, clock_now_ms());
    outbox_use(&alerts->outbox, &alerts->site->monitor.alerts);
    if (is_first)
        load(alerts);
    alert_book_use(alerts->book, alerts->rules, &hearer);
    watch_results(alerts, generation_fd(generation, "monitor.notify"));
    if (!is_first)
        return;
    struct event event = { .time_ms = clock_wall_ms(),
                           .kind = "monitor",
                           .server = "",
                           .level = "info",
                           .text = "the monitor was started" };
    alerts_add_event(alerts, &event);
}

/* Of several monitors, which all see the same, the first in the site file tells people; the next
 * one when nothing is heard of it. */
static bool is_teller(const struct alerts *alerts, const struct now *now)
{
    enum { FIRST_MS = 30000, LOST_MS = 4000 };
    const struct site *site = alerts->site;
    int64_t now_ms = clock_now_ms();
    for (size_t i = 0; i < site->server_count && &site->servers[i] != alerts->server; i++) {
        int64_t age_ms = now_age_ms(&now->servers[i], now_ms);
        bool is_there = age_ms >= 0 ? age_ms < LOST_MS : now_ms - alerts->started_ms < FIRST_MS;
        if (is_there && site_is_on(site, &site->monitor.on, &site->servers[i]))
            return false;
    }
    return true;
}

void alerts_tick(struct alerts *alerts, const struct now *now)
{
    struct alert_hearer hearer = { hear_alert, alerts };
    int64_t now_ms = clock_now_ms(), wall_ms = clock_wall_ms();
    open_store(alerts);
    alerts->heard = 0;
    for (size_t i = 0; i < now->count; i++)
        alerts->heard += !now_is_silent(&now->servers[i], now_ms);
    alerts->is_teller = is_teller(alerts, now);
    derive_look(alerts->derive, now, now_ms, wall_ms, hear_event, alerts);
    alert_book_tick(alerts->book, alerts->rules, now, now_ms, wall_ms, &hearer);
    alerts_save(alerts); /* before it is sent: what is told twice is worse than told late */
    alerts_send(alerts);
}

void alerts_each(const struct alerts *alerts,
                 void (*each)(void *context, const struct alert *alert), void *context)
{
    alert_book_each(alerts->book, each, context);
}

void alerts_say(const struct alerts *alerts, const struct alert *alert, char out[ALERT_TEXT_SIZE])
{
    alert_say(alerts->rules, alert, out);
}

struct event_store *alerts_events(const struct alerts *alerts)
{
    return alerts->events;
}
