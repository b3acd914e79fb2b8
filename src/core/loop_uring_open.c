/* Opens and closes the ring of the io_uring driver, and the buffers that receives share. */
#include "core/loop_uring.h"

#include "core/memory.h"

#include <errno.h>
#include <sys/mman.h>

static const size_t ring_bytes = BUFFER_COUNT * sizeof(struct io_uring_buf);
static const size_t memory_bytes = (size_t)BUFFER_COUNT * BUFFER_BYTES;

static int open_ring(struct io_uring *ring)
{
    static const unsigned tries[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN |
            IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int result = -EINVAL;
    for (size_t i = 0; i < COUNT(tries) && result == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = tries[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = COMPLETE_ENTRIES,
        };
        result = io_uring_queue_init_params(SUBMIT_ENTRIES, ring, &params);
    }
    return result;
}

void uring_return_buffer(struct uring *uring, unsigned id)
{
    io_uring_buf_ring_add(uring->buffers, uring->memory + (size_t)id * BUFFER_BYTES, BUFFER_BYTES,
                          (unsigned short)id, io_uring_buf_ring_mask(BUFFER_COUNT), 0);
    io_uring_buf_ring_advance(uring->buffers, 1);
}

static int open_buffers(struct uring *uring)
{
    void *memory = mmap(NULL, ring_bytes + memory_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)memory,
        .ring_entries = BUFFER_COUNT,
        .bgid = BUFFER_GROUP,
    };
    int result = io_uring_register_buf_ring(&uring->ring, &reg, 0);
    if (result != 0) {
        munmap(memory, ring_bytes + memory_bytes);
        return result;
    }
    uring->buffers = memory;
    uring->memory = (char *)memory + ring_bytes;
    io_uring_buf_ring_init(uring->buffers);
    for (unsigned id = 0; id < BUFFER_COUNT; id++)
        uring_return_buffer(uring, id);
    return 0;
}

enum err uring_open(struct loop *loop, struct why *why)
{
    struct uring *uring = NEW(struct uring);
    int result = open_ring(&uring->ring);
    if (result != 0) {
        memory_free(uring);
        return fail(why, ERR_UNSUPPORTED,
                    "the kernel refuses an io_uring: %s (see sysctl kernel.io_uring_disabled, "
                    "container seccomp profiles and the limits nofile and memlock)",
                    strerror(-result));
    }
    result = uring->ring.features & IORING_FEAT_EXT_ARG ? open_buffers(uring) : -ENOSYS;
    if (result != 0) {
        io_uring_queue_exit(&uring->ring);
        memory_free(uring);
        return fail(why, ERR_UNSUPPORTED, "the kernel's io_uring is too old (5.19 is needed): %s",
                    strerror(-result));
    }
    io_uring_register_ring_fd(&uring->ring); /* saves a look-up per call; may fail */
    list_init(&uring->work);
    uring->has_multishot = true; /* until the kernel refuses one */
    uring->has_silent = (uring->ring.flags & IORING_SETUP_DEFER_TASKRUN) != 0; /* as old as that */
    loop->state = uring;
    return OK;
}

void uring_close(struct loop *loop)
{
    struct uring *uring = loop->state;
    io_uring_queue_exit(&uring->ring);
    munmap(uring->buffers, ring_bytes + memory_bytes);
    memory_free(uring);
}
