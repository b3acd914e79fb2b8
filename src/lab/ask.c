/*
 * Questions to a running lab: status, power, cuts, a shell inside, its end.
 */
#include "lab/ask.h"
#include "lab/lab_private.h"
#include "lab/rights.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CAPTURE_WORDS = 64, DOWN_MS = 90000, POLL_US = 20000 };

void lab_complain(const char *format, ...)
{
    va_list args;
    fputs("trilith lab: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- which lab ---- */

static void runs_folder(char *out, size_t size)
{
    struct lab_place place;
    struct why why;
    out[0] = '\0';
    if (lab_place_find("/", T("x"), &place, &why) == OK) {
        *strrchr(place.run, '/') = '\0';
        snprintf(out, size, "%s", place.run);
    }
}

/* Calls each for the run folder of every lab; returns how many there are. */
static size_t for_labs(void (*each)(const char *name, void *argument), void *argument)
{
    char folder[LAB_RUN_SIZE];
    size_t count = 0;
    runs_folder(folder, sizeof(folder));
    DIR *entries = opendir(folder);
    const struct dirent *entry;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        each(entry->d_name, argument);
        count++;
    }
    if (entries != NULL)
        closedir(entries);
    return count;
}

static void take_name(const char *name, void *argument)
{
    char *out = argument;
    snprintf(out, 256, "%s", name);
}

/* The run folder of the lab that is meant; false when it was said that there is none. */
static bool find_run(const struct lab_options *options, char *run, size_t size)
{
    char name[256] = "", folder[LAB_RUN_SIZE];
    size_t count = for_labs(take_name, name);
    if (options->lab == NULL && count != 1) {
        lab_complain(count == 0 ? "no lab runs here; start one with: trilith lab up SITE"
                                : "several labs run; choose one with --lab (see trilith lab ls)");
        return false;
    }
    runs_folder(folder, sizeof(folder));
    snprintf(run, size, "%s/%s", folder, options->lab != NULL ? options->lab : name);
    return true;
}

/* ---- asking ---- */

enum err lab_ask(const char *run, const char *command, char **answer, int *fd_out, struct why *why)
{
    char buffer[MESSAGE_TEXT_LIMIT + 64], path[128];
    struct address address;
    struct message message = { .type = MESSAGE_NOTE, .text = text_of(command) };
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(path, sizeof(path), "%s/control", run);
    if (fd < 0 || address_from_path(text_of(path), &address) != OK ||
        connect(fd, &address.u.any, address.len) != 0)
        return fail(why, ERR_NOT_FOUND, "no lab runs at %s: %s", run, strerror(errno));
    enum err err = message_send(fd, &message);
    if (err == OK)
        err = message_receive(fd, buffer, sizeof(buffer), &message);
    if (err != OK)
        return fail(why, err, "the lab does not answer: %s", err_text(err));
    for (size_t i = fd_out != NULL ? 1 : 0; i < message.fd_count; i++)
        fd_close(&message.fds[i]);
    if (fd_out != NULL)
        *fd_out = message.fd_count > 0 ? message.fds[0] : -1;
    *answer = memory_new(message.text.len + 1);
    memcpy(*answer, message.text.data, message.text.len);
    return OK;
}

/* Asks the lab that is meant; prints what is wrong. */
static int ask(const struct lab_options *options, const char *command, char **answer, int *fd_out)
{
    char run[LAB_RUN_SIZE + 256];
    struct why why;
    if (!find_run(options, run, sizeof(run)))
        return LAB_ABSENT;
    enum err err = lab_ask(run, command, answer, fd_out, &why);
    if (err != OK) {
        lab_complain("%s", why.text);
        return err == ERR_NOT_FOUND ? LAB_ABSENT : LAB_FAILED;
    }
    json_t *root = json_loads(*answer, 0, NULL);
    const char *error = json_string_value(json_object_get(root, "error"));
    if (error != NULL) {
        lab_complain("%s", error);
        memory_free(*answer);
    }
    bool is_bad = error != NULL;
    json_decref(root);
    return is_bad ? LAB_FAILED : LAB_OK;
}

/* ---- commands ---- */

static void print_name(const char *name, void *argument)
{
    puts(name);
}

int lab_ls(const char *name, const struct lab_options *options)
{
    for_labs(print_name, NULL);
    return fflush(stdout) == 0 ? LAB_OK : LAB_FAILED;
}

void lab_print_row(const json_t *row)
{
    const json_t *ready = json_object_get(row, "ready_after_ms");
    const char *link = json_string_value(json_object_get(row, "link"));
    printf("  %-12s %-16s %-36s %s%s", json_string_value(json_object_get(row, "name")),
           json_string_value(json_object_get(row, "address")),
           json_string_value(json_object_get(row, "roles")),
           json_string_value(json_object_get(row, "state")),
           json_is_true(json_object_get(row, "cut")) ? ", cut off" : "");
    if (ready != NULL)
        printf(" after %.1f s", (double)json_integer_value(ready) / 1000);
    printf("%s%s\n", link != NULL ? ", link " : "", link != NULL ? link : "");
}

void lab_print_table(const char *answer)
{
    json_t *root = json_loads(answer, 0, NULL), *row;
    size_t index;
    json_array_foreach(json_object_get(root, "machines"), index, row)
    {
        lab_print_row(row);
    }
    const char *partition = json_string_value(json_object_get(root, "partition"));
    if (partition != NULL && partition[0] != '\0')
        printf("  do not hear each other (`trilith lab heal` ends it): %s\n", partition);
    json_decref(root);
}

int lab_status(const char *name, const struct lab_options *options)
{
    char *answer;
    int status = ask(options, "status", &answer, NULL);
    if (status != LAB_OK)
        return status;
    if (options->json)
        puts(answer);
    else
        lab_print_table(answer);
    memory_free(answer);
    return fflush(stdout) == 0 ? LAB_OK : LAB_FAILED;
}

int lab_tell(const char *name, const struct lab_options *options)
{
    char *answer;
    struct buffer command AUTO(buffer_done) = buffer_of(MESSAGE_TEXT_LIMIT);
    buffer_print(&command, "%s", name);
    for (int i = 0; i < options->argument_count; i++)
        buffer_print(&command, " %s", options->arguments[i]);
    buffer_append_byte(&command, '\0');
    if (command.failed)
        return LAB_USAGE;
    int status = ask(options, command.data, &answer, NULL);
    if (status != LAB_OK)
        return status;
    if (options->json)
        puts(answer);
    memory_free(answer);
    return LAB_OK;
}

int lab_down(const char *name, const struct lab_options *options)
{
    char run[LAB_RUN_SIZE + 256], *answer;
    if (!find_run(options, run, sizeof(run)))
        return LAB_ABSENT;
    int status = ask(options, "down", &answer, NULL);
    if (status != LAB_OK)
        return status;
    memory_free(answer);
    int64_t until_ms = clock_now_ms() + DOWN_MS;
    while (access(run, F_OK) == 0 && clock_now_ms() < until_ms)
        usleep(POLL_US);
    if (access(run, F_OK) == 0) {
        lab_complain("the lab does not end; %s is still there", run);
        return LAB_FAILED;
    }
    return LAB_OK;
}

/* ---- inside a machine ---- */

static int wait_for(pid_t pid)
{
    int status;
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            pid = -1;
    if (pid < 0) {
        lab_complain("cannot start a process: %s", strerror(errno));
        return LAB_FAILED;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int lab_enter(int machine)
{
    int flags = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC;
    return setns(machine, geteuid() != 0 ? flags | CLONE_NEWUSER : flags);
}

/* Where every machine finds its own state folder. */
static void machine_state(char *out, size_t size)
{
    char runs[LAB_RUN_SIZE];
    runs_folder(runs, sizeof(runs));
    snprintf(out, size, "%s/.state", runs);
}

/* The folder of this program comes first in PATH: `trilith` is found inside as it would be on a
 * server, and is the one that runs the lab, also when it was built here and never installed. */
static void extend_path(void)
{
    char program[PATH_MAX], path[2 * PATH_MAX];
    const char *before = getenv("PATH");
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len <= 0)
        return;
    program[len] = '\0';
    *strrchr(program, '/') = '\0';
    int size =
        snprintf(path, sizeof(path), "%s:%s", program, before != NULL ? before : "/usr/bin:/bin");
    if (size > 0 && (size_t)size < sizeof(path))
        setenv("PATH", path, 1);
}

static int enter_and_run(int machine, char *const command[])
{
    if (lab_enter(machine) != 0) {
        lab_complain("cannot enter the machine: %s", strerror(errno));
        return LAB_FAILED;
    }
    pid_t pid = fork(); /* only a child is in the new pid namespace */
    if (pid == 0) {
        lab_keep_rights(); /* who may enter a machine is its administrator */
        char state[LAB_RUN_SIZE + 16];
        machine_state(state, sizeof(state));
        setenv("TRILITH_STATE", state, 1); /* `trilith status` finds the machine's server */
        extend_path();
        setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt", 0); /* see trust.h */
        execvp(command[0], command);
        lab_complain("cannot run '%s': %s", command[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    return wait_for(pid);
}

/* By a process in between: one whose children are in another pid namespace is not fit for more. */
int lab_run_inside(int machine, char *const command[])
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(enter_and_run(machine, command));
    return wait_for(pid);
}

/* Packets on a terminal help nobody: the standard output becomes a file beside the machine's log.
 */
static int write_to_folder(const char *answer)
{
    char path[PATH_MAX], time[CLOCK_ISO_SIZE];
    json_t *root = json_loads(answer, 0, NULL);
    const char *folder = json_string_value(json_object_get(root, "folder"));
    clock_format_iso(clock_wall_ms(), time);
    snprintf(path, sizeof(path), "%s/capture-%s.pcap", folder != NULL ? folder : ".", time);
    json_decref(root);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0) {
        lab_complain("cannot write %s: %s", path, strerror(errno));
        return LAB_FAILED;
    }
    fprintf(stderr, "packets go to %s; Ctrl-C ends it\n", path);
    return LAB_OK;
}

static int enter(const struct lab_options *options, char **command, bool is_capture)
{
    char line[256], *answer;
    AUTO(fd_close) int machine = -1;
    snprintf(line, sizeof(line), "enter %s", options->arguments[0]);
    int status = ask(options, line, &answer, &machine);
    if (status != LAB_OK)
        return status;
    if (is_capture && isatty(STDOUT_FILENO))
        status = write_to_folder(answer);
    memory_free(answer);
    return status == LAB_OK ? lab_run_inside(machine, command) : status;
}

int lab_exec(const char *name, const struct lab_options *options)
{
    return enter(options, options->arguments + 1, false);
}

/* tcpdump's own words behind ours: it writes to the standard output, packet by packet. */
int lab_capture(const char *name, const struct lab_options *options)
{
    static char *const words[] = { "tcpdump", "-i", "eth0", "-U", "-w", "-", NULL };
    char *command[CAPTURE_WORDS + COUNT(words)];
    size_t count = 0;
    if (options->argument_count > CAPTURE_WORDS) {
        lab_complain("the filter has too many words");
        return LAB_USAGE;
    }
    while (words[count] != NULL) {
        command[count] = words[count];
        count++;
    }
    for (int i = 1; i < options->argument_count; i++)
        command[count++] = options->arguments[i];
    command[count] = NULL;
    return enter(options, command, true);
}

/* What `trilith logs -f` shows, from inside the machine. */
int lab_logs(const char *name, const struct lab_options *options)
{
    char *command[] = { "/proc/self/exe", "logs", "-f", NULL };
    return enter(options, command, false);
}

int lab_sh(const char *name, const struct lab_options *options)
{
    char *const shell = getenv("SHELL");
    char *command[] = { shell != NULL ? shell : "/bin/sh", NULL };
    return enter(options, command, false);
}
