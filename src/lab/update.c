/*
 * A second `lab up` of a changed file: the difference is applied to the lab that runs. First
 * everything that can be refused is looked at, then machines go, then others come. Servers that
 * stay reload their own site file; whoever asked for the update tells them to.
 */
#include "lab/holder.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARENA_BYTES = 1 << 20, STOP_MS = 5000, STOP_POLL_MS = 10 };

struct update {
    struct site *site;
    struct arena *arena;
    struct lab_plan *plan;
    json_t *added, *removed, *kept;
};

/* ---- the new plan ---- */

static enum err load(struct holder *self, struct text path, struct update *update, struct why *why)
{
    struct site_mistakes mistakes;
    if (!text_equal(path, text_of(self->setup.site_path)))
        return fail(why, ERR_STATE,
                    "the lab runs %s; give that file, or end it first with: trilith lab down",
                    self->setup.site_path);
    enum err err = site_load(self->setup.site_path, &update->site, &mistakes);
    site_mistakes_done(&mistakes);
    if (err != OK)
        return fail(why, err, "%s has mistakes; see: trilith check %s", self->setup.site_path,
                    self->setup.site_path);
    if (!text_equal(update->site->name, self->setup.plan->site->name))
        return fail(why, ERR_STATE,
                    "the site's name has changed; end the lab first with: trilith "
                    "lab down");
    update->arena = arena_new(ARENA_BYTES, 4096);
    update->plan = ARENA_NEW(update->arena, struct lab_plan);
    err = lab_plan_make(update->site, update->arena, update->plan, why);
    return err == OK ? lab_plan_keep(self->setup.plan, update->plan, why) : err;
}

/* ---- machines that go ---- */

/* In order when it can be had; its end is reaped here. */
static void end_machine(struct holder *self, struct machine *machine)
{
    int64_t until_ms = clock_now_ms() + STOP_MS;
    int status = 0;
    struct why why;
    if (machine->init < 0)
        return;
    if (machine->is_paused && machine_pause(machine, false, &why) != OK)
        log_warn("lab", why.text);
    if (machine->node->server != NULL)
        machine_stop(machine);
    while (waitpid(machine->pid, &status, WNOHANG) == 0) {
        if (clock_now_ms() >= until_ms || machine->node->server == NULL)
            machine_kill(machine);
        clock_sleep_ms(STOP_POLL_MS);
    }
    if (machine->notify >= 0)
        loop_watch_stop(&self->notifies[machine - self->machines]);
    machine_ended(machine, status);
}

static enum err remove_machine(struct holder *self, struct machine *machine, struct why *why)
{
    end_machine(self, machine);
    enum err err = holder_remove_wire(machine, why);
    if (err == OK)
        err = netlink_delete(&self->room, machine->node->link, why);
    fd_close(&machine->network);
    if (machine->cgroup[0] != '\0')
        rmdir(machine->cgroup);
    machine->node = NULL;
    return err;
}

static bool stays(const struct machine *machine, const struct lab_plan *plan)
{
    const struct lab_node *node = lab_node_find(plan, text_of(machine->node->name));
    return node != NULL && address_equal(&node->address, &machine->node->address);
}

static enum err remove_old(struct holder *self, struct update *update, struct why *why)
{
    enum err err = OK;
    for (size_t i = 0; i < self->count && err == OK; i++) {
        struct machine *machine = &self->machines[i];
        if (machine->node == NULL || stays(machine, update->plan))
            continue;
        json_array_append_new(update->removed, json_string(machine->node->name));
        err = remove_machine(self, machine, why);
    }
    return err;
}

/* ---- machines that stay or come ---- */

static struct machine *find(struct holder *self, const struct lab_node *node)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct lab_node *at = self->machines[i].node;
        if (at != NULL && strcmp(at->name, node->name) == 0)
            return &self->machines[i];
    }
    return NULL;
}

static enum err keep_or_add(struct holder *self, struct update *update, const struct lab_node *node,
                            struct why *why)
{
    struct machine *machine = find(self, node);
    enum err err;
    if (machine != NULL) {
        machine->node = node;
        if (machine->init >= 0 && node->server != NULL)
            json_array_append_new(update->kept, json_string(node->name));
        err = machine_write_names(&self->setup, machine, why);
    } else {
        json_array_append_new(update->added, json_string(node->name));
        err = holder_add(self, update->plan, node, why);
        machine = find(self, node);
    }
    return err == OK && machine->init < 0 ? holder_power_on(self, machine, why) : err;
}

static enum err apply(struct holder *self, struct update *update, struct why *why)
{
    size_t bridges = self->setup.plan->network_count;
    enum err err = remove_old(self, update, why);
    for (size_t i = bridges; i < update->plan->network_count && err == OK; i++)
        err = holder_make_bridge(self, update->plan, i, why);
    self->setup.plan = update->plan;
    for (size_t i = 0; i < update->plan->node_count; i++) {
        struct why other;
        enum err now = keep_or_add(self, update, &update->plan->nodes[i], &other);
        if (now != OK && err == OK) /* the others shall not be left with nodes of the old plan */
            err = fail(why, now, "%s", other.text);
    }
    return err;
}

json_t *lab_update(struct holder *self, struct text path, struct why *why)
{
    struct update update = { .site = NULL };
    if (load(self, path, &update, why) != OK) {
        arena_free(update.arena);
        site_free(update.site);
        return NULL;
    }
    update.added = json_array();
    update.removed = json_array();
    update.kept = json_array();
    enum err err = apply(self, &update, why);
    arena_free(self->arena);
    site_free(self->site);
    self->arena = update.arena;
    self->site = update.site;
    json_t *answer = json_pack("{s:o, s:o, s:o}", "added", update.added, "removed", update.removed,
                               "kept", update.kept);
    if (err != OK)
        json_object_set_new(answer, "error", json_string(why->text));
    log_info("lab", "a changed file was applied");
    return answer;
}
