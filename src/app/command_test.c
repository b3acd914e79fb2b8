/* The pure parts of `command` applications: messages of sd_notify, the search for a program. */
#include "app/command_private.h"

#include "core/memory.h"
#include "core/test.h"

TEST(command_reads_what_a_program_says)
{
    static const struct {
        const char *data;
        bool is_ready;
        const char *status;
    } cases[] = {
        { "READY=1", true, "" },
        { "READY=1\n", true, "" },
        { "STATUS=loading 1=2\nREADY=1\nX=y", true, "loading 1=2" },
        { "READY=0", false, "" },
        { "READY=11", false, "" },
        { "ready=1", false, "" },
        { " READY=1", false, "" },
        { "STATUS=", false, "" },
        { "", false, "" },
        { "\n\n\n", false, "" },
        { "STATUS=READY=1", false, "READY=1" },
    };
    struct command_notice notice;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text data = text_of(cases[i].data);
        command_notify_parse(data, &notice);
        CHECK(notice.is_ready == cases[i].is_ready &&
                  text_equal(notice.status, text_of(cases[i].status)),
              "case %zu: %d '%.*s'", i, notice.is_ready, FMT(notice.status));
        for (size_t len = 0; len < data.len; len++) /* cut anywhere: nothing bad, nothing new */
            command_notify_parse(text_part(data, 0, len), &notice);
    }
}

TEST(command_finds_programs)
{
    struct text words[] = { T("sh") };
    struct site_app app = { .root = T("/usr"), .arguments = words, .argument_count = 1 };
    static const struct {
        const char *name;
        const char *path; /* NULL: none */
    } cases[] = {
        { "sh", "/usr/bin/sh" },  { "bin/sh", "/usr/bin/sh" }, { "./bin/sh", "/usr/./bin/sh" },
        { "/bin/sh", "/bin/sh" }, { "no-such-program", NULL }, { "bin/no-such-program", NULL },
        { "/usr/bin", NULL },    /* a folder */
        { "/etc/passwd", NULL }, /* not executable */
        { "..", NULL },
    };
    char path[4096];
    struct why why;
    for (size_t i = 0; i < COUNT(cases); i++) {
        words[0] = text_of(cases[i].name);
        enum err err = command_program_find(&app, path, sizeof(path), &why);
        if (cases[i].path == NULL)
            CHECK(err == ERR_NOT_FOUND, "case %zu", i);
        else
            CHECK(err == OK && strcmp(path, cases[i].path) == 0, "case %zu: %s", i, path);
    }
    words[0] = T("sh");
    CHECK(command_program_find(&app, path, 5, &why) != OK, "no room");
}
