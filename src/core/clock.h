#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

/* Time. Loops keep a coarse clock (loop_now_ms); these ask the kernel. Nothing else calls it. */

#include <stddef.h>
#include <stdint.h>

/* Monotonic milliseconds and microseconds since boot: for deadlines and measuring. */
int64_t clock_now_ms(void);
int64_t clock_now_us(void);

/* Wall clock: milliseconds since 1970-01-01 UTC: for people and HTTP dates only. */
int64_t clock_wall_ms(void);

enum { CLOCK_ISO_SIZE = 32, CLOCK_HTTP_SIZE = 32, CLOCK_LOG_SIZE = 32 };

/* "2026-11-21T10:26:49.123Z" */
void clock_format_iso(int64_t wall_ms, char out[CLOCK_ISO_SIZE]);

/* IMF-fixdate of RFC 9110 5.6.7: "Sat, 21 Nov 2026 10:26:49 GMT" */
void clock_format_http(int64_t wall_s, char out[CLOCK_HTTP_SIZE]);

/* The combined log's form: "21/Nov/2026:10:26:49 +0000" */
void clock_format_log(int64_t wall_s, char out[CLOCK_LOG_SIZE]);

/* Reads the three forms of RFC 9110 5.6.7 (IMF-fixdate, RFC 850, asctime); -1 if it is none. */
int64_t clock_parse_http(const char *data, size_t len);

/* Blocks. For processes that do one thing at a time, never in a loop. */
void clock_sleep_ms(int64_t ms);

#endif
