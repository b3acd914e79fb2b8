/* The way from the watching process to the keeper beside it. */
#include "database/seed.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

enum { SEND_MS = 1000, PAUSE_MS = 10000 };

void seed_close(struct seed *seed)
{
    if (seed->stream == NULL)
        return;
    peer_stream_close(seed->stream);
    memory_free(seed->stream);
    seed->stream = NULL;
}

static void give_up(struct seed *seed, const char *reason)
{
    if (!seed->is_told)
        log_error("replication", "this database cannot be filled yet, it is tried again",
                  STRING("why", reason));
    seed->is_told = true;
    seed->pause_until_ms = clock_now_ms() + PAUSE_MS;
    seed_close(seed);
}

static int connect_keeper(struct text state)
{
    char path[256];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/" PEER_DATABASE_SOCKET, FMT(state));
    if (address_from_path(text_of(path), &address) != OK)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, &address.u.any, address.len) != 0)
        fd_close(&fd);
    return fd;
}

void seed_begin(struct seed *seed, struct text state)
{
    if (seed->stream != NULL || clock_now_ms() < seed->pause_until_ms)
        return;
    int fd = connect_keeper(state);
    if (fd < 0) { /* it starts after this process */
        seed->pause_until_ms = clock_now_ms() + SEND_MS;
        return;
    }
    seed->stream = NEW(struct peer_stream);
    peer_stream_init(seed->stream, fd, SEND_MS);
    if (peer_send(seed->stream, PEER_COMMAND, T("rebuild")) != OK)
        give_up(seed, "the keeper does not take the command");
    else
        log_info("replication", "this database is empty: it is filled by a copy of another");
}

bool seed_follow(struct seed *seed, struct why *note_out)
{
    struct peer_frame frame;
    struct pollfd ready = { .events = POLLIN };
    if (seed->stream == NULL)
        return false;
    ready.fd = seed->stream->fd;
    if (seed->stream->len == 0 && poll(&ready, 1, 0) <= 0)
        return false;
    peer_stream_extend(seed->stream, SEND_MS);
    enum err err = peer_receive(seed->stream, &frame);
    if (err != OK) {
        give_up(seed, "the keeper has ended");
        return false;
    }
    fail(note_out, OK, "%.*s", FMT(frame.payload));
    if (frame.type == PEER_REFUSAL) {
        give_up(seed, note_out->text);
    } else if (frame.type == PEER_ANSWER) {
        log_info("replication", "this database is filled", TEXT("how", frame.payload));
        seed->is_told = false;
        seed_close(seed);
    }
    return true;
}
