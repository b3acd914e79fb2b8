#ifndef FIREWALL_TALK_H
#define FIREWALL_TALK_H

/*
 * Private to firewall: what is said to the process `firewall` of a server, in frames of
 * process/peer.h, from this server by run/firewall/firewall.sock and from others through `peer`:
 *
 *   COMMAND show | list | probe | verify   ─► (NOTE...) DATA (JSON), ANSWER
 *   COMMAND [also] ban ADDRESS SECONDS WHY ─► ANSWER; but for `also` the other servers are told
 *   COMMAND [also] unban ADDRESS           ─► ANSWER
 *   COMMAND knock SERVER TOKEN             ─► ANSWER, after a connection back to SERVER worked
 *   COMMAND here TOKEN                     ─► ANSWER: that is what I am waiting for
 *
 * Each connection is answered by a process of its own, which has a copy of all that the firewall
 * knows at the moment; a ban goes from there to the firewall itself.
 */

#include "firewall/bans.h"
#include "firewall/rules.h"
#include "process/peer.h"

enum {
    TALK_TOKEN_SIZE = 33,
    TALK_MS = 5000,
    TALK_VERIFY_MS = 60000,
    TALK_JSON_LIMIT = 4 << 20,
    TALK_WORDS_LIMIT = 512,
};

enum talk_verb {
    TALK_SHOW,
    TALK_LIST,
    TALK_PROBE,
    TALK_VERIFY,
    TALK_BAN,
    TALK_UNBAN,
    TALK_KNOCK,
    TALK_HERE,
};

struct talk_command {
    enum talk_verb verb;
    bool is_also;       /* ban and unban: another server tells it, nobody else is to be told */
    struct network who; /* of ban and unban */
    int64_t seconds;
    struct text why;
    struct text server; /* of knock */
    struct text token;
};

/* Pure, fuzzed. The texts are slices of the words. ERR_SYNTAX, ERR_RANGE: a ban that is too long.
 */
MUST_CHECK enum err talk_parse(struct text words, struct talk_command *command_out);

/* What a session asks of the firewall itself, in one packet with the socket for the answer. */
struct talk_wish {
    bool is_ban; /* else unban */
    struct network who;
    int64_t seconds;
    char why[BAN_WHY_SIZE];
};
struct talk_verdict {
    enum err err;
    char why[256];
};

/* The copy that a session works with. */
struct talk {
    const struct generation *generation;
    const struct firewall_plan *plan;
    const struct firewall_counts *counts;
    const struct bans *bans;
    const char *token; /* that peers are to bring; empty: none */
    const char *state; /* a word: "enforced" */
    int wishes;        /* SEQPACKET to the firewall */
    struct peer_stream *stream;
};

/* Answers one connection: one command. */
void talk_serve(struct talk *talk);

/* show.c: who was refused lately (or would have been); port: a number in words. */
void refused_each(void (*each)(void *context, const char *direction, const char *address,
                               const char *protocol, const char *port),
                  void *context);

/* show.c: the JSON texts. */
void show_write(const struct talk *talk, struct buffer *out);
void list_write(const struct talk *talk, struct buffer *out);

/* probe.c: what of all servers and declared ports can be connected to from here, as JSON lines:
 * [{"to":"web-01","protocol":"tcp","port":80,"result":"open"}]. */
void probe_write(const struct firewall_plan *plan, struct buffer *out);
/* The same from all servers, and what should be: {"from","to","protocol","port","result",
 * "declared","verdict"}. ERR_STATE: something is open that should not be, or shut that should be
 * open. */
MUST_CHECK enum err verify_write(struct talk *talk, struct buffer *out, struct why *why);

/* Asks one server: its DATA goes to *data_out (may be NULL). */
MUST_CHECK enum err talk_ask(struct text state, struct text server, struct text words,
                             int64_t timeout_ms, struct buffer *data_out, struct why *why);

#endif
