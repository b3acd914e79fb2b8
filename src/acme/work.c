/*
 * See work.h. Several servers share one certificate without electing anybody: each looks first
 * whether another one has a better one, and asks the CA only after those before it in the list had
 * their time to do so. If two ask nevertheless, because they do not see each other, the CA gives
 * two, and each is good.
 */
#include "acme/work.h"

#include "acme/obtain.h"
#include "acme/share.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ORDER_MS = 300000, TRUSTED_LIMIT = 1 << 20, BINDING_LIMIT = 1024, PATH_SIZE = 4096 };

/* ---- who shares it ---- */

static bool shares(const struct generation *generation, size_t index)
{
    return site_ends_tls(generation->site, &generation->site->servers[index]);
}

static bool is_other(const struct generation *generation, size_t index)
{
    return shares(generation, index) && &generation->site->servers[index] != generation->server;
}

int64_t acme_rank(const struct generation *generation)
{
    int64_t rank = 0;
    for (size_t i = 0; i < generation->site->server_count; i++) {
        if (&generation->site->servers[i] == generation->server)
            return shares(generation, i) ? rank : -1;
        rank += shares(generation, i);
    }
    return -1;
}

/* ---- the file ---- */

static enum err save(const struct acme_job *job, struct text file, struct why *why)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%.*s/" ACME_FILE, FMT(job->generation->state));
    return sys_replace_file(path, file, 0600, (uid_t)-1, (gid_t)-1, why);
}

/* ---- from another server ---- */

/* Whether it is worth taking: good for all names, and longer than what we have. */
static bool is_better(const struct acme_job *job, struct text file, struct acme_facts *facts_out)
{
    int64_t now_s = clock_wall_ms() / 1000;
    if (acme_file_read(file, job->names, job->name_count, facts_out, NULL) != OK ||
        !acme_is_good(facts_out, now_s))
        return false;
    return !job->has_facts || !acme_is_good(&job->facts, now_s) ||
           facts_out->until_s > job->facts.until_s;
}

static bool take_from(const struct acme_job *job, struct text server, struct acme_report *report)
{
    struct acme_facts facts;
    struct why why = { "" };
    struct buffer file = buffer_of(ACME_FILE_LIMIT);
    bool is_taken = false;
    if (acme_share_fetch(job->generation->state, server, &file, &why) == OK &&
        is_better(job, buffer_text(&file), &facts)) {
        is_taken = save(job, buffer_text(&file), &why) == OK;
        if (!is_taken)
            log_warn("acme", "a certificate cannot be kept", STRING("why", why.text));
    }
    buffer_wipe(&file);
    if (is_taken)
        snprintf(report->text, sizeof(report->text), "from %.*s", FMT(server));
    return is_taken;
}

static bool take_from_others(const struct acme_job *job, struct acme_report *report)
{
    for (size_t i = 0; i < job->generation->site->server_count; i++)
        if (is_other(job->generation, i) &&
            take_from(job, job->generation->site->servers[i].name, report))
            return true;
    return false;
}

/* ---- from the CA ---- */

static void give_to_others(const struct acme_job *job, struct text file)
{
    struct why why = { "" };
    for (size_t i = 0; i < job->generation->site->server_count; i++) {
        struct text name = job->generation->site->servers[i].name;
        if (!is_other(job->generation, i))
            continue;
        if (acme_share_give(job->generation->state, name, file, &why) == OK)
            log_info("acme", "the certificate was given to another server", TEXT("server", name));
        else
            log_warn("acme", "another server did not take the certificate; it will ask for it",
                     STRING("why", why.text));
    }
}

/* Over HTTP every server answers for the account as it is. Over TLS each has to know the token. */
static void show(void *context, struct text name, struct text token)
{
    const struct acme_job *job = context;
    const struct generation *generation = job->generation;
    struct why why = { "" };
    if (generation->site->tls.acme.challenge != CHALLENGE_TLS_ALPN)
        return;
    if (acme_share_show(generation->state, T(""), name, token, &why) != OK)
        log_warn("acme", "cannot answer the CA here", STRING("why", why.text));
    for (size_t i = 0; i < generation->site->server_count; i++)
        if (is_other(generation, i) &&
            acme_share_show(generation->state, generation->site->servers[i].name, name, token,
                            &why) != OK)
            log_warn("acme", "another server cannot answer the CA", STRING("why", why.text));
}

static void hide(void *context, struct text name)
{
    const struct acme_job *job = context;
    const struct generation *generation = job->generation;
    enum err err = OK;
    if (generation->site->tls.acme.challenge != CHALLENGE_TLS_ALPN)
        return;
    err = acme_share_hide(generation->state, T(""), name, NULL);
    for (size_t i = 0; i < generation->site->server_count; i++)
        if (is_other(generation, i))
            err = acme_share_hide(generation->state, generation->site->servers[i].name, name, NULL);
    (void)err; /* it ends by itself */
}

/* Of tls.acme.ca-file, which the parent has opened; empty: the system's list is meant. */
static enum err read_trusted(const struct generation *generation, struct buffer *out,
                             struct why *why)
{
    if (text_is_empty(generation->site->tls.acme.ca_file))
        return OK;
    char *place = buffer_reserve(out, TRUSTED_LIMIT);
    ssize_t len = generation_read_data(generation, "acme.trusted", place, TRUSTED_LIMIT);
    if (len <= 0)
        return fail(why, ERR_MISSING, "tls.acme.ca-file: '%.*s' is empty or cannot be read",
                    FMT(generation->site->tls.acme.ca_file));
    out->len = (size_t)len;
    return OK;
}

/* Of tls.acme.binding-key-file; empty: none is meant. */
static enum err read_binding(const struct generation *generation, struct buffer *out,
                             struct why *why)
{
    char text[BINDING_LIMIT];
    struct text file = generation->site->tls.acme.binding_key_file;
    if (text_is_empty(file))
        return OK;
    ssize_t len = generation_read_data(generation, "acme.binding", text, sizeof(text));
    bool is_good = len > 0 && jose_decode(out, text_from(text, (size_t)len));
    explicit_bzero(text, sizeof(text));
    return is_good ? OK
                   : fail(why, ERR_SYNTAX,
                          "tls.acme.binding-key-file: '%.*s' is no key in base64url, as the CA "
                          "gives it",
                          FMT(file));
}

static enum err obtain(const struct acme_job *job, struct buffer *file,
                       struct acme_outcome *outcome, struct why *why)
{
    static const char *const challenges[] = {
        [CHALLENGE_HTTP] = "http-01", [CHALLENGE_TLS_ALPN] = "tls-alpn-01"
    };
    const struct site_acme *acme = &job->generation->site->tls.acme;
    AUTO(buffer_done) struct buffer trusted = buffer_of(TRUSTED_LIMIT);
    AUTO(buffer_wipe) struct buffer binding = buffer_of(BINDING_LIMIT);
    char directory[ACME_URL_SIZE];
    struct acme_prover prover = { (void *)job, show, hide };
    enum err err = read_trusted(job->generation, &trusted, why);
    if (err == OK)
        err = read_binding(job->generation, &binding, why);
    if (err == OK && !text_copy_to(acme->directory, directory, sizeof(directory)))
        err = fail(why, ERR_LIMIT, "tls.acme.directory is too long");
    struct acme_wish wish = { .directory = directory,
                              .email = acme->email,
                              .challenge = challenges[acme->challenge],
                              .names = job->names,
                              .name_count = job->name_count,
                              .trusted = buffer_text(&trusted),
                              .binding_id = acme->binding_id,
                              .binding_key = buffer_text(&binding) };
    return err == OK ? acme_obtain(&wish, job->account, &prover, ORDER_MS, file, outcome, why)
                     : err;
}

static void order(const struct acme_job *job, struct acme_report *report)
{
    struct buffer file = buffer_of(ACME_FILE_LIMIT);
    struct acme_outcome outcome = { 0 };
    struct why why = { "" };
    log_info("acme", "asking the CA for a certificate",
             TEXT("directory", job->generation->site->tls.acme.directory));
    enum err err = obtain(job, &file, &outcome, &why);
    if (err == OK)
        err = save(job, buffer_text(&file), &why);
    report->result = err == OK ? ACME_NEW : outcome.was_refused ? ACME_REFUSED : ACME_DOWN;
    report->retry_after_s = outcome.retry_after_s;
    snprintf(report->text, sizeof(report->text), "%s", err == OK ? "from the CA" : why.text);
    if (err == OK)
        give_to_others(job, buffer_text(&file));
    buffer_wipe(&file);
}

void acme_work(const struct acme_job *job, struct acme_report *report_out)
{
    *report_out = (struct acme_report){ .result = ACME_NOTHING };
    if (take_from_others(job, report_out))
        report_out->result = ACME_NEW;
    else if (job->is_due && job->may_order)
        order(job, report_out);
}

/* ---- the process ---- */

static _Noreturn void run(const struct acme_job *job, pid_t parent, int out, int close_fd)
{
    struct acme_report report;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it was gone before */
        _exit(1);
    fd_close(&close_fd);
    acme_work(job, &report);
    enum err err = sys_write_all(out, text_from((const char *)&report, sizeof(report)));
    _exit(err == OK ? 0 : 1);
}

enum err acme_worker_start(struct acme_worker *worker, const struct acme_job *job, int close_fd,
                           struct why *why)
{
    int ends[2];
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    worker->pid = fork();
    if (worker->pid == 0)
        run(job, parent, ends[1], close_fd);
    fd_close(&ends[1]);
    worker->result = ends[0];
    if (worker->pid > 0)
        return OK;
    worker->pid = 0;
    fd_close(&worker->result);
    return fail(why, ERR_SYSTEM, "cannot fork: %s", strerror(errno));
}

void acme_worker_finish(struct acme_worker *worker, bool is_killed, struct acme_report *report_out)
{
    struct acme_report report = { .result = ACME_DOWN };
    if (is_killed)
        kill(worker->pid, SIGKILL);
    ssize_t got = is_killed ? 0 : sys_read(worker->result, &report, sizeof(report));
    if (got != (ssize_t)sizeof(report)) {
        report = (struct acme_report){ .result = ACME_DOWN };
        snprintf(report.text, sizeof(report.text), "the process that asks the CA %s",
                 is_killed ? "took too long" : "has crashed");
    }
    report.text[sizeof(report.text) - 1] = '\0';
    while (waitpid(worker->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    fd_close(&worker->result);
    worker->pid = 0;
    *report_out = report;
}
