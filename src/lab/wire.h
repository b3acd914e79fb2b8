#ifndef LAB_WIRE_H
#define LAB_WIRE_H

/*
 * A bad cable: a process that carries each packet between two links of the room by hand, late, not
 * at all, or not faster than a rate. Only links that are impaired have one; the others are plain.
 */

#include "core/error.h"
#include "core/text.h"

#include <stdatomic.h>
#include <sys/types.h>

/* What a cable does to packets, each way. Shared memory: changes take effect with the next packet.
 */
struct wire_settings {
    _Atomic int64_t delay_us; /* one way; 0: none */
    _Atomic int64_t rate_bps; /* bits per second; 0: any */
    _Atomic uint32_t loss;    /* lost packets in a million */
};

struct wire {
    struct wire_settings *settings; /* mapped; NULL: no wire */
    pid_t pid;
};

/* "delay=20ms loss=1% rate=10mbit", in any order, each at most once; what is not named is 0. */
MUST_CHECK enum err wire_parse(struct text text, struct wire_settings *settings, struct why *why);

/* Starts to carry packets between the links `near` and `far` of the calling process' network
 * namespace. */
MUST_CHECK enum err wire_start(struct wire *wire, const char *near, const char *far,
                               struct why *why);
void wire_set(struct wire *wire, const struct wire_settings *settings);
void wire_stop(struct wire *wire); /* accepts one that does not run; its process is to be reaped */

#endif
