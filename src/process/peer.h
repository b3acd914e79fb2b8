#ifndef PROCESS_PEER_H
#define PROCESS_PEER_H

/*
 * The channel between the servers of a site: TLS 1.3 on listen.control of each server's own
 * address, with a key that is derived from the site's key and that both sides prove to know. One
 * process, `peer`, ends it: it parses what comes from the network, has no rights, and passes what
 * it lets through to services of its server over Unix sockets.
 *
 *   keeper, CLI ──run/peer/peer.sock──► peer ══TLS══► peer ──run/database/keeper.sock──► keeper
 *
 * A connection begins with one line that names a service of a closed list; from then on the two
 * ends talk in frames. An end without its last frame (PEER_ANSWER, PEER_REFUSAL) is a broken one,
 * so a stream that was cut is never taken for a whole one.
 */

#include "core/buffer.h"
#include "process/process.h"

extern const struct role peer_role;

/* ---- services ---- */

enum peer_service {
    PEER_STATUS,   /* the JSON text of `trilith status --json`, then the end */
    PEER_DATABASE, /* frames with the keeper of that server's database */
    PEER_PRIMARY,  /* an announcement for metrics/primary.h: nothing follows */
    PEER_ACME,     /* frames with the process `acme` of that server */
    PEER_MONITOR,  /* frames of an agent, for the process `monitor` of that server */
    PEER_COMMANDS, /* PEER_COMMAND to the same process, one answer */
    PEER_LOGS,     /* lines of the log of that server (logs.h) */
    PEER_FIREWALL, /* frames with the process `firewall` of that server */
};

enum {
    PEER_LINE_LIMIT = 512, /* with its line feed */
    PEER_FRAME_LIMIT = 65536,
    PEER_FRAME_HEAD = 5,
    PEER_HOLD_LIMIT_MS = 60000,
    PEER_DRAIN_LIMIT_MS = 10000,
};

/* ---- frames: u8 type, u32 length (big-endian), then the payload ---- */

enum peer_frame_type {
    PEER_COMMAND = 'C', /* words, see the service */
    PEER_NOTE = 'N',    /* a step that was taken, for people */
    PEER_DATA = 'D',
    PEER_END = 'E',     /* all data was sent */
    PEER_ANSWER = 'A',  /* it worked; the last frame */
    PEER_REFUSAL = 'R', /* it did not, and why; the last frame */
};

struct peer_frame {
    enum peer_frame_type type;
    struct text payload;
};

/* Pure, fuzzed. OK with *used_out bytes; ERR_BUSY: more is needed; ERR_PROTOCOL: no such type, or
 * longer than PEER_FRAME_LIMIT. */
MUST_CHECK enum err peer_frame_parse(struct text data, struct peer_frame *frame_out,
                                     size_t *used_out);

void peer_frame_write(struct buffer *out, enum peer_frame_type type, struct text payload);

/* ---- the ends: blocking, each call within its deadline ---- */

struct peer_stream {
    int fd;
    int64_t until_ms; /* clock_now_ms(): nothing takes longer */
    size_t start, len;
    char buffer[PEER_FRAME_HEAD + PEER_FRAME_LIMIT];
};

/* Where the keeper of a database listens, below the state folder of the site. */
#define PEER_DATABASE_SOCKET "run/database/keeper.sock"
/* And the process `acme`. */
#define PEER_ACME_SOCKET "run/acme/acme.sock"
/* And the process `monitor`: for agents, and for people. */
#define PEER_MONITOR_SOCKET "run/monitor/monitor.sock"
#define PEER_COMMAND_SOCKET "run/monitor/command.sock"
/* And the process `log`. */
#define PEER_LOGS_SOCKET "run/log/log.sock"
/* And `firewall`. */
#define PEER_FIREWALL_SOCKET "run/firewall/firewall.sock"

/* The answer to who asks for the server that it is on; peer_connect() goes there directly. */
#define PEER_IS_HERE "is this server itself"

/* Connects to PEER_STATUS, PEER_DATABASE, PEER_ACME, PEER_MONITOR, PEER_COMMANDS or PEER_LOGS of a
 * server (this one's database and monitor too) through the process `peer` of this one. state: the
 * site's folder. Only for root, the parent's user and the uids of the database, of acme and of the
 * agent, which get to their own kind only. *why begins with the server's name. */
MUST_CHECK enum err peer_connect(struct text state, struct text server, enum peer_service service,
                                 int64_t timeout_ms, struct peer_stream *stream_out,
                                 struct why *why);

/* The same to PEER_DATABASE, PEER_ACME, PEER_MONITOR, PEER_COMMANDS or PEER_LOGS of this server,
 * without `peer`. */
MUST_CHECK enum err peer_connect_here(struct text state, enum peer_service service,
                                      int64_t timeout_ms, struct peer_stream *stream_out,
                                      struct why *why);

/* Begins on a descriptor that is a connection already (the side that answers). Takes it over. */
void peer_stream_init(struct peer_stream *stream, int fd, int64_t timeout_ms);
void peer_stream_close(struct peer_stream *stream);
void peer_stream_extend(struct peer_stream *stream, int64_t timeout_ms);

MUST_CHECK enum err peer_send(struct peer_stream *stream, enum peer_frame_type type,
                              struct text payload);

/* The next frame; its payload is valid until the next call. ERR_CLOSED: the stream broke. */
MUST_CHECK enum err peer_receive(struct peer_stream *stream, struct peer_frame *frame_out);

/* Bytes as they are, for PEER_STATUS: OK with 0 in *got_out at the end. */
MUST_CHECK enum err peer_read(struct peer_stream *stream, char *data, size_t size, size_t *got_out);

struct peer_announcement {
    uint64_t epoch;
    struct text primary; /* the server */
    int64_t hold_ms;     /* how long to begin nothing new on it (PEER_HOLD_LIMIT_MS); 0: no hold */
    int64_t drain_ms;    /* each server answers when its SQL proxy has nothing open on the primary
                            any more, after this time at the latest (PEER_DRAIN_LIMIT_MS); 0: at
                            once */
};

struct peer_heard {
    size_t taken;  /* servers that took it in time */
    uint64_t open; /* sessions of SQL proxies with something still open on the primary */
};

/* Tells all servers of the site (this one too) at once which database is the primary. timeout_ms
 * comes on top of drain_ms. */
struct peer_heard peer_announce(struct text state, const struct site *site,
                                const struct peer_announcement *announcement, int64_t timeout_ms);

#endif
