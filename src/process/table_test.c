/* The table of processes: what is written is read, what is cleared is gone. */
#include "process/table.h"

#include "core/test.h"

#include <stdio.h>
#include <string.h>

TEST(table_shows_what_runs)
{
    struct process_view seen, view = { .pid = 7, .is_ready = true, .restarts = 3 };
    struct process_table *table = process_table_new();
    snprintf(view.title, sizeof(view.title), "edge/0");
    CHECK(!process_table_read(NULL, 0, &seen), "no table");
    CHECK(!process_table_read(table, 0, &seen), "empty");
    process_table_write(table, 0, &view);
    REQUIRE(process_table_read(table, 0, &seen), "written");
    CHECK(seen.pid == 7 && seen.is_ready && seen.restarts == 3 && !seen.has_children, "as written");
    CHECK(strcmp(seen.title, "edge/0") == 0, "its title");
    CHECK(!process_table_read(table, PROCESS_TABLE_SIZE - 1, &seen), "the others are empty");
    view.pid = 0;
    process_table_write(table, 0, &view);
    CHECK(process_table_read(table, 0, &seen) && seen.pid == 0, "written again");
    process_table_clear(table, 0);
    CHECK(!process_table_read(table, 0, &seen), "cleared");
    CHECK(process_table_generation(table) == 0, "nothing serves");
    process_table_serve(table, 5);
    CHECK(process_table_generation(table) == 5, "the fifth generation serves");
    process_table_free(table);
}
