/* See scene_fixture.h. */
#include "monitor/scene_fixture.h"

#include "core/memory.h"
#include "metrics/metrics.h"
#include "site/site_fixture.h"

#include <assert.h>
#include <stdio.h>

static const char source[] =
    "site: www.foobar.com\n"
    "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }\n"
    "balancer: { on: lb-01 }\n"
    "web: { on: [web-01, web-02], static: { /: public } }\n"
    "database: { on: [web-01, web-02], name: guestbook, primary: web-01, reads: replica }\n"
    "monitor: { on: lb-01, alerts: ";

void scene_say(struct scene *scene, int server, const char *name, double value)
{
    struct sample_table *table = &scene->now->servers[server].table;
    size_t at = sample_use(table, SAMPLE_GAUGE, text_of(name));
    assert(at != SAMPLE_NONE);
    table->series[at].value = value;
}

void scene_count(struct scene *scene, int server, const char *name, int64_t value, uint32_t count)
{
    struct sample_table *table = &scene->now->servers[server].table;
    size_t at = sample_use(table, SAMPLE_HISTOGRAM, text_of(name));
    assert(at != SAMPLE_NONE);
    table->series[at].bucket_count = 0;
    table->series[at].value = count;
    if (count > 0)
        sample_add_bucket(&table->series[at], histogram_bucket(value), count);
}

static void all_is_well(struct scene *scene)
{
    for (int i = 0; i < SCENE_SERVERS; i++) {
        scene_say(scene, i, "memory.total", 1000);
        scene_say(scene, i, "memory.available", 500);
        scene_say(scene, i, "disk.total", 1000);
        scene_say(scene, i, "disk.free", 500);
        scene_say(scene, i, "process/edge/0/restarts", 1);
        scene_say(scene, i, "http.requests", 100);
        scene_say(scene, i, "http.5xx", 0);
        scene_say(scene, i, "site.generation", 1);
        scene_say(scene, i, "tls.soonest_end_s", (double)scene->wall_ms / 1000 + 90 * 86400);
        scene_say(scene, i, "backend/database/web-01/state", HEALTH_UP);
        scene_say(scene, i, "backend/database/web-01/role", HEALTH_ROLE_PRIMARY);
        scene_say(scene, i, "backend/database/web-02/state", HEALTH_UP);
        scene_say(scene, i, "backend/database/web-02/role", HEALTH_ROLE_REPLICA);
        scene_say(scene, i, "backend/database/web-02/lag_ms", 10);
        scene_count(scene, i, "http.latency", 1000, 100);
    }
    scene_say(scene, 0, "backend/web/web-01/state", HEALTH_UP);
    scene_say(scene, 0, "backend/web/web-02/state", HEALTH_UP);
}

static void begin(struct scene *scene)
{
    scene->rules = rules_new();
    rules_use(scene->rules, scene->site, scene->now_ms);
    scene->book = alert_book_new(scene->now_ms);
}

struct scene *scene_new(const char *alerts)
{
    struct scene *scene = NEW(struct scene);
    char text[2048];
    snprintf(text, sizeof(text), "%s%s }\n", source, alerts);
    scene->site = site_parse_good(text);
    assert(scene->site != NULL);
    scene->now = now_new();
    now_use(scene->now, scene->site);
    scene->now_ms = 1000000;
    scene->wall_ms = 1795300000000;
    begin(scene);
    all_is_well(scene);
    scene_seconds(scene, 70);
    return scene;
}

void scene_free(struct scene *scene)
{
    alert_book_free(scene->book);
    rules_free(scene->rules);
    now_free(scene->now);
    site_free(scene->site);
    memory_free(scene);
}

static void hear(void *context, enum alert_news news, const struct alert *alert)
{
    static const char *const words[] = { "start", "stop", "tell", "end" };
    struct scene *scene = context;
    char *out = news == ALERT_TELL || news == ALERT_TELL_END ? scene->said : scene->events;
    size_t len = strlen(out);
    snprintf(out + len, SCENE_SAID - len, "%s %s; ", words[news], alert->key);
}

void scene_seconds(struct scene *scene, int seconds)
{
    struct alert_hearer hearer = { hear, scene };
    for (int i = 0; i < seconds; i++) {
        scene->now_ms += 1000;
        scene->wall_ms += 1000;
        for (int j = 0; j < SCENE_SERVERS; j++)
            if (!scene->is_mute[j])
                scene->now->servers[j].heard_ms = scene->now_ms - 20;
        alert_book_tick(scene->book, scene->rules, scene->now, scene->now_ms, scene->wall_ms,
                        &hearer);
    }
}

void scene_restart(struct scene *scene)
{
    struct buffer saved = buffer_of(1 << 20);
    struct alert_hearer hearer = { hear, scene };
    alert_book_save(scene->book, &saved);
    alert_book_free(scene->book);
    rules_free(scene->rules);
    scene->now_ms += 2000;
    scene->wall_ms += 2000;
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene->now->servers[i].heard_ms = 0;
    begin(scene);
    alert_book_load(scene->book, buffer_text(&saved), scene->now_ms, scene->wall_ms);
    alert_book_use(scene->book, scene->rules, &hearer);
    buffer_done(&saved);
}

bool scene_said(struct scene *scene, const char *want)
{
    bool is_same = strcmp(scene->said, want) == 0;
    CHECK(is_same, "want \"%s\", said \"%s\"", want, scene->said);
    scene->said[0] = '\0';
    return is_same;
}
