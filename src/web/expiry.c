/* See expiry.h. */
#include "web/expiry.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "metrics/metrics.h"
#include "stream/tls.h"
#include "web/https.h"

#include <stdio.h>

enum {
    LOOK_MS = 3600 * 1000,
    DAY_S = 86400,
    SOON_DAYS = 14,
    NAME_SIZE = 512,
    TEXT_SIZE = 640,
    CERTIFICATES_BYTES = MESSAGE_TEXT_LIMIT - 4096, /* the rest is for what else is said */
};

struct web_expiry {
    struct loop *loop;
    struct process *process;
    const struct web_generation *generation; /* NULL: none with certificates */
    struct loop_timer timer;
    int64_t warned_s; /* 0: nothing was said yet of what is in use */
    bool is_alert;
    bool has_told; /* of certificates */
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

static const char *source_of(const struct web_generation *generation)
{
    const struct site_tls *tls = &generation->source->site->tls;
    return tls->is_acme ? "acme" : tls->is_local ? "local" : "files";
}

/* Returns when it ends. */
static int64_t write_certificate(struct buffer *out, const struct tls_context *tls, size_t number,
                                 const char *source, const char *name)
{
    struct tls_facts facts;
    tls_context_facts(tls, number, &facts);
    buffer_print(out, "%s{\"from\":\"", out->data[out->len - 1] == '[' ? "" : ",");
    buffer_append_json(out, text_of(name));
    buffer_print(out, "\",\"source\":\"%s\",\"names\":\"", source);
    buffer_append_json(out, text_of(facts.names));
    buffer_print(out, "\",\"expires_s\":%lld}", (long long)facts.expires_s);
    return facts.expires_s;
}

static int64_t first_of(int64_t end_s, int64_t other_s)
{
    return end_s == 0 || other_s < end_s ? other_s : end_s;
}

/* As many as there is room for. Returns when the first of all ends; 0: there is none. */
static int64_t write_certificates(struct buffer *out, const struct web_generation *generation)
{
    char name[NAME_SIZE];
    int64_t end_s = 0;
    size_t count = generation->tls != NULL ? tls_context_count(generation->tls) : 0;
    for (size_t i = 0; i < count; i++) {
        size_t before = out->len;
        web_https_name(generation->source, i, name);
        end_s = first_of(end_s,
                         write_certificate(out, generation->tls, i, source_of(generation), name));
        if (out->len > CERTIFICATES_BYTES)
            out->len = before;
    }
    if (generation->inside_server != NULL)
        end_s = first_of(
            end_s, write_certificate(out, generation->inside_server, 0, "inside", "tls.inside"));
    return end_s;
}

static void tell(struct web_expiry *expiry, const char *trouble)
{
    AUTO(buffer_done) struct buffer workers = buffer_of(MESSAGE_TEXT_LIMIT);
    int64_t end_s = 0;
    buffer_print(&workers, "{\"workers\":[],\"certificates\":[");
    if (expiry->generation != NULL)
        end_s = write_certificates(&workers, expiry->generation);
    buffer_print(&workers, "],\"trouble\":\"");
    buffer_append_json(&workers, text_of(trouble));
    buffer_print(&workers, "\"}");
    metrics_set(&expiry->process->metrics->tls_end_s, end_s);
    process_send(expiry->process, MESSAGE_WORKERS, 0, buffer_text(&workers));
}

/* What is to be done about a certificate; false: nothing. What `acme` renews by itself is watched
 * there, by its own times. */
static bool find_trouble(const struct web_generation *generation, char text[TEXT_SIZE])
{
    char name[NAME_SIZE];
    if (generation == NULL || generation->tls == NULL || generation->source->site->tls.is_acme)
        return false;
    web_https_name(generation->source, tls_context_expires_first(generation->tls), name);
    return web_expiry_text(name, tls_context_expires_s(generation->tls), clock_wall_ms() / 1000,
                           text, TEXT_SIZE);
}

static void look(struct loop_timer *timer)
{
    struct web_expiry *expiry = list_entry(timer, struct web_expiry, timer);
    char text[TEXT_SIZE] = "";
    int64_t now_s = clock_wall_ms() / 1000;
    bool is_alert = find_trouble(expiry->generation, text);
    if (expiry->generation != NULL)
        loop_timer_start(expiry->loop, timer, LOOK_MS);
    if (expiry->generation != NULL || expiry->has_told)
        tell(expiry, text);
    expiry->has_told = expiry->generation != NULL;
    if (is_alert || expiry->is_alert)
        process_send(expiry->process, MESSAGE_NOTE, 0, text_of(text));
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
    bool has_any =
        generation != NULL && (generation->tls != NULL || generation->inside_server != NULL);
    expiry->generation = has_any ? generation : NULL;
    expiry->warned_s = 0;
    loop_timer_start(expiry->loop, &expiry->timer, 0);
}
