/*
 * Wake-ups are never lost: requests go round one by one through sleeping lanes, with nobody who
 * looks again after a millisecond as the bridge does, so a wake-up that is lost is a second of
 * silence.
 */
#include "app/segment.h"

#include "core/clock.h"
#include "core/sys.h"
#include "core/test.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WORKERS = 2,
    THREADS = 2,
    SLOTS = 4,
    ROUNDS = 20000,
    KILL_ROUNDS = 4000,
    KILL_EVERY = 40,
    SPIN_ROUNDS = 20000,
    SILENCE_MS = 1000, /* of a lane, as in python/serve.c */
};

struct stage {
    struct segment segment;
    int bell;
    pid_t lanes[WORKERS * THREADS];
    size_t lane_count;
    size_t silences; /* a second without a word though a request was under way */
};

/* A lane in a process of its own: claims and finishes at once. */
static void run_lane(struct stage *stage, size_t lane)
{
    uint64_t one = 1;
    size_t slot;
    struct segment *segment = &stage->segment;
    const struct segment_worker *worker = &segment->workers[lane % segment->worker_count];
    while (atomic_load(&worker->retire) == 0) {
        if (!segment_claim(segment, lane, &slot)) {
            segment_wait(segment, lane, SILENCE_MS);
            continue;
        }
        segment_finish(segment, lane, slot);
        segment_tell(segment, slot);
        if (segment_must_ring(segment, 0))
            (void)!sys_write(stage->bell, &one, sizeof(one));
    }
    segment_wake(segment, 1);
    _exit(0);
}

static void start_lane(struct stage *stage, size_t lane)
{
    stage->lanes[lane] = fork();
    if (stage->lanes[lane] == 0)
        run_lane(stage, lane);
    atomic_store(&stage->segment.workers[lane % WORKERS].pid, stage->lanes[lane]);
}

static void stage_start(struct stage *stage, size_t threads, size_t lanes)
{
    struct why why = { "" };
    AUTO(fd_close) int fd = -1;
    *stage = (struct stage){ .lane_count = lanes };
    CHECK(segment_create(1, WORKERS, threads, SLOTS, &fd, &why) == OK, "%s", why.text);
    CHECK(segment_map(fd, &stage->segment, &why) == OK, "%s", why.text);
    stage->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (size_t i = 0; i < stage->lane_count; i++)
        start_lane(stage, i);
}

static void stage_end(struct stage *stage)
{
    for (size_t i = 0; i < WORKERS; i++) {
        atomic_store(&stage->segment.workers[i].retire, 1);
        segment_wake_worker(&stage->segment, i);
    }
    for (size_t i = 0; i < stage->lane_count; i++)
        waitpid(stage->lanes[i], NULL, 0);
    fd_close(&stage->bell);
    segment_unmap(&stage->segment);
}

/* kill -9 at any moment of its life, and another one in its place, as the zygote does it. */
static void replace(struct stage *stage, size_t lane)
{
    size_t edges[SEGMENT_EDGES_LIMIT];
    kill(stage->lanes[lane], SIGKILL);
    waitpid(stage->lanes[lane], NULL, 0);
    segment_worker_lost(&stage->segment, lane, edges);
    segment_wake(&stage->segment, 1); /* it may have been woken for a request it did not take */
    start_lane(stage, lane);
}

/* Sleeps as the bridge does when nothing is queued: until a bell. */
static void wait_bell(struct stage *stage)
{
    struct segment_edge *edge = &stage->segment.edges[0];
    struct pollfd poll_bell = { .fd = stage->bell, .events = POLLIN };
    uint64_t count;
    atomic_store(&edge->sleeping, EDGE_ASLEEP);
    if (atomic_load(&edge->ready[0]) == 0 && poll(&poll_bell, 1, SILENCE_MS) == 0)
        stage->silences++;
    atomic_store(&edge->sleeping, EDGE_AWAKE);
    atomic_store(&edge->ready[0], 0);
    (void)!sys_read(stage->bell, &count, sizeof(count));
}

/* Takes back what is done; a failed one goes again. Returns how many are still under way. */
static size_t collect(struct stage *stage, size_t *done)
{
    size_t under_way = 0;
    for (size_t slot = 0; slot < SLOTS; slot++) {
        enum slot_state state = segment_state(&stage->segment, slot);
        if (state == SLOT_FAILED && segment_submit_again(&stage->segment, slot))
            segment_wake(&stage->segment, 1);
        else if (state == SLOT_DONE && segment_release(&stage->segment, slot))
            *done += 1;
        under_way += segment_state(&stage->segment, slot) != SLOT_FREE;
    }
    return under_way;
}

/* One to all slots at a time, the next ones only when all are back. */
static size_t run_rounds(struct stage *stage, size_t rounds, size_t kill_every)
{
    size_t done = 0, sent = 0;
    int64_t end_ms = clock_now_ms() + 30000;
    for (size_t round = 0; round < rounds && clock_now_ms() < end_ms; round++) {
        size_t count = 1 + round % SLOTS;
        for (size_t slot = 0; slot < count; slot++)
            segment_submit(&stage->segment, slot);
        segment_wake(&stage->segment, count);
        sent += count;
        if (kill_every > 0 && round % kill_every == 0)
            replace(stage, round / kill_every % WORKERS);
        while (collect(stage, &done) > 0 && clock_now_ms() < end_ms)
            wait_bell(stage);
    }
    CHECK(done == sent && sent >= rounds, "%zu of %zu came back", done, sent);
    return done;
}

TEST(segment_loses_no_wake_up)
{
    struct stage stage;
    stage_start(&stage, THREADS, WORKERS * THREADS);
    run_rounds(&stage, ROUNDS, 0);
    CHECK(stage.silences == 0, "%zu silences", stage.silences);
    stage_end(&stage);
}

TEST(segment_loses_no_wake_up_with_a_killed_worker)
{
    struct stage stage;
    stage_start(&stage, 1, WORKERS);
    run_rounds(&stage, KILL_ROUNDS, KILL_EVERY);
    CHECK(stage.silences == 0, "%zu silences", stage.silences);
    stage_end(&stage);
}

/* The next request comes just when the only lane, which has finished one, goes to sleep. */
TEST(segment_loses_no_wake_up_at_the_edge_of_sleep)
{
    struct stage stage;
    stage_start(&stage, 1, 1);
    int64_t end_ms = clock_now_ms() + 30000;
    size_t done = 0;
    while (done < SPIN_ROUNDS && clock_now_ms() < end_ms) {
        int64_t sent_us = clock_now_us();
        segment_submit(&stage.segment, 0);
        segment_wake(&stage.segment, 1);
        for (size_t turn = 0; segment_state(&stage.segment, 0) != SLOT_DONE; turn++) {
            if (turn > 2000) /* there may be one core only */
                sched_yield();
        }
        stage.silences += clock_now_us() - sent_us > SILENCE_MS * 900;
        segment_release(&stage.segment, 0);
        for (volatile size_t delay = done++ % 128; delay > 0; delay--)
            continue;
    }
    CHECK(done == SPIN_ROUNDS, "%zu came back", done);
    CHECK(stage.silences == 0, "%zu silences", stage.silences);
    stage_end(&stage);
}
