/*
 * Where the page listens, its token, and its server. See page.h.
 */
#include "monitor/page_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdio.h>
#include <string.h>

enum { CONNECTIONS_LIMIT = 256, TOKEN_FILE_LIMIT = 4096 };

/* ---- the parent ---- */

/* The one in the file, or a new one. */
static enum err find_token(const char *path, char out[SESSION_TOKEN_LEN + 1], struct why *why)
{
    struct text found;
    struct why no_file = { "" };
    enum err err = sys_read_file(path, TOKEN_FILE_LIMIT, &found, &no_file);
    if (err == ERR_NOT_FOUND) {
        sys_random_hex(out, SESSION_TOKEN_LEN + 1, SESSION_TOKEN_LEN / 2);
        return sys_replace_file(path, text_of(out), 0600, (uid_t)-1, (gid_t)-1, why);
    }
    if (err != OK)
        return fail(why, err, "%s", no_file.text);
    struct text token = found;
    while (token.len > 0 && strchr(" \r\n", token.data[token.len - 1]) != NULL)
        token.len--;
    if (session_token_is_valid(token))
        text_copy_to(token, out, SESSION_TOKEN_LEN + 1);
    else
        err =
            fail(why, ERR_SYNTAX, "'%s' must hold %d hex digits; remove it and a new token is made",
                 path, SESSION_TOKEN_LEN);
    memory_free((void *)(uintptr_t)found.data);
    return err;
}

static enum err add_token(struct generation *generation, struct why *why)
{
    char path[4096], token[SESSION_TOKEN_LEN + 1];
    int len = snprintf(path, sizeof(path), "%.*s/secrets/monitor-token", FMT(generation->state));
    if (len < 0 || (size_t)len >= sizeof(path))
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    enum err err = find_token(path, token, why);
    if (err == OK)
        err = generation_add_data(generation, text_of(token), "monitor.token", why);
    explicit_bzero(token, sizeof(token));
    return err;
}

enum err page_prepare(struct generation *generation, struct why *why)
{
    const struct site *site = generation->site;
    struct address address;
    if (!site_watches(site, generation->server))
        return OK;
    enum err err = address_parse_ip(T("127.0.0.1"), (uint16_t)site->listen.monitor, &address);
    if (err == OK)
        err = generation_listen(generation, &address, SOCK_STREAM, why, "monitor.page");
    return err == OK ? add_token(generation, why) : err;
}

/* ---- the process ---- */

static void on_accepted(void *owner, int fd, const struct address *peer)
{
    struct page *page = owner;
    if (http_server_connections(page->server) >= CONNECTIONS_LIMIT)
        fd_close(&fd);
    else
        http_server_accept(page->server, fd, peer, NULL, NULL);
}

static void on_finished(struct http_config *config, const struct http_record *record)
{
    (void)config; /* who runs the site is not counted as its traffic */
    (void)record;
}

static void on_released(struct http_config *config)
{
    (void)config;
}

struct page *page_new(struct process *self, struct loop *loop, const struct api_source *source)
{
    struct page *page = NEW(struct page);
    page->self = self;
    page->loop = loop;
    page->api = api_new(loop, source);
    page->files = page_files_new();
    page->handler = (struct http_handler){ .name = "page", .start = page_start };
    page->config = (struct http_config){
        .handler = &page->handler,
        .limits = { .head_bytes = 65536,
                    .target_bytes = 32768,
                    .header_count = 100,
                    .body_bytes = 4096,
                    .connections = CONNECTIONS_LIMIT,
                    .head_ms = 10000,
                    .body_ms = 10000,
                    .send_ms = 30000,
                    .idle_ms = 60000 },
        .spool_folder = "/",
        .server_name = T("trilith"),
        .finished = on_finished,
        .released = on_released,
        .owner = page,
    };
    return page;
}

enum err page_use(struct page *page, const struct generation *generation, struct why *why)
{
    char token[SESSION_TOKEN_LEN];
    int fd = generation_fd(generation, "monitor.page");
    ssize_t got = generation_read_data(generation, "monitor.token", token, sizeof(token));
    if (fd < 0 || !session_token_is_valid(text_from(token, got > 0 ? (size_t)got : 0)))
        return fail(why, ERR_MISSING, "the page has no socket or no token");
    if (page->server == NULL)
        page->server = http_server_new(page->loop, &page->config);
    struct stream_listener *listener =
        stream_listener_new(page->loop, fd, SIZE_MAX, on_accepted, page);
    if (listener == NULL)
        return fail(why, ERR_LIMIT, "no descriptor is left for the page");
    stream_listener_free(page->listener);
    page->listener = listener;
    session_use(&page->keys, text_from(token, sizeof(token)));
    api_use(page->api, generation);
    explicit_bzero(token, sizeof(token));
    return OK;
}

void page_second(struct page *page)
{
    api_second(page->api);
}

void page_free(struct page *page)
{
    if (page == NULL)
        return;
    stream_listener_free(page->listener);
    api_free(page->api);
    http_server_free(page->server);
    page_files_free(page->files);
    explicit_bzero(&page->keys, sizeof(page->keys));
    memory_free(page);
}
