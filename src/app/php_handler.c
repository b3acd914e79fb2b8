/*
 * The handlers of routes to PHP applications in an edge process. Routes to the same application
 * share its pool of connections.
 */
#include "app/php_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { KNOWN = 64, KNOWN_BYTES = 120, KNOWN_MS = 500 };

/* A path that led to a script a moment ago. If the script is gone, php-fpm says so. */
struct known {
    int64_t until_ms;
    uint8_t len;
    uint8_t script_len;
    bool is_slice; /* the script is the front of the path, what follows its PATH_INFO */
    char path[KNOWN_BYTES];
    char script[KNOWN_BYTES];
};

struct php_handler {
    struct http_handler handler;
    struct php_pool *pool;
    struct http_handler *files;
    struct known known[KNOWN];
};

/* Makers of handlers know nothing of each other, so the pools of this process (which has one
 * thread) are found here. */
static struct list pools = { &pools, &pools };

int php_documents(const struct generation *generation, const struct site_app *app)
{
    return generation_fd(generation, "fpm.%.*s.documents", FMT(app->name));
}

/* ---- the handler ---- */

static void answer_folder(struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    struct text target =
        arena_print(http_exchange_arena(exchange), "%.*s/%s%.*s", FMT(request->raw_path),
                    request->has_query ? "?" : "", FMT(request->query));
    if (target.data == NULL || text_starts_with(target, T("//"))) {
        http_reply_error(exchange, 404);
        return;
    }
    http_response_start(exchange, 301, 0);
    http_response_header(exchange, FIELD_LOCATION, target);
    http_response_send(exchange, T(""), true);
}

/* "%2F" and "%00": no file has such a name, and decoding would make another path of it. */
static bool has_odd_encoding(struct text raw_path)
{
    for (size_t i = 0; i + 2 < raw_path.len; i++) {
        char high = raw_path.data[i + 1], low = text_lower(raw_path.data[i + 2]);
        if (raw_path.data[i] == '%' && ((high == '2' && low == 'f') || (high == '0' && low == '0')))
            return true;
    }
    return false;
}

static struct php_place recall(const struct known *known, struct text path, struct arena *arena)
{
    struct php_place place = { .kind = PLACE_SCRIPT };
    if (known->is_slice) {
        place.script = text_part(path, 0, known->script_len);
        place.path_info = text_skip(path, known->script_len);
    } else {
        place.script = arena_copy(arena, text_from(known->script, known->script_len));
        place.kind = place.script.data != NULL ? PLACE_SCRIPT : PLACE_NONE;
    }
    return place;
}

/* The front script answers for what is no file, and a file may come at any time: that is known for
 * the requests of one turn of the loop only. */
static void remember(struct known *known, struct text path, const struct php_place *place,
                     int64_t now_ms)
{
    bool is_slice = place->script.data == path.data;
    bool is_index = text_ends_with(path, T("/")) && text_starts_with(place->script, path);
    if (place->kind != PLACE_SCRIPT || path.len > KNOWN_BYTES || place->script.len > KNOWN_BYTES)
        return;
    *known = (struct known){ .until_ms = now_ms + (is_slice || is_index ? KNOWN_MS : 1),
                             .len = (uint8_t)path.len,
                             .script_len = (uint8_t)place->script.len,
                             .is_slice = is_slice };
    memcpy(known->path, path.data, path.len);
    memcpy(known->script, place->script.data, place->script.len);
}

static struct php_place look_up(struct php_handler *self, struct text path, struct arena *arena)
{
    int64_t now_ms = loop_now_ms(self->pool->loop);
    struct known *known = &self->known[text_hash(path) % KNOWN];
    if (now_ms < known->until_ms && text_equal(text_from(known->path, known->len), path))
        return recall(known, path, arena);
    struct php_place place =
        php_place_find(self->pool->documents, path, self->pool->app->front, arena);
    remember(known, path, &place, now_ms);
    return place;
}

static struct php_place find_place(struct php_handler *self, const struct http_request *request,
                                   struct arena *arena)
{
    const struct site_app *app = self->pool->app;
    struct text path = request->path;
    if (text_starts_with(path, app->mount))
        path = text_skip(path, app->mount.len);
    if (path.len == 0)
        return (struct php_place){ .kind = PLACE_FOLDER }; /* "/blog" of a mount */
    return look_up(self, path, arena);
}

static void php_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct php_handler *self = (struct php_handler *)handler;
    struct php_pool *pool = self->pool;
    const struct http_request *request = http_exchange_request(exchange);
    struct php_script script = { .documents = pool->root, .mount = pool->app->mount };
    http_exchange_note(exchange, text_of(pool->name), 0, 0);
    if (!text_starts_with(request->path, T("/"))) { /* "OPTIONS *" */
        http_reply_error(exchange, 400);
        return;
    }
    script.place = find_place(self, request, http_exchange_arena(exchange));
    bool is_odd = script.place.kind == PLACE_FILE && has_odd_encoding(request->raw_path);
    switch (script.place.kind) {
    case PLACE_SCRIPT:
        php_call_start(pool, &script, exchange);
        return;
    case PLACE_FILE:
        if (is_odd)
            http_reply_error(exchange, 404);
        else
            self->files->start(self->files, exchange);
        return;
    case PLACE_FOLDER:
        answer_folder(exchange);
        return;
    case PLACE_NONE:
        http_reply_error(exchange, 404);
        return;
    }
}

/* ---- pools ---- */

static struct php_pool *pool_find(const struct generation *generation, const struct site_app *app)
{
    list_each (at, &pools) {
        struct php_pool *pool = list_entry(at, struct php_pool, link);
        if (pool->generation == generation->number && text_equal(pool->app->name, app->name))
            return pool;
    }
    return NULL;
}

/* The real path of the documents: php-fpm and its caches must not see a link that moves later. */
static enum err find_root(struct php_pool *pool, struct why *why)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", pool->documents);
    ssize_t len = readlink(link, path, sizeof(path));
    if (len <= 0 || (size_t)len >= sizeof(path) || path[0] != '/')
        return fail(why, ERR_SYSTEM, "cannot name the folder of app '%.*s'", FMT(pool->app->name));
    char *copy = memory_new((size_t)len + 1);
    memcpy(copy, path, (size_t)len);
    pool->root = text_from(copy, (size_t)len);
    return OK;
}

static enum err attach(struct php_pool *pool, const struct generation *generation, struct why *why)
{
    struct text name = pool->app->name;
    char path[64];
    int share = generation_fd(generation, "fpm.%.*s.share", FMT(name));
    int socket = generation_fd(generation, "fpm.%.*s.socket", FMT(name));
    pool->documents = php_documents(generation, pool->app);
    while (pool->edge_count < PHP_EDGES_LIMIT &&
           (pool->bells[pool->edge_count] =
                generation_fd(generation, "fpm.%.*s.bell.%zu", FMT(name), pool->edge_count)) >= 0)
        pool->edge_count++;
    if (share < 0 || socket < 0 || pool->documents < 0 || pool->edge >= pool->edge_count)
        return fail(why, ERR_MISSING, "app '%.*s' has no place for edge process %zu", FMT(name),
                    pool->edge);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", socket);
    enum err err = address_from_path(text_of(path), &pool->address);
    if (err == OK)
        err = find_root(pool, why);
    return err == OK ? php_share_map(share, &pool->share, why) : err;
}

static enum err pool_new(struct loop *loop, struct process *process,
                         const struct generation *generation, const struct site_app *app,
                         struct php_pool **pool_out, struct why *why)
{
    struct php_pool *pool = NEW(struct php_pool);
    pool->loop = loop;
    pool->metrics = process->metrics;
    pool->app = app;
    pool->generation = generation->number;
    pool->edge = process->index;
    pool->children = (size_t)app->workers_most;
    pool->keeps = app->workers == app->workers_most;
    snprintf(pool->name, sizeof(pool->name), "php %.*s", FMT(app->name));
    enum err err = attach(pool, generation, why);
    if (err == OK) {
        php_share_start(pool->share, pool->edge);
        err = php_pool_start(pool, why);
    }
    if (err != OK) {
        php_share_unmap(pool->share);
        memory_free((void *)(uintptr_t)pool->root.data);
        memory_free(pool);
        return err;
    }
    pool->series =
        board_use(process->board, process->index, BOARD_APP, app->name.data, app->name.len);
    list_append(&pools, &pool->link);
    *pool_out = pool;
    return OK;
}

enum err php_handler_make(struct loop *loop, struct process *process,
                          const struct generation *generation, const struct site_app *app,
                          struct http_handler *files, struct http_handler **handler_out,
                          struct why *why)
{
    struct php_pool *pool = pool_find(generation, app);
    if (pool == NULL) {
        enum err err = pool_new(loop, process, generation, app, &pool, why);
        if (err != OK)
            return err;
    }
    pool->references++;
    struct php_handler *self = NEW(struct php_handler);
    self->handler = (struct http_handler){ .name = "php", .start = php_start };
    self->pool = pool;
    self->files = files;
    *handler_out = &self->handler;
    return OK;
}

bool php_handler_is(const struct http_handler *handler)
{
    return handler != NULL && handler->start == php_start;
}

void php_handler_free(struct http_handler *handler)
{
    if (handler == NULL)
        return;
    struct php_handler *self = (struct php_handler *)handler;
    struct php_pool *pool = self->pool;
    if (--pool->references == 0) {
        list_remove(&pool->link);
        board_leave(pool->series);
        php_pool_end(pool);
    }
    memory_free(self);
}
