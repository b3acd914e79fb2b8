/* Descriptors from workers that may be broken or hostile. */
#include "app/bridge_private.h"

#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 2, EDGE = 1 };

struct stage {
    struct bridge *bridge;
    struct call call;
    int ends[2];
};

static void stage_init(struct stage *stage)
{
    struct why why = { "" };
    AUTO(fd_close) int fd = -1;
    stage->bridge = NEW(struct bridge);
    stage->call = (struct call){ .file = -1 };
    CHECK(segment_create(2, 1, 1, SLOTS, &fd, &why) == OK, "%s", why.text);
    CHECK(segment_map(fd, &stage->bridge->segment, &why) == OK, "%s", why.text);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, stage->ends) == 0, "socket");
    stage->bridge->back_fd = stage->ends[0];
    stage->bridge->first_slot = EDGE * SLOTS;
    stage->bridge->places = memory_new_array(SLOTS, sizeof(struct place));
    stage->bridge->places[1].call = &stage->call;
    segment_submit(&stage->bridge->segment, EDGE * SLOTS + 1);
}

static void stage_done(struct stage *stage)
{
    fd_close(&stage->call.file);
    fd_close(&stage->ends[0]);
    fd_close(&stage->ends[1]);
    segment_unmap(&stage->bridge->segment);
    memory_free(stage->bridge->places);
    memory_free(stage->bridge);
}

/* A packet of `bytes` of the ticket with `count` descriptors. */
static void send_packet(struct stage *stage, struct segment_ticket ticket, size_t bytes, int count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = { 0 };
    int fds[3] = { stage->ends[1], stage->ends[1], stage->ends[1] };
    struct iovec iov = { &ticket, bytes };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
    }
    CHECK(sendmsg(stage->ends[1], &message, MSG_DONTWAIT) == (ssize_t)bytes, "sent");
}

static int highest_fd(void)
{
    int fd = dup(0);
    int found = fd;
    fd_close(&fd);
    return found;
}

TEST(handover_takes_only_what_belongs_to_a_call)
{
    struct stage stage;
    stage_init(&stage);
    uint64_t ticket = segment_slot_ticket(&stage.bridge->segment, EDGE * SLOTS + 1);
    const struct {
        const char *what;
        struct segment_ticket packet;
        size_t bytes;
        int count;
        bool is_taken;
    } cases[] = {
        { "the request's own",
          { ticket, EDGE * SLOTS + 1 },
          sizeof(struct segment_ticket),
          1,
          true },
        { "another ticket",
          { ticket + 1, EDGE * SLOTS + 1 },
          sizeof(struct segment_ticket),
          1,
          false },
        { "a slot without a call",
          { ticket, EDGE * SLOTS },
          sizeof(struct segment_ticket),
          1,
          false },
        { "a slot of another edge", { ticket, 0 }, sizeof(struct segment_ticket), 1, false },
        { "a slot past the end", { ticket, UINT64_MAX }, sizeof(struct segment_ticket), 1, false },
        { "no descriptor", { ticket, EDGE * SLOTS + 1 }, sizeof(struct segment_ticket), 0, false },
        { "three descriptors",
          { ticket, EDGE * SLOTS + 1 },
          sizeof(struct segment_ticket),
          3,
          false },
        { "half a packet", { ticket, EDGE * SLOTS + 1 }, 9, 1, false },
    };
    int before = highest_fd();
    for (size_t i = 0; i < COUNT(cases); i++) {
        send_packet(&stage, cases[i].packet, cases[i].bytes, cases[i].count);
        handover_receive(stage.bridge);
        CHECK((stage.call.file >= 0) == cases[i].is_taken, "%s", cases[i].what);
        fd_close(&stage.call.file);
        CHECK(highest_fd() == before, "%s: no descriptor is left", cases[i].what);
    }
    struct segment_ticket own = { ticket, EDGE * SLOTS + 1 };
    send_packet(&stage, own, sizeof(own), 1);
    send_packet(&stage, own, sizeof(own), 1);
    handover_receive(stage.bridge);
    CHECK(stage.call.file > before && highest_fd() == before,
          "of two the last is kept and the first closed");
    stage_done(&stage);
}

TEST(handover_accepts_only_what_a_file_has)
{
    AUTO(fd_close) int file = memfd_create("test", MFD_CLOEXEC);
    AUTO(fd_close) int path = open("/", O_PATH | O_CLOEXEC);
    AUTO(fd_close) int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(fd_close) int device = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    AUTO(fd_close) int writable = open("/tmp", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(ftruncate(file, 100) == 0, "a file of 100 bytes");
    const struct {
        const char *what;
        int file;
        int64_t offset, length;
        bool want;
    } cases[] = {
        { "all", file, 0, 100, true },
        { "the end", file, 99, 1, true },
        { "one more", file, 0, 101, false },
        { "past the end", file, 100, 1, false },
        { "far past it", file, INT64_MAX, INT64_MAX, false },
        { "before it", file, -1, 10, false },
        { "nothing", file, 0, 0, false },
        { "less than nothing", file, 10, -5, false },
        { "a path", path, 0, 1, false },
        { "a folder", folder, 0, 1, false },
        { "a device", device, 0, 1, false },
        { "a file that cannot be read", writable, 0, 1, false },
        { "no file", -1, 0, 1, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(handover_is_valid(cases[i].file, cases[i].offset, cases[i].length) == cases[i].want,
              "%s", cases[i].what);
}
