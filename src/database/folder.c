/*
 * Everything in STATE/database that must be right before mariadbd is started:
 *
 *   data.new ──installed──► data   (renamed when complete, so a crash in between starts over)
 *
 * InnoDB and Aria lock their files while a server runs; asking for the lock's holder finds a server
 * that outlived its parent.
 */
#include "database/folder.h"

#include "core/clock.h"
#include "core/sys.h"
#include "core/memory.h"
#include "database/child.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    MEBIBYTE = 1024 * 1024,
    FIRST_START_MEBIBYTES = 200, /* a new data directory takes 115 MiB before the first row */
    LATER_START_MEBIBYTES = 20,  /* InnoDB's temporary file takes 12 MiB at each start */
    OUR_SERVER_WAIT_MS = 60000,
    OTHER_SERVER_WAIT_MS = 10000,
    OUTPUT_LIMIT = 65536,
};

static const char logged_mark[] = "trilith-logged-from-birth";

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *at)
{
    return remove(path);
}

enum err database_folder_remove(const char *path, struct why *why)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return fail(why, ERR_SYSTEM, "cannot remove '%s': %s", path, strerror(errno));
    return OK;
}

/* ---- a server that is still there ---- */

/* Process that holds the lock of a file: 0 nobody, -1 one that cannot be named. */
static pid_t lock_holder(const char *data, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", data, name);
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fd < 0 || fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        return 0;
    return lock.l_pid > 0 ? lock.l_pid : -1;
}

static pid_t data_holder(const char *data)
{
    pid_t holder = lock_holder(data, "ibdata1");
    return holder != 0 ? holder : lock_holder(data, "aria_log_control");
}

/* Was that process started with our option file? Then it is ours, left over by a crash. */
static bool is_our_server(pid_t process, const char *options)
{
    char path[64];
    struct text command;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)process);
    if (process <= 0 || sys_read_file(path, OUTPUT_LIMIT, &command, NULL) != OK)
        return false;
    bool found = text_find_text(command, text_of(options)) >= 0;
    memory_free((void *)(uintptr_t)command.data);
    return found;
}

pid_t database_folder_server(const struct database_place *place)
{
    pid_t holder = data_holder(place->data);
    return is_our_server(holder, place->options) ? holder : 0;
}

static enum err wait_for_other(struct database_start *start, const char *data, struct why *why)
{
    pid_t holder = data_holder(data);
    if (holder == 0)
        return OK;
    bool is_ours = is_our_server(holder, start->place->options);
    if (is_ours)
        kill(holder, SIGTERM);
    start->note(start->owner, is_ours ? "waiting for the mariadbd of the last run to end"
                                      : "waiting for another process to release the data");
    int64_t end_ms = clock_now_ms() + (is_ours ? OUR_SERVER_WAIT_MS : OTHER_SERVER_WAIT_MS);
    while (holder != 0 && clock_now_ms() < end_ms) {
        clock_sleep_ms(20);
        holder = data_holder(data);
    }
    if (holder == 0)
        return OK;
    if (holder < 0)
        return fail(why, ERR_BUSY, "another process uses '%s': end it and start again", data);
    return fail(why, ERR_BUSY, "process %d uses '%s': end it (kill %d) and start again",
                (int)holder, data, (int)holder);
}

/* ---- checks ---- */

static enum err check_owner(const char *path, struct why *why)
{
    struct stat about;
    if (stat(path, &about) != 0)
        return fail(why, ERR_SYSTEM, "cannot look at '%s': %s", path, strerror(errno));
    if (about.st_uid == geteuid() && access(path, R_OK | W_OK) == 0)
        return OK;
    return fail(why, ERR_DENIED,
                "'%s' belongs to uid %u with mode %03o, but the database runs as uid %u; if the "
                "data is this site's, run `chown -R %u '%s'` and `chmod -R u+rwX '%s'`",
                path, about.st_uid, about.st_mode & 0777, geteuid(), geteuid(), path, path);
}

int64_t database_folder_free(const char *folder)
{
    struct statvfs space;
    return statvfs(folder, &space) == 0 ? (int64_t)(space.f_bavail * space.f_frsize / MEBIBYTE)
                                        : -1;
}

static enum err check_space(const char *folder, int64_t mebibytes, struct why *why)
{
    int64_t free_mebibytes = database_folder_free(folder);
    if (free_mebibytes < 0)
        return fail(why, ERR_SYSTEM, "cannot look at '%s': %s", folder, strerror(errno));
    if (free_mebibytes >= mebibytes)
        return OK;
    return fail(why, ERR_LIMIT,
                "the disk is full: '%s' has %lld MiB left, the database needs %lld MiB to start",
                folder, (long long)free_mebibytes, (long long)mebibytes);
}

static int version_in_file(const char *data)
{
    char path[PATH_MAX];
    struct text text;
    snprintf(path, sizeof(path), "%s/mysql_upgrade_info", data);
    if (sys_read_file(path, 4096, &text, NULL) != OK)
        return 0;
    int version = database_version(text);
    memory_free((void *)(uintptr_t)text.data);
    return version;
}

static enum err check_version(const struct database_start *start, struct why *why)
{
    const char *arguments[] = { start->program, "--no-defaults", "--version", NULL };
    struct buffer output = buffer_of(OUTPUT_LIMIT);
    enum err err = child_run(start->program, arguments, start->place->folder, &output, why);
    int ours = database_version(buffer_text(&output));
    int theirs = version_in_file(start->place->data);
    buffer_done(&output);
    if (err != OK || ours == 0 || theirs <= ours)
        return err;
    return fail(why, ERR_UNSUPPORTED,
                "'%s' was written by MariaDB %d.%d and cannot be read by %s, which is %d.%d: "
                "install the newer MariaDB again",
                start->place->data, theirs / 100, theirs % 100, start->program, ours / 100,
                ours % 100);
}

static enum err check_data(struct database_start *start, struct why *why)
{
    const char *data = start->place->data;
    char inside[PATH_MAX];
    enum err err = check_owner(data, why);
    snprintf(inside, sizeof(inside), "%s/ibdata1", data);
    if (err == OK && access(inside, F_OK) != 0)
        return fail(why, ERR_STATE,
                    "'%s' is not a data directory of MariaDB (it has no ibdata1): bring it back "
                    "from a backup, or move it away and a new one is made",
                    data);
    if (err == OK)
        err = check_owner(inside, why);
    if (err == OK)
        err = wait_for_other(start, data, why);
    if (err == OK)
        err = check_space(start->place->folder, LATER_START_MEBIBYTES, why);
    return err == OK ? check_version(start, why) : err;
}

/* ---- the first start ---- */

static enum err install(const struct database_start *start, struct why *why)
{
    char installer[PATH_MAX], redo_log[64], administrator[128];
    /* whoever runs this may administrate over the socket without a password, and only he */
    const struct passwd *user = getpwuid(geteuid());
    snprintf(administrator, sizeof(administrator), "--auth-root-socket-user=%s",
             user != NULL ? user->pw_name : "root");
    snprintf(redo_log, sizeof(redo_log), "--innodb-log-file-size=%lld",
             (long long)database_log_bytes(start->database->memory));
    enum err err = child_find("mariadb-install-db", installer, why);
    if (err != OK)
        return err;
    /* a relative folder: the script splits its arguments at blanks; --force: it would refuse a
     * machine that cannot look up its own name, which we never use */
    const char *arguments[] = { installer,
                                "--no-defaults",
                                "--datadir=./data.new",
                                "--tmpdir=../tmp", /* seen from data.new; in /tmp its files are
                                                    * named after its pid, which two machines of a
                                                    * lab may share */
                                "--auth-root-authentication-method=socket",
                                administrator,
                                "--skip-test-db",
                                "--skip-name-resolve",
                                "--force",
                                redo_log,
                                NULL };
    struct buffer output = buffer_of(OUTPUT_LIMIT);
    err = child_run(installer, arguments, start->place->folder, &output, why);
    if (err != OK) /* the server's words, for the log; why has only the last of them */
        (void)!sys_write(2, output.data, output.len);
    buffer_done(&output);
    return err;
}

/* A file inside the data directory says that the binary log was on from its first moment. */
static enum err mark_logged(const struct database_start *start, struct why *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", start->place->fresh, logged_mark);
    return sys_replace_file(path, T("see trilith.origin\n"), 0600, (uid_t)-1, (gid_t)-1, why);
}

static enum err make_data(struct database_start *start, struct why *why)
{
    const struct database_place *place = start->place;
    enum err err = wait_for_other(start, place->fresh, why);
    if (err == OK)
        err = database_folder_remove(place->fresh, why);
    if (err == OK)
        err = check_space(place->folder, FIRST_START_MEBIBYTES, why);
    if (err == OK) {
        start->note(start->owner, "making a new database (first start)");
        err = install(start, why);
    }
    if (err == OK && start->site != NULL)
        err = mark_logged(start, why);
    if (err != OK)
        return err;
    AUTO(fd_close) int folder = open(place->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rename(place->fresh, place->data) != 0 || folder < 0 || fsync(folder) != 0)
        return fail(why, ERR_SYSTEM, "cannot rename '%s': %s", place->fresh, strerror(errno));
    return OK;
}

/* ---- after a rebuild ---- */

/* Two renames: a crash in between leaves no `data` but `rebuilt`, and the next start goes on. */
static enum err put_in_place(struct database_start *start, struct why *why)
{
    const struct database_place *place = start->place;
    enum err err = OK;
    if (access(place->rebuilt, F_OK) != 0)
        return OK;
    start->note(start->owner, "putting the data of the rebuild in place");
    if (access(place->data, F_OK) == 0) {
        err = wait_for_other(start, place->data, why);
        if (err == OK)
            err = database_folder_remove(place->old, why);
        if (err == OK && rename(place->data, place->old) != 0)
            err = fail(why, ERR_SYSTEM, "cannot rename '%s': %s", place->data, strerror(errno));
    }
    if (err != OK)
        return err;
    AUTO(fd_close) int folder = open(place->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rename(place->rebuilt, place->data) != 0 || folder < 0 || fsync(folder) != 0)
        return fail(why, ERR_SYSTEM, "cannot rename '%s': %s", place->rebuilt, strerror(errno));
    return OK;
}

/* ---- all of it ---- */

static bool is_logged(const struct database_start *start)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", start->place->data, logged_mark);
    return access(path, F_OK) == 0;
}

static enum err write_files(const struct database_start *start, struct why *why)
{
    struct buffer options = buffer_of(OUTPUT_LIMIT), init = buffer_of(OUTPUT_LIMIT);
    database_write_options(&options, start->database, start->listen, start->place,
                           start->site != NULL);
    if (start->site != NULL) {
        database_tier_write_options(&options, start->site, start->server);
        if (start->tls != NULL)
            database_tier_write_tls(&options, start->tls);
        database_tier_write_init(&init, start->site, start->passwords, is_logged(start));
    } else {
        database_write_init(&init, start->database, start->password,
                            text_of(start->passwords->of[ACCOUNT_FIGURES]));
    }
    enum err err = options.failed || init.failed
                       ? fail(why, ERR_LIMIT, "the database's settings are too long")
                       : sys_replace_file(start->place->options, buffer_text(&options), 0600,
                                          (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        err = sys_replace_file(start->place->init, buffer_text(&init), 0600, (uid_t)-1, (gid_t)-1,
                               why);
    buffer_done(&options);
    buffer_done(&init);
    return err;
}

enum err database_folder_make(struct database_start *start, struct why *why)
{
    const struct database_place *place = start->place;
    umask(077);
    enum err err = check_owner(place->folder, why);
    if (err == OK)
        err = child_find("mariadbd", start->program, why);
    if (err == OK)
        err = sys_make_folder(place->temporary, 0700, (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        err = put_in_place(start, why);
    rmdir(place->data); /* an empty one counts as none */
    if (err == OK)
        err = access(place->data, F_OK) == 0 ? check_data(start, why) : make_data(start, why);
    return err == OK ? write_files(start, why) : err;
}
