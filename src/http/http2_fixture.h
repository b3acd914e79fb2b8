#ifndef HTTP_HTTP2_FIXTURE_H
#define HTTP_HTTP2_FIXTURE_H

/* For tests: a client of HTTP/2 (nghttp2's) on a connection of the server's fixture. */

#include "http/server_fixture.h"

#include <nghttp2/nghttp2.h>

enum { ANSWERS = 512 };

struct answer {
    int status;
    size_t bytes;    /* of the body */
    char start[32];  /* of the body, with a NUL */
    char length[24]; /* Content-Length */
    char server[16];
    char trailer[16]; /* X-End */
    uint32_t code;    /* of a reset */
    bool is_reset;
    bool is_whole;  /* had its END_STREAM */
    bool is_closed; /* ended in some way */
    int order;      /* the first that ended has 1 */
};

struct client2 {
    struct client wire;
    nghttp2_session *session;
    struct answer answers[ANSWERS]; /* of stream 1, 3, 5 ... */
    size_t upload_left;             /* of the body that is being sent */
    bool is_upload_held;            /* sends no more of it */
    const char *trailer;            /* X-End behind it; NULL: none */
    int closed;
    bool has_goaway;
    uint32_t goaway_code;
};

/* window: of each stream and the connection for what the server sends; 0: 1 MiB, taken up as it
 * comes; else it is never enlarged. */
bool client2_open(struct client2 *client, struct fixture *fixture, uint32_t window);
void client2_close(struct client2 *client);
/* Asks; body_bytes < 0: no body. length: a Content-Length of that, NULL: none. Returns the stream.
 */
int32_t client2_ask(struct client2 *client, const char *method, const char *path,
                    ssize_t body_bytes, const char *length);
/* Any fields, as they are. */
int32_t client2_ask_fields(struct client2 *client, const char *const (*fields)[2], size_t count,
                           bool has_body);
struct answer *client2_answer(struct client2 *client, int32_t stream);
/* Sends what is ready, takes what is there. */
void client2_turn(struct client2 *client);
/* Waits for the stream to be closed; returns its status, 0 when nothing came. */
int client2_wait(struct client2 *client, int32_t stream);
/* Waits for the end of the connection. */
bool client2_is_ended(struct client2 *client);

#endif
