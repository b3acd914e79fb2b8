/*
 * The process `peer`: listens on this server's address for the other servers of the site and on a
 * Unix socket for the processes of this one, and passes what they say on (peer_link.c). It takes
 * over a new generation like the DNS role does; connections stay over a reload.
 */
#include "process/peer.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/peer_link.h"
#include "process/site_key.h"
#include "process/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct peer_process {
    struct peer peer;
    struct swap swap;
    struct loop_watch network, local;
};

/* Servers that share no database and are not watched may do without the channel, and so without a
 * key. */
static bool has_key(const struct generation *generation)
{
    char path[512];
    snprintf(path, sizeof(path), "%.*s/secrets/site-key", FMT(generation->state));
    return access(path, F_OK) == 0;
}

static size_t peer_count(const struct generation *generation)
{
    const struct site *site = generation->site;
    bool is_one_of_many = site->has_servers && site->server_count > 1 && site->listen.control > 0;
    return is_one_of_many &&
                   (site->database.is_present || site->monitor.is_present || has_key(generation))
               ? 1
               : 0;
}

static void peer_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "peer");
}

/* ---- in the parent ---- */

static enum err add_board(struct generation *generation, struct why *why)
{
    int old =
        generation->previous != NULL ? generation_fd(generation->previous, "primary.board") : -1;
    int fd = old >= 0 ? fcntl(old, F_DUPFD_CLOEXEC, 3) : primary_board_open();
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    generation_add_fd(generation, fd, "primary.board");
    return OK;
}

static enum err listen_here(struct generation *generation, struct why *why)
{
    char path[512];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/run/peer/peer.sock", FMT(generation->state));
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket: use --state", path);
    enum err err = generation_listen(generation, &address, SOCK_STREAM, why, "peer.local");
    if (err == OK && chmod(path, 0666) != 0) /* who connects is looked at (SO_PEERCRED) */
        return fail(why, ERR_SYSTEM, "cannot open '%s' to others: %s", path, strerror(errno));
    return err;
}

/* The status of this server is for the others, too: `peer` may connect to the parent's socket,
 * which hears nothing else from it (control.c). */
static enum err open_status(struct generation *generation, struct why *why)
{
    char path[512];
    gid_t group = (gid_t)generation_uid(generation, peer_role.name);
    snprintf(path, sizeof(path), "%.*s/run/control.sock", FMT(generation->state));
    if (generation->is_root && (chown(path, (uid_t)-1, group) != 0 || chmod(path, 0660) != 0))
        return fail(why, ERR_SYSTEM, "cannot open '%s' to the process `peer`: %s", path,
                    strerror(errno));
    return OK;
}

static enum err prepare(struct generation *generation, struct why *why)
{
    struct address address = generation->server->address;
    address_set_port(&address, (uint16_t)generation->site->listen.control);
    enum err err = site_key_add(generation, "peer", "peer.key", why);
    if (err == OK)
        err = add_board(generation, why);
    if (err == OK)
        err = open_status(generation, why);
    if (err == OK)
        err = listen_here(generation, why);
    if (err == OK)
        err = generation_listen(generation, &address, SOCK_STREAM, why, "peer.network");
    return err;
}

/* ---- connections ---- */

static void accept_all(int listener, struct peer *peer, void (*begin)(struct peer *, int))
{
    enum { AT_ONCE = 16 };
    for (int i = 0; i < AT_ONCE; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        begin(peer, fd);
    }
}

static void on_network(struct loop_watch *watch, unsigned events)
{
    struct peer_process *process = list_entry(watch, struct peer_process, network);
    (void)events;
    accept_all(watch->fd, &process->peer, peer_link_from_network);
}

static void on_local(struct loop_watch *watch, unsigned events)
{
    struct peer_process *process = list_entry(watch, struct peer_process, local);
    (void)events;
    accept_all(watch->fd, &process->peer, peer_link_from_here);
}

/* ---- generations ---- */

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    struct peer_process *process = list_entry(swap, struct peer_process, swap);
    struct peer *peer = &process->peer;
    if (swap->live != NULL) {
        loop_watch_stop(&process->network);
        loop_watch_stop(&process->local);
    }
    peer->generation = next;
    peer->database_uid = generation_uid(next, "database");
    peer->acme_uid = generation_uid(next, "acme");
    peer->agent_uid = generation_uid(next, "agent");
    peer->firewall_uid = generation_uid(next, "firewall");
    enum err err = loop_watch_start(swap->loop, &process->network,
                                    generation_fd(next, "peer.network"), LOOP_READ, on_network);
    if (err == OK)
        err = loop_watch_start(swap->loop, &process->local, generation_fd(next, "peer.local"),
                               LOOP_READ, on_local);
    if (err == OK)
        return OK;
    loop_stop(swap->loop); /* the parent starts another */
    return fail(why, err, "cannot watch the listening sockets");
}

static enum err start(struct peer_process *process, struct process *self, struct why *why)
{
    static const struct swap_steps steps = { .area = "peer", .use = use };
    struct peer *peer = &process->peer;
    const struct generation *first = self->first;
    uint8_t key[PEER_KEY_BYTES];
    list_init(&peer->links);
    peer->parent_uid = first->is_root ? 0 : geteuid();
    peer->primary = primary_board_map(generation_fd(first, "primary.board"));
    if (generation_read_data(first, "peer.key", key, sizeof(key)) != sizeof(key) ||
        peer->primary == NULL)
        return fail(why, ERR_MISSING, "the parent gave no key");
    enum err err = peer_tls_new(key, "trilith-peer", &peer->tls, why);
    explicit_bzero(key, sizeof(key));
    if (err == OK)
        err = loop_new(LOOP_AUTO, &peer->loop, why);
    return err == OK ? swap_start(&process->swap, &steps, self, peer->loop, why) : err;
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct peer_process *process = NEW(struct peer_process);
    if (start(process, self, &why) != OK) {
        log_error("peer", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(process->peer.loop);
    return 0; /* open connections end with the process */
}

const struct role peer_role = {
    .name = "peer",
    .summary = "the encrypted channel between the servers of the site",
    .reload = RELOAD_SWAP,
    .start_order = 5,
    .needs = "peer. primary.",
    .count = peer_count,
    .title = peer_title,
    .prepare = prepare,
    .run = run,
    .folder = "peer",
};
