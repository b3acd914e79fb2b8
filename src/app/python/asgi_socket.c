/*
 * WebSocket: messages to the edge, which makes frames of them, go through the ring of the slot;
 * messages of the client come through a second ring, which lies where the request's table was. A
 * message may come in parts. The client is gone when the slot is cancelled; what it sent before is
 * given first, then websocket.disconnect with the code of the edge.
 */
#include "app/python/asgi.h"

#include <string.h>

enum {
    PART_BYTES = 32 * 1024,  /* of a message to the client, in one record */
    MESSAGE_LIMIT = 1 << 30, /* the edge has the real limit */
    CODE_NONE = 1005,        /* RFC 6455 7.1.5: closed without a code */
    CODE_LOST = 1006,
};

/* ---- from the client ---- */

static PyObject *event(PyObject *type)
{
    PyObject *message = PyDict_New();
    if (message != NULL && PyDict_SetItem(message, asgi_names.type, type) < 0)
        Py_CLEAR(message);
    return message;
}

static enum asgi_step give(PyObject *message, PyObject **result_out)
{
    *result_out = message;
    return message != NULL ? ASGI_DONE : ASGI_FAIL;
}

static enum asgi_step give_disconnect(struct asgi_request *request, PyObject **result_out)
{
    const struct segment_slot *slot = request->slot;
    uint32_t code = request->slot != NULL ? atomic_load(&slot->close_code) : 0;
    if (request->is_ended)
        code = 1000;
    if (worker.segment.workers[worker.index].retire != 0 && code <= 1000)
        code = 1012;
    PyObject *message = event(asgi_names.socket_disconnect);
    PyObject *number = PyLong_FromLong(code != 0 ? (long)code : CODE_LOST);
    if (message != NULL && (number == NULL || PyDict_SetItem(message, asgi_names.code, number) < 0))
        Py_CLEAR(message);
    Py_XDECREF(number);
    request->is_gone = true;
    asgi_request_detach(request); /* all it sent has been read */
    return give(message, result_out);
}

/* The next record of the ring; false: nothing there. */
static bool next_record(struct asgi_request *request, struct segment_record *record,
                        struct text *data)
{
    const struct segment_slot *slot = request->slot;
    for (;;) {
        uint64_t there = atomic_load(&slot->in_written) - request->in_taken;
        size_t at = request->in_taken % SEGMENT_REQUEST_BYTES;
        if (there < sizeof(*record) || there > SEGMENT_REQUEST_BYTES)
            return false;
        memcpy(record, slot->request + at, sizeof(*record));
        if (record->bytes > SEGMENT_REQUEST_BYTES - at - sizeof(*record))
            return false;
        if (record->kind != RECORD_SKIP) {
            *data = text_from((const char *)slot->request + at + sizeof(*record), record->bytes);
            return true;
        }
        request->in_taken += sizeof(*record) + record->bytes;
    }
}

static void took(struct asgi_request *request, const struct segment_record *record)
{
    struct segment_slot *slot = request->slot;
    request->in_taken += sizeof(*record) + ((uint64_t)record->bytes + 7) / 8 * 8;
    atomic_store(&slot->in_taken, request->in_taken);
    /* the edge stopped reading from the client for want of room */
    if (atomic_load(&slot->in_waiting) != 0 &&
        atomic_load(&slot->in_written) - request->in_taken <= SEGMENT_REQUEST_BYTES / 2 &&
        atomic_exchange(&slot->in_waiting, 0) != 0)
        asgi_tell(request->number);
}

static enum asgi_step give_message(bool is_text, struct text data, PyObject **result_out)
{
    PyObject *message = event(asgi_names.socket_receive);
    PyObject *value = is_text ? PyUnicode_DecodeUTF8(data.data, (Py_ssize_t)data.len, NULL)
                              : PyBytes_FromStringAndSize(data.data, (Py_ssize_t)data.len);
    if (message != NULL &&
        (value == NULL ||
         PyDict_SetItem(message, is_text ? asgi_names.text : asgi_names.bytes, value) < 0))
        Py_CLEAR(message);
    Py_XDECREF(value);
    struct segment_worker *self = &worker.segment.workers[worker.index];
    atomic_fetch_add_explicit(&self->requests, 1, memory_order_relaxed);
    return give(message, result_out);
}

/* A part is kept; the last one gives the whole message. */
static enum asgi_step take_part(struct asgi_request *request, const struct segment_record *record,
                                struct text data, PyObject **result_out)
{
    bool is_last = record->kind == RECORD_TEXT || record->kind == RECORD_BINARY;
    if (is_last && request->message == NULL)
        return give_message(record->kind == RECORD_TEXT, data, result_out);
    if (request->message == NULL)
        request->message = PyByteArray_FromStringAndSize(NULL, 0);
    if (request->message == NULL)
        return ASGI_FAIL;
    Py_ssize_t len = PyByteArray_GET_SIZE(request->message);
    if (len > MESSAGE_LIMIT || PyByteArray_Resize(request->message, len + (Py_ssize_t)data.len) < 0)
        return ASGI_FAIL;
    if (data.len > 0)
        memcpy(PyByteArray_AS_STRING(request->message) + len, data.data, data.len);
    if (!is_last)
        return ASGI_WAIT;
    PyObject *whole = request->message;
    request->message = NULL;
    enum asgi_step step = give_message(
        record->kind == RECORD_TEXT,
        text_from(PyByteArray_AS_STRING(whole), (size_t)PyByteArray_GET_SIZE(whole)), result_out);
    Py_DECREF(whole);
    return step;
}

enum asgi_step asgi_socket_receive(struct asgi_request *request, PyObject **result_out)
{
    struct segment_record record;
    struct text data;
    if (!request->is_body_read) {
        request->is_body_read = true;
        return give(event(asgi_names.socket_connect), result_out);
    }
    if (request->slot != NULL && atomic_load(&request->slot->cancelled) != CANCEL_NONE &&
        !request->is_gone)
        asgi_request_notice(request);
    while (request->slot != NULL && request->is_accepted && next_record(request, &record, &data)) {
        enum asgi_step step = take_part(request, &record, data, result_out);
        took(request, &record);
        if (step != ASGI_WAIT)
            return step;
    }
    if (request->is_gone || request->is_ended || request->slot == NULL)
        return give_disconnect(request, result_out);
    return ASGI_WAIT;
}

/* ---- to the client ---- */

static enum asgi_step accept_socket(struct asgi_request *request, PyObject *message)
{
    PyObject *headers = PyDict_GetItemWithError(message, asgi_names.headers);
    PyObject *chosen = PyDict_GetItemWithError(message, asgi_names.subprotocol);
    struct text subprotocol = T("");
    if (request->is_accepted || request->is_started)
        return asgi_fail_step(PyExc_RuntimeError, "the WebSocket was answered already");
    if (chosen != NULL && chosen != Py_None) {
        Py_ssize_t len;
        const char *name = PyUnicode_AsUTF8AndSize(chosen, &len);
        if (name == NULL)
            return ASGI_FAIL;
        subprotocol = text_from(name, (size_t)len);
    }
    if (asgi_head_build(request, 200, headers, subprotocol) < 0)
        return ASGI_FAIL;
    /* from now on the edge may write where the table was */
    request->is_started = request->is_accepted = true;
    asgi.sockets++;
    enum asgi_step step =
        asgi_put(request, RECORD_ACCEPT, text_from(request->head, request->head_len));
    PyMem_Free(request->head);
    request->head = NULL;
    asgi_tell(request->number);
    return step;
}

/* From *sent on, in records of PART_BYTES. */
static enum asgi_step send_message(struct asgi_request *request, bool is_text, struct text data,
                                   size_t *sent)
{
    do {
        struct text rest = text_skip(data, *sent);
        bool is_last = rest.len <= PART_BYTES;
        enum segment_record_kind kind = is_last ? (is_text ? RECORD_TEXT : RECORD_BINARY)
                                                : (is_text ? RECORD_TEXT_PART : RECORD_BINARY_PART);
        rest = text_part(rest, 0, PART_BYTES);
        enum asgi_step step = asgi_put(request, kind, rest);
        if (step != ASGI_DONE)
            return step;
        *sent += rest.len;
    } while (*sent < data.len);
    asgi_tell(request->number);
    return ASGI_DONE;
}

static enum asgi_step send_data(struct asgi_request *request, PyObject *message, size_t *sent)
{
    PyObject *text = PyDict_GetItemWithError(message, asgi_names.text);
    PyObject *bytes = PyDict_GetItemWithError(message, asgi_names.bytes);
    Py_buffer view;
    if (!request->is_accepted)
        return asgi_fail_step(PyExc_RuntimeError, "websocket.accept must come first");
    if (bytes == NULL || bytes == Py_None) {
        Py_ssize_t len;
        if (text == NULL || text == Py_None)
            return asgi_fail_step(PyExc_ValueError, "websocket.send needs bytes or text");
        const char *data = PyUnicode_AsUTF8AndSize(text, &len);
        return data != NULL ? send_message(request, true, text_from(data, (size_t)len), sent)
                            : ASGI_FAIL;
    }
    if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0)
        return ASGI_FAIL;
    enum asgi_step step = send_message(request, false, text_from(view.buf, (size_t)view.len), sent);
    PyBuffer_Release(&view);
    return step;
}

/* A close record; without room nothing: the edge sees that the worker is done with it. */
static void put_close(struct asgi_request *request, uint16_t code, struct text reason)
{
    char data[2 + 123]; /* a control frame has 125 bytes, RFC 6455 5.5 */
    reason = text_part(reason, 0, sizeof(data) - 2);
    memcpy(data, &code, 2);
    if (reason.len > 0)
        memcpy(data + 2, reason.data, reason.len);
    segment_put(request->slot, RECORD_CLOSE, text_from(data, 2 + reason.len), true);
}

void asgi_socket_close(struct asgi_request *request, uint16_t code)
{
    if (request->slot == NULL || !request->is_accepted || request->is_ended)
        return;
    put_close(request, code, T(""));
    request->is_ended = true;
    asgi_request_detach(request);
}

static enum asgi_step close_socket(struct asgi_request *request, PyObject *message)
{
    PyObject *code = PyDict_GetItemWithError(message, asgi_names.code);
    PyObject *reason = PyDict_GetItemWithError(message, asgi_names.reason);
    long number = code != NULL && code != Py_None ? PyLong_AsLong(code) : 1000;
    struct text text = T("");
    if (number == -1 && PyErr_Occurred())
        return ASGI_FAIL;
    bool is_valid = number == 1000 || number == 1001 || (number >= 1007 && number <= 1014) ||
                    number == 1002 || number == 1003 || (number >= 3000 && number <= 4999);
    if (!is_valid)
        return asgi_fail_step(PyExc_ValueError, "%ld is not a close code that may be sent", number);
    if (!request->is_accepted) { /* refused: 403, as ASGI wants it */
        if (asgi_head_build(request, 403, NULL, T("")) < 0)
            return ASGI_FAIL;
        enum asgi_step step =
            asgi_put(request, RECORD_HEAD, text_from(request->head, request->head_len));
        if (step == ASGI_DONE)
            step = asgi_put(request, RECORD_END, T(""));
        request->is_ended = true;
        asgi_request_detach(request);
        return step;
    }
    if (reason != NULL && reason != Py_None) {
        Py_ssize_t len;
        const char *data = PyUnicode_AsUTF8AndSize(reason, &len);
        if (data == NULL)
            return ASGI_FAIL;
        text = text_from(data, (size_t)len);
    }
    put_close(request, (uint16_t)number, text);
    request->is_ended = true;
    asgi_request_detach(request);
    asgi_wake(request);
    return ASGI_DONE;
}

enum asgi_step asgi_socket_send(struct asgi_request *request, PyObject *type, PyObject *message,
                                size_t *sent)
{
    if (asgi_is(type, asgi_names.socket_send))
        return send_data(request, message, sent);
    if (asgi_is(type, asgi_names.socket_accept))
        return accept_socket(request, message);
    if (asgi_is(type, asgi_names.socket_close))
        return close_socket(request, message);
    return asgi_fail_step(PyExc_RuntimeError, "unexpected message type %R",
                          type != NULL ? type : Py_None);
}
