#ifndef PROCESS_CLOSED_FOLDER_H
#define PROCESS_CLOSED_FOLDER_H

/*
 * Private to process. Folders below one that only root may pass, such as a clone in root's home:
 * the roles have uids of their own and could not reach their files.
 *
 * The parent then takes a mount namespace of its own, in which the closed folder is an empty, open
 * one that holds just the folders the site needs, at their usual paths. Nothing changes for the
 * rest of the machine, and the roles see less of the closed folder than before.
 */

#include "core/error.h"

enum { CLOSED_FOLDER_PATHS = 64 };

/* Makes the absolute folders passable for every user. Does nothing when they are already, or
 * without root. Inherited by all processes started afterwards. ERR_DENIED with what to do when a
 * folder itself is closed or the kernel gives us no mount namespace. */
MUST_CHECK enum err closed_folder_open_way(const char *const paths[], size_t count,
                                           struct why *why);

#endif
