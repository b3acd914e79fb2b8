/*
 * `trilith sql explain`: says where the proxy would run a statement, what the statement leaves
 * behind in the session, and why. For people who wonder, and for the tests that ask a real server
 * whether the answer was right.
 */
#include "database/sql_explain.h"

#include "core/memory.h"
#include "core/sys.h"
#include "database/sql_statement.h"

#include <stdio.h>

enum { INPUT_MOST = 64 << 20 };

static void print_effects(unsigned effects)
{
    static const struct {
        unsigned effect;
        const char *name;
    } names[] = {
        { SQL_WRITES, "writes" },
        { SQL_PIN, "pins the session to the primary" },
        { SQL_KEEP, "keeps its connection" },
        { SQL_REPLAY, "is repeated on other connections" },
        { SQL_USE, "changes the database" },
        { SQL_LOCKS, "locks tables" },
        { SQL_UNLOCKS, "unlocks tables" },
        { SQL_KILL, "ends another session" },
        { SQL_BEGIN_READ_ONLY, "begins a read-only transaction" },
        { SQL_MULTI, "is several statements" },
        { SQL_SETS_MODE, "changes how statements are read" },
        { SQL_FOUND_ROWS, "is asked for FOUND_ROWS next" },
        { SQL_ONE_SHOT, "binds the next transaction to the primary" },
        { SQL_LOCAL_FILE, "may ask for a file of the client" },
    };
    for (size_t i = 0; i < COUNT(names); i++)
        if (effects & names[i].effect)
            printf("; %s", names[i].name);
}

static void explain(struct text sql, const struct sql_dialect *dialect)
{
    static const char *const places[] = {
        [SQL_PRIMARY] = "primary", [SQL_ANY] = "replica", [SQL_SAME] = "previous"
    };
    struct sql_verdict verdict;
    sql_statement_read(sql, dialect, &verdict);
    printf("%s: %s", places[verdict.where], verdict.reason);
    print_effects(verdict.effects);
    putchar('\n');
}

/* Statements of a file, a NUL behind each. */
static int explain_file(const char *path, const struct sql_dialect *dialect)
{
    struct text input;
    struct why why = { "" };
    if (sys_read_file(path, INPUT_MOST, &input, &why) != OK) {
        fprintf(stderr, "trilith sql explain: %s\n", why.text);
        return 1;
    }
    struct text rest = input;
    while (rest.len > 0)
        explain(text_next(&rest, '\0'), dialect);
    memory_free((void *)input.data);
    return 0;
}

int sql_explain(int count, char **words)
{
    struct sql_dialect dialect = { 0 };
    if (count >= 2 && strcmp(words[0], "--sql-mode") == 0) {
        sql_dialect_set_mode(&dialect, text_of(words[1]));
        count -= 2;
        words += 2;
    }
    if (count == 2 && strcmp(words[0], "--file") == 0)
        return explain_file(words[1], &dialect);
    if (count == 0) {
        fputs("trilith sql explain: which statement? (`trilith help sql` shows the options)\n",
              stderr);
        return 2;
    }
    for (int i = 0; i < count; i++)
        explain(text_of(words[i]), &dialect);
    return 0;
}
