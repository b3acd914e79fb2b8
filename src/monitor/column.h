#ifndef MONITOR_COLUMN_H
#define MONITOR_COLUMN_H

/*
 * Numbers as they are kept: each as a code of 16 bits, a row of them over time in at most two bytes
 * each, mostly far less. Pure, and fuzzed: a file may hold anything.
 *
 * A code has a sign, 6 bits of exponent and 9 bits of fraction, in such an order that codes compare
 * like their numbers: small changes of a number are small changes of its code. 0.1 % at worst;
 * whole numbers up to 1024 are exact; from 2^-12 (below it is 0) to 2^52.
 */

#include "core/buffer.h"
#include "metrics/metrics.h"

enum { COLUMN_GAP = 0 }; /* the code of no number */

uint16_t column_code(double value); /* NAN: COLUMN_GAP */
double column_value(uint16_t code);

/* Appends the codes: differences, runs of the same in one byte for 64, or the codes as they are
 * where that is shorter: at most 2 * count + 1 bytes. */
void column_write(const uint16_t *codes, size_t count, struct buffer *out);

/* Exactly these many. ERR_SYNTAX: it is no such row, or of another length. */
MUST_CHECK enum err column_read(struct text data, uint16_t *codes_out, size_t count);

/* ---- histograms over time: only points that have any ---- */

/* Appends the buckets of one point. Nothing for an empty one. */
void column_write_buckets(const uint32_t counts[HISTOGRAM_BUCKETS], size_t point,
                          struct buffer *out);

/* Calls `each` for every bucket of every point below `points`. ERR_SYNTAX when it is no such row;
 * what came before has been told. */
MUST_CHECK enum err column_read_buckets(struct text data, size_t points,
                                        void (*each)(void *context, size_t point, size_t bucket,
                                                     uint32_t count),
                                        void *context);

#endif
