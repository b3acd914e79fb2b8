/*
 * The answer of a WSGI application: start_response (a C type, PEP 3333), the write() it returns,
 * and the records that go to the edge. The head is kept here, checked and encoded, until the first
 * body byte or the end, because the application may still replace it until then.
 */
#include "app/python/header.h"
#include "app/python/worker.h"

#include "core/clock.h"

#include <string.h>

enum { HEADER_COUNT_LIMIT = 256, WAIT_MS = 1000 };

/* ---- head ---- */

void answer_begin(struct answer *answer, size_t slot)
{
    char *head = answer->head;
    size_t capacity = answer->head_capacity;
    struct segment_slot *at = &worker.segment.slots[slot];
    uint64_t serial = answer->serial + 1;
    *answer = (struct answer){ .slot = at,
                               .serial = serial,
                               .number = slot,
                               .is_head_request = at->is_head != 0,
                               .length = -1,
                               .head = head,
                               .head_capacity = capacity,
                               .head_len = sizeof(struct segment_head) };
}

static int head_append(struct answer *answer, const void *data, size_t len)
{
    if (answer->head_len + len > SEGMENT_HEAD_LIMIT) {
        PyErr_Format(PyExc_ValueError, "the response headers are larger than %d bytes",
                     SEGMENT_HEAD_LIMIT);
        return -1;
    }
    if (answer->head_len + len > answer->head_capacity) {
        size_t capacity = (answer->head_len + len) * 2 + 1024;
        char *head = PyMem_RawRealloc(answer->head, capacity);
        if (head == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        answer->head = head;
        answer->head_capacity = capacity;
    }
    memcpy(answer->head + answer->head_len, data, len);
    answer->head_len += len;
    return 0;
}

/* The bytes of a native string that holds only Latin-1 (PEP 3333), or -1. */
static int latin1_of(PyObject *string, const char *what, struct text *out)
{
    if (!PyUnicode_Check(string)) {
        PyErr_Format(PyExc_TypeError, "%s must be a str, not %.100s", what,
                     Py_TYPE(string)->tp_name);
        return -1;
    }
#if PY_VERSION_HEX < 0x030c0000 /* always ready from 3.12 on */
    if (PyUnicode_READY(string) < 0)
        return -1;
#endif
    if (PyUnicode_KIND(string) != PyUnicode_1BYTE_KIND) {
        PyErr_Format(PyExc_ValueError, "%s has a character that is not Latin-1: %R", what, string);
        return -1;
    }
    *out =
        text_from((const char *)PyUnicode_1BYTE_DATA(string), (size_t)PyUnicode_GET_LENGTH(string));
    return 0;
}

/* Headers of the connection are the server's (PEP 3333). They are dropped, and the log hears of
 * each once per worker: applications that set them do it in every answer. */
static bool is_hop_by_hop(struct text name)
{
    static const char *const names[] = {
        "connection", "keep-alive",       "proxy-authenticate", "proxy-authorization",
        "te",         "trailers",         "transfer-encoding",  "upgrade",
        "trailer",    "proxy-connection",
    };
    static bool is_told[COUNT(names)];
    for (size_t i = 0; i < COUNT(names); i++) {
        if (!text_equal_fold(name, text_of(names[i])))
            continue;
        if (!is_told[i])
            PySys_WriteStderr("the header '%s' of the application is dropped: it is for the "
                              "connection, which is the server's (PEP 3333)\n",
                              names[i]);
        is_told[i] = true;
        return true;
    }
    return false;
}

static int take_header(struct answer *answer, PyObject *header)
{
    struct text name, value;
    if (!PyTuple_Check(header) || PyTuple_GET_SIZE(header) != 2) {
        PyErr_Format(PyExc_TypeError, "a header must be a tuple of two str, not %R", header);
        return -1;
    }
    if (latin1_of(PyTuple_GET_ITEM(header, 0), "a header name", &name) < 0 ||
        latin1_of(PyTuple_GET_ITEM(header, 1), "a header value", &value) < 0)
        return -1;
    if (!header_is_token(name) || !header_is_value(value)) {
        PyErr_Format(PyExc_ValueError,
                     "not a valid header: %R (control characters and line ends "
                     "are not allowed)",
                     header);
        return -1;
    }
    if (is_hop_by_hop(name))
        return 0;
    if (text_equal_fold(name, T("content-length"))) {
        uint64_t length;
        if (!text_to_uint(text_trim(value), INT64_MAX, &length)) {
            PyErr_Format(PyExc_ValueError, "not a valid Content-Length: %R", header);
            return -1;
        }
        answer->length = (int64_t)length;
        return 0;
    }
    uint32_t bytes[2] = { (uint32_t)name.len, (uint32_t)value.len };
    answer->header_count++;
    if (head_append(answer, bytes, sizeof(bytes)) < 0 ||
        head_append(answer, name.data, name.len) < 0)
        return -1;
    return head_append(answer, value.data, value.len);
}

static int take_status(struct answer *answer, PyObject *status)
{
    struct text text;
    uint64_t code = 0;
    if (latin1_of(status, "the status", &text) < 0)
        return -1;
    bool is_valid = text_to_uint(text_part(text, 0, 3), 599, &code) && code >= 200 &&
                    (text.len == 3 || text.data[3] == ' ') && header_is_value(text);
    if (!is_valid) {
        PyErr_Format(PyExc_ValueError, "not a valid status, wanted like '200 OK': %R", status);
        return -1;
    }
    answer->status = (uint32_t)code;
    return 0;
}

static int take_head(struct answer *answer, PyObject *status, PyObject *headers)
{
    answer->head_len = sizeof(struct segment_head);
    answer->header_count = 0;
    answer->length = -1;
    if (answer->head_capacity < sizeof(struct segment_head)) {
        answer->head_len = 0;
        struct segment_head room = { 0 };
        if (head_append(answer, &room, sizeof(room)) < 0)
            return -1;
    }
    if (take_status(answer, status) < 0)
        return -1;
    if (!PyList_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "the headers must be a list, not %.100s",
                     Py_TYPE(headers)->tp_name);
        return -1;
    }
    if (PyList_GET_SIZE(headers) > HEADER_COUNT_LIMIT) {
        PyErr_Format(PyExc_ValueError, "more than %d response headers", HEADER_COUNT_LIMIT);
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        if (take_header(answer, PyList_GET_ITEM(headers, i)) < 0)
            return -1;
    }
    answer->has_no_body = answer->is_head_request || answer->status == 204 || answer->status == 304;
    answer->is_started = true;
    return 0;
}

/* ---- start_response ---- */

struct start_response {
    PyObject_HEAD;
    vectorcallfunc vectorcall;
    struct answer *answer; /* NULL: its request is over */
};

static PyObject *write_call(PyObject *self, PyObject *data)
{
    struct answer *answer = ((struct start_response *)self)->answer;
    if (answer == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "write() was called after the end of its request");
        return NULL;
    }
    if (!PyBytes_Check(data)) {
        PyErr_Format(PyExc_TypeError, "write() wants bytes, not %.100s", Py_TYPE(data)->tp_name);
        return NULL;
    }
    struct text bytes = text_from(PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    if (answer_send(answer, bytes) < 0)
        return NULL;
    answer_flush(answer);
    Py_RETURN_NONE;
}

static PyMethodDef write_method = { "write", write_call, METH_O,
                                    "Send body bytes now (PEP 3333)." };

/* Raises the application's own exception again: its head is on its way already. */
static PyObject *raise_again(PyObject *exc_info)
{
    if (!PyTuple_Check(exc_info) || PyTuple_GET_SIZE(exc_info) != 3) {
        PyErr_SetString(PyExc_TypeError, "exc_info must be a tuple of three");
        return NULL;
    }
    PyObject *type = PyTuple_GET_ITEM(exc_info, 0);
    PyObject *value = PyTuple_GET_ITEM(exc_info, 1);
    PyObject *trace = PyTuple_GET_ITEM(exc_info, 2);
    Py_INCREF(type);
    Py_INCREF(value);
    Py_INCREF(trace);
    PyErr_Restore(type, value, trace == Py_None ? (Py_DECREF(trace), NULL) : trace);
    return NULL;
}

static PyObject *start_response_run(struct start_response *self, PyObject *status,
                                    PyObject *headers, PyObject *exc_info)
{
    bool has_exc_info = exc_info != NULL && exc_info != Py_None;
    struct answer *answer = self->answer;
    if (answer == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "start_response was called after the end of its request");
        return NULL;
    }
    if (has_exc_info && answer->is_head_sent)
        return raise_again(exc_info);
    if (!has_exc_info && answer->is_started) {
        PyErr_SetString(PyExc_AssertionError,
                        "start_response was called a second time without exc_info");
        return NULL;
    }
    if (take_head(answer, status, headers) < 0) {
        answer->is_started = false;
        return NULL;
    }
    return PyCFunction_New(&write_method, (PyObject *)self);
}

static PyObject *start_response_vectorcall(PyObject *self, PyObject *const *arguments, size_t flags,
                                           PyObject *names)
{
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    Py_ssize_t named = names != NULL ? PyTuple_GET_SIZE(names) : 0;
    PyObject *given[3] = { NULL, NULL, NULL };
    static const char *const known[] = { "status", "headers", "exc_info" };
    if (count > 3) {
        PyErr_SetString(PyExc_TypeError, "start_response takes status, headers and exc_info");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        given[i] = arguments[i];
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        size_t at = 0;
        while (at < 3 && PyUnicode_CompareWithASCIIString(name, known[at]) != 0)
            at++;
        if (at == 3 && PyUnicode_CompareWithASCIIString(name, "response_headers") == 0)
            at = 1;
        if (at == 3 || given[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "start_response got an unexpected argument %R", name);
            return NULL;
        }
        given[at] = arguments[count + i];
    }
    if (given[0] == NULL || given[1] == NULL) {
        PyErr_SetString(PyExc_TypeError, "start_response needs a status and headers");
        return NULL;
    }
    return start_response_run((struct start_response *)self, given[0], given[1], given[2]);
}

static void start_response_free(PyObject *self)
{
    PyObject_Free(self);
}

PyTypeObject StartResponse_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_trilith.start_response",
    .tp_basicsize = sizeof(struct start_response),
    .tp_dealloc = start_response_free,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(struct start_response, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_doc = "start_response(status, headers, exc_info=None) of PEP 3333",
};

PyObject *start_response_new(struct answer *answer)
{
    struct start_response *self = PyObject_New(struct start_response, &StartResponse_Type);
    if (self == NULL)
        return NULL;
    self->vectorcall = start_response_vectorcall;
    self->answer = answer;
    return (PyObject *)self;
}

void start_response_detach(PyObject *start_response)
{
    ((struct start_response *)start_response)->answer = NULL;
}

/* ---- sending ---- */

bool answer_is_cancelled(const struct answer *answer)
{
    return worker.is_stray || answer->slot == NULL ||
           atomic_load_explicit(&answer->slot->cancelled, memory_order_relaxed) != CANCEL_NONE;
}

void answer_ring(const struct answer *answer)
{
    segment_tell(&worker.segment, answer->number);
    worker_ring(answer->number / worker.segment.slots_per_edge);
}

void answer_flush(const struct answer *answer)
{
    size_t edge = answer->number / worker.segment.slots_per_edge;
    if (segment_tell(&worker.segment, answer->number))
        worker_ring(edge);
}

static int put(struct answer *answer, enum segment_record_kind kind, struct text data,
               bool whole_record)
{
    struct segment_slot *slot = answer->slot;
    uint64_t serial = answer->serial;
    do {
        if (answer_is_cancelled(answer) || answer->serial != serial) {
            PyErr_SetString(PyExc_BrokenPipeError, "nobody waits for this answer any more");
            return -1;
        }
        ssize_t done = segment_put(slot, kind, data, whole_record);
        if (done >= 0) {
            data = text_skip(data, (size_t)done);
            whole_record = false;
            continue;
        }
        answer_ring(answer);
        Py_BEGIN_ALLOW_THREADS;
        segment_wait_room(slot, WAIT_MS);
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() < 0)
            return -1;
    } while (data.len > 0 || whole_record);
    return 0;
}

static int send_head(struct answer *answer)
{
    if (!answer->is_started) {
        PyErr_SetString(PyExc_AssertionError,
                        "the application gave a body before it called start_response");
        return -1;
    }
    struct segment_head head = { .content_length = answer->length,
                                 .status = answer->status,
                                 .header_count = answer->header_count };
    memcpy(answer->head, &head, sizeof(head));
    answer->is_head_sent = true;
    return put(answer, RECORD_HEAD, text_from(answer->head, answer->head_len), true);
}

int answer_send(struct answer *answer, struct text data)
{
    if (answer_is_cancelled(answer)) {
        PyErr_SetString(PyExc_BrokenPipeError, "nobody waits for this answer any more");
        return -1;
    }
    if (!answer->is_head_sent && send_head(answer) < 0)
        return -1;
    if (answer->has_no_body)
        return 0;
    if (answer->length >= 0 && (int64_t)data.len > answer->length - answer->given) {
        answer->is_cut = true;
        data = text_part(data, 0, (size_t)(answer->length - answer->given));
    }
    answer->given += (int64_t)data.len;
    if (data.len > 0 && put(answer, RECORD_BODY, data, false) < 0)
        return -1;
    if (answer->length >= 0 && answer->given == answer->length && answer->whole_us == 0)
        answer->whole_us = clock_now_us();
    return 0;
}

int answer_send_file(struct answer *answer, int64_t offset)
{
    struct segment_file part = { .offset = offset, .length = answer->length };
    if (send_head(answer) < 0 ||
        put(answer, RECORD_FILE, text_from((const char *)&part, sizeof(part)), true) < 0)
        return -1;
    answer->given = answer->length;
    answer->whole_us = clock_now_us();
    return answer_finish(answer, 0);
}

int answer_finish(struct answer *answer, int64_t known_length)
{
    if (answer->is_ended)
        return 0;
    if (!answer->is_head_sent) {
        if (answer->length < 0 && !answer->has_no_body)
            answer->length = known_length;
        if (send_head(answer) < 0)
            return -1;
    }
    answer->is_ended = true;
    return put(answer, RECORD_END, T(""), true);
}

void answer_fail(struct answer *answer)
{
    if (answer->is_ended)
        return;
    answer->is_ended = true;
    while (!answer_is_cancelled(answer) &&
           segment_put(answer->slot, RECORD_ERROR, T(""), true) < 0) {
        answer_ring(answer);
        Py_BEGIN_ALLOW_THREADS;
        segment_wait_room(answer->slot, WAIT_MS);
        Py_END_ALLOW_THREADS;
    }
}
