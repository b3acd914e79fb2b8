/* The pure part of the control socket: one line, one command. */
#include "process/backends.h"

/* "VERB NAME [WEIGHT]" */
static enum err parse_backend(struct text rest, struct control_request *request)
{
    static const char *const verbs[] = {
        [BACKEND_LIST] = "list",       [BACKEND_WEIGHT] = "weight", [BACKEND_DRAIN] = "drain",
        [BACKEND_UNDRAIN] = "undrain", [BACKEND_ADD] = "add",       [BACKEND_REMOVE] = "remove",
        [BACKEND_RESET] = "reset",
    };
    struct text word = text_next(&rest, ' ');
    size_t verb = 0;
    uint64_t weight = 0;
    while (verb < COUNT(verbs) && !text_equal(word, text_of(verbs[verb])))
        verb++;
    struct text name = text_next(&rest, ' ');
    bool has_weight = rest.len > 0;
    bool may_weigh = verb == BACKEND_WEIGHT || verb == BACKEND_ADD;
    if (verb == COUNT(verbs) || (verb == BACKEND_LIST) != text_is_empty(name) ||
        name.len >= HEALTH_NAME_SIZE || (has_weight && !may_weigh) ||
        (verb == BACKEND_WEIGHT && !has_weight) ||
        (has_weight && !text_to_uint(rest, BACKEND_WEIGHT_MOST, &weight)))
        return ERR_SYNTAX;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] <= ' ' || name.data[i] > '~')
            return ERR_SYNTAX;
    *request = (struct control_request){ .command = CONTROL_BACKEND,
                                         .verb = (enum backend_verb)verb,
                                         .name = name,
                                         .weight = has_weight ? (int64_t)weight : -1 };
    return OK;
}

enum err control_parse(struct text line, struct control_request *request)
{
    static const struct {
        const char *word;
        enum control_command command;
    } commands[] = {
        { "status", CONTROL_STATUS }, { "top", CONTROL_TOP },         { "reload", CONTROL_RELOAD },
        { "stop", CONTROL_STOP },     { "version", CONTROL_VERSION }, { "logs", CONTROL_LOGS },
    };
    uint64_t lines = 100;
    if (line.len > CONTROL_LINE_LIMIT)
        return ERR_LIMIT;
    line = text_trim(line);
    struct text word = text_next(&line, ' ');
    if (text_equal(word, T("backend")))
        return parse_backend(line, request);
    for (size_t i = 0; i < COUNT(commands); i++) {
        if (!text_equal(word, text_of(commands[i].word)))
            continue;
        bool has_argument = line.len > 0;
        if (has_argument && (commands[i].command != CONTROL_LOGS ||
                             !text_to_uint(line, CONTROL_LOG_LINES_LIMIT, &lines)))
            return ERR_SYNTAX;
        *request = (struct control_request){ .command = commands[i].command,
                                             .lines = lines,
                                             .weight = -1 };
        return OK;
    }
    return ERR_UNKNOWN;
}
