/*
 * The only file that lists roles and commands, and where roles meet: the edge gets the handlers
 * that other roles make, so that no role knows another.
 */
#include "app/app.h"
#include "app/php.h"
#include "balancer/balancer.h"
#include "cli/cli.h"
#include "core/memory.h"
#include "database/database.h"
#include "database/sql.h"
#include "dns/dns.h"
#include "health/health.h"
#include "lab/lab.h"
#include "process/peer.h"
#include "web/web.h"

enum {
    COMMAND_CONNECTIONS = 256, /* requests that one instance gets at a time from one edge */
};

static enum err make_command(const struct web_setup *setup, const struct site_app *app,
                             struct http_handler **handler_out, struct why *why)
{
    struct address *addresses = NULL;
    struct balancer_group group = { .name = app->name,
                                    .connections = COMMAND_CONNECTIONS,
                                    .queue = (size_t)app->queue,
                                    .request_ms = app->request_ms,
                                    .slow_ms = app->slow_ms,
                                    .metrics = setup->process->metrics };
    enum err err = app_command_addresses(setup->generation, app, &addresses, &group.count, why);
    if (err != OK)
        return err;
    group.addresses = addresses;
    group.series = board_use(setup->process->board, setup->process->index, BOARD_APP,
                             app->name.data, app->name.len);
    *handler_out = balancer_group_new(setup->loop, &group);
    memory_free(addresses);
    return OK;
}

/* Scripts go to php-fpm, the other files of the folder are the web server's. */
static enum err make_php(const struct web_setup *setup, const struct site_route *route,
                         const struct site_app *app, struct http_handler **handler_out,
                         struct why *why)
{
    struct text path = text_is_empty(app->mount) ? T("/") : app->mount;
    struct http_handler *files = web_files_handler(setup, route, path, app->documents,
                                                   php_documents(setup->generation, app));
    if (files == NULL)
        return fail(why, ERR_LIMIT, "too many routes");
    return php_handler_make(setup->loop, setup->process, setup->generation, app, files, handler_out,
                            why);
}

static enum err make_near(const struct web_setup *setup, const struct site_route *route,
                          const struct site_app *app, struct http_handler **handler_out,
                          struct why *why)
{
    if (app->kind == APP_COMMAND)
        return make_command(setup, app, handler_out, why);
    if (app->kind == APP_PHP)
        return make_php(setup, route, app, handler_out, why);
    return app_handler_make(setup->loop, setup->process, setup->generation, route, handler_out,
                            why);
}

/* ---- other servers ---- */

/* The servers of a pool but for `own`; NULL when there is none. */
static struct http_handler *make_pool(const struct web_setup *setup, const struct site_pool *pool,
                                      const struct site_server *own)
{
    struct address *addresses = memory_new_array(pool->backend_count + 1, sizeof(*addresses));
    struct balancer_group group = { .name = pool->name,
                                    .addresses = addresses,
                                    .connections = (size_t)pool->connections,
                                    .queue = (size_t)pool->queue,
                                    .request_ms = pool->total_ms,
                                    .metrics = setup->process->metrics };
    for (size_t i = 0; i < pool->backend_count; i++)
        if (pool->backends[i].server != own || own == NULL)
            addresses[group.count++] = pool->backends[i].address;
    struct http_handler *handler = group.count > 0 ? balancer_group_new(setup->loop, &group) : NULL;
    memory_free(addresses);
    return handler;
}

static void free_near(struct http_handler *handler)
{
    if (balancer_is_upstream(handler))
        balancer_upstream_free(handler);
    else if (php_handler_is(handler))
        php_handler_free(handler);
    else if (handler != NULL)
        app_handler_free(handler);
}

/* The app here, those on other servers, or both. */
static enum err make_app(const struct web_setup *setup, const struct site_route *route,
                         struct http_handler **handler_out, struct why *why)
{
    const struct site *site = setup->generation->site;
    const struct site_server *server = setup->generation->server;
    const struct site_app *app = site_app_find(site, route->app);
    struct http_handler *near = NULL, *far = NULL;
    if (site_is_on(site, &app->on, server)) {
        enum err err = make_near(setup, route, app, &near, why);
        if (err != OK)
            return err;
    }
    if (site_serves(site, server))
        far = make_pool(setup, &app->pool, server);
    if (near != NULL && far == NULL) {
        *handler_out = near;
        return OK;
    }
    *handler_out = web_near_handler(setup, app, near, far);
    if (*handler_out != NULL)
        return OK;
    free_near(near);
    balancer_upstream_free(far);
    return fail(why, ERR_LIMIT, "too many routes");
}

static void free_app(struct http_handler *handler)
{
    if (!web_near_is(handler)) {
        free_near(handler);
        return;
    }
    free_near(web_near_of(handler));
    balancer_upstream_free(web_far_of(handler));
}

static enum err make_balancer(const struct web_setup *setup, struct http_handler **handler_out,
                              struct why *why)
{
    *handler_out = make_pool(setup, &setup->generation->site->balancer.pool, NULL);
    return *handler_out != NULL ? OK : fail(why, ERR_MISSING, "no server has a web part");
}

static enum err make_upstream(const struct web_setup *setup, const struct site_route *route,
                              struct http_handler **handler_out, struct why *why)
{
    return balancer_upstream_new(setup->loop, setup->process->metrics, route->upstream, handler_out,
                                 why);
}

/* One process, one hop: web, the balancer and the bridge into the application. */
static int run_edge(struct process *self)
{
    static const struct web_maker makers[] = {
        { .action = ACTION_APP, .make = make_app, .free = free_app },
        { .action = ACTION_UPSTREAM, .make = make_upstream, .free = balancer_upstream_free },
    };
    static const struct web_front front = { make_balancer, balancer_upstream_free };
    return web_run(self, makers, COUNT(makers), &front);
}

static const struct role edge_role = WEB_ROLE(run_edge);

int main(int argc, char **argv)
{
    static const struct role *const roles[] = {
        &peer_role, &database_role,       &keeper_role, &replication_role, &app_role, &command_role,
        &php_role,  &health_process_role, &edge_role,   &dns_role,         NULL
    };
    static const struct cli_tool tools[] = {
        { "lab", "up|down|...", "Run the whole topology of a site on this machine", lab_usage,
          lab_command },
        { "sql", "--listen ADDR ...", "Pass SQL on to a primary and its replicas", sql_usage,
          sql_command_line },
        { "database", "switchover|rebuild SERVER", "Move the primary, fill a replica anew",
          database_usage, database_command },
        { .name = NULL },
    };
    return cli_main(argc, argv, roles, tools);
}
