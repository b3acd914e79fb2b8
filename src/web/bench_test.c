/* The test bench of web_test.h. */
#include "web/web_test.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <stdio.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_LIMIT = 8 << 20, TURNS = 2000 };

bool bench_folder(struct bench *bench)
{
    *bench = (struct bench){ .listening = -1 };
    memcpy(bench->folder, "/tmp/trilith-web-XXXXXX", 24);
    return CHECK(mkdtemp(bench->folder) != NULL, "mkdtemp");
}

void bench_file(const struct bench *bench, const char *name, struct text data)
{
    char path[512];
    struct why why = { "" };
    snprintf(path, sizeof(path), "%s/%s", bench->folder, name);
    for (char *slash = strchr(path + 5, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    CHECK(sys_replace_file(path, data, 0644, (uid_t)-1, (gid_t)-1, &why) == OK, "%s", why.text);
}

/* The site text with ROOT replaced. */
static void site_write(const struct bench *bench, const char *site, struct buffer *out)
{
    struct text rest = text_of(site);
    for (;;) {
        ssize_t at = text_find_text(rest, T("ROOT"));
        buffer_append(out, text_part(rest, 0, at >= 0 ? (size_t)at : rest.len));
        if (at < 0)
            return;
        buffer_append(out, text_of(bench->folder));
        rest = text_skip(rest, (size_t)at + 4);
    }
}

static struct generation *source_make(const struct bench *bench, const char *text)
{
    AUTO(buffer_done) struct buffer source = buffer_of(65536);
    struct site_mistakes mistakes = { 0 };
    struct site *site = NULL;
    site_write(bench, text, &source);
    enum err err = site_parse(buffer_text(&source), "/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    if (err != OK)
        return NULL;
    struct generation *generation = NEW(struct generation);
    generation->number = 1;
    generation->site = site;
    generation->server = &site->servers[0];
    generation->state = text_of(memory_copy_string(bench->folder));
    for (size_t i = 0; i < site->route_count; i++)
        if (site->routes[i].action == ACTION_STATIC)
            generation_add_fd(generation,
                              open(site->routes[i].folder.data, O_PATH | O_DIRECTORY | O_CLOEXEC),
                              "static.%zu", site->routes[i].number);
    for (size_t i = 0; i < site->web.error_count; i++)
        generation_add_fd(generation, open(site->web.errors[i].file.data, O_RDONLY | O_CLOEXEC),
                          "error.%d", (int)site->web.errors[i].status);
    return generation;
}

static bool listen_start(struct bench *bench)
{
    bench->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    enum err err = address_parse_ip(T("127.0.0.1"), 0, &bench->address);
    return CHECK(err == OK &&
                     bind(bench->listening, &bench->address.u.any, bench->address.len) == 0,
                 "bind") &&
           CHECK(listen(bench->listening, 16) == 0, "listen") &&
           CHECK(getsockname(bench->listening, &bench->address.u.any, &bench->address.len) == 0,
                 "getsockname");
}

bool bench_start(struct bench *bench, const char *site, const struct web_maker *makers,
                 size_t maker_count)
{
    struct why why = { "" };
    struct generation *source = source_make(bench, site);
    if (source == NULL || !CHECK(loop_new(LOOP_AUTO, &bench->loop, &why) == OK, "%s", why.text))
        return false;
    enum err err = web_generation_new(bench->loop, &bench->process, source, makers, maker_count,
                                      NULL, &bench->generation, &why);
    if (!CHECK(err == OK, "%s", why.text))
        return false;
    bench->server = http_server_new(bench->loop, &bench->generation->config);
    return listen_start(bench);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    return remove(path);
}

void bench_remove(const char *path)
{
    CHECK(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0, "%s", path);
}

void bench_stop(struct bench *bench)
{
    http_server_free(bench->server);
    for (int i = 0; i < 20 && bench->loop != NULL; i++)
        loop_turn(bench->loop, 1);
    web_generation_free(bench->generation);
    loop_free(bench->loop);
    fd_close(&bench->listening);
    bench_remove(bench->folder);
}

/* Request text with "Connection: close" behind its first line. */
static void request_send(int client, const char *request)
{
    struct text rest = text_of(request);
    ssize_t end = text_find_text(rest, T("\r\n"));
    struct text line = text_part(rest, 0, end >= 0 ? (size_t)end + 2 : rest.len);
    CHECK(sys_write_all(client, line) == OK, "write");
    CHECK(sys_write_all(client, T("Connection: close\r\n")) == OK, "write");
    CHECK(sys_write_all(client, text_skip(rest, line.len)) == OK, "write");
}

struct buffer bench_ask(struct bench *bench, const char *request)
{
    struct buffer answer = buffer_of(ANSWER_LIMIT);
    AUTO(fd_close) int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!CHECK(connect(client, &bench->address.u.any, bench->address.len) == 0, "connect"))
        return answer;
    struct address peer = { .len = sizeof(peer.u) };
    int fd = accept4(bench->listening, &peer.u.any, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!CHECK(fd >= 0, "accept: %s", strerror(errno)))
        return answer;
    http_server_accept(bench->server, fd, &peer, NULL, NULL);
    request_send(client, request);
    enum err err = sys_set_nonblocking(client, true);
    CHECK(err == OK, "nonblocking");
    for (int i = 0; i < TURNS; i++) {
        loop_turn(bench->loop, 1);
        char *place = buffer_reserve(&answer, 65536);
        ssize_t got = sys_read(client, place, 65536);
        if (got == 0)
            return answer;
        if (got > 0)
            answer.len += (size_t)got;
    }
    CHECK(false, "the answer never ended: %s", request);
    return answer;
}

int answer_status(const struct buffer *answer)
{
    uint64_t status = 0;
    if (!text_to_uint(text_part(buffer_text(answer), 9, 3), 999, &status))
        return -1;
    return (int)status;
}

struct text answer_header(const struct buffer *answer, const char *name)
{
    struct text rest = buffer_text(answer), none = { NULL, 0 };
    ssize_t end = text_find_text(rest, T("\r\n\r\n"));
    rest = text_part(rest, 0, end >= 0 ? (size_t)end + 2 : 0);
    while (rest.len > 0) {
        struct text line = text_next(&rest, '\n');
        ssize_t colon = text_find(line, ':');
        if (colon > 0 && text_equal_fold(text_part(line, 0, (size_t)colon), text_of(name)))
            return text_trim(text_part(line, (size_t)colon + 1, line.len - (size_t)colon - 2));
    }
    return none;
}

/* Joins the chunks in place. */
static struct text chunks_join(char *data, size_t len)
{
    size_t from = 0, to = 0;
    for (;;) {
        uint64_t size = 0;
        ssize_t end = text_find_text(text_from(data + from, len - from), T("\r\n"));
        if (!CHECK(end > 0 && text_hex_to_uint(text_from(data + from, (size_t)end), len, &size),
                   "chunk size"))
            break;
        from += (size_t)end + 2;
        if (size == 0 || !CHECK(from + size + 2 <= len, "chunk"))
            break;
        memmove(data + to, data + from, size);
        to += size;
        from += size + 2;
    }
    return text_from(data, to);
}

struct text answer_body(struct buffer *answer)
{
    ssize_t end = text_find_text(buffer_text(answer), T("\r\n\r\n"));
    if (end < 0)
        return (struct text){ NULL, 0 };
    size_t start = (size_t)end + 4;
    if (start < answer->len &&
        text_equal_fold(answer_header(answer, "Transfer-Encoding"), T("chunked")))
        return chunks_join(answer->data + start, answer->len - start);
    return text_skip(buffer_text(answer), start);
}
