#ifndef PROCESS_SANDBOX_H
#define PROCESS_SANDBOX_H

/* Private to process: what a process that only serves never asks the kernel for. */

/* From now on this process and its children get EPERM for running programs, tracing others,
 * mounting, loading code into the kernel and the like. For the roles that never become another
 * program. Does nothing where the kernel has no filters. */
void sandbox_enter(void);

#endif
