#ifndef SITE_ALERTS_H
#define SITE_ALERTS_H

/*
 * Who is told when something is wrong, and what counts as wrong: `alerts:` of `monitor:`. Part of
 * site.h. Without a word of it the defaults hold and alerts are seen on the page and by
 * `trilith alerts` only.
 */

#include "site/pool.h"

enum site_receiver_kind { RECEIVER_WEBHOOK, RECEIVER_COMMAND, RECEIVER_MAIL };

struct site_receiver {
    enum site_receiver_kind kind;
    struct text url;  /* webhook: http(s)://...; mail: smtp(s)://HOST[:PORT] */
    struct text host; /* of the url, and its port: what a firewall has to let out */
    int64_t port;
    struct text *arguments; /* command: the program (absolute) and its arguments */
    size_t argument_count;
    struct text *to; /* mail: addresses, at least one */
    size_t to_count;
    struct text from;
    struct text user;          /* empty: the mail server is not logged in to */
    struct text password_file; /* absolute; its contents are secret */
    struct site_place place;
};

enum site_severity { SEVERITY_WARNING, SEVERITY_CRITICAL };

/* One of the file's own: an alert when a value stays beyond a limit. */
struct site_rule {
    struct text name;
    struct text series; /* "cpu.busy"; one '*' stands for any part of a name */
    struct site_on on;
    bool is_below;    /* bad is what is below the limit, not above it */
    double limit;     /* in the unit of the series */
    double clear;     /* good again on this side of it */
    int64_t quantile; /* percent, of a histogram; 0: the value itself */
    int64_t for_ms;   /* so long it must last */
    int64_t severity; /* enum site_severity */
    struct site_place place;
};

struct site_alerts {
    struct site_receiver *receivers;
    size_t receiver_count;
    struct text ca_file;   /* absolute: whose signature webhooks and mail servers must show; empty:
                              the system's list */
    int64_t silent_ms;     /* a server that says nothing for so long */
    int64_t errors;        /* percent of answers with 5xx */
    int64_t latency_ms;    /* of the slowest percent of requests */
    int64_t disk;          /* percent used */
    int64_t memory;        /* percent used */
    int64_t lag_ms;        /* of a replica */
    int64_t certificate_s; /* until the soonest one ends */
    struct text *off;      /* names of defaults that are not wanted */
    size_t off_count;
    struct site_rule *rules;
    size_t rule_count;
};

enum { ALERTS_RECEIVERS = 16, ALERTS_RULES = 256 };

/* The names of the defaults, for `off:`; ended by NULL. src/monitor/rule.c has a rule for each. */
extern const char *const alerts_defaults[];

#endif
