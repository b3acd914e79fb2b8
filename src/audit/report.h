#ifndef AUDIT_REPORT_H
#define AUDIT_REPORT_H

/* An audit for people and for programs. Private to src/audit. */

#include "audit/finding.h"
#include "core/buffer.h"

/* path: of the file, as the user wrote it. has_colour: for a terminal. */
void report_text(const struct audit *audit, const char *path, bool has_colour, struct buffer *out);
void report_json(const struct audit *audit, const char *path, struct buffer *out);

/* "low", "medium", "high". */
const char *finding_severity(enum severity severity);

#endif
