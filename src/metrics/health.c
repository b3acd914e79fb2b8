/*
 * See health.h. The entries are a dense row: a name takes the first empty place by a
 * compare-and-swap of that place's hash from 0 to BUSY, writes the name, then the hash; who meets
 * BUSY waits for the name, so that no name gets two entries. Nothing is ever taken away: a name
 * that a reload drops and a later one brings back goes on where it was.
 *
 * Hashes and lanes lie apart from the entries: looking through the table gives memory only to what
 * is used.
 */
#include "metrics/health.h"

#include "metrics/metrics.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    HASH_EMPTY = 0,
    HASH_BUSY = 1,
    NAME_TURNS = 10000, /* how long a name may be half written; its writer may have been killed */
    TEXT_TURNS = 1000,  /* the same for reason and GTID: then there are none */
};

struct health_board {
    _Atomic uint32_t version;
    _Atomic uint32_t is_lane_used[HEALTH_LANES];
    _Atomic uint32_t hashes[HEALTH_ENTRIES];
    struct health_entry entries[HEALTH_ENTRIES];
    struct health_lane lanes[HEALTH_LANES][HEALTH_ENTRIES];
};

struct health_board *health_new(void)
{
    /* pages come with their first use */
    void *memory = mmap(NULL, sizeof(struct health_board), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        fputs("trilith: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void health_free(struct health_board *board)
{
    if (board != NULL)
        munmap(board, sizeof(*board));
}

static uint32_t hash_of(struct text name)
{
    uint32_t hash = text_hash(name);
    return hash > HASH_BUSY ? hash : hash + 2;
}

/* The hash at that place, once its name is whole; BUSY when its writer does not come back. */
static uint32_t settled(const struct health_board *board, size_t at)
{
    const _Atomic uint32_t *place = &board->hashes[at];
    uint32_t hash = atomic_load_explicit(place, memory_order_acquire);
    for (int i = 0; hash == HASH_BUSY && i < NAME_TURNS; i++) {
        sched_yield();
        hash = atomic_load_explicit(place, memory_order_acquire);
    }
    return hash;
}

static bool is_named(const struct health_entry *entry, struct text name)
{
    return strncmp(entry->name, name.data, name.len) == 0 && entry->name[name.len] == '\0';
}

static bool is_name(struct text name)
{
    return name.len > 0 && name.len < HEALTH_NAME_SIZE && text_find(name, '\0') < 0;
}

struct health_entry *health_find(const struct health_board *board, struct text name)
{
    if (board == NULL || !is_name(name))
        return NULL;
    for (size_t i = 0; i < HEALTH_ENTRIES; i++) {
        uint32_t hash = settled(board, i);
        if (hash == HASH_EMPTY)
            return NULL;
        if (hash == hash_of(name) && is_named(&board->entries[i], name))
            return &((struct health_board *)board)->entries[i];
    }
    return NULL;
}

static void begin_entry(struct health_entry *entry, struct text name)
{
    memcpy(entry->name, name.data, name.len);
    atomic_store(&entry->lag_ms, -1);
    atomic_store(&entry->latency_us, -1);
}

struct health_entry *health_use(struct health_board *board, struct text name)
{
    if (board == NULL || !is_name(name))
        return NULL;
    for (size_t i = 0; i < HEALTH_ENTRIES; i++) {
        uint32_t empty = HASH_EMPTY;
        if (settled(board, i) == HASH_EMPTY &&
            atomic_compare_exchange_strong(&board->hashes[i], &empty, HASH_BUSY)) {
            begin_entry(&board->entries[i], name);
            atomic_store_explicit(&board->hashes[i], hash_of(name), memory_order_release);
            return &board->entries[i];
        }
        if (settled(board, i) == hash_of(name) && is_named(&board->entries[i], name))
            return &board->entries[i];
    }
    return NULL;
}

/* ---- readers ---- */

uint32_t health_version(const struct health_board *board)
{
    return board != NULL ? atomic_load(&board->version) : 0;
}

static void read_texts(const struct health_entry *entry, struct health_view *view)
{
    bool is_whole = false;
    for (int i = 0; i < TEXT_TURNS && !is_whole; i++) {
        uint32_t before = atomic_load_explicit(&entry->sequence, memory_order_acquire);
        memcpy(view->reason, entry->reason, sizeof(view->reason));
        memcpy(view->gtid, entry->gtid, sizeof(view->gtid));
        atomic_thread_fence(memory_order_acquire);
        is_whole = before % 2 == 0 &&
                   atomic_load_explicit(&entry->sequence, memory_order_relaxed) == before;
        if (!is_whole)
            sched_yield();
    }
    view->reason[is_whole ? sizeof(view->reason) - 1 : 0] = '\0';
    view->gtid[is_whole ? sizeof(view->gtid) - 1 : 0] = '\0';
}

static void add_lanes(const struct health_board *board, const struct health_entry *entry,
                      struct health_view *view)
{
    for (size_t i = 0; i < HEALTH_LANES; i++) {
        if (atomic_load(&board->is_lane_used[i]) == 0)
            continue;
        const struct health_lane *lane = &board->lanes[i][entry - board->entries];
        view->good += metrics_get(&lane->good);
        view->bad += metrics_get(&lane->bad);
        view->time_us += metrics_get(&lane->time_us);
        view->active += metrics_get(&lane->active);
        view->ejected += metrics_get(&lane->ejected);
    }
}

bool health_read(const struct health_board *board, const struct health_entry *entry,
                 struct health_view *view_out)
{
    memset(view_out, 0, sizeof(*view_out));
    view_out->weight = -1;
    view_out->latency_us = -1;
    view_out->lag_ms = -1;
    if (board == NULL || entry == NULL)
        return false;
    memcpy(view_out->name, entry->name, sizeof(view_out->name));
    view_out->state = health_state(entry);
    view_out->judged = (enum health_state)atomic_load(&entry->judged);
    view_out->member = health_member(entry);
    view_out->role = health_role(entry);
    view_out->weight = health_weight(entry, -1);
    view_out->since_ms = atomic_load(&entry->since_ms);
    view_out->checked_ms = atomic_load(&entry->checked_ms);
    view_out->latency_us = atomic_load(&entry->latency_us);
    view_out->lag_ms = atomic_load(&entry->lag_ms);
    read_texts(entry, view_out);
    add_lanes(board, entry, view_out);
    return true;
}

struct health_entry *health_next(const struct health_board *board, struct text prefix, size_t *at)
{
    while (board != NULL && *at < HEALTH_ENTRIES) {
        uint32_t hash = settled(board, *at);
        if (hash == HASH_EMPTY)
            return NULL;
        struct health_entry *entry = &((struct health_board *)board)->entries[(*at)++];
        if (hash != HASH_BUSY && text_starts_with(text_of(entry->name), prefix))
            return entry;
    }
    return NULL;
}

size_t health_index(const struct health_board *board, const struct health_entry *entry)
{
    return (size_t)(entry - board->entries);
}

int64_t health_bad(const struct health_board *board, const struct health_entry *entry)
{
    int64_t bad = 0;
    for (size_t i = 0; board != NULL && entry != NULL && i < HEALTH_LANES; i++)
        if (atomic_load(&board->is_lane_used[i]) != 0)
            bad += metrics_get(&board->lanes[i][entry - board->entries].bad);
    return bad;
}

const char *health_state_name(enum health_state state)
{
    static const char *const names[] = { "unknown", "up", "down", "draining" };
    return (size_t)state < COUNT(names) ? names[state] : "unknown";
}

const char *health_role_name(enum health_role role)
{
    static const char *const names[] = { "", "primary", "replica" };
    return (size_t)role < COUNT(names) ? names[role] : "";
}

/* ---- edges ---- */

struct health_lane *health_lane(struct health_board *board, const struct health_entry *entry,
                                size_t lane)
{
    if (board == NULL || entry == NULL || lane >= HEALTH_LANES)
        return NULL;
    atomic_store(&board->is_lane_used[lane], 1);
    return &board->lanes[lane][entry - board->entries];
}

void health_lane_start(struct health_board *board, size_t lane)
{
    if (board == NULL || lane >= HEALTH_LANES || atomic_load(&board->is_lane_used[lane]) == 0)
        return;
    for (size_t i = 0; i < HEALTH_ENTRIES && settled(board, i) != HASH_EMPTY; i++) {
        metrics_set(&board->lanes[lane][i].active, 0);
        metrics_set(&board->lanes[lane][i].ejected, 0);
    }
}

/* ---- writers ---- */

static void changed(struct health_board *board)
{
    atomic_fetch_add_explicit(&board->version, 1, memory_order_release);
}

static void put_text(char *to, size_t size, struct text text)
{
    size_t len = text.len < size ? text.len : size - 1;
    memcpy(to, text.len > 0 ? text.data : "", len);
    memset(to + len, 0, size - len);
}

static bool is_text(const char *has, size_t size, struct text text)
{
    size_t len = text.len < size ? text.len : size - 1;
    return strncmp(has, text.len > 0 ? text.data : "", len) == 0 && has[len] == '\0';
}

/* Readers that overlap with the writing see an odd or another number, and read again. */
static void write_text(struct health_entry *entry, char *to, size_t size, struct text text)
{
    if (is_text(to, size, text))
        return;
    uint32_t sequence = atomic_load_explicit(&entry->sequence, memory_order_relaxed);
    atomic_store_explicit(&entry->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    put_text(to, size, text);
    atomic_store_explicit(&entry->sequence, sequence + 2, memory_order_release);
}

void health_writer_start(struct health_board *board)
{
    for (size_t i = 0; board != NULL && i < HEALTH_ENTRIES; i++) {
        if (settled(board, i) == HASH_EMPTY)
            return;
        uint32_t sequence = atomic_load(&board->entries[i].sequence);
        if (sequence % 2 == 1)
            atomic_store(&board->entries[i].sequence, sequence + 1);
    }
}

void health_judge(struct health_board *board, struct health_entry *entry, enum health_state state,
                  struct text reason, int64_t latency_us, int64_t wall_ms)
{
    if (board == NULL || entry == NULL)
        return;
    write_text(entry, entry->reason, sizeof(entry->reason), reason);
    if (latency_us >= 0)
        atomic_store(&entry->latency_us, latency_us);
    atomic_store(&entry->checked_ms, wall_ms);
    if (atomic_load(&entry->judged) == (uint32_t)state)
        return;
    atomic_store(&entry->since_ms, wall_ms);
    atomic_store(&entry->judged, (uint32_t)state);
    changed(board);
}

void health_judge_database(struct health_board *board, struct health_entry *entry,
                           enum health_role role, int64_t lag_ms, struct text gtid)
{
    if (board == NULL || entry == NULL)
        return;
    write_text(entry, entry->gtid, sizeof(entry->gtid), gtid);
    atomic_store(&entry->lag_ms, lag_ms);
    if (atomic_exchange(&entry->role, (uint32_t)role) != (uint32_t)role)
        changed(board);
}

void health_set_weight(struct health_board *board, struct health_entry *entry, int64_t weight)
{
    if (board == NULL || entry == NULL)
        return;
    atomic_store(&entry->weight, (int32_t)(weight < 0 ? 0 : weight + 1));
    changed(board);
}

void health_set_drained(struct health_board *board, struct health_entry *entry, bool is_drained)
{
    if (board == NULL || entry == NULL)
        return;
    atomic_store(&entry->is_drained, is_drained ? 1 : 0);
    changed(board);
}

void health_set_member(struct health_board *board, struct health_entry *entry,
                       enum health_member member)
{
    if (board == NULL || entry == NULL)
        return;
    atomic_store(&entry->member, (uint32_t)member);
    changed(board);
}
