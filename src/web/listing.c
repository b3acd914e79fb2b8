/*
 * Folder listing: one self-contained page, folders first, names in order, sizes for people, times
 * in UTC. Names come from the disk and may hold anything: they are escaped for HTML and encoded for
 * the link, and a link starts with "./" so that no name can be taken for a scheme.
 */
#include "web/listing.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "web/path.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { LISTING_LIMIT = 10000 }; /* entries; reading more would hold up the loop */

struct entry {
    char *name;
    bool is_folder;
    int64_t size;
    int64_t modified_s;
};

struct entries {
    struct entry *items;
    size_t count;
    size_t capacity;
    bool is_cut;
};

static void entries_done(struct entries *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        memory_free(entries->items[i].name);
    memory_free(entries->items);
}

static int entry_compare(const void *a, const void *b)
{
    const struct entry *first = a, *second = b;
    if (first->is_folder != second->is_folder)
        return first->is_folder ? -1 : 1;
    return strcmp(first->name, second->name);
}

static void entries_add(struct entries *entries, const char *name, const struct stat *info)
{
    if (entries->count == entries->capacity) {
        entries->capacity = entries->capacity > 0 ? entries->capacity * 2 : 64;
        entries->items = memory_resize(entries->items, entries->capacity * sizeof(*entries->items));
    }
    entries->items[entries->count++] = (struct entry){
        .name = memory_copy_string(name),
        .is_folder = S_ISDIR(info->st_mode),
        .size = info->st_size,
        .modified_s = info->st_mtim.tv_sec,
    };
}

static void entries_read(struct entries *entries, DIR *stream, bool symlinks)
{
    for (struct dirent *at = readdir(stream); at != NULL; at = readdir(stream)) {
        struct stat info;
        if (at->d_name[0] == '.')
            continue;
        if (fstatat(dirfd(stream), at->d_name, &info, symlinks ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))
            continue;
        if (entries->count == LISTING_LIMIT) {
            entries->is_cut = true;
            return;
        }
        entries_add(entries, at->d_name, &info);
    }
}

static void size_print(struct buffer *out, int64_t size)
{
    static const char *const units[] = { "KB", "MB", "GB", "TB" };
    if (size < 1000) {
        buffer_print(out, "%lld B", (long long)size);
        return;
    }
    double scaled = (double)size / 1000;
    size_t unit = 0;
    for (; scaled >= 999.95 && unit + 1 < COUNT(units); unit++)
        scaled /= 1000;
    buffer_print(out, "%.1f %s", scaled, units[unit]);
}

static void entry_print(struct buffer *out, const struct entry *entry)
{
    char time[CLOCK_ISO_SIZE];
    clock_format_iso(entry->modified_s * 1000, time);
    buffer_append(out, T("<tr><td class=\""));
    buffer_append(out, entry->is_folder ? T("d") : T("f"));
    buffer_append(out, T("\"><a href=\"./"));
    web_path_encode(out, text_of(entry->name));
    buffer_append(out, entry->is_folder ? T("/\">") : T("\">"));
    web_html_escape(out, text_of(entry->name));
    buffer_append(out, entry->is_folder ? T("/</a></td><td>") : T("</a></td><td>"));
    if (!entry->is_folder)
        size_print(out, entry->size);
    /* 2026-11-21T10:26:49.123Z -> date and minutes */
    buffer_print(out, "</td><td><time datetime=\"%.16sZ\">%.10s %.5s</time></td></tr>\n", time,
                 time, time + 11);
}

static const char page_style[] =
    "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;"
    "max-width:60rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.3rem;font-weight:600;"
    "word-break:break-all}table{border-collapse:collapse;width:100%}"
    "td,th{padding:.35rem .5rem;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid #8883}td:first-child,th:first-child{text-align:left;width:100%;"
    "white-space:normal;word-break:break-all}th{font-weight:600;font-size:.85rem}"
    "td:not(:first-child){color:#777;font-variant-numeric:tabular-nums}"
    "a{text-decoration:none}a:hover{text-decoration:underline}.d a{font-weight:600}"
    "tr:hover td{background:#8881}</style>\n";

static void page_print(struct buffer *out, const struct entries *entries, struct text path)
{
    buffer_append(out, T("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                         "<meta name=\"viewport\" content=\"width=device-width\">\n<title>"));
    web_html_escape(out, path);
    buffer_append(out, T("</title>\n"));
    buffer_append(out, text_of(page_style));
    buffer_append(out, T("</head><body>\n<h1>"));
    web_html_escape(out, path);
    buffer_append(out, T("</h1>\n<table><thead><tr><th>Name</th><th>Size</th>"
                         "<th>Changed (UTC)</th></tr></thead><tbody>\n"));
    if (path.len > 1)
        buffer_append(out, T("<tr><td class=\"d\"><a href=\"../\">../</a></td><td></td><td></td>"
                             "</tr>\n"));
    for (size_t i = 0; i < entries->count; i++)
        entry_print(out, &entries->items[i]);
    buffer_append(out, T("</tbody></table>\n"));
    if (entries->is_cut)
        buffer_print(out, "<p>Only the first %d entries are shown.</p>\n", LISTING_LIMIT);
    buffer_append(out, T("</body></html>\n"));
}

bool web_listing_write(struct buffer *out, int folder, struct text path, bool symlinks)
{
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy >= 0 ? fdopendir(copy) : NULL;
    if (stream == NULL) {
        fd_close(&copy);
        return false;
    }
    struct entries entries = { 0 };
    entries_read(&entries, stream, symlinks);
    closedir(stream);
    if (entries.count > 0)
        qsort(entries.items, entries.count, sizeof(*entries.items), entry_compare);
    page_print(out, &entries, path);
    entries_done(&entries);
    return !out->failed;
}
