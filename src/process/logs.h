#ifndef PROCESS_LOGS_H
#define PROCESS_LOGS_H

/*
 * Reading the log files of a server (trilith.log and access.log with their predecessors): which
 * lines are wanted, the last ones, and new ones as they come. For `trilith logs`, which reads its
 * own server's folder, and for the process `log`, which answers for others:
 *
 *   trilith logs ──run/peer/peer.sock──► peer ══TLS══► peer ──run/log/log.sock──► log ──fork──►
 * reader
 *
 * The reader gets PEER_COMMAND with a query, and sends PEER_DATA with lines (each begins with 'm'
 * or 'a', its file), PEER_END after the last one that was there, PEER_DATA with new ones when it
 * follows, and PEER_NOTE when there is nothing to say for long; else PEER_ANSWER.
 */

#include "core/buffer.h"
#include "core/error.h"

enum {
    LOGS_LINES_MOST = 1000000,
    LOGS_ID_SIZE = 80,
    LOGS_LINE_LIMIT = 16384 * 5, /* as the log process writes them, escaped */
};

struct logs_query {
    bool has_main, has_access;
    bool follow;
    int64_t lines;         /* how many of the last ones, of both files together */
    int64_t status_from;   /* of an access line; 0: any */
    int64_t status_to;     /* with it */
    char id[LOGS_ID_SIZE]; /* that a line must hold; "": any */
};

/* "404", "5xx" or "400-499". False: it is none. */
bool logs_status_read(struct text text, struct logs_query *query);

/* How a query travels: five words. Reading is fuzzed. */
void logs_query_write(const struct logs_query *query, struct buffer *out);
MUST_CHECK enum err logs_query_read(struct text words, struct logs_query *query_out);

/* Whether the line is wanted. */
bool logs_matches(const struct logs_query *query, bool is_access, struct text line);

/* When it was written, wall clock; -1: it does not say. */
int64_t logs_time_ms(bool is_access, struct text line);

/* ---- files ---- */

enum logs_file { LOGS_MAIN, LOGS_ACCESS, LOGS_FILES };

struct logs_reader {
    struct logs_query query;
    int folder; /* not owned */
    struct {
        int fd;
        int64_t at;      /* up to here it was read */
    } files[LOGS_FILES]; /* the current ones; fd -1: not there */
};

/* Returns false to end. The line is without its end, and valid during the call. */
typedef bool logs_take(void *context, bool is_access, struct text line);

/* Begins: gives the last lines that are wanted, oldest first, rotated files included. folder: of
 * the log files, must stay open. False: take() has ended it. */
bool logs_reader_begin(struct logs_reader *reader, int folder, const struct logs_query *query,
                       logs_take *take, void *context);

/* What has come since, across the change to a new file. */
bool logs_reader_more(struct logs_reader *reader, logs_take *take, void *context);

void logs_reader_done(struct logs_reader *reader);

#endif
