/*
 * The only file that lists roles and commands, and where roles meet: the edge gets the handlers
 * that other roles make, so that no role knows another.
 */
#include "app/app.h"
#include "balancer/balancer.h"
#include "cli/cli.h"
#include "database/database.h"
#include "dns/dns.h"
#include "lab/lab.h"
#include "web/web.h"

static enum err make_app(const struct web_setup *setup, const struct site_route *route,
                         struct http_handler **handler_out, struct why *why)
{
    return app_handler_make(setup->loop, setup->process, setup->generation, route, handler_out,
                            why);
}

static enum err make_upstream(const struct web_setup *setup, const struct site_route *route,
                              struct http_handler **handler_out, struct why *why)
{
    return balancer_upstream_new(setup->loop, route->upstream, handler_out, why);
}

/* One process, one hop: web, the balancer and the bridge into the application. */
static int run_edge(struct process *self)
{
    static const struct web_maker makers[] = {
        { .action = ACTION_APP, .make = make_app, .free = app_handler_free },
        { .action = ACTION_UPSTREAM, .make = make_upstream, .free = balancer_upstream_free },
    };
    return web_run(self, makers, COUNT(makers));
}

static const struct role edge_role = WEB_ROLE(run_edge);

int main(int argc, char **argv)
{
    static const struct role *const roles[] = { &database_role, &app_role, &edge_role, &dns_role,
                                                NULL };
    static const struct cli_tool tools[] = {
        { "lab", "up|down|...", "Run the whole topology of a site on this machine", lab_usage,
          lab_command },
        { .name = NULL },
    };
    return cli_main(argc, argv, roles, tools);
}
