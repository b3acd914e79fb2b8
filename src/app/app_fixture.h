#ifndef APP_APP_FIXTURE_H
#define APP_APP_FIXTURE_H

/* For tests: an application with real workers of the real interpreter behind a real HTTP server on
 * loopback, all in this process but the interpreter. */

#include "app/app.h"
#include "app/role_private.h"
#include "app/segment.h"
#include "core/test.h"

struct app_fixture {
    char folder[64]; /* temporary; has test_application.py */
    struct loop *loop;
    struct http_server *server;
    struct http_config config;
    struct site site;
    struct site_app app;
    struct site_route route;
    struct generation generation;
    struct process process;
    struct metrics metrics;
    struct http_handler *handler;
    int64_t idle_ms;
    int listener;
    struct address address;
    int channel;  /* the parent's end */
    int lifeline; /* the parent's end */
    pid_t zygote;
    char message[4096]; /* text of the last READY or FAILED */
    char workers[4096]; /* text of the last MESSAGE_WORKERS */
    char log_path[96];
};

struct app_options {
    const char *wsgi; /* default test_application:application */
    const char *ready;
    const char *mount;
    int workers;      /* default 2 */
    int queue;        /* default 100 */
    int request_ms;   /* default 10000 */
    int workers_most; /* default: workers */
    int max_requests;
    int memory_mib;
    int idle_ms; /* default 30000 */
    struct text *warm;
    int warm_count;
    int threads;  /* default 1 */
    int slow_ms;  /* default 0 */
    int grace_ms; /* default 500 */
};

/* Makes the generation and starts the zygote; the result of the start: MESSAGE_READY or
 * MESSAGE_FAILED, 0 when nothing came. */
int app_fixture_start(struct app_fixture *fixture, const struct app_options *options);
void app_fixture_stop(struct app_fixture *fixture);

/* Another zygote for the same generation, as after a crash. */
int app_fixture_start_zygote(struct app_fixture *fixture);

/* Reads messages until one of that type came, at most timeout_ms. False: none. */
bool app_fixture_message(struct app_fixture *fixture, int type, int64_t timeout_ms);
void app_fixture_send(struct app_fixture *fixture, int type);

void app_fixture_turn(struct app_fixture *fixture, int64_t ms);

/* A client's connection that has sent the request. */
int app_fixture_open(struct app_fixture *fixture, struct text request);
/* Sends more; turns the loop meanwhile. */
bool app_fixture_send_more(struct app_fixture *fixture, int fd, struct text data);
/* All bytes until the server closes (or timeout_ms), NUL-terminated; caller frees. */
char *app_fixture_read(struct app_fixture *fixture, int fd, int64_t timeout_ms, size_t *len_out);

/* GET of a path with Connection: close; the whole answer; caller frees with memory_free. */
char *app_fixture_get(struct app_fixture *fixture, const char *path);
/* Everything that was written to the log. */
char *app_fixture_log(struct app_fixture *fixture);

#endif
