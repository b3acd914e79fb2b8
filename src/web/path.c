/*
 * Paths: prefix rules, what may be seen, and the one place that opens files for outsiders. The
 * kernel keeps the walk below the folder (openat2, RESOLVE_BENEATH), so no check here can be raced.
 * Where openat2 is missing (a sandbox may hide it) the walk is done one segment at a time with
 * O_NOFOLLOW, and links are then never followed.
 */
#include "web/path.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct text without_end_slashes(struct text path)
{
    while (path.len > 0 && path.data[path.len - 1] == '/')
        path.len--;
    return path;
}

bool web_path_has_prefix(struct text path, struct text prefix)
{
    prefix = without_end_slashes(prefix);
    if (!text_starts_with(path, prefix))
        return false;
    return path.len == prefix.len || path.data[prefix.len] == '/';
}

struct text web_path_rest(struct text path, struct text prefix)
{
    struct text rest = text_skip(path, without_end_slashes(prefix).len);
    while (rest.len > 0 && rest.data[0] == '/')
        rest = text_skip(rest, 1);
    return rest;
}

bool web_path_is_public(struct text rest, bool is_root)
{
    if (rest.len >= PATH_MAX || text_find(rest, '\0') >= 0)
        return false;
    bool is_first = true;
    while (rest.len > 0) {
        struct text segment = text_next(&rest, '/');
        bool is_well_known = is_first && is_root && text_equal(segment, T(".well-known"));
        if (text_starts_with(segment, T(".")) && !is_well_known)
            return false;
        is_first = false;
    }
    return true;
}

static int open_beneath(int folder, const char *path, bool symlinks, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (symlinks ? 0 : RESOLVE_NO_SYMLINKS),
    };
    enum { TRIES = 8 }; /* EAGAIN: a rename somewhere raced with the walk (openat2(2)) */
    long fd = -1;
    for (int i = 0; i < TRIES; i++) {
        fd = syscall(SYS_openat2, folder, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return (int)fd;
}

/* One segment at a time, no link followed. */
static int open_walking(int folder, const char *path, int flags)
{
    int common = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
    struct text rest = text_of(path);
    int at = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    while (at >= 0) {
        char name[NAME_MAX + 1];
        struct text segment = text_next(&rest, '/');
        bool is_last = rest.data == NULL;
        if (segment.len == 0 && !is_last)
            continue;
        if (text_equal(segment, T("..")) || !text_copy_to(segment, name, sizeof(name))) {
            fd_close(&at);
            errno = segment.len > NAME_MAX ? ENAMETOOLONG : EXDEV;
            return -1;
        }
        int next = openat(at, segment.len > 0 ? name : ".",
                          common | (is_last ? flags : O_PATH | O_DIRECTORY));
        int error = errno;
        fd_close(&at);
        errno = error;
        if (is_last)
            return next;
        at = next;
    }
    return -1;
}

int web_path_open(int folder, const char *path, bool symlinks, int flags)
{
    int fd = open_beneath(folder, path, symlinks, flags);
    if (fd < 0 && errno == ENOSYS)
        fd = open_walking(folder, path, flags);
    return fd;
}

static bool is_unreserved(char c)
{
    bool is_letter = text_lower(c) >= 'a' && text_lower(c) <= 'z';
    return is_letter || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

void web_path_encode(struct buffer *out, struct text path)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < path.len; i++) {
        uint8_t byte = (uint8_t)path.data[i];
        if (is_unreserved((char)byte) || byte == '/') {
            buffer_append_byte(out, byte);
            continue;
        }
        buffer_append_byte(out, '%');
        buffer_append_byte(out, (uint8_t)digits[byte >> 4]);
        buffer_append_byte(out, (uint8_t)digits[byte & 15]);
    }
}

static struct text html_entity(char c)
{
    switch (c) {
    case '&':
        return T("&amp;");
    case '<':
        return T("&lt;");
    case '>':
        return T("&gt;");
    case '"':
        return T("&quot;");
    case '\'':
        return T("&#39;");
    default:
        return (struct text){ NULL, 0 };
    }
}

void web_html_escape(struct buffer *out, struct text text)
{
    size_t start = 0;
    for (size_t i = 0; i < text.len; i++) {
        struct text entity = html_entity(text.data[i]);
        if (entity.len == 0)
            continue;
        buffer_append(out, text_part(text, start, i - start));
        buffer_append(out, entity);
        start = i + 1;
    }
    buffer_append(out, text_skip(text, start));
}
