/*
 * Which applications run on this server: what the roles that run them (app, php, command) answer
 * the parent.
 */
#include "app/role_private.h"

#include <stdio.h>

static bool is_here(const struct generation *generation, const struct site_app *app, unsigned kinds)
{
    return (kinds & 1u << app->kind) != 0 &&
           site_is_on(generation->site, &app->on, generation->server);
}

size_t app_count_here(const struct generation *generation, unsigned kinds)
{
    size_t count = 0;
    for (size_t i = 0; i < generation->site->app_count; i++)
        count += is_here(generation, &generation->site->apps[i], kinds);
    return count;
}

const struct site_app *app_here(const struct generation *generation, unsigned kinds, size_t index)
{
    for (size_t i = 0; i < generation->site->app_count; i++) {
        const struct site_app *app = &generation->site->apps[i];
        if (is_here(generation, app, kinds) && index-- == 0)
            return app;
    }
    return NULL;
}

void app_title(const struct site_app *app, char *out, size_t size)
{
    struct text name = app != NULL ? app->name : T("?");
    snprintf(out, size, "app/%.*s", FMT(name));
}

struct text app_user(const struct site_app *app)
{
    return app != NULL ? app->user : T("");
}

int64_t app_start_ms(const struct site_app *app)
{
    return app != NULL ? app->start_ms : 0;
}
