/*
 * The holder: makes the networks and machines, keeps them, and obeys the control socket, on which
 * each packet is one command ("kill web-01") and each answer one JSON object.
 */
#include "lab/holder.h"
#include "lab/partition.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { END_MS = 60000, CLIENT_LIMIT = 32 };

static struct holder holder; /* one per process; call-backs of watches find it here */

/* ---- networks ---- */

static void write_setting(const char *path, const char *value)
{
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || sys_write(fd, value, strlen(value)) < 0)
        log_warn("lab", "cannot set the router up", STRING("file", path),
                 STRING("reason", strerror(errno)));
}

enum err holder_make_bridge(struct holder *self, const struct lab_plan *plan, size_t index,
                            struct why *why)
{
    char name[16];
    const struct lab_network *network = &plan->networks[index];
    snprintf(name, sizeof(name), "net%zu", index);
    enum err err = netlink_add_bridge(&self->room, name, why);
    if (err == OK)
        err = netlink_add_address(&self->room, name, &network->router, network->prefix, why);
    return err;
}

static enum err make_bridges(const struct lab_plan *plan, struct why *why)
{
    enum err err = netlink_set_up(&holder.room, "lo", true, why);
    for (size_t i = 0; i < plan->network_count && err == OK; i++)
        err = holder_make_bridge(&holder, plan, i, why);
    write_setting("/proc/sys/net/ipv4/ip_forward", "1");
    write_setting("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    return err;
}

/* Joins the namespace for a moment, to open a socket that speaks for it. */
static enum err connect_node(struct machine *machine, const struct lab_plan *plan, struct why *why)
{
    char bridge[16];
    const struct lab_node *node = machine->node;
    const struct lab_network *network = &plan->networks[node->network];
    struct netlink inside;
    snprintf(bridge, sizeof(bridge), "net%zu", node->network);
    enum err err =
        netlink_add_pair(&holder.room, node->link, bridge, "eth0", machine->network, why);
    if (err == OK)
        err = machine_netlink(machine, &inside, why);
    if (err != OK)
        return err;
    err = netlink_set_up(&inside, "eth0", true, why);
    if (err == OK)
        err = netlink_add_address(&inside, "eth0", &node->address, network->prefix, why);
    if (err == OK)
        err = netlink_add_default(&inside, &network->router, why);
    netlink_close(&inside);
    return err;
}

enum err holder_add(struct holder *self, const struct lab_plan *plan, const struct lab_node *node,
                    struct why *why)
{
    size_t at = 0;
    while (at < self->count && self->machines[at].node != NULL)
        at++;
    struct machine *machine = &self->machines[at];
    *machine = (struct machine){ .node = node, .init = -1, .notify = -1, .network = -1 };
    if (at == self->count)
        self->count++;
    enum err err = machine_make_network(&machine->network, why);
    if (err == OK)
        err = connect_node(machine, plan, why);
    if (err == OK)
        err = machine_prepare(&self->setup, machine, why);
    return err == OK ? OK : fail_in(why, err, "machine '%s'", node->name);
}

static enum err make_machines(const struct lab_plan *plan, struct why *why)
{
    enum err err = OK;
    holder.machines = memory_new_array(LAB_NODE_LIMIT, sizeof(struct machine));
    holder.notifies = memory_new_array(LAB_NODE_LIMIT, sizeof(struct loop_watch));
    for (size_t i = 0; i < plan->node_count && err == OK; i++)
        err = holder_add(&holder, plan, &plan->nodes[i], why);
    return err;
}

/* ---- machines ---- */

static void on_notify(struct loop_watch *watch, unsigned events)
{
    struct machine *machine = &holder.machines[watch - holder.notifies];
    if (machine_hears_ready(machine))
        log_info("lab", "a server is ready", STRING("server", machine->node->name),
                 MS("after", machine->ready_ms - machine->started_ms));
}

enum err holder_power_on(struct holder *self, struct machine *machine, struct why *why)
{
    enum err err = machine_start(&self->setup, machine, why);
    if (err != OK || machine->notify < 0)
        return err;
    err = loop_watch_start(self->loop, &self->notifies[machine - self->machines], machine->notify,
                           LOOP_READ, on_notify);
    return err == OK ? OK : fail(why, err, "cannot watch '%s'", machine->node->name);
}

static bool is_any_on(void)
{
    for (size_t i = 0; i < holder.count; i++) {
        if (holder.machines[i].init >= 0)
            return true;
    }
    return false;
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < holder.count; i++) {
            struct machine *machine = &holder.machines[i];
            if (machine->wire.settings != NULL && machine->wire.pid == pid)
                log_error("lab", "a wire has ended; heal it with: trilith lab link MACHINE",
                          STRING("machine", machine->node->name));
            if (machine->pid != pid)
                continue;
            if (machine->notify >= 0)
                loop_watch_stop(&holder.notifies[i]);
            machine_ended(machine, status);
            log_info("lab", "a machine is off", STRING("machine", machine->node->name),
                     INT("status", machine->exit_status));
        }
    }
    if (holder.is_ending && !is_any_on())
        loop_stop(holder.loop);
}

static void end_lab(void)
{
    if (holder.is_ending)
        return;
    holder.is_ending = true;
    loop_timer_start(holder.loop, &holder.give_up, END_MS);
    for (size_t i = 0; i < holder.count; i++) {
        struct machine *machine = &holder.machines[i];
        struct why why;
        if (machine->node == NULL)
            continue;
        if (machine->is_paused && machine_pause(machine, false, &why) != OK)
            log_warn("lab", why.text);
        if (machine->node->server == NULL)
            machine_kill(machine);
        else
            machine_stop(machine);
    }
    if (!is_any_on())
        loop_stop(holder.loop);
}

static void on_give_up(struct loop_timer *timer)
{
    loop_stop(holder.loop); /* the kernel ends the rest with us */
}

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct signalfd_siginfo info;
    while (sys_read(watch->fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGCHLD)
            end_lab();
    }
    reap();
}

static void on_janitor(struct loop_watch *watch, unsigned events)
{
    loop_watch_stop(watch); /* nobody would clean up after us: end in order and do it ourselves */
    holder.is_orphan = true;
    end_lab();
}

/* ---- control ---- */

static json_t *machine_json(const struct machine *machine)
{
    char address[ADDRESS_TEXT_SIZE];
    struct buffer roles AUTO(buffer_done) = buffer_of(1 << 16);
    address_format_ip(&machine->node->address, address);
    lab_plan_roles(holder.setup.plan, machine->node, &roles);
    json_t *row = json_pack("{s:s, s:s, s:s#, s:s, s:b, s:I}", "name", machine->node->name,
                            "address", address, "roles", roles.len > 0 ? roles.data : "",
                            (int)roles.len, "state", machine_state_name(machine), "cut",
                            machine->is_cut ? 1 : 0, "starts", (json_int_t)machine->starts);
    json_object_set_new(row, "folder", json_string(machine->folder));
    if (machine->state == MACHINE_READY && machine->node->server != NULL)
        json_object_set_new(row, "ready_after_ms",
                            json_integer(machine->ready_ms - machine->started_ms));
    if (machine->state == MACHINE_FAILED)
        json_object_set_new(row, "exit_status", json_integer(machine->exit_status));
    if (machine->cable[0] != '\0')
        json_object_set_new(row, "link", json_string(machine->cable));
    return row;
}

static json_t *status_json(void)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < holder.count; i++) {
        if (holder.machines[i].node != NULL)
            json_array_append_new(rows, machine_json(&holder.machines[i]));
    }
    return json_pack("{s:b, s:I, s:i, s:i, s:s, s:o}", "ending", holder.is_ending ? 1 : 0, "up_ms",
                     (json_int_t)(clock_now_ms() - holder.started_ms), "page_port",
                     holder.door_port, "dashboard_port", holder.dashboard_port, "partition",
                     holder.partition, "machines", rows);
}

static enum err set_cut(struct machine *machine, bool is_cut, struct why *why)
{
    enum err err = netlink_set_up(&holder.room, machine->node->link, !is_cut, why);
    if (err == OK)
        machine->is_cut = is_cut;
    return err;
}

/* ---- bad cables ---- */

static void wire_names(const struct machine *machine, char near[16], char far[16])
{
    snprintf(near, 16, "b%s", machine->node->link);
    snprintf(far, 16, "w%s", machine->node->link);
}

static enum err set_offloads(struct machine *machine, const char *far, bool is_on, struct why *why)
{
    struct netlink inside;
    enum err err = machine_netlink(machine, &inside, why);
    if (err != OK)
        return err;
    err = netlink_set_offloads(&inside, "eth0", is_on, why);
    netlink_close(&inside);
    if (err == OK)
        err = netlink_set_offloads(&holder.room, machine->node->link, is_on, why);
    return err == OK && far != NULL ? netlink_set_offloads(&holder.room, far, is_on, why) : err;
}

/* bridge ── near ══ far ── wire ── the machine's link */
static enum err add_wire(struct machine *machine, struct why *why)
{
    char bridge[16], near[16], far[16];
    snprintf(bridge, sizeof(bridge), "net%zu", machine->node->network);
    wire_names(machine, near, far);
    enum err err = netlink_add_local_pair(&holder.room, near, bridge, far, why);
    if (err == OK)
        err = netlink_set_bridge(&holder.room, machine->node->link, NULL, why);
    if (err == OK)
        err = set_offloads(machine, far, false, why);
    if (err == OK)
        err = netlink_set_offloads(&holder.room, near, false, why);
    return err == OK ? wire_start(&machine->wire, machine->node->link, far, why) : err;
}

enum err holder_remove_wire(struct machine *machine, struct why *why)
{
    char bridge[16], near[16], far[16];
    if (machine->wire.settings == NULL)
        return OK;
    snprintf(bridge, sizeof(bridge), "net%zu", machine->node->network);
    wire_names(machine, near, far);
    wire_stop(&machine->wire);
    machine->cable[0] = '\0';
    enum err err = netlink_delete(&holder.room, near, why);
    if (err == OK)
        err = netlink_set_bridge(&holder.room, machine->node->link, bridge, why);
    return err == OK ? set_offloads(machine, NULL, true, why) : err;
}

static enum err set_cable(struct machine *machine, struct text words, struct why *why)
{
    struct wire_settings settings;
    if (text_is_empty(words))
        return holder_remove_wire(machine, why);
    enum err err = wire_parse(words, &settings, why);
    if (err == OK && machine->wire.settings == NULL)
        err = add_wire(machine, why);
    if (err != OK)
        return err;
    wire_set(&machine->wire, &settings);
    text_copy_to(words, machine->cable, sizeof(machine->cable));
    return OK;
}

/* ---- commands ---- */

static enum err do_on(struct machine *machine, struct text word, struct text rest, struct why *why)
{
    if (text_equal(word, T("start")))
        return holder.is_ending ? fail(why, ERR_STATE, "the lab is ending")
                                : holder_power_on(&holder, machine, why);
    if (text_equal(word, T("cut")) || text_equal(word, T("heal")))
        return set_cut(machine, text_equal(word, T("cut")), why);
    if (text_equal(word, T("link")))
        return set_cable(machine, rest, why);
    if (machine->init < 0)
        return fail(why, ERR_STATE, "'%s' is off", machine->node->name);
    if (text_equal(word, T("pause")) || text_equal(word, T("resume")))
        return machine_pause(machine, text_equal(word, T("pause")), why);
    if (text_equal(word, T("stop")))
        machine_stop(machine);
    else if (text_equal(word, T("kill")))
        machine_kill(machine);
    else if (!text_equal(word, T("enter")))
        return fail(why, ERR_UNKNOWN, "'%.*s' is not a command of the lab", FMT(word));
    return OK;
}

static struct machine *find_machine(struct text name)
{
    for (size_t i = 0; i < holder.count; i++) {
        const struct lab_node *node = holder.machines[i].node;
        if (node != NULL && text_equal(text_of(node->name), name))
            return &holder.machines[i];
    }
    return NULL;
}

/* Cables in, power on again, partitions over: everything as at the start. */
static enum err heal_all(struct why *why)
{
    enum err err = partition_end(why);
    if (err == OK)
        holder.partition[0] = '\0';
    for (size_t i = 0; i < holder.count && err == OK; i++) {
        struct machine *machine = &holder.machines[i];
        if (machine->is_cut)
            err = set_cut(machine, false, why);
        if (err == OK)
            err = holder_remove_wire(machine, why);
        if (err == OK && machine->is_paused)
            err = machine_pause(machine, false, why);
    }
    return err;
}

/* Commands for the lab as a whole. */
static bool obey_whole(struct text word, struct text rest, json_t **answer, struct why *why)
{
    struct text second = rest, first = text_next(&second, ' ');
    *answer = NULL;
    if (text_equal(word, T("status"))) {
        *answer = status_json();
    } else if (text_equal(word, T("down"))) {
        end_lab();
        *answer = json_object();
    } else if (text_equal(word, T("heal")) && text_is_empty(rest)) {
        if (heal_all(why) == OK)
            *answer = status_json();
    } else if (text_equal(word, T("update"))) {
        *answer = holder.is_ending ? NULL : lab_update(&holder, rest, why);
    } else if (text_equal(word, T("partition"))) {
        if (partition_start(holder.setup.plan, first, second, why) == OK) {
            *answer = json_object();
            (void)text_copy_to(rest, holder.partition, sizeof(holder.partition));
        }
    } else {
        return false;
    }
    return true;
}

/* The answer to one command; *fd is a descriptor that goes with it, or -1. */
static json_t *obey(struct text command, int *fd)
{
    struct why why = { "" };
    struct text rest = command, word = text_next(&rest, ' ');
    json_t *answer;
    *fd = -1;
    if (obey_whole(word, rest, &answer, &why))
        return answer != NULL ? answer : json_pack("{s:s}", "error", why.text);
    struct text name = text_next(&rest, ' ');
    struct machine *machine = find_machine(name);
    enum err err = machine == NULL
                       ? fail(&why, ERR_NOT_FOUND, "the lab has no machine '%.*s'", FMT(name))
                       : do_on(machine, word, rest, &why);
    if (err != OK)
        return json_pack("{s:s}", "error", why.text);
    if (text_equal(word, T("enter")))
        *fd = machine->init;
    return machine_json(machine);
}

static int append_json(const char *data, size_t len, void *out)
{
    buffer_append(out, text_from(data, len));
    return 0;
}

static void on_control(struct loop_watch *watch, unsigned events)
{
    char buffer[MESSAGE_TEXT_LIMIT + 64];
    struct message message;
    AUTO(fd_close) int client = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
    struct timeval patience = { .tv_sec = 1 };
    int fd;
    if (client < 0 ||
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
        message_receive(client, buffer, sizeof(buffer), &message) != OK)
        return;
    for (size_t i = 0; i < message.fd_count; i++)
        fd_close(&message.fds[i]);
    json_t *answer = obey(message.text, &fd);
    struct buffer text AUTO(buffer_done) = buffer_of(MESSAGE_TEXT_LIMIT);
    if (json_dump_callback(answer, append_json, &text, JSON_COMPACT) != 0 || text.failed)
        log_error("lab", "an answer is too long");
    struct message reply = { .type = MESSAGE_NOTE, .text = buffer_text(&text) };
    if (fd >= 0)
        reply.fds[reply.fd_count++] = fd;
    if (message_send(client, &reply) != OK)
        log_warn("lab", "an answer is lost");
    json_decref(answer);
}

static enum err open_control(const char *run, int *fd_out, struct why *why)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", run);
    unlink(address.sun_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    bool is_bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                    listen(fd, CLIENT_LIMIT) == 0;
    umask(mask);
    if (!is_bound) {
        fail(why, ERR_SYSTEM, "cannot make the socket '%s': %s", address.sun_path, strerror(errno));
        fd_close(&fd);
        return ERR_SYSTEM;
    }
    *fd_out = fd;
    return OK;
}

/* ---- life ---- */

static enum err watch_all(const char *run, int janitor, struct why *why)
{
    sigset_t set;
    int control;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    enum err err = open_control(run, &control, why);
    if (err == OK)
        err = loop_watch_start(holder.loop, &holder.signals, signals, LOOP_READ, on_signal);
    if (err == OK)
        err = loop_watch_start(holder.loop, &holder.control, control, LOOP_READ, on_control);
    if (err == OK)
        err = loop_watch_start(holder.loop, &holder.janitor, janitor, LOOP_READ, on_janitor);
    return err;
}

static int port_of(int listener)
{
    struct sockaddr_in own = { .sin_port = 0 };
    socklen_t len = sizeof(own);
    return getsockname(listener, (struct sockaddr *)&own, &len) == 0 ? ntohs(own.sin_port) : 0;
}

static void open_doors(const struct lab_plan *plan, const struct lab_doors *doors)
{
    holder.door_port = port_of(doors->page);
    if (doors->page >= 0 && plan->entry.len > 0)
        holder.door =
            door_start(doors->page, holder.machines[holder.count - 1].network, &plan->entry);
    for (size_t i = 0; i < holder.count && doors->dashboard >= 0; i++) {
        if (holder.machines[i].node != plan->monitor)
            continue;
        holder.dashboard_port = port_of(doors->dashboard);
        holder.dashboard =
            door_start(doors->dashboard, holder.machines[i].network, &plan->dashboard);
    }
}

static enum err make_all(const struct lab_place *place, const struct lab_plan *plan,
                         const struct lab_doors *doors, int janitor, struct why *why)
{
    holder.setup = (struct machine_setup){ .plan = plan,
                                           .site_path = place->site_path,
                                           .program = place->program,
                                           .folder = place->folder,
                                           .run_folder = place->run,
                                           .inside = place->inside,
                                           .cgroup = place->cgroup };
    holder.started_ms = clock_now_ms();
    loop_timer_init(&holder.give_up, on_give_up);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return fail(why, ERR_SYSTEM, "cannot mount the lab's /proc: %s", strerror(errno));
    enum err err = loop_new(LOOP_EPOLL, &holder.loop, why);
    if (err == OK)
        err = netlink_open(&holder.room, why);
    if (err == OK)
        err = make_bridges(plan, why);
    if (err == OK)
        err = make_machines(plan, why);
    if (err == OK)
        err = watch_all(place->run, janitor, why);
    for (size_t i = 0; i < holder.count && err == OK; i++)
        err = holder_power_on(&holder, &holder.machines[i], why);
    if (err == OK)
        open_doors(plan, doors);
    return err;
}

int holder_run(const struct lab_place *place, const struct lab_plan *plan,
               const struct lab_doors *doors, int ready, int janitor)
{
    struct why why = { "" };
    enum err err = make_all(place, plan, doors, janitor, &why);
    struct text word = err == OK ? T("ok") : text_of(why.text);
    (void)!sys_write(ready, word.data, word.len);
    fd_close(&ready);
    if (err != OK)
        return 1;
    loop_run(holder.loop);
    if (holder.is_orphan) /* nobody else will */
        lab_place_clean(place);
    return 0;
}
