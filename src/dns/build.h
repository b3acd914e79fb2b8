#ifndef DNS_BUILD_H
#define DNS_BUILD_H

/* The zone of a site: what the topology says, and the extra records of dns.records. */

#include "dns/zone.h"
#include "site/site.h"

/* *why names the place in the file. The caller frees the zone. */
MUST_CHECK enum err dns_zone_build(const struct site *site, uint32_t serial,
                                   struct dns_zone **zone_out, struct why *why);

#endif
