/*
 * See event.h. WAL without a sync per commit: what is written survives a kill of the process, and
 * after a loss of power the last seconds may be missing, but the file is whole.
 */
#include "monitor/event.h"

#include "core/memory.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum {
    PAGE_BYTES = 4096,
    PRUNE_EVERY = 256,
    PATH_SIZE = 4096,
    WAIT_MS = 200, /* for a reader from outside, such as the program sqlite3 */
};

enum { ADD, PRUNE, RANGE, REMEMBER, RECALL, STATEMENTS };

struct event_store {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    unsigned added;
};

static enum err broken(struct event_store *store, const char *what, struct why *why)
{
    return fail(why, ERR_SYSTEM, "cannot %s: %s", what, sqlite3_errmsg(store->db));
}

/* ---- opening ---- */

static enum err prepare(struct event_store *store, struct why *why)
{
    static const char *const texts[STATEMENTS] = {
        [ADD] = "INSERT INTO event (time, kind, server, level, text) VALUES (?, ?, ?, ?, ?)",
        [PRUNE] = "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?",
        [RANGE] = "SELECT time, kind, server, level, text FROM (SELECT * FROM event WHERE "
                  "time >= ? AND time < ? ORDER BY time DESC, id DESC LIMIT ?) "
                  "ORDER BY time, id",
        [REMEMBER] = "INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)",
        [RECALL] = "SELECT value FROM memory WHERE name = ?",
    };
    for (size_t i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v2(store->db, texts[i], -1, &store->statements[i], NULL) != SQLITE_OK)
            return broken(store, "prepare the list of events", why);
    return OK;
}

static enum err set_up(struct event_store *store, struct why *why)
{
    char limits[256];
    snprintf(limits, sizeof(limits),
             "PRAGMA page_size=%d; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
             "PRAGMA max_page_count=%d; PRAGMA journal_size_limit=%d; PRAGMA cache_size=-256;",
             PAGE_BYTES, EVENT_DISK_BYTES / PAGE_BYTES, 4 << 20);
    static const char tables[] =
        "CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "time INTEGER NOT NULL, kind TEXT NOT NULL, server TEXT NOT NULL, level TEXT NOT NULL, "
        "text TEXT NOT NULL);"
        "CREATE INDEX IF NOT EXISTS event_time ON event (time);"
        "CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value BLOB NOT NULL);";
    sqlite3_busy_timeout(store->db, WAIT_MS);
    if (sqlite3_exec(store->db, limits, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->db, tables, NULL, NULL, NULL) != SQLITE_OK)
        return broken(store, "open the list of events", why);
    return prepare(store, why);
}

static enum err open_file(const char *path, struct event_store **store_out, int *code_out,
                          struct why *why)
{
    struct event_store *store = NEW(struct event_store);
    enum err err = OK;
    if (sqlite3_open_v2(path, &store->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                            SQLITE_OPEN_NOFOLLOW,
                        NULL) != SQLITE_OK)
        err = broken(store, "open the list of events", why);
    if (err == OK)
        err = set_up(store, why);
    *code_out = sqlite3_errcode(store->db);
    if (err == OK)
        *store_out = store;
    else
        event_store_close(store);
    return err;
}

static void put_aside(const char *path)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    char from[PATH_SIZE + 8], to[PATH_SIZE + 16];
    for (size_t i = 0; i < COUNT(ends); i++) {
        snprintf(from, sizeof(from), "%s%s", path, ends[i]);
        snprintf(to, sizeof(to), "%s.broken", from);
        rename(from, to);
    }
}

enum err event_store_open(const char *folder, struct event_store **store_out, struct why *why)
{
    char path[PATH_SIZE];
    int code;
    if (snprintf(path, sizeof(path), "%s/events.db", folder) >= (int)sizeof(path))
        return fail(why, ERR_LIMIT, "the name of the folder is too long");
    enum err err = open_file(path, store_out, &code, why);
    if (err == OK || (code != SQLITE_CORRUPT && code != SQLITE_NOTADB))
        return err;
    put_aside(path);
    return open_file(path, store_out, &code, why);
}

void event_store_close(struct event_store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->db);
    memory_free(store);
}

/* ---- statements ---- */

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

/* Runs a statement without rows. */
static enum err run(struct event_store *store, sqlite3_stmt *statement, const char *what,
                    struct why *why)
{
    bool is_done = sqlite3_step(statement) == SQLITE_DONE;
    enum err err = is_done ? OK : broken(store, what, why);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return err;
}

enum err event_add(struct event_store *store, const struct event *event, struct why *why)
{
    sqlite3_stmt *add = store->statements[ADD], *prune = store->statements[PRUNE];
    sqlite3_bind_int64(add, 1, event->time_ms);
    bind_text(add, 2, event->kind);
    bind_text(add, 3, event->server);
    bind_text(add, 4, event->level);
    bind_text(add, 5, event->text);
    enum err err = run(store, add, "write down an event", why);
    if (err == OK && store->added++ % PRUNE_EVERY != 0)
        return OK;
    sqlite3_bind_int64(prune, 1, err == OK ? EVENT_ROWS : EVENT_ROWS / 2);
    enum err pruned = run(store, prune, "forget old events", NULL);
    (void)pruned; /* the next one tries again */
    return err;
}

enum err event_each(struct event_store *store, int64_t from_ms, int64_t to_ms, size_t most,
                    void (*each)(void *context, const struct event *event), void *context,
                    struct why *why)
{
    sqlite3_stmt *range = store->statements[RANGE];
    int code;
    sqlite3_bind_int64(range, 1, from_ms);
    sqlite3_bind_int64(range, 2, to_ms);
    sqlite3_bind_int64(range, 3, (sqlite3_int64)(most < EVENT_ROWS ? most : EVENT_ROWS));
    while ((code = sqlite3_step(range)) == SQLITE_ROW) {
        struct event event = { .time_ms = sqlite3_column_int64(range, 0),
                               .kind = (const char *)sqlite3_column_text(range, 1),
                               .server = (const char *)sqlite3_column_text(range, 2),
                               .level = (const char *)sqlite3_column_text(range, 3),
                               .text = (const char *)sqlite3_column_text(range, 4) };
        if (event.kind != NULL && event.server != NULL && event.level != NULL && event.text != NULL)
            each(context, &event);
    }
    enum err err = code == SQLITE_DONE ? OK : broken(store, "read the events", why);
    sqlite3_reset(range);
    return err;
}

enum err event_remember(struct event_store *store, const char *name, struct text value,
                        struct why *why)
{
    sqlite3_stmt *remember = store->statements[REMEMBER];
    if (value.len > EVENT_VALUE_LIMIT)
        return fail(why, ERR_LIMIT, "'%s' is too long to be remembered", name);
    bind_text(remember, 1, name);
    sqlite3_bind_blob(remember, 2, value.len > 0 ? value.data : "", (int)value.len, SQLITE_STATIC);
    return run(store, remember, "write down the state of the alerts", why);
}

enum err event_recall(struct event_store *store, const char *name, struct text *value_out,
                      struct why *why)
{
    sqlite3_stmt *recall = store->statements[RECALL];
    enum err err = OK;
    bind_text(recall, 1, name);
    int code = sqlite3_step(recall);
    if (code == SQLITE_ROW) {
        size_t len = (size_t)sqlite3_column_bytes(recall, 0);
        const void *data = sqlite3_column_blob(recall, 0);
        char *copy = memory_new(len + 1);
        if (len > 0)
            memcpy(copy, data, len);
        *value_out = text_from(copy, len);
    } else {
        err = code == SQLITE_DONE ? fail(why, ERR_NOT_FOUND, "nothing is remembered as '%s'", name)
                                  : broken(store, "read the state of the alerts", why);
    }
    sqlite3_reset(recall);
    sqlite3_clear_bindings(recall);
    return err;
}
