/* See now.h. */
#include "monitor/now.h"

#include "core/memory.h"

struct now *now_new(void)
{
    return NEW(struct now);
}

static void free_servers(struct now_server *servers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sample_table_done(&servers[i].table);
    memory_free(servers);
}

void now_free(struct now *now)
{
    if (now == NULL)
        return;
    free_servers(now->servers, now->count);
    memory_free(now);
}

void now_use(struct now *now, const struct site *site)
{
    struct now before = *now;
    now->count = site->server_count;
    now->servers = memory_new_array(now->count, sizeof(*now->servers));
    for (size_t i = 0; i < now->count; i++) {
        struct now_server *server = &now->servers[i];
        struct now_server *old = now_find(&before, site->servers[i].name);
        if (old != NULL) {
            *server = *old;
            old->table = (struct sample_table){ 0 };
            continue;
        }
        sample_table_init(&server->table);
        (void)text_copy_to(site->servers[i].name, server->name, sizeof(server->name));
    }
    free_servers(before.servers, before.count);
}

struct now_server *now_find(const struct now *now, struct text name)
{
    for (size_t i = 0; i < now->count; i++)
        if (text_equal(text_of(now->servers[i].name), name))
            return &now->servers[i];
    return NULL;
}

int64_t now_age_ms(const struct now_server *server, int64_t now_ms)
{
    return server->heard_ms != 0 ? now_ms - server->heard_ms : -1;
}

bool now_is_silent(const struct now_server *server, int64_t now_ms)
{
    return server->heard_ms == 0 || now_ms - server->heard_ms > NOW_SILENT_MS;
}

double now_value(const struct now_server *server, struct text name)
{
    return server != NULL ? sample_value(&server->table, name) : (double)NAN;
}

void now_each(const struct now_server *server, struct text prefix,
              void (*each)(void *context, const struct sample_series *series), void *context)
{
    for (size_t i = 0; server != NULL && i < server->table.count; i++) {
        const struct sample_series *series = &server->table.series[i];
        if (!isnan(series->value) && text_starts_with(text_of(series->name), prefix))
            each(context, series);
    }
}
