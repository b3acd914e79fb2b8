/* Tests of what servers of a site show each other: made in one's parent, believed by the other. */
#include "stream/inside.h"

#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "process/site_key.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct site *read_site(const char *inside)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    AUTO(buffer_done) struct buffer source = buffer_of(4096);
    buffer_print(
        &source,
        "site: toy.test\nservers: { lb: 192.0.2.1, web: 192.0.2.2 }\nbalancer: { on: lb }\n"
        "web: { on: web }\nroutes: [{ path: /, respond: ok }]\n"
        "tls: { certificate: local, inside: %s }\n",
        inside);
    enum err err = site_parse(buffer_text(&source), "/nowhere/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    return site;
}

struct server {
    char folder[64];
    struct generation generation;
};

static bool server_make(struct server *server, struct site *site, size_t number,
                        const struct site_key *key)
{
    struct why why = { "" };
    char path[128];
    *server = (struct server){ .folder = "/tmp/trilith-inside-XXXXXX" };
    if (!CHECK(mkdtemp(server->folder) != NULL, "folder"))
        return false;
    server->generation = (struct generation){ .number = 1,
                                              .site = site,
                                              .server = &site->servers[number],
                                              .state = text_of(server->folder) };
    snprintf(path, sizeof(path), "%s/secrets/site-key", server->folder);
    enum err err = site_key_write(path, key, &why);
    if (err == OK)
        err = inside_prepare(&server->generation, &why);
    return CHECK(err == OK, "%s", why.text);
}

static void server_done(struct server *server)
{
    char path[128];
    for (size_t i = 0; i < server->generation.fd_count; i++)
        fd_close(&server->generation.fds[i].fd);
    memory_free(server->generation.fds);
    snprintf(path, sizeof(path), "%s/secrets/site-key", server->folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/secrets", server->folder);
    rmdir(path);
    CHECK(rmdir(server->folder) == 0, "nothing else was written");
}

/* Whether the client of one gets through to the other. */
static bool meet(const struct server *from, const struct server *to)
{
    struct tls_context *client = NULL, *server = NULL;
    struct tls_peer *peer = NULL;
    struct why why = { "" };
    char data[16];
    size_t got;
    bool is_met = false;
    if (CHECK(inside_client(&from->generation, "http/1.1", &client, &why) == OK &&
                  inside_server(&to->generation, "http/1.1", &server, &why) == OK &&
                  tls_peer_new(client, to->generation.server->name, &peer, &why) == OK,
              "%s", why.text)) {
        struct tls *ends[] = { tls_new_client(peer), tls_new(server) };
        (void)tls_read(ends[0], data, sizeof(data), &got);
        for (int i = 0; i < 6; i++) {
            struct tls *speaker = ends[i % 2], *listener = ends[(i + 1) % 2];
            tls_put(listener, buffer_text(tls_output(speaker)));
            (void)tls_read(listener, data, sizeof(data), &got);
            buffer_clear(tls_output(speaker));
        }
        is_met = tls_is_open(ends[0]) && tls_is_open(ends[1]);
        tls_free(ends[0]);
        tls_free(ends[1]);
    }
    tls_peer_unref(peer);
    tls_context_unref(client);
    tls_context_unref(server);
    return is_met;
}

static bool meet_all(struct site *site)
{
    struct site_key key, other;
    struct server lb, web, stranger;
    bool is_good = true;
    site_key_make(&key);
    site_key_make(&other);
    is_good = server_make(&lb, site, 0, &key) && server_make(&web, site, 1, &key) &&
              server_make(&stranger, site, 1, &other) &&
              CHECK(meet(&lb, &web) && meet(&web, &lb), "both ways") &&
              CHECK(!meet(&lb, &stranger) && !meet(&stranger, &lb), "not with another key");
    server_done(&lb);
    server_done(&web);
    server_done(&stranger);
    return is_good;
}

/* In a process of its own: it becomes one that nobody may look into. */
TEST(inside_servers_of_one_site_meet)
{
    struct site *site = read_site("mutual");
    REQUIRE(site != NULL, "site");
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(meet_all(site) ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0, "status %d", status);
    site_free(site);
}

TEST(inside_is_nothing_unless_asked_for)
{
    struct why why = { "" };
    struct site *site = read_site("off");
    struct tls_context *context = NULL;
    struct inside_files files;
    REQUIRE(site != NULL, "site");
    struct generation generation = { .site = site, .server = &site->servers[0] };
    CHECK(inside_prepare(&generation, &why) == OK && generation.fd_count == 0, "%s", why.text);
    CHECK(inside_client(&generation, "x", &context, &why) == OK && context == NULL, "client");
    CHECK(inside_server(&generation, "x", &context, &why) == OK && context == NULL, "server");
    CHECK(!inside_files(&generation, &files), "files");
    site_free(site);
}
