/* See derive.h. One map of the last values, under names that say what they are of. */
#include "monitor/derive.h"

#include "core/map.h"
#include "core/memory.h"
#include "metrics/metrics.h"

#include <stdio.h>

enum { KEY_SIZE = SAMPLE_NAME_SIZE + 80, SWEEP_TURNS = 600, TEXT_SIZE = EVENT_TEXT_SIZE };

struct last {
    uint64_t turn;   /* when it was last there */
    double value;    /* of a counter or gauge */
    int state;       /* of a backend: enum health_state, by all servers together */
    int next_state;  /* as far as this turn is read */
    bool is_primary; /* a database that takes writes */
    bool next_primary;
};

struct derive {
    struct map lasts;
    uint64_t turn;
    char primary[64]; /* the server; "": none was seen yet */
};

struct looking {
    struct derive *derive;
    const struct now_server *server;
    int64_t wall_ms;
    void (*hear)(void *context, const struct event *event);
    void *context;
};

struct derive *derive_new(void)
{
    return NEW(struct derive);
}

void derive_free(struct derive *derive)
{
    if (derive == NULL)
        return;
    map_done(&derive->lasts, memory_free);
    memory_free(derive);
}

static void tell(const struct looking *looking, const char *kind, const char *server,
                 const char *level, const char *text)
{
    struct event event = {
        .time_ms = looking->wall_ms, .kind = kind, .server = server, .level = level, .text = text
    };
    looking->hear(looking->context, &event);
}

/* NULL the first time. */
static struct last *find(struct derive *derive, const char *key)
{
    struct last *last = map_find(&derive->lasts, text_of(key));
    if (last != NULL)
        return last;
    last = NEW(struct last);
    last->value = NAN;
    last->state = last->next_state = HEALTH_UNKNOWN;
    map_put(&derive->lasts, text_of(key), last);
    return last;
}

/* How much more it is than the last time; 0 when it is less, or there was none. */
static double growth(const struct looking *looking, const char *name, double value)
{
    char key[KEY_SIZE];
    snprintf(key, sizeof(key), "%s %s", looking->server->name, name);
    struct last *last = find(looking->derive, key);
    double grown = isnan(last->value) || value < last->value ? 0 : value - last->value;
    last->turn = looking->derive->turn;
    last->value = value;
    return grown;
}

/* ---- what a server says of itself ---- */

static void look_at_process(void *context, const struct sample_series *series)
{
    const struct looking *looking = context;
    struct text name = text_of(series->name);
    char text[TEXT_SIZE];
    if (!text_ends_with(name, T("/restarts")) ||
        !(growth(looking, series->name, series->value) > 0))
        return;
    struct text title =
        text_part(name, sizeof("process/") - 1, name.len - (sizeof("process//restarts") - 1));
    snprintf(text, sizeof(text), "%.*s on %s was started again", FMT(title), looking->server->name);
    tell(looking, "restart", looking->server->name, "warning", text);
}

static void look_at_server(const struct looking *looking)
{
    const struct now_server *server = looking->server;
    char text[TEXT_SIZE];
    double generation = now_value(server, T("site.generation"));
    double bans = now_value(server, T("firewall.bans"));
    now_each(server, T("process/"), look_at_process, (void *)looking);
    if (!isnan(generation) && growth(looking, "site.generation", generation) > 0) {
        snprintf(text, sizeof(text), "%s serves generation %.0f", server->name, generation);
        tell(looking, "reload", server->name, "info", text);
    }
    double banned = !isnan(bans) ? growth(looking, "firewall.bans", bans) : 0;
    if (banned > 0) {
        snprintf(text, sizeof(text), "%s banned %.0f address%s", server->name, banned,
                 banned > 1 ? "es" : "");
        tell(looking, "ban", server->name, "warning", text);
    }
}

/* ---- what servers say of backends and databases ---- */

/* One who sees it down counts more than one who sees it up. */
static void look_at_backend(void *context, const struct sample_series *series)
{
    const struct looking *looking = context;
    struct text name = text_of(series->name);
    bool is_state = text_ends_with(name, T("/state")), is_role = text_ends_with(name, T("/role"));
    char key[KEY_SIZE];
    if (!is_state && !is_role)
        return;
    snprintf(
        key, sizeof(key), "%.*s",
        FMT(text_part(name, 0, name.len - (is_state ? sizeof("/state") : sizeof("/role")) + 1)));
    struct last *last = find(looking->derive, key);
    int value = (int)series->value;
    last->turn = looking->derive->turn;
    if (is_role)
        last->next_primary |= value == HEALTH_ROLE_PRIMARY;
    else if (last->next_state == HEALTH_UNKNOWN || value == HEALTH_DOWN)
        last->next_state = value;
}

static void on_primary(const struct looking *looking, struct text backend)
{
    struct derive *derive = looking->derive;
    char name[64], text[TEXT_SIZE];
    snprintf(name, sizeof(name), "%.*s", FMT(text_skip(backend, sizeof("backend/database/") - 1)));
    if (strcmp(name, derive->primary) == 0)
        return;
    snprintf(text, sizeof(text), "the primary of the database is %s%s%s now", name,
             derive->primary[0] != '\0' ? " in place of " : "", derive->primary);
    if (derive->primary[0] != '\0')
        tell(looking, "primary", name, "warning", text);
    memcpy(derive->primary, name, sizeof(name));
}

static void on_state(const struct looking *looking, struct text backend, const struct last *last)
{
    char text[TEXT_SIZE];
    if (last->state == HEALTH_UNKNOWN || last->next_state == HEALTH_UNKNOWN ||
        last->state == last->next_state)
        return;
    snprintf(text, sizeof(text), "%.*s is %s", FMT(text_skip(backend, sizeof("backend/") - 1)),
             health_state_name((enum health_state)last->next_state));
    tell(looking, "health", "", last->next_state == HEALTH_DOWN ? "warning" : "info", text);
}

static void compare_backends(const struct looking *looking)
{
    struct derive *derive = looking->derive;
    size_t at = 0;
    struct map_entry *entry;
    while ((entry = map_next(&derive->lasts, &at)) != NULL) {
        struct last *last = entry->value;
        struct text name = text_from(entry->name, entry->len);
        if (last->turn != derive->turn || !text_starts_with(name, T("backend/")))
            continue;
        on_state(looking, name, last);
        if (last->next_primary && !last->is_primary)
            on_primary(looking, name);
        if (last->next_state != HEALTH_UNKNOWN)
            last->state = last->next_state;
        last->is_primary = last->next_primary;
        last->next_state = HEALTH_UNKNOWN;
        last->next_primary = false;
    }
}

/* What is not there any more is forgotten. */
static void sweep(struct derive *derive)
{
    for (;;) {
        size_t at = 0;
        struct map_entry *entry;
        while ((entry = map_next(&derive->lasts, &at)) != NULL &&
               derive->turn - ((const struct last *)entry->value)->turn < SWEEP_TURNS)
            continue;
        if (entry == NULL)
            return;
        memory_free(map_take(&derive->lasts, text_from(entry->name, entry->len)));
    }
}

void derive_look(struct derive *derive, const struct now *now, int64_t now_ms, int64_t wall_ms,
                 void (*hear)(void *context, const struct event *event), void *context)
{
    struct looking looking = {
        .derive = derive, .wall_ms = wall_ms, .hear = hear, .context = context
    };
    derive->turn++;
    for (size_t i = 0; i < now->count; i++) {
        looking.server = &now->servers[i];
        if (now_is_silent(looking.server, now_ms))
            continue;
        look_at_server(&looking);
        now_each(looking.server, T("backend/"), look_at_backend, &looking);
    }
    compare_backends(&looking);
    if (derive->turn % SWEEP_TURNS == 0)
        sweep(derive);
}
