/* The pure part of the control socket: one line, one command. */
#include "process/parent.h"

enum err control_parse(struct text line, struct control_request *request)
{
    static const struct {
        const char *word;
        enum control_command command;
    } commands[] = {
        { "status", CONTROL_STATUS },   { "reload", CONTROL_RELOAD }, { "stop", CONTROL_STOP },
        { "version", CONTROL_VERSION }, { "logs", CONTROL_LOGS },
    };
    uint64_t lines = 100;
    if (line.len > CONTROL_LINE_LIMIT)
        return ERR_LIMIT;
    line = text_trim(line);
    struct text word = text_next(&line, ' ');
    for (size_t i = 0; i < COUNT(commands); i++) {
        if (!text_equal(word, text_of(commands[i].word)))
            continue;
        bool has_argument = line.len > 0;
        if (has_argument && (commands[i].command != CONTROL_LOGS ||
                             !text_to_uint(line, CONTROL_LOG_LINES_LIMIT, &lines)))
            return ERR_SYNTAX;
        *request = (struct control_request){ .command = commands[i].command, .lines = lines };
        return OK;
    }
    return ERR_UNKNOWN;
}
