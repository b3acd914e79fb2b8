/*
 * The process `acme`: knows which certificate there is and when it is time for another one, starts
 * an attempt (work.h) and tries again when it fails, and answers the processes of the same name on
 * other servers (share.h).
 *
 *   RESTS ──due, or none there──► TRIES ──new──► RESTS
 *                                   │ ▲
 *                                   ▼ │ after a pause that grows
 *                                  WAITS
 *
 * Whatever happens here, the edges go on with the certificate they have.
 */
#include "acme/acme.h"

#include "acme/answers.h"
#include "acme/share.h"
#include "acme/work.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/site_key.h"
#include "process/swap.h"
#include "stream/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    REST_S = 3600, /* at most: the clock on the wall may jump */
    TURN_LOOK_S = 60,
    PATIENCE_MS = 360000, /* for one attempt */
    ALERT_EVERY_S = 86400,
    SHOW_S = 600, /* that a challenge is answered at most */
    PATH_SIZE = 4096,
    SECOND_MS = 1000,
};

struct acme {
    struct swap swap;
    struct process *self;
    struct loop *loop;
    struct challenges *challenges;
    struct acme_account account;
    const struct generation *generation; /* serving */
    struct text names[ACME_NAMES_LIMIT];
    size_t name_count;
    struct acme_facts facts;
    bool has_facts;
    bool has_asked_others; /* since the start or the last reload */
    int64_t missing_s;     /* since when there is no good one; 0: there is */
    int64_t not_before_s;  /* of the next attempt, after a failure */
    int64_t alerted_s;
    unsigned failures; /* in a row */
    char trouble[400]; /* of the last attempt; empty: none */
    struct acme_worker worker;
    struct loop_watch result, local;
    struct loop_timer timer, patience;
};

/* ---- in the parent ---- */

static size_t acme_count(const struct generation *generation)
{
    return generation->site->tls.is_acme && site_ends_tls(generation->site, generation->server) ? 1
                                                                                                : 0;
}

static void acme_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "acme");
}

static enum err add_challenges(struct generation *generation, struct why *why)
{
    const struct generation *previous = generation->previous;
    int old = previous != NULL ? generation_fd(previous, "acme.challenges") : -1;
    int fd = old >= 0 ? fcntl(old, F_DUPFD_CLOEXEC, 3) : challenges_open();
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    generation_add_fd(generation, fd, "acme.challenges");
    return OK;
}

/* A file of the site file that the process may not open itself. */
static enum err add_file(struct generation *generation, struct text file, const char *key,
                         const char *name, struct why *why)
{
    char path[PATH_SIZE];
    if (text_is_empty(file))
        return OK;
    if (!text_copy_to(file, path, sizeof(path)))
        return fail(why, ERR_LIMIT, "tls.acme.%s: the name is too long", key);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "cannot open '%s' of tls.acme.%s: %s", path, key,
                    strerror(errno));
    generation_add_fd(generation, fd, "%s", name);
    return OK;
}

static enum err add_files(struct generation *generation, struct why *why)
{
    const struct site_acme *acme = &generation->site->tls.acme;
    enum err err = add_file(generation, acme->ca_file, "ca-file", "acme.trusted", why);
    if (err == OK)
        err = add_file(generation, acme->binding_key_file, "binding-key-file", "acme.binding", why);
    return err;
}

static enum err listen_here(struct generation *generation, struct why *why)
{
    char path[PATH_SIZE];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/" PEER_ACME_SOCKET, FMT(generation->state));
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket: use --state", path);
    enum err err = generation_listen(generation, &address, SOCK_STREAM, why, "acme.local");
    if (err == OK && chmod(path, 0666) != 0) /* who connects is looked at (SO_PEERCRED) */
        return fail(why, ERR_SYSTEM, "cannot open '%s' to others: %s", path, strerror(errno));
    return err;
}

static enum err prepare(struct generation *generation, struct why *why)
{
    enum err err = site_key_add(generation, "acme/account", "acme.account", why);
    if (err == OK)
        err = add_challenges(generation, why);
    if (err == OK)
        err = add_files(generation, why);
    return err == OK ? listen_here(generation, why) : err;
}

/* ---- what there is ---- */

static void add_name(struct acme *acme, struct text name)
{
    struct address address;
    bool is_good = name.len > 0 && text_find(name, '*') < 0 &&
                   address_parse_ip(name, 0, &address) != OK && acme->name_count < ACME_NAMES_LIMIT;
    for (size_t i = 0; i < acme->name_count && is_good; i++)
        is_good = !text_equal_fold(acme->names[i], name);
    if (is_good)
        acme->names[acme->name_count++] = name;
}

static void find_names(struct acme *acme)
{
    const struct site *site = acme->generation->site;
    acme->name_count = 0;
    add_name(acme, site->name);
    for (size_t i = 0; i < site->route_count; i++)
        add_name(acme, site->routes[i].host);
}

static void file_path(const struct acme *acme, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%.*s/" ACME_FILE, FMT(acme->generation->state));
}

/* The file; wiped by the caller. */
static enum err read_file(const struct acme *acme, struct buffer *out, struct why *why)
{
    char path[PATH_SIZE];
    struct text data;
    file_path(acme, path);
    enum err err = sys_read_file(path, ACME_FILE_LIMIT, &data, why);
    if (err != OK)
        return err;
    buffer_append(out, data);
    explicit_bzero((void *)data.data, data.len);
    memory_free((void *)data.data);
    return OK;
}

static bool is_good(const struct acme *acme)
{
    return acme->has_facts && acme_is_good(&acme->facts, clock_wall_ms() / 1000);
}

static void look_at_file(struct acme *acme)
{
    struct buffer file = buffer_of(ACME_FILE_LIMIT);
    acme->has_facts =
        read_file(acme, &file, NULL) == OK &&
        acme_file_read(buffer_text(&file), acme->names, acme->name_count, &acme->facts, NULL) == OK;
    buffer_wipe(&file);
    if (is_good(acme))
        acme->missing_s = 0;
    else if (acme->missing_s == 0)
        acme->missing_s = clock_wall_ms() / 1000;
}

/* ---- what people see ---- */

static void tell(struct acme *acme)
{
    char text[600], until[CLOCK_ISO_SIZE] = "", next[CLOCK_ISO_SIZE] = "";
    AUTO(buffer_done) struct buffer workers = buffer_of(4096);
    int64_t now_s = clock_wall_ms() / 1000;
    bool is_alert = acme->has_facts && now_s >= acme_alert_s(&acme->facts);
    if (acme->has_facts)
        clock_format_iso(acme->facts.until_s * SECOND_MS, until);
    clock_format_iso(acme->not_before_s * SECOND_MS, next);
    if (is_good(acme) && acme->trouble[0] == '\0')
        snprintf(text, sizeof(text), "certificate until %.19sZ", until);
    else if (is_good(acme))
        snprintf(text, sizeof(text), "certificate until %.19sZ, not renewed: %s; next try %.19sZ",
                 until, acme->trouble, next);
    else if (acme->trouble[0] == '\0')
        snprintf(text, sizeof(text), "no certificate yet");
    else
        snprintf(text, sizeof(text), "no certificate: %s; next try %.19sZ", acme->trouble, next);
    process_send(acme->self, MESSAGE_NOTE, 0, text_of(text));
    buffer_print(&workers, "{\"workers\":[],\"trouble\":\"");
    if (is_alert)
        buffer_append_json(&workers, text_of(text));
    buffer_print(&workers, "\"}");
    process_send(acme->self, MESSAGE_WORKERS, 0, buffer_text(&workers));
    if (!is_alert || now_s - acme->alerted_s < ALERT_EVERY_S)
        return;
    acme->alerted_s = now_s;
    log_error("acme",
              acme->facts.until_s > now_s ? "the certificate ends soon and could not be renewed"
                                          : "the certificate has ended: clients refuse it",
              STRING("until", until), STRING("why", acme->trouble));
}

/* ---- attempts ---- */

static uint32_t seed_of(const struct acme *acme)
{
    uint32_t of_time = (uint32_t)acme->facts.until_s * 2654435761u;
    return (of_time ^ text_hash(acme->generation->site->name)) >> 8;
}

static void rest(struct acme *acme, int64_t seconds)
{
    if (seconds > REST_S)
        seconds = REST_S;
    loop_timer_start(acme->loop, &acme->timer, seconds > 0 ? seconds * SECOND_MS : 0);
}

static void finish(struct acme *acme, bool is_killed);

static void on_result(struct loop_watch *watch, unsigned events)
{
    (void)events;
    finish(list_entry(watch, struct acme, result), false);
}

static void on_patience(struct loop_timer *timer)
{
    finish(list_entry(timer, struct acme, patience), true);
}

static void try_now(struct acme *acme, bool is_due, bool may_order)
{
    struct why why = { "" };
    struct acme_job job = { .generation = acme->generation,
                            .account = &acme->account,
                            .names = acme->names,
                            .name_count = acme->name_count,
                            .facts = acme->facts,
                            .has_facts = acme->has_facts,
                            .is_due = is_due,
                            .may_order = may_order };
    enum err err = acme_worker_start(&acme->worker, &job, acme->self->channel, &why);
    if (err == OK)
        err =
            loop_watch_start(acme->loop, &acme->result, acme->worker.result, LOOP_READ, on_result);
    if (err != OK) {
        log_error("acme", "cannot try", STRING("why", why.text));
        rest(acme, TURN_LOOK_S);
        return;
    }
    loop_timer_start(acme->loop, &acme->patience, PATIENCE_MS);
}

/* When this server may ask the CA itself. */
static int64_t turn_s(const struct acme *acme, int64_t due_s)
{
    int64_t rank = acme_rank(acme->generation);
    return is_good(acme) ? due_s + acme_turn_s(&acme->facts, rank)
                         : acme->missing_s + acme_turn_s(NULL, rank);
}

static void look(struct loop_timer *timer)
{
    struct acme *acme = list_entry(timer, struct acme, timer);
    int64_t now_s = clock_wall_ms() / 1000;
    if (acme->worker.pid > 0)
        return;
    if (!is_good(acme) && acme->missing_s == 0)
        acme->missing_s = now_s;
    int64_t due_s = is_good(acme) ? acme_due_s(&acme->facts, seed_of(acme)) : acme->missing_s;
    tell(acme);
    if (now_s >= due_s && now_s < acme->not_before_s)
        rest(acme, acme->not_before_s - now_s);
    else if (now_s >= due_s || !acme->has_asked_others)
        try_now(acme, now_s >= due_s, now_s >= turn_s(acme, due_s));
    else
        rest(acme, due_s - now_s);
}

static void on_new(struct acme *acme, const struct acme_report *report)
{
    char until[CLOCK_ISO_SIZE] = "";
    acme->failures = 0;
    acme->trouble[0] = '\0';
    look_at_file(acme);
    clock_format_iso(acme->facts.until_s * SECOND_MS, until);
    log_info("acme", "there is a new certificate", STRING("how", report->text),
             INT("names", (int64_t)acme->name_count), STRING("until", until));
    rest(acme, 0);
}

static void on_failure(struct acme *acme, const struct acme_report *report)
{
    acme->failures++;
    int64_t pause_s = acme_pause_s(acme->failures, report->result == ACME_REFUSED,
                                   report->retry_after_s, seed_of(acme) + acme->failures * 211);
    snprintf(acme->trouble, sizeof(acme->trouble), "%s", report->text);
    acme->not_before_s = clock_wall_ms() / 1000 + pause_s;
    log_warn("acme", "no new certificate", STRING("why", report->text),
             MS("next_try", pause_s * SECOND_MS));
    rest(acme, pause_s);
}

/* Nothing new, and not our turn: looks again soon when one is missing. */
static void on_nothing(struct acme *acme)
{
    int64_t now_s = clock_wall_ms() / 1000;
    int64_t due_s = is_good(acme) ? acme_due_s(&acme->facts, seed_of(acme)) : acme->missing_s;
    int64_t left_s = (now_s >= due_s ? turn_s(acme, due_s) : due_s) - now_s;
    int64_t pause_s = now_s >= due_s && left_s > TURN_LOOK_S ? TURN_LOOK_S : left_s;
    if (now_s >= due_s && !is_good(acme) && pause_s > 2)
        pause_s = 2; /* the site waits for its first one */
    rest(acme, pause_s > 0 ? pause_s : 1);
}

static void finish(struct acme *acme, bool is_killed)
{
    struct acme_report report;
    loop_watch_stop(&acme->result);
    loop_timer_stop(acme->loop, &acme->patience);
    acme_worker_finish(&acme->worker, is_killed, &report);
    acme->has_asked_others = true;
    switch (report.result) {
    case ACME_NEW:
        on_new(acme, &report);
        break;
    case ACME_NOTHING:
        on_nothing(acme);
        break;
    case ACME_DOWN:
    case ACME_REFUSED:
        on_failure(acme, &report);
        break;
    }
    tell(acme);
}

/* ---- other servers, and our own attempts ---- */

static enum err give(void *context, struct buffer *file_out, struct why *why)
{
    const struct acme *acme = context;
    if (!is_good(acme))
        return fail(why, ERR_NOT_FOUND, "there is none here");
    return read_file(acme, file_out, why);
}

static enum err take(void *context, struct text file, struct why *why)
{
    struct acme *acme = context;
    struct acme_facts facts;
    struct acme_report report = { .result = ACME_NEW, .text = "given by another server" };
    char path[PATH_SIZE];
    enum err err = acme_file_read(file, acme->names, acme->name_count, &facts, why);
    if (err != OK)
        return err;
    if (!acme_is_good(&facts, clock_wall_ms() / 1000))
        return fail(why, ERR_RANGE, "it is not valid now, or not for all names of the site here");
    if (is_good(acme) && facts.until_s <= acme->facts.until_s)
        return fail(why, ERR_EXISTS, "there is one here that is as good");
    file_path(acme, path);
    err = sys_replace_file(path, file, 0600, (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        on_new(acme, &report);
    return err;
}

static enum err show(void *context, struct text name, struct text token, struct why *why)
{
    struct acme *acme = context;
    uint8_t digest[CHALLENGE_DIGEST_BYTES];
    int64_t now_s = clock_wall_ms() / 1000;
    jose_digest(acme->account.thumbprint, token, digest);
    return challenges_put(acme->challenges, name, digest, now_s + SHOW_S, now_s)
               ? OK
               : fail(why, ERR_LIMIT, "too many names are being proven");
}

static void hide(void *context, struct text name)
{
    struct acme *acme = context;
    challenges_remove(acme->challenges, name);
}

static bool is_allowed(const struct acme *acme, int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return false;
    return who.uid == 0 || who.uid == geteuid() ||
           who.uid == generation_uid(acme->generation, peer_role.name);
}

static void on_local(struct loop_watch *watch, unsigned events)
{
    struct acme *acme = list_entry(watch, struct acme, local);
    struct acme_share_host host = { acme, give, take, show, hide };
    (void)events;
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && is_allowed(acme, fd))
        acme_share_answer(&host, fd);
    else
        fd_close(&fd);
}

/* ---- generations ---- */

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    struct acme *acme = list_entry(swap, struct acme, swap);
    struct acme_report ignored;
    if (swap->live != NULL)
        loop_watch_stop(&acme->local);
    if (acme->worker.pid > 0) { /* what it does is for what the site was */
        loop_watch_stop(&acme->result);
        acme_worker_finish(&acme->worker, true, &ignored);
    }
    loop_timer_stop(acme->loop, &acme->patience);
    acme->generation = next;
    acme->failures = 0;
    acme->not_before_s = 0;
    acme->has_asked_others = next->site->server_count == 1;
    acme->trouble[0] = '\0';
    find_names(acme);
    look_at_file(acme);
    rest(acme, 0);
    enum err err = loop_watch_start(acme->loop, &acme->local, generation_fd(next, "acme.local"),
                                    LOOP_READ, on_local);
    if (err == OK)
        return OK;
    loop_stop(acme->loop); /* the parent starts another */
    return fail(why, err, "cannot watch the listening socket");
}

static enum err start(struct acme *acme, struct process *self, struct why *why)
{
    static const struct swap_steps steps = { .area = "acme", .use = use };
    uint8_t secret[SITE_KEY_BYTES];
    tls_protect_keys();
    acme->self = self;
    loop_timer_init(&acme->timer, look);
    loop_timer_init(&acme->patience, on_patience);
    acme->challenges = challenges_map(generation_fd(self->first, "acme.challenges"), true);
    if (acme->challenges == NULL ||
        generation_read_data(self->first, "acme.account", secret, sizeof(secret)) != sizeof(secret))
        return fail(why, ERR_MISSING, "the parent gave no account");
    enum err err = acme_account_make(secret, &acme->account, why);
    explicit_bzero(secret, sizeof(secret));
    if (err == OK) {
        challenges_set_account(acme->challenges, acme->account.thumbprint);
        err = loop_new(LOOP_EPOLL, &acme->loop, why);
    }
    return err == OK ? swap_start(&acme->swap, &steps, self, acme->loop, why) : err;
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct acme *acme = NEW(struct acme);
    if (start(acme, self, &why) != OK) {
        log_error("acme", "cannot start", STRING("why", why.text));
        process_send(self, MESSAGE_FAILED, self->first != NULL ? self->first->number : 0,
                     text_of(why.text));
        return 1;
    }
    loop_run(acme->loop);
    return 0; /* an attempt under way ends with the process */
}

const struct role acme_role = {
    .name = "acme",
    .summary = "gets the site's certificate from a CA and renews it",
    .reload = RELOAD_SWAP,
    .start_order = 25, /* before the edges, which answer for it */
    .needs = "acme.",
    .count = acme_count,
    .title = acme_title,
    .prepare = prepare,
    .run = run,
    .folder = "acme",
};
