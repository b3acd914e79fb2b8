#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

/*
 * Output for people: standard output and standard error, colour on a terminal only (and never with
 * NO_COLOR in the environment). Private to src/cli.
 */

#include "core/buffer.h"

enum colour { COLOUR_NONE, COLOUR_BOLD, COLOUR_DIM, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_RED };

/* Is that descriptor (1 or 2) a terminal on which colour is wanted? */
bool terminal_has_colour(int fd);

/* The escape sequence that begins or ends a colour; empty without colour. */
const char *colour_begin(enum colour colour, bool has_colour);
const char *colour_end(enum colour colour, bool has_colour);

/* Writes to descriptor 1. False when it cannot be written (a full disk, a closed pipe). */
bool print_text(struct text text);

/* "trilith: " and the message on standard error, red where there is colour; for errors. */
void complain(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
