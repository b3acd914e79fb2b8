/*
 * A program of somebody else: its start in a process group of its own, and its end with everything
 * that it started. Wrappers are the rule here (`npm start` runs a shell that runs node), so a
 * signal to the first process alone is never enough.
 */
#include "app/command_private.h"
#include "app/supervisor.h"

#include "core/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- its start ---- */

_Noreturn static void become_program(const struct program *program, struct process *self,
                                     pid_t supervisor, int tell)
{
    struct why why;
    sigset_t none;
    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, program->death_signal);
    if (getppid() != supervisor)
        _exit(1);
    enum err err = process_exec(self, program->path, program->arguments, program->environment,
                                program->keep, program->keep_count, &why);
    if (err == ERR_DENIED || errno == EACCES)
        fail(&why, ERR_DENIED,
             "its user may not run '%s': give it access (chmod o+x on it and the folders above it) "
             "or set app.user",
             program->path);
    enum err ignored = sys_write_all(tell, text_of(why.text));
    (void)ignored;
    _exit(127);
}

enum err program_start(struct program *program, struct process *self, struct why *why)
{
    int ends[2];
    char reason[sizeof(why->text)];
    pid_t own = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become_program(program, self, own, ends[1]);
    fd_close(&ends[1]);
    if (pid < 0) {
        fd_close(&ends[0]);
        return fail(why, ERR_SYSTEM, "cannot fork: %s", strerror(errno));
    }
    setpgid(pid, pid); /* here too: whoever is first */
    ssize_t len = sys_read(ends[0], reason, sizeof(reason));
    fd_close(&ends[0]);
    if (len > 0) { /* exec closes the pipe, so this is why it failed */
        waitpid(pid, NULL, 0);
        return fail(why, ERR_SYSTEM, "%.*s", (int)len, reason);
    }
    program->pid = pid;
    return OK;
}

/* ---- its end ---- */

void program_signal(const struct program *program, int number)
{
    if (program->pid > 0)
        kill(-program->pid, number);
}

void program_kill(const struct program *program)
{
    pid_t own = getpid();
    program_signal(program, SIGKILL);
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        uint64_t pid;
        pid_t parent;
        if (text_to_uint(text_of(entry->d_name), INT32_MAX, &pid) &&
            command_process_field(entry->d_name, PROCESS_PARENT, &parent) && parent == own)
            kill((pid_t)pid, SIGKILL);
    }
    if (processes != NULL)
        closedir(processes);
}

bool program_reap(struct program *program, int *status_out)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != program->pid)
            continue;
        program->pid = 0;
        *status_out = status;
    }
    return pid == 0;
}
