#ifndef CORE_LOOP_URING_H
#define CORE_LOOP_URING_H

/* Private to the io_uring driver: its ring, and how that is opened and closed. */

#include "core/loop_private.h"

#include <liburing.h>

enum {
    SUBMIT_ENTRIES = 1024,
    COMPLETE_ENTRIES = 4096,
    BATCH = 256,
    BUFFER_COUNT = 256, /* a power of two; when they are short, receives are asked again */
    BUFFER_BYTES = 16 * 1024,
    BUFFER_GROUP = 0,
};

struct done { /* a completion, copied out of the ring */
    uint64_t user_data;
    int result;
    unsigned flags;
};

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    char *memory;     /* of the buffers */
    struct list work; /* watch slots to arm, cancel or free */
    bool has_multishot;
    bool has_silent; /* a partial send that fails tells how much was taken: since Linux 6.1 */
    unsigned silent_count;
    struct loop_socket *silent[SUBMIT_ENTRIES]; /* whose silent sends were started */
    struct done batch[BATCH];
};

/* See struct loop_driver. */
enum err uring_open(struct loop *loop, struct why *why);
void uring_close(struct loop *loop);

/* The kernel may fill it again. */
void uring_return_buffer(struct uring *uring, unsigned id);

#endif
