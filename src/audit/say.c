/*
 * What `trilith audit` and `trilith draw` do alike, see say.h.
 */
#include "audit/say.h"

#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct site *say_site(const char *path)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    if (site_load(path, &site, &mistakes) != OK)
        (void)!sys_write(STDERR_FILENO, mistakes.text.data, mistakes.text.len);
    site_mistakes_done(&mistakes);
    return site;
}

int say_usage(const char *name, const char *problem)
{
    fprintf(stderr, "trilith %s: %s; see: trilith %s --help\n", name, problem, name);
    return SAY_USAGE;
}

bool say(const struct buffer *out)
{
    if (out->failed)
        fprintf(stderr, "trilith: there is too much to print\n");
    else if (sys_write_all(STDOUT_FILENO, buffer_text(out)) != OK)
        fprintf(stderr, "trilith: cannot write to standard output: %s\n", strerror(errno));
    else
        return true;
    return false;
}

char **say_words(const char *name, int count, char **words)
{
    char **all = memory_new_array((size_t)count + 2, sizeof(*all));
    all[0] = (char *)name;
    for (int i = 0; i < count; i++)
        all[i + 1] = words[i];
    return all;
}

bool say_has_colour(int fd)
{
    const char *no = getenv("NO_COLOR");
    return isatty(fd) && (no == NULL || no[0] == '\0');
}
