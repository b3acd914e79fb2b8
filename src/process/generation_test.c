/* Generations: descriptors by name, listeners taken over, the way through a channel. */
#include "core/test.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/generation.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct generation *make(uint64_t number, const struct generation *previous)
{
    struct site *site;
    struct site_mistakes mistakes;
    struct text source = T("site: toy.test\nlisten: { http: 8080, dns: 5300 }\n"
                           "routes: [{ path: /, respond: ok }]\nweb: {}\n");
    enum err err = site_parse(source, "/nowhere/site.yaml", false, &site, &mistakes);
    if (!CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text))))
        return NULL;
    site_mistakes_done(&mistakes);
    return generation_new(number, site, &site->servers[0], T("/state/toy.test"), false, previous);
}

TEST(generation_needs_are_prefixes)
{
    static const struct {
        const char *needs, *name;
        bool want;
    } cases[] = {
        { "listen.http static.", "listen.http.0", true },
        { "listen.http static.", "static.3", true },
        { "listen.http static.", "listen.dns.0", false },
        { "*", "anything", true },
        { "", "anything", false },
        { NULL, "anything", false },
        { "a  b", "c", false },
        { "app.shop.", "app.shopping.1", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(generation_is_needed(cases[i].needs, cases[i].name) == cases[i].want, "%s of %s",
              cases[i].name, cases[i].needs != NULL ? cases[i].needs : "nothing");
}

static bool same_socket(int a, int b)
{
    struct stat left, right;
    return fstat(a, &left) == 0 && fstat(b, &right) == 0 && left.st_ino == right.st_ino;
}

/* A listener on a free port. */
static struct address bound(const struct generation *generation, const char *name)
{
    struct address address = { .len = sizeof(address.u) };
    int fd = generation_fd(generation, "%s", name);
    CHECK(getsockname(fd, &address.u.any, &address.len) == 0, "%s", name);
    return address;
}

TEST(generation_listen_takes_over)
{
    static const int types[] = { SOCK_STREAM, SOCK_DGRAM };
    for (size_t i = 0; i < COUNT(types); i++) {
        struct address any, address;
        struct why why = { "" };
        struct generation *zero = make(1, NULL);
        REQUIRE(zero != NULL && address_parse(T("127.0.0.1:0"), &any) == OK, "address");
        CHECK(generation_listen(zero, &any, types[i], &why, "listen.x.%d", 0) == OK, "%s",
              why.text);
        address = bound(zero, "listen.x.0");
        generation_free(zero);
        struct generation *first = make(1, NULL);
        CHECK(generation_listen(first, &address, types[i], &why, "listen.a") == OK, "%s", why.text);
        CHECK(generation_listen(first, &address, types[i], &why, "listen.b") == OK,
              "a second of ours: %s", why.text);
        CHECK(!same_socket(generation_fd(first, "listen.a"), generation_fd(first, "listen.b")),
              "two sockets");
        struct generation *second = make(2, first);
        CHECK(generation_listen(second, &address, types[i], &why, "listen.a") == OK, "same name");
        CHECK(same_socket(generation_fd(first, "listen.a"), generation_fd(second, "listen.a")),
              "taken over by name");
        struct generation *third = make(3, first);
        CHECK(generation_listen(third, &address, types[i], &why, "listen.other") == OK,
              "by address");
        CHECK(same_socket(generation_fd(first, "listen.a"), generation_fd(third, "listen.other")),
              "taken over by address");
        struct generation *stranger = make(1, NULL);
        CHECK(generation_listen(stranger, &address, types[i], &why, "listen.a") == ERR_EXISTS,
              "somebody else's port");
        CHECK(strstr(why.text, "in use") != NULL, "%s", why.text);
        CHECK(generation_fd(stranger, "listen.a") == -1, "not there");
        generation_free(stranger);
        generation_free(third);
        generation_free(second);
        generation_free(first);
    }
}

TEST(generation_listen_explains)
{
    struct address address;
    struct why why;
    struct generation *generation = make(1, NULL);
    REQUIRE(generation != NULL, "site");
    REQUIRE(address_parse(T("192.0.2.7:8080"), &address) == OK, "address");
    CHECK(generation_listen(generation, &address, SOCK_STREAM, &why, "x") == ERR_NOT_FOUND,
          "not here");
    CHECK(strstr(why.text, "192.0.2.7") != NULL, "%s", why.text);
    generation_free(generation);
}

static const struct role needy = { .name = "needy", .needs = "static. listen." };

/* Sends and receives a CONFIG; the result is the caller's. */
static struct generation *travel(const struct generation *generation, size_t drop_fds)
{
    static char packet[MESSAGE_TEXT_LIMIT + 64];
    int ends[2];
    struct message message, got;
    struct why why = { "" };
    struct generation *result = NULL;
    struct buffer text = buffer_of(MESSAGE_TEXT_LIMIT);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0 ||
        generation_pack(generation, &needy, &text, &message, &why) != OK)
        return NULL;
    message.fd_count -= drop_fds;
    CHECK(message_send(ends[0], &message) == OK, "send");
    CHECK(message_receive(ends[1], packet, sizeof(packet), &got) == OK, "receive");
    enum err err = generation_unpack(&got, &result, &why);
    CHECK((err == OK) == (drop_fds == 0), "%s", why.text);
    generation_pack_done(&message);
    fd_close(&ends[0]);
    fd_close(&ends[1]);
    buffer_done(&text);
    return result;
}

TEST(generation_travels_with_what_the_role_needs)
{
    struct generation *generation = make(7, NULL);
    REQUIRE(generation != NULL, "site");
    generation_add_fd(generation, open("/", O_PATH | O_CLOEXEC), "static.%d", 0);
    generation_add_fd(generation, open("/", O_PATH | O_CLOEXEC), "secret");
    generation_add_fd(generation, open("/tmp", O_PATH | O_CLOEXEC), "listen.http.%d", 2);
    struct generation *got = travel(generation, 0);
    CHECK(got != NULL, "arrived");
    if (got != NULL) {
        CHECK(got->number == 7 && got->fd_count == 2, "%zu descriptors", got->fd_count);
        CHECK(same_socket(generation_fd(got, "static.0"), generation_fd(generation, "static.0")),
              "1");
        CHECK(same_socket(generation_fd(got, "listen.http.2"),
                          generation_fd(generation, "listen.http.2")),
              "2");
        CHECK(generation_fd(got, "secret") == -1, "not asked for");
        CHECK(text_equal(got->site->name, T("toy.test")), "site");
        CHECK(text_equal(got->state, generation->state), "state");
        CHECK(text_equal(got->server->name, generation->server->name), "server");
    }
    generation_free(got);
    CHECK(travel(generation, 1) == NULL, "a descriptor is missing");
    CHECK(travel(generation, 3) == NULL, "all are missing");
    generation_free(generation);
}

TEST(generation_unpack_refuses_odd_texts)
{
    static const char *const texts[] = { "", "fd x", "nonsense", "server\nstate", "fd \nfd a" };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct message message = { .type = MESSAGE_CONFIG, .text = text_of(texts[i]) };
        struct generation *generation = NULL;
        struct why why;
        message.fds[message.fd_count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK(generation_unpack(&message, &generation, &why) != OK, "%s", texts[i]);
        CHECK(message.fd_count == 0, "closed");
    }
}

TEST(generation_travels_with_more_than_a_message_takes)
{
    static const int counts[] = { MESSAGE_FD_LIMIT - 1, MESSAGE_FD_LIMIT, 1000 };
    for (size_t i = 0; i < COUNT(counts); i++) {
        struct generation *generation = make(1, NULL);
        REQUIRE(generation != NULL, "site");
        for (int k = 0; k < counts[i]; k++) {
            generation_add_fd(generation, memfd_create("x", MFD_CLOEXEC), "static.%d", k);
            generation_add_fd(generation, memfd_create("x", MFD_CLOEXEC), "secret.%d", k);
        }
        struct generation *got = travel(generation, 0);
        CHECK(got != NULL && got->fd_count == (size_t)counts[i], "%d descriptors", counts[i]);
        for (int k = 0; got != NULL && k < counts[i]; k++)
            CHECK(same_socket(generation_fd(got, "static.%d", k),
                              generation_fd(generation, "static.%d", k)),
                  "%d of %d", k, counts[i]);
        generation_free(got);
        generation_free(generation);
    }
}

TEST(generation_says_when_there_are_far_too_many)
{
    struct generation *generation = make(1, NULL);
    struct buffer text = buffer_of(MESSAGE_TEXT_LIMIT);
    struct message message;
    struct why why;
    REQUIRE(generation != NULL, "site");
    for (int i = 0; i < 12000; i++) /* numbers alone: nothing is opened or sent twice */
        generation_add_fd(generation, 0, "static.%060d", i);
    CHECK(generation_pack(generation, &needy, &text, &message, &why) == ERR_LIMIT, "refused");
    CHECK(strstr(why.text, "fewer routes") != NULL, "%s", why.text);
    for (size_t i = 0; i < generation->fd_count; i++)
        generation->fds[i].fd = -1;
    buffer_done(&text);
    generation_free(generation);
}

TEST(generation_exchange_is_undone_by_itself)
{
    struct generation *generation = make(1, NULL);
    REQUIRE(generation != NULL, "site");
    int before[2] = { memfd_create("a", MFD_CLOEXEC), memfd_create("b", MFD_CLOEXEC) };
    int fresh[2] = { memfd_create("c", MFD_CLOEXEC), memfd_create("d", MFD_CLOEXEC) };
    generation_add_fd(generation, before[0], "tls.chain.0");
    generation_add_fd(generation, before[1], "tls.key.0");
    struct message message = { .type = MESSAGE_FILES,
                               .text = T("tls.key.0\ntls.chain.0\n"),
                               .fds = { fresh[0], fresh[1] },
                               .fd_count = 2 };
    CHECK(generation_exchange(generation, &message) == OK, "exchange");
    CHECK(generation_fd(generation, "tls.key.0") == fresh[0] &&
              generation_fd(generation, "tls.chain.0") == fresh[1],
          "new ones are in use");
    CHECK(message.fds[0] == before[1] && message.fds[1] == before[0], "old ones go");
    CHECK(generation_exchange(generation, &message) == OK, "again");
    CHECK(generation_fd(generation, "tls.key.0") == before[1], "as before");
    static const char *const bad[] = { "tls.key.0\n", "tls.key.0\ntls.key.1\n",
                                       "tls.key.0\ntls.chain.0\ntls.key.0\n", "" };
    for (size_t i = 0; i < COUNT(bad); i++) {
        message.text = text_of(bad[i]);
        CHECK(generation_exchange(generation, &message) == ERR_PROTOCOL, "%s", bad[i]);
    }
    CHECK(message.fds[0] == fresh[0] && message.fds[1] == fresh[1], "nothing was changed");
    fd_close(&message.fds[0]);
    fd_close(&message.fds[1]);
    generation_free(generation);
}
