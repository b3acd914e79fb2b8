/*
 * From the path of a request to a script, a file or nothing, by looking below the folder of
 * documents. What the kernel finds there never lies outside of it, but for links that root made.
 *
 *   /wp-admin/a.php/b  an existing script, with PATH_INFO /b
 *   /style.css         an existing file, unless its source must stay secret
 *   /wp-admin/         its index.php
 *   anything else      the front script
 */
#include "app/php_private.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Files that php or the web server reads as instructions; their source is nobody's business. */
static const char *const secret_ends[] = { ".php",  ".php3",  ".php4", ".php5", ".php7",
                                           ".php8", ".phtml", ".phar", ".phps", ".inc" };

/* The mode of what is there, 0: nothing. */
static mode_t look(int documents, struct text path, struct arena *arena)
{
    struct text name = arena_print(arena, "%.*s", FMT(text_skip(path, 1)));
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH };
    struct stat info;
    if (name.data == NULL || name.len != path.len - 1)
        return 0;
    AUTO(fd_close)
    int fd =
        (int)syscall(SYS_openat2, documents, name.len > 0 ? name.data : ".", &how, sizeof(how));
    return fd >= 0 && fstat(fd, &info) == 0 ? info.st_mode : 0;
}

static bool has_end(struct text name, const char *end)
{
    struct text wanted = text_of(end);
    return name.len >= wanted.len &&
           text_equal_fold(text_skip(name, name.len - wanted.len), wanted);
}

static bool is_secret(struct text path)
{
    for (size_t i = 0; i < COUNT(secret_ends); i++)
        if (has_end(path, secret_ends[i]))
            return true;
    return false;
}

/* ".git", ".htaccess": not for anybody; ".well-known" at the root is. */
static bool is_hidden(struct text path)
{
    struct text rest = text_skip(path, 1);
    bool is_first = true;
    while (rest.data != NULL) {
        struct text segment = text_next(&rest, '/');
        if (text_starts_with(segment, T(".")) &&
            !(is_first && text_equal(segment, T(".well-known"))))
            return true;
        is_first = false;
    }
    return false;
}

/* The first part of the path that is a script. */
static bool find_script(int documents, struct text path, struct arena *arena,
                        struct php_place *place)
{
    for (size_t end = 1; end <= path.len; end++) {
        if (end < path.len && path.data[end] != '/')
            continue;
        struct text part = text_part(path, 0, end);
        if (!text_ends_with(part, T(".php")) || !S_ISREG(look(documents, part, arena)))
            continue;
        *place = (struct php_place){ PLACE_SCRIPT, part, text_skip(path, end) };
        return true;
    }
    return false;
}

static struct php_place find_front(int documents, struct text front, struct arena *arena)
{
    struct php_place place = { .kind = PLACE_NONE };
    struct text script = arena_print(arena, "/%.*s", FMT(front));
    if (front.len == 0 || script.data == NULL || !S_ISREG(look(documents, script, arena)))
        return place;
    place.kind = PLACE_SCRIPT;
    place.script = script;
    return place;
}

static struct php_place find_in_folder(int documents, struct text path, struct text front,
                                       struct arena *arena)
{
    bool has_slash = text_ends_with(path, T("/"));
    struct text slash = has_slash ? T("") : T("/");
    struct text index = arena_print(arena, "%.*s%.*sindex.php", FMT(path), FMT(slash));
    struct text page = arena_print(arena, "%.*s%.*sindex.html", FMT(path), FMT(slash));
    if (index.data == NULL || page.data == NULL)
        return (struct php_place){ .kind = PLACE_NONE };
    bool has_index = S_ISREG(look(documents, index, arena));
    if (!has_index && !S_ISREG(look(documents, page, arena)))
        return find_front(documents, front, arena);
    if (!has_slash)
        return (struct php_place){ .kind = PLACE_FOLDER };
    return has_index ? (struct php_place){ PLACE_SCRIPT, index, T("") }
                     : (struct php_place){ .kind = PLACE_FILE };
}

struct php_place php_place_find(int documents, struct text path, struct text front,
                                struct arena *arena)
{
    struct php_place place = { .kind = PLACE_NONE };
    if (!text_starts_with(path, T("/")) || text_find(path, '\0') >= 0 || is_hidden(path))
        return place;
    if (find_script(documents, path, arena, &place))
        return place;
    mode_t mode = look(documents, path, arena);
    if (S_ISDIR(mode))
        return find_in_folder(documents, path, front, arena);
    if (S_ISREG(mode) && !text_ends_with(path, T("/"))) {
        place.kind = is_secret(path) ? PLACE_NONE : PLACE_FILE;
        return place;
    }
    return find_front(documents, front, arena);
}
