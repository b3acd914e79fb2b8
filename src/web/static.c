/*
 * Static files: from the path of a request to a file below the route's folder, its index file, a
 * listing, a redirect or an error. Files that must not be seen do not exist for a client (404).
 */
#include "web/static.h"
#include "core/log.h"
#include "core/sys.h"
#include "web/listing.h"
#include "web/path.h"
#include "web/reply.h"
#include "web/send.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct web_static {
    struct http_handler handler;
    const struct site_route *route;
    const char *path; /* of the folder */
    struct web_files *files;
    struct web_compressors *pool; /* NULL: never compress */
    int folder;                   /* the parent's, or `again` */
    int again;                    /* -1, or opened here after the folder was made anew */
    int64_t looked_ms;
    bool has_complained;
};

enum { LISTING_PAGE_LIMIT = 8 << 20, LOOK_MS = 200 };

/* %2F and %00 in a name: no file has them, and decoding would make another path of it. */
static bool has_odd_encoding(struct text raw_path)
{
    for (size_t i = 0; i + 2 < raw_path.len; i++) {
        if (raw_path.data[i] != '%')
            continue;
        char high = raw_path.data[i + 1], low = text_lower(raw_path.data[i + 2]);
        if ((high == '2' && low == 'f') || (high == '0' && low == '0'))
            return true;
    }
    return false;
}

static void find_and_send(struct web_static *self, struct http_exchange *exchange, const char *path,
                          int *error_out)
{
    const struct site_route *route = self->route;
    int64_t now_us = loop_now_us(http_exchange_loop(exchange));
    struct web_file *file =
        web_files_find(self->files, self->folder, path, route->symlinks, now_us, error_out);
    if (file == NULL)
        return;
    *error_out = 0;
    web_send_file(exchange, self->files, file, self->pool);
    web_files_sent(self->files);
}

/* A build often removes the folder and makes it again; ours is then a folder without a name, empty
 * for ever. Opens the one that has the name now, where the edge's user may. */
static void folder_look(struct web_static *self, int64_t now_ms)
{
    struct stat info;
    if (now_ms - self->looked_ms < LOOK_MS)
        return;
    self->looked_ms = now_ms;
    if (fstat(self->folder, &info) != 0 || info.st_nlink > 0)
        return;
    int fd = open(self->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        web_files_forget(self->files, self->folder);
        fd_close(&self->again);
        self->folder = self->again = fd;
        self->has_complained = false;
    } else if (!self->has_complained && errno != ENOENT) {
        self->has_complained = true;
        log_warn("web", "a static folder was removed and cannot be opened again; use reload",
                 STRING("folder", self->path), STRING("reason", strerror(errno)));
    }
}

static void static_done(void *handler)
{
    fd_close(&((struct web_static *)handler)->again);
}

static void send_listing(struct web_static *self, struct http_exchange *exchange, const char *path)
{
    const struct http_request *request = http_exchange_request(exchange);
    bool symlinks = self->route->symlinks;
    AUTO(fd_close)
    int folder = web_path_open(self->folder, path[0] != '\0' ? path : ".", symlinks, O_DIRECTORY);
    AUTO(buffer_done) struct buffer page = buffer_of(LISTING_PAGE_LIMIT);
    if (folder < 0 || !web_listing_write(&page, folder, request->path, symlinks)) {
        http_reply_error(exchange, folder < 0 ? web_file_status(errno) : 500);
        return;
    }
    http_reply(exchange, 200, T("text/html; charset=utf-8"), buffer_text(&page));
}

static void answer_folder(struct web_static *self, struct http_exchange *exchange, struct text rest)
{
    struct arena *arena = http_exchange_arena(exchange);
    struct text folder = arena_copy(arena, rest);
    struct text index = arena_print(arena, "%.*s%.*s", FMT(rest), FMT(self->route->index));
    if (folder.data == NULL || index.data == NULL) {
        http_reply_error(exchange, 503);
        return;
    }
    int error = ENOENT;
    if (self->route->index.len > 0)
        find_and_send(self, exchange, index.data, &error);
    if (error == 0)
        return;
    if (self->route->listing && web_file_status(error) == 404)
        send_listing(self, exchange, folder.data);
    else
        http_reply_error(exchange, web_file_status(error));
}

static void answer_file(struct web_static *self, struct http_exchange *exchange, struct text rest)
{
    struct text path = arena_copy(http_exchange_arena(exchange), rest);
    if (path.data == NULL) {
        http_reply_error(exchange, 503);
        return;
    }
    int error = 0;
    find_and_send(self, exchange, path.data, &error);
    if (error == EISDIR)
        web_reply_add_slash(exchange);
    else if (error != 0)
        http_reply_error(exchange, web_file_status(error));
}

static void static_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct web_static *self = (struct web_static *)handler;
    const struct http_request *request = http_exchange_request(exchange);
    http_exchange_note(exchange, T("static"), 0, 0);
    if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        web_reply_method(exchange, T("GET, HEAD, OPTIONS"));
        return;
    }
    struct text rest = web_path_rest(request->path, self->route->path);
    bool is_root = text_starts_with(request->path, T("/.well-known/"));
    if (has_odd_encoding(request->raw_path) || !web_path_is_public(rest, is_root)) {
        http_reply_error(exchange, 404);
        return;
    }
    folder_look(self, loop_now_ms(http_exchange_loop(exchange)));
    bool ends_with_slash = text_ends_with(request->path, T("/"));
    if (rest.len == 0 && !ends_with_slash)
        web_reply_add_slash(exchange);
    else if (ends_with_slash)
        answer_folder(self, exchange, rest);
    else
        answer_file(self, exchange, rest);
}

struct http_handler *web_static_new(struct arena *arena, const struct site_route *route, int folder,
                                    struct web_files *files, struct web_compressors *pool)
{
    struct web_static *self = ARENA_NEW(arena, struct web_static);
    if (self == NULL)
        return NULL;
    self->handler = (struct http_handler){ .name = "static", .start = static_start };
    self->route = route;
    self->folder = folder;
    self->again = -1;
    self->path = arena_copy(arena, route->folder).data;
    if (self->path == NULL || !arena_defer(arena, static_done, self))
        return NULL;
    self->files = files;
    self->pool = route->compress ? pool : NULL;
    return &self->handler;
}
