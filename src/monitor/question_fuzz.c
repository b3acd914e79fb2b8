/* Any bytes as the query of api/range and as the form of the login. */
#include "monitor/question.h"

#include "monitor/session.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text text = text_from((const char *)data, size);
    struct arena *arena = arena_new(1 << 20, 0);
    struct question question;
    struct why why;
    struct text value;
    static struct session_keys keys;
    struct session session;
    if (question_parse(text, arena, &question, &why) == OK &&
        (question.from_s >= question.to_s || question.points < 1 || question.line_count < 1))
        abort();
    if (question_value(text, "token", arena, &value) && value.len > size)
        abort();
    session_use(&keys, T("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"));
    if (session_read(&keys, text, 1800000000, &session))
        abort(); /* nobody guesses a signature */
    arena_free(arena);
    return 0;
}
