/* The segment under its contract, and under several processes at once. */
#include "app/response.h"
#include "app/segment.h"

#include "core/clock.h"
#include "core/sys.h"
#include "core/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct segment segment_for_test(size_t edges, size_t workers, size_t slots)
{
    struct segment segment = { 0 };
    struct why why = { "" };
    AUTO(fd_close) int fd = -1;
    CHECK(segment_create(edges, workers, 1, slots, &fd, &why) == OK, "%s", why.text);
    CHECK(segment_map(fd, &segment, &why) == OK, "%s", why.text);
    return segment;
}

TEST(segment_gives_requests_in_order_and_only_once)
{
    struct segment segment = segment_for_test(2, 3, 4);
    size_t slot;
    CHECK(!segment_claim(&segment, 0, &slot), "nothing is queued");
    segment_submit(&segment, 5);
    segment_submit(&segment, 1);
    segment_submit(&segment, 6);
    CHECK(segment_claim(&segment, 2, &slot) && slot == 5, "the oldest first");
    CHECK(segment_state(&segment, 5) == SLOT_RUNNING, "it runs");
    CHECK(segment_slot_worker(&segment, 5) == 2, "and says where");
    CHECK(segment_claim(&segment, 0, &slot) && slot == 1, "then the next");
    CHECK(segment_cancel(&segment, 6, CANCEL_CLIENT), "a queued one can be taken back");
    CHECK(!segment_claim(&segment, 1, &slot), "and is not given out");
    CHECK(!segment_cancel(&segment, 5, CANCEL_DEADLINE), "a running one cannot");
    CHECK(segment.slots[5].cancelled == CANCEL_DEADLINE, "but it is told");
    CHECK(!segment_release(&segment, 5), "nor be freed");
    segment_finish(&segment, 2, 5);
    CHECK(segment_state(&segment, 5) == SLOT_DONE, "finished");
    CHECK(segment_release(&segment, 5) && segment_state(&segment, 5) == SLOT_FREE, "freed");
    segment_unmap(&segment);
}

TEST(segment_fails_the_requests_of_a_dead_worker)
{
    struct segment segment = segment_for_test(2, 2, 2);
    size_t slot, edges[SEGMENT_EDGES_LIMIT];
    segment_submit(&segment, 3);
    CHECK(segment_claim(&segment, 1, &slot), "claimed");
    CHECK(segment_worker_lost(&segment, 0, edges) == 0, "the other one had nothing");
    CHECK(segment_worker_lost(&segment, 1, edges) == 1 && edges[0] == 1, "its edge is told");
    CHECK(segment_state(&segment, 3) == SLOT_FAILED, "failed");
    CHECK(segment.edges[1].ready[0] == 2, "the edge will look at it");
    segment_finish(&segment, 1, 3);
    CHECK(segment_state(&segment, 3) == SLOT_FAILED, "a late hand changes nothing");
    CHECK(segment_submit_again(&segment, 3), "may be tried again");
    CHECK(segment_claim(&segment, 0, &slot) && slot == 3, "by another one");
    segment_unmap(&segment);
}

TEST(segment_edge_that_starts_again_takes_its_slots_over)
{
    struct segment segment = segment_for_test(1, 2, 4);
    size_t slot;
    segment_submit(&segment, 0);
    segment_submit(&segment, 1);
    segment_submit(&segment, 2);
    CHECK(segment_claim(&segment, 0, &slot) && slot == 0, "one runs");
    CHECK(segment_claim(&segment, 1, &slot) && slot == 1, "one is finished");
    segment_finish(&segment, 1, 1);
    segment_edge_start(&segment, 0);
    CHECK(segment_state(&segment, 0) == SLOT_RUNNING, "the worker still has it");
    CHECK(segment.slots[0].cancelled == CANCEL_CLIENT, "and knows that nobody waits");
    CHECK(segment_state(&segment, 1) == SLOT_FREE, "the finished one is free");
    CHECK(segment_state(&segment, 2) == SLOT_FREE, "the queued one too");
    segment_unmap(&segment);
}

TEST(segment_refuses_what_is_not_one)
{
    struct segment segment = { 0 };
    struct why why;
    AUTO(fd_close) int fd = -1;
    CHECK(segment_create(0, 1, 1, 1, &fd, &why) == ERR_RANGE, "no edge");
    CHECK(segment_create(1, 1, 1, SEGMENT_SLOTS_LIMIT + 1, &fd, &why) == ERR_RANGE,
          "too many slots");
    CHECK(segment_map(-1, &segment, &why) != OK, "no descriptor");
    REQUIRE(segment_create(1, 1, 1, 1, &fd, &why) == OK, "%s", why.text);
    CHECK(ftruncate(fd, 10) != 0, "a worker cannot shrink it");
    uint32_t many = 64;
    CHECK(sys_pwrite(fd, &many, sizeof(many), 8) == 4, "a count is changed");
    CHECK(segment_map(fd, &segment, &why) == ERR_PROTOCOL, "and does not fit the size");
}

TEST(segment_names_its_keys)
{
    CHECK(text_equal(segment_key_name(KEY_PATH_INFO), T("PATH_INFO")), "by number");
    CHECK(text_is_empty(segment_key_name(KEY_OTHER)), "other");
    CHECK(text_is_empty(segment_key_name(KEY_COUNT)), "past the end");
}

/* ---- ring ---- */

/* Puts and takes pieces of changing sizes through many turns of the ring. */
TEST(segment_ring_carries_bytes_in_order)
{
    struct segment segment = segment_for_test(1, 1, 1);
    struct segment_slot *slot = &segment.slots[0];
    struct response_reader reader = response_reader_of(slot);
    static char block[100000];
    struct segment_head head = { .status = 200, .content_length = -1 };
    struct text data;
    uint8_t next_in = 0, next_out = 0;
    size_t total = 0;
    segment_submit(&segment, 0);
    CHECK(segment_put(slot, RECORD_HEAD, text_from((char *)&head, sizeof(head)), true) > 0, "head");
    CHECK(response_next(&reader, &data) == RESPONSE_HEAD, "head");
    response_took(&reader);
    for (size_t turn = 0; turn < 400; turn++) {
        size_t len = turn * 7919 % sizeof(block) + 1;
        for (size_t i = 0; i < len; i++)
            block[i] = (char)(next_in + i);
        ssize_t put = segment_put(slot, RECORD_BODY, text_from(block, len), false);
        next_in = (uint8_t)(next_in + (put > 0 ? put : 0));
        size_t take = put < 0 ? 100 : turn % 3;
        while (take-- > 0 && response_next(&reader, &data) == RESPONSE_BODY) {
            for (size_t i = 0; i < data.len; i++)
                next_out = (uint8_t)(next_out + (data.data[i] == (char)next_out));
            total += data.len;
            CHECK(next_out == (uint8_t)total, "every byte is the next one");
            response_took(&reader);
        }
    }
    CHECK(total > 10 * SEGMENT_RESPONSE_BYTES, "it went round: %zu", total);
    CHECK(!reader.is_bad, "no bad record");
    segment_unmap(&segment);
}

/* ---- several processes ---- */

enum { STRESS_WORKERS = 4, STRESS_SLOTS = 8, STRESS_REQUESTS = 20000 };

/* Answers each request with its number doubled, until retired. */
static void stress_worker(struct segment *segment, size_t index)
{
    size_t slot;
    while (atomic_load(&segment->workers[index].retire) == 0) {
        if (!segment_claim(segment, index, &slot)) {
            segment_wait(segment, index, 100);
            continue;
        }
        struct segment_head head = { .status = 200, .content_length = 8 };
        uint64_t number;
        memcpy(&number, segment->slots[slot].request, sizeof(number));
        number *= 2;
        (void)!segment_put(&segment->slots[slot], RECORD_HEAD,
                           text_from((char *)&head, sizeof(head)), true);
        (void)!segment_put(&segment->slots[slot], RECORD_BODY,
                           text_from((char *)&number, sizeof(number)), false);
        (void)!segment_put(&segment->slots[slot], RECORD_END, T(""), true);
        segment_finish(segment, index, slot);
        segment_tell(segment, slot);
    }
    _exit(0);
}

static bool is_answer_right(struct segment *segment, size_t slot, uint64_t number)
{
    struct response_reader reader = response_reader_of(&segment->slots[slot]);
    struct text data;
    uint64_t answer = 0;
    if (response_next(&reader, &data) != RESPONSE_HEAD)
        return false;
    response_took(&reader);
    if (response_next(&reader, &data) != RESPONSE_BODY || data.len != sizeof(answer))
        return false;
    memcpy(&answer, data.data, sizeof(answer));
    response_took(&reader);
    return response_next(&reader, &data) == RESPONSE_END && answer == number * 2;
}

/* Sends requests through all slots of an edge; returns how many were answered rightly. */
static size_t stress_edge(struct segment *segment, size_t edge, size_t requests, pid_t *victim)
{
    uint64_t numbers[STRESS_SLOTS];
    size_t first = edge * STRESS_SLOTS, sent = 0, right = 0, done = 0;
    int64_t end_ms = clock_now_ms() + 20000;
    while (done < requests && clock_now_ms() < end_ms) {
        for (size_t i = 0; i < STRESS_SLOTS; i++) {
            size_t slot = first + i;
            enum slot_state state = segment_state(segment, slot);
            if (state == SLOT_DONE) {
                right += is_answer_right(segment, slot, numbers[i]);
                done++;
                segment_release(segment, slot);
            } else if (state == SLOT_FAILED) {
                segment_submit_again(segment, slot);
                segment_wake(segment, 1);
            } else if (state == SLOT_FREE && sent < requests) {
                numbers[i] = sent++ * 3 + edge;
                memcpy(segment->slots[slot].request, &numbers[i], sizeof(numbers[i]));
                segment_submit(segment, slot);
                segment_wake(segment, 1);
            }
        }
        if (victim != NULL && *victim > 0 && done > requests / 2) {
            size_t edges[SEGMENT_EDGES_LIMIT];
            kill(*victim, SIGKILL);
            waitpid(*victim, NULL, 0);
            *victim = 0;
            segment_worker_lost(segment, 0, edges);
        }
    }
    return right;
}

TEST(segment_survives_processes_and_a_kill)
{
    struct segment segment = segment_for_test(2, STRESS_WORKERS, STRESS_SLOTS);
    pid_t pids[STRESS_WORKERS];
    for (size_t i = 0; i < STRESS_WORKERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            stress_worker(&segment, i);
    }
    pid_t other = fork();
    if (other == 0)
        _exit(stress_edge(&segment, 1, STRESS_REQUESTS, NULL) == STRESS_REQUESTS ? 0 : 1);
    size_t right = stress_edge(&segment, 0, STRESS_REQUESTS, &pids[0]);
    CHECK(right == STRESS_REQUESTS, "%zu of %d answers are right", right, STRESS_REQUESTS);
    int status = -1;
    CHECK(waitpid(other, &status, 0) == other && status == 0, "the other edge too: %d", status);
    for (size_t i = 0; i < STRESS_WORKERS; i++) {
        atomic_store(&segment.workers[i].retire, 1);
        segment_wake_worker(&segment, i);
        if (pids[i] > 0)
            waitpid(pids[i], NULL, 0);
    }
    segment_unmap(&segment);
}
