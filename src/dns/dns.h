#ifndef DNS_DNS_H
#define DNS_DNS_H

/*
 * Authoritative DNS for the site's zone: UDP and TCP on listen.dns, one process, every answer built
 * when the zone is loaded. Swaps to a new zone without losing a query or a connection.
 */

#include "process/process.h"

extern const struct role dns_role;

#endif
