/*
 * Reads the site's own error pages, once per generation, so that an error never needs the disk.
 */
#include "core/sys.h"
#include "web/mime.h"
#include "web/page.h"

#include <errno.h>
#include <string.h>

enum { PAGE_LIMIT = 256 << 10 };

static enum err page_read(struct web_page *page, int fd, const struct site_error_page *source,
                          struct arena *arena, struct why *why)
{
    char *data = arena_bytes(arena, PAGE_LIMIT + 1);
    size_t len = 0;
    if (data == NULL)
        return fail(why, ERR_LIMIT, "web.errors: the pages are too large together");
    while (len <= PAGE_LIMIT) {
        ssize_t got = sys_pread(fd, data + len, PAGE_LIMIT + 1 - len, (int64_t)len);
        if (got < 0)
            return fail(why, ERR_SYSTEM, "web.errors: cannot read '%.*s': %s", FMT(source->file),
                        strerror(errno));
        if (got == 0)
            break;
        len += (size_t)got;
    }
    if (len > PAGE_LIMIT)
        return fail(why, ERR_LIMIT, "web.errors: '%.*s' is larger than %d KiB; make it smaller",
                    FMT(source->file), PAGE_LIMIT >> 10);
    *page = (struct web_page){
        .status = (int)source->status,
        .type = web_mime_type(source->file),
        .body = text_from(data, len),
    };
    return OK;
}

enum err web_pages_load(struct web_pages *pages, const struct generation *generation,
                        struct arena *arena, struct why *why)
{
    const struct site_web *web = &generation->site->web;
    *pages = (struct web_pages){ 0 };
    if (web->error_count == 0)
        return OK;
    pages->items = arena_alloc(arena, web->error_count * sizeof(*pages->items));
    if (pages->items == NULL)
        return fail(why, ERR_LIMIT, "web.errors: too many pages");
    for (size_t i = 0; i < web->error_count; i++) {
        int fd = generation_fd(generation, "error.%d", (int)web->errors[i].status);
        if (fd < 0)
            return fail(why, ERR_MISSING, "web.errors: no descriptor for the page of status %d",
                        (int)web->errors[i].status);
        enum err err = page_read(&pages->items[i], fd, &web->errors[i], arena, why);
        if (err != OK)
            return err;
        pages->count++;
    }
    return OK;
}
