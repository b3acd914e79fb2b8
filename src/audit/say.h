#ifndef AUDIT_SAY_H
#define AUDIT_SAY_H

/* What both commands of this folder do alike: read the file, print, complain. Private to src/audit.
 */

#include "core/buffer.h"
#include "site/site.h"

enum { SAY_OK, SAY_FAILED, SAY_USAGE };

/* The site of the file; NULL: its mistakes were printed. */
struct site *say_site(const char *path);

/* "trilith NAME: PROBLEM; see: trilith NAME --help" on standard error; SAY_USAGE. */
int say_usage(const char *name, const char *problem);

/* Writes it to standard output. False, and it is said, when it cannot be written or was too large.
 */
bool say(const struct buffer *out);

/* The words as getopt wants them: the command's name first, NULL behind the last. The caller frees
 * the array with memory_free. */
char **say_words(const char *name, int count, char **words);

/* Is the descriptor a terminal, and colour wanted? */
bool say_has_colour(int fd);

#endif
