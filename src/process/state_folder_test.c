/* The state folder: rights, lock, and what a killed parent left. */
#include "core/test.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/state_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    char state[32];
    char path[64];
};

static bool place_open(struct place *place)
{
    *place = (struct place){ .state = "/tmp/state.XXXXXX" };
    if (mkdtemp(place->state) == NULL)
        return false;
    snprintf(place->path, sizeof(place->path), "%s/a.test", place->state);
    return true;
}

static void place_close(struct place *place)
{
    static const char *const names[] = { "/run/lock", "/run/pids", "/run/database",
                                         "/run",      "/database", "/secrets",
                                         "" };
    char path[128];
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s%s", place->path, names[i]);
        if (unlink(path) != 0)
            rmdir(path);
    }
    CHECK(rmdir(place->state) == 0, "nothing else is left in %s", place->state);
}

static unsigned mode_of(const struct place *place, const char *name)
{
    struct stat state;
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", place->path, name);
    return stat(path, &state) == 0 ? state.st_mode & 07777 : 0;
}

TEST(state_folder_is_private_and_locked)
{
    struct place place;
    struct state_folder folder, second;
    struct why why;
    char pid[32];
    REQUIRE(place_open(&place), "folder");
    REQUIRE(state_folder_open(place.state, T("a.test"), &folder, &why) == OK, "%s", why.text);
    CHECK(state_folder_for_role(&folder, "database", geteuid(), getegid(), &why) == OK, "role");
    CHECK(mode_of(&place, "") == 0711 && mode_of(&place, "run") == 0711, "can be passed through");
    CHECK(mode_of(&place, "secrets") == 0700 && mode_of(&place, "database") == 0700, "private");
    CHECK(mode_of(&place, "run/database") == 0711, "for sockets");
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    CHECK(state_folder_open(place.state, T("a.test"), &second, &why) == ERR_BUSY, "locked");
    CHECK(strstr(why.text, pid) != NULL, "by whom: %s", why.text);
    state_folder_close(&folder);
    CHECK(state_folder_open(place.state, T("a.test"), &folder, &why) == OK, "free again");
    state_folder_close(&folder);
    place_close(&place);
}

TEST(state_folder_too_long_is_explained)
{
    struct place place;
    struct state_folder folder;
    struct why why;
    char state[200];
    REQUIRE(place_open(&place), "folder");
    snprintf(state, sizeof(state), "%s/%080d", place.state, 0);
    CHECK(state_folder_open(state, T("a.test"), &folder, &why) == ERR_LIMIT, "too long");
    CHECK(strstr(why.text, "--state") != NULL, "%s", why.text);
    snprintf(state, sizeof(state), "%s/%080d/a.test", place.state, 0);
    rmdir(state);
    state[strlen(state) - 7] = '\0';
    rmdir(state);
    place_close(&place);
}

static pid_t sleeper(void)
{
    int ends[2];
    char byte;
    if (pipe(ends) != 0)
        return -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close_range(3, ~0U, 0); /* it must not hold the lock */
        for (;;)
            pause();
    }
    fd_close(&ends[1]);
    CHECK(sys_read(ends[0], &byte, 1) == 0, "it has closed everything");
    fd_close(&ends[0]);
    return pid;
}

/* Leaves the notes as a killed parent would. */
static void abandon(struct state_folder *folder)
{
    fd_close(&folder->pids);
    state_folder_close(folder);
}

TEST(state_folder_ends_only_what_was_noted)
{
    struct place place;
    struct state_folder folder;
    struct why why;
    int status;
    char path[128];
    REQUIRE(place_open(&place), "folder");
    REQUIRE(state_folder_open(place.state, T("a.test"), &folder, &why) == OK, "%s", why.text);
    pid_t ours = sleeper(), stranger = sleeper();
    state_folder_note(&folder, 3, ours);
    abandon(&folder);
    /* the stranger has a recycled pid: same number, another start */
    snprintf(path, sizeof(path), "%s/run/pids", place.path);
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    char line[65];
    snprintf(line, sizeof(line), "%d %-50s", (int)stranger, "12345");
    line[strlen(line)] = ' ';
    line[63] = '\n';
    CHECK(sys_pwrite(fd, line, 64, 7 * 64) == 64, "note");
    /* reaped by us while the folder waits for it */
    struct sigaction ignore = { .sa_handler = SIG_IGN, .sa_flags = SA_NOCLDWAIT }, before;
    sigaction(SIGCHLD, &ignore, &before);
    CHECK(state_folder_open(place.state, T("a.test"), &folder, &why) == OK, "%s", why.text);
    sigaction(SIGCHLD, &before, NULL);
    CHECK(process_start_ticks(ours) == 0, "the noted one is gone");
    CHECK(process_start_ticks(stranger) != 0, "the stranger is not");
    kill(stranger, SIGKILL);
    waitpid(stranger, &status, 0);
    state_folder_close(&folder);
    place_close(&place);
}

TEST(state_folder_of_another_boot_is_not_believed)
{
    struct place place;
    struct state_folder folder;
    struct why why;
    char path[128];
    REQUIRE(place_open(&place), "folder");
    REQUIRE(state_folder_open(place.state, T("a.test"), &folder, &why) == OK, "%s", why.text);
    pid_t ours = sleeper();
    state_folder_note(&folder, 0, ours);
    abandon(&folder);
    snprintf(path, sizeof(path), "%s/run/pids", place.path);
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(sys_pwrite(fd, "0000", 4, 0) == 4, "another boot");
    CHECK(state_folder_open(place.state, T("a.test"), &folder, &why) == OK, "%s", why.text);
    CHECK(process_start_ticks(ours) != 0, "lives");
    kill(ours, SIGKILL);
    waitpid(ours, NULL, 0);
    state_folder_close(&folder);
    place_close(&place);
}

TEST(process_start_ticks_tells_processes_apart)
{
    CHECK(process_start_ticks(getpid()) > 0, "itself");
    CHECK(process_start_ticks(0) == 0 && process_start_ticks(-5) == 0, "none");
    pid_t pid = sleeper();
    CHECK(process_start_ticks(pid) >= process_start_ticks(getpid()), "started later");
    siginfo_t info;
    kill(pid, SIGKILL);
    CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0, "ended, not reaped");
    CHECK(process_start_ticks(pid) == 0, "a zombie does not live");
    waitpid(pid, NULL, 0);
}
