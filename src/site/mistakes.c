/*
 * Collects the mistakes of a file and writes them sorted by place. Text from the file is shown cut
 * and without controls, so that a message is always one short line.
 */
#include "site/mistakes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static size_t path_write(const struct path *path, char *out, size_t size)
{
    if (path == NULL || path->parent == NULL)
        return 0;
    size_t at = path_write(path->parent, out, size);
    int written;
    char name[SHOWN_SIZE];
    if (at >= size)
        return size;
    if (text_is_empty(path->name))
        written = snprintf(out + at, size - at, "[%zu]", path->index);
    else
        written = snprintf(out + at, size - at, "%s%s", at > 0 ? "." : "", shown(path->name, name));
    return at + (written > 0 ? (size_t)written : 0);
}

void path_format(const struct path *path, char out[PATH_TEXT_SIZE])
{
    out[0] = '\0';
    path_write(path, out, PATH_TEXT_SIZE);
}

void mistakes_add(struct mistakes *mistakes, struct site_place place, const struct path *path,
                  const char *format, ...)
{
    char where[PATH_TEXT_SIZE];
    char message[1024];
    if (mistakes->count >= MISTAKES_KEPT) {
        mistakes->count++;
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    path_format(path, where);
    struct mistake *mistake = &mistakes->items[mistakes->count];
    mistake->place = place;
    mistake->number = mistakes->count++;
    mistake->text =
        arena_print(mistakes->arena, "%s%s%s", where, where[0] != '\0' ? ": " : "", message);
}

static int compare_mistakes(const void *left, const void *right)
{
    const struct mistake *a = left, *b = right;
    if (a->place.line != b->place.line)
        return a->place.line < b->place.line ? -1 : 1;
    if (a->place.column != b->place.column)
        return a->place.column < b->place.column ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

void mistakes_write(struct mistakes *mistakes, const char *file, struct site_mistakes *out)
{
    size_t kept = mistakes->count < MISTAKES_KEPT ? mistakes->count : MISTAKES_KEPT;
    qsort(mistakes->items, kept, sizeof(mistakes->items[0]), compare_mistakes);
    for (size_t i = 0; i < kept; i++) {
        const struct mistake *mistake = &mistakes->items[i];
        int line = mistake->place.line > 0 ? mistake->place.line : 1;
        int column = mistake->place.column > 0 ? mistake->place.column : 1;
        buffer_print(&out->text, "%s:%d:%d: %.*s\n", file, line, column, FMT(mistake->text));
    }
    if (mistakes->count > kept)
        buffer_print(&out->text, "%s: %zu more mistakes are not shown\n", file,
                     mistakes->count - kept);
    out->count += mistakes->count;
}

/* Length of the UTF-8 sequence that starts at `at`, 0 if it is broken. */
static size_t utf8_length(struct text text, size_t at)
{
    unsigned char first = (unsigned char)text.data[at];
    size_t length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || at + length > text.len)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)text.data[at + i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

const char *shown(struct text text, char out[SHOWN_SIZE])
{
    enum { LONGEST = 60 };
    size_t used = 0, at = 0;
    while (at < text.len) {
        size_t length = utf8_length(text, at);
        bool is_control = (unsigned char)text.data[at] < 0x20 || text.data[at] == 0x7f;
        if (used + 4 > LONGEST) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (length == 0 || is_control) {
            out[used++] = '?';
            at++;
            continue;
        }
        memcpy(out + used, text.data + at, length);
        used += length;
        at += length;
    }
    out[used] = '\0';
    return out;
}

struct text nearest(struct text wrong, const struct text *names, size_t count)
{
    enum { NAMES_TRIED = 256 }; /* a file may name thousands of servers and get each one wrong */
    struct text best = { NULL, 0 };
    size_t limit = wrong.len <= 3 ? 1 : wrong.len <= 6 ? 2 : 3;
    for (size_t i = 0; i < count && i < NAMES_TRIED; i++) {
        size_t longer = wrong.len > names[i].len ? wrong.len : names[i].len;
        if (longer - (wrong.len + names[i].len - longer) > limit)
            continue;
        size_t distance = text_distance(wrong, names[i], limit);
        if (distance > limit || distance >= names[i].len)
            continue;
        best = names[i];
        if (distance == 0)
            break;
        limit = distance - 1;
    }
    return best;
}
