/* The only file that lists roles and commands. */
#include "core/error.h"

#include <stdio.h>

int main(void)
{
    fprintf(stderr, "trilith: no command is built yet\n");
    return 1;
}
