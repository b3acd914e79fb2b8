/* Series under names, in lanes of several writers. */
#include "metrics/board.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>
#include <string.h>

struct seen {
    size_t count;
    struct board_sum last;
};

static void see(void *context, const struct board_sum *sum)
{
    struct seen *seen = context;
    seen->count++;
    seen->last = *sum;
}

static struct board_series *use(struct board *board, size_t lane, enum board_kind kind,
                                const char *name)
{
    return board_use(board, lane, kind, name, strlen(name));
}

TEST(board_adds_lanes_up)
{
    struct board *board = board_new();
    struct seen *seen = NEW(struct seen);
    struct board_series *one = use(board, 0, BOARD_APP, "shop");
    struct board_series *two = use(board, 7, BOARD_APP, "shop");
    CHECK(one != two, "a lane each");
    board_add(one, APP_REQUESTS, 2);
    board_add(two, APP_REQUESTS, 3);
    board_time(one, APP_WAIT, 100);
    board_time(two, APP_WAIT, 300);
    board_each(board, see, seen);
    CHECK(seen->count == 1, "one series: %zu", seen->count);
    CHECK(seen->last.kind == BOARD_APP && strcmp(seen->last.name, "shop") == 0, "its name");
    CHECK(seen->last.values[APP_REQUESTS] == 5, "the sum");
    CHECK(seen->last.histograms[APP_WAIT].total == 2, "of histograms too");
    CHECK(use(board, 0, BOARD_ROUTE, "shop") != one, "kinds have their own names");
    memory_free(seen);
    board_free(board);
}

TEST(board_keeps_what_is_used_again)
{
    struct board *board = board_new();
    struct seen *seen = NEW(struct seen);
    struct board_series *series = use(board, 3, BOARD_APP, "shop");
    board_add(series, APP_REQUESTS, 2);
    board_add(series, APP_QUEUE, 9);
    CHECK(use(board, 3, BOARD_APP, "shop") == series, "a reload finds it");
    board_leave(series);
    board_each(board, see, seen);
    CHECK(seen->count == 1, "still used");
    board_lane_start(board, 3);
    board_each(board, see, seen);
    CHECK(seen->count == 1, "its writer died and nobody uses it: not shown");
    CHECK(use(board, 3, BOARD_APP, "shop") == series, "the next writer finds it");
    board_each(board, see, seen);
    CHECK(seen->count == 2 && seen->last.values[APP_REQUESTS] == 2, "with what it had");
    CHECK(seen->last.values[APP_QUEUE] == 0, "but nothing waits with the new writer");
    memory_free(seen);
    board_free(board);
}

TEST(board_has_an_end)
{
    struct board *board = board_new();
    struct seen *seen = NEW(struct seen);
    struct board_series *first = NULL;
    char name[32], longest[BOARD_NAME_SIZE * 2];
    for (int i = 0; i < BOARD_ENTRIES - 1; i++) {
        snprintf(name, sizeof(name), "route %d", i);
        struct board_series *series = use(board, 0, BOARD_ROUTE, name);
        first = first != NULL ? first : series;
    }
    struct board_series *others = use(board, 0, BOARD_ROUTE, "one more");
    CHECK(strcmp(others->name, "others") == 0, "%s", others->name);
    CHECK(use(board, 0, BOARD_ROUTE, "and another") == others, "shared");
    board_add(first, ROUTE_REQUESTS, 5);
    board_leave(first);
    struct board_series *again = use(board, 0, BOARD_ROUTE, "a new one");
    CHECK(again == first && metrics_get(&again->values[ROUTE_REQUESTS]) == 0, "given to the next");
    memset(longest, 'x', sizeof(longest));
    CHECK(board_use(board, 1, BOARD_ROUTE, longest, sizeof(longest)) ==
              board_use(board, 1, BOARD_ROUTE, longest, sizeof(longest)),
          "names are cut");
    CHECK(use(NULL, 0, BOARD_ROUTE, "x") == NULL, "no board");
    CHECK(use(board, BOARD_LANES, BOARD_ROUTE, "x") == NULL, "no such lane");
    board_add(NULL, ROUTE_REQUESTS, 1);
    board_time(NULL, ROUTE_LATENCY, 1);
    board_leave(NULL);
    board_each(NULL, see, seen);
    CHECK(seen->count == 0, "nothing");
    memory_free(seen);
    board_free(board);
}
