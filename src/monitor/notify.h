#ifndef MONITOR_NOTIFY_H
#define MONITOR_NOTIFY_H

/*
 * The process `notify`: gives notes of the monitor to receivers. Each is sent by a child of its own
 * that may take NOTIFY_SEND_MS and is killed then, so that nothing that a receiver does can keep
 * the others waiting. What is to be sent, and when again, the monitor decides (outbox.h); the two
 * share a pair of sockets that the parent keeps:
 *
 *   monitor ──"JOB RECEIVER NOTE"──► notify ──fork──► child ──HTTP, SMTP, program──► receiver
 *           ◄──"JOB[ TROUBLE]"──────
 */

#include "core/buffer.h"
#include "monitor/monitor.h"

enum {
    NOTIFY_SEND_MS = 10000,
    NOTIFY_TROUBLE_SIZE = 256,
    NOTIFY_MAIL_LIMIT = 65536,
};

/* ---- in the child (notify_send.c) ---- */

struct notify_task {
    const struct site *site;
    const struct site_receiver *receiver;
    struct text note;     /* JSON */
    struct text password; /* of the mail server */
    struct text trusted;  /* PEM; empty: the system's list */
};

/* Sends it, or becomes the program. Returns what went wrong; empty: it arrived. */
void notify_send(const struct notify_task *task, char trouble[NOTIFY_TROUBLE_SIZE]);

/* A whole mail, RFC 5322, out of a note. Pure. ERR_SYNTAX: that is no note. */
MUST_CHECK enum err notify_mail_write(const struct notify_task *task, int64_t wall_ms,
                                      struct buffer *out);

#endif
