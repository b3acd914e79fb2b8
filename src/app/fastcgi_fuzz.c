/* What php-fpm sends: records in any pieces, and the head inside of them. */
#include "app/fastcgi.h"
#include "app/php_head.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_head(struct text text)
{
    struct php_head head;
    struct text name, value;
    size_t from = 0, sum = 0;
    ssize_t end = php_head_end(text, &from);
    if (end < 0)
        return;
    if ((size_t)end > text.len)
        abort();
    if (php_head_parse(text_part(text, 0, (size_t)end), &head) != NULL)
        return;
    if (head.status < 200 || head.status > 599 || head.content_length < -1)
        abort();
    while (php_head_next(&head, &name, &value))
        sum += name.len + value.len;
    if (sum > (size_t)end)
        abort();
}

/* The first byte is the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fastcgi_reader reader = { 0 };
    struct buffer out = buffer_of(PHP_HEAD_LIMIT);
    size_t step = size > 0 && data[0] > 0 ? data[0] : 1, taken = 0;
    for (size_t at = 1; at < size; at += step) {
        struct text input = text_part(text_from((const char *)data, size), at, step), piece;
        enum fastcgi_item item;
        while ((item = fastcgi_read(&reader, &input, &piece)) == FASTCGI_STDOUT ||
               item == FASTCGI_STDERR) {
            taken += piece.len;
            if (piece.len == 0 || taken > size)
                abort();
            if (item == FASTCGI_STDOUT)
                buffer_append(&out, piece);
        }
        if (item == FASTCGI_BAD && reader.problem == NULL)
            abort();
    }
    read_head(buffer_text(&out));
    buffer_done(&out);
    return 0;
}
