/*
 * What receive() gives: the request's body, which is here already (in the slot, or in an unlinked
 * file whose descriptor the edge sends when it is asked for the first time), then http.disconnect.
 */
#include "app/python/asgi.h"

#include "core/sys.h"

#include <errno.h>

enum { PIECE_BYTES = 256 * 1024 };

static PyObject *body_message(PyObject *body, bool has_more)
{
    PyObject *message = body != NULL ? PyDict_New() : NULL;
    if (message != NULL &&
        (PyDict_SetItem(message, asgi_names.type, asgi_names.http_request) < 0 ||
         PyDict_SetItem(message, asgi_names.body, body) < 0 ||
         PyDict_SetItem(message, asgi_names.more_body, has_more ? Py_True : Py_False) < 0))
        Py_CLEAR(message);
    Py_XDECREF(body);
    return message;
}

static enum asgi_step done(PyObject *message, PyObject **result_out)
{
    *result_out = message;
    return message != NULL ? ASGI_DONE : ASGI_FAIL;
}

/* The next piece of a body that lies in a file. */
static enum asgi_step receive_file(struct asgi_request *request, PyObject **result_out)
{
    struct segment_slot *slot = request->slot;
    if (request->file < 0) {
        if (!request->has_asked_file) {
            request->has_asked_file = true;
            atomic_store(&slot->wants_file, 1);
            asgi_tell(request->number);
        }
        return ASGI_WAIT;
    }
    int64_t left = slot->body_length - request->body_at;
    size_t len = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    PyObject *body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (body == NULL)
        return ASGI_FAIL;
    ssize_t got = sys_pread(request->file, PyBytes_AS_STRING(body), len, request->body_at);
    if (got != (ssize_t)len) {
        Py_DECREF(body);
        return asgi_fail_step(PyExc_OSError, "cannot read the request's body from its file");
    }
    request->body_at += (int64_t)len;
    request->is_body_read = request->body_at >= slot->body_length;
    if (request->is_body_read)
        fd_close(&request->file);
    return done(body_message(body, !request->is_body_read), result_out);
}

enum asgi_step asgi_receive(struct asgi_request *request, PyObject **result_out)
{
    const struct segment_slot *slot = request->slot;
    if (request->is_socket)
        return asgi_socket_receive(request, result_out);
    bool is_over = request->is_gone || request->is_ended || slot == NULL;
    if (is_over || (request->is_body_read && atomic_load(&slot->is_client_done) != 0)) {
        PyObject *message = PyDict_New();
        if (message != NULL &&
            PyDict_SetItem(message, asgi_names.type, asgi_names.http_disconnect) < 0)
            Py_CLEAR(message);
        return done(message, result_out);
    }
    if (request->is_body_read)
        return ASGI_WAIT; /* for the client to go away, or the answer to end */
    if (slot->body_is_file != 0)
        return receive_file(request, result_out);
    request->is_body_read = true;
    size_t len = 0;
    if (slot->body_length > 0 && slot->body_offset <= SEGMENT_REQUEST_BYTES &&
        slot->body_length <= SEGMENT_REQUEST_BYTES - slot->body_offset)
        len = (size_t)slot->body_length;
    PyObject *body =
        PyBytes_FromStringAndSize((const char *)slot->request + slot->body_offset, (Py_ssize_t)len);
    return done(body_message(body, false), result_out);
}
