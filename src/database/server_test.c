/*
 * A real mariadbd, made and started by the same code as in production, in a temporary folder with
 * an awkward name: login, privileges, a left-over server, a lost password, kill -9.
 */
#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "database/child.h"
#include "database/folder.h"

#include <ftw.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, START_MS = 30000 };

struct place_of_test {
    char root[64];
    char state[96];
    char client_options[128];
    struct arena *arena;
    struct database_place place;
};

static const struct site_database settings = { .name = T("guest_book"),
                                               .memory = 16 << 20,
                                               .connections = 20 };

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *at)
{
    return remove(path);
}

static void silent(void *owner, const char *text)
{
}

static void be_ordinary(void)
{
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
                           setresuid(NOBODY, NOBODY, NOBODY) != 0))
        _exit(1);
}

/* What the role's process does. */
static pid_t start_server(struct place_of_test *t, const char *password)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    be_ordinary();
    static struct database_start start;
    static const struct database_passwords passwords = { { [ACCOUNT_FIGURES] = "figures" } };
    start = (struct database_start){ .place = &t->place,
                                     .database = &settings,
                                     .passwords = &passwords,
                                     .password = text_of(password),
                                     .note = silent };
    struct why why = { "" };
    char options[256], log[128];
    snprintf(log, sizeof(log), "%s/log", t->place.folder);
    if (freopen(log, "a", stderr) == NULL)
        _exit(1);
    if (database_folder_make(&start, &why) != OK) {
        fprintf(stderr, "%s\n", why.text);
        _exit(1);
    }
    snprintf(options, sizeof(options), "--defaults-file=%s", t->place.options);
    char *arguments[] = { start.program, options, NULL };
    execve(start.program, arguments, child_environment);
    _exit(1);
}

/* One statement as the application's user; the answer without its last newline. */
static bool ask(struct place_of_test *t, const char *password, const char *sql, char *answer,
                size_t size)
{
    struct buffer options = buffer_of(4096), output = buffer_of(65536);
    char client[PATH_MAX], file[160];
    struct why why = { "" };
    buffer_print(&options, "[client]\nuser=guest_book\npassword=%s\nsocket=\"%s\"\n", password,
                 t->place.socket);
    bool ok = sys_replace_file(t->client_options, buffer_text(&options), 0600, (uid_t)-1, (gid_t)-1,
                               &why) == OK &&
              child_find("mariadb", client, &why) == OK;
    snprintf(file, sizeof(file), "--defaults-file=%s", t->client_options);
    const char *arguments[] = { client, file, "-BN", "guest_book", "-e", sql, NULL };
    ok = ok && child_run(client, arguments, "/", &output, &why) == OK;
    text_copy_to(text_trim(text_part(buffer_text(&output), 0, output.len > 0 ? output.len - 1 : 0)),
                 answer, size);
    buffer_done(&options);
    buffer_done(&output);
    return ok;
}

static bool answers(struct place_of_test *t, const char *password, pid_t server)
{
    char answer[512];
    int64_t end_ms = clock_now_ms() + START_MS;
    while (clock_now_ms() < end_ms) {
        if (ask(t, password, "SELECT 1", answer, sizeof(answer)))
            return true;
        if (waitpid(server, NULL, WNOHANG) == server)
            return false;
        clock_sleep_ms(30);
    }
    return false;
}

static void end_server(pid_t server, int signal_number)
{
    kill(server, signal_number);
    waitpid(server, NULL, 0);
}

static bool make_place(struct place_of_test *t)
{
    struct why why = { "" };
    char path[160];
    uid_t uid = geteuid() == 0 ? NOBODY : geteuid();
    gid_t gid = geteuid() == 0 ? NOBODY : getegid();
    memcpy(t->root, "/tmp/trilith-database-XXXXXX", 29);
    if (mkdtemp(t->root) == NULL || chmod(t->root, 0755) != 0)
        return false;
    snprintf(t->state, sizeof(t->state), "%s/a b#c", t->root);
    snprintf(t->client_options, sizeof(t->client_options), "%s/client.cnf", t->root);
    t->arena = arena_new(65536, 0);
    bool ok = database_place_find(t->arena, text_of(t->state), &t->place, &why) == OK &&
              sys_make_folder(t->place.folder, 0700, uid, gid, &why) == OK;
    snprintf(path, sizeof(path), "%s/run/database", t->state);
    return ok && sys_make_folder(path, 0711, uid, gid, &why) == OK;
}

static void check_privileges(struct place_of_test *t)
{
    static const struct {
        const char *sql;
        bool is_allowed;
    } cases[] = {
        { "CREATE TABLE a (id INT PRIMARY KEY) ENGINE=InnoDB", true },
        { "INSERT INTO a VALUES (7)", true },
        { "ALTER TABLE a ADD COLUMN b TEXT", true },
        { "CREATE VIEW v AS SELECT id FROM a", true },
        { "CREATE DATABASE other", false },
        { "CREATE DATABASE guestxbook", false },
        { "SELECT * FROM mysql.global_priv", false },
        { "SELECT 1 INTO OUTFILE 'x'", false },
        { "SELECT SUPER FROM information_schema.x", false },
        { "SHUTDOWN", false },
        { "SET GLOBAL max_connections = 1", false },
        { "CREATE USER me@localhost", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char answer[512];
        bool ok = ask(t, "one", cases[i].sql, answer, sizeof(answer));
        CHECK(ok == cases[i].is_allowed, "%s: %s", cases[i].sql, answer);
    }
}

static void check_life(struct place_of_test *t)
{
    char path[160], answer[512];
    struct stat about;
    struct why why = { "" };
    snprintf(path, sizeof(path), "%s/half", t->place.fresh); /* a crash in the first start */
    REQUIRE(sys_make_folder(path, 0700, geteuid() == 0 ? NOBODY : (uid_t)-1, (gid_t)-1, &why) == OK,
            "%s", why.text);
    if (geteuid() == 0)
        REQUIRE(chown(t->place.fresh, NOBODY, NOBODY) == 0, "chown");
    pid_t first = start_server(t, "one");
    REQUIRE(answers(t, "one", first), "the first start, see %s/log", t->place.folder);
    CHECK(stat(t->place.data, &about) == 0 && (about.st_mode & 0777) == 0700, "data is private");
    CHECK(stat(t->place.init, &about) == 0 && (about.st_mode & 0777) == 0600, "init is private");
    CHECK(access(t->place.fresh, F_OK) != 0, "the half-made directory is gone");
    check_privileges(t);

    pid_t second = start_server(t, "two"); /* the first is left over, the password was lost */
    int status = -1;
    waitpid(first, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the left-over server ended cleanly");
    REQUIRE(answers(t, "two", second), "the start beside a left-over server");
    CHECK(!ask(t, "one", "SELECT 1", answer, sizeof(answer)), "the old password is refused");
    CHECK(ask(t, "two", "SELECT id FROM a", answer, sizeof(answer)) && strcmp(answer, "7") == 0,
          "the data is there: %s", answer);

    CHECK(ask(t, "two", "INSERT INTO a (id) VALUES (8)", answer, sizeof(answer)), "%s", answer);
    end_server(second, SIGKILL);
    pid_t third = start_server(t, "two");
    CHECK(answers(t, "two", third), "the start after kill -9");
    CHECK(ask(t, "two", "SELECT SUM(id) FROM a", answer, sizeof(answer)) &&
              strcmp(answer, "15") == 0,
          "committed rows survive kill -9: %s", answer);
    end_server(third, SIGTERM);
}

TEST(database_server_lives_through_crashes)
{
    char program[PATH_MAX];
    if (child_find("mariadbd", program, NULL) != OK || child_find("mariadb", program, NULL) != OK) {
        printf("skipped: mariadb-server-core and mariadb-client-core are not installed\n");
        return;
    }
    struct place_of_test t = { { 0 } };
    if (CHECK(make_place(&t), "a temporary folder"))
        check_life(&t);
    arena_free(t.arena);
    nftw(t.root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What folder_make says; run as an ordinary user. */
static void refusal(struct place_of_test *t, const char *expected)
{
    int pair[2];
    REQUIRE(pipe(pair) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        be_ordinary();
        struct why why = { "" };
        static const struct database_passwords passwords = { { [ACCOUNT_FIGURES] = "figures" } };
        struct database_start start = { .place = &t->place,
                                        .database = &settings,
                                        .passwords = &passwords,
                                        .password = T("x"),
                                        .note = silent };
        enum err err = database_folder_make(&start, &why);
        (void)!sys_write(pair[1], why.text, strlen(why.text));
        _exit(err == OK ? 0 : 1);
    }
    fd_close(&pair[1]);
    char text[1024];
    ssize_t got = sys_read(pair[0], text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    fd_close(&pair[0]);
    waitpid(child, NULL, 0);
    CHECK(strstr(text, expected) != NULL, "'%s' says '%s'", text, expected);
}

TEST(database_folder_says_what_is_wrong)
{
    char program[PATH_MAX];
    struct place_of_test t = { { 0 } };
    if (child_find("mariadbd", program, NULL) != OK || !CHECK(make_place(&t), "a folder"))
        return;
    struct why why;
    char path[160];
    uid_t uid = geteuid() == 0 ? NOBODY : geteuid();
    REQUIRE(sys_make_folder(t.place.data, 0700, uid, (gid_t)-1, &why) == OK, "%s", why.text);
    snprintf(path, sizeof(path), "%s/stray", t.place.data);
    REQUIRE(sys_replace_file(path, T("x"), 0600, uid, (gid_t)-1, &why) == OK, "%s", why.text);
    refusal(&t, "is not a data directory of MariaDB");
    snprintf(path, sizeof(path), "%s/ibdata1", t.place.data);
    REQUIRE(sys_replace_file(path, T("x"), 0600, uid, (gid_t)-1, &why) == OK, "%s", why.text);
    snprintf(path, sizeof(path), "%s/mysql_upgrade_info", t.place.data);
    REQUIRE(sys_replace_file(path, T("99.9.1-MariaDB"), 0600, uid, (gid_t)-1, &why) == OK, "%s",
            why.text);
    refusal(&t, "was written by MariaDB 99.9");
    if (geteuid() == 0) {
        REQUIRE(chown(t.place.data, 0, 0) == 0, "chown");
        refusal(&t, "belongs to uid 0");
    }
    arena_free(t.arena);
    nftw(t.root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
