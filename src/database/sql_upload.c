/*
 * Counts packets of a client until the last one.
 */
#include "database/sql_upload.h"

static void end_packet(struct sql_upload *upload, size_t len)
{
    bool was_continued = upload->is_continued;
    upload->is_continued = len == SQL_PACKET_MOST;
    upload->is_done = upload->is_file ? len == 0 && !was_continued : !upload->is_continued;
}

size_t sql_upload_read(struct sql_upload *upload, struct text data)
{
    size_t at = 0;
    while (at < data.len && !upload->is_done) {
        if (upload->head_len < SQL_HEAD) {
            upload->head[upload->head_len++] = data.data[at++];
            if (upload->head_len < SQL_HEAD)
                continue;
            upload->left = sql_packet_length(upload->head);
        }
        size_t part = upload->left < data.len - at ? upload->left : data.len - at;
        at += part;
        upload->left -= part;
        if (upload->left == 0) {
            upload->head_len = 0;
            end_packet(upload, sql_packet_length(upload->head));
        }
    }
    return at;
}
