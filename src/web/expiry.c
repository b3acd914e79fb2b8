/* See expiry.h. What `acme` renews by itself is watched there, by its own times. */
#include "web/expiry.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "stream/tls.h"
#include "web/https.h"

#include <stdio.h>

enum {
    LOOK_MS = 3600 * 1000,
    DAY_S = 86400,
    SOON_DAYS = 14,
    NAME_SIZE = 512,
    TEXT_SIZE = 640,
    WORKERS_LIMIT = 4096,
};

struct web_expiry {
    struct loop *loop;
    struct process *process;
    const struct web_generation *generation; /* NULL: none with certificates of its own */
    struct loop_timer timer;
    int64_t warned_s; /* 0: nothing was said yet of what is in use */
    bool is_alert;
};

bool web_expiry_text(const char *name, int64_t expires_s, int64_t now_s, char *out, size_t size)
{
    int64_t left_s = expires_s - now_s;
    if (left_s >= (int64_t)SOON_DAYS * DAY_S)
        return false;
    if (left_s <= 0)
        snprintf(out, size, "%s has ended: clients refuse it", name);
    else if (left_s < 2 * DAY_S)
        snprintf(out, size, "%s ends in %lld hours", name, (long long)(left_s / 3600));
    else
        snprintf(out, size, "%s ends in %lld days", name, (long long)(left_s / DAY_S));
    return true;
}

static void tell(struct web_expiry *expiry, const char *text)
{
    AUTO(buffer_done) struct buffer workers = buffer_of(WORKERS_LIMIT);
    buffer_print(&workers, "{\"workers\":[],\"trouble\":\"");
    buffer_append_json(&workers, text_of(text));
    buffer_print(&workers, "\"}");
    process_send(expiry->process, MESSAGE_NOTE, 0, text_of(text));
    process_send(expiry->process, MESSAGE_WORKERS, 0, buffer_text(&workers));
}

static void look(struct loop_timer *timer)
{
    struct web_expiry *expiry = list_entry(timer, struct web_expiry, timer);
    const struct web_generation *generation = expiry->generation;
    char name[NAME_SIZE], text[TEXT_SIZE] = "";
    int64_t now_s = clock_wall_ms() / 1000;
    bool is_alert = false;
    if (generation != NULL) {
        loop_timer_start(expiry->loop, timer, LOOK_MS);
        web_https_name(generation->source, tls_context_expires_first(generation->tls), name);
        is_alert = web_expiry_text(name, tls_context_expires_s(generation->tls), now_s, text,
                                   sizeof(text));
    }
    if (is_alert || expiry->is_alert)
        tell(expiry, text);
    expiry->is_alert = is_alert;
    if (!is_alert || now_s - expiry->warned_s < DAY_S)
        return;
    expiry->warned_s = now_s;
    log_warn("web", "a certificate has to be renewed", STRING("which", text));
}

struct web_expiry *web_expiry_new(struct loop *loop, struct process *process)
{
    struct web_expiry *expiry = NEW(struct web_expiry);
    *expiry = (struct web_expiry){ .loop = loop, .process = process };
    loop_timer_init(&expiry->timer, look);
    return expiry;
}

void web_expiry_free(struct web_expiry *expiry)
{
    if (expiry == NULL)
        return;
    loop_timer_stop(expiry->loop, &expiry->timer);
    memory_free(expiry);
}

void web_expiry_use(struct web_expiry *expiry, const struct web_generation *generation)
{
    if (expiry == NULL)
        return;
    bool is_ours =
        generation != NULL && generation->tls != NULL && !generation->source->site->tls.is_acme;
    expiry->generation = is_ours ? generation : NULL;
    expiry->warned_s = 0;
    loop_timer_start(expiry->loop, &expiry->timer, 0);
}
