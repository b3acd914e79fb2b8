/*
 * Fills this server's database anew from another one's, while the old data stays in use until the
 * new is complete:
 *
 *   data.incoming ──unpacked, prepared, position written, synced──► data.rebuilt
 *   mariadbd ends; at its next start: data ──► data.old, data.rebuilt ──► data  (folder.c)
 *   the replica runs ──► data.old is removed
 *
 * The database that runs keeps room to write: the stream is broken off before the disk is full.
 * A broken stream, a full disk, a kill at any point before the first rename leave everything as it
 * was; after it everything is there, and the next start goes on.
 */
#include "database/keeper.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "database/child.h"
#include "database/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CLIENT_S = 3,
    STREAM_MS = 60000,  /* between two pieces of the stream */
    RUNNING_MS = 90000, /* until the new replica runs */
    POLL_MS = 100,
    POSITION_LIMIT = 4096,
    MEBIBYTE = 1024 * 1024,
    ROOM_MIB = 64, /* stays free for the database that runs */
    ROOM_LOOK = 4 * MEBIBYTE,
};

struct rebuild {
    struct session *session;
    const struct site_server *donor, *primary;
    struct child unpacker;
    int pipe; /* to it */
    int64_t bytes;
    int64_t looked_at; /* of bytes, when the room was last looked at */
    bool is_full;
    struct text position; /* GTIDs of the data */
};

/* ---- the donor ---- */

/* A replica that runs before the primary: it has less to do. */
static void consider(struct rebuild *rebuild, const struct site_server *server, uint64_t *epoch)
{
    AUTO(client_drop) struct client *client = NULL;
    struct session *session = rebuild->session;
    const struct site_server *primary;
    struct client_rows rows;
    if (session_client(session, server, ACCOUNT_MONITOR, CLIENT_S, &client, NULL) != OK ||
        session_primary(session, client, &primary, NULL) != OK || session->epoch < *epoch)
        return;
    bool is_newer = session->epoch > *epoch || rebuild->donor == NULL;
    *epoch = session->epoch;
    rebuild->primary = primary;
    if (client_query(client, "SHOW SLAVE STATUS", session->arena, &rows, NULL) != OK)
        return;
    bool is_good =
        primary == server || (text_equal(client_value(&rows, 0, "Slave_IO_Running"), T("Yes")) &&
                              text_equal(client_value(&rows, 0, "Slave_SQL_Running"), T("Yes")));
    if (is_good && (is_newer || primary != server))
        rebuild->donor = server;
}

static enum err choose_donor(struct rebuild *rebuild, struct why *why)
{
    struct session *session = rebuild->session;
    const struct site *site = session->site;
    uint64_t epoch = 0;
    for (size_t i = 0; i < site->server_count; i++)
        if (&site->servers[i] != session->self &&
            site_is_on(site, &site->database.on, &site->servers[i]))
            consider(rebuild, &site->servers[i], &epoch);
    if (rebuild->primary == session->self)
        return fail(why, ERR_STATE,
                    "%.*s is the primary: move that role first with `trilith database switchover "
                    "OTHER`",
                    FMT(session->self->name));
    if (rebuild->donor == NULL)
        return fail(why, ERR_NOT_FOUND,
                    "no other database of the site is well enough to be copied; `trilith status` "
                    "there says why");
    return OK;
}

/* ---- the stream ---- */

/* A MariaDB that meets a full disk waits a minute for somebody to make room; its clients do, too.
 */
static bool is_full(struct rebuild *rebuild)
{
    if (rebuild->bytes < rebuild->looked_at + ROOM_LOOK)
        return false;
    rebuild->looked_at = rebuild->bytes;
    int64_t free_mib = database_folder_free(rebuild->session->place.folder);
    return free_mib >= 0 && free_mib < ROOM_MIB;
}

static enum err unpack(void *owner, struct text data)
{
    struct rebuild *rebuild = owner;
    rebuild->bytes += (int64_t)data.len;
    rebuild->is_full = is_full(rebuild);
    if (rebuild->is_full)
        return ERR_LIMIT;
    return sys_write_all(rebuild->pipe, data);
}

static enum err receive(struct rebuild *rebuild, struct why *why)
{
    char program[PATH_MAX];
    int pair[2];
    struct session *session = rebuild->session;
    struct buffer answer = buffer_of(4096);
    enum err err = child_find("mbstream", program, why);
    if (err != OK)
        return err;
    const char *arguments[] = { program, "-x", "-C", session->place.incoming, NULL };
    if (pipe2(pair, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    err = child_start(&rebuild->unpacker, program, arguments, session->place.folder, pair[0], -1,
                      -1, why);
    fd_close(&pair[0]);
    rebuild->pipe = pair[1];
    if (err == OK) {
        struct why reason = { "" };
        err = session_ask(session, rebuild->donor, "backup", STREAM_MS, unpack, rebuild, &answer,
                          &reason);
        fd_close(&rebuild->pipe);
        enum err end = child_finish(&rebuild->unpacker, why);
        if (err != OK && (end == OK || err != ERR_SYSTEM)) /* a full disk is told by the unpacker */
            fail(why, err, "%s", reason.text);
        if (rebuild->is_full)
            fail(why, err,
                 "the disk is nearly full after %lld MiB of the copy, and %d MiB are kept for the "
                 "database that runs: make room on %.*s and run it again",
                 (long long)(rebuild->bytes / MEBIBYTE), ROOM_MIB, FMT(session->self->name));
        err = err != OK ? err : end;
    }
    fd_close(&rebuild->pipe);
    buffer_done(&answer);
    return err;
}

/* ---- the data ---- */

/* "binlog.000001<TAB>1234<TAB>0-1-77" */
static enum err read_position(struct rebuild *rebuild, struct why *why)
{
    static const char *const names[] = { "xtrabackup_binlog_info", "mariadb_backup_binlog_info" };
    struct session *session = rebuild->session;
    struct text file = { NULL, 0 };
    for (size_t i = 0; i < COUNT(names) && file.data == NULL; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", session->place.incoming, names[i]);
        if (sys_read_file(path, POSITION_LIMIT, &file, NULL) != OK)
            file.data = NULL;
    }
    if (file.data == NULL)
        return fail(why, ERR_PROTOCOL, "the backup does not say its position");
    struct text line = file, all = file;
    line = text_next(&all, '\n');
    text_next(&line, '\t');
    text_next(&line, '\t');
    rebuild->position = arena_copy(session->arena, text_trim(line));
    memory_free((void *)file.data);
    return OK;
}

static bool take_number(struct text *rest, char separator, uint64_t most, uint64_t *out)
{
    return text_to_uint(text_next(rest, separator), most, out);
}

/* Where replication goes on, and that this server's binary log begins here. */
static enum err write_position_sql(struct rebuild *rebuild, struct buffer *sql)
{
    struct text rest = rebuild->position;
    buffer_append(sql, T("DELETE FROM trilith.origin;\nDELETE FROM mysql.gtid_slave_pos;\n"));
    for (unsigned sub = 1; rest.len > 0; sub++) {
        struct text item = text_next(&rest, ',');
        uint64_t domain, server, sequence;
        if (!take_number(&item, '-', UINT32_MAX, &domain) ||
            !take_number(&item, '-', UINT32_MAX, &server) ||
            !take_number(&item, '-', UINT64_MAX, &sequence))
            return ERR_PROTOCOL;
        buffer_print(sql,
                     "INSERT INTO mysql.gtid_slave_pos (domain_id, sub_id, server_id, seq_no) "
                     "VALUES (%llu, %u, %llu, %llu);\n",
                     (unsigned long long)domain, sub, (unsigned long long)server,
                     (unsigned long long)sequence);
    }
    return sql->failed ? ERR_LIMIT : OK;
}

/* By a MariaDB without network, which also proves that the data can be opened. */
static enum err write_position(struct rebuild *rebuild, struct why *why)
{
    char program[PATH_MAX];
    struct child child;
    struct session *session = rebuild->session;
    struct buffer sql = buffer_of(POSITION_LIMIT * 4);
    AUTO(fd_close) int input = memfd_create("sql", MFD_CLOEXEC);
    enum err err = child_find("mariadbd", program, why);
    if (err == OK && write_position_sql(rebuild, &sql) != OK)
        err = fail(why, ERR_PROTOCOL, "the backup says a position that is none: '%.*s'",
                   FMT(rebuild->position));
    if (err == OK &&
        (sys_write_all(input, buffer_text(&sql)) != OK || lseek(input, 0, SEEK_SET) != 0))
        err = fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    buffer_done(&sql);
    if (err != OK)
        return err;
    struct text data = arena_print(session->arena, "--datadir=%s", session->place.incoming);
    struct text log_size =
        arena_print(session->arena, "--innodb-log-file-size=%lld",
                    (long long)database_log_bytes(session->site->database.memory));
    struct text temporary = arena_print(session->arena, "--tmpdir=%s", session->place.temporary);
    const char *arguments[] = { program,       "--no-defaults",      "--bootstrap",
                                data.data,     "--skip-networking",  "--skip-log-bin",
                                log_size.data, "--skip-slave-start", temporary.data,
                                NULL };
    err = child_start(&child, program, arguments, session->place.folder, input, -1, -1, why);
    return err == OK ? child_finish(&child, why) : err;
}

static enum err prepare(struct rebuild *rebuild, struct why *why)
{
    char program[PATH_MAX];
    struct session *session = rebuild->session;
    struct buffer output = buffer_of(65536);
    enum err err = child_find("mariadb-backup", program, why);
    if (err != OK)
        return err;
    struct text target = arena_print(session->arena, "--target-dir=%s", session->place.incoming);
    const char *arguments[] = { program,     "--no-defaults",     "--prepare",
                                target.data, "--use-memory=100M", NULL };
    err = child_run(program, arguments, session->place.folder, &output, why);
    if (err != OK)
        (void)!sys_write(2, output.data, output.len);
    buffer_done(&output);
    return err;
}

static enum err sync_and_name(const struct database_place *place, struct why *why)
{
    AUTO(fd_close) int data = open(place->incoming, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(fd_close) int folder = open(place->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data < 0 || folder < 0 || syncfs(data) != 0 ||
        rename(place->incoming, place->rebuilt) != 0 || fsync(folder) != 0)
        return fail(why, ERR_SYSTEM, "cannot keep the new data: %s", strerror(errno));
    return OK;
}

/* ---- the change ---- */

static bool is_running(struct rebuild *rebuild)
{
    AUTO(client_drop) struct client *client = NULL;
    struct session *session = rebuild->session;
    struct client_rows rows;
    if (access(session->place.rebuilt, F_OK) == 0 ||
        session_client(session, session->self, ACCOUNT_AGENT, CLIENT_S, &client, NULL) != OK ||
        client_query(client, "SHOW SLAVE STATUS", session->arena, &rows, NULL) != OK)
        return false;
    return text_equal(client_value(&rows, 0, "Slave_IO_Running"), T("Yes")) &&
           text_equal(client_value(&rows, 0, "Slave_SQL_Running"), T("Yes"));
}

static enum err put_in_place(struct rebuild *rebuild, struct why *why)
{
    const struct database_place *place = &rebuild->session->place;
    pid_t server = database_folder_server(place);
    if (server > 0 && kill(server, SIGTERM) != 0)
        return fail(why, ERR_SYSTEM, "cannot end the running mariadbd (process %d): %s",
                    (int)server, strerror(errno));
    session_note(rebuild->session, "mariadbd starts with the new data");
    int64_t end_ms = clock_now_ms() + RUNNING_MS;
    while (!is_running(rebuild)) {
        if (clock_now_ms() > end_ms)
            return fail(why, ERR_TIMEOUT,
                        "the new data is in place, but its replication does not run after %d s: "
                        "`trilith status` says why; what was there before is in '%s'",
                        RUNNING_MS / 1000, place->old);
        clock_sleep_ms(POLL_MS);
    }
    return database_folder_remove(place->old, why);
}

static enum err fill(struct rebuild *rebuild, struct why *why)
{
    struct session *session = rebuild->session;
    const char *incoming = session->place.incoming;
    session_note(session, "copying from %.*s", FMT(rebuild->donor->name));
    enum err err = database_folder_remove(incoming, why);
    if (err == OK)
        err = sys_make_folder(incoming, 0700, (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        err = receive(rebuild, why);
    if (err == OK)
        session_note(session, "%lld MiB received, preparing",
                     (long long)(rebuild->bytes / MEBIBYTE));
    if (err == OK)
        err = read_position(rebuild, why);
    if (err == OK)
        err = prepare(rebuild, why);
    if (err == OK)
        err = write_position(rebuild, why);
    if (err == OK)
        err = sync_and_name(&session->place, why);
    if (err != OK)
        (void)!database_folder_remove(incoming, NULL);
    return err == OK ? OK : fail_in(why, err, "the data here is as it was");
}

enum err keeper_rebuild(struct session *session, struct buffer *answer, struct why *why)
{
    struct rebuild rebuild = { .session = session, .pipe = -1 };
    AUTO(fd_close) int lock = open(session->place.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0)
        return fail(why, ERR_BUSY, "a rebuild of %.*s is under way", FMT(session->self->name));
    umask(077);
    enum err err = choose_donor(&rebuild, why);
    if (err == OK)
        err = fill(&rebuild, why);
    if (err == OK)
        err = put_in_place(&rebuild, why);
    if (err == OK)
        buffer_print(answer, "%.*s has the data of %.*s (%lld MiB) and follows %.*s from %.*s on",
                     FMT(session->self->name), FMT(rebuild.donor->name),
                     (long long)(rebuild.bytes / MEBIBYTE), FMT(rebuild.primary->name),
                     FMT(rebuild.position));
    return err;
}
