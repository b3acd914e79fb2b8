/*
 * Finds and runs one of MariaDB's programs to its end, its output caught so that it is shown only
 * when it matters. The child is killed by the kernel when this process dies.
 */
#include "database/child.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ERRORS_LIMIT = 16384 /* of what a program said, its end */ };

char *const child_environment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL
};

static bool is_program_in(struct text folder, const char *name, char path_out[PATH_MAX])
{
    int len = snprintf(path_out, PATH_MAX, "%.*s/%s", FMT(folder), name);
    return folder.len > 0 && len < PATH_MAX && access(path_out, X_OK) == 0;
}

enum err child_find(const char *name, char path_out[PATH_MAX], struct why *why)
{
    const char *path = getenv("PATH");
    struct text lists[] = { T("/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"),
                            text_of(path != NULL ? path : "") };
    char found[PATH_MAX];
    for (size_t i = 0; i < COUNT(lists); i++)
        while (lists[i].len > 0)
            if (is_program_in(text_next(&lists[i], ':'), name, found)) {
                text_copy_to(text_of(found), path_out, PATH_MAX);
                return OK;
            }
    return fail(why, ERR_NOT_FOUND,
                "%s is not installed: run `apt install mariadb-server-core mariadb-client-core "
                "mariadb-backup`",
                name);
}

struct become {
    const char *program;
    const char *const *arguments;
    const char *folder;
    int in, out, errors, keep; /* in, out, keep: -1: none */
    pid_t parent;
};

static void become(const struct become *it)
{
    char temporary[PATH_MAX];
    char *environment[8] = { NULL };
    size_t count = 0;
    /* else it is /tmp: shared with a MariaDB in another pid namespace, with the same pids and so
     * the same names of temporary tables */
    snprintf(temporary, sizeof(temporary), "TMPDIR=%s/tmp", it->folder);
    while (child_environment[count] != NULL && count < COUNT(environment) - 2) {
        environment[count] = child_environment[count];
        count++;
    }
    environment[count] = temporary;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool is_ready = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == it->parent &&
                    chdir(it->folder) == 0 && null >= 0 &&
                    dup2(it->in >= 0 ? it->in : null, 0) == 0 &&
                    dup2(it->out >= 0 ? it->out : null, 1) == 1 && dup2(it->errors, 2) == 2 &&
                    (it->keep < 0 || fcntl(it->keep, F_SETFD, 0) == 0);
    if (is_ready)
        execve(it->program, (char *const *)(uintptr_t)it->arguments, environment);
    dprintf(2, "cannot run %s: %s\n", it->program, strerror(errno));
    _exit(127);
}

static void catch_output(int fd, struct buffer *output)
{
    char chunk[4096];
    ssize_t got;
    while ((got = sys_read(fd, chunk, sizeof(chunk))) > 0)
        if (output->len + (size_t)got <= output->limit)
            buffer_append(output, text_from(chunk, (size_t)got));
}

/* The last line that says something. */
static struct text last_words(struct text output)
{
    while (output.len > 0 && (uint8_t)output.data[output.len - 1] <= ' ')
        output.len--;
    size_t start = output.len;
    while (start > 0 && output.data[start - 1] != '\n')
        start--;
    return text_skip(output, start);
}

static int wait_for(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static enum err judge(int status, const char *program, const struct buffer *output, struct why *why)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return OK;
    struct text words = last_words(buffer_text(output));
    return fail(why, ERR_STATE, "%s failed: %.*s", program, FMT(words));
}

enum err child_run(const char *program, const char *const arguments[], const char *folder,
                   struct buffer *output, struct why *why)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0)
        become(&(struct become){ .program = program,
                                 .arguments = arguments,
                                 .folder = folder,
                                 .in = -1,
                                 .out = pair[1],
                                 .errors = pair[1],
                                 .keep = -1,
                                 .parent = parent });
    int error = errno;
    fd_close(&pair[1]);
    if (child > 0)
        catch_output(pair[0], output);
    fd_close(&pair[0]);
    if (child < 0)
        return fail(why, ERR_SYSTEM, "cannot start %s: %s", program, strerror(error));
    return judge(wait_for(child), program, output, why);
}

/* ---- beside us ---- */

enum err child_start(struct child *child, const char *program, const char *const arguments[],
                     const char *folder, int in, int out, int keep, struct why *why)
{
    pid_t parent = getpid();
    *child = (struct child){ .program = program, .errors = memfd_create("errors", MFD_CLOEXEC) };
    if (child->errors < 0)
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    child->pid = fork();
    if (child->pid == 0)
        become(&(struct become){ .program = program,
                                 .arguments = arguments,
                                 .folder = folder,
                                 .in = in,
                                 .out = out,
                                 .errors = child->errors,
                                 .keep = keep,
                                 .parent = parent });
    if (child->pid > 0)
        return OK;
    child->pid = 0;
    fd_close(&child->errors);
    return fail(why, ERR_SYSTEM, "cannot start %s: %s", program, strerror(errno));
}

enum err child_finish(struct child *child, struct why *why)
{
    struct buffer output = buffer_of(ERRORS_LIMIT);
    pid_t pid = child->pid;
    child->pid = 0;
    int status = wait_for(pid);
    off_t len = lseek(child->errors, 0, SEEK_END);
    off_t from = len > ERRORS_LIMIT ? len - ERRORS_LIMIT : 0;
    char *place = buffer_reserve(&output, ERRORS_LIMIT);
    ssize_t got = place != NULL ? sys_pread(child->errors, place, ERRORS_LIMIT, from) : 0;
    output.len = got > 0 ? (size_t)got : 0;
    enum err err = judge(status, child->program, &output, why);
    buffer_done(&output);
    fd_close(&child->errors);
    return err;
}

void child_kill(struct child *child)
{
    if (child->pid <= 0)
        return;
    kill(child->pid, SIGKILL);
    wait_for(child->pid);
    child->pid = 0;
    fd_close(&child->errors);
}
