/*
 * Options of the command line: what is read, what is refused and with which words.
 */
#include "cli/command.h"

#include "core/test.h"

enum { WORD_LIMIT = 8 };

/* Splits at spaces; "" stands for an empty word. */
static int split(const char *line, char words[WORD_LIMIT][64], char *items[WORD_LIMIT])
{
    struct text rest = text_of(line);
    int count = 0;
    while (rest.data != NULL && !text_is_empty(rest) && count < WORD_LIMIT) {
        struct text word = text_next(&rest, ' ');
        if (text_equal(word, T("\"\"")))
            word = T("");
        (void)text_copy_to(word, words[count], sizeof(words[count]));
        items[count] = words[count];
        count++;
    }
    return count;
}

static bool parse(const char *command, const char *line, struct invocation *invocation,
                  struct why *why)
{
    static char words[WORD_LIMIT][64];
    static char *items[WORD_LIMIT];
    int count = split(line, words, items);
    *invocation = (struct invocation){ .roles = NULL };
    return options_parse(command_find(text_of(command)), count, items, invocation, why);
}

TEST(cli_reads_options)
{
    struct invocation invocation;
    struct why why;
    REQUIRE(parse("logs", "-f a.yaml -n 5 --state=/x", &invocation, &why), "%s", why.text);
    CHECK(invocation.options.follow && invocation.options.lines == 5, "letters");
    CHECK(strcmp(invocation.options.state, "/x") == 0, "a value behind =");
    CHECK(strcmp(invocation.arguments[0], "a.yaml") == 0, "the argument between them");
    REQUIRE(parse("logs", "-n7 --access", &invocation, &why), "%s", why.text);
    CHECK(invocation.options.lines == 7 && invocation.options.access, "a value behind a letter");
    REQUIRE(parse("logs", "", &invocation, &why), "nothing is fine");
    CHECK(invocation.options.lines == 100 && invocation.argument_count == 0, "defaults");
    REQUIRE(parse("serve", "-- --help", &invocation, &why), "-- ends the options");
    CHECK(strcmp(invocation.arguments[0], "--help") == 0, "a folder called --help");
    REQUIRE(parse("check", "--help", &invocation, &why), "help needs no argument");
    CHECK(invocation.options.help, "help");
    REQUIRE(parse("check", "-", &invocation, &why), "a dash is an argument");
}

TEST(cli_refuses_options)
{
    static const struct {
        const char *command, *line, *want;
    } cases[] = {
        { "check", "", "missing SITE; write: trilith check SITE" },
        { "check", "a b", "'b' is one argument too many" },
        { "check", "a --jsn", "unknown option '--jsn', did you mean '--json'?" },
        { "check", "a --purple", "unknown option '--purple'" },
        { "check", "a --state x", "unknown option '--state'" },
        { "check", "a -x", "unknown option '-x'" },
        { "check", "a --json=1", "option --json takes no value" },
        { "up", "a --state", "option --state needs a value: --state DIR" },
        { "up", "a --state=", "option --state has an empty value; write --state DIR" },
        { "up", "a --state \"\"", "option --state has an empty value; write --state DIR" },
        { "logs", "-n many", "'many' is not a number for --lines" },
        { "logs", "-n -5", "'-5' is not a number for --lines" },
        { "logs", "-n 99999999999999999999", "'99999999999999999999' is not a number for --lines" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct invocation invocation;
        struct why why = { "" };
        CHECK(!parse(cases[i].command, cases[i].line, &invocation, &why), "%s", cases[i].line);
        CHECK(strcmp(why.text, cases[i].want) == 0, "%s: %s", cases[i].line, why.text);
    }
}

TEST(cli_suggests_commands)
{
    static const struct cli_tool tools[] = { { .name = "lab" }, { .name = NULL } };
    CHECK(text_equal(text_of(command_nearest(tools, T("chekc"))), T("check")), "chekc");
    CHECK(text_equal(text_of(command_nearest(tools, T("stauts"))), T("status")), "stauts");
    CHECK(text_equal(text_of(command_nearest(tools, T("lgos"))), T("logs")), "lgos");
    CHECK(text_equal(text_of(command_nearest(tools, T("lba"))), T("lab")), "a tool");
    CHECK(command_nearest(tools, T("helicopter")) == NULL, "nothing is near");
}

TEST(cli_commands_are_complete)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &commands[i];
        CHECK(command->run != NULL && command->details != NULL, "%s", command->name);
        CHECK(command->summary != NULL && strlen(command->summary) < 60, "%s", command->name);
        CHECK(command->most <= ARGUMENT_LIMIT && command->least <= command->most, "%s",
              command->name);
        struct buffer help = buffer_of(65536);
        help_write_command(&help, command);
        CHECK(!help.failed && text_find_text(buffer_text(&help), text_of(command->name)) > 0, "%s",
              command->name);
        buffer_done(&help);
    }
}
