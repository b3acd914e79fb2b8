#ifndef FIREWALL_FIREWALL_H
#define FIREWALL_FIREWALL_H

/*
 * The firewall of a server: the packet filter of the kernel (nftables, the table `inet trilith`
 * alone), worked out from the site file. What the site does not need is closed in both directions.
 */

#include "process/process.h"

/* The descriptor that an edge maps with offenders_map(). */
#define FIREWALL_OFFENDERS "firewall.offenders"

extern const struct role firewall_role;

/* `trilith firewall ...`: the words behind "firewall"; returns the exit status. */
int firewall_command(int count, char **words);
extern const char firewall_usage[];

#endif
