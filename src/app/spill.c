/* See spill.h. Writing goes to the page cache; the file has no name and is gone with its last
 * descriptor. */
#include "app/spill.h"

#include "core/sys.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* A file without a name, also where O_TMPFILE is not known. */
static int open_file(const char *folder)
{
    char path[4096];
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct buffer name = { .data = path, .capacity = sizeof(path), .limit = sizeof(path) };
    if (file >= 0)
        return file;
    buffer_append(&name, text_of(folder));
    buffer_append(&name, T("/answer-XXXXXX\0"));
    file = name.failed ? -1 : mkostemp(path, O_CLOEXEC);
    if (file >= 0)
        unlink(path);
    return file;
}

enum err spill_put(struct spill *spill, const char *folder, struct text data)
{
    if (spill->file < 0) {
        spill->file = open_file(folder != NULL ? folder : "/tmp");
        spill->length = 0;
    }
    while (data.len > 0) {
        ssize_t done = sys_pwrite(spill->file, data.data, data.len, spill->length);
        if (done <= 0)
            return ERR_SYSTEM;
        spill->length += done;
        data = text_skip(data, (size_t)done);
    }
    return OK;
}

void spill_send(struct spill *spill, struct http_exchange *exchange, bool is_last)
{
    int file = spill->file;
    spill->file = -1;
    http_response_file(exchange, file, true, 0, spill->length, is_last);
}

void spill_done(struct spill *spill)
{
    fd_close(&spill->file);
}
