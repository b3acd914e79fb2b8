#ifndef DATABASE_SECRETS_H
#define DATABASE_SECRETS_H

/* The application user's password: made, kept and handed on by the parent. */

#include "process/process.h"

enum { DATABASE_PASSWORD_LIMIT = 128 };

/* The role's prepare(). */
MUST_CHECK enum err database_prepare(struct generation *generation, struct why *why);

/* The password that prepare() handed to the database's process. */
MUST_CHECK enum err database_password(const struct generation *generation,
                                      char password_out[DATABASE_PASSWORD_LIMIT + 1]);

#endif
