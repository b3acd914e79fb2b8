#ifndef DNS_RECORD_H
#define DNS_RECORD_H

/* The data of a record from the text in the site file. */

#include "dns/zone.h"

/* 0 for a type that is not supported. */
uint16_t dns_type_of(struct text name);

/* Reads `value` for a record of that type into memory of the zone's arena. A host name in it is
 * taken as it is when it has a dot in it, else it is below the zone ("mail" is mail.foobar.com);
 * "@" is the zone itself. */
MUST_CHECK enum err dns_data_parse(const struct dns_zone *zone, uint16_t type, struct text value,
                                   struct dns_data *data_out, struct why *why);

/* A or AAAA data from an address; the type is returned (0: neither). */
struct address;
uint16_t dns_data_from_address(const struct dns_zone *zone, const struct address *address,
                               struct dns_data *data_out);

#endif
