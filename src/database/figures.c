/*
 * The role `figures`: on a server with a database, when the site has `monitor:`. Asks its MariaDB
 * each second how much it does and writes that into the counters (metrics.h, db_*), where the agent
 * and `status` find it. Its account may do nothing but connect, which is enough for this.
 *
 * One statement on one connection; while the database is away it is tried again each second, and
 * the gauges say 0.
 */
#include "database/client.h"
#include "database/config.h"
#include "database/database.h"
#include "database/secrets.h"
#include "process/swap.h"

#include "core/log.h"
#include "core/memory.h"

#include <stdio.h>

enum { LOOK_MS = 1000, TIMEOUT_S = 2, ARENA_BYTES = 65536 };

/* Several names of MariaDB may make one figure. Times are in ms there. */
static const struct {
    const char *name;
    size_t offset; /* in struct metrics */
    int64_t factor;
} figures[] = {
#define FIGURE(name, member, factor)                                                               \
    {                                                                                              \
        name, offsetof(struct metrics, member), factor                                             \
    }
    FIGURE("Queries", db_queries, 1),
    FIGURE("Slow_queries", db_slow, 1),
    FIGURE("Connections", db_connections, 1),
    FIGURE("Aborted_connects", db_aborted, 1),
    FIGURE("Threads_connected", db_connected, 1),
    FIGURE("Threads_running", db_threads, 1),
    FIGURE("Innodb_rows_read", db_rows_read, 1),
    FIGURE("Innodb_rows_inserted", db_rows_written, 1),
    FIGURE("Innodb_rows_updated", db_rows_written, 1),
    FIGURE("Innodb_rows_deleted", db_rows_written, 1),
    FIGURE("Innodb_buffer_pool_read_requests", db_page_requests, 1),
    FIGURE("Innodb_buffer_pool_reads", db_page_reads, 1),
    FIGURE("Innodb_buffer_pool_bytes_data", db_pool_bytes, 1),
    FIGURE("Innodb_buffer_pool_bytes_dirty", db_dirty_bytes, 1),
    FIGURE("Innodb_row_lock_waits", db_lock_waits, 1),
    FIGURE("Innodb_row_lock_time", db_lock_us, 1000),
    FIGURE("Innodb_deadlocks", db_deadlocks, 1),
    FIGURE("Innodb_os_log_written", db_log_bytes, 1),
    FIGURE("Created_tmp_disk_tables", db_disk_tables, 1),
#undef FIGURE
};

struct look {
    struct swap swap;
    struct loop_timer timer;
    struct client *client; /* NULL: none */
    struct arena *arena;
    struct buffer statement;
    char socket[108];
    char password[DATABASE_PASSWORD_LIMIT + 1];
    bool has_alerted;
};

static size_t figures_count(const struct generation *generation)
{
    const struct site *site = generation->site;
    return site->database.is_present && site_is_on(site, &site->database.on, generation->server) &&
                   site_is_watched(site, generation->server)
               ? 1
               : 0;
}

static void figures_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "database/figures");
}

/* ---- one look ---- */

static _Atomic int64_t *place_of(struct metrics *metrics, size_t figure)
{
    return (_Atomic int64_t *)(void *)((char *)metrics + figures[figure].offset);
}

static void write_statement(struct buffer *out)
{
    buffer_append(out, T("SHOW GLOBAL STATUS WHERE Variable_name IN ("));
    for (size_t i = 0; i < COUNT(figures); i++)
        buffer_print(out, "%s'%s'", i > 0 ? "," : "", figures[i].name);
    buffer_append(out, T(")"));
    buffer_append_byte(out, '\0');
}

static void take(struct metrics *metrics, const struct client_rows *rows)
{
    int64_t sums[COUNT(figures)] = { 0 };
    for (size_t row = 0; row < rows->count; row++) {
        struct text name = client_value(rows, row, "Variable_name");
        for (size_t i = 0; i < COUNT(figures); i++)
            if (text_equal_fold(name, text_of(figures[i].name)))
                sums[i] = client_number(rows, row, "Value", 0) * figures[i].factor;
    }
    for (size_t i = 0; i < COUNT(figures); i++) {
        int64_t sum = 0;
        for (size_t k = 0; k < COUNT(figures); k++)
            sum += figures[k].offset == figures[i].offset ? sums[k] : 0;
        metrics_set(place_of(metrics, i), sum);
    }
    metrics_set(&metrics->db_up, 1);
}

static void lose(struct look *look, const struct why *why)
{
    struct metrics *metrics = look->swap.self->metrics;
    client_close(look->client);
    look->client = NULL;
    metrics_set(&metrics->db_up, 0);
    metrics_set(&metrics->db_threads, 0);
    metrics_set(&metrics->db_connected, 0);
    if (!look->has_alerted)
        log_warn("database", "does not tell its figures", STRING("why", why->text));
    look->has_alerted = true;
}

static void look_once(struct look *look)
{
    struct why why = { "" };
    struct client_rows rows;
    struct client_target target = { .socket = look->socket,
                                    .user = T("trilith_figures"),
                                    .password = look->password,
                                    .timeout_s = TIMEOUT_S };
    enum err err = look->client == NULL ? client_open(&target, &look->client, &why) : OK;
    if (err == OK)
        err = client_query(look->client, look->statement.data, look->arena, &rows, &why);
    if (err == OK) {
        take(look->swap.self->metrics, &rows);
        look->has_alerted = false;
    } else {
        lose(look, &why);
    }
    arena_reset(look->arena);
}

static void on_timer(struct loop_timer *timer)
{
    struct look *look = list_entry(timer, struct look, timer);
    look_once(look);
    loop_timer_start(look->swap.loop, timer, LOOK_MS);
}

/* ---- generations ---- */

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    struct look *look = list_entry(swap, struct look, swap);
    struct database_place place;
    struct arena *arena = arena_new(ARENA_BYTES, 0);
    enum err err = database_place_find(arena, next->state, &place, why);
    if (err == OK && !text_copy_to(text_of(place.socket), look->socket, sizeof(look->socket)))
        err = fail(why, ERR_LIMIT, "the database's socket has too long a path");
    arena_free(arena);
    if (err == OK && database_account_password(next, ACCOUNT_FIGURES, look->password) != OK)
        err = fail(why, ERR_MISSING, "the parent gave no password");
    if (err == OK)
        loop_timer_start(swap->loop, &look->timer, 0);
    return err;
}

static int run(struct process *self)
{
    static const struct swap_steps steps = { .area = "database", .use = use };
    struct why why = { "" };
    struct look *look = NEW(struct look);
    struct loop *loop;
    enum err err = loop_new(LOOP_EPOLL, &loop, &why);
    if (err == OK) {
        look->arena = arena_new(ARENA_BYTES, 8192);
        look->statement = buffer_of(4096);
        write_statement(&look->statement);
        loop_timer_init(&look->timer, on_timer);
        err = swap_start(&look->swap, &steps, self, loop, &why);
    }
    if (err != OK) {
        log_error("database", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(loop);
    client_close(look->client);
    return 0;
}

const struct role figures_role = {
    .name = "figures",
    .summary = "asks the database of this server how much it does, for the agent",
    .reload = RELOAD_SWAP,
    .start_order = 27,
    .needs = "database.account.figures",
    .count = figures_count,
    .title = figures_title,
    .run = run,
    .uid_of = "agent",
};
