/*
 * Options of the command line, by one table: "--name VALUE", "--name=VALUE", "-n VALUE", "-nVALUE";
 * they may stand before, between and behind the arguments; "--" ends them.
 */
#include "cli/command.h"

#include <stdio.h>

#define ROW(name_, letter_, value_, kind_, member_, help_)                                         \
    {                                                                                              \
        name_, letter_, value_, kind_, offsetof(struct options, member_), help_                    \
    }

const struct option option_rows[] = {
    [OPTION_HELP] = ROW("--help", 'h', NULL, OPTION_FLAG, help, "Show this help."),
    [OPTION_STATE] = ROW("--state", 0, "DIR", OPTION_TEXT, state,
                         "Folder of data, secrets and logs. Default: /var/lib/trilith as root, "
                         "else ~/.local/state/trilith."),
    [OPTION_JSON] = ROW("--json", 0, NULL, OPTION_FLAG, json, "Print JSON, for programs."),
    [OPTION_QUIET] = ROW("--quiet", 'q', NULL, OPTION_FLAG, quiet, "Print only errors."),
    [OPTION_BACKGROUND] = ROW("--background", 'd', NULL, OPTION_FLAG, background,
                              "Return when the site answers and leave it running."),
    [OPTION_SERVER] =
        ROW("--server", 0, "NAME", OPTION_TEXT, server, "Which server of the file this one is."),
    [OPTION_FOLLOW] =
        ROW("--follow", 'f', NULL, OPTION_FLAG, follow, "Go on and print new lines as they come."),
    [OPTION_LINES] = ROW("--lines", 'n', "N", OPTION_NUMBER, lines,
                         "How many lines to print first. Default: 100."),
    [OPTION_ACCESS] =
        ROW("--access", 0, NULL, OPTION_FLAG, access, "The access log instead of the log."),
    [OPTION_LISTEN] = ROW("--listen", 0, "ADDR:PORT", OPTION_TEXT, listen,
                          "Where to listen. Default: 127.0.0.1:8080."),
    [OPTION_WORKERS] = ROW("--workers", 0, "N", OPTION_NUMBER, workers,
                           "Worker processes. Default: two per core."),
    [OPTION_ROOT] = ROW("--root", 0, "DIR", OPTION_TEXT, root,
                        "Folder of the application. Default: the current one."),
    [OPTION_TO] =
        ROW("--to", 0, "URL", OPTION_TEXT, to,
            "Where requests go: http://HOST:PORT, https://HOST:PORT or http://unix:/path."),
    [OPTION_MARKDOWN] = ROW("--markdown", 0, NULL, OPTION_FLAG, markdown,
                            "Print the reference page instead (docs/reference/site.md)."),
    [OPTION_KEY] = ROW("--key", 0, "FILE", OPTION_TEXT, key,
                       "The key of another server of the site; -: standard input."),
    [OPTION_SITE] = ROW("--site", 0, "SITE", OPTION_TEXT, site,
                        "The site (a file or a name). Default: the only one that runs."),
    [OPTION_METHOD] =
        ROW("--method", 0, "METHOD", OPTION_TEXT, method, "Method of the request. Default: GET."),
    [OPTION_HEADER] = ROW("--header", 'H', "'NAME: VALUE'", OPTION_HEADER_LIST, headers,
                          "A header of the request; may be given several times."),
    [OPTION_FROM] = ROW("--from", 0, "ADDRESS", OPTION_TEXT, from,
                        "Who sends the request. Default: 127.0.0.1."),
    [OPTION_ALL] = ROW("--all", 0, NULL, OPTION_FLAG, all, "Every server of the site."),
    [OPTION_STATUS] = ROW("--status", 0, "STATUS", OPTION_TEXT, status,
                          "Only requests with this status: 404, 5xx or 400-499."),
    [OPTION_ID] = ROW("--id", 0, "ID", OPTION_TEXT, id,
                      "Only what is about the request of this id, on every server."),
};
const size_t option_row_count = COUNT(option_rows);

static bool is_taken(const struct command *command, size_t id)
{
    return id == OPTION_HELP || (command->options & BIT(id)) != 0;
}

/* The option's row number, or option_row_count. */
static size_t find_long(const struct command *command, struct text name)
{
    for (size_t i = 0; i < option_row_count; i++) {
        if (is_taken(command, i) && text_equal(name, text_of(option_rows[i].name)))
            return i;
    }
    return option_row_count;
}

static size_t find_letter(const struct command *command, char letter)
{
    for (size_t i = 0; i < option_row_count; i++) {
        if (is_taken(command, i) && option_rows[i].letter == letter)
            return i;
    }
    return option_row_count;
}

static bool refuse_option(const struct command *command, struct text name, struct why *why)
{
    size_t best = option_row_count, limit = 4;
    for (size_t i = 0; i < option_row_count; i++) {
        size_t distance = text_distance(name, text_of(option_rows[i].name), limit);
        if (!is_taken(command, i) || distance >= limit)
            continue;
        best = i;
        limit = distance;
    }
    if (best < option_row_count)
        (void)fail(why, ERR_UNKNOWN, "unknown option '%.*s', did you mean '%s'?", FMT(name),
                   option_rows[best].name);
    else
        (void)fail(why, ERR_UNKNOWN, "unknown option '%.*s'", FMT(name));
    return false;
}

static bool set_option(const struct option *option, const char *value, struct options *options,
                       struct why *why)
{
    char *member = (char *)options + option->offset;
    uint64_t number;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)member = true;
        return true;
    case OPTION_TEXT:
        *(const char **)member = value;
        if (value[0] != '\0')
            return true;
        (void)fail(why, ERR_MISSING, "option %s has an empty value; write %s %s", option->name,
                   option->name, option->value);
        return false;
    case OPTION_HEADER_LIST:
        if (options->header_count == OPTION_HEADERS) {
            (void)fail(why, ERR_LIMIT, "more than %d headers", OPTION_HEADERS);
            return false;
        }
        options->headers[options->header_count++] = value;
        return true;
    case OPTION_NUMBER:
        if (!text_to_uint(text_of(value), 1000000, &number)) {
            (void)fail(why, ERR_RANGE, "'%s' is not a number for %s", value, option->name);
            return false;
        }
        *(int64_t *)member = (int64_t)number;
        return true;
    }
    return false;
}

struct words {
    int count;
    char **items;
    int at;
};

/* One word that starts with '-'; takes the next one as its value where it needs one. */
static bool read_option(const struct command *command, struct words *words, struct options *options,
                        struct why *why)
{
    const char *word = words->items[words->at];
    const char *value = NULL;
    struct text name = text_of(word);
    size_t id;
    if (word[1] == '-') {
        const char *equals = strchr(word, '=');
        if (equals != NULL) {
            name.len = (size_t)(equals - word);
            value = equals + 1;
        }
        id = find_long(command, name);
    } else {
        id = find_letter(command, word[1]);
        value = word[2] != '\0' ? word + 2 : NULL;
    }
    if (id == option_row_count)
        return refuse_option(command, name, why);
    const struct option *option = &option_rows[id];
    if (option->kind == OPTION_FLAG && value != NULL) {
        (void)fail(why, ERR_SYNTAX, "option %s takes no value", option->name);
        return false;
    }
    if (option->kind != OPTION_FLAG && value == NULL && words->at + 1 < words->count)
        value = words->items[++words->at];
    if (option->kind != OPTION_FLAG && value == NULL) {
        (void)fail(why, ERR_MISSING, "option %s needs a value: %s %s", option->name, option->name,
                   option->value);
        return false;
    }
    return set_option(option, value, options, why);
}

static bool check_count(const struct invocation *invocation, struct why *why)
{
    const struct command *command = invocation->command;
    if (invocation->options.help || invocation->argument_count >= command->least)
        return true;
    (void)fail(why, ERR_MISSING, "missing %s; write: trilith %s %s", command->arguments,
               command->name, command->arguments);
    return false;
}

bool options_parse(const struct command *command, int count, char **word_items,
                   struct invocation *invocation, struct why *why)
{
    struct words words = { count, word_items, 0 };
    bool is_ended = false;
    invocation->command = command;
    invocation->options = (struct options){ .lines = 100 };
    for (; words.at < words.count; words.at++) {
        char *word = words.items[words.at];
        if (!is_ended && strcmp(word, "--") == 0) {
            is_ended = true;
            continue;
        }
        if (!is_ended && word[0] == '-' && word[1] != '\0') {
            if (!read_option(command, &words, &invocation->options, why))
                return false;
            continue;
        }
        if (invocation->argument_count == command->most) {
            (void)fail(why, ERR_LIMIT, "'%s' is one argument too many", word);
            return false;
        }
        invocation->arguments[invocation->argument_count++] = word;
    }
    return check_count(invocation, why);
}
