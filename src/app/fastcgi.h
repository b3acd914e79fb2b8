#ifndef APP_FASTCGI_H
#define APP_FASTCGI_H

/*
 * FastCGI records, version 1, as a web server speaks it to a responder: one request at a time per
 * connection, always with the request id 1. Pure: bytes in, bytes out.
 */

#include "core/buffer.h"

enum { FASTCGI_HEAD_BYTES = 8, FASTCGI_CONTENT_LIMIT = 65535 };

/* ---- what is sent ---- */

/* keep: the responder leaves the connection open after its answer. */
void fastcgi_write_begin(struct buffer *out, bool keep);

/* Parameters, in as many records as they need. A pair is never divided between two records: php
 * reads each record on its own. */
struct fastcgi_params {
    struct buffer *out;
    size_t record; /* offset of the open record in *out */
    bool is_full;  /* a pair did not fit into a record: nothing may be sent */
};

void fastcgi_params_begin(struct fastcgi_params *params, struct buffer *out);
void fastcgi_params_add(struct fastcgi_params *params, struct text name, struct text value);
/* With the empty record that ends them. False: is_full, or the buffer's limit. */
bool fastcgi_params_end(struct fastcgi_params *params);

/* The head of a piece of the body; len (at most FASTCGI_CONTENT_LIMIT) bytes follow. 0: its end. */
void fastcgi_write_stdin(struct buffer *out, size_t len);

/* ---- what comes back ---- */

enum fastcgi_item {
    FASTCGI_MORE,   /* all input is used */
    FASTCGI_STDOUT, /* a piece of the answer, a slice of the input */
    FASTCGI_STDERR, /* a piece of what it says to the log */
    FASTCGI_END,    /* complete; app_status and protocol_status are set */
    FASTCGI_BAD,    /* not FastCGI; `problem` says why */
};

struct fastcgi_reader {
    uint8_t head[FASTCGI_HEAD_BYTES]; /* private up to has_ended */
    uint8_t end[8];
    size_t head_len;
    size_t content_left;
    size_t content_at;
    size_t padding_left;
    bool has_ended;
    uint32_t app_status;
    uint8_t protocol_status; /* 0: it was served */
    const char *problem;
};

/* Takes bytes from the front of *input; call again until MORE, END or BAD. After END only the
 * padding of that record may follow. */
enum fastcgi_item fastcgi_read(struct fastcgi_reader *reader, struct text *input,
                               struct text *data_out);

#endif
