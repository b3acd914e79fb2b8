/*
 * The only file that lists roles and commands, and where roles meet: the edge gets the handlers
 * that other roles make, so that no role knows another.
 */
#include "acme/acme.h"
#include "app/app.h"
#include "app/php.h"
#include "audit/audit.h"
#include "balancer/balancer.h"
#include "balancer/tcp.h"
#include "cli/cli.h"
#include "core/memory.h"
#include "database/database.h"
#include "database/sql.h"
#include "dns/dns.h"
#include "firewall/firewall.h"
#include "health/health.h"
#include "lab/lab.h"
#include "monitor/monitor.h"
#include "process/peer.h"
#include "web/web.h"

enum {
    COMMAND_CONNECTIONS = 256, /* requests that one instance gets at a time from one edge */
    EJECT_GROWTH = 10, /* how much longer a backend that fails again and again is left out */
    HTTP_PORT = 80,
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

_Static_assert((int)ALGORITHM_CONSISTENT_HASH == (int)BALANCER_CONSISTENT_HASH &&
                   (int)ALGORITHM_RANDOM_TWO == (int)BALANCER_RANDOM_TWO &&
                   (int)SITE_HASH_COOKIE == (int)BALANCER_HASH_COOKIE &&
                   (int)PROXY_PROTOCOL_V2 == 2,
               "the site's words are the balancer's");

static struct balancer_policy policy_of(const struct site_pool *pool)
{
    return (struct balancer_policy){
        .algorithm = (enum balancer_algorithm)pool->algorithm,
        .hash = (enum balancer_hash)pool->hash_by,
        .hash_name = pool->hash_name,
        .sticky = pool->sticky,
        .connections = pool->connections,
        .queue = pool->queue,
        .queue_ms = pool->queue_ms,
        .connect_ms = pool->connect_ms,
        .try_ms = pool->try_ms,
        .total_ms = pool->total_ms,
        .retries = pool->retries,
        .retry_percent = pool->retry_budget,
        .slow_start_ms = pool->slow_start_ms,
        .failures = pool->outlier.failures,
        .eject_ms = pool->outlier.eject_ms,
        .eject_most_ms = EJECT_GROWTH * pool->outlier.eject_ms,
        .eject_percent = pool->outlier.most,
        .is_adaptive = pool->adaptive,
        .is_http2 = pool->protocol != SITE_HTTP1,
        .proxy_protocol = (int)pool->proxy_protocol,
        .request_buffer = pool->request_buffer,
        .response_buffer = pool->response_buffer,
    };
}

static struct balancer_backend backend_of(const struct site_backend *backend)
{
    return (struct balancer_backend){ .name = backend->name,
                                      .board = backend->board,
                                      .address = backend->address,
                                      .host = backend->host,
                                      .port = backend->port,
                                      .authority = backend->authority,
                                      .weight = backend->weight,
                                      .is_backup = backend->is_backup };
}

/* One that was added at run time, as its name on the board says. */
static bool read_member(const void *context, struct text rest, struct balancer_backend *out)
{
    struct site_backend backend = { 0 };
    if (site_backend_read(context, rest, HTTP_PORT, &backend) != NULL)
        return false;
    *out = backend_of(&backend);
    return true;
}

/* What its certificate must be for, where it has to show one. */
static struct text tls_name_of(const struct site_backend *backend)
{
    return backend->server != NULL ? backend->server->name : backend->host;
}

/* The same where the backends have to show certificates. */
static bool read_named(const void *context, struct text rest, struct balancer_backend *out)
{
    struct site_backend backend = { 0 };
    if (site_backend_read(context, rest, HTTP_PORT, &backend) != NULL)
        return false;
    *out = backend_of(&backend);
    out->tls_name = tls_name_of(&backend);
    return true;
}

/* To connect to servers of the site with. */
static struct tls_context *inside_of(const struct web_setup *setup, const struct site_pool *pool)
{
    return pool->protocol == SITE_HTTP2 ? setup->inside_http2 : setup->inside;
}

/* The backends of a pool but for the server `own`; the pool's array is the caller's to free. */
static void fill_pool(const struct web_setup *setup, const struct site_pool *from,
                      const struct site_server *own, struct balancer_pool *out)
{
    struct process *process = setup->process;
    bool has_names = from->is_secure || from->is_https;
    struct balancer_backend *backends =
        memory_new_array(from->backend_count + 1, sizeof(*backends));
    *out = (struct balancer_pool){
        .name = from->name,
        .policy = policy_of(from),
        .backends = backends,
        .metrics = process->metrics,
        .health = process->health,
        .lane = process->index,
        .cursor = board_cursor(process->board, from->name.data, from->name.len),
        .tls = from->is_secure ? inside_of(setup, from) : outside_find(setup->outside, from),
        .read_member = own != NULL ? NULL
                       : has_names ? read_named
                                   : read_member,
        .context = setup->generation->site,
    };
    for (size_t i = 0; i < from->backend_count; i++) {
        const struct site_backend *backend = &from->backends[i];
        if (own != NULL && backend->server == own)
            continue;
        backends[out->count] = backend_of(backend);
        if (has_names)
            backends[out->count].tls_name = tls_name_of(backend);
        out->count++;
    }
}

/* NULL: there is no server but `own`. */
static struct http_handler *make_pool(const struct web_setup *setup, const struct site_pool *from,
                                      const struct site_server *own)
{
    struct balancer_pool pool;
    fill_pool(setup, from, own, &pool);
    struct http_handler *handler = pool.count > 0 ? balancer_pool_new(setup->loop, &pool) : NULL;
    memory_free((void *)pool.backends);
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
    *handler_out = make_pool(setup, route->pool, NULL);
    return *handler_out != NULL ? OK : fail(why, ERR_MISSING, "the upstream has no backend");
}

/* ---- layer 4 ---- */

static void *start_tcp(struct loop *loop, struct process *process, void *edge)
{
    return tcp_service_new(loop, process->metrics, web_log_connection, edge);
}

static enum err make_tcp(void *service, const struct web_setup *setup, void **part_out,
                         struct why *why)
{
    const struct generation *generation = setup->generation;
    const struct site *site = generation->site;
    struct tcp_part *part =
        tcp_part_new(service, generation, setup->process->index, web_count(generation));
    struct tcp_settings settings = { 0 };
    (void)why; /* names are resolved later, sockets are open: nothing here can fail */
    settings.proxies = site_proxies(site, generation->server, setup->arena, &settings.proxy_count);
    for (size_t i = 0; i < site->tcp_count; i++) {
        const struct site_tcp *tcp = &site->tcp[i];
        if (!site_is_on(site, &tcp->pool.on, generation->server))
            continue;
        fill_pool(setup, &tcp->pool, NULL, &settings.pool);
        settings.idle_ms = tcp->idle_ms;
        settings.limit = (size_t)tcp->limit;
        tcp_part_add(part, tcp->listen, &settings);
        memory_free((void *)settings.pool.backends);
    }
    *part_out = part;
    return OK;
}

static void serve_tcp(void *part)
{
    tcp_part_serve(part);
}

static void leave_tcp(void *part)
{
    tcp_part_leave(part);
}

static void drain_tcp(void *service, void (*drained)(void *), void *argument)
{
    tcp_service_drain(service, drained, argument);
}

static enum err prepare_edge(struct generation *generation, struct why *why)
{
    enum err err = web_prepare(generation, why);
    return err == OK ? tcp_prepare(generation, web_count(generation), why) : err;
}

/* One process, one hop: web, the balancer and the bridge into the application. */
static int run_edge(struct process *self)
{
    static const struct web_maker makers[] = {
        { .action = ACTION_APP, .make = make_app, .free = free_app },
        { .action = ACTION_UPSTREAM, .make = make_upstream, .free = balancer_upstream_free },
    };
    static const struct web_service tcp = { start_tcp, make_tcp, serve_tcp, leave_tcp, drain_tcp };
    static const struct web_front front = { make_balancer, balancer_upstream_free, &tcp };
    return web_run(self, makers, COUNT(makers), &front);
}

static const struct role edge_role = WEB_ROLE(run_edge, prepare_edge);

/* ---- the page of the monitor ---- */

static int run_monitor(struct process *self)
{
    return monitor_run(self, audit_write_picture);
}

static const struct role monitor_role = MONITOR_ROLE(run_monitor);

/* ---- trilith explain ---- */

/* Says whom of the pool the request would be given to; NULL: to none of the site file's. */
static const struct site_backend *explain_pool(const struct cli_question *question,
                                               const struct site_pool *from, struct buffer *out)
{
    struct process process = { .health = question->health };
    struct generation generation = { .site = (struct site *)question->site };
    struct web_setup setup = { .process = &process, .generation = &generation };
    struct balancer_pool pool;
    fill_pool(&setup, from, NULL, &pool);
    ssize_t index = balancer_explain(&pool, question->request, out);
    memory_free((void *)pool.backends);
    return index >= 0 ? &from->backends[index] : NULL;
}

/* From server to server, as the request would go. */
static void explain(const struct cli_question *question, struct buffer *out)
{
    const struct site *site = question->site;
    const struct site_server *server = question->server;
    if (site_balances(site, server)) {
        buffer_print(out, "%.*s, balancer\n", FMT(server->name));
        const struct site_backend *backend = explain_pool(question, &site->balancer.pool, out);
        if (backend == NULL || backend->server == NULL)
            return;
        server = backend->server;
    }
    buffer_print(out, "%.*s, web\n", FMT(server->name));
    const struct site_route *route = web_explain(site, question->request, out);
    const struct site_app *app = route != NULL ? site_app_find(site, route->app) : NULL;
    if (route != NULL && route->action == ACTION_UPSTREAM)
        explain_pool(question, route->pool, out);
    else if (app != NULL && !site_is_on(site, &app->on, server))
        explain_pool(question, &app->pool, out);
    else if (app != NULL && app->pool.backend_count > 1)
        buffer_print(out, "  app       here while it works, else on another server\n");
}

int main(int argc, char **argv)
{
    static const struct role *const roles[] = { &firewall_role,    &peer_role,
                                                &database_role,    &keeper_role,
                                                &replication_role, &sql_role,
                                                &app_role,         &command_role,
                                                &php_role,         &health_process_role,
                                                &acme_role,        &edge_role,
                                                &dns_role,         &agent_role,
                                                &monitor_role,     &notify_role,
                                                &figures_role,     NULL };
    static const struct cli_tool tools[] = {
        { "lab", "up|down|...", "Run the whole topology of a site on this machine", lab_usage,
          lab_command },
        { "sql", "--listen ADDR ...", "Pass SQL on to a primary and its replicas", sql_usage,
          sql_command_line },
        { "database", "switchover|rebuild SERVER", "Move the primary, fill a replica anew",
          database_usage, database_command },
        { "audit", "SITE", "Name the weaknesses of a site", audit_usage, audit_command },
        { "draw", "SITE", "Draw a site as text, SVG, Mermaid or DOT", draw_usage, draw_command },
        { "firewall", "show|verify|ban|...", "Look at the packet filter, shut clients out",
          firewall_usage, firewall_command },
        { .name = NULL },
    };
    return cli_main(argc, argv, roles, tools, explain);
}
