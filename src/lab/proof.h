#ifndef LAB_PROOF_H
#define LAB_PROOF_H

/* The proof that a lab works: a real request, and the way it took. */

#include "lab/plan.h"

#include <jansson.h>

/* Asks for the site's page from the client of the lab whose control socket is in `run`; `folder` is
 * the lab's. Takes up to some seconds. An object of its own: {"url", "scheme", "id", "status" (0:
 * no answer), "us", "resolver", "address", "error", "path": [{"server", "by", "us"}]}; NULL: the
 * site has no page, or the lab is gone. */
json_t *lab_prove(const struct lab_plan *plan, const char *run, const char *folder);

/* For people. */
void lab_print_proof(const json_t *proof);

#endif
