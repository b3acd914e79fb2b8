#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/*
 * Commands and their options as tables: parsing, help, completion and the tests of the man page
 * come from them. Private to src/cli.
 */

#include "cli/cli.h"

enum option_id {
    OPTION_HELP,
    OPTION_STATE,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_BACKGROUND,
    OPTION_SERVER,
    OPTION_FOLLOW,
    OPTION_LINES,
    OPTION_ACCESS,
    OPTION_LISTEN,
    OPTION_WORKERS,
    OPTION_ROOT,
    OPTION_TO,
    OPTION_MARKDOWN,
    OPTION_KEY,
    OPTION_SITE,
    OPTION_METHOD,
    OPTION_HEADER,
    OPTION_FROM,
    OPTION_ALL,
    OPTION_STATUS,
    OPTION_ID,
};

#define BIT(option) (1u << (option))

enum { OPTION_HEADERS = 32 };

/* Values of the options; the defaults are in command.c. */
struct options {
    bool help, json, quiet, background, follow, access, markdown, all;
    const char *state, *server, *listen, *root, *to, *key, *site, *method, *from, *status, *id;
    const char *headers[OPTION_HEADERS];
    size_t header_count;
    int64_t lines, workers;
};

struct option {
    const char *name;  /* "--state" */
    char letter;       /* 'd' for -d; 0: none */
    const char *value; /* "DIR"; NULL: a flag */
    enum { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_HEADER_LIST } kind;
    size_t offset; /* in struct options */
    const char *help;
};

extern const struct option option_rows[];
extern const size_t option_row_count;

enum { ARGUMENT_LIMIT = 3 };

struct invocation {
    const struct command *command;
    const char *arguments[ARGUMENT_LIMIT];
    size_t argument_count;
    struct options options;
    const struct role *const *roles;
    const struct cli_tool *tools;
    cli_explain *explain;
};

struct command {
    const char *name;
    const char *arguments; /* "SITE", "[SITE]", "" */
    size_t least, most;    /* how many arguments */
    unsigned options;      /* bits; help is always there */
    const char *summary;   /* one line */
    const char *details;   /* for `trilith help COMMAND`; whole lines */
    const char *examples;  /* whole lines; NULL: none */
    int (*run)(const struct invocation *invocation);
};

extern const struct command commands[];
extern const size_t command_count;

const struct command *command_find(struct text name);

/* The tool of that name, or NULL. */
const struct cli_tool *command_find_tool(const struct cli_tool *tools, struct text name);

/* The name of the command or tool that was probably meant; NULL: none is near. */
const char *command_nearest(const struct cli_tool *tools, struct text name);

/* Reads the words behind the command's name. False with the reason: wrong usage. */
bool options_parse(const struct command *command, int count, char **words,
                   struct invocation *invocation, struct why *why);

void help_write(struct buffer *out, const struct cli_tool *tools);          /* all commands */
void help_write_command(struct buffer *out, const struct command *command); /* one */

int command_explain(const struct invocation *invocation);
int command_help(const struct invocation *invocation);
int command_version(const struct invocation *invocation);
int command_check(const struct invocation *invocation);
int command_schema(const struct invocation *invocation);
int command_init(const struct invocation *invocation);
int command_up(const struct invocation *invocation);
int command_run(const struct invocation *invocation);
int command_status(const struct invocation *invocation);
int command_top(const struct invocation *invocation);
int command_stop(const struct invocation *invocation);
int command_alerts(const struct invocation *invocation);
int command_backend(const struct invocation *invocation);
int command_reload(const struct invocation *invocation);
int command_dashboard(const struct invocation *invocation);
int command_logs(const struct invocation *invocation);
int command_serve(const struct invocation *invocation);
int command_app(const struct invocation *invocation);
int command_proxy(const struct invocation *invocation);

#endif
