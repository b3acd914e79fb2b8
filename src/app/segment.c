/*
 * Shared memory between edges and workers; the states are drawn in segment.h. Every change of a
 * slot's owner is one compare-and-swap on its word:
 *
 *   bits 0-7 state, 8-23 lane, 24-63 ticket (a serial number that also orders the queue)
 *
 * The ticket in the word makes a late hand of an old request miss: its compare fails.
 */
#include "app/segment.h"

#include "core/clock.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAGIC = 0x74726c41, VERSION = 3, TICKET_BITS = 40 };

struct segment_shared {
    uint32_t magic;
    uint32_t version;
    uint32_t edge_count;
    uint32_t worker_count;
    uint32_t lane_count;
    uint32_t slots_per_edge;
    _Alignas(64) _Atomic uint64_t ticket;
};

static const char *const key_names[KEY_COUNT] = { [KEY_OTHER] = "",
#define X(code, name) [code] = name,
                                                  SEGMENT_KEY_LIST(X)
#undef X
};

struct text segment_key_name(enum segment_key key)
{
    return text_of(key < KEY_COUNT ? key_names[key] : "");
}

bool segment_table_next(struct text *rest, struct segment_entry *entry, struct text *name,
                        struct text *value)
{
    if (rest->len < sizeof(*entry))
        return false;
    memcpy(entry, rest->data, sizeof(*entry));
    struct text left = text_skip(*rest, sizeof(*entry));
    if (entry->name_bytes > left.len || entry->value_bytes > left.len - entry->name_bytes)
        return false;
    *name = text_part(left, 0, entry->name_bytes);
    *value = text_part(left, entry->name_bytes, entry->value_bytes);
    *rest = text_skip(left, (size_t)entry->name_bytes + entry->value_bytes);
    return true;
}

/* ---- layout ---- */

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static bool are_counts_valid(const struct segment *counts)
{
    size_t edges = counts->edge_count, workers = counts->worker_count, lanes = counts->lane_count;
    return edges >= 1 && edges <= SEGMENT_EDGES_LIMIT && workers >= 1 &&
           workers <= SEGMENT_WORKERS_LIMIT && lanes >= workers &&
           lanes <= workers * SEGMENT_THREADS_LIMIT && lanes % workers == 0 &&
           counts->slots_per_edge >= 1 && counts->slots_per_edge <= SEGMENT_SLOTS_LIMIT;
}

/* Sets the places of the parts for a base (which may be NULL to measure) and returns the size. */
static size_t lay_out(struct segment *segment, uint8_t *base)
{
    size_t slots = segment->edge_count * segment->slots_per_edge;
    size_t workers_at = round_up(sizeof(struct segment_shared), 64);
    size_t lanes_at = workers_at + segment->worker_count * sizeof(struct segment_worker);
    size_t edges_at = lanes_at + segment->lane_count * sizeof(struct segment_lane);
    size_t words_at = edges_at + segment->edge_count * sizeof(struct segment_edge);
    size_t slots_at = round_up(words_at + slots * sizeof(uint64_t), 4096);
    segment->slot_count = slots;
    segment->base = base;
    segment->size = slots_at + slots * sizeof(struct segment_slot);
    if (base == NULL)
        return segment->size;
    segment->shared = (struct segment_shared *)base;
    segment->workers = (struct segment_worker *)(base + workers_at);
    segment->lanes = (struct segment_lane *)(base + lanes_at);
    segment->edges = (struct segment_edge *)(base + edges_at);
    segment->words = (_Atomic uint64_t *)(base + words_at);
    segment->slots = (struct segment_slot *)(base + slots_at);
    return segment->size;
}

enum err segment_create(size_t edges, size_t workers, size_t threads, size_t slots_per_edge,
                        int *fd_out, struct why *why)
{
    struct segment segment = { .edge_count = edges,
                               .worker_count = workers,
                               .lane_count = workers * threads,
                               .slots_per_edge = slots_per_edge };
    if (!are_counts_valid(&segment))
        return fail(why, ERR_RANGE, "%zu edges, %zu workers, %zu threads, %zu slots are too many",
                    edges, workers, threads, slots_per_edge);
    struct segment_shared shared = { .magic = MAGIC,
                                     .version = VERSION,
                                     .edge_count = (uint32_t)edges,
                                     .worker_count = (uint32_t)workers,
                                     .lane_count = (uint32_t)segment.lane_count,
                                     .slots_per_edge = (uint32_t)slots_per_edge };
    int fd = memfd_create("trilith-app", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)lay_out(&segment, NULL)) != 0 ||
        sys_pwrite(fd, &shared, sizeof(shared), 0) != (ssize_t)sizeof(shared) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        fail(why, ERR_SYSTEM, "cannot make shared memory: %s", strerror(errno));
        fd_close(&fd);
        return ERR_SYSTEM;
    }
    *fd_out = fd;
    return OK;
}

enum err segment_map(int fd, struct segment *segment, struct why *why)
{
    struct segment_shared shared;
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 ||
        sys_pread(fd, &shared, sizeof(shared), 0) != (ssize_t)sizeof(shared))
        return fail(why, ERR_SYSTEM, "cannot read shared memory: %s", strerror(errno));
    struct segment view = { .edge_count = shared.edge_count,
                            .worker_count = shared.worker_count,
                            .lane_count = shared.lane_count,
                            .slots_per_edge = shared.slots_per_edge };
    if (shared.magic != MAGIC || shared.version != VERSION || !are_counts_valid(&view) ||
        (off_t)lay_out(&view, NULL) != status.st_size)
        return fail(why, ERR_PROTOCOL, "this shared memory is not of this version of trilith");
    void *base = mmap(NULL, view.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return fail(why, ERR_SYSTEM, "cannot map shared memory: %s", strerror(errno));
    lay_out(&view, base);
    *segment = view;
    return OK;
}

void segment_unmap(struct segment *segment)
{
    if (segment->base != NULL)
        munmap(segment->base, segment->size);
    *segment = (struct segment){ 0 };
}

/* ---- words ---- */

static uint64_t word_of(enum slot_state state, size_t lane, uint64_t ticket)
{
    return (uint64_t)state | (uint64_t)lane << 8 | ticket << 24;
}

static enum slot_state word_state(uint64_t word)
{
    return (enum slot_state)(word & 0xff);
}

static size_t word_lane(uint64_t word)
{
    return word >> 8 & 0xffff;
}

static uint64_t word_ticket(uint64_t word)
{
    return word >> 24;
}

/* Tickets wrap after 2^40; the difference stays right as long as fewer wait at once. */
static bool is_before(uint64_t word, uint64_t other)
{
    return (int64_t)((word_ticket(word) - word_ticket(other)) << (64 - TICKET_BITS)) < 0;
}

static uint64_t word_load(const struct segment *segment, size_t slot)
{
    return atomic_load_explicit(&segment->words[slot], memory_order_acquire);
}

/* From any word with that state to the same word with another state. */
static bool word_change(struct segment *segment, size_t slot, uint64_t word, enum slot_state to)
{
    uint64_t next = word_of(to, word_lane(word), word_ticket(word));
    return atomic_compare_exchange_strong(&segment->words[slot], &word, next);
}

enum slot_state segment_state(const struct segment *segment, size_t slot)
{
    return word_state(word_load(segment, slot));
}

static size_t word_worker(const struct segment *segment, uint64_t word)
{
    size_t lane = word_lane(word);
    return lane < segment->lane_count ? lane % segment->worker_count : SEGMENT_NO_WORKER;
}

size_t segment_slot_lane(const struct segment *segment, size_t slot)
{
    size_t lane = word_lane(word_load(segment, slot));
    return lane < segment->lane_count ? lane : SEGMENT_NO_WORKER;
}

size_t segment_slot_worker(const struct segment *segment, size_t slot)
{
    return word_worker(segment, word_load(segment, slot));
}

uint64_t segment_slot_ticket(const struct segment *segment, size_t slot)
{
    return word_ticket(word_load(segment, slot));
}

/* ---- futexes ---- */

static long futex_us(_Atomic uint32_t *word, int operation, uint32_t value, int64_t timeout_us)
{
    struct timespec timeout = { .tv_sec = timeout_us / 1000000,
                                .tv_nsec = timeout_us % 1000000 * 1000 };
    return syscall(SYS_futex, (uint32_t *)word, operation, value,
                   operation == FUTEX_WAIT ? &timeout : NULL, NULL, 0);
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value, int64_t timeout_ms)
{
    return futex_us(word, operation, value, timeout_ms * 1000);
}

/* ---- edge side ---- */

void segment_edge_start(struct segment *segment, size_t edge)
{
    size_t first = edge * segment->slots_per_edge;
    for (size_t slot = first; slot < first + segment->slots_per_edge; slot++) {
        uint64_t word = word_load(segment, slot);
        switch (word_state(word)) {
        case SLOT_FREE:
            break;
        case SLOT_QUEUED:
        case SLOT_RUNNING:
            segment_cancel(segment, slot, CANCEL_CLIENT);
            break;
        case SLOT_DONE:
        case SLOT_FAILED:
            segment_release(segment, slot);
            break;
        }
    }
    atomic_store(&segment->edges[edge].sleeping, 0);
}

static uint64_t next_ticket(struct segment *segment)
{
    return atomic_fetch_add(&segment->shared->ticket, 1) & (((uint64_t)1 << TICKET_BITS) - 1);
}

static void reset_answer(struct segment_slot *slot)
{
    atomic_store_explicit(&slot->written, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->taken, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->is_waiting, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->wants_file, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->wants_room, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->notice, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->is_client_done, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->in_written, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->in_taken, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->in_waiting, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->close_code, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->cancelled, CANCEL_NONE, memory_order_relaxed);
    atomic_store_explicit(&slot->started_us, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->finished_us, 0, memory_order_relaxed);
}

void segment_submit(struct segment *segment, size_t slot)
{
    reset_answer(&segment->slots[slot]);
    segment->slots[slot].queued_us = clock_now_us();
    atomic_store(&segment->words[slot],
                 word_of(SLOT_QUEUED, SEGMENT_NO_WORKER, next_ticket(segment)));
}

bool segment_submit_again(struct segment *segment, size_t slot)
{
    if (segment_state(segment, slot) != SLOT_FAILED)
        return false;
    segment_submit(segment, slot);
    return true;
}

void segment_wake_worker(struct segment *segment, size_t worker)
{
    for (size_t i = worker; i < segment->lane_count; i += segment->worker_count) {
        atomic_store(&segment->lanes[i].sleeping, 0);
        futex(&segment->lanes[i].sleeping, FUTEX_WAKE, 1, 0);
    }
}

void segment_wake(struct segment *segment, size_t count)
{
    atomic_thread_fence(memory_order_seq_cst); /* QUEUED is visible before the marks are read */
    for (size_t i = 0; i < segment->lane_count && count > 0; i++) {
        struct segment_lane *lane = &segment->lanes[i];
        uint32_t asleep = 1;
        if (atomic_load_explicit(&lane->sleeping, memory_order_relaxed) == 0 ||
            !atomic_compare_exchange_strong(&lane->sleeping, &asleep, 0))
            continue;
        /* nobody woken: it is just about to sleep and will see the mark, or it is dead; the next
         * one is woken too, because a lost wake-up costs more than a needless one */
        if (futex(&lane->sleeping, FUTEX_WAKE, 1, 0) == 1)
            count--;
    }
}

void segment_nap(struct segment *segment, size_t edge, int64_t us)
{
    futex_us(&segment->edges[edge].sleeping, FUTEX_WAIT, EDGE_NAPS, us);
}

bool segment_cancel(struct segment *segment, size_t slot, enum slot_cancel reason)
{
    uint64_t word = word_load(segment, slot);
    if (word_state(word) == SLOT_QUEUED && word_change(segment, slot, word, SLOT_FREE))
        return true;
    struct segment_slot *at = &segment->slots[slot];
    atomic_store(&at->cancelled, reason);
    atomic_fetch_add(&at->room, 1); /* it may be waiting for room */
    futex(&at->room, FUTEX_WAKE, INT_MAX, 0);
    return false;
}

bool segment_release(struct segment *segment, size_t slot)
{
    enum slot_state state = segment_state(segment, slot);
    if (state != SLOT_DONE && state != SLOT_FAILED)
        return false;
    atomic_store(&segment->words[slot], word_of(SLOT_FREE, SEGMENT_NO_WORKER, 0));
    return true;
}

bool segment_fail(struct segment *segment, size_t slot, size_t worker)
{
    uint64_t word = word_load(segment, slot);
    return word_state(word) == SLOT_RUNNING && word_worker(segment, word) == worker &&
           word_change(segment, slot, word, SLOT_FAILED);
}

void segment_took(struct segment_slot *slot, uint64_t taken)
{
    atomic_store(&slot->taken, taken);
    atomic_fetch_add(&slot->room, 1);
    if (atomic_load(&slot->is_waiting) != 0)
        futex(&slot->room, FUTEX_WAKE, INT_MAX, 0);
}

/* ---- worker side ---- */

bool segment_claim(struct segment *segment, size_t lane, size_t *slot_out)
{
    for (;;) {
        size_t best = segment->slot_count;
        uint64_t best_word = 0;
        for (size_t slot = 0; slot < segment->slot_count; slot++) {
            uint64_t word = atomic_load_explicit(&segment->words[slot], memory_order_relaxed);
            if (word_state(word) != SLOT_QUEUED)
                continue;
            if (best == segment->slot_count || is_before(word, best_word)) {
                best = slot;
                best_word = word;
            }
        }
        if (best == segment->slot_count)
            return false;
        uint64_t mine = word_of(SLOT_RUNNING, lane, word_ticket(best_word));
        if (!atomic_compare_exchange_strong(&segment->words[best], &best_word, mine))
            continue;
        atomic_store_explicit(&segment->slots[best].started_us, clock_now_us(),
                              memory_order_relaxed);
        *slot_out = best;
        return true;
    }
}

bool segment_claim_slot(struct segment *segment, size_t worker, size_t slot)
{
    uint64_t word = word_load(segment, slot);
    uint64_t mine = word_of(SLOT_RUNNING, worker, word_ticket(word));
    if (word_state(word) != SLOT_QUEUED ||
        !atomic_compare_exchange_strong(&segment->words[slot], &word, mine))
        return false;
    atomic_store_explicit(&segment->slots[slot].started_us, clock_now_us(), memory_order_relaxed);
    return true;
}

static bool is_anything_queued(const struct segment *segment)
{
    for (size_t slot = 0; slot < segment->slot_count; slot++) {
        if (word_state(atomic_load(&segment->words[slot])) == SLOT_QUEUED)
            return true;
    }
    return false;
}

void segment_wait(struct segment *segment, size_t lane, int64_t timeout_ms)
{
    struct segment_lane *self = &segment->lanes[lane];
    const struct segment_worker *worker = &segment->workers[lane % segment->worker_count];
    atomic_store(&self->sleeping, 1);
    /* looked at after the mark is set: whoever queues later sees the mark and wakes us */
    if (!is_anything_queued(segment) && atomic_load(&worker->retire) == 0)
        futex(&self->sleeping, FUTEX_WAIT, 1, timeout_ms);
    atomic_store(&self->sleeping, 0);
}

bool segment_must_ring(struct segment *segment, size_t edge)
{
    _Atomic uint32_t *sleeping = &segment->edges[edge].sleeping;
    if (atomic_load(sleeping) == EDGE_AWAKE)
        return false;
    switch (atomic_exchange(sleeping, EDGE_AWAKE)) {
    case EDGE_ASLEEP:
        return true;
    case EDGE_NAPS:
        futex(sleeping, FUTEX_WAKE, 1, 0);
        return false;
    default:
        return false;
    }
}

bool segment_tell(struct segment *segment, size_t slot)
{
    size_t edge = slot / segment->slots_per_edge;
    size_t bit = slot % segment->slots_per_edge;
    atomic_fetch_or(&segment->edges[edge].ready[bit / 64], (uint64_t)1 << bit % 64);
    return atomic_load(&segment->edges[edge].sleeping) == EDGE_ASLEEP;
}

int64_t segment_finish(struct segment *segment, size_t lane, size_t slot)
{
    int64_t now_us = clock_now_us();
    struct segment_worker *self = &segment->workers[lane % segment->worker_count];
    uint64_t word = word_load(segment, slot);
    atomic_store_explicit(&segment->slots[slot].finished_us, now_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&self->requests, 1, memory_order_relaxed);
    if (word_state(word) == SLOT_RUNNING && word_lane(word) == lane)
        word_change(segment, slot, word, SLOT_DONE);
    return now_us;
}

bool segment_is_spent(const struct segment *segment, size_t worker)
{
    uint64_t limit = atomic_load_explicit(&segment->workers[worker].limit, memory_order_relaxed);
    return limit != 0 && atomic_load(&segment->workers[worker].requests) == limit;
}

/* The place for a record of `bytes` payload, or of as much as fits; NULL: no room now. */
static uint8_t *reserve(struct segment_slot *slot, size_t *bytes, bool whole_record,
                        uint64_t *position)
{
    uint64_t written = atomic_load_explicit(&slot->written, memory_order_relaxed);
    uint64_t taken = atomic_load(&slot->taken);
    for (;;) {
        size_t at = written % SEGMENT_RESPONSE_BYTES;
        size_t to_end = SEGMENT_RESPONSE_BYTES - at;
        size_t room = SEGMENT_RESPONSE_BYTES - (size_t)(written - taken);
        size_t usable = room < to_end ? room : to_end;
        size_t head = sizeof(struct segment_record);
        bool fits = usable >= head + round_up(*bytes, 8);
        if (fits || (!whole_record && usable > head)) {
            if (!fits)
                *bytes = usable - head;
            *position = written;
            return slot->response + at;
        }
        if (room <= to_end)
            return NULL;
        /* the rest of the ring is too short but free: skip it (it is at least a record's head) */
        struct segment_record skip = { .kind = RECORD_SKIP, .bytes = (uint32_t)(to_end - head) };
        memcpy(slot->response + at, &skip, sizeof(skip));
        written += to_end;
        atomic_store(&slot->written, written);
    }
}

ssize_t segment_put(struct segment_slot *slot, enum segment_record_kind kind, struct text data,
                    bool whole_record)
{
    size_t bytes = data.len;
    uint64_t position;
    uint8_t *at = reserve(slot, &bytes, whole_record || data.len == 0, &position);
    if (at == NULL)
        return -1;
    struct segment_record record = { .kind = kind, .bytes = (uint32_t)bytes };
    memcpy(at, &record, sizeof(record));
    if (bytes > 0)
        memcpy(at + sizeof(record), data.data, bytes);
    atomic_store(&slot->written, position + sizeof(record) + round_up(bytes, 8));
    return (ssize_t)bytes;
}

void segment_wait_room(struct segment_slot *slot, int64_t timeout_ms)
{
    uint64_t written = atomic_load(&slot->written);
    uint32_t room = atomic_load(&slot->room);
    atomic_store(&slot->is_waiting, 1);
    /* a quarter of the ring is worth waking up for */
    if (written - atomic_load(&slot->taken) > SEGMENT_RESPONSE_BYTES * 3 / 4 &&
        atomic_load(&slot->cancelled) == CANCEL_NONE)
        futex(&slot->room, FUTEX_WAIT, room, timeout_ms);
    atomic_store(&slot->is_waiting, 0);
}

/* ---- zygote side ---- */

size_t segment_queue(const struct segment *segment, int64_t *oldest_us)
{
    size_t count = 0;
    int64_t now_us = clock_now_us(), oldest = now_us;
    for (size_t slot = 0; slot < segment->slot_count; slot++) {
        if (segment_state(segment, slot) != SLOT_QUEUED)
            continue;
        int64_t queued_us = segment->slots[slot].queued_us;
        oldest = queued_us < oldest ? queued_us : oldest;
        count++;
    }
    *oldest_us = now_us - oldest;
    return count;
}

size_t segment_worker_lost(struct segment *segment, size_t worker,
                           size_t ready_edges[SEGMENT_EDGES_LIMIT])
{
    size_t count = 0;
    for (size_t slot = 0; slot < segment->slot_count; slot++) {
        size_t edge = slot / segment->slots_per_edge;
        if (!segment_fail(segment, slot, worker))
            continue;
        segment_tell(segment, slot);
        if (count == 0 || ready_edges[count - 1] != edge)
            ready_edges[count++] = edge;
    }
    struct segment_worker *lost = &segment->workers[worker];
    atomic_store(&lost->pid, 0);
    atomic_store(&lost->listens, 0);
    atomic_store(&lost->load, 0);
    for (size_t i = worker; i < segment->lane_count; i += segment->worker_count) {
        atomic_store(&segment->lanes[i].sleeping, 0);
        atomic_store(&segment->lanes[i].tid, 0);
    }
    return count;
}
