/* The map against a plain array, over a long row of random calls. */
#include "core/map.h"
#include "core/test.h"

#include <stdio.h>

enum { NAMES = 97, CALLS = 20000 };

TEST(map_holds_what_was_put)
{
    struct map map = { 0 };
    int values[NAMES], model[NAMES] = { 0 };
    uint32_t random = 12345;
    size_t count = 0;
    CHECK(map_find(&map, T("x")) == NULL && map_take(&map, T("x")) == NULL, "empty");
    for (int call = 0; call < CALLS; call++) {
        char name[16];
        random = random * 1664525 + 1013904223;
        size_t which = (random >> 16) % NAMES;
        snprintf(name, sizeof(name), "n%zu", which % 7 == 0 ? which * 1000 : which);
        void *want = model[which] != 0 ? &values[which] : NULL;
        REQUIRE(map_find(&map, text_of(name)) == want, "call %d: %s", call, name);
        if ((random >> 8) % 3 == 0) {
            REQUIRE(map_take(&map, text_of(name)) == want, "call %d: takes %s", call, name);
            count -= model[which] != 0;
            model[which] = 0;
        } else {
            map_put(&map, text_of(name), &values[which]);
            count += model[which] == 0;
            model[which] = 1;
        }
        REQUIRE(map.count == count, "call %d: count", call);
    }
    size_t at = 0, walked = 0;
    while (map_next(&map, &at) != NULL)
        walked++;
    CHECK(walked == count, "walks all");
    map_done(&map, NULL);
    CHECK(map.count == 0 && map_find(&map, T("n1")) == NULL, "done");
}

static void count_freed(void *value)
{
    *(int *)value += 1;
}

TEST(map_frees_what_it_held)
{
    struct map map = { 0 };
    int one = 0, other = 0, gone = 0;
    map_put(&map, T("a"), &one);
    map_put(&map, T("b"), &gone);
    map_put(&map, T("b"), &other);
    map_done(&map, count_freed);
    CHECK(one == 1 && other == 1 && gone == 0, "each once: %d %d %d", one, other, gone);
}
