/* Events in a file: written, read back, bounded, and what a broken file or a full disk costs. */
#include "core/test.h"
#include "monitor/event.h"

#include "core/memory.h"
#include "core/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[64];
};

static bool folder_make(struct folder *folder)
{
    snprintf(folder->path, sizeof(folder->path), "/tmp/events.XXXXXX");
    return mkdtemp(folder->path) != NULL;
}

static void folder_remove(struct folder *folder)
{
    static const char *const names[] = {
        "events.db",        "events.db-wal",        "events.db-shm",
        "events.db.broken", "events.db-wal.broken", "events.db-shm.broken"
    };
    char path[128];
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder->path, names[i]);
        unlink(path);
    }
    CHECK(rmdir(folder->path) == 0, "nothing else was left there");
}

static enum err add(struct event_store *store, int64_t time_ms, const char *text)
{
    struct event event = { time_ms, "alert", "web-01", "warning", text };
    return event_add(store, &event, NULL);
}

static void join(void *context, const struct event *event)
{
    char *out = context;
    snprintf(out + strlen(out), 256 - strlen(out), "%lld %s %s %s %s|", (long long)event->time_ms,
             event->kind, event->server, event->level, event->text);
}

static const char *read_back(struct event_store *store, int64_t from_ms, int64_t to_ms, size_t most)
{
    static char text[256];
    text[0] = '\0';
    CHECK(event_each(store, from_ms, to_ms, most, join, text, NULL) == OK, "read");
    return text;
}

TEST(event_is_read_back_in_order)
{
    struct folder folder;
    struct event_store *store;
    struct why why = { "" };
    REQUIRE(folder_make(&folder), "folder");
    REQUIRE(event_store_open(folder.path, &store, &why) == OK, "%s", why.text);
    CHECK(add(store, 20, "two") == OK && add(store, 10, "one") == OK && add(store, 20, "'x'") == OK,
          "added");
    event_store_close(store);
    REQUIRE(event_store_open(folder.path, &store, &why) == OK, "again: %s", why.text);
    const char *all = read_back(store, 0, 100, 10);
    CHECK(strcmp(all, "10 alert web-01 warning one|20 alert web-01 warning two|"
                      "20 alert web-01 warning 'x'|") == 0,
          "%s", all);
    const char *newest = read_back(store, 0, 100, 1);
    CHECK(strcmp(newest, "20 alert web-01 warning 'x'|") == 0, "%s", newest);
    const char *range = read_back(store, 10, 20, 10);
    CHECK(strcmp(range, "10 alert web-01 warning one|") == 0, "%s", range);
    event_store_close(store);
    folder_remove(&folder);
}

TEST(event_store_remembers_texts)
{
    struct folder folder;
    struct event_store *store;
    struct text value;
    REQUIRE(folder_make(&folder), "folder");
    REQUIRE(event_store_open(folder.path, &store, NULL) == OK, "opened");
    CHECK(event_recall(store, "state", &value, NULL) == ERR_NOT_FOUND, "nothing yet");
    CHECK(event_remember(store, "state", T("one"), NULL) == OK, "put");
    CHECK(event_remember(store, "state", T("a\0b"), NULL) == OK, "put again");
    REQUIRE(event_recall(store, "state", &value, NULL) == OK, "there");
    CHECK(text_equal(value, T("a\0b")), "the second: %.*s", FMT(value));
    memory_free((void *)value.data);
    event_store_close(store);
    folder_remove(&folder);
}

TEST(event_store_puts_a_broken_file_aside)
{
    struct folder folder;
    struct event_store *store;
    struct why why = { "" };
    char path[128];
    REQUIRE(folder_make(&folder), "folder");
    snprintf(path, sizeof(path), "%s/events.db", folder.path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; i < 100; i++)
        REQUIRE(sys_write_all(fd, T("this is no database, whoever may say so. ")) == OK, "file");
    fd_close(&fd);
    REQUIRE(event_store_open(folder.path, &store, &why) == OK, "%s", why.text);
    CHECK(add(store, 1, "new") == OK, "a new one");
    event_store_close(store);
    snprintf(path, sizeof(path), "%s/events.db.broken", folder.path);
    CHECK(access(path, F_OK) == 0, "the old one is kept beside it");
    folder_remove(&folder);
}

TEST(event_store_needs_its_folder)
{
    struct event_store *store;
    struct why why = { "" };
    CHECK(event_store_open("/nonexistent/folder", &store, &why) != OK, "refused");
    CHECK(strstr(why.text, "cannot open the list of events") != NULL, "%s", why.text);
}
