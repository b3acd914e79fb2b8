#ifndef APP_PYTHON_WORKER_H
#define APP_PYTHON_WORKER_H

/*
 * The parts of the Python extension `_trilith`, which runs inside the site's own interpreter:
 *
 *   module.c    what the Python modules call: map the segment, look after the table of workers
 *   serve.c     the loop of a worker: claim a request, call the application, send its answer
 *   environ.c   environ table -> dict
 *   input.c     wsgi.input
 *   answer.c    start_response, write, and the records of the answer
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "app/segment.h"

/* The answer that is being made. One per process: a worker runs one request at a time. */
struct answer {
    struct segment_slot *slot; /* NULL between two requests */
    size_t number;             /* of the slot */
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

struct worker {
    struct segment segment;
    int bells[SEGMENT_EDGES_LIMIT];
    size_t bell_count;
    size_t index;
    int control;     /* eventfd of the zygote; -1: none */
    int file_socket; /* descriptors of large bodies come here; -1: none */
    bool is_stray;   /* a child that the application forked: it must not answer */
    struct answer answer;
    PyObject *keys[KEY_COUNT];
    bool is_tail_slow; /* this application works on after its last byte: do not let clients wait */
    bool is_slow;      /* its last request took longer than a wake-up may be put off */
    size_t unrung;     /* finished requests the edge was not woken for */
    int64_t unrung_since_us;
};

extern struct worker worker;

/* ---- answer.c ---- */

extern PyTypeObject StartResponse_Type;

/* New start_response of the current request. */
PyObject *start_response_new(void);
/* Later calls of it fail: its request is over. */
void start_response_detach(PyObject *start_response);

void answer_begin(size_t slot);

/* All of these return -1 with a Python exception set; answer_is_cancelled tells when the reason is
 * only that nobody wants the answer any more. */
int answer_send(struct text data); /* head first if it was not sent */
int answer_finish(int64_t known_length);
bool answer_is_cancelled(void);
void answer_fail(void); /* never raises */

/* Lets the edge see what is there now. */
void answer_flush(void);

/* ---- environ.c ---- */

int environ_setup(void);
/* A new environ: a copy of the template with what is in the slot's table and the given input. */
PyObject *environ_new(PyObject *template, const struct segment_slot *slot, PyObject *input);

/* ---- input.c ---- */

extern PyTypeObject Input_Type;

PyObject *input_new(struct segment_slot *slot);
void input_detach(PyObject *input);

/* ---- serve.c ---- */

void worker_ring(size_t edge);
/* After segment_finish: asks the zygote for a follower when this worker's limit is reached. */
void worker_ask_follower(void);
PyObject *worker_serve(PyObject *module, PyObject *arguments);

#endif
