/*
 * Writes for people; see terminal.h.
 */
#include "cli/terminal.h"

#include "core/sys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const begins[] = {
    [COLOUR_NONE] = "",          [COLOUR_BOLD] = "\033[1m",    [COLOUR_DIM] = "\033[2m",
    [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m", [COLOUR_RED] = "\033[31m",
};

bool terminal_has_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR"); /* https://no-color.org: set and not empty */
    const char *term = getenv("TERM");
    bool is_refused = no_color != NULL && no_color[0] != '\0';
    bool is_dumb = term == NULL || strcmp(term, "dumb") == 0;
    return !is_refused && !is_dumb && isatty(fd) == 1;
}

const char *colour_begin(enum colour colour, bool has_colour)
{
    return has_colour ? begins[colour] : "";
}

const char *colour_end(enum colour colour, bool has_colour)
{
    return has_colour && colour != COLOUR_NONE ? "\033[0m" : "";
}

bool print_text(struct text text)
{
    if (sys_write_all(STDOUT_FILENO, text) == OK)
        return true;
    complain("cannot write to standard output: %s", strerror(errno));
    return false;
}

void complain(const char *format, ...)
{
    bool has_colour = terminal_has_colour(STDERR_FILENO);
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%strilith:%s ", colour_begin(COLOUR_RED, has_colour),
            colour_end(COLOUR_RED, has_colour));
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}
