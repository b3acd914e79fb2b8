#ifndef MONITOR_ALERT_PRIVATE_H
#define MONITOR_ALERT_PRIVATE_H

/* Between alert.c, alert_cause.c and alert_save.c. */

#include "monitor/alert.h"

/* The alert of that rule and element, made when there is none; NULL: too many, or too long. */
struct alert *alert_book_add(struct alert_book *book, struct text rule, struct text element);

/* What could be the cause of something in this turn. */
struct alert_causes {
    const struct rules *rules;
    const struct rule_look *look;
    const struct alert **list; /* owned */
    size_t count;
};

void alert_causes_init(struct alert_causes *causes, const struct alert_book *book,
                       const struct rules *rules, const struct rule_look *look);
void alert_causes_done(struct alert_causes *causes);

enum alert_verdict {
    VERDICT_TELL,   /* nothing else is the cause */
    VERDICT_LISTED, /* under alert->cause */
    VERDICT_WAIT,   /* it may turn out to be a consequence */
};

/* Sets alert->cause. */
enum alert_verdict alert_judge(const struct alert_causes *causes, struct alert *alert);

#endif
