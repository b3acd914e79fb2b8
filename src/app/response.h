#ifndef APP_RESPONSE_H
#define APP_RESPONSE_H

/*
 * The edge's reader of an answer in a slot's ring. The worker that writes there runs somebody's
 * application and may be broken or hostile: each length is copied once and checked before use, and
 * the head is copied out before it is looked at (the worker could change it meanwhile).
 */

#include "app/segment.h"

enum response_item {
    RESPONSE_NONE, /* nothing there yet */
    RESPONSE_HEAD,
    RESPONSE_BODY,
    RESPONSE_FILE, /* data: struct segment_file */
    RESPONSE_END,
    RESPONSE_ERROR,   /* the application failed */
    RESPONSE_ACCEPT,  /* like RESPONSE_HEAD, of a WebSocket; MESSAGE and CLOSE come behind it */
    RESPONSE_MESSAGE, /* see message_kind */
    RESPONSE_CLOSE,
    RESPONSE_BAD, /* not what a worker of ours writes: give the request up */
};

struct response_reader {
    struct segment_slot *slot;
    uint64_t taken; /* our own count; the one in the segment is only told to the worker */
    uint64_t next;  /* taken after the piece that was returned last */
    bool has_head;
    bool has_ended;
    bool is_bad;
    bool is_socket;
    bool must_knock;                       /* the worker waits for the room that was made */
    enum segment_record_kind message_kind; /* RECORD_TEXT ... of the last RESPONSE_MESSAGE */
};

struct response_reader response_reader_of(struct segment_slot *slot);

/* The next piece; *data (for HEAD and BODY) lies in shared memory until response_took. */
enum response_item response_next(struct response_reader *reader, struct text *data);

/* The piece is used: its room goes back to the worker. */
void response_took(struct response_reader *reader);

/* A head, from a private copy. Headers are read one by one; is_bad says that it ended early. */
struct response_head {
    int status;
    int64_t content_length; /* -1: not known */
    uint32_t headers_left;
    struct text rest;
    bool is_bad;
};

struct response_head response_head_of(struct text copy);
bool response_head_next(struct response_head *head, struct text *name, struct text *value);

#endif
