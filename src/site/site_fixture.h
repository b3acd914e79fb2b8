#ifndef SITE_FIXTURE_H
#define SITE_FIXTURE_H

/* For tests of the site file: reading one that is good, and what is said about one that is not. */

#include "core/test.h"
#include "site/site.h"

/* The site of /etc/trilith/site.yaml with this text; NULL, and the test has failed, when there are
 * mistakes in it. site_free() it. */
struct site *site_parse_good(const char *source);

struct broken_site {
    const char *what; /* in the test's output */
    struct text source;
    const char *want; /* all that is said, a line per mistake */
};

/* Each is refused, with exactly these words. */
void check_broken_sites(const struct broken_site *sites, size_t count);

#endif
