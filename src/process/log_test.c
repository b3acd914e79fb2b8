/* Log lines: cut whole, byte by byte and at every place; tagged, escaped; files that rotate. */
#include "core/test.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/log_file.h"
#include "process/log_line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* All lines that come out of `input` given in pieces of `step` bytes, joined by '|'. */
static void cut(struct text input, size_t step, char *out, size_t size)
{
    struct buffer pending = buffer_of(1 << 20);
    size_t at = 0;
    out[0] = '\0';
    while (input.len > 0) {
        struct text line;
        size_t used;
        buffer_append(&pending, text_part(input, 0, step));
        input = text_skip(input, step);
        while (log_line_next(&pending, &line, &used)) {
            at += (size_t)snprintf(out + at, size - at, "%.*s|", FMT(line));
            buffer_consume(&pending, used);
        }
    }
    snprintf(out + at, size - at, "%.*s", FMT(buffer_text(&pending)));
    buffer_done(&pending);
}

TEST(log_line_is_the_same_however_it_is_cut)
{
    char whole[256], pieces[256];
    struct text input = T("one\n\ntwo\r\n\rthree \r x\nrest");
    cut(input, input.len, whole, sizeof(whole));
    CHECK(strcmp(whole, "one||two|\rthree \r x|rest") == 0, "%s", whole);
    for (size_t step = 1; step < input.len; step++) {
        cut(input, step, pieces, sizeof(pieces));
        CHECK(strcmp(whole, pieces) == 0, "steps of %zu: %s", step, pieces);
    }
}

TEST(log_line_too_long_is_broken)
{
    struct buffer pending = buffer_of(1 << 20);
    struct text line;
    size_t used;
    memset(buffer_reserve(&pending, LOG_LINE_LIMIT + 5), 'x', LOG_LINE_LIMIT + 5);
    pending.len = LOG_LINE_LIMIT - 1;
    CHECK(!log_line_next(&pending, &line, &used), "may still end");
    pending.len = LOG_LINE_LIMIT + 5;
    CHECK(log_line_next(&pending, &line, &used) && line.len == LOG_LINE_LIMIT, "broken");
    buffer_consume(&pending, used);
    CHECK(pending.len == 5, "the rest stays");
    buffer_done(&pending);
}

TEST(log_line_format_tags_and_escapes)
{
    static const struct {
        const char *what, *line, *want;
    } cases[] = {
        { "foreign", "hello", "1970-01-01T00:00:01.000Z info  app/x: hello\n" },
        { "own", "2026-11-21T10:26:49.123Z warn  app/x area: text a=b",
          "2026-11-21T10:26:49.123Z warn  app/x area: text a=b\n" },
        { "own of another process is foreign", "2026-11-21T10:26:49.123Z warn  edge/0 area: x",
          "1970-01-01T00:00:01.000Z info  app/x: 2026-11-21T10:26:49.123Z warn  edge/0 area: x\n" },
        { "a bad level is foreign", "2026-11-21T10:26:49.123Z alarm app/x area: x",
          "1970-01-01T00:00:01.000Z info  app/x: 2026-11-21T10:26:49.123Z alarm app/x area: x\n" },
        { "controls", "\033[31mred\a\tx\x7f",
          "1970-01-01T00:00:01.000Z info  app/x: \\x1b[31mred\\x07\tx\\x7f\n" },
        { "C1 controls",
          "\xc2\x9b"
          "31m \xc3\xa4",
          "1970-01-01T00:00:01.000Z info  app/x: \\xc2\\x9b"
          "31m \xc3\xa4\n" },
        { "a cut C2", "x\xc2", "1970-01-01T00:00:01.000Z info  app/x: x\xc2\n" },
        { "empty", "", "1970-01-01T00:00:01.000Z info  app/x: \n" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = buffer_of(4096);
        log_line_format(text_of(cases[i].line), "app/x", 1000, &out);
        CHECK(text_equal(buffer_text(&out), text_of(cases[i].want)), "%s: %.*s", cases[i].what,
              FMT(buffer_text(&out)));
        buffer_done(&out);
    }
}

TEST(log_line_knows_tracebacks_and_levels)
{
    CHECK(log_line_role(T("Traceback (most recent call last):")) == LOG_LINE_OPENS, "opens");
    CHECK(log_line_role(T("During handling of the above exception, another exception")) ==
              LOG_LINE_OPENS,
          "goes on");
    CHECK(log_line_role(T("  File \"x.py\", line 3")) == LOG_LINE_INSIDE, "inside");
    CHECK(log_line_role(T("")) == LOG_LINE_INSIDE, "empty");
    CHECK(log_line_role(T("ValueError: no")) == LOG_LINE_SINGLE, "end");
    CHECK(log_line_level(T("2026-11-21T10:26:49.123Z error app/x a: b\n")) == LOG_ERROR, "error");
    CHECK(log_line_level(T("2026-11-21T10:26:49.123Z warn  app/x a: b\n")) == LOG_WARN, "warn");
    CHECK(log_line_level(T("")) == LOG_INFO, "nothing");
}

static int64_t size_of(int folder, const char *name)
{
    struct stat state;
    return fstatat(folder, name, &state, 0) == 0 ? (int64_t)state.st_size : -1;
}

static const char *const log_names[] = { "t.log", "t.log.1", "t.log.2", "t.log.3" };

static int open_folder(char *path)
{
    return mkdtemp(path) != NULL ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

static void remove_folder(int folder, const char *path)
{
    for (size_t i = 0; i < COUNT(log_names); i++)
        unlinkat(folder, log_names[i], 0);
    rmdir(path);
}

TEST(log_file_rotates_at_its_limit)
{
    char path[] = "/tmp/logs.XXXXXX";
    AUTO(fd_close) int folder = open_folder(path);
    struct log_file file;
    REQUIRE(folder >= 0, "folder");
    log_file_init(&file, folder, "t.log", 30, 3);
    for (int i = 0; i < 20; i++)
        log_file_write(&file, T("ten bytes\n"));
    CHECK(size_of(folder, "t.log") == 20, "the last ones");
    CHECK(size_of(folder, "t.log.1") == 30 && size_of(folder, "t.log.2") == 30, "full ones");
    CHECK(size_of(folder, "t.log.3") == -1, "no fourth");
    log_file_done(&file);
    log_file_init(&file, folder, "t.log", 30, 3);
    log_file_write(&file, T("ten bytes\n"));
    CHECK(size_of(folder, "t.log") == 30, "goes on after a restart");
    log_file_done(&file);
    remove_folder(folder, path);
}

TEST(log_file_survives_a_full_disk)
{
    char path[] = "/tmp/logs.XXXXXX", data[256];
    AUTO(fd_close) int folder = open_folder(path);
    struct log_file file;
    REQUIRE(folder >= 0, "folder");
    log_file_init(&file, folder, "t.log", 10000, 2);
    log_file_write(&file, T("first\n"));
    sys_fault_set("write", 0, ENOSPC);
    log_file_write(&file, T("lost 1\nlost 2\n"));
    sys_fault_set("write", 0, 0); /* one byte only */
    log_file_write(&file, T("lost 3\n"));
    log_file_write(&file, T("last\n"));
    AUTO(fd_close) int fd = openat(folder, "t.log", O_RDONLY | O_CLOEXEC);
    ssize_t len = sys_read(fd, data, sizeof(data) - 1);
    data[len > 0 ? len : 0] = '\0';
    CHECK(strncmp(data, "first\n2", 7) == 0, "no part of a line: %s", data);
    CHECK(strstr(data, "n=3\nlast\n") != NULL, "counted: %s", data);
    log_file_done(&file);
    remove_folder(folder, path);
}
