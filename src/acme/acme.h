#ifndef ACME_ACME_H
#define ACME_ACME_H

/*
 * `certificate: acme`: a process that gets the site's certificate from a CA (RFC 8555) and gets
 * another one in time; see README.md.
 */

#include "process/process.h"

extern const struct role acme_role;

#endif
