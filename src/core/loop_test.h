#ifndef CORE_LOOP_TEST_H
#define CORE_LOOP_TEST_H

/* Runs one test body on both back ends. io_uring is left out, with the reason printed, only where
 * the kernel refuses a ring. */

#include "core/loop.h"
#include "core/test.h"

#include <stdio.h>

static inline struct loop *test_loop_new(enum loop_backend backend)
{
    struct loop *loop = NULL;
    struct why why = { "" };
    if (loop_new(backend, &loop, &why) == OK)
        return loop;
    if (backend == LOOP_URING)
        printf("skipped on io_uring: %s\n", why.text);
    else
        CHECK(false, "%s", why.text);
    return NULL;
}

/* TEST_LOOP(name) { ... `loop` is the loop ... } */
#define TEST_LOOP(name_)                                                                           \
    static void on_loop_##name_(struct loop *loop);                                                \
    TEST(name_)                                                                                    \
    {                                                                                              \
        static const enum loop_backend backends[] = { LOOP_EPOLL, LOOP_URING };                    \
        for (size_t i = 0; i < COUNT(backends); i++) {                                             \
            struct loop *loop = test_loop_new(backends[i]);                                        \
            if (loop == NULL)                                                                      \
                continue;                                                                          \
            on_loop_##name_(loop);                                                                 \
            loop_free(loop);                                                                       \
        }                                                                                          \
    }                                                                                              \
    static void on_loop_##name_(struct loop *loop)

/* Turns until `condition` holds, at most `limit_ms`. */
#define TURN_UNTIL(loop, condition, limit_ms)                                                      \
    do {                                                                                           \
        int64_t give_up_ms = loop_now_ms(loop) + (limit_ms);                                       \
        for (int turns = 0; !(condition) && (turns < 30 || loop_now_ms(loop) < give_up_ms);        \
             turns++) /* the time alone may pass while others have the core */                     \
            loop_turn(loop, 20);                                                                   \
        CHECK(condition, "%s: not within %d ms", loop_backend_name(loop), (int)(limit_ms));        \
    } while (0)

#endif
