/*
 * See primary.h. A sequence number guards the record: odd while it is being written. A reader that
 * meets a writer tries again, and takes the record as it is when the writer died in the middle:
 * the next announcement, at most seconds later, puts it right.
 */
#include "metrics/primary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { READ_TRIES = 1000, NAME_WORDS = PRIMARY_NAME_SIZE / sizeof(uint64_t) };

#define HAS_PROXY UINT32_C(0x80000000) /* in the lower half of a report, beside the number */

struct primary_board {
    _Atomic uint32_t version;
    _Atomic uint64_t epoch;
    _Atomic int64_t hold_until_ms;
    _Atomic int64_t changed_ms;
    _Atomic uint64_t name[NAME_WORDS];
    _Atomic uint64_t report; /* of the SQL proxy: version, HAS_PROXY and open; 0: no proxy */
};

int primary_board_open(void)
{
    int fd = memfd_create("primary.board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (fd >= 0 && ftruncate(fd, (off_t)sizeof(struct primary_board)) == 0)
        (void)!fcntl(fd, F_ADD_SEALS, seals);
    return fd;
}

struct primary_board *primary_board_map(int fd)
{
    if (fd < 0)
        return NULL;
    void *memory =
        mmap(NULL, sizeof(struct primary_board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

uint32_t primary_board_version(const struct primary_board *board)
{
    return board != NULL ? atomic_load_explicit(&board->version, memory_order_acquire) : 0;
}

static void copy(const struct primary_board *board, struct primary_view *out)
{
    uint64_t name[NAME_WORDS];
    out->epoch = atomic_load(&board->epoch);
    out->hold_until_ms = atomic_load(&board->hold_until_ms);
    out->changed_ms = atomic_load(&board->changed_ms);
    for (size_t i = 0; i < NAME_WORDS; i++)
        name[i] = atomic_load(&board->name[i]);
    memcpy(out->name, name, sizeof(out->name));
    out->name[PRIMARY_NAME_SIZE - 1] = '\0';
}

void primary_board_read(const struct primary_board *board, struct primary_view *view_out)
{
    memset(view_out, 0, sizeof(*view_out));
    for (int i = 0; board != NULL && i < READ_TRIES; i++) {
        uint32_t before = atomic_load(&board->version);
        copy(board, view_out);
        if (before % 2 == 0 && atomic_load(&board->version) == before)
            return;
    }
}

bool primary_board_announce(struct primary_board *board, uint64_t epoch, const char *name,
                            size_t name_len, int64_t hold_until_ms, int64_t now_ms)
{
    uint64_t words[NAME_WORDS] = { 0 };
    struct primary_view now;
    if (board == NULL || name_len == 0 || name_len >= PRIMARY_NAME_SIZE)
        return false;
    memcpy(words, name, name_len);
    primary_board_read(board, &now);
    bool is_same_name = strlen(now.name) == name_len && memcmp(now.name, name, name_len) == 0;
    if (epoch < now.epoch || (epoch == now.epoch && now.name[0] != '\0' && !is_same_name))
        return false;
    uint32_t version = atomic_load(&board->version);
    bool is_whole = version % 2 == 0;
    if (is_whole && is_same_name && epoch == now.epoch && hold_until_ms == now.hold_until_ms)
        return true;
    atomic_store(&board->version, version | 1);
    atomic_store(&board->epoch, epoch);
    atomic_store(&board->hold_until_ms, hold_until_ms);
    atomic_store(&board->changed_ms, now_ms);
    for (size_t i = 0; i < NAME_WORDS; i++)
        atomic_store(&board->name[i], words[i]);
    atomic_store(&board->version, (version | 1) + 1);
    return true;
}

/* ---- the SQL proxy's answer ---- */

void primary_board_report(struct primary_board *board, uint32_t version, uint32_t open)
{
    uint64_t low = HAS_PROXY | (open < HAS_PROXY ? open : HAS_PROXY - 1);
    if (board != NULL)
        atomic_store(&board->report, (uint64_t)version << 32 | low);
}

void primary_board_retire(struct primary_board *board)
{
    if (board != NULL)
        atomic_store(&board->report, 0);
}

int64_t primary_board_open_sessions(const struct primary_board *board)
{
    uint64_t report = board != NULL ? atomic_load(&board->report) : 0;
    if (report == 0)
        return 0;
    bool is_late = (uint32_t)(report >> 32) != primary_board_version(board);
    return is_late ? -1 : (int64_t)(report & (HAS_PROXY - 1));
}
