#ifndef MONITOR_EXPOSE_H
#define MONITOR_EXPOSE_H

/*
 * A table of an agent as text that a Prometheus reads: its own format 0.0.4, or OpenMetrics 1.0.
 * Names are trilith_*, units are those of the name (seconds, bytes, ratio), what a series is about
 * is a label. Pure.
 */

#include "monitor/sample.h"

enum expose_format { EXPOSE_TEXT, EXPOSE_OPENMETRICS };

/* By the header Accept; empty: text. */
enum expose_format expose_choose(struct text accept);

/* With its charset. */
struct text expose_content_type(enum expose_format format);

/* Series that nobody has described are left out. */
void expose_write(const struct sample_table *table, enum expose_format format, struct buffer *out);

#endif
