/*
 * The table of offenders, see offenders.h. A place is a key and a count; the key is claimed once by
 * compare and swap and given back by the reader only, so that writers need no lock.
 */
#include "metrics/offenders.h"

#include "core/sys.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WAYS = 8 };

/* The upper half of an IPv6 address, or this and the IPv4 address: nobody has such a /64, as all
 * below ::/8 is reserved (RFC 4291). */
#define V4_MARK (UINT64_C(1) << 32)

struct offender {
    _Atomic uint64_t key; /* 0: free */
    _Atomic uint32_t count;
};

struct offenders {
    struct offender places[OFFENDERS_PLACES];
};

int offenders_open(void)
{
    int fd = memfd_create("offenders", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, sizeof(struct offenders)) != 0)
        fd_close(&fd);
    return fd;
}

struct offenders *offenders_map(int fd)
{
    if (fd < 0)
        return NULL;
    void *memory = mmap(NULL, sizeof(struct offenders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

void offenders_unmap(struct offenders *offenders)
{
    if (offenders != NULL)
        munmap(offenders, sizeof(*offenders));
}

static uint64_t key_of(const struct network *who)
{
    uint64_t key = 0;
    for (size_t i = 0; i < (who->is_v4 ? 4U : 8U); i++)
        key = key << 8 | who->ip[i];
    return who->is_v4 ? key | V4_MARK : key;
}

static struct network network_of_key(uint64_t key)
{
    struct network who = { .is_v4 = key >> 32 == 1 };
    size_t len = who.is_v4 ? 4 : 8;
    who.bits = (uint8_t)(who.is_v4 ? 32 : 64);
    for (size_t i = 0; i < len; i++)
        who.ip[i] = (uint8_t)(key >> 8 * (len - 1 - i));
    return who;
}

void offenders_note(struct offenders *offenders, const struct address *client)
{
    struct network who;
    if (offenders == NULL || !network_of(client, &who))
        return;
    uint64_t key = key_of(&who);
    uint64_t spread = key * UINT64_C(0x9e3779b97f4a7c15);
    struct offender *set = &offenders->places[(spread >> 40) % (OFFENDERS_PLACES / WAYS) * WAYS];
    for (size_t i = 0; i < WAYS; i++) {
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&set[i].key, &found, key) || found == key) {
            atomic_fetch_add(&set[i].count, 1);
            return;
        }
    }
}

void offenders_take(struct offenders *offenders, uint32_t least, bool is_over,
                    void (*each)(void *context, const struct network *who, uint32_t count),
                    void *context)
{
    for (size_t i = 0; offenders != NULL && i < OFFENDERS_PLACES; i++) {
        struct offender *place = &offenders->places[i];
        uint64_t key = atomic_load(&place->key);
        uint32_t count = atomic_load(&place->count);
        if (key == 0 || (count < least && !is_over))
            continue;
        atomic_store(&place->count, 0);
        atomic_store(&place->key, 0);
        if (count < least)
            continue;
        struct network who = network_of_key(key);
        each(context, &who, count);
    }
}
