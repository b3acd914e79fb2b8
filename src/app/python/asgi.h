#ifndef APP_PYTHON_ASGI_H
#define APP_PYTHON_ASGI_H

/*
 * ASGI in the extension: one worker runs many requests in the event loop that asgi.py started.
 *
 *   asgi_turn.c     once per turn of the loop: take requests, look at notices, ring the edges
 *   asgi_request.c  one request: the coroutine that its Task runs, from its start to its end
 *   asgi_scope.c    table in the slot -> scope
 *   asgi_wait.c     what receive() and send() return: awaitables that are done at once if they can
 *   asgi_receive.c  http.request, websocket.receive, the disconnects
 *   asgi_send.c     http.response.*
 *   asgi_socket.c   websocket.*
 */

#include "app/python/worker.h"

#include "core/list.h"

struct asgi_request {
    PyObject_HEAD;
    struct list link;          /* in asgi.active; in no list when it is over */
    struct segment_slot *slot; /* NULL: nobody waits for its answer any more */
    size_t number;             /* of the slot */
    uint64_t ticket;
    int64_t started_us;
    PyObject *coroutine; /* the application's; NULL when it has ended */
    PyObject *task;
    PyObject *scope;
    PyObject *waiters; /* list of futures of receive() and send(); NULL: none */
    void *sender;      /* the awaitable that has sent a part of its message */
    bool is_begun;     /* its first step was taken */
    bool is_socket;
    bool is_head_request;
    bool is_gone;    /* the client, or its patience */
    bool is_overdue; /* is_gone because of app.request-timeout */
    bool is_torn;    /* a message was given up in its middle: nothing can follow */
    bool is_slow_logged;
    /* receive */
    bool is_body_read; /* or websocket.connect was given */
    bool has_asked_file;
    int file; /* of a large body, -1: not (yet) */
    int64_t body_at;
    PyObject *message; /* WebSocket: the parts so far, a bytearray */
    uint64_t in_taken;
    /* send */
    bool is_started; /* http.response.start, or accepted */
    bool is_head_sent;
    bool is_ended;
    bool is_accepted; /* WebSocket: it is open; else this is an HTTP answer */
    bool has_no_body;
    int64_t length; /* Content-Length, -1: not given */
    int64_t given;
    char *head; /* encoded, until the first body; PyMem */
    size_t head_len;
};

struct asgi {
    PyObject *application;
    PyObject *create_future;
    PyObject *call_soon;
    PyObject *task_type;
    PyObject *task_names; /* ("loop",) */
    PyObject *loop;
    PyObject *template_http;
    PyObject *template_socket;
    PyObject *state; /* of lifespan; NULL: none */
    PyObject *report;
    PyObject *on_retire;
    PyObject *turn;   /* asgi_turn as a callable */
    PyObject *gone;   /* the OSError that send() raises when the client is gone */
    bool strips_root; /* the application expects `path` without `root_path` */
    struct list active;
    size_t load;     /* of it, those with a slot */
    size_t sockets;  /* of these, open WebSockets */
    size_t starting; /* tasks that have not run yet */
    bool is_turn_due;
    bool is_retiring;
    uint32_t seen_notices;
    bool is_unrung[SEGMENT_EDGES_LIMIT];
    size_t unrung;
    int64_t unrung_since_us;
};

extern struct asgi asgi;

/* Interned strings. */
#define ASGI_NAME_LIST(X)                                                                          \
    X(type, "type")                                                                                \
    X(http_version, "http_version")                                                                \
    X(method, "method")                                                                            \
    X(scheme, "scheme")                                                                            \
    X(path, "path")                                                                                \
    X(raw_path, "raw_path")                                                                        \
    X(query_string, "query_string")                                                                \
    X(headers, "headers")                                                                          \
    X(client, "client")                                                                            \
    X(server, "server")                                                                            \
    X(state, "state")                                                                              \
    X(subprotocols, "subprotocols")                                                                \
    X(ws, "ws")                                                                                    \
    X(wss, "wss")                                                                                  \
    X(body, "body")                                                                                \
    X(more_body, "more_body")                                                                      \
    X(status, "status")                                                                            \
    X(text, "text")                                                                                \
    X(bytes, "bytes")                                                                              \
    X(code, "code")                                                                                \
    X(reason, "reason")                                                                            \
    X(subprotocol, "subprotocol")                                                                  \
    X(http_request, "http.request")                                                                \
    X(http_disconnect, "http.disconnect")                                                          \
    X(response_start, "http.response.start")                                                       \
    X(response_body, "http.response.body")                                                         \
    X(socket_connect, "websocket.connect")                                                         \
    X(socket_receive, "websocket.receive")                                                         \
    X(socket_disconnect, "websocket.disconnect")                                                   \
    X(socket_accept, "websocket.accept")                                                           \
    X(socket_send, "websocket.send")                                                               \
    X(socket_close, "websocket.close")                                                             \
    X(socket_response_start, "websocket.http.response.start")                                      \
    X(socket_response_body, "websocket.http.response.body")                                        \
    X(set_result, "set_result")                                                                    \
    X(done, "done")                                                                                \
    X(cancel, "cancel")                                                                            \
    X(await_, "__await__")                                                                         \
    X(throw_, "throw")                                                                             \
    X(close, "close")

struct asgi_names {
#define X(name, text) PyObject *name;
    ASGI_NAME_LIST(X)
#undef X
};

extern struct asgi_names asgi_names;

/* One step of a receive() or send(). */
enum asgi_step {
    ASGI_DONE, /* *result_out is a new reference */
    ASGI_WAIT, /* again after asgi_wake */
    ASGI_FAIL, /* an exception is set */
};

/* ---- asgi_turn.c ---- */

/* What is in the request's slot is for the edge to see, soon. */
void asgi_tell(size_t slot);
PyObject *asgi_module_start(PyObject *module, PyObject *arguments);
PyObject *asgi_module_knocked(PyObject *module, PyObject *nothing);
PyObject *asgi_module_turn(PyObject *module, PyObject *nothing);
PyObject *asgi_module_active(PyObject *module, PyObject *nothing);
PyObject *asgi_module_file(PyObject *module, PyObject *nothing);
PyObject *asgi_module_close_sockets(PyObject *module, PyObject *nothing);
void asgi_tell_load(void);

/* ---- asgi_request.c ---- */

extern PyTypeObject AsgiRequest_Type;

/* Starts what is in a slot that this worker has claimed. Reports what goes wrong itself. */
void asgi_request_start(size_t slot);
/* Looks at what the edge gave notice of. */
void asgi_request_notice(struct asgi_request *request);
/* The slot is not ours any more. */
void asgi_request_detach(struct asgi_request *request);
/* Its receive() and send() look again. */
void asgi_wake(struct asgi_request *request);

/* ---- asgi_scope.c ---- */

int asgi_scope_setup(void);
PyObject *asgi_scope_new(const struct segment_slot *slot);

/* ---- asgi_wait.c ---- */

extern PyTypeObject AsgiAwaitable_Type;
extern PyMethodDef asgi_receive_method, asgi_send_method;

/* ---- asgi_receive.c ---- */

enum asgi_step asgi_receive(struct asgi_request *request, PyObject **result_out);

/* ---- asgi_send.c ---- */

/* sent: bytes of this message that went out in earlier steps. */
enum asgi_step asgi_send(struct asgi_request *request, PyObject *message, size_t *sent);

/* Head of an answer (or of the acceptance) from status and headers, into request->head. */
int asgi_head_build(struct asgi_request *request, uint32_t status, PyObject *headers,
                    struct text subprotocol);
/* Appends a whole record; ASGI_WAIT when there is no room now. */
enum asgi_step asgi_put(struct asgi_request *request, enum segment_record_kind kind,
                        struct text data);
enum asgi_step asgi_fail_step(PyObject *type, const char *format, ...);
/* Type of a message, for errors. */
bool asgi_is(PyObject *string, PyObject *name);

/* ---- asgi_socket.c ---- */

enum asgi_step asgi_socket_send(struct asgi_request *request, PyObject *type, PyObject *message,
                                size_t *sent);
enum asgi_step asgi_socket_receive(struct asgi_request *request, PyObject **result_out);
/* The server's own close; nothing if it is closed or was never open. */
void asgi_socket_close(struct asgi_request *request, uint16_t code);

#endif
