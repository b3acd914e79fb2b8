#ifndef MONITOR_INTAKE_H
#define MONITOR_INTAKE_H

/*
 * The monitor's sockets. On run/monitor/monitor.sock agents send frames, each the one of its
 * server: those of other servers come through the process `peer`. On run/monitor/command.sock
 * people ask and command (`trilith alerts`); from other servers through `peer`, too.
 *
 * Time: a frame is of the second that its agent's clock said. Where that clock is off by more than
 * a second and a half for some frames in a row, the difference is added from then on, so that all
 * servers' curves have one time: the monitor's.
 */

#include "core/loop.h"
#include "monitor/now.h"
#include "process/process.h"

struct intake;

struct intake_calls {
    void *context;
    /* A frame is in server->table; second: of the monitor's clock. */
    void (*frame)(void *context, struct now_server *server, int64_t second);
    /* Answers a command ("alerts silence ..."); what it writes is the text of the answer. An error:
     * of the refusal. NULL: there are no commands. */
    enum err (*command)(void *context, struct text line, struct buffer *answer);
};

/* In the parent: opens both sockets. */
MUST_CHECK enum err intake_prepare(struct generation *generation, struct why *why);

struct intake *intake_new(struct loop *loop, struct now *now, const struct intake_calls *calls);

/* Listens for this generation, whose servers `now` has already, from now on. Connections stay. */
MUST_CHECK enum err intake_use(struct intake *intake, const struct generation *generation,
                               struct why *why);

#endif
