#ifndef HTTP_SERVER_FIXTURE_H
#define HTTP_SERVER_FIXTURE_H

/* For tests of the server: a server on a real loop and clients on real loopback connections. */

#include "core/buffer.h"
#include "core/test.h"
#include "http/http1.h"

/* What the test handler does is chosen by the path; see server_fixture.c. */
struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_config config;
    struct http_handler handler;
    int listener;
    struct address address;
    /* what happened */
    int started;
    int aborted;
    int opened;
    int released;
    int configs_released;
    int records;
    struct http_record last; /* its texts are not valid any more */
    char last_id[33];
    char last_failure[64];
    int64_t full_at;            /* most bytes /big put before http_response_is_full */
    struct http_exchange *held; /* of /hold */
    struct http_filter filter;  /* of /filter */
    int file;                   /* of /file: 100000 bytes */
};

/* Some limits are small: head 1024, target 200, 8 headers, body 1 MiB. The times are long:
 * tests of deadlines set short ones. */
bool fixture_start(struct fixture *fixture, enum loop_backend backend);
void fixture_stop(struct fixture *fixture);
void fixture_set_times(struct fixture *fixture, int64_t ms);

/* A short while of loop turns. */
void fixture_turn(struct fixture *fixture, int64_t ms);
/* Turns until *counter is at least `least`, at most 10 s. */
bool fixture_wait(struct fixture *fixture, const int *counter, int least);

struct client {
    struct fixture *fixture;
    int fd;
    bool is_closed; /* the server ended the connection */
    bool was_reset;
    struct buffer input;
    size_t used;
    struct arena *arena;
    struct http1_response response;
    struct buffer body;
    struct http_headers trailers;
    bool is_whole; /* the body had its proper end */
};

bool client_open(struct client *client, struct fixture *fixture);
void client_close(struct client *client);
void client_send(struct client *client, struct text data);
/* A turn of the loop, then reads what is there into `input`. */
void client_pull(struct client *client);
/* Sends in pieces with loop turns between them. */
void client_trickle(struct client *client, struct text data, size_t piece);
void client_shut(struct client *client);
/* Reads the next answer: its status, 0 when none came or it is broken. */
int client_answer(struct client *client, enum http_method method);
struct text client_header(const struct client *client, enum http_field field);
/* Waits for the end of the connection; true when it came without another byte. */
bool client_is_ended(struct client *client);

/* Runs the test once per back end. */
#define TEST_BOTH(name)                                                                            \
    static void run_##name(enum loop_backend backend);                                             \
    TEST(name##_epoll)                                                                             \
    {                                                                                              \
        run_##name(LOOP_EPOLL);                                                                    \
    }                                                                                              \
    TEST(name##_uring)                                                                             \
    {                                                                                              \
        run_##name(LOOP_URING);                                                                    \
    }                                                                                              \
    static void run_##name(enum loop_backend backend)

#endif
