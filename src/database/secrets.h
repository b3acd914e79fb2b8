#ifndef DATABASE_SECRETS_H
#define DATABASE_SECRETS_H

/*
 * The passwords of the database's accounts: made, kept and handed on by the parent, as sealed
 * memory files of the generation:
 *
 *   database.password        the application's
 *   database.account.NAME    the others' of a tier ("database.account.agent")
 *
 * A site of one server has a random one in its secrets folder; those of a tier are derived from the
 * site's key, on every server of the site.
 */

#include "database/tier.h"
#include "process/process.h"

/* The role's prepare(). Also writes the value of DATABASE_URL, secrets/database-url. */
MUST_CHECK enum err database_prepare(struct generation *generation, struct why *why);

/* The application's password that prepare() handed on; works on every server of a tier. */
MUST_CHECK enum err database_password(const struct generation *generation,
                                      char password_out[DATABASE_PASSWORD_LIMIT + 1]);

/* The password of any account. ERR_MISSING: this process did not get it. */
MUST_CHECK enum err database_account_password(const struct generation *generation,
                                              enum database_account account,
                                              char password_out[DATABASE_PASSWORD_LIMIT + 1]);

#endif
