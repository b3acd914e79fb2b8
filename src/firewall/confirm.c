/* See confirm.h. Each of the others is asked by a process of its own: it blocks, we do not. */
#include "firewall/confirm.h"

#include "core/clock.h"
#include "core/log.h"
#include "firewall/talk.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAUSE_MS = 200, TURN_MS = 20, ONE_TRY_MS = 3000 };

void confirm_choose(const struct site *now, const struct site *next, const struct site_server *self,
                    struct confirm *confirm)
{
    size_t others = next->server_count > 1 ? next->server_count - 1 : 1;
    size_t step = (others + CONFIRM_PEERS - 1) / CONFIRM_PEERS, seen = 0;
    *confirm = (struct confirm){ .count = 0 };
    for (size_t i = 0; i < next->server_count && confirm->count < CONFIRM_PEERS; i++) {
        struct text name = next->servers[i].name;
        if (text_equal(name, self->name) || seen++ % step != 0 ||
            site_server_find(now, name) == NULL)
            continue;
        confirm->peers[confirm->count++] = (struct confirm_peer){ .server = name };
    }
}

_Noreturn static void ask(const struct generation *generation, struct text server,
                          const char *token, int64_t until_ms, bool is_patient, pid_t parent)
{
    char words[TALK_WORDS_LIMIT];
    struct why why = { "" };
    enum err err;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    snprintf(words, sizeof(words), "knock %.*s %s", FMT(generation->server->name), token);
    do {
        int64_t left_ms = until_ms - clock_now_ms();
        if (left_ms <= 0)
            break;
        err = talk_ask(generation->state, server, text_of(words),
                       left_ms < ONE_TRY_MS ? left_ms : ONE_TRY_MS, NULL, &why);
        if (err != OK && is_patient)
            clock_sleep_ms(PAUSE_MS);
    } while (err != OK && is_patient);
    if (err != OK && is_patient)
        log_warn("firewall", "another server does not get here", STRING("why", why.text));
    _exit(err == OK ? 0 : 1);
}

/* How many are still asking. */
static size_t reap(struct confirm *confirm)
{
    size_t left = 0;
    for (size_t i = 0; i < confirm->count; i++) {
        struct confirm_peer *peer = &confirm->peers[i];
        int status = 0;
        if (peer->child <= 0)
            continue;
        pid_t pid = waitpid(peer->child, &status, WNOHANG);
        if (pid == 0) {
            left++;
            continue;
        }
        peer->has_come = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        peer->child = 0;
    }
    return left;
}

void confirm_run(struct confirm *confirm, const struct generation *generation, const char *token,
                 int64_t for_ms, bool is_patient, void (*attend)(void *context, int64_t most_ms),
                 void *context)
{
    int64_t until_ms = clock_now_ms() + for_ms;
    pid_t self = getpid();
    fflush(NULL);
    for (size_t i = 0; i < confirm->count; i++) {
        struct confirm_peer *peer = &confirm->peers[i];
        peer->has_come = false;
        peer->child = fork();
        if (peer->child == 0)
            ask(generation, peer->server, token, until_ms, is_patient, self);
    }
    while (reap(confirm) > 0 && clock_now_ms() < until_ms)
        attend(context, TURN_MS);
    for (size_t i = 0; i < confirm->count; i++) {
        if (confirm->peers[i].child <= 0)
            continue;
        kill(confirm->peers[i].child, SIGKILL);
        while (waitpid(confirm->peers[i].child, NULL, 0) < 0 && errno == EINTR)
            continue;
        confirm->peers[i].child = 0;
    }
}

size_t confirm_keep(struct confirm *confirm)
{
    size_t kept = 0;
    for (size_t i = 0; i < confirm->count; i++)
        if (confirm->peers[i].has_come)
            confirm->peers[kept++] = confirm->peers[i];
    confirm->count = kept;
    return kept;
}

const struct confirm_peer *confirm_missing(const struct confirm *confirm)
{
    for (size_t i = 0; i < confirm->count; i++)
        if (!confirm->peers[i].has_come)
            return &confirm->peers[i];
    return NULL;
}
