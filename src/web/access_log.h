#ifndef WEB_ACCESS_LOG_H
#define WEB_ACCESS_LOG_H

/*
 * The access log: one line per request, into a pipe that several processes share and that may be
 * full. Never blocks: what does not fit is dropped and counted.
 *
 * combined: the well-known form with the request id and where the time went behind it:
 *   192.0.2.1 - - [21/Nov/2026:10:26:49 +0000] "GET / HTTP/1.1" 200 512 "-" "curl/8" host=www
 *   id=4bf9... by="app guestbook" total_us=900 wait_us=10 work_us=700
 * json: one object per line with the same facts.
 *
 * A connection of layer 4 (minor_version -1) has the method TCP, its pool in place of the path, the
 * bytes that its client got, and a status as if it had been a request:
 *   192.0.2.1 - - [21/Nov/2026:10:26:49 +0000] "TCP tcp/mail" 200 512 "-" "-" host=- id=-
 *   by="tcp/mail/mx-01:25" total_us=90000 wait_us=400 work_us=89600
 */

#include "core/clock.h"
#include "http/http.h"
#include "site/site.h"

/* A line, with its newline, is never longer: it is written as one piece of the pipe (PIPE_BUF), so
 * lines of several processes cannot mix. */
enum { ACCESS_LINE_MAX = 4096 };

/* The time of the last line, in words; zeroed at first. */
struct web_access_clock {
    int64_t second;
    char text[CLOCK_LOG_SIZE];
};

/* Writes the line of a finished exchange. Pure. Outside text is cut and escaped, so that it can
 * neither forge nor break a line. */
void web_access_line(struct buffer *out, struct web_access_clock *clock, enum site_access_log form,
                     const struct http_record *record, int64_t wall_ms);

struct web_access_log;

/* fd: non-blocking, not owned; -1: no log. Lines are written when a batch is full or after some
 * ms. */
struct web_access_log *web_access_log_new(struct loop *loop, int fd);
void web_access_log_free(struct web_access_log *log); /* tries to write the rest; accepts NULL */

void web_access_log_add(struct web_access_log *log, enum site_access_log form,
                        const struct http_record *record);

/* Lines dropped since the last call. */
int64_t web_access_log_dropped(struct web_access_log *log);

#endif
