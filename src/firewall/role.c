/*
 * The process `firewall`: it alone has the right to change the packet filter (CAP_NET_ADMIN), and
 * no other one of root's. It starts before whatever listens.
 *
 * When it ends, at a stop too, its rules stay in the kernel: a server without its site is closed,
 * not open. `trilith firewall clear` takes them away.
 */
#include "firewall/firewall.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "firewall/wall.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    COUNT_MS = 1000,
    OFFENDERS_MS = 250,
    AUDIT_MS = 5000,
    DRIFT_MS = 100, /* a change of somebody else's is rarely one command */
    PATH_SIZE = 4096,
};

#define NET_ADMIN (UINT64_C(1) << CAP_NET_ADMIN)

/* ---- in the parent ---- */

static size_t firewall_count(const struct generation *generation)
{
    return generation->site->firewall.is_present ? 1 : 0;
}

static void firewall_title(const struct generation *generation, size_t index, char *out,
                           size_t size)
{
    snprintf(out, size, "firewall");
}

/* Who starts the site by ssh must be able to come again. */
static enum err check_own_way(const struct generation *generation, struct why *why)
{
    const struct site_firewall *firewall = &generation->site->firewall;
    const char *connection = getenv("SSH_CONNECTION");
    struct text rest = text_of(connection != NULL ? connection : "");
    struct text from = text_next(&rest, ' ');
    struct address address;
    if (generation->previous != NULL || firewall->mode == FIREWALL_AUDIT ||
        firewall->is_admin_anyone || address_parse_ip(from, 0, &address) != OK ||
        networks_contain(firewall->admin, firewall->admin_count, &address))
        return OK;
    return fail(why, ERR_DENIED,
                "you are logged in from %.*s, which firewall.admin does not let in again: add it, "
                "or start the site from elsewhere",
                FMT(from));
}

static enum err add_offenders(struct generation *generation, struct why *why)
{
    int old =
        generation->previous != NULL ? generation_fd(generation->previous, FIREWALL_OFFENDERS) : -1;
    int fd = old >= 0 ? fcntl(old, F_DUPFD_CLOEXEC, 3) : offenders_open();
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    generation_add_fd(generation, fd, FIREWALL_OFFENDERS);
    return OK;
}

static enum err listen_here(struct generation *generation, struct why *why)
{
    char path[PATH_SIZE];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/" PEER_FIREWALL_SOCKET, FMT(generation->state));
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket: use --state", path);
    enum err err = generation_listen(generation, &address, SOCK_STREAM, why, "firewall.local");
    if (err == OK && chmod(path, 0666) != 0) /* who connects is looked at (SO_PEERCRED) */
        return fail(why, ERR_SYSTEM, "cannot open '%s' to others: %s", path, strerror(errno));
    return err;
}

static bool may_filter(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct own[2] = { { 0 } };
    return syscall(SYS_capget, &head, own) == 0 && (own[0].effective & NET_ADMIN) != 0;
}

static enum err prepare(struct generation *generation, struct why *why)
{
    if (nft_program() == NULL)
        return fail(why, ERR_MISSING,
                    "the program nft is missing; install it: apt-get install nftables");
    if (!may_filter())
        return fail(why, ERR_DENIED,
                    "only root may change the packet filter: start the site as root, try it in the "
                    "lab (trilith lab up), or remove firewall: from the file");
    enum err err = check_own_way(generation, why);
    if (err == OK)
        err = add_offenders(generation, why);
    return err == OK ? listen_here(generation, why) : err;
}

/* ---- sessions ---- */

static bool is_allowed(const struct generation *generation, int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return false;
    return who.uid == 0 || who.uid == geteuid() || who.uid == generation_uid(generation, "peer");
}

/* What serves, or at first what is to. */
static const struct generation *generation_of(const struct wall *wall)
{
    return wall->swap.live != NULL ? wall->swap.live : wall->building;
}

_Noreturn static void session_main(struct wall *wall, const struct generation *generation, int fd,
                                   pid_t parent)
{
    struct peer_stream *stream = NEW(struct peer_stream);
    struct why why = { "" };
    struct wall_plan *plan = wall->live.arena != NULL ? &wall->live : &wall->next;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    struct talk talk = { .generation = generation,
                         .plan = &plan->plan,
                         .counts = &wall->counts,
                         .bans = &wall->bans,
                         .token = wall->token,
                         .state = wall->state,
                         .wishes = wall->wishes[1],
                         .stream = stream };
    peer_stream_init(stream, fd, TALK_MS);
    if (plan->arena != NULL && kernel_count(kernel_open(&why), &wall->counts, &why) == OK)
        talk_serve(&talk);
    peer_stream_close(stream);
    _exit(0);
}

static void reap(struct wall *wall)
{
    for (size_t i = 0; i < WALL_SESSIONS; i++)
        if (wall->sessions[i] > 0 && waitpid(wall->sessions[i], NULL, WNOHANG) != 0)
            wall->sessions[i] = 0;
}

static void take_connection(struct wall *wall, const struct generation *generation)
{
    size_t place = 0;
    AUTO(fd_close) int fd = accept4(wall->local, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    reap(wall);
    while (place < WALL_SESSIONS && wall->sessions[place] != 0)
        place++;
    if (fd < 0 || generation == NULL || place == WALL_SESSIONS || !is_allowed(generation, fd))
        return;
    pid_t parent = getpid();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        session_main(wall, generation, fd, parent);
    if (child > 0)
        wall->sessions[place] = child;
}

void wall_attend(void *context, int64_t most_ms)
{
    struct wall *wall = context;
    struct pollfd waits[] = { { wall->local, POLLIN, 0 }, { wall->wishes[0], POLLIN, 0 } };
    if (wall->local < 0) {
        clock_sleep_ms(most_ms);
        return;
    }
    if (poll(waits, COUNT(waits), (int)most_ms) <= 0)
        return;
    if (waits[0].revents != 0)
        take_connection(wall, generation_of(wall));
    if (waits[1].revents != 0 && wall->swap.live != NULL)
        wall_grant(wall);
}

static void on_local(struct loop_watch *watch, unsigned events)
{
    struct wall *wall = list_entry(watch, struct wall, local_watch);
    (void)events;
    take_connection(wall, generation_of(wall));
}

static void on_wish(struct loop_watch *watch, unsigned events)
{
    (void)events;
    wall_grant(list_entry(watch, struct wall, wish_watch));
}

/* ---- time and news ---- */

static void on_count(struct loop_timer *timer)
{
    struct wall *wall = list_entry(timer, struct wall, count_timer);
    wall_count(wall);
    reap(wall);
    while (waitpid(-1, NULL, WNOHANG) > 0) /* those who told other servers of bans */
        continue;
    loop_timer_start(wall->loop, timer, COUNT_MS);
}

static void on_offenders(struct loop_timer *timer)
{
    struct wall *wall = list_entry(timer, struct wall, offenders_timer);
    wall_watch_offenders(wall);
    loop_timer_start(wall->loop, timer, OFFENDERS_MS);
}

static void on_audit(struct loop_timer *timer)
{
    struct wall *wall = list_entry(timer, struct wall, audit_timer);
    wall_tell_refused(wall);
    loop_timer_start(wall->loop, timer, AUDIT_MS);
}

static void on_news(struct loop_watch *watch, unsigned events)
{
    struct wall *wall = list_entry(watch, struct wall, news_watch);
    (void)events;
    if (kernel_hears(wall->news) && !loop_timer_is_running(&wall->drift_timer))
        loop_timer_start(wall->loop, &wall->drift_timer, DRIFT_MS);
}

static void on_drift(struct loop_timer *timer)
{
    struct wall *wall = list_entry(timer, struct wall, drift_timer);
    if (wall->next.arena != NULL)
        loop_timer_start(wall->loop, timer, DRIFT_MS); /* a change of ours is under way */
    else
        wall_repair(wall);
}

/* ---- generations ---- */

/* A first start applies at once: nobody listens yet, so nobody could come. */
static enum err build(struct swap *swap, const struct generation *next, struct why *why)
{
    struct wall *wall = list_entry(swap, struct wall, swap);
    wall->building = next;
    wall->local = generation_fd(generation_of(wall), "firewall.local");
    enum err err = wall_plan_make(next, &wall->next, why);
    if (err != OK)
        return err;
    bool is_same = wall->live.arena != NULL &&
                   text_equal(buffer_text(&wall->next.rules), buffer_text(&wall->live.rules));
    bool is_first = swap->live == NULL && (wall->self->is_replay || next->number == 1);
    if (is_first)
        err = wall_apply(wall, &wall->next.plan, NULL, false, why);
    else if (!is_same)
        err = wall_change(wall, swap->live, next, why);
    if (err != OK)
        wall_plan_done(&wall->next);
    return err;
}

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    struct wall *wall = list_entry(swap, struct wall, swap);
    enum err err = OK;
    if (wall->is_transition)
        err = wall_apply(wall, &wall->next.plan, NULL, false, why);
    if (swap->live != NULL)
        loop_watch_stop(&wall->local_watch);
    wall->is_transition = false;
    wall_plan_done(&wall->live);
    wall->live = wall->next;
    wall->next = (struct wall_plan){ 0 };
    wall->told_ways = -1;
    wall->local = generation_fd(next, "firewall.local");
    offenders_unmap(wall->offenders);
    wall->offenders = offenders_map(generation_fd(next, FIREWALL_OFFENDERS));
    if (err == OK)
        err = loop_watch_start(wall->loop, &wall->local_watch, wall->local, LOOP_READ, on_local);
    if (err == OK)
        return OK;
    loop_stop(wall->loop); /* the parent starts another */
    return fail_in(why, err, "the new rules");
}

static void forget(struct swap *swap)
{
    struct wall *wall = list_entry(swap, struct wall, swap);
    struct why why = { "" };
    if (wall->is_transition && wall_apply(wall, &wall->live.plan, NULL, false, &why) != OK)
        log_error("firewall", "the rules before cannot be put back", STRING("why", why.text));
    wall->is_transition = false;
    wall_plan_done(&wall->next);
}

/* ---- the process ---- */

/* Two sites with a firewall would shut out each other's clients. */
static enum err lock(struct wall *wall, struct why *why)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "\0trilith-firewall" };
    socklen_t len = offsetof(struct sockaddr_un, sun_path) + sizeof("\0trilith-firewall") - 1;
    wall->lock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (wall->lock >= 0 && bind(wall->lock, (struct sockaddr *)&address, len) == 0)
        return OK;
    return fail(why, ERR_EXISTS,
                "another site's firewall runs on this machine already: only one of them may have "
                "firewall: in its file");
}

static enum err open_all(struct wall *wall, struct why *why)
{
    enum err err = lock(wall, why);
    if (err != OK)
        return err;
    wall->requests = kernel_open(why);
    wall->news = wall->requests >= 0 ? kernel_open_news(why) : -1;
    if (wall->news < 0)
        return ERR_SYSTEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wall->wishes) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a socket: %s", strerror(errno));
    return loop_new(LOOP_EPOLL, &wall->loop, why); /* sessions are forked, and would share a ring */
}

static enum err start(struct wall *wall, struct process *self, struct why *why)
{
    static const struct swap_steps steps = {
        .area = "firewall", .build = build, .use = use, .forget = forget
    };
    wall->self = self;
    wall->state = "in the kernel";
    wall->local = wall->lock = wall->requests = wall->news = -1;
    wall->shape = buffer_of(NFT_OUTPUT_LIMIT);
    enum err err = open_all(wall, why);
    if (err != OK) {
        process_send(self, MESSAGE_FAILED, self->first->number, text_of(why->text));
        return err;
    }
    loop_timer_init(&wall->count_timer, on_count);
    loop_timer_init(&wall->drift_timer, on_drift);
    loop_timer_init(&wall->offenders_timer, on_offenders);
    loop_timer_init(&wall->audit_timer, on_audit);
    wall_load_bans(wall, self->first);
    err = swap_start(&wall->swap, &steps, self, wall->loop, why);
    if (err == OK)
        err = loop_watch_start(wall->loop, &wall->news_watch, wall->news, LOOP_READ, on_news);
    if (err == OK)
        err = loop_watch_start(wall->loop, &wall->wish_watch, wall->wishes[0], LOOP_READ, on_wish);
    return err;
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct wall *wall = NEW(struct wall);
    if (start(wall, self, &why) != OK) {
        log_error("firewall", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_timer_start(wall->loop, &wall->count_timer, 0);
    loop_timer_start(wall->loop, &wall->offenders_timer, OFFENDERS_MS);
    loop_timer_start(wall->loop, &wall->audit_timer, AUDIT_MS);
    loop_run(wall->loop);
    return 0;
}

const struct role firewall_role = {
    .name = "firewall",
    .summary = "lets in and out what the site needs, and nothing else",
    .reload = RELOAD_SWAP,
    .runs_programs = true,
    .start_order = 3,
    .needs = "firewall.",
    .count = firewall_count,
    .title = firewall_title,
    .prepare = prepare,
    .run = run,
    .folder = "firewall",
    .capabilities = NET_ADMIN,
};
