/* See logs.h: the files. Rotated ones are read only when the newer ones hold too few lines. */
#include "process/logs.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/log_line.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { BLOCK = 1 << 17 };

static const char *const names[LOGS_FILES] = { "trilith.log", "access.log" };

/* Where a wanted line stands. */
struct place {
    int fd;
    bool is_access;
    uint32_t len;
    int64_t at, time_ms;
};

/* Those of one file or of several, in their order. */
struct places {
    struct place *items;
    size_t count, room;
};

static void places_add(struct places *places, const struct place *place, size_t most)
{
    if (most == 0)
        return;
    if (places->count == 2 * most) { /* only the last ones are wanted */
        memmove(places->items, places->items + most, most * sizeof(*places->items));
        places->count = most;
    }
    if (places->count == places->room) {
        places->room = places->room > 0 ? 2 * places->room : 256;
        places->items = memory_resize(places->items, places->room * sizeof(*places->items));
    }
    places->items[places->count++] = *place;
}

static void keep_last(struct places *places, size_t most)
{
    size_t too_many = places->count > most ? places->count - most : 0;
    places->count -= too_many;
    if (places->count > 0)
        memmove(places->items, places->items + too_many, places->count * sizeof(*places->items));
}

/* ---- scanning ---- */

typedef bool on_line(void *context, struct text line, int64_t at);

/* Calls each() for the whole lines of fd from *at on, and for an unfinished last one when it
 * counts. *at: behind the last one. A line beyond LOGS_LINE_LIMIT is taken in pieces. */
static bool scan(int fd, int64_t *at, bool counts_unfinished, on_line *each, void *context)
{
    AUTO(memory_drop) char *block = memory_new(BLOCK);
    for (;;) {
        ssize_t len = sys_pread(fd, block, BLOCK, *at);
        struct text data = text_from(block, len > 0 ? (size_t)len : 0);
        size_t used = 0;
        while (used < data.len) {
            struct text rest = text_skip(data, used);
            ssize_t end = text_find(rest, '\n');
            bool is_cut = end < 0 && rest.len >= LOGS_LINE_LIMIT;
            if (end < 0 && !is_cut)
                break;
            struct text line = text_part(rest, 0, is_cut ? LOGS_LINE_LIMIT : (size_t)end);
            if (!each(context, line, *at + (int64_t)used))
                return false;
            used += line.len + (is_cut ? 0 : 1);
        }
        *at += (int64_t)used;
        if (len == BLOCK && used > 0)
            continue;
        struct text rest = text_skip(data, used);
        if (rest.len == 0 || !counts_unfinished)
            return true;
        *at += (int64_t)rest.len;
        return each(context, rest, *at - (int64_t)rest.len);
    }
}

struct collecting {
    const struct logs_query *query;
    struct places *places;
    int fd;
    bool is_access;
};

static bool collect(void *context, struct text line, int64_t at)
{
    const struct collecting *collecting = context;
    struct place place = { .fd = collecting->fd,
                           .is_access = collecting->is_access,
                           .len = (uint32_t)line.len,
                           .at = at };
    if (!logs_matches(collecting->query, collecting->is_access, line))
        return true;
    place.time_ms = logs_time_ms(collecting->is_access, line);
    places_add(collecting->places, &place, (size_t)collecting->query->lines);
    return true;
}

/* A line without a time goes with the one before it. */
static void give_times(struct places *places)
{
    for (size_t i = 1; i < places->count; i++)
        if (places->items[i].time_ms < 0)
            places->items[i].time_ms = places->items[i - 1].time_ms;
}

/* `more` goes in front of `places`. */
static void put_before(struct places *places, struct places *more)
{
    size_t count = places->count + more->count;
    more->items = memory_resize(more->items, (count + 1) * sizeof(*more->items));
    if (places->count > 0)
        memcpy(more->items + more->count, places->items, places->count * sizeof(*places->items));
    memory_free(places->items);
    *places = (struct places){ more->items, count, count + 1 };
}

/* The last lines of one kind; the descriptors that they are in are in fds. */
static void collect_kind(struct logs_reader *reader, enum logs_file kind, int fds[LOG_ROTATE_FILES],
                         struct places *places)
{
    size_t most = (size_t)reader->query.lines;
    for (int i = 0; i < LOG_ROTATE_FILES; i++) {
        char name[64];
        int64_t at = 0;
        struct places more = { 0 };
        snprintf(name, sizeof(name), i > 0 ? "%s.%d" : "%s", names[kind], i);
        fds[i] = openat(reader->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (i == 0)
            reader->files[kind].fd = fds[0];
        if (fds[i] < 0 || (i > 0 && places->count >= most))
            return;
        struct collecting collecting = { &reader->query, &more, fds[i], kind == LOGS_ACCESS };
        scan(fds[i], &at, i > 0 || !reader->query.follow, collect, &collecting);
        if (i == 0)
            reader->files[kind].at = at;
        put_before(places, &more);
    }
}

/* Two rows, each in its own order, become one by time. */
static void merge(struct places rows[LOGS_FILES], struct places *out)
{
    size_t at[LOGS_FILES] = { 0 };
    for (size_t i = 0; i < LOGS_FILES; i++)
        give_times(&rows[i]);
    while (at[0] < rows[0].count || at[1] < rows[1].count) {
        bool is_second =
            at[0] == rows[0].count ||
            (at[1] < rows[1].count && rows[1].items[at[1]].time_ms < rows[0].items[at[0]].time_ms);
        size_t row = is_second ? 1 : 0;
        places_add(out, &rows[row].items[at[row]++], SIZE_MAX / 2);
    }
}

static bool give(const struct places *places, logs_take *take, void *context)
{
    AUTO(memory_drop) char *line = memory_new(LOGS_LINE_LIMIT + 1);
    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        ssize_t len = sys_pread(place->fd, line, place->len, place->at);
        if (len < 0)
            continue;
        if (!take(context, place->is_access, text_from(line, (size_t)len)))
            return false;
    }
    return true;
}

bool logs_reader_begin(struct logs_reader *reader, int folder, const struct logs_query *query,
                       logs_take *take, void *context)
{
    int fds[LOGS_FILES][LOG_ROTATE_FILES];
    struct places rows[LOGS_FILES] = { 0 }, all = { 0 };
    memset(fds, -1, sizeof(fds));
    *reader = (struct logs_reader){ .query = *query, .folder = folder };
    reader->files[LOGS_MAIN].fd = reader->files[LOGS_ACCESS].fd = -1;
    if (query->has_main)
        collect_kind(reader, LOGS_MAIN, fds[LOGS_MAIN], &rows[LOGS_MAIN]);
    if (query->has_access)
        collect_kind(reader, LOGS_ACCESS, fds[LOGS_ACCESS], &rows[LOGS_ACCESS]);
    merge(rows, &all);
    keep_last(&all, (size_t)query->lines);
    bool goes_on = give(&all, take, context);
    for (size_t i = 0; i < LOGS_FILES; i++) {
        for (size_t j = 1; j < LOG_ROTATE_FILES; j++) /* the current ones stay open */
            fd_close(&fds[i][j]);
        memory_free(rows[i].items);
    }
    memory_free(all.items);
    return goes_on;
}

/* ---- what comes ---- */

struct giving {
    const struct logs_query *query;
    bool is_access;
    logs_take *take;
    void *context;
};

static bool give_line(void *context, struct text line, int64_t at)
{
    const struct giving *giving = context;
    (void)at;
    return !logs_matches(giving->query, giving->is_access, line) ||
           giving->take(giving->context, giving->is_access, line);
}

/* True: the log goes on in another file; *next_out is it, at its beginning. */
static bool has_changed(const struct logs_reader *reader, enum logs_file kind, int *next_out)
{
    struct stat there, open_one;
    int fd = reader->files[kind].fd;
    if (fstatat(reader->folder, names[kind], &there, AT_SYMLINK_NOFOLLOW) != 0 ||
        (fd >= 0 && (fstat(fd, &open_one) != 0 ||
                     (there.st_ino == open_one.st_ino && there.st_dev == open_one.st_dev))))
        return false;
    *next_out = openat(reader->folder, names[kind], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *next_out >= 0;
}

static bool more_of(struct logs_reader *reader, enum logs_file kind, struct giving *giving)
{
    int next;
    struct stat now;
    bool changes = has_changed(reader, kind, &next); /* first: then the old one is complete */
    int *fd = &reader->files[kind].fd;
    int64_t *at = &reader->files[kind].at;
    if (*fd >= 0 && fstat(*fd, &now) == 0 && now.st_size < *at)
        *at = 0; /* somebody cut it */
    bool goes_on = *fd < 0 || scan(*fd, at, changes, give_line, giving);
    if (!changes)
        return goes_on;
    fd_close(fd);
    *fd = next;
    *at = 0;
    return goes_on && scan(*fd, at, false, give_line, giving);
}

bool logs_reader_more(struct logs_reader *reader, logs_take *take, void *context)
{
    struct giving giving = { &reader->query, false, take, context };
    if (reader->query.has_main && !more_of(reader, LOGS_MAIN, &giving))
        return false;
    giving.is_access = true;
    return !reader->query.has_access || more_of(reader, LOGS_ACCESS, &giving);
}

void logs_reader_done(struct logs_reader *reader)
{
    fd_close(&reader->files[LOGS_MAIN].fd);
    fd_close(&reader->files[LOGS_ACCESS].fd);
}
