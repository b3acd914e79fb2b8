/* Runs the registered unit tests: build/tests [part of a name or file]. */
#include "core/test.h"

#include "core/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct test *tests;
static int failed_checks;

void test_register(struct test *test)
{
    struct test **at = &tests;
    while (*at != NULL && strcmp((*at)->name, test->name) < 0)
        at = &(*at)->next;
    test->next = *at;
    *at = test;
}

bool test_check(bool ok, const char *file, int line, const char *expression, const char *format,
                ...)
{
    if (ok)
        return true;
    va_list args;
    failed_checks++;
    printf("%s:%d: %s does not hold: ", file, line, expression);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return false;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    const char *filter = argc > 1 ? argv[1] : "";
    for (struct test *test = tests; test != NULL; test = test->next) {
        if (strstr(test->name, filter) == NULL && strstr(test->file, filter) == NULL)
            continue;
        int64_t started_ms = clock_now_ms();
        failed_checks = 0;
        test->run();
        if (failed_checks > 0)
            printf("FAILED %s (%d checks)\n", test->name, failed_checks);
        if (clock_now_ms() - started_ms > 1000)
            printf("slow: %s took %lld ms\n", test->name, (long long)(clock_now_ms() - started_ms));
        *(failed_checks > 0 ? &failed : &passed) += 1;
        fflush(stdout);
    }
    printf("unit: %d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
