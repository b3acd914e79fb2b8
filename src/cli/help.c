/*
 * Help texts, from the tables of commands and options.
 */
#include "cli/command.h"
#include "cli/terminal.h"

#include <stdio.h>

enum { WIDTH = 78 };

/* Text wrapped at WIDTH, each line indented by `indent`; the first one starts where we are. */
static void write_wrapped(struct buffer *out, const char *text, size_t indent)
{
    struct text rest = text_of(text);
    size_t column = indent;
    while (rest.data != NULL && !text_is_empty(rest)) {
        struct text word = text_next(&rest, ' ');
        if (column > indent && column + 1 + word.len > WIDTH) {
            buffer_print(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            buffer_print(out, " ");
            column++;
        }
        buffer_append(out, word);
        column += word.len;
    }
    buffer_print(out, "\n");
}

static void write_row(struct buffer *out, const char *name, const char *arguments,
                      const char *summary)
{
    bool has_colour = terminal_has_colour(1);
    buffer_print(out, "  %s%-8s%s ", colour_begin(COLOUR_BOLD, has_colour), name,
                 colour_end(COLOUR_BOLD, has_colour));
    buffer_print(out, "%-16s %s\n", arguments, summary);
}

void help_write(struct buffer *out, const struct cli_tool *tools)
{
    buffer_print(out, "Trilith runs the whole web infrastructure of a site from one YAML file.\n\n"
                      "Usage: trilith COMMAND [ARGUMENTS] [OPTIONS]\n\n");
    for (size_t i = 0; i < command_count; i++)
        write_row(out, commands[i].name, commands[i].arguments, commands[i].summary);
    for (; tools->name != NULL; tools++)
        write_row(out, tools->name, tools->arguments, tools->summary);
    buffer_print(out, "\n`trilith help COMMAND` says more about one of them.\n"
                      "Exit status: 0 it worked, 1 it failed or the site file has mistakes,\n"
                      "2 wrong usage, 3 nothing runs there.\n");
}

static void write_option(struct buffer *out, const struct option *option)
{
    char left[64];
    char letter[8] = "";
    if (option->letter != 0)
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    snprintf(left, sizeof(left), "%s%s%s%s", letter, option->name, option->value != NULL ? " " : "",
             option->value != NULL ? option->value : "");
    buffer_print(out, "  %-20s ", left);
    write_wrapped(out, option->help, 23);
}

void help_write_command(struct buffer *out, const struct command *command)
{
    buffer_print(out, "Usage: trilith %s%s%s [OPTIONS]\n\n", command->name,
                 command->arguments[0] != '\0' ? " " : "", command->arguments);
    buffer_print(out, "%s\n\n%s\nOptions:\n", command->summary, command->details);
    for (size_t i = 0; i < option_row_count; i++) {
        if (i == OPTION_HELP || (command->options & BIT(i)) != 0)
            write_option(out, &option_rows[i]);
    }
    if (command->examples != NULL)
        buffer_print(out, "\nExamples:\n%s", command->examples);
}

int command_help(const struct invocation *invocation)
{
    struct buffer out AUTO(buffer_done) = buffer_of(65536);
    const struct command *command = NULL;
    if (invocation->argument_count > 0) {
        struct text name = text_of(invocation->arguments[0]);
        command = command_find(name);
        const struct cli_tool *tool = command_find_tool(invocation->tools, name);
        const char *near = command_nearest(invocation->tools, name);
        if (tool != NULL)
            return print_text(text_of(tool->usage)) ? CLI_OK : CLI_FAILED;
        if (command == NULL && near != NULL)
            complain("there is no command '%s', did you mean '%s'?", name.data, near);
        else if (command == NULL)
            complain("there is no command '%s'; `trilith help` lists them", name.data);
        if (command == NULL)
            return CLI_USAGE;
    }
    if (command != NULL)
        help_write_command(&out, command);
    else
        help_write(&out, invocation->tools);
    return print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
}

int command_version(const struct invocation *invocation)
{
    struct buffer out AUTO(buffer_done) = buffer_of(256);
    if (invocation->options.json)
        buffer_print(&out, "{\"name\":\"trilith\",\"version\":\"%s\"}\n", TRILITH_VERSION);
    else
        buffer_print(&out, "trilith %s\n", TRILITH_VERSION);
    return print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
}
