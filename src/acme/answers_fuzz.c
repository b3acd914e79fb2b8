/* Fuzz target: what a CA answers, that may be anybody. */
#include "acme/answers.h"
#include "core/memory.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void heads(struct text input)
{
    struct acme_head head = { 0 };
    while (input.len > 0)
        acme_head_read(text_next(&input, '\n'), 1800000000, &head);
    assert(strlen(head.nonce) < sizeof(head.nonce));
    assert(strlen(head.location) < sizeof(head.location));
    assert(head.retry_after_s >= 0 && head.retry_after_s <= 86400);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text input = text_from((const char *)data, size);
    struct acme_directory directory;
    struct acme_order order;
    struct acme_authorization authorization;
    struct acme_problem problem;
    struct why why;
    if (acme_directory_parse(input, &directory, &why) == OK)
        assert(text_starts_with(text_of(directory.new_order), T("https://")));
    if (acme_order_parse(input, &order, &why) == OK) {
        assert(order.authorization_count > 0 && order.authorization_count <= ACME_NAMES_LIMIT);
        acme_order_done(&order);
    }
    if (acme_authorization_parse(input, "http-01", &authorization, &why) == OK &&
        authorization.has_challenge)
        assert(challenges_is_token(text_of(authorization.token)));
    acme_problem_parse(input, 500, &problem);
    assert(problem.reason[0] != '\0');
    heads(input);
    return 0;
}
