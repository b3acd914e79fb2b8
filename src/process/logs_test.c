/* Lines of logs: which are wanted, when they were written, and reading them out of files that
 * rotate. */
#include "core/test.h"
#include "process/logs.h"

#include "core/clock.h"
#include "core/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COMBINED(status_)                                                                          \
    "192.0.2.1 - - [21/Nov/2026:10:26:49 +0000] \"GET /\\x22 200 HTTP/1.1\" " status_              \
    " 12 \"-\" \"curl\" host=a id=0af1 by=\"b\" total_us=1"
#define JSON(status_)                                                                              \
    "{\"time\":\"2026-11-21T10:26:49.123Z\",\"id\":\"0af1\",\"target\":\"/\\\"status\\\":200\","   \
    "\"status\":" status_ "}"

TEST(logs_status_is_read)
{
    static const struct {
        const char *text;
        int64_t from, to; /* 0: refused */
    } cases[] = {
        { "404", 404, 404 }, { "5xx", 500, 599 }, { "400-499", 400, 499 }, { "1xx", 100, 199 },
        { "", 0, 0 },        { "xx", 0, 0 },      { "0xx", 0, 0 },         { "99", 0, 0 },
        { "4044", 0, 0 },    { "500-", 0, 0 },    { "500-400", 0, 0 },     { "-500", 0, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct logs_query query = { 0 };
        bool is_read = logs_status_read(text_of(cases[i].text), &query);
        CHECK(is_read == (cases[i].from > 0), "'%s'", cases[i].text);
        CHECK(query.status_from == cases[i].from && query.status_to == cases[i].to, "'%s'",
              cases[i].text);
    }
}

TEST(logs_query_travels)
{
    static const char *const broken[] = { "",           "1",           "x m - - -",
                                          "1 x - - -",  "1 m x - -",   "1 m - 9 -",
                                          "1 m - - ",   "1 m - - a b", "1000001 m - - -",
                                          "1 am - - -", "-1 m - - -",  "1 m - -" };
    struct logs_query query = { .has_main = true,
                                .has_access = true,
                                .follow = true,
                                .lines = 25,
                                .status_from = 500,
                                .status_to = 503,
                                .id = "0af1" };
    struct logs_query read = { 0 };
    struct buffer out = buffer_of(256);
    logs_query_write(&query, &out);
    CHECK(text_equal(buffer_text(&out), T("25 ma f 500-503 0af1")), "%.*s", FMT(buffer_text(&out)));
    REQUIRE(logs_query_read(buffer_text(&out), &read) == OK, "read");
    CHECK(read.has_main && read.has_access && read.follow && read.lines == 25 &&
              read.status_from == 500 && read.status_to == 503 && strcmp(read.id, "0af1") == 0,
          "as it was");
    for (size_t i = 0; i < COUNT(broken); i++)
        CHECK(logs_query_read(text_of(broken[i]), &read) == ERR_SYNTAX, "'%s'", broken[i]);
    for (size_t len = 0; len < out.len; len++) /* cut at each place: refused, or another query */
        if (logs_query_read(text_part(buffer_text(&out), 0, len), &read) == OK)
            CHECK(strlen(read.id) < 4, "cut at %zu", len);
    buffer_done(&out);
}

TEST(logs_lines_are_wanted_or_not)
{
    struct logs_query all = { .has_main = true, .has_access = true };
    struct logs_query errors = { .has_access = true, .status_from = 500, .status_to = 599 };
    struct logs_query one = { .has_main = true, .has_access = true, .id = "0af1" };
    static const struct {
        const char *what, *line;
        bool is_access, all, errors, one;
    } cases[] = {
        { "combined 200", COMBINED("200"), true, true, false, true },
        { "combined 503", COMBINED("503"), true, true, true, true },
        { "JSON 404", JSON("404"), true, true, false, true },
        { "JSON 502", JSON("502"), true, true, true, true },
        { "main", "2026-11-21T10:26:49.123Z info  edge/0 web: x id=0af1", false, true, false,
          true },
        { "main of another", "2026-11-21T10:26:49.123Z info  edge/0 web: 500", false, true, false,
          false },
        { "nothing", "", true, true, false, false },
        { "half", "192.0.2.1 - - [21/Nov/2026:10:26:49 +0000] \"GET", true, true, false, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text line = text_of(cases[i].line);
        CHECK(logs_matches(&all, cases[i].is_access, line) == cases[i].all, "%s", cases[i].what);
        CHECK(logs_matches(&errors, cases[i].is_access, line) == cases[i].errors, "%s: status",
              cases[i].what);
        CHECK(logs_matches(&one, cases[i].is_access, line) == cases[i].one, "%s: id",
              cases[i].what);
    }
}

TEST(logs_times_are_read)
{
    char iso[CLOCK_ISO_SIZE], line[128];
    static const int64_t times_ms[] = { 0, 951782400000, 1795300009123, 4102444799999 };
    for (size_t i = 0; i < COUNT(times_ms); i++) {
        char log[CLOCK_LOG_SIZE];
        clock_format_iso(times_ms[i], iso);
        snprintf(line, sizeof(line), "%s info  x", iso);
        CHECK(logs_time_ms(false, text_of(line)) == times_ms[i], "%s", line);
        snprintf(line, sizeof(line), "{\"time\":\"%s\"", iso);
        CHECK(logs_time_ms(true, text_of(line)) == times_ms[i], "%s", line);
        clock_format_log(times_ms[i] / 1000, log);
        snprintf(line, sizeof(line), "a - - [%s] ", log);
        CHECK(logs_time_ms(true, text_of(line)) == times_ms[i] / 1000 * 1000, "%s", line);
    }
    static const char *const none[] = {
        "", "[", "x", "2026-11-21", "[99/Foo/2026:10:26:49 +0000]", "2026-13-21T10:26:49.123Z"
    };
    for (size_t i = 0; i < COUNT(none); i++)
        CHECK(logs_time_ms(true, text_of(none[i])) == -1 &&
                  logs_time_ms(false, text_of(none[i])) == -1,
              "'%s'", none[i]);
}

/* ---- files ---- */

struct shelf {
    char path[32];
    int folder;
    char got[4096];
};

static bool shelf_make(struct shelf *shelf)
{
    *shelf = (struct shelf){ .path = "/tmp/logs.XXXXXX" };
    shelf->folder =
        mkdtemp(shelf->path) != NULL ? open(shelf->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return shelf->folder >= 0;
}

static void shelf_remove(struct shelf *shelf)
{
    static const char *const names[] = { "trilith.log", "trilith.log.1", "trilith.log.2",
                                         "access.log", "access.log.1" };
    for (size_t i = 0; i < COUNT(names); i++)
        unlinkat(shelf->folder, names[i], 0);
    CHECK(rmdir(shelf->path) == 0, "empty");
    fd_close(&shelf->folder);
}

static void shelf_add(struct shelf *shelf, const char *name, const char *text)
{
    AUTO(fd_close)
    int fd = openat(shelf->folder, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CHECK(sys_write_all(fd, text_of(text)) == OK, "written");
}

static bool take(void *context, bool is_access, struct text line)
{
    struct shelf *shelf = context;
    snprintf(shelf->got + strlen(shelf->got), sizeof(shelf->got) - strlen(shelf->got), "%s%.*s|",
             is_access ? "a:" : "", FMT(line));
    return strstr(shelf->got, "stop") == NULL;
}

static bool expect(struct shelf *shelf, const char *want)
{
    bool is_same = strcmp(shelf->got, want) == 0;
    CHECK(is_same, "want %s, got %s", want, shelf->got);
    shelf->got[0] = '\0';
    return is_same;
}

TEST(logs_are_read_over_rotated_files)
{
    struct shelf shelf;
    struct logs_reader reader;
    struct logs_query query = { .has_main = true, .lines = 4 };
    REQUIRE(shelf_make(&shelf), "folder");
    shelf_add(&shelf, "trilith.log.2", "1\n2\n");
    shelf_add(&shelf, "trilith.log.1", "3\n4\n");
    shelf_add(&shelf, "trilith.log", "5\n6\n7");
    CHECK(logs_reader_begin(&reader, shelf.folder, &query, take, &shelf), "goes on");
    logs_reader_done(&reader);
    CHECK(expect(&shelf, "4|5|6|7|"), "the last four");
    query.lines = 100;
    CHECK(logs_reader_begin(&reader, shelf.folder, &query, take, &shelf), "goes on");
    logs_reader_done(&reader);
    CHECK(expect(&shelf, "1|2|3|4|5|6|7|"), "all");
    query.lines = 0;
    CHECK(logs_reader_begin(&reader, shelf.folder, &query, take, &shelf), "goes on");
    logs_reader_done(&reader);
    CHECK(expect(&shelf, ""), "none");
    shelf_remove(&shelf);
}

TEST(logs_are_followed_over_the_change)
{
    struct shelf shelf;
    struct logs_reader reader;
    struct logs_query query = { .has_main = true, .lines = 1, .follow = true };
    REQUIRE(shelf_make(&shelf), "folder");
    shelf_add(&shelf, "trilith.log", "one\ntwo\nha");
    CHECK(logs_reader_begin(&reader, shelf.folder, &query, take, &shelf), "goes on");
    CHECK(expect(&shelf, "two|"), "half a line is none yet");
    shelf_add(&shelf, "trilith.log", "lf\n");
    CHECK(logs_reader_more(&reader, take, &shelf) && expect(&shelf, "half|"), "now it is");
    shelf_add(&shelf, "trilith.log", "last\nunfinished");
    renameat(shelf.folder, "trilith.log", shelf.folder, "trilith.log.1");
    CHECK(logs_reader_more(&reader, take, &shelf) && expect(&shelf, "last|"), "no new one yet");
    shelf_add(&shelf, "trilith.log", "new\n");
    CHECK(logs_reader_more(&reader, take, &shelf) && expect(&shelf, "unfinished|new|"),
          "nothing is lost");
    shelf_add(&shelf, "trilith.log", "stop\nmore\n");
    CHECK(!logs_reader_more(&reader, take, &shelf) && expect(&shelf, "stop|"), "ends when told");
    logs_reader_done(&reader);
    shelf_remove(&shelf);
}

TEST(logs_of_both_files_become_one_by_time)
{
    struct shelf shelf;
    struct logs_reader reader;
    struct logs_query query = { .has_main = true, .has_access = true, .lines = 10, .id = "0af1" };
    REQUIRE(shelf_make(&shelf), "folder");
    shelf_add(&shelf, "trilith.log",
              "2026-11-21T10:26:48.000Z info  a id=0af1\n"
              "2026-11-21T10:26:49.500Z info  b\n"
              "2026-11-21T10:26:50.000Z info  c id=0af1\n");
    shelf_add(&shelf, "access.log", JSON("200") "\n");
    CHECK(logs_reader_begin(&reader, shelf.folder, &query, take, &shelf), "goes on");
    logs_reader_done(&reader);
    CHECK(expect(&shelf, "2026-11-21T10:26:48.000Z info  a id=0af1|a:" JSON(
                             "200") "|"
                                    "2026-11-21T10:26:50.000Z info  c id=0af1|"),
          "in order");
    shelf_remove(&shelf);
}
