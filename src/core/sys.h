#ifndef CORE_SYS_H
#define CORE_SYS_H

/*
 * System calls on descriptors and files. They restart on EINTR. Everything outside core and stream
 * uses these, so a test can make the Nth call fail or be short (sys_fault_*).
 */

#include "core/error.h"
#include "core/text.h"

#include <stdio.h>
#include <sys/types.h>

/* Closes *fd and sets it to -1; accepts -1. For AUTO(fd_close) too. */
void fd_close(int *fd);

/* Like read(2) and write(2): bytes moved, 0 at the end of file, -1 with errno. */
ssize_t sys_read(int fd, void *data, size_t len);
ssize_t sys_write(int fd, const void *data, size_t len);
ssize_t sys_pread(int fd, void *data, size_t len, int64_t offset);
ssize_t sys_pwrite(int fd, const void *data, size_t len, int64_t offset);

/* Writes all or fails; for files and blocking descriptors. */
MUST_CHECK enum err sys_write_all(int fd, struct text data);

/* Reads the whole file, at most limit bytes (ERR_LIMIT beyond). *data_out is NUL-terminated behind
 * its length and is freed by the caller with memory_free((void *)data_out->data). */
MUST_CHECK enum err sys_read_file(const char *path, size_t limit, struct text *data_out,
                                  struct why *why);

/* Replaces the file as a whole: writes beside it, syncs, renames. mode as in open(2); owner uid/gid
 * (-1: unchanged). A reader sees the old or the new content, never a part. */
MUST_CHECK enum err sys_replace_file(const char *path, struct text data, mode_t mode, uid_t uid,
                                     gid_t gid, struct why *why);

/* Makes the folder and its parents (0755) that are missing; the last with mode and owner (-1:
 * unchanged). An existing last one gets mode and owner too. */
MUST_CHECK enum err sys_make_folder(const char *path, mode_t mode, uid_t uid, gid_t gid,
                                    struct why *why);

/* Cryptographic random bytes; never fails (the process ends if the kernel has none). */
void sys_random(void *data, size_t len);

/* A hex string of bytes*2 characters and a NUL; size must be > bytes*2. */
void sys_random_hex(char *out, size_t size, size_t bytes);

/* Waits until the descriptor is ready for `events` (POLLIN, POLLOUT) or hangs up. until_ms:
 * clock_now_ms(). ERR_TIMEOUT. */
MUST_CHECK enum err sys_wait(int fd, short events, int64_t until_ms);

MUST_CHECK enum err sys_set_nonblocking(int fd, bool nonblocking);

/* One packet with a descriptor over a Unix socket, without waiting. False with errno: not sent. */
bool sys_send_fd(int socket, const void *packet, size_t bytes, int fd);

/* Receives one packet of exactly these bytes with exactly one descriptor, which is the result
 * (close-on-exec; the caller's) and >= 0. What else came is dropped, its descriptors are closed,
 * and the result is -1: with *is_empty nothing was there (the end, an error, or in time). flags as
 * in recvmsg(2). */
int sys_receive_fd(int socket, void *packet, size_t bytes, int flags, bool *is_empty);

/* Test hook: after `countdown` more calls of the named wrapper ("read", "write", "pread",
 * "pwrite"), calls fail once with `error` (0: the call moves one byte only). */
void sys_fault_set(const char *call, int countdown, int error);

#endif
