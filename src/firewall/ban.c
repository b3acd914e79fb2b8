/* Who is shut out: the list, the kernel's set and the file, always all three. */
#include "firewall/wall.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_LIMIT = 8 << 20, PATH_SIZE = 4096 };

/* ---- the file ---- */

static void file_path(const struct generation *generation, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%.*s/firewall/bans.json", FMT(generation->state));
}

void wall_load_bans(struct wall *wall, const struct generation *generation)
{
    char path[PATH_SIZE];
    struct text data;
    struct why why = { "" };
    file_path(generation, path);
    enum err err = sys_read_file(path, FILE_LIMIT, &data, &why);
    if (err == ERR_NOT_FOUND)
        return;
    if (err == OK) {
        err = bans_read(data, clock_wall_ms() / 1000, &wall->bans);
        memory_free((void *)data.data);
    }
    if (err != OK)
        log_error("firewall", "the list of bans cannot be read; it begins anew",
                  STRING("file", path), STRING("why", err_text(err)));
}

static void save(const struct wall *wall)
{
    char path[PATH_SIZE];
    struct why why = { "" };
    struct buffer text AUTO(buffer_done) = buffer_of(FILE_LIMIT);
    file_path(wall->swap.live, path);
    bans_write(&wall->bans, &text);
    if (text.failed ||
        sys_replace_file(path, buffer_text(&text), 0600, (uid_t)-1, (gid_t)-1, &why) != OK)
        log_error("firewall", "the bans are not kept over a restart", STRING("why", why.text));
}

/* ---- the kernel ---- */

/* Added first, so that there is something to delete; then with its new end. */
static enum err put(const struct ban *ban, bool is_ban, int64_t now_s, struct why *why)
{
    char who[ADDRESS_TEXT_SIZE], element[ADDRESS_TEXT_SIZE + 128];
    struct buffer commands AUTO(buffer_done) = buffer_of(4096);
    ban_format(&ban->who, who);
    *strchrnul(who, '/') = '\0';
    snprintf(element, sizeof(element),
             "{\"element\":{\"family\":\"inet\",\"table\":\"" FIREWALL_TABLE
             "\",\"name\":\"banned%s\",\"elem\":[",
             ban->who.is_v4 ? "4" : "6");
    buffer_print(&commands, "{\"nftables\":[{\"add\":%s\"%s\"]}}},{\"delete\":%s\"%s\"]}}}",
                 element, who, element, who);
    if (is_ban)
        buffer_print(&commands, ",{\"add\":%s{\"elem\":{\"val\":\"%s\",\"timeout\":%lld}}]}}}",
                     element, who, (long long)(ban->until_s - now_s));
    buffer_print(&commands, "]}");
    return nft_apply(buffer_text(&commands), why);
}

/* ---- changing ---- */

/* Of whom the site lives, or who could undo a ban. */
static const char *protection_of(const struct site *site, const struct network *who)
{
    struct address address = { 0 };
    if (who->is_v4) {
        address.u.v4.sin_family = AF_INET;
        memcpy(&address.u.v4.sin_addr, who->ip, 4);
        address.len = sizeof(address.u.v4);
    } else {
        address.u.v6.sin6_family = AF_INET6;
        memcpy(&address.u.v6.sin6_addr, who->ip, 16);
        address.len = sizeof(address.u.v6);
    }
    if (address_is_loopback(&address))
        return "is this server itself";
    for (size_t i = 0; i < site->server_count && site->has_servers; i++) {
        struct network server;
        if (ban_of(&site->servers[i].address, &server) && server.is_v4 == who->is_v4 &&
            memcmp(server.ip, who->ip, sizeof(server.ip)) == 0)
            return "is a server of the site";
    }
    if (networks_contain(site->firewall.admin, site->firewall.admin_count, &address))
        return "is in firewall.admin";
    if (networks_contain(site->web.trusted, site->web.trusted_written, &address) ||
        networks_contain(site->balancer.trusted, site->balancer.trusted_count, &address))
        return "is a trusted proxy, behind which are others";
    return NULL;
}

static enum err ban(struct wall *wall, const struct network *who, int64_t seconds,
                    const char *reason, struct why *why)
{
    char name[ADDRESS_TEXT_SIZE];
    int64_t now_s = clock_wall_ms() / 1000;
    const char *protection = protection_of(wall->swap.live->site, who);
    ban_format(who, name);
    if (protection != NULL)
        return fail(why, ERR_DENIED, "%s %s: it is not banned", name, protection);
    enum err err = bans_add(&wall->bans, who, now_s + seconds, text_of(reason));
    if (err != OK)
        return fail(why, err, "%d addresses are banned already", BANS_LIMIT);
    err = put(bans_find(&wall->bans, who), true, now_s, why);
    if (err != OK) {
        bans_remove(&wall->bans, who);
        return err;
    }
    log_warn("firewall", "banned", STRING("who", name), MS("for", seconds * 1000),
             STRING("why", reason));
    save(wall);
    wall_count(wall);
    return OK;
}

static enum err unban(struct wall *wall, const struct network *who, struct why *why)
{
    char name[ADDRESS_TEXT_SIZE];
    struct ban gone = { .who = *who };
    ban_format(who, name);
    if (!bans_remove(&wall->bans, who))
        return fail(why, ERR_NOT_FOUND, "%s is not banned", name);
    log_info("firewall", "unbanned", STRING("who", name));
    save(wall);
    wall_count(wall);
    return put(&gone, false, 0, why);
}

void wall_grant(struct wall *wall)
{
    struct talk_wish wish;
    struct talk_verdict verdict = { .err = OK };
    struct why why = { "" };
    bool is_empty;
    AUTO(fd_close)
    int answer = sys_receive_fd(wall->wishes[0], &wish, sizeof(wish), MSG_DONTWAIT, &is_empty);
    if (answer < 0)
        return;
    wish.why[sizeof(wish.why) - 1] = '\0';
    verdict.err = wish.is_ban ? ban(wall, &wish.who, wish.seconds, wish.why, &why)
                              : unban(wall, &wish.who, &why);
    snprintf(verdict.why, sizeof(verdict.why), "%s", why.text);
    (void)!send(answer, &verdict, sizeof(verdict), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- offenders ---- */

struct caught {
    struct wall *wall;
    struct network who[64];
    size_t count;
};

static void on_offender(void *context, const struct network *who, uint32_t count)
{
    struct caught *caught = context;
    struct wall *wall = caught->wall;
    char reason[BAN_WHY_SIZE];
    struct why why = { "" };
    snprintf(reason, sizeof(reason), "%u requests over the rate", count);
    enum err err = ban(wall, who, wall->live.plan.site->firewall.ban.for_ms / 1000, reason, &why);
    if (err != OK)
        log_warn("firewall", "not banned", STRING("why", why.text));
    else if (caught->count < COUNT(caught->who))
        caught->who[caught->count++] = *who;
}

/* The other servers are told by a process of its own: they may be slow. */
static void tell_others(const struct caught *caught)
{
    const struct generation *live = caught->wall->swap.live;
    const struct site *site = live->site;
    pid_t parent = getpid();
    if (caught->count == 0 || site->server_count < 2)
        return;
    fflush(NULL);
    pid_t child = fork();
    if (child != 0)
        return;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    for (size_t i = 0; i < caught->count; i++) {
        char who[ADDRESS_TEXT_SIZE], words[TALK_WORDS_LIMIT];
        ban_format(&caught->who[i], who);
        snprintf(words, sizeof(words), "also ban %s %lld over the rate at %.*s", who,
                 (long long)(site->firewall.ban.for_ms / 1000), FMT(live->server->name));
        for (size_t j = 0; j < site->server_count; j++) {
            struct why why = { "" };
            if (&site->servers[j] != live->server &&
                talk_ask(live->state, site->servers[j].name, text_of(words), TALK_MS, NULL, &why) !=
                    OK)
                log_warn("firewall", "another server does not know of a ban",
                         STRING("why", why.text));
        }
    }
    _exit(0);
}

void wall_watch_offenders(struct wall *wall)
{
    if (wall->swap.live == NULL || wall->live.arena == NULL)
        return;
    const struct site_firewall_ban *rule = &wall->swap.live->site->firewall.ban;
    struct caught caught = { .wall = wall };
    int64_t now_ms = loop_now_ms(wall->loop);
    bool is_over = now_ms - wall->window_from_ms >= rule->within_ms;
    if (rule->after <= 0)
        return;
    if (is_over)
        wall->window_from_ms = now_ms;
    offenders_take(wall->offenders, (uint32_t)rule->after, is_over, on_offender, &caught);
    tell_others(&caught);
}
