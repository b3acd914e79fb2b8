/*
 * `trilith backend`: weights, drains, additions and removals while the site runs. The parent does
 * it and answers with all backends as they are then.
 */
#include "cli/status.h"
#include "cli/target.h"
#include "cli/terminal.h"

#include <stdio.h>
#include <unistd.h>

enum { ASK_MS = 10000, OUTPUT_LIMIT = 4 << 20, LINE_SIZE = 256 };

/* One line for the control socket. False: too long, or a word with blanks in it. */
static bool write_line(const struct invocation *invocation, char line[LINE_SIZE])
{
    size_t len = (size_t)snprintf(line, LINE_SIZE, "backend");
    for (size_t i = 0; i < invocation->argument_count && len < LINE_SIZE; i++) {
        const char *word = invocation->arguments[i];
        if (word[0] == '\0' || strpbrk(word, " \t\r\n") != NULL)
            return false;
        len += (size_t)snprintf(line + len, LINE_SIZE - len, " %s", word);
    }
    return len < LINE_SIZE;
}

static bool check_words(const struct invocation *invocation)
{
    static const struct {
        const char *verb;
        size_t least, most;
    } verbs[] = { { "list", 1, 1 }, { "weight", 3, 3 }, { "drain", 2, 2 }, { "undrain", 2, 2 },
                  { "add", 2, 3 },  { "remove", 2, 2 }, { "reset", 2, 2 } };
    for (size_t i = 0; i < COUNT(verbs); i++) {
        if (strcmp(invocation->arguments[0], verbs[i].verb) != 0)
            continue;
        if (invocation->argument_count >= verbs[i].least &&
            invocation->argument_count <= verbs[i].most)
            return true;
        complain("write: trilith backend %s%s%s", verbs[i].verb, verbs[i].most > 1 ? " NAME" : "",
                 verbs[i].least > 2  ? " N"
                 : verbs[i].most > 2 ? " [N]"
                                     : "");
        return false;
    }
    complain("there is no `trilith backend %s`; known: list, weight, drain, undrain, add, remove, "
             "reset",
             invocation->arguments[0]);
    return false;
}

int command_backend(const struct invocation *invocation)
{
    struct invocation about = *invocation;
    struct target target;
    char line[LINE_SIZE];
    struct buffer answer AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    if (!check_words(invocation))
        return CLI_USAGE;
    if (!write_line(invocation, line)) {
        complain("the name of a backend is at most 191 characters, without blanks");
        return CLI_USAGE;
    }
    about.arguments[0] = invocation->options.site;
    about.argument_count = invocation->options.site != NULL ? 1 : 0;
    int status = target_find(&about, &target);
    if (status == CLI_OK)
        status = target_ask(&target, line, ASK_MS, &answer);
    if (status != CLI_OK || invocation->options.quiet)
        return status;
    if (invocation->options.json)
        return print_text(buffer_text(&answer)) ? CLI_OK : CLI_FAILED;
    json_t *root = json_loadb(answer.data, answer.len, 0, NULL);
    status_backends(&out, NULL, root, 0, terminal_has_colour(STDOUT_FILENO));
    json_decref(root);
    if (out.len == 0)
        buffer_append(&out, T("\n  this server passes no requests on: it has no backends\n"));
    return print_text(text_skip(buffer_text(&out), 1)) ? CLI_OK : CLI_FAILED;
}
