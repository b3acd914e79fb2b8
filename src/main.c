/* The only file that lists roles and commands. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    static const struct role *const roles[] = { NULL };
    return cli_main(argc, argv, roles);
}
