/* A role that swaps generations, as its parent sees it: what it answers to each message. */
#include "core/test.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/generation.h"
#include "process/swap.h"

#include <stdio.h>
#include <sys/socket.h>

struct toy {
    struct swap swap;
    struct buffer done; /* what was called, a letter each with the generation's number */
    uint64_t bad;       /* the generation that cannot be built */
    uint64_t unusable;
};

static void note(struct swap *swap, char what, uint64_t number)
{
    buffer_print(&list_entry(swap, struct toy, swap)->done, "%c%d ", what, (int)number);
}

static enum err build(struct swap *swap, const struct generation *next, struct why *why)
{
    note(swap, 'b', next->number);
    return next->number == list_entry(swap, struct toy, swap)->bad
               ? fail(why, ERR_STATE, "not this one")
               : OK;
}

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    note(swap, 'u', next->number);
    return next->number == list_entry(swap, struct toy, swap)->unusable
               ? fail(why, ERR_STATE, "cannot")
               : OK;
}

static void forget(struct swap *swap)
{
    note(swap, 'f', swap->next->number);
}

static void drain(struct swap *swap)
{
    note(swap, 'd', swap->live->number);
    loop_stop(swap->loop);
}

static struct generation *make(uint64_t number)
{
    struct site *site;
    struct site_mistakes mistakes;
    enum err err = site_parse(T("site: toy.test\nroutes: [{ path: /, respond: ok }]\nweb: {}\n"),
                              "/nowhere/site.yaml", false, &site, &mistakes);
    site_mistakes_done(&mistakes);
    if (!CHECK(err == OK, "site"))
        return NULL;
    return generation_new(number, site, &site->servers[0], T("/state/toy.test"), false, NULL);
}

static void send_config(int channel, uint64_t number)
{
    static const struct role role = { .name = "toy", .needs = "" };
    struct why why = { "" };
    struct message message;
    struct buffer text = buffer_of(MESSAGE_TEXT_LIMIT);
    struct generation *generation = make(number);
    enum err err = generation_pack(generation, &role, &text, &message, &why);
    if (err == OK)
        err = message_send(channel, &message);
    CHECK(err == OK, "config %d: %s", (int)number, why.text);
    generation_pack_done(&message);
    buffer_done(&text);
    generation_free(generation);
}

static void send_plain(int channel, enum message_type type, uint64_t number)
{
    struct message message = { .type = type, .generation = number };
    CHECK(message_send(channel, &message) == OK, "message %d", type);
}

/* What it answered, as "ready1 failed2". */
static void read_answers(int channel, struct buffer *out)
{
    static const char *const names[] = {
        [MESSAGE_READY] = "ready", [MESSAGE_FAILED] = "failed", [MESSAGE_RELEASED] = "released"
    };
    char buffer[MESSAGE_TEXT_LIMIT + 64];
    struct message message;
    while (message_receive(channel, buffer, sizeof(buffer), &message) == OK)
        buffer_print(out, "%s%d ", message.type < COUNT(names) ? names[message.type] : "?",
                     (int)message.generation);
}

static void check_texts(const struct buffer *got, const char *want, const char *what)
{
    CHECK(text_equal(buffer_text(got), text_of(want)), "%s: '%.*s', wanted '%s'", what,
          FMT(buffer_text(got)), want);
}

/* The parent says all of it at once; the role answers in one turn. */
static void converse(bool is_replay, void (*say)(int channel), const char *answers,
                     const char *calls)
{
    static const struct swap_steps steps = {
        .area = "toy", .build = build, .use = use, .forget = forget, .drain = drain
    };
    struct why why = { "" };
    struct toy toy = { .bad = 8, .unusable = 9, .done = buffer_of(4096) };
    struct buffer answered = buffer_of(4096);
    struct loop *loop;
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0 &&
                loop_new(LOOP_EPOLL, &loop, &why) == OK,
            "a channel and a loop");
    struct process self = { .channel = ends[1], .first = make(1), .is_replay = is_replay };
    CHECK(swap_start(&toy.swap, &steps, &self, loop, &why) == OK, "%s", why.text);
    say(ends[0]);
    loop_run(loop);
    read_answers(ends[0], &answered);
    check_texts(&answered, answers, "answers");
    check_texts(&toy.done, calls, "calls");
    loop_watch_stop(&toy.swap.channel);
    generation_free(toy.swap.live);
    generation_free(toy.swap.next);
    loop_free(loop);
    fd_close(&ends[0]);
    fd_close(&ends[1]);
    buffer_done(&toy.done);
    buffer_done(&answered);
}

static void say_swap(int channel)
{
    send_plain(channel, MESSAGE_COMMIT, 1);
    send_config(channel, 2);
    send_plain(channel, MESSAGE_COMMIT, 7); /* of nobody */
    send_plain(channel, MESSAGE_COMMIT, 2);
    send_plain(channel, MESSAGE_DRAIN, 0);
}

static void say_refused(int channel)
{
    struct message bad = { .type = MESSAGE_CONFIG, .generation = 4, .text = T("nonsense\n") };
    send_config(channel, 3);
    send_plain(channel, MESSAGE_DISCARD, 3);
    CHECK(message_send(channel, &bad) == OK, "a bad configuration");
    CHECK(send(channel, "x", 1, 0) == 1, "a bad packet");
    send_config(channel, 8); /* cannot be built */
    send_config(channel, 9); /* cannot be used */
    send_plain(channel, MESSAGE_COMMIT, 9);
    send_config(channel, 10);
    send_config(channel, 11); /* the parent has thought better of 10 */
    send_plain(channel, MESSAGE_STOP, 0);
}

static void say_nothing(int channel)
{
    shutdown(channel, SHUT_WR); /* the parent is gone */
}

TEST(swap_answers_its_parent)
{
    converse(false, say_swap, "ready1 ready2 released1 ", "b1 u1 b2 u2 d2 ");
    converse(true, say_refused, "ready1 ready3 failed4 failed8 ready9 ready10 ready11 ",
             "b1 u1 b3 f3 b8 b9 u9 f9 b10 f10 b11 ");
    converse(false, say_nothing, "ready1 ", "b1 ");
}
