/* Tests of timers, tasks, hooks and watches, on both back ends. */
#include "core/loop_private.h"
#include "core/loop_test.h"

#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the wheel alone, with a made-up clock ---- */

static int64_t wheel_clock_ms;
static int fired;
static int64_t worst_late_ms;

static void note_fired(struct loop_timer *timer)
{
    int64_t late_ms = wheel_clock_ms - timer->due_ms;
    fired++;
    if (late_ms > worst_late_ms || late_ms < 0)
        worst_late_ms = late_ms < 0 ? INT64_MAX : late_ms;
}

TEST(loop_wheel_fires_every_timer_on_time)
{
    enum { TIMERS = 2000 };
    static const int64_t starts_ms[] = { 0, 1, 63, 4095, (INT64_C(1) << 36) - 5, INT64_C(1) << 40 };
    struct loop_timer *timers = memory_new_array(TIMERS, sizeof(*timers));
    for (size_t start = 0; start < COUNT(starts_ms); start++) {
        struct wheel wheel;
        uint32_t random = 12345;
        wheel_clock_ms = starts_ms[start];
        wheel_init(&wheel, wheel_clock_ms);
        fired = 0;
        worst_late_ms = 0;
        for (int i = 0; i < TIMERS; i++) {
            random = random * 1664525 + 1013904223;
            int64_t after_ms = (int64_t)((uint64_t)random << 8 >> (i % 38));
            loop_timer_init(&timers[i], note_fired);
            timers[i].due_ms = wheel_clock_ms + after_ms;
            wheel_insert(&wheel, &timers[i]);
        }
        for (int turns = 0; fired < TIMERS && turns < 100000; turns++) {
            int64_t next_ms = wheel_next_ms(&wheel);
            if (next_ms > wheel_clock_ms)
                wheel_clock_ms = next_ms;
            wheel_run(&wheel, wheel_clock_ms);
        }
        CHECK(fired == TIMERS, "start %zu: %d fired", start, fired);
        CHECK(worst_late_ms == 0, "start %zu: late by %lld", start, (long long)worst_late_ms);
        CHECK(wheel_next_ms(&wheel) == -1, "nothing is left");
    }
    memory_free(timers);
}

/* ---- timers ---- */

static struct {
    struct loop *loop;
    char order[64];
    struct loop_timer timers[4];
    int calls;
} at;

static void note(char what)
{
    size_t len = strlen(at.order);
    if (len + 1 < sizeof(at.order))
        at.order[len] = what;
}

static void note_timer(struct loop_timer *timer)
{
    note((char)('a' + (timer - at.timers)));
}

static void restart_twice(struct loop_timer *timer)
{
    note('r');
    if (++at.calls < 3)
        loop_timer_start(at.loop, timer, 0);
}

static void stop_second(struct loop_timer *timer)
{
    note('s');
    loop_timer_stop(at.loop, &at.timers[1]);
}

static void start_tests(struct loop *loop)
{
    memset(&at, 0, sizeof(at));
    at.loop = loop;
    for (size_t i = 0; i < COUNT(at.timers); i++)
        loop_timer_init(&at.timers[i], note_timer);
}

TEST_LOOP(loop_timers_fire_in_order_of_time)
{
    start_tests(loop);
    loop_timer_start(loop, &at.timers[0], 30);
    loop_timer_start(loop, &at.timers[1], 10);
    loop_timer_start(loop, &at.timers[2], 20);
    loop_timer_start(loop, &at.timers[3], 5);
    loop_timer_start(loop, &at.timers[3], 40); /* a restart moves it */
    int64_t started_ms = loop_now_ms(loop);
    TURN_UNTIL(loop, strlen(at.order) == 4, 2000);
    CHECK(strcmp(at.order, "bcad") == 0, "%s", at.order);
    CHECK(loop_now_ms(loop) - started_ms >= 40, "not too early");
    CHECK(!loop_timer_is_running(&at.timers[0]), "a timer fires once");
}

TEST_LOOP(loop_timers_may_be_changed_in_their_calls)
{
    start_tests(loop);
    loop_timer_init(&at.timers[0], stop_second);
    loop_timer_init(&at.timers[2], restart_twice);
    loop_timer_start(loop, &at.timers[0], 1);
    loop_timer_start(loop, &at.timers[1], 1);
    loop_timer_start(loop, &at.timers[2], 1);
    TURN_UNTIL(loop, at.calls == 3, 2000);
    CHECK(strcmp(at.order, "srrr") == 0, "%s", at.order);
    loop_timer_start(loop, &at.timers[1], -5);
    CHECK(loop_timer_is_running(&at.timers[1]), "started");
    loop_turn(loop, -1);
    CHECK(strcmp(at.order, "srrrb") == 0, "a negative time is now: %s", at.order);
}

/* ---- tasks and hooks ---- */

static struct loop_task tasks[3];
static struct loop_hook hooks[2];

static void task_again(struct loop_task *task)
{
    note('t');
    if (++at.calls < 3)
        loop_defer(at.loop, task);
    loop_task_cancel(&tasks[2]);
}

static void task_plain(struct loop_task *task)
{
    note((char)('0' + (task - tasks)));
}

TEST_LOOP(loop_tasks_run_once_each)
{
    start_tests(loop);
    loop_task_init(&tasks[0], task_again);
    loop_task_init(&tasks[1], task_plain);
    loop_task_init(&tasks[2], task_plain);
    loop_defer(loop, &tasks[0]);
    loop_defer(loop, &tasks[1]);
    loop_defer(loop, &tasks[0]);
    loop_defer(loop, &tasks[2]);
    loop_turn(loop, -1);
    CHECK(strcmp(at.order, "t1") == 0, "one turn, one run; cancelled is gone: %s", at.order);
    loop_turn(loop, -1);
    loop_turn(loop, -1);
    CHECK(strcmp(at.order, "t1tt") == 0, "%s", at.order);
    loop_turn(loop, 0);
    CHECK(at.calls == 3, "then it is over");
}

static int64_t hook_stops_itself(struct loop_hook *hook)
{
    note('h');
    if (++at.calls == 2)
        loop_hook_stop(hook);
    return -1;
}

static int64_t hook_wants_sleep(struct loop_hook *hook)
{
    note('w');
    return 5;
}

TEST_LOOP(loop_hooks_run_each_turn_and_limit_the_sleep)
{
    start_tests(loop);
    loop_hook_start(loop, &hooks[0], hook_stops_itself);
    loop_hook_start(loop, &hooks[1], hook_wants_sleep);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, -1); /* would sleep for ever without the hook */
    CHECK(strcmp(at.order, "hwhww") == 0, "%s", at.order);
    loop_hook_stop(&hooks[1]);
}

static void stop_loop(struct loop_timer *timer)
{
    loop_stop(at.loop);
}

TEST_LOOP(loop_run_ends_on_stop)
{
    start_tests(loop);
    loop_timer_init(&at.timers[0], stop_loop);
    loop_timer_start(loop, &at.timers[0], 10);
    loop_run(loop);
    CHECK(loop_wall_s(loop) > 1600000000, "the wall clock is read");
    CHECK(loop_now_us(loop) / 1000 == loop_now_ms(loop), "one clock");
}

/* ---- watches ---- */

static struct loop_watch watches[2];

static void watch_counts(struct loop_watch *watch, unsigned events)
{
    note(events & LOOP_HANGUP ? 'H' : events & LOOP_READ ? 'R' : 'W');
    if (++at.calls == 3)
        loop_watch_stop(watch);
}

TEST_LOOP(loop_watch_is_level_triggered)
{
    start_tests(loop);
    AUTO(fd_close) int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    REQUIRE(loop_watch_start(loop, &watches[0], fd, LOOP_READ, watch_counts) == OK, "start");
    loop_turn(loop, 0);
    CHECK(at.calls == 0, "nothing to read yet");
    REQUIRE(eventfd_write(fd, 1) == 0, "write");
    TURN_UNTIL(loop, at.calls == 3, 1000); /* never read, so it comes again */
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 1);
    CHECK(strcmp(at.order, "RRR") == 0, "and not after the stop: %s", at.order);
}

TEST_LOOP(loop_watch_reports_pipes)
{
    start_tests(loop);
    int ends[2];
    REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
    REQUIRE(loop_watch_start(loop, &watches[0], ends[1], LOOP_WRITE, watch_counts) == OK, "start");
    TURN_UNTIL(loop, at.calls == 1, 1000);
    CHECK(at.order[0] == 'W', "an empty pipe is writable");
    loop_watch_stop(&watches[0]);
    loop_watch_stop(&watches[0]); /* no effect */
    memset(at.order, 0, sizeof(at.order));
    at.calls = 0;
    REQUIRE(loop_watch_start(loop, &watches[1], ends[0], LOOP_READ, watch_counts) == OK, "start");
    fd_close(&ends[1]);
    TURN_UNTIL(loop, at.calls == 3, 1000);
    CHECK(at.order[0] == 'H', "%s", at.order);
    fd_close(&ends[0]);
}

static void watch_stops_both(struct loop_watch *watch, unsigned events)
{
    at.calls++;
    loop_watch_stop(&watches[0]);
    loop_watch_stop(&watches[1]);
}

TEST_LOOP(loop_watch_stopped_by_another_is_not_called)
{
    start_tests(loop);
    AUTO(fd_close) int first = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    AUTO(fd_close) int second = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    REQUIRE(loop_watch_start(loop, &watches[0], first, LOOP_READ, watch_stops_both) == OK, "1");
    REQUIRE(loop_watch_start(loop, &watches[1], second, LOOP_READ, watch_stops_both) == OK, "2");
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 1);
    CHECK(at.calls == 1, "%d calls", at.calls);
}

/* What a container's seccomp profile does. In a child, because it cannot be taken back. */
TEST(loop_falls_back_to_epoll_where_io_uring_is_refused)
{
    pid_t child = fork();
    if (child == 0) {
        struct loop *loop = NULL;
        struct why why;
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        unsetenv("TRILITH_LOOP");
        if (filter == NULL ||
            seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0) != 0 ||
            seccomp_load(filter) != 0)
            _exit(2);
        if (loop_new(LOOP_URING, &loop, &why) != ERR_UNSUPPORTED)
            _exit(3);
        if (loop_new(LOOP_AUTO, &loop, &why) != OK)
            _exit(4);
        _exit(strcmp(loop_backend_name(loop), "epoll") == 0 ? 0 : 5);
    }
    int status = -1;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child, "child");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

TEST(loop_backend_is_chosen_by_the_environment)
{
    struct loop *loop = NULL;
    struct why why;
    const char *before = getenv("TRILITH_LOOP");
    char *saved = before != NULL ? memory_copy_string(before) : NULL;
    setenv("TRILITH_LOOP", "epoll", 1);
    REQUIRE(loop_new(LOOP_AUTO, &loop, &why) == OK, "epoll");
    CHECK(strcmp(loop_backend_name(loop), "epoll") == 0, "%s", loop_backend_name(loop));
    loop_free(loop);
    setenv("TRILITH_LOOP", "kqueue", 1);
    CHECK(loop_new(LOOP_AUTO, &loop, &why) == ERR_RANGE, "unknown");
    if (saved != NULL)
        setenv("TRILITH_LOOP", saved, 1);
    else
        unsetenv("TRILITH_LOOP");
    memory_free(saved);
}
