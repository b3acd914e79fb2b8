/* The file of changed backends, and what `trilith backend` does to a running parent. */
#include "process/backends.h"

#include "core/memory.h"
#include "core/test.h"
#include "process/toy_test.h"

#include <stdio.h>

TEST(backends_file_is_read_strictly)
{
#define ONE(member, weight, drained)                                                               \
    "{\"backends\": [{\"name\": \"web/web-01\", \"member\": " member ", \"weight\": " weight       \
    ", \"drained\": " drained "}]}"
    static const struct {
        const char *file;
        enum err want;
        size_t count;
    } cases[] = {
        { "{\"backends\": []}", OK, 0 },
        { ONE("\"file\"", "3", "false"), OK, 1 },
        { ONE("\"added\"", "-1", "true"), OK, 1 },
        { ONE("\"removed\"", "0", "true"), OK, 1 },
        { ONE("\"gone\"", "0", "true"), ERR_SYNTAX, 0 },
        { ONE("\"file\"", "257", "true"), ERR_SYNTAX, 0 },
        { ONE("\"file\"", "-2", "true"), ERR_SYNTAX, 0 },
        { ONE("\"file\"", "1.5", "true"), ERR_SYNTAX, 0 },
        { ONE("\"file\"", "1", "1"), ERR_SYNTAX, 0 },
        { ONE("7", "1", "true"), ERR_SYNTAX, 0 },
        { "{\"backends\": [{\"name\": \"a\"}]}", ERR_SYNTAX, 0 },
        { "{\"backends\": {}}", ERR_SYNTAX, 0 },
        { "{\"backends\": [], \"more\": 1}", ERR_SYNTAX, 0 },
        { "[]", ERR_SYNTAX, 0 },
        { "", ERR_SYNTAX, 0 },
    };
    struct backends backends = { 0 }, again = { 0 };
    struct why why;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text file = text_of(cases[i].file);
        CHECK(backends_parse(file, &backends, &why) == cases[i].want, "%s", cases[i].file);
        CHECK(backends.count == cases[i].count, "%s", cases[i].file);
        if (cases[i].want != OK)
            continue;
        struct buffer out = buffer_of(65536);
        backends_print(&backends, &out);
        CHECK(backends_parse(buffer_text(&out), &again, &why) == OK, "%s", why.text);
        CHECK(again.count == backends.count, "the same again");
        CHECK(again.count == 0 || (again.items[0].weight == backends.items[0].weight &&
                                   again.items[0].is_drained == backends.items[0].is_drained &&
                                   again.items[0].member == backends.items[0].member),
              "%s", cases[i].file);
        buffer_done(&out);
        for (size_t cut = 0; cut < file.len; cut++)
            CHECK(backends_parse(text_part(file, 0, cut), &again, &why) == ERR_SYNTAX,
                  "%s cut at %zu", cases[i].file, cut);
    }
    memory_free(backends.items);
    memory_free(again.items);
}
