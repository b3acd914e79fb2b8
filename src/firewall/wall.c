/* Rules into the kernel and out of it again, see wall.h. */
#include "firewall/wall.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdio.h>

enum { REACH_MS = 1500, NOTE_SIZE = 160 };

/* ---- plans ---- */

void wall_plan_done(struct wall_plan *plan)
{
    arena_free(plan->arena);
    buffer_done(&plan->rules);
    *plan = (struct wall_plan){ 0 };
}

enum err wall_plan_make(const struct generation *generation, struct wall_plan *plan_out,
                        struct why *why)
{
    struct wall_plan plan = { .arena = arena_new(WALL_ARENA, 0),
                              .rules = buffer_of(WALL_RULES_LIMIT) };
    enum err err = firewall_plan_make(generation->site, generation->server, plan.arena, &plan.plan);
    struct rules_request bare = { .plan = &plan.plan };
    if (err == OK)
        rules_write(&bare, &plan.rules);
    if (err == OK && !plan.rules.failed) {
        *plan_out = plan;
        return OK;
    }
    wall_plan_done(&plan);
    return fail(why, ERR_LIMIT, "the site has too many ways for the rules of a firewall");
}

/* ---- applying ---- */

static enum err try_to_apply(struct wall *wall, const struct rules_request *request,
                             struct why *why)
{
    struct buffer commands AUTO(buffer_done) = buffer_of(WALL_RULES_LIMIT);
    rules_write(request, &commands);
    if (commands.failed)
        return fail(why, ERR_LIMIT, "too many rules");
    return nft_apply(buffer_text(&commands), why);
}

/* What nobody else may change. */
static enum err remember_shape(struct wall *wall, struct why *why)
{
    struct buffer listing AUTO(buffer_done) = buffer_of(NFT_OUTPUT_LIMIT);
    enum err err = nft_list(&listing, why);
    buffer_clear(&wall->shape);
    if (err == OK && !listing_shape(buffer_text(&listing), &wall->shape))
        err = fail(why, ERR_PROTOCOL, "nft lists the rules in a way that is not understood");
    (void)kernel_hears(wall->news); /* that was us */
    return err;
}

enum err wall_apply(struct wall *wall, const struct firewall_plan *plan,
                    const struct firewall_plan *also, bool is_fresh, struct why *why)
{
    struct rules_request request = { .plan = plan,
                                     .also = also,
                                     .counts = &wall->counts,
                                     .bans = &wall->bans,
                                     .now_s = clock_wall_ms() / 1000,
                                     .is_fresh = is_fresh };
    struct why first = { "" };
    int64_t from_us = clock_now_us();
    enum err err = kernel_count(wall->requests, &wall->counts, why);
    if (err == OK)
        err = try_to_apply(wall, &request, &first);
    if (err != OK && !is_fresh) { /* something of somebody else's in our table stands in the way */
        request.is_fresh = true;
        err = try_to_apply(wall, &request, why);
    }
    if (err != OK)
        return is_fresh ? fail(why, err, "%s", first.text) : err;
    wall->has_rules = true;
    log_info("firewall", "the rules are in the kernel", INT("ways", (int64_t)plan->way_count),
             INT("us", clock_now_us() - from_us));
    return remember_shape(wall, why);
}

/* As it was before the change. */
static void go_back(struct wall *wall, bool had_rules)
{
    struct why why = { "" };
    enum err err = OK;
    if (had_rules && wall->live.arena != NULL)
        err = wall_apply(wall, &wall->live.plan, NULL, false, &why);
    else
        err = nft_apply(T(RULES_NONE), &why);
    wall->has_rules = had_rules;
    if (err != OK)
        log_error("firewall", "the rules before cannot be put back", STRING("why", why.text));
}

/* ---- confirming ---- */

static enum err confirm(struct wall *wall, const struct generation *next, struct confirm *confirm,
                        struct why *why)
{
    int64_t confirm_ms = next->site->firewall.confirm_ms;
    confirm_run(confirm, next, wall->token, confirm_ms, true, wall_attend, wall);
    const struct confirm_peer *missing = confirm_missing(confirm);
    if (missing == NULL) {
        log_info("firewall", "other servers come through the new rules",
                 INT("servers", (int64_t)confirm->count));
        return OK;
    }
    return fail(why, ERR_TIMEOUT,
                "%.*s reached this server before, but not through the new rules within %lld s: the "
                "old ones are back; are its address and listen.control right in the file?",
                FMT(missing->server), (long long)confirm_ms / 1000);
}

enum err wall_change(struct wall *wall, const struct generation *now, const struct generation *next,
                     struct why *why)
{
    struct confirm others;
    bool had_rules = wall->has_rules;
    const struct firewall_plan *also = now != NULL ? &wall->live.plan : NULL;
    confirm_choose(now != NULL ? now->site : next->site, next->site, next->server, &others);
    sys_random_hex(wall->token, sizeof(wall->token), (TALK_TOKEN_SIZE - 1) / 2);
    confirm_run(&others, now != NULL ? now : next, wall->token, REACH_MS, false, wall_attend, wall);
    (void)confirm_keep(&others);
    enum err err = wall_apply(wall, &wall->next.plan, also, false, why);
    if (err == OK && others.count > 0) {
        wall->state = "waits for the other servers";
        err = confirm(wall, next, &others, why);
    }
    wall->token[0] = '\0';
    wall->state = "in the kernel";
    wall->is_transition = err == OK && also != NULL;
    if (err != OK)
        go_back(wall, had_rules);
    return err;
}

/* ---- counting ---- */

static void set_metric(const struct wall *wall, _Atomic int64_t *metric, const char *name)
{
    const struct firewall_count *count = firewall_counts_find(&wall->counts, name);
    if (count != NULL)
        metrics_set(metric, (int64_t)count->packets);
}

static void tell(struct wall *wall)
{
    char note[NOTE_SIZE];
    int64_t ways = (int64_t)wall->live.plan.way_count, bans = (int64_t)wall->bans.count;
    bool is_audit = wall->live.plan.site->firewall.mode == FIREWALL_AUDIT;
    if (ways == wall->told_ways && bans == wall->told_bans)
        return;
    wall->told_ways = ways;
    wall->told_bans = bans;
    snprintf(note, sizeof(note), "%s%lld ways open, %lld banned",
             is_audit ? "audit, nothing is dropped: " : "", (long long)ways, (long long)bans);
    process_send(wall->self, MESSAGE_NOTE, 0, text_of(note));
}

void wall_count(struct wall *wall)
{
    struct metrics *metrics = wall->self->metrics;
    struct why why = { "" };
    bans_expire(&wall->bans, clock_wall_ms() / 1000);
    if (kernel_count(wall->requests, &wall->counts, &why) != OK)
        log_warn("firewall", "cannot count", STRING("why", why.text));
    set_metric(wall, &metrics->firewall_dropped_in, COUNTER_DROPPED_IN);
    set_metric(wall, &metrics->firewall_dropped_out, COUNTER_DROPPED_OUT);
    set_metric(wall, &metrics->firewall_banned, COUNTER_BANNED);
    set_metric(wall, &metrics->firewall_limited, COUNTER_LIMITED);
    metrics_set(&metrics->firewall_bans, (int64_t)wall->bans.count);
    if (wall->live.arena != NULL)
        tell(wall);
}

/* ---- mode: audit ---- */

static void tell_refused(void *context, const char *direction, const char *address,
                         const char *protocol, const char *port)
{
    struct wall *wall = context;
    char key[ADDRESS_TEXT_SIZE + 64];
    snprintf(key, sizeof(key), "%s %s %s/%s", direction, address, port, protocol);
    uint32_t hash = text_hash(text_of(key));
    size_t known = wall->told_count < WALL_TOLD ? wall->told_count : WALL_TOLD;
    for (size_t i = 0; i < known; i++)
        if (wall->told_refused[i] == hash)
            return;
    wall->told_refused[wall->told_count++ % WALL_TOLD] = hash;
    log_info("firewall", "would be refused", STRING("direction", direction),
             STRING("address", address), STRING("port", port), STRING("protocol", protocol));
}

void wall_tell_refused(struct wall *wall)
{
    bool is_audit =
        wall->live.arena != NULL && wall->live.plan.site->firewall.mode == FIREWALL_AUDIT;
    if (is_audit)
        refused_each(tell_refused, wall);
}

/* ---- drift ---- */

/* Those that are over in a moment may be gone in the kernel already. */
static size_t lasting_bans(const struct wall *wall)
{
    enum { MOMENT_S = 2 };
    int64_t now_s = clock_wall_ms() / 1000;
    size_t count = 0;
    for (size_t i = 0; i < wall->bans.count; i++)
        count += wall->bans.items[i].until_s > now_s + MOMENT_S;
    return count;
}

void wall_repair(struct wall *wall)
{
    struct why why = { "" };
    struct buffer listing AUTO(buffer_done) = buffer_of(NFT_OUTPUT_LIMIT);
    struct buffer shape AUTO(buffer_done) = buffer_of(NFT_OUTPUT_LIMIT);
    if (!wall->has_rules || wall->live.arena == NULL)
        return;
    enum err err = nft_list(&listing, &why);
    bool is_whole = err == OK && listing_shape(buffer_text(&listing), &shape) &&
                    text_equal(buffer_text(&shape), buffer_text(&wall->shape)) &&
                    listing_banned(buffer_text(&listing)) >= lasting_bans(wall);
    if (is_whole)
        return;
    log_warn("firewall", "somebody else changed the rules; they are put back",
             STRING("what", err == ERR_NOT_FOUND ? "the table was deleted" : "the table differs"));
    metrics_add(&wall->self->metrics->firewall_repairs, 1);
    if (wall_apply(wall, &wall->live.plan, NULL, true, &why) != OK)
        log_error("firewall", "the rules cannot be put back", STRING("why", why.text));
}
