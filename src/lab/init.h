#ifndef LAB_INIT_H
#define LAB_INIT_H

#include "lab/machine.h"

/* In the new process of a machine: becomes its first process. Does not return. */
_Noreturn void init_run(const struct machine_setup *setup, const struct machine *machine);

#endif
