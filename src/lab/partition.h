#ifndef LAB_PARTITION_H
#define LAB_PARTITION_H

/* A partition: two groups of machines that do not hear each other, while everybody else hears both.
 * nftables rules in the lab's own room, on the bridges and on the router. */

#include "lab/plan.h"

/* Names separated by commas. Replaces a partition that is there. Needs the program nft. */
MUST_CHECK enum err partition_start(const struct lab_plan *plan, struct text group,
                                    struct text other, struct why *why);
MUST_CHECK enum err partition_end(struct why *why);

/* The ruleset as text for nft; a name that is not known, or is in both groups, is refused. */
MUST_CHECK enum err partition_rules(const struct lab_plan *plan, struct text group,
                                    struct text other, struct buffer *out, struct why *why);

#endif
