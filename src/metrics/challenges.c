/*
 * See challenges.h. A sequence number guards each place: odd while it is written, so that a reader
 * never takes a mixture. A writer that died in the middle leaves a place that nobody reads, and its
 * successor writes over it.
 */
#include "metrics/challenges.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct place {
    _Atomic uint32_t sequence;
    int64_t until_s; /* 0: free */
    uint8_t digest[CHALLENGE_DIGEST_BYTES];
    char name[CHALLENGE_NAME_SIZE]; /* lower case */
};

struct challenges {
    _Atomic uint32_t has_account;
    char account[CHALLENGE_ACCOUNT_SIZE]; /* written once, before has_account */
    struct place places[CHALLENGES_ROOM];
};

int challenges_open(void)
{
    int fd = memfd_create("acme.challenges", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (fd >= 0 && ftruncate(fd, (off_t)sizeof(struct challenges)) == 0)
        (void)!fcntl(fd, F_ADD_SEALS, seals);
    return fd;
}

struct challenges *challenges_map(int fd, bool is_writer)
{
    if (fd < 0)
        return NULL;
    int rights = is_writer ? PROT_READ | PROT_WRITE : PROT_READ;
    void *memory = mmap(NULL, sizeof(struct challenges), rights, MAP_SHARED, fd, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

void challenges_unmap(struct challenges *challenges)
{
    if (challenges != NULL)
        munmap(challenges, sizeof(*challenges));
}

/* ---- writing ---- */

void challenges_set_account(struct challenges *challenges, const char *thumbprint)
{
    if (challenges == NULL || strlen(thumbprint) >= CHALLENGE_ACCOUNT_SIZE)
        return;
    snprintf(challenges->account, sizeof(challenges->account), "%s", thumbprint);
    atomic_store(&challenges->has_account, 1);
}

static void write_place(struct place *place, const char *name, const uint8_t *digest,
                        int64_t until_s)
{
    uint32_t sequence = atomic_load(&place->sequence) | 1;
    atomic_store(&place->sequence, sequence);
    atomic_thread_fence(memory_order_release);
    memcpy(place->name, name, CHALLENGE_NAME_SIZE);
    memcpy(place->digest, digest, CHALLENGE_DIGEST_BYTES);
    place->until_s = until_s;
    atomic_store(&place->sequence, sequence + 1);
}

/* In lower case, with NULs behind it. */
static bool fold(struct text name, char out[CHALLENGE_NAME_SIZE])
{
    memset(out, 0, CHALLENGE_NAME_SIZE);
    if (name.len == 0 || name.len >= CHALLENGE_NAME_SIZE)
        return false;
    for (size_t i = 0; i < name.len; i++)
        out[i] = text_lower(name.data[i]);
    return true;
}

bool challenges_put(struct challenges *challenges, struct text name,
                    const uint8_t digest[CHALLENGE_DIGEST_BYTES], int64_t until_s, int64_t now_s)
{
    char folded[CHALLENGE_NAME_SIZE];
    struct place *free_place = NULL;
    if (challenges == NULL || !fold(name, folded))
        return false;
    for (size_t i = 0; i < CHALLENGES_ROOM; i++) {
        struct place *place = &challenges->places[i];
        bool is_same = place->until_s != 0 && memcmp(place->name, folded, sizeof(folded)) == 0;
        bool is_free = place->until_s == 0 || place->until_s < now_s;
        if (is_same || (free_place == NULL && is_free))
            free_place = place;
        if (is_same)
            break;
    }
    if (free_place == NULL)
        return false;
    write_place(free_place, folded, digest, until_s);
    return true;
}

void challenges_remove(struct challenges *challenges, struct text name)
{
    static const char nobody[CHALLENGE_NAME_SIZE];
    static const uint8_t nothing[CHALLENGE_DIGEST_BYTES];
    char folded[CHALLENGE_NAME_SIZE];
    if (challenges == NULL || !fold(name, folded))
        return;
    for (size_t i = 0; i < CHALLENGES_ROOM; i++)
        if (memcmp(challenges->places[i].name, folded, sizeof(folded)) == 0)
            write_place(&challenges->places[i], nobody, nothing, 0);
}

/* ---- reading ---- */

bool challenges_is_token(struct text token)
{
    for (size_t i = 0; i < token.len; i++) {
        char c = text_lower(token.data[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return token.len > 0 && token.len <= CHALLENGE_TOKEN_LIMIT;
}

bool challenges_answer(const struct challenges *challenges, struct text token,
                       char out[CHALLENGE_TOKEN_LIMIT + CHALLENGE_ACCOUNT_SIZE + 1])
{
    if (challenges == NULL || atomic_load(&challenges->has_account) == 0 ||
        !challenges_is_token(token))
        return false;
    snprintf(out, CHALLENGE_TOKEN_LIMIT + CHALLENGE_ACCOUNT_SIZE + 1, "%.*s.%.*s", FMT(token),
             CHALLENGE_ACCOUNT_SIZE - 1, challenges->account);
    return true;
}

static bool read_place(const struct place *place, const char *name, int64_t now_s,
                       uint8_t digest_out[CHALLENGE_DIGEST_BYTES])
{
    uint8_t digest[CHALLENGE_DIGEST_BYTES];
    uint32_t before = atomic_load(&place->sequence);
    bool is_it = place->until_s > now_s && memcmp(place->name, name, CHALLENGE_NAME_SIZE) == 0;
    memcpy(digest, place->digest, sizeof(digest));
    atomic_thread_fence(memory_order_acquire);
    if (!is_it || before % 2 != 0 || atomic_load(&place->sequence) != before)
        return false;
    memcpy(digest_out, digest, sizeof(digest));
    return true;
}

bool challenges_find(const struct challenges *challenges, struct text name, int64_t now_s,
                     uint8_t digest_out[CHALLENGE_DIGEST_BYTES])
{
    char folded[CHALLENGE_NAME_SIZE];
    if (challenges == NULL || !fold(name, folded))
        return false;
    for (size_t i = 0; i < CHALLENGES_ROOM; i++)
        if (read_place(&challenges->places[i], folded, now_s, digest_out))
            return true;
    return false;
}
