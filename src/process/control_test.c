/* Control lines, and clients that misbehave. */
#include "core/test.h"
#include "process/toy_test.h"

#include "core/clock.h"
#include "core/sys.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

TEST(control_parse_knows_backends)
{
    static const struct {
        const char *line;
        enum err want;
        enum backend_verb verb;
        const char *name;
        int64_t weight;
    } cases[] = {
        { "backend list", OK, BACKEND_LIST, "", -1 },
        { "backend list web/web-01", ERR_SYNTAX, 0, "", 0 },
        { "backend", ERR_SYNTAX, 0, "", 0 },
        { "backend weight web/web-01 3", OK, BACKEND_WEIGHT, "web/web-01", 3 },
        { "backend weight web/web-01 0", OK, BACKEND_WEIGHT, "web/web-01", 0 },
        { "backend weight web/web-01 257", ERR_SYNTAX, 0, "", 0 },
        { "backend weight web/web-01 -1", ERR_SYNTAX, 0, "", 0 },
        { "backend weight web/web-01", ERR_SYNTAX, 0, "", 0 },
        { "backend drain web-01", OK, BACKEND_DRAIN, "web-01", -1 },
        { "backend drain web-01 1", ERR_SYNTAX, 0, "", 0 },
        { "backend undrain web-01", OK, BACKEND_UNDRAIN, "web-01", -1 },
        { "backend add upstream/api/192.0.2.9:80", OK, BACKEND_ADD, "upstream/api/192.0.2.9:80",
          -1 },
        { "backend add upstream/api/x:80 7", OK, BACKEND_ADD, "upstream/api/x:80", 7 },
        { "backend remove web-01", OK, BACKEND_REMOVE, "web-01", -1 },
        { "backend reset web-01", OK, BACKEND_RESET, "web-01", -1 },
        { "backend kill web-01", ERR_SYNTAX, 0, "", 0 },
        { "backend drain web\x1b[1m", ERR_SYNTAX, 0, "", 0 },
        { "backend drain", ERR_SYNTAX, 0, "", 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct control_request request = { 0 };
        struct text line = text_of(cases[i].line);
        CHECK(control_parse(line, &request) == cases[i].want, "'%s'", cases[i].line);
        if (cases[i].want != OK)
            continue;
        CHECK(request.command == CONTROL_BACKEND && request.verb == cases[i].verb, "'%s'",
              cases[i].line);
        CHECK(text_equal(request.name, text_of(cases[i].name)), "'%s'", cases[i].line);
        CHECK(request.weight == cases[i].weight, "'%s'", cases[i].line);
        for (size_t cut = 0; cut < line.len; cut++)
            CHECK(control_parse(text_part(line, 0, cut), &request) != ERR_LIMIT, "cut at %zu", cut);
    }
}

TEST(control_parse_knows_its_commands)
{
    static const struct {
        const char *line;
        enum err want;
        enum control_command command;
        uint64_t lines;
    } cases[] = {
        { "status", OK, CONTROL_STATUS, 100 },
        { "  reload  ", OK, CONTROL_RELOAD, 100 },
        { "stop", OK, CONTROL_STOP, 100 },
        { "top", OK, CONTROL_TOP, 100 },
        { "version", OK, CONTROL_VERSION, 100 },
        { "logs", OK, CONTROL_LOGS, 100 },
        { "logs 7", OK, CONTROL_LOGS, 7 },
        { "logs 10000", OK, CONTROL_LOGS, 10000 },
        { "logs 10001", ERR_SYNTAX, 0, 0 },
        { "logs -1", ERR_SYNTAX, 0, 0 },
        { "logs 1 2", ERR_SYNTAX, 0, 0 },
        { "status now", ERR_SYNTAX, 0, 0 },
        { "", ERR_UNKNOWN, 0, 0 },
        { "Status", ERR_UNKNOWN, 0, 0 },
        { "statusx", ERR_UNKNOWN, 0, 0 },
        { "GET / HTTP/1.1", ERR_UNKNOWN, 0, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct control_request request = { 0 };
        struct text line = text_of(cases[i].line);
        CHECK(control_parse(line, &request) == cases[i].want, "'%s'", cases[i].line);
        if (cases[i].want == OK)
            CHECK(request.command == cases[i].command && request.lines == cases[i].lines, "'%s'",
                  cases[i].line);
    }
    static char longest[CONTROL_LINE_LIMIT + 1];
    struct control_request request;
    memset(longest, 'x', sizeof(longest));
    CHECK(control_parse(text_from(longest, sizeof(longest)), &request) == ERR_LIMIT, "too long");
    for (size_t cut = 0; cut < 6; cut++)
        CHECK(control_parse(text_from("status", cut), &request) == ERR_UNKNOWN, "cut at %zu", cut);
}

static int connect_raw(const struct toy *toy)
{
    char path[256];
    struct address address;
    snprintf(path, sizeof(path), "%s/toy.test/run/control.sock", toy->state);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (address_from_path(text_of(path), &address) != OK ||
        connect(fd, &address.u.any, address.len) != 0)
        fd_close(&fd);
    return fd;
}

TEST(control_clients_never_block_the_parent)
{
    struct toy toy;
    int silent[40];
    char answer[256] = "";
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        for (size_t i = 0; i < 20; i++) {
            silent[i] = connect_raw(&toy);
            CHECK(silent[i] >= 0 && sys_write(silent[i], "sta", 3) == 3, "half a command");
        }
        CHECK(toy_is(&toy, "", "state", "serving"), "answers all the same");
        static char flood[100000];
        memset(flood, 'x', sizeof(flood));
        signal(SIGPIPE, SIG_IGN);
        AUTO(fd_close) int noisy = connect_raw(&toy);
        ssize_t ignored = sys_write(noisy, flood, sizeof(flood));
        (void)ignored;
        ssize_t len = sys_read(noisy, answer, sizeof(answer) - 1);
        CHECK(len < 0 || strstr(answer, "unknown command") != NULL, "%s", answer);
        for (size_t i = 0; i < 20; i++)
            fd_close(&silent[i]);
        json_t *json = toy_ask(&toy, "logs 5");
        CHECK(json_array_size(json_object_get(json, "lines")) == 5, "five lines");
        json_decref(json);
        json = toy_ask(&toy, "version");
        CHECK(json_is_string(json_object_get(json, "version")), "version");
        json_decref(json);
        json = toy_ask(&toy, "stop");
        CHECK(json_is_true(json_object_get(json, "ok")), "answered when stopped");
        json_decref(json);
        CHECK(toy_wait(&toy) == 0, "stopped");
    }
    toy_close(&toy);
}

TEST(control_ask_says_when_nothing_runs)
{
    struct buffer answer = buffer_of(100);
    struct why why;
    CHECK(control_ask("/nowhere", T("x.test"), T("status"), 1000, &answer, &why) == ERR_NOT_FOUND,
          "nothing there");
    CHECK(strstr(why.text, "does not run") != NULL, "%s", why.text);
    buffer_done(&answer);
}
