#ifndef AUDIT_AUDIT_H
#define AUDIT_AUDIT_H

/*
 * `trilith audit` names the weaknesses of a site, `trilith draw` draws it. Both work from the site
 * file alone; nothing has to run.
 */

#include "core/buffer.h"
#include "site/site.h"

/* The words behind the command's name. Exit status: 0 done, 1 the file has mistakes, or there are
 * findings as bad as --fail says; 2 wrong usage. */
int audit_command(int count, char **words);
int draw_command(int count, char **words);

/* What `trilith help audit` and `trilith help draw` print. */
extern const char audit_usage[], draw_usage[];

/* The picture as JSON, for the dashboard (picture_json.c says what is in it); sets out->failed when
 * it does not fit. */
void audit_write_picture(const struct site *site, struct buffer *out);

#endif
