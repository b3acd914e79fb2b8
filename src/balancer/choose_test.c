/* The algorithms: who gets how much, in which order, and what moves when somebody goes. */
#include "balancer/choose.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>
#include <string.h>

static struct chooser *make(enum balancer_algorithm algorithm, uint32_t count,
                            const uint32_t *weights)
{
    struct chooser *chooser = chooser_new(algorithm, count);
    for (uint32_t i = 0; i < count; i++) {
        char name[32];
        int len = snprintf(name, sizeof(name), "web-%u", i);
        chooser_set(chooser, i, choose_hash(name, (size_t)len), weights != NULL ? weights[i] : 1);
    }
    return chooser;
}

static uint32_t pick(struct chooser *chooser, uint64_t key)
{
    struct choice choice = { .key = choose_hash(&key, sizeof(key)),
                             .random = choose_hash(&key, sizeof(key)) };
    return chooser_pick(chooser, &choice);
}

TEST(choose_takes_turns_evenly)
{
    static const struct {
        const char *what;
        uint32_t weights[4];
        uint32_t count;
        const char *turns; /* two rounds */
    } cases[] = {
        { "two", { 1, 1 }, 2, "0101" },
        { "heavy", { 2, 1 }, 2, "010010" },
        { "heavier", { 5, 1, 1 }, 3, "00012000001200" },
        { "common divisor", { 200, 100 }, 2, "010010" },
        { "one gets nothing", { 1, 0, 1 }, 3, "0202" },
        { "nobody", { 0 }, 1, "" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct chooser *chooser = make(BALANCER_ROUND_ROBIN, cases[i].count, cases[i].weights);
        char turns[32] = "";
        for (size_t k = 0; k < strlen(cases[i].turns); k++)
            turns[k] = (char)('0' + pick(chooser, k));
        CHECK(strcmp(turns, cases[i].turns) == 0, "%s: %s", cases[i].what, turns);
        chooser_free(chooser);
    }
    chooser_free(NULL);
}

TEST(choose_shares_turns_between_processes)
{
    _Atomic uint64_t cursor = 0;
    struct chooser *a = make(BALANCER_ROUND_ROBIN, 2, NULL);
    struct chooser *b = make(BALANCER_ROUND_ROBIN, 2, NULL);
    chooser_share(a, &cursor);
    chooser_share(b, &cursor);
    for (int i = 0; i < 10; i++) {
        struct chooser *any = i % 3 == 0 ? a : b;
        CHECK(pick(any, 0) == (uint32_t)i % 2, "turn %d", i);
    }
    chooser_free(a);
    chooser_free(b);
}

TEST(choose_leaves_out_who_is_not_usable)
{
    static const enum balancer_algorithm all[] = { BALANCER_ROUND_ROBIN, BALANCER_LEAST_CONNECTIONS,
                                                   BALANCER_RANDOM_TWO, BALANCER_IP_HASH,
                                                   BALANCER_CONSISTENT_HASH };
    for (size_t i = 0; i < COUNT(all); i++) {
        struct chooser *chooser = make(all[i], 4, NULL);
        int counts[4] = { 0 };
        chooser_use(chooser, 1, false);
        chooser_limit(chooser, 2, 1);
        chooser_enter(chooser, 2);
        for (uint64_t k = 0; k < 200; k++) {
            struct choice choice = { .key = choose_hash(&k, sizeof(k)),
                                     .random = choose_hash(&k, sizeof(k)) };
            uint32_t index = chooser_pick(chooser, &choice);
            REQUIRE(index < 4, "somebody");
            counts[index]++;
            chooser_enter(chooser, index); /* for least-connections to take turns */
            chooser_leave(chooser, index);
            if (k % 3 != 0) /* else taking turns would do what is expected here by itself */
                continue;
            choice.excluded[0] = index;
            choice.excluded_count = 1;
            uint32_t other = chooser_pick(chooser, &choice);
            CHECK(other == (index == 0 ? 3U : 0U), "algorithm %zu: the other one, %u", i, other);
        }
        CHECK(counts[1] == 0 && counts[2] == 0 && counts[0] > 40 && counts[3] > 40,
              "algorithm %zu: %d %d", i, counts[0], counts[3]);
        CHECK(chooser_usable(chooser) == 3 && !chooser_has_room(chooser, 2), "known");
        chooser_leave(chooser, 2);
        chooser_use(chooser, 0, false);
        chooser_use(chooser, 3, false);
        CHECK(pick(chooser, 7) == 2, "algorithm %zu: the last one", i);
        chooser_use(chooser, 2, false);
        CHECK(pick(chooser, 7) == CHOOSE_NONE, "algorithm %zu: nobody", i);
        chooser_free(chooser);
    }
}

TEST(choose_gives_to_the_least_busy)
{
    static const uint32_t weights[] = { 2, 1, 1 };
    struct chooser *chooser = make(BALANCER_LEAST_CONNECTIONS, 3, weights);
    for (int i = 0; i < 400; i++)
        chooser_enter(chooser, pick(chooser, 0));
    CHECK(chooser_active(chooser, 0) == 200 && chooser_active(chooser, 1) == 100, "%u %u %u",
          chooser_active(chooser, 0), chooser_active(chooser, 1), chooser_active(chooser, 2));
    for (int i = 0; i < 50; i++)
        chooser_leave(chooser, 2);
    for (int i = 0; i < 50; i++) {
        CHECK(pick(chooser, 0) == 2, "it has the fewest");
        chooser_enter(chooser, 2);
    }
    chooser_share_set(chooser, 0, CHOOSE_FULL_SHARE / 4);
    for (int i = 0; i < 100; i++)
        chooser_enter(chooser, pick(chooser, 0));
    CHECK(chooser_active(chooser, 0) == 200, "a slow starter waits");
    chooser_free(chooser);
}

TEST(choose_starts_slowly)
{
    struct chooser *chooser = make(BALANCER_ROUND_ROBIN, 2, NULL);
    int count = 0;
    chooser_share_set(chooser, 1, CHOOSE_FULL_SHARE / 8);
    for (uint64_t i = 0; i < 4000; i++)
        count += pick(chooser, i) == 1;
    /* as if its weight were an eighth: one of nine */
    CHECK(count > 400 && count < 490, "%d of 4000", count);
    chooser_use(chooser, 0, false);
    CHECK(pick(chooser, 1) == 1, "but if there is nobody else");
    chooser_free(chooser);
}

enum { KEYS = 4000, MANY = 20 };

TEST(choose_moves_few_keys)
{
    struct chooser *chooser = make(BALANCER_IP_HASH, MANY, NULL);
    static uint32_t before[KEYS];
    int counts[MANY] = { 0 }, moved = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        before[key] = pick(chooser, key);
        counts[before[key]]++;
    }
    for (int i = 0; i < MANY; i++)
        CHECK(counts[i] > KEYS / MANY * 2 / 3 && counts[i] < KEYS / MANY * 3 / 2, "%d: %d", i,
              counts[i]);
    chooser_use(chooser, 3, false);
    for (uint64_t key = 0; key < KEYS; key++) {
        uint32_t now = pick(chooser, key);
        moved += now != before[key];
        CHECK(now != 3 && (before[key] == 3 || now == before[key]), "key %d", (int)key);
    }
    CHECK(moved == counts[3], "its own and no other");
    chooser_use(chooser, 3, true);
    for (uint64_t key = 0; key < KEYS; key++)
        CHECK(pick(chooser, key) == before[key], "all are back");
    chooser_free(chooser);
}

TEST(choose_bounds_the_load_of_a_key)
{
    struct chooser *chooser = make(BALANCER_CONSISTENT_HASH, 10, NULL);
    for (int i = 0; i < 1000; i++) /* all ask for the same */
        chooser_enter(chooser, pick(chooser, 5));
    for (uint32_t i = 0; i < 10; i++)
        CHECK(chooser_active(chooser, i) <= 126, "%u has %u", i, chooser_active(chooser, i));
    chooser_free(chooser);
}

TEST(choose_survives_random_changes)
{
    static const enum balancer_algorithm all[] = { BALANCER_ROUND_ROBIN, BALANCER_LEAST_CONNECTIONS,
                                                   BALANCER_RANDOM_TWO, BALANCER_CONSISTENT_HASH };
    for (size_t i = 0; i < COUNT(all); i++) {
        struct chooser *chooser = make(all[i], MANY, NULL);
        uint64_t random = i + 1;
        uint32_t active[MANY] = { 0 };
        for (int step = 0; step < 20000; step++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            uint32_t index = (uint32_t)(random >> 33) % MANY,
                     action = (uint32_t)(random >> 20) % 16;
            if (action == 0)
                chooser_use(chooser, index, (random >> 40) % 3 > 0);
            else if (action == 1)
                chooser_limit(chooser, index, (uint32_t)(random >> 45) % 8);
            else if (action == 2 && (random >> 50) % 16 == 0)
                chooser_set(chooser, index, index + 1, (uint32_t)(random >> 42) % 5);
            else if (action == 3)
                chooser_share_set(chooser, index, (uint32_t)(random >> 44) % 1024 + 1);
            else if (action < 9 && active[index] > 0) {
                active[index]--;
                chooser_leave(chooser, index);
            } else {
                uint32_t found = pick(chooser, random);
                bool is_any = false;
                for (uint32_t k = 0; k < MANY; k++)
                    is_any = is_any || chooser_has_room(chooser, k);
                CHECK((found != CHOOSE_NONE) == is_any, "one is found when there is one");
                if (found == CHOOSE_NONE)
                    continue;
                CHECK(chooser_has_room(chooser, found), "it has room");
                active[found]++;
                chooser_enter(chooser, found);
            }
        }
        for (uint32_t k = 0; k < MANY; k++)
            CHECK(chooser_active(chooser, k) == active[k], "counted");
        chooser_free(chooser);
    }
}
