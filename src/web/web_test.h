#ifndef WEB_WEB_TEST_H
#define WEB_WEB_TEST_H

/* For tests: a web generation on a real HTTP server over loopback TCP, in this process. */

#include "web/generation.h"

struct bench {
    struct loop *loop;
    struct http_server *server;
    struct web_generation *generation;
    struct process process;
    char folder[40]; /* made before the site is read; the text ROOT in it stands for this folder */
    int listening;
    struct address address;
};

/* False (after a failed check) when it cannot be made. bench_file may be called before. */
bool bench_folder(struct bench *bench);
void bench_file(const struct bench *bench, const char *name, struct text data);
bool bench_start(struct bench *bench, const char *site, const struct web_maker *makers,
                 size_t maker_count);
/* With all that is in it. */
void bench_remove(const char *path);
/* Removes the folder too. */
void bench_stop(struct bench *bench);

/* Sends the request text (a "Connection: close" is put in) and returns all that comes back; freed
 * by the caller with buffer_done. */
struct buffer bench_ask(struct bench *bench, const char *request);

/* Of an answer: its status, a header's value (empty: none), its body (chunked ones are joined). */
int answer_status(const struct buffer *answer);
struct text answer_header(const struct buffer *answer, const char *name);
struct text answer_body(struct buffer *answer);

#endif
