/*
 * `trilith up`, `run`, `stop` and `reload`: a whole site here, one server's part, and its end.
 */
#include "cli/target.h"
#include "cli/terminal.h"
#include "core/sys.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

enum {
    RELOAD_MS = 15 * 60 * 1000, /* apps may take as long as their start-timeout says */
    STOP_MS = 10 * 60 * 1000,   /* a database writes its pages first */
};

/* Loads the file to say what is wrong with it before anything starts. NULL: it was said. */
static struct site *load_site(const char *path)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    if (site_load(path, &site, &mistakes) != OK) {
        (void)!sys_write(STDERR_FILENO, mistakes.text.data, mistakes.text.len);
        complain("%s is not started: %zu mistake%s in it", path, mistakes.count,
                 mistakes.count == 1 ? "" : "s");
    }
    site_mistakes_done(&mistakes);
    return site;
}

static void list_servers(const struct site *site, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < site->server_count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%.*s", i > 0 ? ", " : "",
                               FMT(site->servers[i].name));
}

static bool check_server(const struct site *site, const char *path, const char *server)
{
    char names[256];
    list_servers(site, names, sizeof(names));
    if (server != NULL && site_server_find(site, text_of(server)) == NULL) {
        complain("%s has no server '%s'; it has: %s", path, server, names);
        return false;
    }
    if (server == NULL && site->server_count > 1) {
        complain(
            "%s has %zu servers; run one of them on each machine: trilith run %s --server NAME "
            "(%s)",
            path, site->server_count, path, names);
        return false;
    }
    return true;
}

static int run_site(const struct invocation *invocation, const char *server)
{
    const struct options *given = &invocation->options;
    struct process_options options = {
        .site_path = invocation->arguments[0],
        .server = server,
        .state = given->state,
        .background = given->background,
        .quiet = given->quiet,
        .json = given->json,
    };
    struct site *site = load_site(options.site_path);
    if (site == NULL)
        return CLI_FAILED;
    struct why why;
    int status = check_server(site, options.site_path, server) ? CLI_OK : CLI_USAGE;
    if (status == CLI_OK && site_can_run(site, &why) != OK) {
        complain("%s is not started: %s", options.site_path, why.text);
        status = CLI_FAILED;
    }
    site_free(site);
    return status == CLI_OK ? process_parent(&options, invocation->roles) : status;
}

int command_up(const struct invocation *invocation)
{
    return run_site(invocation, NULL);
}

int command_run(const struct invocation *invocation)
{
    return run_site(invocation, invocation->options.server);
}

int command_stop(const struct invocation *invocation)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(1 << 20);
    struct target target;
    int status = target_find(invocation, &target);
    if (status == CLI_OK)
        status = target_ask(&target, "stop", STOP_MS, &answer);
    if (status != CLI_OK || invocation->options.quiet)
        return status;
    buffer_clear(&answer);
    buffer_print(&answer, "%s has stopped\n", target.site);
    return print_text(buffer_text(&answer)) ? CLI_OK : CLI_FAILED;
}

int command_reload(const struct invocation *invocation)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(1 << 20);
    struct target target;
    int status = target_find(invocation, &target);
    if (status == CLI_OK)
        status = target_ask(&target, "reload", RELOAD_MS, &answer);
    if (status == CLI_FAILED && answer.len > 0) /* it answered, so it runs */
        complain("%s goes on as it was", target.site);
    if (status != CLI_OK || invocation->options.quiet)
        return status;
    if (invocation->options.json)
        return print_text(buffer_text(&answer)) ? CLI_OK : CLI_FAILED;
    json_t *root = json_loadb(answer.data, answer.len, 0, NULL);
    long long generation = json_integer_value(json_object_get(root, "generation"));
    long long took_ms = json_integer_value(json_object_get(root, "took_ms"));
    json_decref(root);
    buffer_clear(&answer);
    buffer_print(&answer, "%s serves generation %lld, after %lld.%02lld s\n", target.site,
                 generation, took_ms / 1000, took_ms % 1000 / 10);
    return print_text(buffer_text(&answer)) ? CLI_OK : CLI_FAILED;
}
