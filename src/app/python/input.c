/*
 * wsgi.input over a body that is here already: in the slot, or in an unlinked file whose descriptor
 * the edge sends when the application reads for the first time. After the request it is empty.
 */
#include "app/python/worker.h"

#include "core/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { WINDOW_BYTES = 64 * 1024, WAIT_MS = 1000 };

struct input {
    PyObject_HEAD;
    struct answer *answer;     /* of its request */
    struct segment_slot *slot; /* NULL: its request is over */
    int file;
    int64_t length;
    int64_t at;
    char *window; /* of a file: bytes [window_at, window_at + window_len) */
    int64_t window_at;
    size_t window_len;
};

PyObject *input_new(struct answer *answer)
{
    struct input *self = PyObject_New(struct input, &Input_Type);
    if (self == NULL)
        return NULL;
    self->answer = answer;
    self->slot = answer->slot;
    self->file = -1;
    self->length = answer->slot->body_length;
    self->at = 0;
    self->window = NULL;
    self->window_at = 0;
    self->window_len = 0;
    return (PyObject *)self;
}

void input_detach(PyObject *input)
{
    struct input *self = (struct input *)input;
    self->slot = NULL;
    self->length = 0;
    self->at = 0;
    fd_close(&self->file);
    PyMem_RawFree(self->window);
    self->window = NULL;
}

static void input_free(PyObject *self)
{
    input_detach(self);
    PyObject_Free(self);
}

/* ---- the descriptor of a large body ---- */

/* The socket is one for all threads of the worker: who receives the descriptor of another thread's
 * request lays it down in that one's lane. An entry is the ticket (40 bits) of the request that
 * waits and the descriptor + 1 (24 bits; 0: not here yet), so that both change at once. */
enum { FILE_BITS = 24, FILE_MASK = (1 << FILE_BITS) - 1 };

#define NOTHING UINT64_MAX

static struct {
    PyThread_type_lock lock; /* of the socket; never held without a time limit */
    _Atomic uint64_t lanes[SEGMENT_THREADS_LIMIT];
} arrivals;

/* Takes what came for a lane and gives it another entry. -1: nothing came. */
static int exchange_arrival(size_t lane, uint64_t entry)
{
    uint64_t old = atomic_exchange(&arrivals.lanes[lane], entry);
    return old == NOTHING ? -1 : (int)(old & FILE_MASK) - 1;
}

static bool has_arrived(size_t lane)
{
    uint64_t entry = atomic_load(&arrivals.lanes[lane]);
    return entry != NOTHING && (entry & FILE_MASK) != 0;
}

int input_setup(void)
{
    if (arrivals.lock == NULL)
        arrivals.lock = PyThread_allocate_lock();
    for (size_t i = 0; i < SEGMENT_THREADS_LIMIT; i++)
        atomic_store(&arrivals.lanes[i], NOTHING);
    return arrivals.lock != NULL ? 0 : -1;
}

/* One packet: the ticket of a request and the descriptor of its body. -1: none came in time. */
static int receive_packet(uint64_t *ticket, int64_t timeout_ms)
{
    bool is_empty;
    struct timeval timeout = { .tv_sec = timeout_ms / 1000 };
    setsockopt(worker.file_socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return sys_receive_fd(worker.file_socket, ticket, sizeof(*ticket), 0, &is_empty);
}

/* Gives the descriptor to the lane that waits for it, if any does. */
static void lay_down(uint64_t ticket, int fd)
{
    uint64_t here = ticket << FILE_BITS | ((uint64_t)fd + 1);
    for (size_t i = 0; fd >= 0 && i < worker.lane_count; i++) {
        uint64_t waits = ticket << FILE_BITS;
        if (atomic_compare_exchange_strong(&arrivals.lanes[i], &waits, here))
            return;
    }
    fd_close(&fd); /* of an earlier request that did not wait for it */
}

/* Waits for the lane's descriptor, at most timeout_ms. Without the interpreter's lock. */
static void await_descriptor(size_t lane, int64_t timeout_ms)
{
    uint64_t told = 0;
    if (PyThread_acquire_lock_timed(arrivals.lock, timeout_ms * 1000, 0) != PY_LOCK_ACQUIRED)
        return;
    if (!has_arrived(lane)) {
        int received = receive_packet(&told, timeout_ms);
        lay_down(told, received);
    }
    PyThread_release_lock(arrivals.lock);
}

/* -1 with an exception when nobody wants the answer any more. */
static int wait_for_file(struct input *self, size_t lane)
{
    while (!has_arrived(lane)) {
        if (answer_is_cancelled(self->answer)) {
            PyErr_SetString(PyExc_BrokenPipeError, "the client went away");
            return -1;
        }
        Py_BEGIN_ALLOW_THREADS;
        await_descriptor(lane, WAIT_MS);
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
    return 0;
}

static int open_file(struct input *self)
{
    size_t lane = (size_t)(answer_lane(self->answer) - worker.lanes);
    uint64_t ticket = segment_slot_ticket(&worker.segment, self->answer->number);
    /* it waits before it asks: another thread may receive the answer at once */
    int stale = exchange_arrival(lane, ticket << FILE_BITS);
    fd_close(&stale);
    atomic_store(&self->slot->wants_file, 1);
    answer_flush(self->answer);
    int result = wait_for_file(self, lane);
    int file = exchange_arrival(lane, NOTHING);
    if (result < 0)
        fd_close(&file);
    self->file = file;
    return result;
}

/* ---- reading ---- */

static int read_file(struct input *self, char *out, size_t len, int64_t offset)
{
    size_t done = 0;
    ssize_t got = 0;
    if (self->file < 0 && open_file(self) < 0)
        return -1;
    Py_BEGIN_ALLOW_THREADS;
    do {
        got = sys_pread(self->file, out + done, len - done, offset + (int64_t)done);
        done += got > 0 ? (size_t)got : 0;
    } while (got > 0 && done < len);
    Py_END_ALLOW_THREADS;
    if (done == len)
        return 0;
    if (got == 0)
        errno = EIO;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static bool is_in_memory(const struct input *self)
{
    return self->slot != NULL && self->slot->body_is_file == 0;
}

/* The unread part that is at hand, at least a byte of it if there is any. */
static int peek(struct input *self, struct text *out)
{
    *out = T("");
    if (self->slot == NULL || self->at >= self->length)
        return 0;
    if (is_in_memory(self)) {
        *out = text_from((const char *)self->slot->request + self->slot->body_offset + self->at,
                         (size_t)(self->length - self->at));
        return 0;
    }
    if (self->window == NULL)
        self->window = PyMem_RawMalloc(WINDOW_BYTES);
    if (self->window == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (self->at >= self->window_at + (int64_t)self->window_len || self->at < self->window_at) {
        int64_t left = self->length - self->at;
        size_t len = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        if (read_file(self, self->window, len, self->at) < 0)
            return -1;
        self->window_at = self->at;
        self->window_len = len;
    }
    size_t skip = (size_t)(self->at - self->window_at);
    *out = text_from(self->window + skip, self->window_len - skip);
    return 0;
}

static PyObject *read_bytes(struct input *self, int64_t size)
{
    int64_t left = self->slot != NULL ? self->length - self->at : 0;
    if (size < 0 || size > left)
        size = left;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (bytes == NULL || size == 0)
        return bytes;
    char *out = PyBytes_AS_STRING(bytes);
    if (is_in_memory(self)) {
        memcpy(out, self->slot->request + self->slot->body_offset + self->at, (size_t)size);
    } else if (read_file(self, out, (size_t)size, self->at) < 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    self->at += size;
    return bytes;
}

/* A number, or -1 for None, nothing and negative ones. */
static int size_argument(PyObject *const *arguments, Py_ssize_t count, int64_t *size)
{
    *size = -1;
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "wants at most one argument");
        return -1;
    }
    if (count == 0 || arguments[0] == Py_None)
        return 0;
    *size = PyLong_AsLongLong(arguments[0]);
    if (*size == -1 && PyErr_Occurred())
        return -1;
    return 0;
}

static PyObject *input_read(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    int64_t size;
    if (size_argument(arguments, count, &size) < 0)
        return NULL;
    return read_bytes((struct input *)self, size);
}

/* Bytes up to and with the next line end, at most size (-1: any). */
static PyObject *read_line(struct input *self, int64_t size)
{
    PyObject *line = PyBytes_FromStringAndSize(NULL, 0);
    while (line != NULL && size != 0) {
        struct text seen;
        if (peek(self, &seen) < 0) {
            Py_CLEAR(line);
            break;
        }
        if (size >= 0)
            seen = text_part(seen, 0, (size_t)size);
        ssize_t end = text_find(seen, '\n');
        if (end >= 0)
            seen = text_part(seen, 0, (size_t)end + 1);
        if (seen.len == 0)
            break;
        PyBytes_ConcatAndDel(&line, PyBytes_FromStringAndSize(seen.data, (Py_ssize_t)seen.len));
        self->at += (int64_t)seen.len;
        size = size >= 0 ? size - (int64_t)seen.len : -1;
        if (end >= 0)
            break;
    }
    return line;
}

static PyObject *input_readline(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    int64_t size;
    if (size_argument(arguments, count, &size) < 0)
        return NULL;
    return read_line((struct input *)self, size);
}

static PyObject *input_next(PyObject *self)
{
    PyObject *line = read_line((struct input *)self, -1);
    if (line != NULL && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

static PyObject *input_readlines(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    int64_t hint, total = 0;
    if (size_argument(arguments, count, &hint) < 0)
        return NULL;
    PyObject *lines = PyList_New(0);
    while (lines != NULL && (hint <= 0 || total < hint)) {
        PyObject *line = read_line((struct input *)self, -1);
        bool is_end = line != NULL && PyBytes_GET_SIZE(line) == 0;
        if (line == NULL || (!is_end && PyList_Append(lines, line) < 0))
            Py_CLEAR(lines);
        total += line != NULL ? PyBytes_GET_SIZE(line) : 0;
        Py_XDECREF(line);
        if (is_end)
            break;
    }
    return lines;
}

static PyMethodDef methods[] = {
    { "read", (PyCFunction)(void (*)(void))input_read, METH_FASTCALL,
      "read(size=-1): that many bytes, or all that is left." },
    { "readline", (PyCFunction)(void (*)(void))input_readline, METH_FASTCALL,
      "readline(size=-1): one line." },
    { "readlines", (PyCFunction)(void (*)(void))input_readlines, METH_FASTCALL,
      "readlines(hint=-1): the lines that are left." },
    { NULL, NULL, 0, NULL },
};

PyTypeObject Input_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_trilith.Input",
    .tp_basicsize = sizeof(struct input),
    .tp_dealloc = input_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = input_next,
    .tp_methods = methods,
    .tp_doc = "wsgi.input of PEP 3333",
};
