/* Any bytes as the answer to a check: a verdict at the end, and a reason that prints. */
#include "health/visit.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reason(const char *reason)
{
    for (; *reason != '\0'; reason++)
        assert(*reason >= ' ' && *reason <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct site_status_range status[] = { { 200, 399 } };
    struct site_check check = { .status = status, .status_count = 1 };
    struct text answer = text_from((const char *)data, size);
    char reason[HEALTH_REASON_SIZE] = "";
    for (int has_body = 0; has_body < 2; has_body++) {
        check.body = has_body ? T("OK") : T("");
        (void)visit_judge_http(&check, answer, false, reason);
        check_reason(reason);
        assert(visit_judge_http(&check, answer, true, reason) != VISIT_MORE);
        check_reason(reason);
    }
    size_t packets;
    assert(visit_judge_mysql(answer, true, &packets, reason) != VISIT_MORE);
    check_reason(reason);
    (void)visit_judge_mysql(answer, false, &packets, reason);
    return 0;
}
