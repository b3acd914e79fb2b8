/*
 * `trilith logs`: the last lines of a site's log, and on request the new ones as they come, across
 * the change to a new file.
 */
#include "cli/target.h"
#include "cli/terminal.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { BLOCK = 65536, FOLLOW_MS = 200 };

/* Where the last `lines` lines begin. */
static int64_t find_start(int fd, int64_t size, int64_t lines, char *block)
{
    int64_t end = size;
    while (end > 0) {
        int64_t from = end > BLOCK ? end - BLOCK : 0;
        ssize_t len = sys_pread(fd, block, (size_t)(end - from), from);
        if (len <= 0)
            return end;
        for (ssize_t i = len; i-- > 0;) {
            bool is_last = from + i == size - 1;
            if (block[i] == '\n' && !is_last && --lines <= 0)
                return from + i + 1;
        }
        end = from;
    }
    return 0;
}

/* Prints from *at to the end of the file. False: standard output is gone. */
static bool print_rest(int fd, int64_t *at, char *block)
{
    ssize_t len;
    while ((len = sys_pread(fd, block, BLOCK, *at)) > 0) {
        if (!print_text(text_from(block, (size_t)len)))
            return false;
        *at += len;
    }
    return true;
}

/* The log goes on in a new file: opens it, once the old one is printed to its end. */
static void follow_change(const char *path, int *fd, int64_t *at)
{
    struct stat now, open_one;
    if (stat(path, &now) != 0 || fstat(*fd, &open_one) != 0)
        return;
    if (now.st_ino == open_one.st_ino && now.st_dev == open_one.st_dev) {
        if (open_one.st_size < *at)
            *at = 0; /* somebody cut it */
        return;
    }
    int next = open(path, O_RDONLY | O_CLOEXEC);
    if (next < 0)
        return;
    fd_close(fd);
    *fd = next;
    *at = 0;
}

static int print_log(const char *path, const struct options *options)
{
    struct stat status;
    AUTO(memory_drop) char *block = memory_new(BLOCK);
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        complain("there is no log at %s; `trilith up` starts the site, --state names its folder",
                 path);
        return CLI_NOT_RUNNING;
    }
    if (fd < 0 || fstat(fd, &status) != 0) {
        complain("cannot read %s: %s%s", path, strerror(errno),
                 errno == EACCES ? "; run this as root or as the user who started the site" : "");
        return CLI_FAILED;
    }
    int64_t at =
        options->lines > 0 ? find_start(fd, status.st_size, options->lines, block) : status.st_size;
    if (!print_rest(fd, &at, block))
        return CLI_FAILED;
    while (options->follow) {
        clock_sleep_ms(FOLLOW_MS);
        if (!print_rest(fd, &at, block))
            return CLI_FAILED;
        follow_change(path, &fd, &at);
    }
    return CLI_OK;
}

int command_logs(const struct invocation *invocation)
{
    struct target target;
    char path[TARGET_STATE_SIZE + TARGET_SITE_SIZE + 32];
    int status = target_find(invocation, &target);
    if (status != CLI_OK)
        return status;
    snprintf(path, sizeof(path), "%s/%s/log/%s", target.state, target.site,
             invocation->options.access ? "access.log" : "trilith.log");
    return print_log(path, &invocation->options);
}
