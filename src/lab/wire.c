/*
 * The wire's process: a packet socket on each link; what comes in at one goes, after its delay, out
 * at the other. Packets of one direction keep their order, so each direction is a ring of packets
 * with the time at which they are due.
 */
#include "lab/wire.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME_BYTES = 2048, /* offloads are off on a wired link, so a frame is at most its MTU */
    RING_FRAMES = 8192, /* more than 20 ms at 1.5 Gbit/s and 100 ms at 150 Mbit/s */
    BATCH = 64,
    MILLION = 1000000,
};

struct frame {
    int64_t due_us;
    uint32_t len;
    uint8_t bytes[FRAME_BYTES];
};

struct direction {
    const struct wire_settings *settings;
    int in, out;
    int64_t line_free_us; /* when the line has sent what was given to it */
    size_t first, count;
    struct frame *ring;
};

/* ---- settings ---- */

static bool parse_amount(struct text text, const char *const units[], const int64_t factors[],
                         size_t count, int64_t *out)
{
    size_t digits = 0;
    uint64_t number;
    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    if (!text_to_uint(text_part(text, 0, digits), INT64_MAX / MILLION / 1000, &number))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (text_equal_fold(text_skip(text, digits), text_of(units[i]))) {
            *out = (int64_t)number * factors[i];
            return true;
        }
    }
    return false;
}

static bool parse_delay(struct text value, struct wire_settings *settings)
{
    static const char *const units[] = { "us", "ms", "s" };
    static const int64_t factors[] = { 1, 1000, MILLION };
    int64_t delay_us;
    if (!parse_amount(value, units, factors, COUNT(units), &delay_us) || delay_us > 10LL * MILLION)
        return false;
    settings->delay_us = delay_us;
    return true;
}

static bool parse_rate(struct text value, struct wire_settings *settings)
{
    static const char *const units[] = { "kbit", "mbit", "gbit" };
    static const int64_t factors[] = { 1000, MILLION, 1000LL * MILLION };
    int64_t rate_bps;
    if (!parse_amount(value, units, factors, COUNT(units), &rate_bps))
        return false;
    settings->rate_bps = rate_bps;
    return true;
}

/* "1%", "0.5%" */
static bool parse_loss(struct text value, struct wire_settings *settings)
{
    uint64_t whole, part = 0;
    if (!text_ends_with(value, T("%")))
        return false;
    struct text rest = text_part(value, 0, value.len - 1), head = text_next(&rest, '.');
    if (!text_to_uint(head, 100, &whole) || rest.len > 1 ||
        (rest.data != NULL && !text_to_uint(rest, 9, &part)))
        return false;
    settings->loss = (uint32_t)(whole * 10000 + part * 1000);
    return settings->loss <= MILLION;
}

enum err wire_parse(struct text text, struct wire_settings *settings, struct why *why)
{
    static const struct {
        struct text name;
        bool (*parse)(struct text value, struct wire_settings *settings);
    } words[] = { { T("delay"), parse_delay },
                  { T("loss"), parse_loss },
                  { T("rate"), parse_rate } };
    bool was_there[COUNT(words)] = { false };
    struct text rest = text;
    memset(settings, 0, sizeof(*settings));
    while (rest.data != NULL) {
        struct text word = text_next(&rest, ' '), value = word;
        struct text name = text_next(&value, '=');
        size_t i = 0;
        while (i < COUNT(words) && !text_equal(words[i].name, name))
            i++;
        if (i == COUNT(words) || was_there[i] || !words[i].parse(value, settings))
            return fail(why, ERR_SYNTAX,
                        "'%.*s' is not understood; write delay=20ms, loss=1%% or rate=10mbit",
                        FMT(word));
        was_there[i] = true;
    }
    return OK;
}

/* ---- the process ---- */

static int open_link(const char *name, struct why *why)
{
    struct sockaddr_ll address = { .sll_family = AF_PACKET,
                                   .sll_protocol = htons(ETH_P_ALL),
                                   .sll_ifindex = (int)if_nametoindex(name) };
    struct packet_mreq promiscuous = { .mr_ifindex = address.sll_ifindex,
                                       .mr_type = PACKET_MR_PROMISC };
    int on = 1, room = 8 << 20;
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) == 0 &&
        /* FORCE is for the machine's own root; others get what they may have */
        (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) == 0 ||
         setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) == 0) &&
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) == 0 &&
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    fail(why, ERR_SYSTEM, "cannot open the link '%s': %s", name, strerror(errno));
    fd_close(&fd);
    return -1;
}

/* A xorshift is random enough to lose packets. */
static bool is_lost(uint32_t loss)
{
    static uint64_t state;
    if (state == 0)
        sys_random(&state, sizeof(state));
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return loss != 0 && (state >> 11) % MILLION < loss;
}

/* When the frame is out at the far end: behind what the line still has to send, plus the delay. */
static int64_t due_of(struct direction *way, size_t len, int64_t now_us)
{
    int64_t rate_bps = atomic_load(&way->settings->rate_bps);
    int64_t start_us = way->line_free_us > now_us ? way->line_free_us : now_us;
    way->line_free_us = start_us;
    if (rate_bps > 0)
        way->line_free_us += (int64_t)len * 8 * MILLION / rate_bps;
    return way->line_free_us + atomic_load(&way->settings->delay_us);
}

static void take(struct direction *way)
{
    int64_t now_us = clock_now_us();
    for (int i = 0; i < BATCH && way->count < RING_FRAMES; i++) {
        struct frame *frame = &way->ring[(way->first + way->count) % RING_FRAMES];
        ssize_t got = recv(way->in, frame->bytes, FRAME_BYTES, MSG_TRUNC);
        if (got < 0)
            return;
        if (got == 0 || got > FRAME_BYTES || is_lost(atomic_load(&way->settings->loss)))
            continue;
        frame->len = (uint32_t)got;
        frame->due_us = due_of(way, (size_t)got, now_us);
        way->count++;
    }
}

/* Sends what is due; returns when the next one is (-1: none waits). */
static int64_t give(struct direction *way)
{
    int64_t now_us = clock_now_us();
    while (way->count > 0) {
        const struct frame *frame = &way->ring[way->first];
        if (frame->due_us > now_us)
            return frame->due_us;
        if (send(way->out, frame->bytes, frame->len, 0) < 0 && errno == EAGAIN)
            return now_us + 50;
        way->first = (way->first + 1) % RING_FRAMES;
        way->count--;
    }
    return -1;
}

_Noreturn static void carry(struct direction ways[2])
{
    for (;;) {
        int64_t first_us = give(&ways[0]), second_us = give(&ways[1]);
        int64_t next_us =
            first_us < 0 || (second_us >= 0 && second_us < first_us) ? second_us : first_us;
        int64_t wait_us = next_us < 0 ? 1000LL * MILLION : next_us - clock_now_us();
        struct timespec wait = { wait_us > 0 ? wait_us / MILLION : 0,
                                 wait_us > 0 ? wait_us % MILLION * 1000 : 0 };
        struct pollfd watched[2] = { { .fd = ways[0].in, .events = POLLIN },
                                     { .fd = ways[1].in, .events = POLLIN } };
        if (ppoll(watched, 2, &wait, NULL) < 0 && errno != EINTR)
            _exit(1);
        for (size_t i = 0; i < 2; i++) {
            if (watched[i].revents != 0)
                take(&ways[i]);
        }
    }
}

_Noreturn static void run_wire(const struct wire_settings *settings, int near, int far)
{
    sigset_t none;
    prctl(PR_SET_NAME, "lab wire");
    prctl(PR_SET_TIMERSLACK, 1);
    signal(SIGTERM, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct direction ways[2] = {
        { .settings = settings, .in = near, .out = far },
        { .settings = settings, .in = far, .out = near },
    };
    for (size_t i = 0; i < 2; i++)
        ways[i].ring = memory_new_array(RING_FRAMES, sizeof(struct frame));
    carry(ways);
}

enum err wire_start(struct wire *wire, const char *near, const char *far, struct why *why)
{
    AUTO(fd_close) int near_fd = open_link(near, why);
    AUTO(fd_close) int far_fd = near_fd >= 0 ? open_link(far, why) : -1;
    if (far_fd < 0)
        return ERR_SYSTEM;
    void *shared = mmap(NULL, sizeof(struct wire_settings), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = shared != MAP_FAILED ? fork() : -1;
    if (pid == 0)
        run_wire(shared, near_fd, far_fd);
    if (pid < 0) {
        fail(why, ERR_SYSTEM, "cannot start a wire: %s", strerror(errno));
        if (shared != MAP_FAILED)
            munmap(shared, sizeof(struct wire_settings));
        return ERR_SYSTEM;
    }
    *wire = (struct wire){ .settings = shared, .pid = pid };
    return OK;
}

void wire_set(struct wire *wire, const struct wire_settings *settings)
{
    atomic_store(&wire->settings->delay_us, atomic_load(&settings->delay_us));
    atomic_store(&wire->settings->rate_bps, atomic_load(&settings->rate_bps));
    atomic_store(&wire->settings->loss, atomic_load(&settings->loss));
}

void wire_stop(struct wire *wire)
{
    if (wire->settings == NULL)
        return;
    kill(wire->pid, SIGKILL);
    munmap(wire->settings, sizeof(*wire->settings));
    *wire = (struct wire){ .settings = NULL };
}
