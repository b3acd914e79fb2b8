#ifndef LAB_TRUST_H
#define LAB_TRUST_H

/*
 * The client of a lab trusts the site's own CA, as a visitor would who was given its certificate:
 * curl and whatever else reads the system's bundle, and Chromium by a policy of its own.
 *
 *   client/ca.pem                 the CA, also for programs outside
 *   client/ca-certificates.crt    the system's bundle and the CA
 *   client/chromium/...           what /etc/chromium is there
 */

#include "lab/machine.h"

/* Writes these, for a site whose certificates are by its own CA; else nothing. The lab's key must
 * be there. */
MUST_CHECK enum err lab_trust_write(const struct machine_setup *setup,
                                    const struct machine *machine, struct why *why);

/* In the client's own mount namespace: puts them where programs look. */
void lab_trust_place(const struct machine *machine);

#endif
