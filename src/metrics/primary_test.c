/* The record of the primary: what is refused, what a reader sees. */
#include "metrics/primary.h"

#include "core/sys.h"
#include "core/test.h"

#include <string.h>

TEST(primary_board_only_goes_forward)
{
    static const struct {
        const char *what;
        uint64_t epoch;
        const char *name;
        int64_t hold_until_ms;
        bool is_taken;
        bool is_change;
    } steps[] = {
        { "the file's primary", 0, "web-01", 0, true, true },
        { "said again", 0, "web-01", 0, true, false },
        { "another of the same epoch", 0, "web-02", 0, false, false },
        { "writes are held", 0, "web-01", 5000, true, true },
        { "moved", 1, "web-02", 0, true, true },
        { "an old one arrives late", 0, "web-01", 0, false, false },
        { "moved far", 9, "web-01", 0, true, true },
        { "no name", 10, "", 0, false, false },
        { "a name too long", 10, "0123456789012345678901234567890123456789012345678901234567890123",
          0, false, false },
    };
    AUTO(fd_close) int fd = primary_board_open();
    struct primary_board *board = primary_board_map(fd), *other = primary_board_map(fd);
    struct primary_view view;
    REQUIRE(board != NULL && other != NULL, "memory");
    primary_board_read(other, &view);
    CHECK(view.name[0] == '\0' && view.epoch == 0, "empty at first");
    for (size_t i = 0; i < COUNT(steps); i++) {
        uint32_t before = primary_board_version(other);
        size_t len = strlen(steps[i].name);
        CHECK(primary_board_announce(board, steps[i].epoch, steps[i].name, len,
                                     steps[i].hold_until_ms, 77) == steps[i].is_taken,
              "%s", steps[i].what);
        CHECK((primary_board_version(other) != before) == steps[i].is_change, "%s", steps[i].what);
        primary_board_read(other, &view);
        if (steps[i].is_taken)
            CHECK(view.epoch == steps[i].epoch && strcmp(view.name, steps[i].name) == 0 &&
                      view.hold_until_ms == steps[i].hold_until_ms,
                  "%s", steps[i].what);
    }
    CHECK(view.epoch == 9 && view.changed_ms == 77, "the last one taken");
    primary_board_read(NULL, &view);
    CHECK(view.name[0] == '\0' && primary_board_version(NULL) == 0, "none");
    CHECK(!primary_board_announce(NULL, 1, "a", 1, 0, 0), "none");
    CHECK(primary_board_map(-1) == NULL, "none");
}

TEST(primary_board_knows_what_the_proxy_has_open)
{
    AUTO(fd_close) int fd = primary_board_open();
    struct primary_board *board = primary_board_map(fd), *proxy = primary_board_map(fd);
    REQUIRE(board != NULL && proxy != NULL, "memory");
    CHECK(primary_board_open_sessions(board) == 0, "no proxy");
    primary_board_report(proxy, primary_board_version(proxy), 0);
    CHECK(primary_board_open_sessions(board) == 0, "a proxy without sessions");
    CHECK(primary_board_announce(board, 1, "web-01", 6, 5000, 77), "a hold");
    CHECK(primary_board_open_sessions(board) == -1, "not read yet");
    primary_board_report(proxy, primary_board_version(proxy), 3);
    CHECK(primary_board_open_sessions(board) == 3, "three are open");
    primary_board_report(proxy, primary_board_version(proxy), UINT32_MAX);
    CHECK(primary_board_open_sessions(board) > 0, "a number too large stays one");
    primary_board_retire(proxy);
    CHECK(primary_board_open_sessions(board) == 0, "the proxy went");
    primary_board_report(NULL, 1, 1);
    primary_board_retire(NULL);
    CHECK(primary_board_open_sessions(NULL) == 0, "none");
}
