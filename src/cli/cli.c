/*
 * Finds the command, reads its options, runs it.
 */
#include "cli/cli.h"

#include "cli/command.h"
#include "cli/terminal.h"

#include <signal.h>

const struct command *command_find(struct text name)
{
    for (size_t i = 0; i < command_count; i++) {
        if (text_equal(name, text_of(commands[i].name)))
            return &commands[i];
    }
    return NULL;
}

const struct cli_tool *command_find_tool(const struct cli_tool *tools, struct text name)
{
    for (; tools->name != NULL; tools++) {
        if (text_equal(name, text_of(tools->name)))
            return tools;
    }
    return NULL;
}

const char *command_nearest(const struct cli_tool *tools, struct text name)
{
    const char *best = NULL;
    size_t limit = name.len <= 3 ? 2 : 3;
    for (size_t i = 0; i < command_count || tools->name != NULL;) {
        const char *candidate = i < command_count ? commands[i++].name : (tools++)->name;
        size_t distance = text_distance(name, text_of(candidate), limit);
        if (distance >= limit)
            continue;
        best = candidate;
        limit = distance;
    }
    return best;
}

/* "trilith --help" and "trilith --version" are commands too. */
static struct text command_name(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return T("help");
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        return T("version");
    return text_of(word);
}

static int refuse_command(const struct cli_tool *tools, struct text name)
{
    const char *near = command_nearest(tools, name);
    if (near != NULL)
        complain("there is no command '%.*s', did you mean '%s'?", FMT(name), near);
    else
        complain("there is no command '%.*s'; `trilith help` lists them", FMT(name));
    return CLI_USAGE;
}

int cli_main(int argc, char **argv, const struct role *const roles[], const struct cli_tool *tools,
             cli_explain *explain)
{
    struct buffer help AUTO(buffer_done) = buffer_of(65536);
    struct invocation invocation = { .roles = roles, .tools = tools, .explain = explain };
    struct why why;
    if (argc < 2) {
        help_write(&help, tools);
        return print_text(buffer_text(&help)) ? CLI_USAGE : CLI_FAILED;
    }
    struct text name = command_name(argv[1]);
    const struct command *command = command_find(name);
    const struct cli_tool *tool = command_find_tool(tools, name);
    if (tool != NULL)
        return tool->run(argc - 2, argv + 2);
    if (command == NULL)
        return refuse_command(tools, name);
    if (!options_parse(command, argc - 2, argv + 2, &invocation, &why)) {
        complain("%s (`trilith %s --help` says more)", why.text, command->name);
        return CLI_USAGE;
    }
    if (invocation.options.help) {
        help_write_command(&help, command);
        return print_text(buffer_text(&help)) ? CLI_OK : CLI_FAILED;
    }
    return command->run(&invocation);
}
