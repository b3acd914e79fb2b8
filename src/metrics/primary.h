#ifndef METRICS_PRIMARY_H
#define METRICS_PRIMARY_H

/*
 * Which server's database takes writes, as the servers of the database announced it: one record in
 * memory that every process of this server can map. Process `peer` writes it; the SQL proxy and
 * `status` read it. It survives reloads and crashes, not a restart of the parent: then it is empty
 * until the next announcement.
 *
 * The SQL proxy of the server says on the same board what it has open on the primary since it has
 * read an announcement, so that who closes the old primary knows when nobody is cut off by it.
 *
 * The epoch grows with every change of the primary and never shrinks, so an old announcement that
 * arrives late changes nothing.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PRIMARY_NAME_SIZE = 64 };

struct primary_view {
    uint64_t epoch; /* 0: the primary was never moved */
    int64_t
        hold_until_ms;  /* clock_now_ms(): until then begin nothing new on the primary; 0: none */
    int64_t changed_ms; /* clock_now_ms() of the last announcement that changed something */
    char name[PRIMARY_NAME_SIZE]; /* of the server; empty: nothing was announced yet */
};

struct primary_board;

/* A new, empty one: its memory file, -1 with errno. For the parent. */
int primary_board_open(void);

/* Maps it; NULL when fd is none. It stays for the life of the process. */
struct primary_board *primary_board_map(int fd);

/* Changes with every announcement that changed something: one load, for who looks per statement.
 * Accepts NULL (0). */
uint32_t primary_board_version(const struct primary_board *board);

/* A consistent copy; all zero for NULL or while nothing was announced. */
void primary_board_read(const struct primary_board *board, struct primary_view *view_out);

/* For the SQL proxy, the one of this server: since the announcement of this version it has begun
 * nothing that must wait for the hold, and this many of its sessions still have something open on
 * the primary. */
void primary_board_report(struct primary_board *board, uint32_t version, uint32_t open);

/* There is no SQL proxy here any more. Accepts NULL. */
void primary_board_retire(struct primary_board *board);

/* How many sessions of this server's SQL proxy have something open on the primary; 0 also when
 * there is no proxy; -1: it has not read the last announcement yet. */
int64_t primary_board_open_sessions(const struct primary_board *board);

/* For the one writer. An older epoch is refused, and so is another name of the same epoch: false.
 */
bool primary_board_announce(struct primary_board *board, uint64_t epoch, const char *name,
                            size_t name_len, int64_t hold_until_ms, int64_t now_ms);

#endif
