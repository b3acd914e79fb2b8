/*
 * The role "command" in the parent: one process per instance of each application that is a program
 * of its own. A generation has, per application:
 *
 *   command.NAME.addresses    where its instances listen, a line each; for the edges too
 *   program.NAME.root         its folder, for users that may not pass its parents
 *   program.NAME.environment  NAME=VALUE\0 pairs, secrets among them
 *
 * Every generation has ports and sockets of its own, so that the old instances go on beside the
 * new ones. Ports are taken from below the range from which the kernel gives ports to clients.
 */
#include "app/app.h"
#include "app/command_private.h"
#include "app/role_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PORT_FIRST = 20000,
    PORT_COUNT = 12000, /* up to 31999: the kernel's own begin at 32768 */
    PORT_TRIES = 2000,
    ADDRESSES_LIMIT = 128 * 1024,
    KINDS = 1 << APP_COMMAND,
};

/* ---- who is here ---- */

const struct site_app *command_app_at(const struct generation *generation, size_t index,
                                      size_t *instance_out)
{
    const struct site_app *app;
    *instance_out = 0;
    for (size_t i = 0; (app = app_here(generation, KINDS, i)) != NULL; i++) {
        if (index < (size_t)app->workers) {
            *instance_out = index;
            return app;
        }
        index -= (size_t)app->workers;
    }
    return NULL;
}

static size_t command_count(const struct generation *generation)
{
    const struct site_app *app;
    size_t count = 0;
    for (size_t i = 0; (app = app_here(generation, KINDS, i)) != NULL; i++)
        count += (size_t)app->workers;
    return count;
}

static void command_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    size_t instance, len;
    app_title(command_app_at(generation, index, &instance), out, size);
    len = strlen(out);
    snprintf(out + len, size - len, ".%zu", instance);
}

static struct text command_user(const struct generation *generation, size_t index)
{
    size_t instance;
    return app_user(command_app_at(generation, index, &instance));
}

static int64_t command_start_ms(const struct generation *generation, size_t index)
{
    size_t instance;
    return app_start_ms(command_app_at(generation, index, &instance));
}

/* ---- addresses ---- */

enum err app_command_addresses(const struct generation *generation, const struct site_app *app,
                               struct address **addresses_out, size_t *count_out, struct why *why)
{
    char path[64];
    struct text all;
    size_t count = 0;
    int fd = generation_fd(generation, "command.%.*s.addresses", FMT(app->name));
    if (fd < 0)
        return fail(why, ERR_MISSING, "app '%.*s' has no addresses here", FMT(app->name));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    enum err err = sys_read_file(path, ADDRESSES_LIMIT, &all, why);
    if (err != OK)
        return err;
    struct address *addresses = memory_new_array((size_t)app->workers, sizeof(*addresses));
    struct text rest = all;
    while (err == OK && rest.len > 0 && count < (size_t)app->workers)
        err = address_parse(text_next(&rest, '\n'), &addresses[count++]);
    memory_free((void *)all.data);
    if (err != OK || count != (size_t)app->workers) {
        memory_free(addresses);
        return fail(why, ERR_PROTOCOL, "app '%.*s': malformed addresses", FMT(app->name));
    }
    *addresses_out = addresses;
    *count_out = count;
    return OK;
}

struct ports {
    bool is_taken[PORT_COUNT];
};

static void take_port(struct ports *ports, int64_t port)
{
    if (port >= PORT_FIRST && port < PORT_FIRST + PORT_COUNT)
        ports->is_taken[port - PORT_FIRST] = true;
}

/* What this site uses: also a port whose program is being restarted just now. */
static void take_ports(struct ports *ports, const struct generation *generation)
{
    take_port(ports, generation->site->listen.http);
    take_port(ports, generation->site->listen.dns);
    const struct site_app *app;
    for (size_t i = 0; (app = app_here(generation, KINDS, i)) != NULL; i++) {
        struct address *addresses = NULL;
        size_t count = 0;
        struct why ignored;
        if (app_command_addresses(generation, app, &addresses, &count, &ignored) != OK)
            continue;
        for (size_t k = 0; k < count; k++)
            take_port(ports, address_port(&addresses[k]));
        memory_free(addresses);
    }
}

static bool is_free(uint16_t port)
{
    struct address address;
    AUTO(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && address_parse_ip(T("127.0.0.1"), port, &address) == OK &&
           bind(fd, &address.u.any, address.len) == 0;
}

static enum err pick_port(struct ports *ports, const struct site_app *app, uint16_t *port_out,
                          struct why *why)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        uint32_t number;
        sys_random(&number, sizeof(number));
        uint16_t port = (uint16_t)(PORT_FIRST + number % PORT_COUNT);
        if (ports->is_taken[port - PORT_FIRST] || !is_free(port))
            continue;
        take_port(ports, port);
        *port_out = port;
        return OK;
    }
    return fail(why, ERR_LIMIT, "app '%.*s': no free port between %d and %d", FMT(app->name),
                PORT_FIRST, PORT_FIRST + PORT_COUNT - 1);
}

/* ---- the folder of Unix sockets: its user writes there, the edges pass, nobody else ---- */

static enum err owner_of(const struct generation *generation, const struct site_app *app,
                         uid_t *uid_out, struct why *why)
{
    char name[64];
    *uid_out = generation_uid(generation, "command");
    if (!generation->is_root || text_is_empty(app->user))
        return OK;
    const struct passwd *user = text_copy_to(app->user, name, sizeof(name)) ? getpwnam(name) : NULL;
    if (user == NULL)
        return fail(why, ERR_NOT_FOUND, "app '%.*s': there is no user '%.*s'", FMT(app->name),
                    FMT(app->user));
    *uid_out = user->pw_uid;
    return OK;
}

static enum err make_socket_folder(const struct generation *generation, const struct site_app *app,
                                   struct why *why)
{
    char path[PATH_MAX];
    uid_t uid;
    gid_t edges = generation->is_root ? (gid_t)generation_uid(generation, "web") : getegid();
    enum err err = owner_of(generation, app, &uid, why);
    if (err != OK)
        return err;
    /* the upper one is the parent's own: nobody can put a link in the place of the lower one */
    snprintf(path, sizeof(path), "%.*s/run/command", FMT(generation->state));
    err = sys_make_folder(path, 0711, geteuid(), getegid(), why);
    if (err != OK)
        return err;
    snprintf(path, sizeof(path), "%.*s/run/command/%.*s", FMT(generation->state), FMT(app->name));
    return sys_make_folder(path, 0710, uid, edges, why);
}

static enum err add_addresses(struct generation *generation, const struct site_app *app,
                              struct ports *ports, struct why *why)
{
    AUTO(buffer_done) struct buffer lines = buffer_of(ADDRESSES_LIMIT);
    enum err err = app->listen == APP_LISTEN_SOCKET ? make_socket_folder(generation, app, why) : OK;
    for (int64_t i = 0; i < app->workers && err == OK; i++) {
        uint16_t port = 0;
        if (app->listen == APP_LISTEN_SOCKET) {
            struct address address;
            size_t before = lines.len;
            buffer_print(&lines, "unix:%.*s/run/command/%.*s/%lld-%lld.sock\n",
                         FMT(generation->state), FMT(app->name), (long long)generation->number,
                         (long long)i);
            if (lines.failed ||
                address_parse(text_part(buffer_text(&lines), before, lines.len - before - 1),
                              &address) != OK)
                err = fail(why, ERR_LIMIT,
                           "app '%.*s': the path of its socket is longer than 107 bytes; use "
                           "`listen: port` or a shorter --state",
                           FMT(app->name));
        } else {
            err = pick_port(ports, app, &port, why);
            buffer_print(&lines, "127.0.0.1:%u\n", port);
        }
    }
    int fd = -1;
    if (err == OK)
        err = app_memfd("trilith-addresses", buffer_text(&lines), &fd, why);
    if (err == OK)
        generation_add_fd(generation, fd, "command.%.*s.addresses", FMT(app->name));
    return err;
}

/* ---- preparing ---- */

static enum err check_app(struct generation *generation, const struct site_app *app,
                          struct why *why)
{
    char program[PATH_MAX], root[PATH_MAX];
    if (app->workers_most != app->workers)
        return fail(why, ERR_UNSUPPORTED,
                    "app '%.*s': a command has a fixed number of instances; write `workers: %lld`",
                    FMT(app->name), (long long)app->workers);
    if (!text_copy_to(app->root, root, sizeof(root)))
        return fail(why, ERR_LIMIT, "app '%.*s': the path of its folder is too long",
                    FMT(app->name));
    enum err err = command_program_find(app, program, sizeof(program), why);
    if (err != OK)
        return fail_in(why, err, "app '%.*s'", FMT(app->name));
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "app '%.*s': cannot open its folder '%s': %s",
                    FMT(app->name), root, strerror(errno));
    generation_add_fd(generation, fd, "program.%.*s.root", FMT(app->name));
    return OK;
}

static enum err command_prepare(struct generation *generation, struct why *why)
{
    struct ports ports = { { 0 } };
    const struct site_app *app;
    take_ports(&ports, generation);
    if (generation->previous != NULL)
        take_ports(&ports, generation->previous);
    for (size_t i = 0; (app = app_here(generation, KINDS, i)) != NULL; i++) {
        enum err err = check_app(generation, app, why);
        if (err == OK)
            err = add_addresses(generation, app, &ports, why);
        if (err == OK)
            err = app_environment_add(generation, app, "program", why);
        if (err != OK)
            return err;
    }
    return OK;
}

const struct role command_role = {
    .name = "command",
    .summary = "runs programs that serve HTTP themselves (Node, Go, Ruby, Java...)",
    .reload = RELOAD_REPLACE,
    .start_order = 20,
    .needs = "command. program.",
    .count = command_count,
    .title = command_title,
    .prepare = command_prepare,
    .run = app_command_run,
    .user = command_user,
    .start_ms = command_start_ms,
};
