/*
 * What send() does with http.response.*: the head is checked and encoded when it is given, and goes
 * out with the first piece of the body, as ASGI wants it. A full ring makes send() wait until the
 * client has taken something: that is the back-pressure.
 */
#include "app/python/asgi.h"
#include "app/python/header.h"

#include <stdarg.h>
#include <string.h>

enum { HEADER_COUNT_LIMIT = 256 };

enum asgi_step asgi_fail_step(PyObject *type, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyErr_FormatV(type, format, arguments);
    va_end(arguments);
    return ASGI_FAIL;
}

bool asgi_is(PyObject *string, PyObject *name)
{
    return string == name || (string != NULL && PyUnicode_Check(string) &&
                              PyUnicode_Compare(string, name) == 0 && !PyErr_Occurred());
}

/* ---- records ---- */

/* The client is gone, or nothing may follow. */
static enum asgi_step refuse(struct asgi_request *request)
{
    if (request->is_torn)
        return asgi_fail_step(PyExc_RuntimeError,
                              "an earlier message was cancelled after a part of it was sent");
    return asgi_fail_step(asgi.gone, "%s",
                          request->is_overdue ? "the request took longer than app.request-timeout"
                                              : "the client went away");
}

/* True when there is nobody to send to. The edge may have said so since the last turn. */
static bool is_gone(struct asgi_request *request)
{
    if (request->slot != NULL && atomic_load(&request->slot->cancelled) != CANCEL_NONE)
        asgi_request_notice(request);
    return request->is_gone || request->is_torn || request->slot == NULL;
}

/* The ring is full. False when room was made meanwhile. */
static bool must_wait(struct asgi_request *request)
{
    struct segment_slot *slot = request->slot;
    atomic_store(&slot->wants_room, 1);
    asgi_tell(request->number);
    /* what is there is looked at after the mark: who makes room later sees it */
    return atomic_load(&slot->written) - atomic_load(&slot->taken) > SEGMENT_RESPONSE_BYTES / 2;
}

enum asgi_step asgi_put(struct asgi_request *request, enum segment_record_kind kind,
                        struct text data)
{
    if (is_gone(request))
        return refuse(request);
    for (;;) {
        if (segment_put(request->slot, kind, data, true) >= 0)
            return ASGI_DONE;
        if (must_wait(request))
            return ASGI_WAIT;
    }
}

/* The body from *sent on. */
static enum asgi_step put_body(struct asgi_request *request, struct text data, size_t *sent)
{
    while (*sent < data.len) {
        if (is_gone(request))
            return refuse(request);
        ssize_t done = segment_put(request->slot, RECORD_BODY, text_skip(data, *sent), false);
        if (done >= 0)
            *sent += (size_t)done;
        else if (must_wait(request))
            return ASGI_WAIT;
    }
    return ASGI_DONE;
}

/* ---- head ---- */

struct head {
    char data[SEGMENT_HEAD_LIMIT];
    size_t len;
    uint32_t count;
    int64_t length;
};

static int append(struct head *head, const void *data, size_t len)
{
    if (len > sizeof(head->data) - head->len) {
        PyErr_Format(PyExc_ValueError, "the response headers are larger than %d bytes",
                     SEGMENT_HEAD_LIMIT);
        return -1;
    }
    memcpy(head->data + head->len, data, len);
    head->len += len;
    return 0;
}

static int append_header(struct head *head, struct text name, struct text value)
{
    uint32_t bytes[2] = { (uint32_t)name.len, (uint32_t)value.len };
    if (++head->count > HEADER_COUNT_LIMIT) {
        PyErr_Format(PyExc_ValueError, "more than %d response headers", HEADER_COUNT_LIMIT);
        return -1;
    }
    if (append(head, bytes, sizeof(bytes)) < 0 || append(head, name.data, name.len) < 0)
        return -1;
    return append(head, value.data, value.len);
}

/* The server's own: ASGI wants them to be ignored. */
static bool is_ours(struct text name)
{
    switch (name.len) {
    case 10:
        return text_equal_fold(name, T("connection")) || text_equal_fold(name, T("keep-alive"));
    case 7:
        return text_equal_fold(name, T("upgrade")) || text_equal_fold(name, T("trailer"));
    case 17:
        return text_equal_fold(name, T("transfer-encoding"));
    default:
        return false;
    }
}

static int take_header(struct head *head, PyObject *name_object, PyObject *value_object)
{
    if (!PyBytes_Check(name_object) || !PyBytes_Check(value_object)) {
        PyErr_Format(PyExc_TypeError, "a header must be a pair of bytes, not (%R, %R)", name_object,
                     value_object);
        return -1;
    }
    struct text name =
        text_from(PyBytes_AS_STRING(name_object), (size_t)PyBytes_GET_SIZE(name_object));
    struct text value =
        text_from(PyBytes_AS_STRING(value_object), (size_t)PyBytes_GET_SIZE(value_object));
    if (!header_is_token(name) || !header_is_value(value)) {
        PyErr_Format(PyExc_ValueError,
                     "not a valid header: (%R, %R) (control characters and line ends are not "
                     "allowed)",
                     name_object, value_object);
        return -1;
    }
    if (is_ours(name))
        return 0;
    if (name.len != 14 || !text_equal_fold(name, T("content-length")))
        return append_header(head, name, value);
    uint64_t length;
    if (!text_to_uint(text_trim(value), INT64_MAX, &length)) {
        PyErr_Format(PyExc_ValueError, "not a valid Content-Length: %R", value_object);
        return -1;
    }
    head->length = (int64_t)length;
    return 0;
}

static int take_headers(struct head *head, PyObject *headers)
{
    PyObject *iterator = PyObject_GetIter(headers);
    PyObject *item;
    int result = iterator != NULL ? 0 : -1;
    while (result == 0 && (item = PyIter_Next(iterator)) != NULL) {
        PyObject *pair = PySequence_Fast(item, "a header must be a pair of bytes");
        if (pair == NULL || PySequence_Fast_GET_SIZE(pair) != 2) {
            if (pair != NULL)
                PyErr_Format(PyExc_ValueError, "a header must be a pair of bytes, not %R", item);
            result = -1;
        } else {
            result = take_header(head, PySequence_Fast_GET_ITEM(pair, 0),
                                 PySequence_Fast_GET_ITEM(pair, 1));
        }
        Py_XDECREF(pair);
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    return PyErr_Occurred() ? -1 : result;
}

int asgi_head_build(struct asgi_request *request, uint32_t status, PyObject *headers,
                    struct text subprotocol)
{
    static struct head head; /* one at a time: nothing below runs the application's code but */
    struct segment_head start = { .content_length = -1, .status = status };
    head.len = sizeof(start);
    head.count = 0;
    head.length = -1;
    if (headers != NULL && headers != Py_None && take_headers(&head, headers) < 0)
        return -1;
    if (subprotocol.len > 0 && append_header(&head, T("Sec-WebSocket-Protocol"), subprotocol) < 0)
        return -1;
    start.header_count = head.count;
    memcpy(head.data, &start, sizeof(start));
    PyMem_Free(request->head);
    request->head = PyMem_Malloc(head.len);
    if (request->head == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(request->head, head.data, head.len);
    request->head_len = head.len;
    request->length = head.length;
    return 0;
}

/* ---- messages ---- */

static enum asgi_step start_answer(struct asgi_request *request, PyObject *message)
{
    PyObject *status = PyDict_GetItemWithError(message, asgi_names.status);
    PyObject *headers = PyDict_GetItemWithError(message, asgi_names.headers);
    if (request->is_started)
        return asgi_fail_step(PyExc_RuntimeError, "the answer was started already");
    long code = status != NULL ? PyLong_AsLong(status) : 0;
    if (code == -1 && PyErr_Occurred())
        return ASGI_FAIL;
    if (code < 200 || code > 599)
        return asgi_fail_step(PyExc_ValueError, "not a valid status, wanted 200 to 599: %R",
                              status != NULL ? status : Py_None);
    if (asgi_head_build(request, (uint32_t)code, headers, T("")) < 0)
        return ASGI_FAIL;
    request->has_no_body = request->is_head_request || code == 204 || code == 304;
    request->is_started = true;
    return ASGI_DONE;
}

/* `only` is the whole body when it is known to be; -1: more comes. */
static enum asgi_step send_head(struct asgi_request *request, int64_t whole)
{
    struct segment_head head;
    if (request->head == NULL)
        return ASGI_DONE;
    memcpy(&head, request->head, sizeof(head));
    bool may_say = head.status != 204 && head.status != 304;
    if (request->length < 0 && whole >= 0 && may_say && (whole > 0 || !request->is_head_request))
        request->length = whole;
    head.content_length = request->length;
    memcpy(request->head, &head, sizeof(head));
    enum asgi_step step =
        asgi_put(request, RECORD_HEAD, text_from(request->head, request->head_len));
    if (step != ASGI_DONE)
        return step;
    request->is_head_sent = true;
    PyMem_Free(request->head);
    request->head = NULL;
    return ASGI_DONE;
}

/* The last record; then nobody waits for this request, though its task may go on. */
static enum asgi_step end_answer(struct asgi_request *request)
{
    bool is_short =
        request->length >= 0 && request->given < request->length && !request->has_no_body;
    enum asgi_step step = asgi_put(request, is_short ? RECORD_ERROR : RECORD_END, T(""));
    if (step != ASGI_DONE)
        return step;
    request->is_ended = true;
    asgi_request_detach(request);
    asgi_wake(request);
    if (is_short)
        return asgi_fail_step(PyExc_RuntimeError,
                              "the answer has fewer bytes than its Content-Length");
    return ASGI_DONE;
}

static enum asgi_step send_body(struct asgi_request *request, struct text data, bool has_more,
                                size_t *sent)
{
    enum asgi_step step = send_head(request, has_more ? -1 : (int64_t)data.len);
    if (step != ASGI_DONE)
        return step;
    if (!request->has_no_body && data.len > 0) {
        int64_t left = request->length - request->given;
        if (request->length >= 0 && (int64_t)data.len > left)
            return asgi_fail_step(PyExc_RuntimeError,
                                  "the answer has more bytes than its Content-Length");
        step = put_body(request, data, sent);
        if (step != ASGI_DONE)
            return step;
        request->given += (int64_t)data.len;
    }
    if (!has_more)
        return end_answer(request);
    asgi_tell(request->number);
    return ASGI_DONE;
}

static enum asgi_step answer_body(struct asgi_request *request, PyObject *message, size_t *sent)
{
    PyObject *body = PyDict_GetItemWithError(message, asgi_names.body);
    PyObject *more = PyDict_GetItemWithError(message, asgi_names.more_body);
    int has_more = more != NULL ? PyObject_IsTrue(more) : 0;
    Py_buffer view;
    if (!request->is_started)
        return asgi_fail_step(PyExc_RuntimeError, "http.response.start must come first");
    if (has_more < 0)
        return ASGI_FAIL;
    if (body == NULL)
        return send_body(request, T(""), has_more != 0, sent);
    if (PyBytes_CheckExact(body))
        return send_body(request,
                         text_from(PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body)),
                         has_more != 0, sent);
    if (PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) < 0)
        return ASGI_FAIL;
    enum asgi_step step =
        send_body(request, text_from(view.buf, (size_t)view.len), has_more != 0, sent);
    PyBuffer_Release(&view);
    return step;
}

enum asgi_step asgi_send(struct asgi_request *request, PyObject *message, size_t *sent)
{
    if (!PyDict_Check(message))
        return asgi_fail_step(PyExc_TypeError, "a message must be a dict, not %.100s",
                              Py_TYPE(message)->tp_name);
    PyObject *type = PyDict_GetItemWithError(message, asgi_names.type);
    if (request->is_ended)
        return asgi_fail_step(PyExc_RuntimeError, "%R was sent after the end of the answer",
                              type != NULL ? type : Py_None);
    if (is_gone(request))
        return refuse(request);
    if (request->is_socket && !asgi_is(type, asgi_names.socket_response_start) &&
        !asgi_is(type, asgi_names.socket_response_body))
        return asgi_socket_send(request, type, message, sent);
    if (request->is_accepted)
        return asgi_fail_step(PyExc_RuntimeError, "%R was sent on an open WebSocket", type);
    PyObject *start =
        request->is_socket ? asgi_names.socket_response_start : asgi_names.response_start;
    PyObject *body =
        request->is_socket ? asgi_names.socket_response_body : asgi_names.response_body;
    if (asgi_is(type, start))
        return start_answer(request, message);
    if (asgi_is(type, body))
        return answer_body(request, message, sent);
    return PyErr_Occurred() ? ASGI_FAIL
                            : asgi_fail_step(PyExc_RuntimeError, "unexpected message type %R",
                                             type != NULL ? type : Py_None);
}
