#ifndef HEALTH_HEALTH_H
#define HEALTH_HEALTH_H

/*
 * The process `health`: looks at the backends of the pools that this server passes requests on to,
 * and notes on the health board (metrics/health.h) which are up. One event loop; no check waits for
 * another. Only on servers that have something to check.
 */

#include "process/process.h"

extern const struct role health_process_role;

#endif
