#ifndef DATABASE_SQL_UPLOAD_H
#define DATABASE_SQL_UPLOAD_H

/*
 * Finds the end of what a client sends in many packets: a command of more than 16 MiB, or the file
 * of LOAD DATA LOCAL, which ends with an empty packet. Pure; may be cut anywhere.
 */

#include "database/sql_packet.h"

struct sql_upload {
    bool is_file;
    bool is_done;
    bool is_continued; /* the packet goes on in the next one */
    uint8_t head_len;
    char head[SQL_HEAD];
    size_t left; /* of the packet's body */
};

static inline struct sql_upload sql_upload_of(bool is_file)
{
    return (struct sql_upload){ .is_file = is_file };
}

/* How many bytes of data belong to it: less than all only when it is done. */
size_t sql_upload_read(struct sql_upload *upload, struct text data);

#endif
