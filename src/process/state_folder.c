/*
 * The folder of a site: layout, the lock that keeps a second parent out, and the notes (run/pids)
 * by which the next parent finds what a killed one left. A noted process is only touched when its
 * start time matches too, so that a recycled pid never hits a stranger.
 */
#include "process/state_folder.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <dirent.h>

enum {
    NOTE_SIZE = 64,          /* one line of run/pids */
    LONGEST_SOCKET_NAME = 40 /* "run/database/database.sock" and some air */
};

char *process_default_state(void)
{
    char path[STATE_PATH_SIZE];
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const char *given = getenv("TRILITH_STATE");
    if (given != NULL && given[0] == '/')
        return memory_copy_string(given);
    if (geteuid() == 0)
        return memory_copy_string("/var/lib/trilith");
    if (state != NULL && state[0] == '/')
        snprintf(path, sizeof(path), "%s/trilith", state);
    else
        snprintf(path, sizeof(path), "%s/.local/state/trilith", home != NULL ? home : "/tmp");
    return memory_copy_string(path);
}

enum err state_folder_path(const char *state, struct text site_name, const char *name, char *out,
                           size_t size)
{
    int len =
        snprintf(out, size, "%s/%.*s%s%s", state, FMT(site_name), name[0] != '\0' ? "/" : "", name);
    return len > 0 && (size_t)len < size ? OK : ERR_LIMIT;
}

static enum err check_length(const char *path, struct why *why)
{
    size_t limit = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1 - LONGEST_SOCKET_NAME;
    if (strlen(path) <= limit)
        return OK;
    return fail(why, ERR_LIMIT,
                "the state folder '%s' has a path of %zu characters; at most %zu work, because "
                "sockets are in it: choose a shorter one with --state",
                path, strlen(path), limit);
}

static enum err make_below(const struct state_folder *folder, const char *name, mode_t mode,
                           uid_t uid, gid_t gid, struct why *why)
{
    char path[STATE_PATH_SIZE];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder->path, name) >= sizeof(path))
        return fail(why, ERR_LIMIT, "path too long");
    return sys_make_folder(path, mode, uid, gid, why);
}

enum err state_folder_for_role(const struct state_folder *folder, const char *name, uid_t uid,
                               gid_t gid, struct why *why)
{
    char run[128];
    snprintf(run, sizeof(run), "run/%s", name);
    enum err err = make_below(folder, name, 0700, uid, gid, why);
    return err != OK ? err : make_below(folder, run, 0711, uid, gid, why);
}

/* ---- processes by /proc ---- */

/* The state letter, parent, session and start of a process. False: no such process. */
struct process_facts {
    char state;
    pid_t parent;
    pid_t session;
    uint64_t start_ticks;
};

static bool read_facts(pid_t pid, struct process_facts *facts)
{
    char path[64], data[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? sys_read(fd, data, sizeof(data) - 1) : -1;
    if (len <= 0)
        return false;
    data[len] = '\0';
    const char *behind_name = strrchr(data, ')'); /* a name may hold anything, also ')' */
    int parent, session;
    unsigned long long start;
    if (behind_name == NULL ||
        sscanf(behind_name + 1,
               " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &facts->state, &parent, &session, &start) != 4)
        return false;
    facts->parent = (pid_t)parent;
    facts->session = (pid_t)session;
    facts->start_ticks = start;
    return true;
}

uint64_t process_start_ticks(pid_t pid)
{
    struct process_facts facts;
    bool is_alive = pid > 0 && read_facts(pid, &facts) && facts.state != 'Z' && facts.state != 'X';
    return is_alive ? facts.start_ticks : 0;
}

typedef bool process_filter(pid_t pid, const struct process_facts *facts, pid_t argument);

static size_t signal_where(process_filter *filter, pid_t argument, int signal_number)
{
    size_t count = 0;
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        uint64_t pid;
        struct process_facts facts;
        if (!text_to_uint(text_of(entry->d_name), INT32_MAX, &pid) ||
            !read_facts((pid_t)pid, &facts) || facts.state == 'Z' ||
            !filter((pid_t)pid, &facts, argument))
            continue;
        count++;
        if (signal_number > 0)
            kill((pid_t)pid, signal_number);
    }
    if (folder != NULL)
        closedir(folder);
    return count;
}

static bool is_in_session(pid_t pid, const struct process_facts *facts, pid_t session)
{
    (void)pid;
    return facts->session == session;
}

static bool is_other_child(pid_t pid, const struct process_facts *facts, pid_t keep)
{
    return facts->parent == getpid() && pid != keep;
}

size_t process_signal_session(pid_t session, int signal_number)
{
    return session > 1 ? signal_where(is_in_session, session, signal_number) : 0;
}

size_t process_kill_children(pid_t keep)
{
    return signal_where(is_other_child, keep, SIGKILL);
}

/* ---- run/pids and the lock ---- */

static void write_note(const struct state_folder *folder, size_t place, const char *text)
{
    char line[NOTE_SIZE];
    memset(line, ' ', sizeof(line));
    size_t len = strlen(text);
    memcpy(line, text, len < sizeof(line) ? len : sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    /* a lost note costs the next start a clean-up at worst: pdeathsig does the work anyway */
    ssize_t done = sys_pwrite(folder->pids, line, sizeof(line), (int64_t)(place * sizeof(line)));
    (void)done;
}

static void boot_id(char *out, size_t size)
{
    AUTO(fd_close) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? sys_read(fd, out, size - 1) : 0;
    out[len > 0 ? len : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

void state_folder_note(const struct state_folder *folder, size_t number, pid_t pid)
{
    char line[NOTE_SIZE];
    snprintf(line, sizeof(line), "%d %llu", (int)pid, (unsigned long long)process_start_ticks(pid));
    write_note(folder, number + 1, line); /* the first place holds the boot's id */
}

/* The noted processes that still live, with `signal_number` sent to each (0: none). */
static size_t signal_noted(struct text notes, int signal_number)
{
    size_t count = 0;
    while (notes.len >= NOTE_SIZE) {
        uint64_t pid, ticks;
        struct text line = text_trim(text_part(notes, 0, NOTE_SIZE - 1));
        notes = text_skip(notes, NOTE_SIZE);
        struct text number = text_next(&line, ' ');
        if (!text_to_uint(number, INT32_MAX, &pid) || pid <= 1 ||
            !text_to_uint(line, UINT64_MAX, &ticks) || ticks == 0 ||
            process_start_ticks((pid_t)pid) != ticks)
            continue;
        count++;
        if (signal_number > 0)
            kill((pid_t)pid, signal_number);
    }
    return count;
}

/* What the predecessor noted, from this boot only. */
static enum err end_leftovers(const char *path, struct why *why)
{
    struct text notes;
    char boot[NOTE_SIZE];
    if (sys_read_file(path, 1 << 20, &notes, NULL) != OK)
        return OK;
    struct text rest = notes;
    size_t left = 0;
    boot_id(boot, sizeof(boot));
    if (text_equal(text_trim(text_part(rest, 0, NOTE_SIZE - 1)), text_of(boot))) {
        rest = text_skip(rest, NOTE_SIZE);
        left = signal_noted(rest, 0);
        /* they die with their parent: a moment is enough; then SIGKILL, and time for a database
         * to give its memory back */
        for (int i = 0; left > 0 && i < 600; i++) {
            clock_sleep_ms(50);
            left = signal_noted(rest, i >= 20 ? SIGKILL : 0);
        }
    }
    memory_free((void *)notes.data);
    if (left > 0)
        return fail(why, ERR_BUSY,
                    "%zu processes of an earlier run do not end; see %s for their numbers", left,
                    path);
    return OK;
}

/* The lock of a killed parent may be held for a moment by a child that it was just starting. */
static bool lock_soon(int fd, char *pid, size_t size)
{
    uint64_t holder = 0;
    for (int i = 0; i < 100; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        ssize_t len = sys_pread(fd, pid, size - 1, 0);
        pid[len > 0 ? len : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        if (text_to_uint(text_of(pid), INT32_MAX, &holder) &&
            process_start_ticks((pid_t)holder) != 0)
            return false;
        clock_sleep_ms(20);
    }
    return false;
}

static enum err take_lock(struct state_folder *folder, struct why *why)
{
    char path[STATE_PATH_SIZE], pid[32] = "";
    snprintf(path, sizeof(path), "%s/run/lock", folder->path);
    folder->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (folder->lock < 0)
        return fail(why, ERR_SYSTEM, "cannot open '%s': %s", path, strerror(errno));
    if (!lock_soon(folder->lock, pid, sizeof(pid))) {
        return fail(why, ERR_BUSY,
                    "this site already runs here as process %s: `trilith status` shows it, "
                    "`trilith stop` ends it",
                    pid[0] != '\0' ? pid : "(starting)");
    }
    int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(folder->lock, 0) != 0 || sys_pwrite(folder->lock, pid, (size_t)len, 0) != len)
        return fail(why, ERR_SYSTEM, "cannot write '%s': %s", path, strerror(errno));
    return OK;
}

/* Those in the folder, and in the folders of roles below it. fd is closed. */
static void remove_sockets_in(int fd, bool is_top)
{
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (text_ends_with(text_of(entry->d_name), T(".sock")))
            unlinkat(fd, entry->d_name, 0);
        else if (is_top && entry->d_name[0] != '.')
            remove_sockets_in(
                openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), false);
    }
    if (folder != NULL)
        closedir(folder);
    else
        fd_close(&fd);
}

static void remove_sockets(const char *run)
{
    remove_sockets_in(open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC), true);
}

static enum err clean_run(struct state_folder *folder, struct why *why)
{
    char path[STATE_PATH_SIZE], boot[NOTE_SIZE];
    snprintf(path, sizeof(path), "%s/run/pids", folder->path);
    enum err err = end_leftovers(path, why);
    if (err != OK)
        return err;
    folder->pids = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (folder->pids < 0)
        return fail(why, ERR_SYSTEM, "cannot open '%s': %s", path, strerror(errno));
    boot_id(boot, sizeof(boot));
    write_note(folder, 0, boot);
    snprintf(path, sizeof(path), "%s/run", folder->path);
    remove_sockets(path);
    return OK;
}

enum err state_folder_open(const char *state, struct text site_name, struct state_folder *folder,
                           struct why *why)
{
    char path[STATE_PATH_SIZE], real[PATH_MAX];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    *folder = (struct state_folder){ .lock = -1, .pids = -1 };
    if (state_folder_path(state, site_name, "", path, sizeof(path)) != OK)
        return fail(why, ERR_LIMIT, "the state folder's path is too long: use --state");
    enum err err = sys_make_folder(path, 0711, uid, gid, why);
    if (err != OK)
        return fail_in(why, err, "state folder (choose one with --state)");
    if (realpath(path, real) == NULL)
        return fail(why, ERR_SYSTEM, "cannot resolve '%s': %s", path, strerror(errno));
    err = check_length(real, why);
    if (err != OK)
        return err;
    folder->path = memory_copy_string(real);
    err = make_below(folder, "run", 0711, uid, gid, why);
    if (err == OK)
        err = make_below(folder, "secrets", 0700, uid, gid, why);
    if (err == OK)
        err = take_lock(folder, why);
    if (err == OK)
        err = clean_run(folder, why);
    if (err != OK)
        state_folder_close(folder);
    return err;
}

void state_folder_close(struct state_folder *folder)
{
    char path[STATE_PATH_SIZE];
    if (folder->pids >= 0) { /* only its holder cleans */
        snprintf(path, sizeof(path), "%s/run", folder->path);
        remove_sockets(path);
        snprintf(path, sizeof(path), "%s/run/pids", folder->path);
        unlink(path);
        /* the lock's file stays: removing it would let two parents hold locks on two files */
        if (ftruncate(folder->lock, 0) != 0)
            unlink(path);
    }
    fd_close(&folder->pids);
    fd_close(&folder->lock);
    memory_free(folder->path);
    folder->path = NULL;
}
