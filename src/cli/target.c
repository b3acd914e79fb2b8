/*
 * Which running site a command means, and asking it: a site file, a name, or the only one that runs
 * in the state folder.
 */
#include "cli/target.h"

#include "cli/terminal.h"
#include "core/memory.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

enum { ANSWER_LIMIT = 16 << 20 };

void target_state(const struct invocation *invocation, struct target *target)
{
    AUTO(memory_drop) char *own = process_default_state();
    const char *state = invocation->options.state != NULL ? invocation->options.state : own;
    snprintf(target->state, sizeof(target->state), "%s", state);
}

/* True when a parent answers there. */
static bool is_running(const char *state, const char *site)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    struct why why;
    return control_ask(state, text_of(site), T("version"), 2000, &answer, &why) == OK;
}

size_t target_each(const char *state, bool (*each)(void *context, const char *site), void *context)
{
    struct dirent **entries = NULL;
    size_t found = 0;
    bool goes_on = true;
    int count = scandir(state, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (goes_on && name[0] != '.' && is_running(state, name)) {
            found++;
            goes_on = each(context, name);
        }
        memory_free(entries[i]);
    }
    memory_free(entries);
    return found;
}

struct only {
    struct target *target;
    struct buffer names;
};

static bool remember(void *context, const char *site)
{
    struct only *only = context;
    snprintf(only->target->site, sizeof(only->target->site), "%s", site);
    buffer_print(&only->names, "%s%s", only->names.len > 0 ? ", " : "", site);
    return true;
}

static int find_only(struct target *target)
{
    struct only only = { target, buffer_of(4096) };
    size_t count = target_each(target->state, remember, &only);
    if (count == 0)
        complain("nothing runs here (state folder %s); `trilith up SITE` starts a site, --state "
                 "names another folder",
                 target->state);
    if (count > 1)
        complain("several sites run here, name one of them: %.*s", FMT(buffer_text(&only.names)));
    buffer_done(&only.names);
    return count == 1 ? CLI_OK : count == 0 ? CLI_NOT_RUNNING : CLI_USAGE;
}

static bool looks_like_file(const char *word)
{
    struct text text = text_of(word);
    struct stat status;
    return text_find(text, '/') >= 0 || text_ends_with(text, T(".yaml")) ||
           text_ends_with(text, T(".yml")) || (stat(word, &status) == 0 && S_ISREG(status.st_mode));
}

int target_find(const struct invocation *invocation, struct target *target)
{
    struct why why;
    *target = (struct target){ .site = "" };
    target_state(invocation, target);
    if (invocation->argument_count == 0)
        return find_only(target);
    const char *word = invocation->arguments[0];
    if (looks_like_file(word)) {
        if (site_read_name(word, target->site, sizeof(target->site), &why) == OK)
            return CLI_OK;
        complain("%s", why.text);
        return CLI_FAILED;
    }
    if (text_copy_to(text_of(word), target->site, sizeof(target->site)))
        return CLI_OK;
    complain("'%s' is too long for the name of a site", word);
    return CLI_USAGE;
}

int target_ask(const struct target *target, const char *command, int64_t timeout_ms,
               struct buffer *answer)
{
    struct why why;
    enum err err = control_ask(target->state, text_of(target->site), text_of(command), timeout_ms,
                               answer, &why);
    if (err != OK) {
        complain("%s", why.text);
        return err == ERR_NOT_FOUND ? CLI_NOT_RUNNING : CLI_FAILED;
    }
    json_t *root = json_loadb(answer->data, answer->len, 0, NULL);
    bool is_ok = json_is_true(json_object_get(root, "ok"));
    const char *error = json_string_value(json_object_get(root, "error"));
    bool has_lines = error != NULL && strchr(error, '\n') != NULL; /* mistakes, one per line */
    if (!is_ok)
        complain("%s: `%s` failed:%c%s", target->site, command, has_lines ? '\n' : ' ',
                 error != NULL ? error : "the answer is not understood");
    json_decref(root);
    return is_ok ? CLI_OK : CLI_FAILED;
}
