/*
 * The program nft as a child: commands in, JSON out, both through memory files, so that neither
 * side can wait for the other; and what a listing means.
 */
#include "firewall/kernel.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

const char *nft_program(void)
{
    static const char *const paths[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft",
                                         "/usr/local/sbin/nft" };
    for (size_t i = 0; i < COUNT(paths); i++)
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    return NULL;
}

static int memory_file(struct text content)
{
    int fd = memfd_create("nft", MFD_CLOEXEC);
    if (fd >= 0 && content.len > 0 &&
        (sys_write_all(fd, content) != OK || lseek(fd, 0, SEEK_SET) != 0))
        fd_close(&fd);
    return fd;
}

_Noreturn static void become_nft(const char *program, char *const arguments[], int input,
                                 int output, int errors)
{
    char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0)
        _exit(127);
    execve(program, arguments, environment);
    _exit(127);
}

/* The exit status; -1: it hung and was killed. */
static int wait_for(pid_t pid)
{
    int status = -1;
    AUTO(fd_close) int life = (int)syscall(SYS_pidfd_open, pid, 0);
    bool is_late = life >= 0 && sys_wait(life, POLLIN, clock_now_ms() + NFT_MS) != OK;
    if (is_late)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return !is_late && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static enum err read_memory(int fd, size_t limit, struct buffer *out)
{
    char piece[16384];
    int64_t at = 0;
    ssize_t got;
    while ((got = sys_pread(fd, piece, sizeof(piece), at)) > 0 && (size_t)at < limit) {
        buffer_append(out, text_from(piece, (size_t)got));
        at += got;
    }
    return out->failed ? ERR_LIMIT : OK;
}

/* The first line that says what is wrong. */
static void explain(int errors, struct why *why)
{
    struct buffer said AUTO(buffer_done) = buffer_of(1 << 16);
    (void)!read_memory(errors, 1 << 15, &said);
    struct text rest = buffer_text(&said), line = text_next(&rest, '\n');
    (void)fail(why, ERR_SYSTEM, "nft: %.*s", (int)(line.len < 300 ? line.len : 300),
               line.len > 0 ? line.data : "");
}

static enum err run(char *const arguments[], struct text input, struct buffer *out, struct why *why)
{
    const char *program = nft_program();
    AUTO(fd_close) int in = memory_file(input);
    AUTO(fd_close) int output = memory_file(T(""));
    AUTO(fd_close) int errors = memory_file(T(""));
    if (program == NULL)
        return fail(why, ERR_MISSING, "nft is not installed: apt-get install nftables");
    if (in < 0 || output < 0 || errors < 0)
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become_nft(program, arguments, in, output, errors);
    if (pid < 0)
        return fail(why, ERR_SYSTEM, "cannot fork: %s", strerror(errno));
    int status = wait_for(pid);
    if (status < 0)
        return fail(why, ERR_TIMEOUT, "nft hung for %d s", NFT_MS / 1000);
    if (status == 127)
        return fail(why, ERR_MISSING, "cannot run %s", program);
    if (status != 0)
        explain(errors, why);
    if (status == 0 && out != NULL)
        return read_memory(output, NFT_OUTPUT_LIMIT, out);
    return status == 0 ? OK : ERR_SYSTEM;
}

enum err nft_apply(struct text commands, struct why *why)
{
    char *const arguments[] = { "nft", "-j", "-f", "-", NULL };
    return run(arguments, commands, NULL, why);
}

enum err nft_list(struct buffer *out, struct why *why)
{
    char *const arguments[] = { "nft", "-j", "-s", "list", "table", "inet", FIREWALL_TABLE, NULL };
    struct why reason = { "" };
    enum err err = run(arguments, T(""), out, &reason);
    bool is_missing = text_find_text(text_of(reason.text), T("No such file")) >= 0;
    return err == OK ? OK : fail(why, is_missing ? ERR_NOT_FOUND : err, "%s", reason.text);
}

enum err nft_list_meter(const char *name, struct buffer *out, struct why *why)
{
    char *const arguments[] = { "nft",  "-j",           "list",       "meter",
                                "inet", FIREWALL_TABLE, (char *)name, NULL };
    return run(arguments, T(""), out, why);
}

/* ---- comparing ---- */

/* What changes by itself. */
static void strip(json_t *object)
{
    static const char *const own[] = { "handle", "packets", "bytes", "elem" };
    for (size_t i = 0; i < COUNT(own); i++)
        json_object_del(object, own[i]);
}

bool listing_shape(struct text listing, struct buffer *out)
{
    json_t *all = json_loadb(listing.data, listing.len, 0, NULL), *item, *object;
    json_t *list = json_object_get(all, "nftables");
    const char *what;
    size_t index;
    json_array_foreach(list, index, item)
    {
        if (json_object_get(item, "metainfo") != NULL)
            continue;
        json_object_foreach(item, what, object) strip(object);
        char *text = json_dumps(item, JSON_COMPACT | JSON_SORT_KEYS);
        buffer_append(out, text_of(text != NULL ? text : ""));
        buffer_append_byte(out, '\n');
        memory_free(text);
    }
    bool is_listing = json_is_array(list) && !out->failed;
    json_decref(all);
    return is_listing;
}

size_t listing_banned(struct text listing)
{
    json_t *all = json_loadb(listing.data, listing.len, 0, NULL), *item;
    size_t index, count = 0;
    json_array_foreach(json_object_get(all, "nftables"), index, item)
    {
        const json_t *set = json_object_get(item, "set");
        const char *name = json_string_value(json_object_get(set, "name"));
        if (name != NULL && strncmp(name, "banned", strlen("banned")) == 0)
            count += json_array_size(json_object_get(set, "elem"));
    }
    json_decref(all);
    return count;
}
