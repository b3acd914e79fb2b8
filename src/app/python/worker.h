#ifndef APP_PYTHON_WORKER_H
#define APP_PYTHON_WORKER_H

/*
 * The parts of the Python extension `_trilith`, which runs inside the site's own interpreter:
 *
 *   module.c    what the Python modules call: map the segment, look after the table of workers
 *   serve.c     the loop of a worker: claim a request, call the application, send its answer
 *   environ.c   environ table -> dict
 *   input.c     wsgi.input
 *   file.c      wsgi.file_wrapper
 *   answer.c    start_response, write, and the records of the answer
 *   asgi*.c     the same for ASGI: asgi.h
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "app/segment.h"

/* The answer that is being made; one per thread that runs requests. */
struct answer {
    struct segment_slot *slot; /* NULL between two requests */
    size_t number;             /* of the slot */
    uint64_t serial;           /* of the request in this lane */
    bool is_head_request;
    bool has_no_body; /* HEAD, 204, 304 */
    bool is_started;  /* start_response was called */
    bool is_head_sent;
    bool is_ended;
    bool is_cut;      /* the application gave more than Content-Length */
    int64_t length;   /* Content-Length, -1: not given */
    int64_t given;    /* body bytes so far */
    int64_t whole_us; /* when the announced length was reached; 0: not yet */
    uint32_t status;
    uint32_t header_count;
    char *head; /* encoded headers, behind room for struct segment_head */
    size_t head_len;
    size_t head_capacity;
};

/* A thread that runs requests, one at a time: segment.h. */
struct lane {
    size_t number;        /* in the segment */
    unsigned long ident;  /* of its Python thread; 0: it does not run */
    uint64_t interrupted; /* ticket + 1 of the request that got its exception */
    struct answer answer;
    int64_t finished_us; /* its last request */
    bool is_slow;        /* that took so long that a wake-up is nothing beside it */
    size_t unrung;       /* finished requests the edge was not woken for */
    int64_t unrung_since_us;
};

struct worker {
    struct segment segment;
    int bells[SEGMENT_EDGES_LIMIT];
    size_t bell_count;
    int backs[SEGMENT_EDGES_LIMIT]; /* sockets: files for the edges */
    size_t back_count;
    size_t index;
    int knocks[SEGMENT_WORKERS_LIMIT]; /* eventfds of ASGI workers */
    size_t knock_count;
    int control;     /* eventfd of the zygote; -1: none */
    int file_socket; /* descriptors of large bodies come here; -1: none */
    bool is_stray;   /* a child that the application forked: it must not answer */
    struct lane lanes[SEGMENT_THREADS_LIMIT];
    size_t lane_count;
    PyObject *keys[KEY_COUNT];
    unsigned slow_tails; /* this application works on after its last byte: see watch_tail */
};

extern struct worker worker;

static inline struct lane *answer_lane(struct answer *answer)
{
    return (struct lane *)(void *)((char *)answer - offsetof(struct lane, answer));
}

/* ---- answer.c ---- */

extern PyTypeObject StartResponse_Type;

/* New start_response of a request. */
PyObject *start_response_new(struct answer *answer);
/* Later calls of it fail: its request is over. */
void start_response_detach(PyObject *start_response);

void answer_begin(struct answer *answer, size_t slot);

/* All of these return -1 with a Python exception set; answer_is_cancelled tells when the reason is
 * only that nobody wants the answer any more. */
int answer_send(struct answer *answer, struct text data); /* head first if it was not sent */
/* The whole body is in the file whose descriptor was sent, from there on. */
int answer_send_file(struct answer *answer, int64_t offset);
int answer_finish(struct answer *answer, int64_t known_length);
bool answer_is_cancelled(const struct answer *answer);
void answer_fail(struct answer *answer); /* never raises */

/* Lets the edge see what is there now, or in a millisecond if it naps. */
void answer_flush(const struct answer *answer);
/* The same for one who waits for the edge. */
void answer_ring(const struct answer *answer);

/* ---- environ.c ---- */

int environ_setup(void);
/* A new environ: a copy of the template with what is in the slot's table and the given input. */
PyObject *environ_new(PyObject *template, const struct segment_slot *slot, PyObject *input);

/* ---- input.c ---- */

extern PyTypeObject Input_Type;

PyObject *input_new(struct answer *answer);
void input_detach(PyObject *input);
int input_setup(void);

/* ---- file.c ---- */

extern PyTypeObject FileWrapper_Type;

int file_setup(void);
/* 1: the edge sends the file that this FileWrapper holds, and the answer is finished. 0: it must be
 * read. -1 with an exception. */
int file_hand_over(struct answer *answer, PyObject *wrapper);

/* ---- serve.c ---- */

void worker_ring(size_t edge);
/* After segment_finish: asks the zygote for a follower when this worker's limit is reached. */
void worker_ask_follower(void);
/* serve(application, template, report, lane): until the worker retires. */
PyObject *worker_serve(PyObject *module, PyObject *arguments);
/* interrupt(exception): raises it in every thread whose request is over its deadline. In the main
 * thread, which is told by a signal; when that itself runs such a request, it gets the exception as
 * the call's own. */
PyObject *worker_interrupt(PyObject *module, PyObject *exception);

#endif
