#ifndef LAB_LAB_H
#define LAB_LAB_H

/*
 * The lab: the whole topology of a site on one machine, each server in a network namespace with its
 * own address, running exactly what runs in production.
 */

/* `trilith lab ...`: the words behind "lab". Returns the exit status: 0 done, 1 it failed, 2 wrong
 * usage, 3 no such lab runs; for `exec` that of the program. */
int lab_command(int count, char **words);

/* What `trilith help lab` prints. */
extern const char lab_usage[];

#endif
