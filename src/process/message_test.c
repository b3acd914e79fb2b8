/* Messages: the wire form at every cut, descriptors on their way, odd packets. */
#include "core/test.h"

#include "core/sys.h"
#include "process/process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    int ends[2];
    char buffer[MESSAGE_TEXT_LIMIT + 64];
};

static bool pair_open(struct pair *pair)
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair->ends) == 0;
}

static void pair_close(struct pair *pair)
{
    fd_close(&pair->ends[0]);
    fd_close(&pair->ends[1]);
}

TEST(message_carries_type_generation_and_text)
{
    struct pair pair;
    struct message got;
    REQUIRE(pair_open(&pair), "pair");
    for (int type = MESSAGE_CONFIG; type < MESSAGE_LAST; type++) {
        struct message message = { .type = (enum message_type)type,
                                   .generation = 1ULL << 40,
                                   .text = T("why not") };
        CHECK(message_send(pair.ends[0], &message) == OK, "send %d", type);
        REQUIRE(message_receive(pair.ends[1], pair.buffer, sizeof(pair.buffer), &got) == OK, "%d",
                type);
        CHECK((int)got.type == type && got.generation == 1ULL << 40, "head of %d", type);
        CHECK(text_equal(got.text, T("why not")) && got.fd_count == 0, "text of %d", type);
    }
    pair_close(&pair);
}

TEST(message_carries_descriptors)
{
    struct pair pair;
    struct message message = { .type = MESSAGE_CONFIG }, got;
    REQUIRE(pair_open(&pair), "pair");
    for (size_t i = 0; i < MESSAGE_FD_LIMIT; i++)
        message.fds[message.fd_count++] = 0;
    CHECK(message_send(pair.ends[0], &message) == OK, "send the most");
    REQUIRE(message_receive(pair.ends[1], pair.buffer, sizeof(pair.buffer), &got) == OK, "get");
    CHECK(got.fd_count == MESSAGE_FD_LIMIT, "all of them, not %zu", got.fd_count);
    for (size_t i = 0; i < got.fd_count; i++) {
        CHECK((fcntl(got.fds[i], F_GETFD) & FD_CLOEXEC) != 0, "close-on-exec of %zu", i);
        fd_close(&got.fds[i]);
    }
    pair_close(&pair);
}

TEST(message_errors_are_told_apart)
{
    struct pair pair;
    struct message message = { .type = MESSAGE_STOP }, got;
    REQUIRE(pair_open(&pair), "pair");
    CHECK(message_receive(pair.ends[1], pair.buffer, sizeof(pair.buffer), &got) == ERR_BUSY,
          "nothing there");
    CHECK(send(pair.ends[0], "hello", 5, 0) == 5, "raw send");
    CHECK(message_receive(pair.ends[1], pair.buffer, sizeof(pair.buffer), &got) == ERR_PROTOCOL,
          "not a message");
    enum err err = OK;
    for (int i = 0; i < 100000 && err == OK; i++)
        err = message_send(pair.ends[0], &message);
    CHECK(err == ERR_BUSY, "a full queue is busy, not %s", err_text(err));
    fd_close(&pair.ends[1]);
    CHECK(message_send(pair.ends[0], &message) == ERR_CLOSED, "the reader is gone");
    pair_close(&pair);
}

TEST(message_too_long_is_refused)
{
    static char text[MESSAGE_TEXT_LIMIT + 1];
    struct pair pair;
    REQUIRE(pair_open(&pair), "pair");
    struct message message = { .type = MESSAGE_NOTE, .text = text_from(text, sizeof(text)) }, got;
    CHECK(message_send(pair.ends[0], &message) == ERR_LIMIT, "one too many");
    message.text.len--;
    CHECK(message_send(pair.ends[0], &message) == OK, "the longest");
    CHECK(message_receive(pair.ends[1], pair.buffer, sizeof(pair.buffer), &got) == OK, "is read");
    CHECK(got.text.len == MESSAGE_TEXT_LIMIT, "whole");
    CHECK(message_send(pair.ends[0], &message) == OK, "again");
    CHECK(message_receive(pair.ends[1], pair.buffer, 100, &got) == ERR_PROTOCOL, "a cut packet");
    pair_close(&pair);
}

TEST(message_parse_refuses_every_cut_and_change_of_the_head)
{
    struct pair pair;
    struct message message = { .type = MESSAGE_READY, .generation = 7, .text = T("abc") }, got;
    REQUIRE(pair_open(&pair), "pair");
    CHECK(message_send(pair.ends[0], &message) == OK, "send");
    ssize_t len = recv(pair.ends[1], pair.buffer, sizeof(pair.buffer), 0);
    REQUIRE(len == 23, "head and text");
    for (ssize_t cut = 0; cut < len; cut++)
        CHECK(message_parse(text_from(pair.buffer, (size_t)cut), &got) == ERR_PROTOCOL,
              "cut at %zd", cut);
    pair.buffer[len] = 'x';
    CHECK(message_parse(text_from(pair.buffer, (size_t)len + 1), &got) == ERR_PROTOCOL, "longer");
    static const int guarded[] = { 0, 1, 2, 3, 5, 6, 7, 16, 17, 18, 19 };
    for (size_t i = 0; i < COUNT(guarded); i++) {
        pair.buffer[guarded[i]] ^= 0x55;
        CHECK(message_parse(text_from(pair.buffer, (size_t)len), &got) == ERR_PROTOCOL,
              "changed byte %d", guarded[i]);
        pair.buffer[guarded[i]] ^= 0x55;
    }
    CHECK(message_parse(text_from(pair.buffer, (size_t)len), &got) == OK, "whole");
    pair_close(&pair);
}
