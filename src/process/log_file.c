/*
 * Size-bounded files: NAME grows to its limit, then becomes NAME.1 and so on; the oldest is
 * removed. Whole lines only: what a full disk cut is taken back.
 */
#include "process/log_file.h"

#include "core/clock.h"
#include "core/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RETRY_MS = 1000 };

void log_file_init(struct log_file *file, int folder, const char *name, int64_t limit, int keep)
{
    *file =
        (struct log_file){ .folder = folder, .name = name, .fd = -1, .limit = limit, .keep = keep };
}

void log_file_done(struct log_file *file)
{
    fd_close(&file->fd);
}

static bool ensure_open(struct log_file *file)
{
    struct stat state;
    if (file->fd >= 0)
        return true;
    if (clock_now_ms() < file->retry_at_ms)
        return false;
    file->fd = openat(file->folder, file->name,
                      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file->fd < 0 || fstat(file->fd, &state) != 0 || !S_ISREG(state.st_mode)) {
        fd_close(&file->fd);
        file->retry_at_ms = clock_now_ms() + RETRY_MS;
        return false;
    }
    file->size = state.st_size;
    return true;
}

static void rotate(struct log_file *file)
{
    char from[128], to[128];
    fd_close(&file->fd);
    for (int i = file->keep - 1; i > 0; i--) {
        snprintf(from, sizeof(from), i > 1 ? "%s.%d" : "%s", file->name, i - 1);
        snprintf(to, sizeof(to), "%s.%d", file->name, i);
        renameat(file->folder, from, file->folder, to);
    }
    file->size = 0;
}

/* All of it or nothing. */
static bool append(struct log_file *file, struct text lines)
{
    ssize_t done = sys_write(file->fd, lines.data, lines.len);
    if (done == (ssize_t)lines.len) {
        file->size += done;
        return true;
    }
    if (done > 0 && ftruncate(file->fd, file->size) != 0)
        fd_close(&file->fd); /* reopened with its true size */
    return false;
}

static uint64_t count_lines(struct text lines)
{
    uint64_t count = 0;
    for (size_t i = 0; i < lines.len; i++)
        count += lines.data[i] == '\n';
    return count;
}

static bool tell_lost(struct log_file *file)
{
    char line[160], time[CLOCK_ISO_SIZE];
    if (file->lost == 0)
        return true;
    clock_format_iso(clock_wall_ms(), time);
    snprintf(line, sizeof(line),
             "%s warn  log log: lines lost, the disk did not take them n=%llu\n", time,
             (unsigned long long)file->lost);
    if (!append(file, text_of(line)))
        return false;
    file->lost = 0;
    return true;
}

void log_file_write(struct log_file *file, struct text lines)
{
    if (lines.len == 0)
        return;
    if (ensure_open(file) && file->size > 0 && file->size + (int64_t)lines.len > file->limit)
        rotate(file);
    if (!ensure_open(file) || !tell_lost(file) || !append(file, lines))
        file->lost += count_lines(lines);
}
