/* What the parent opens for the edges. */
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "web/web.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int free_port(void)
{
    struct address address;
    int port = -1;
    AUTO(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (address_parse_ip(T("127.0.0.1"), 0, &address) == OK &&
        bind(fd, &address.u.any, address.len) == 0 &&
        getsockname(fd, &address.u.any, &address.len) == 0)
        port = address_port(&address);
    return port;
}

static struct generation *generation_make(int port, int workers, const char *folder,
                                          const struct generation *previous)
{
    char text[512];
    struct site_mistakes mistakes = { 0 };
    struct site *site = NULL;
    snprintf(text, sizeof(text),
             "site: www.foobar.com\nlisten: { http: %d }\n"
             "web: { workers: %d, static: { /: %s } }\n",
             port, workers, folder);
    enum err err = site_parse(text_of(text), "/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    if (err != OK)
        return NULL;
    struct generation *generation = NEW(struct generation);
    generation->site = site;
    generation->server = &site->servers[0];
    generation->state = text_of(memory_copy_string("/tmp"));
    generation->previous = previous;
    return generation;
}

static ino_t inode_of(const struct generation *generation, int index)
{
    struct stat info = { 0 };
    int fd = generation_fd(generation, "listen.http.%d", index);
    return fd >= 0 && fstat(fd, &info) == 0 ? info.st_ino : 0;
}

static struct generation *prepared(int port, int workers, const char *folder,
                                   const struct generation *previous)
{
    struct why why = { "" };
    struct generation *generation = generation_make(port, workers, folder, previous);
    if (generation != NULL)
        CHECK(web_prepare(generation, &why) == OK, "%s", why.text);
    return generation;
}

TEST(web_prepare_keeps_every_socket)
{
    char folder[] = "/tmp/trilith-role-XXXXXX";
    int port = free_port();
    REQUIRE(mkdtemp(folder) != NULL && port > 0, "place");
    struct generation *first = prepared(port, 3, folder, NULL);
    struct generation *second = prepared(port, 1, folder, first);
    REQUIRE(first != NULL && second != NULL, "generations");
    CHECK(generation_fd(first, "static.0") >= 0, "folder");
    for (int i = 0; i < 3; i++)
        CHECK(inode_of(first, i) != 0 && inode_of(first, i) == inode_of(second, i),
              "socket %d goes on, though there are fewer edges", i);
    CHECK(inode_of(first, 0) != inode_of(first, 1), "one for each edge");
    CHECK(inode_of(second, 3) == 0, "no more");
    second->previous = NULL;
    generation_free(first);
    generation_free(second);
    CHECK(rmdir(folder) == 0, "rmdir");
}

TEST(web_prepare_names_a_missing_folder)
{
    struct why why = { "" };
    int port = free_port();
    struct generation *generation = generation_make(port, 1, "/nowhere/at/all", NULL);
    REQUIRE(generation != NULL, "generation");
    CHECK(web_prepare(generation, &why) == ERR_NOT_FOUND, "refused");
    CHECK(text_find_text(text_of(why.text), T("'/nowhere/at/all'")) > 0, "%s", why.text);
    generation_free(generation);
}

TEST(web_titles_and_counts)
{
    char title[64];
    web_title(NULL, 3, title, sizeof(title));
    CHECK(text_equal(text_of(title), T("edge/3")), "%s", title);
    struct generation *generation = generation_make(8080, 7, "/tmp", NULL);
    REQUIRE(generation != NULL, "generation");
    CHECK(web_count(generation) == 7, "as the site says");
    generation->site->web.workers = 0;
    CHECK(web_count(generation) >= 1, "one per core");
    generation->site->web.is_present = false;
    CHECK(web_count(generation) == 0, "no web here");
    generation_free(generation);
}
