#ifndef CORE_TEST_H
#define CORE_TEST_H

/*
 * Unit tests, beside the code in *_test.c, all in one program: build/tests [filter].
 *
 *     TEST(text_trims_blanks)
 *     {
 *         CHECK(text_equal(text_trim(T(" a ")), T("a")), "both ends");
 *     }
 */

#include "core/error.h"

#include <stdbool.h>

struct test {
    const char *name;
    const char *file;
    void (*run)(void);
    struct test *next;
};

void test_register(struct test *test);

/* Counts one check; on failure prints where and what. Returns ok. */
bool test_check(bool ok, const char *file, int line, const char *expression, const char *format,
                ...) PRINTF_LIKE(5, 6);

#define TEST(name_)                                                                                \
    static void test_##name_(void);                                                                \
    static struct test test_entry_##name_ = { #name_, __FILE__, test_##name_, NULL };              \
    __attribute__((constructor)) static void test_register_##name_(void)                           \
    {                                                                                              \
        test_register(&test_entry_##name_);                                                        \
    }                                                                                              \
    static void test_##name_(void)

#define CHECK(expression, ...)                                                                     \
    test_check((expression), __FILE__, __LINE__, #expression, __VA_ARGS__)

/* Leaves the test when it does not hold. */
#define REQUIRE(expression, ...)                                                                   \
    do {                                                                                           \
        if (!CHECK(expression, __VA_ARGS__))                                                       \
            return;                                                                                \
    } while (0)

#endif
