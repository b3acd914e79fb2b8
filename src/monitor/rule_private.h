#ifndef MONITOR_RULE_PRIVATE_H
#define MONITOR_RULE_PRIVATE_H

/* Between rule.c, rule_look.c and rule_say.c. */

#include "core/map.h"
#include "monitor/rule.h"

enum {
    RULES_FIRST_MS = 30000, /* a server may take so long until its first frame */
    RULES_SWEEP_TURNS = 60,
    RULES_KEEP_MS = 300000, /* what nobody asked for so long is forgotten */
};

/* What all servers together see of one backend or database in this turn. */
struct seen {
    uint64_t turn;
    int64_t used_ms;
    bool is_primary, is_replica, has_lag;
    bool is_own_up, is_own_down; /* by the server that it is on */
    unsigned up, down;           /* by how many others */
    double lag_ms;               /* the largest */
    /* kept from turn to turn: since when the lag grows as fast as time passes, and from what */
    int64_t stuck_ms;
    double stuck_lag_ms;
};

struct rules {
    const struct site *site;
    struct rule *list;
    size_t count;
    int64_t started_ms;
    uint64_t turn;
    struct map windows;  /* "RULE ELEMENT" -> struct counted */
    struct map restarts; /* "SERVER/TITLE" -> struct restarts */
    struct map seen;     /* "web/web-01" -> struct seen */
};

/* Fills rules->seen from the frames of this turn. */
void rules_see(struct rules *rules, const struct rule_look *look);
void rules_sweep(struct rules *rules, int64_t now_ms);

typedef void rule_looks(struct rules *rules, const struct rule *rule, const struct rule_look *look);
rule_looks rule_look_silent, rule_look_disk, rule_look_memory, rule_look_restarts,
    rule_look_database, rule_look_primary, rule_look_replication, rule_look_lag, rule_look_backend,
    rule_look_errors, rule_look_latency, rule_look_certificate, rule_look_own;

#endif
