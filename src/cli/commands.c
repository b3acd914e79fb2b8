/*
 * The table of commands. Help, completion and the tests of the man page read it.
 */
#include "cli/command.h"

const struct command commands[] = {
    { .name = "check",
      .arguments = "SITE",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_JSON) | BIT(OPTION_QUIET),
      .summary = "Check a site file and name every mistake in it",
      .details =
          "Each mistake is one line: FILE:LINE:COLUMN: KEY: what is wrong, what is allowed.\n"
          "Nothing is started or changed.\n",
      .examples = "  trilith check examples/0-simple.yaml\n",
      .run = command_check },
    { .name = "schema",
      .arguments = "",
      .options = BIT(OPTION_MARKDOWN),
      .summary = "Print the JSON Schema of site files",
      .details = "Editors use it to complete and check a site file. In VS Code with the YAML\n"
                 "extension, put this line at the top of the file:\n"
                 "  # yaml-language-server: $schema=site.schema.json\n",
      .examples = "  trilith schema > site.schema.json\n",
      .run = command_schema },
    { .name = "help",
      .arguments = "[COMMAND]",
      .most = 1,
      .summary = "Say what the commands do",
      .details = "Without a command it lists them all.\n",
      .run = command_help },
    { .name = "version",
      .arguments = "",
      .options = BIT(OPTION_JSON),
      .summary = "Print the version",
      .details = "",
      .run = command_version },
};
const size_t command_count = COUNT(commands);
