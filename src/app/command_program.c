/*
 * The program of a `command` application: where it is.
 */
#include "app/command_private.h"

#include <stdio.h>
#include <sys/stat.h>

void command_search_path(const struct site_app *app, struct buffer *out)
{
    static const char *const own[] = { "node_modules/.bin", "venv/bin", ".venv/bin" };
    for (size_t i = 0; i < COUNT(own); i++)
        buffer_print(out, "%.*s/%s:", FMT(app->root), own[i]);
    buffer_append(out, T("/usr/local/bin:/usr/bin:/bin"));
}

static bool is_program(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & 0111) != 0;
}

enum err command_program_find(const struct site_app *app, char *out, size_t size, struct why *why)
{
    struct text name = app->arguments[0];
    AUTO(buffer_done) struct buffer folders = buffer_of(4 * 4096);
    if (text_find(name, '/') >= 0) {
        bool is_absolute = name.data[0] == '/';
        int len = is_absolute ? snprintf(out, size, "%.*s", FMT(name))
                              : snprintf(out, size, "%.*s/%.*s", FMT(app->root), FMT(name));
        if (len < 0 || (size_t)len >= size)
            return fail(why, ERR_LIMIT, "the path of its program is too long");
        if (is_program(out))
            return OK;
        return fail(why, ERR_NOT_FOUND,
                    "there is no program '%s'; correct `command:`, or make the file executable "
                    "(chmod +x)",
                    out);
    }
    command_search_path(app, &folders);
    struct text rest = buffer_text(&folders);
    while (rest.len > 0) {
        struct text folder = text_next(&rest, ':');
        int len = snprintf(out, size, "%.*s/%.*s", FMT(folder), FMT(name));
        if (len > 0 && (size_t)len < size && is_program(out))
            return OK;
    }
    return fail(why, ERR_NOT_FOUND,
                "there is no program '%.*s' in %.*s; install it, or write its path in `command:`",
                FMT(name), FMT(buffer_text(&folders)));
}
