/*
 * `trilith sql`: the proxy alone, in the foreground, before database servers that were set up by
 * somebody else.
 */
#include "database/sql.h"
#include "database/sql_explain.h"
#include "database/sql_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char sql_usage[] =
    "Usage: trilith sql --listen ADDR [--listen ADDR ...] --primary ADDR [--replica ADDR ...]\n"
    "       trilith sql explain [--sql-mode MODES] STATEMENT ...\n"
    "\n"
    "Pass SQL on to MariaDB servers: writes to the primary, reads to replicas\n"
    "\n"
    "ADDR is 127.0.0.1:3306 or unix:/path. The user that may be split between servers\n"
    "is named by the environment: SQL_USER and SQL_PASSWORD. Everybody else is checked\n"
    "by the primary and stays on it.\n"
    "\n"
    "Options:\n"
    "  --listen ADDR   Where clients connect; up to four times.\n"
    "  --primary ADDR  The server that takes writes.\n"
    "  --replica ADDR  One that takes reads; up to fifteen times.\n"
    "  --hold SECONDS  How long a command waits for a primary (default 10).\n"
    "  -h, --help      Show this help.\n"
    "\n"
    "Example:\n"
    "  SQL_USER=shop SQL_PASSWORD=... trilith sql --listen unix:/run/sql.sock \\\n"
    "      --primary 192.0.2.1:3306 --replica 192.0.2.2:3306\n";

enum cli_end { ENDED, FAILED, USAGE };

struct socket_file { /* one that we made, and no other of that name later */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    dev_t device;
    ino_t inode;
};

struct tool {
    struct loop *loop;
    struct socket_file files[SQL_LISTENERS];
    size_t file_count;
    struct sql_proxy *proxy;
    struct loop_watch signals;
    int signal_fd;
    struct metrics metrics;
};

static void complain(const char *what, const char *value)
{
    fprintf(stderr, "trilith sql: %s '%s' (`trilith help sql` shows the options)\n", what, value);
}

static bool is_answered(const struct address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_there = fd >= 0 && (connect(fd, &address->u.any, address->len) == 0 ||
                                errno == EAGAIN || errno == EACCES);
    fd_close(&fd);
    return is_there;
}

/* Whether somebody accepts there; else a socket file is what a killed predecessor left. The kernel
 * may hold the socket of a killed one for a moment longer: it takes io_uring's work down behind
 * the end of the process. */
static bool is_in_use(const struct address *address)
{
    static const struct timespec moment = { .tv_nsec = 50 * 1000 * 1000 };
    for (int tries = 20; tries > 0; tries--) {
        if (!is_answered(address))
            return false;
        nanosleep(&moment, NULL);
    }
    return true;
}

/* False: the path is another program's, or no socket at all. */
static bool clear_path(const struct address *address)
{
    struct stat state;
    const char *path = address->u.local.sun_path;
    if (lstat(path, &state) != 0)
        return true;
    if (!S_ISSOCK(state.st_mode) || is_in_use(address)) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(path) == 0;
}

static void note_file(struct tool *tool, const struct address *address)
{
    struct stat state;
    struct socket_file *file = &tool->files[tool->file_count];
    if (lstat(address->u.local.sun_path, &state) != 0)
        return;
    text_copy_to(text_of(address->u.local.sun_path), file->path, sizeof(file->path));
    file->device = state.st_dev;
    file->inode = state.st_ino;
    tool->file_count++;
}

static void remove_files(struct tool *tool)
{
    struct stat state;
    for (size_t i = 0; i < tool->file_count; i++) {
        const struct socket_file *file = &tool->files[i];
        if (lstat(file->path, &state) == 0 && state.st_dev == file->device &&
            state.st_ino == file->inode)
            unlink(file->path);
    }
}

static int open_listener(const struct address *address)
{
    static const int on = 1;
    int family = address_family(address);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    bool is_free = family != AF_UNIX || clear_path(address);
    if (family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!is_free || bind(fd, &address->u.any, address->len) != 0 || listen(fd, SOMAXCONN) != 0) {
        int error = errno;
        fd_close(&fd);
        errno = error;
    }
    return fd;
}

static bool add_listener(struct tool *tool, const char *given)
{
    struct address address;
    if (address_parse(text_of(given), &address) != OK) {
        complain("--listen: no address", given);
        return false;
    }
    if (tool->proxy->listener_count == SQL_LISTENERS) {
        complain("too many listeners:", given);
        return false;
    }
    int fd = open_listener(&address);
    if (fd >= 0 && address_family(&address) == AF_UNIX)
        note_file(tool, &address);
    bool is_there = fd >= 0 && sql_proxy_listen(tool->proxy, fd);
    if (!is_there)
        complain(strerror(errno), given);
    fd_close(&fd);
    return is_there;
}

static bool add_server(struct tool *tool, const char *given, bool is_primary)
{
    struct address address;
    bool is_address = address_parse(text_of(given), &address) == OK;
    if (is_address && (address_port(&address) != 0 || address_family(&address) == AF_UNIX))
        return sql_proxy_add(tool->proxy, text_of(given), &address, is_primary) != NULL;
    complain("no address of a server", given);
    return false;
}

static bool read_words(struct tool *tool, int count, char **words)
{
    static const struct option options[] = { { "listen", required_argument, NULL, 'l' },
                                             { "primary", required_argument, NULL, 'p' },
                                             { "replica", required_argument, NULL, 'r' },
                                             { "hold", required_argument, NULL, 'h' },
                                             { 0 } };
    int letter;
    uint64_t seconds;
    bool is_good = true;
    opterr = 0;
    optind = 0;
    while (is_good && (letter = getopt_long(count, words, "", options, NULL)) != -1) {
        if (letter == 'l')
            is_good = add_listener(tool, optarg);
        else if (letter == 'p' || letter == 'r')
            is_good = add_server(tool, optarg, letter == 'p');
        else if (letter == 'h' && text_to_uint(text_of(optarg), 3600, &seconds))
            tool->proxy->settings.hold_ms = (int64_t)seconds * 1000;
        else {
            is_good = false;
            complain("unknown option", words[optind - 1]);
        }
    }
    if (is_good && (tool->proxy->server_count == 0 || tool->proxy->listener_count == 0)) {
        fputs(sql_usage, stderr);
        return false;
    }
    return is_good;
}

/* getopt wants a name of the program in front. */
static bool read_options(struct tool *tool, int count, char **words)
{
    static char name[] = "sql";
    char **all = memory_new_array((size_t)count + 2, sizeof(char *));
    all[0] = name;
    memcpy(all + 1, words, (size_t)count * sizeof(char *));
    bool is_good = read_words(tool, count + 1, all);
    memory_free(all);
    return is_good;
}

static void signalled(struct loop_watch *watch, unsigned events)
{
    loop_stop(list_entry(watch, struct tool, signals)->loop);
}

static bool watch_signals(struct tool *tool)
{
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    tool->signal_fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
    return tool->signal_fd >= 0 && loop_watch_start(tool->loop, &tool->signals, tool->signal_fd,
                                                    LOOP_READ, signalled) == OK;
}

static bool read_account(struct sql_settings *settings)
{
    const char *user = getenv("SQL_USER"), *password = getenv("SQL_PASSWORD");
    if (user == NULL ||
        (text_copy_to(text_of(user), settings->user, sizeof(settings->user)) &&
         text_copy_to(text_of(password), settings->password, sizeof(settings->password))))
        return true;
    complain("SQL_USER or SQL_PASSWORD is too long for", user);
    return false;
}

static enum cli_end run(struct tool *tool, int count, char **words)
{
    struct why why = { "" };
    struct sql_settings settings = {
        .lag_ms = 5000, .hold_ms = 10000, .connect_ms = 3000, .sessions = 10000
    };
    if (!read_account(&settings))
        return USAGE;
    if (loop_new(LOOP_AUTO, &tool->loop, &why) != OK) {
        complain("cannot start:", why.text);
        return FAILED;
    }
    log_start(2, "sql", LOG_INFO);
    tool->proxy = sql_proxy_new(tool->loop, &tool->metrics, &settings);
    if (!watch_signals(tool)) /* before anything listens, so that files are always removed */
        return FAILED;
    if (!read_options(tool, count, words))
        return USAGE;
    puts("ready");
    fflush(stdout);
    loop_run(tool->loop);
    return ENDED;
}

int sql_command_line(int count, char **words)
{
    if (count > 0 && strcmp(words[0], "explain") == 0)
        return sql_explain(count - 1, words + 1);
    struct tool *tool = NEW(struct tool);
    tool->signal_fd = -1;
    enum cli_end end = run(tool, count, words);
    remove_files(tool);
    if (tool->proxy != NULL)
        sql_proxy_free(tool->proxy);
    if (tool->signal_fd >= 0)
        loop_watch_stop(&tool->signals);
    fd_close(&tool->signal_fd);
    if (tool->loop != NULL) {
        loop_turn(tool->loop, 0); /* listeners and watches are let go */
        loop_free(tool->loop);
    }
    memory_free(tool);
    return (int)end;
}
