/*
 * The donor's side of a rebuild: mariadb-backup's stream, passed on as it comes. Nothing is stored
 * here but what MariaDB writes into its redo log meanwhile; a receiver that is gone ends it.
 */
#include "database/keeper.h"

#include "core/log.h"
#include "core/sys.h"
#include "database/child.h"
#include "database/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_MS = 60000 };

/* Its settings with the password, in a memory file: not in its arguments, not on disk. */
static enum err write_options(struct session *session, int *fd_out, struct why *why)
{
    char password[DATABASE_PASSWORD_LIMIT + 1];
    struct buffer text = buffer_of(16384);
    if (database_account_password(session->generation, ACCOUNT_BACKUP, password) != OK)
        return fail(why, ERR_MISSING, "the parent gave no password");
    buffer_append(&text, T("[mariadb-backup]\nuser="));
    buffer_append(&text, database_account_name(session->site, ACCOUNT_BACKUP));
    buffer_print(&text, "\npassword=%s\nsocket=\"%s\"\ndatadir=\"%s\"\n", password,
                 session->place.socket, session->place.data);
    int fd = memfd_create("backup", MFD_CLOEXEC);
    enum err err =
        fd >= 0 && fchmod(fd, 0600) == 0 ? sys_write_all(fd, buffer_text(&text)) : ERR_SYSTEM;
    explicit_bzero(password, sizeof(password));
    explicit_bzero(text.data, text.len);
    buffer_done(&text);
    if (err == OK) {
        *fd_out = fd;
        return OK;
    }
    fd_close(&fd);
    return fail(why, err, "cannot make a memory file: %s", strerror(errno));
}

static enum err pass_on(struct session *session, int from, int64_t *bytes, struct why *why)
{
    char *chunk = arena_bytes(session->arena, PEER_FRAME_LIMIT);
    for (;;) {
        ssize_t got = sys_read(from, chunk, PEER_FRAME_LIMIT);
        if (got == 0)
            return OK;
        if (got < 0)
            return fail(why, ERR_SYSTEM, "cannot read the backup: %s", strerror(errno));
        *bytes += got;
        peer_stream_extend(&session->stream, CHUNK_MS);
        enum err err = peer_send(&session->stream, PEER_DATA, text_from(chunk, (size_t)got));
        if (err != OK)
            return fail(why, err, "the receiver is gone: %s", err_text(err));
    }
}

enum err keeper_backup(struct session *session, struct buffer *answer, struct why *why)
{
    char program[PATH_MAX];
    struct child child;
    int pair[2];
    int64_t bytes = 0;
    AUTO(fd_close) int options = -1;
    enum err err = child_find("mariadb-backup", program, why);
    if (err == OK)
        err = write_options(session, &options, why);
    if (err != OK)
        return err;
    struct text defaults = arena_print(session->arena, "--defaults-file=/proc/self/fd/%d", options);
    struct text target = arena_print(session->arena, "--target-dir=%s", session->place.temporary);
    const char *arguments[] = { program,     defaults.data,       "--backup",
                                target.data, "--stream=mbstream", NULL };
    if (pipe2(pair, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    err = child_start(&child, program, arguments, session->place.folder, -1, pair[1], options, why);
    fd_close(&pair[1]);
    if (err == OK) {
        err = pass_on(session, pair[0], &bytes, why);
        if (err == OK)
            err = child_finish(&child, why);
        else
            child_kill(&child);
    }
    fd_close(&pair[0]);
    if (err == OK && peer_send(&session->stream, PEER_END, T("")) != OK)
        err = fail(why, ERR_CLOSED, "the receiver is gone");
    if (err == OK)
        log_info("keeper", "a backup was sent", BYTES("bytes", bytes));
    return err;
}
