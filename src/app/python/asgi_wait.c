/*
 * receive and send, and what they return: an awaitable that tries at once when it is awaited and
 * is done without the event loop if nothing is missing. Else it waits on a future of its own until
 * something changed for its request, and tries again. It looks like a coroutine to asyncio, so that
 * create_task(receive()) works too.
 */
#include "app/python/asgi.h"

struct awaitable {
    PyObject_HEAD;
    struct asgi_request *request;
    PyObject *message; /* of send; NULL: receive */
    PyObject *inner;   /* iterator of the future that it waits for */
    size_t sent;       /* bytes of the message that are out */
    bool is_over;
};

static PyObject *awaitable_new(PyObject *request, PyObject *message)
{
    struct awaitable *self = PyObject_New(struct awaitable, &AsgiAwaitable_Type);
    if (self == NULL)
        return NULL;
    self->request = (struct asgi_request *)Py_NewRef(request);
    self->message = Py_XNewRef(message);
    self->inner = NULL;
    self->sent = 0;
    self->is_over = false;
    return (PyObject *)self;
}

static void awaitable_free(PyObject *object)
{
    struct awaitable *self = (struct awaitable *)object;
    if (self->request->sender == self) { /* given up in the middle of its message */
        self->request->sender = NULL;
        self->request->is_torn = true;
        asgi_wake(self->request);
    }
    Py_DECREF(self->request);
    Py_XDECREF(self->message);
    Py_XDECREF(self->inner);
    PyObject_Free(self);
}

/* A future among the request's waiters; its iterator is self->inner. */
static int begin_to_wait(struct awaitable *self)
{
    struct asgi_request *request = self->request;
    if (request->waiters == NULL)
        request->waiters = PyList_New(0);
    PyObject *future = request->waiters != NULL ? PyObject_CallNoArgs(asgi.create_future) : NULL;
    if (future != NULL && PyList_Append(request->waiters, future) == 0)
        self->inner = PyObject_CallMethodNoArgs(future, asgi_names.await_);
    Py_XDECREF(future);
    return self->inner != NULL ? 0 : -1;
}

static enum asgi_step try_now(struct awaitable *self, PyObject **result)
{
    struct asgi_request *request = self->request;
    if (self->message == NULL)
        return asgi_receive(request, result);
    if (request->sender != NULL && request->sender != self)
        return ASGI_WAIT; /* another task is in the middle of a message */
    enum asgi_step step = asgi_send(request, self->message, &self->sent);
    bool was_sender = request->sender == self;
    request->sender = step == ASGI_WAIT && self->sent > 0 ? self : NULL;
    if (was_sender && request->sender == NULL)
        asgi_wake(request);
    if (step == ASGI_DONE)
        *result = Py_NewRef(Py_None);
    return step;
}

static PySendResult awaitable_step(PyObject *object, PyObject *argument, PyObject **result)
{
    struct awaitable *self = (struct awaitable *)object;
    *result = NULL;
    if (self->is_over) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse an already awaited receive() or send()");
        return PYGEN_ERROR;
    }
    for (;;) {
        if (self->inner != NULL) {
            PySendResult state = PyIter_Send(self->inner, argument, result);
            if (state == PYGEN_NEXT)
                return PYGEN_NEXT;
            Py_CLEAR(self->inner);
            if (state == PYGEN_ERROR)
                return PYGEN_ERROR;
            Py_CLEAR(*result);
        }
        argument = Py_None;
        switch (try_now(self, result)) {
        case ASGI_DONE:
            self->is_over = true;
            return PYGEN_RETURN;
        case ASGI_FAIL:
            self->is_over = true;
            return PYGEN_ERROR;
        case ASGI_WAIT:
            if (begin_to_wait(self) < 0)
                return PYGEN_ERROR;
        }
    }
}

static PyObject *finished(PySendResult state, PyObject *result)
{
    if (state != PYGEN_RETURN)
        return result;
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop != NULL)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    return NULL;
}

static PyObject *awaitable_send(PyObject *self, PyObject *argument)
{
    PyObject *result;
    PySendResult state = awaitable_step(self, argument, &result);
    return finished(state, result);
}

static PyObject *awaitable_next(PyObject *self)
{
    return awaitable_send(self, Py_None);
}

/* throw(type, value=None, traceback=None): into what it waits for, which gives it back. */
static PyObject *awaitable_throw(PyObject *object, PyObject *arguments)
{
    struct awaitable *self = (struct awaitable *)object;
    PyObject *type, *value = NULL, *trace = NULL;
    if (!PyArg_UnpackTuple(arguments, "throw", 1, 3, &type, &value, &trace))
        return NULL;
    if (self->inner != NULL) {
        PyObject *throw = PyObject_GetAttr(self->inner, asgi_names.throw_);
        PyObject *given = throw != NULL ? PyObject_Call(throw, arguments, NULL) : NULL;
        Py_XDECREF(throw);
        Py_CLEAR(self->inner);
        if (given != NULL || !PyErr_ExceptionMatches(PyExc_StopIteration))
            return given;
        PyErr_Clear(); /* the future was done at the same time */
        return awaitable_send(object, Py_None);
    }
    self->is_over = true;
    if (PyExceptionInstance_Check(type))
        PyErr_SetObject(PyExceptionInstance_Class(type), type);
    else
        PyErr_SetObject(type, value);
    return NULL;
}

static PyObject *awaitable_close(PyObject *object, PyObject *nothing)
{
    struct awaitable *self = (struct awaitable *)object;
    self->is_over = true;
    Py_CLEAR(self->inner);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    { "send", awaitable_send, METH_O, NULL },
    { "throw", awaitable_throw, METH_VARARGS, NULL },
    { "close", awaitable_close, METH_NOARGS, NULL },
    { NULL, NULL, 0, NULL },
};

static PyAsyncMethods async_methods = {
    .am_await = PyObject_SelfIter,
    .am_send = awaitable_step,
};

PyTypeObject AsgiAwaitable_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_trilith.awaitable",
    .tp_basicsize = sizeof(struct awaitable),
    .tp_dealloc = awaitable_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &async_methods,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = awaitable_next,
    .tp_methods = methods,
};

/* ---- the callables; self is the request ---- */

static PyObject *call_receive(PyObject *request, PyObject *nothing)
{
    return awaitable_new(request, NULL);
}

static PyObject *call_send(PyObject *request, PyObject *message)
{
    return awaitable_new(request, message);
}

PyMethodDef asgi_receive_method = { "receive", call_receive, METH_NOARGS,
                                    "receive(): the next message of the client." };
PyMethodDef asgi_send_method = { "send", call_send, METH_O,
                                 "send(message): to the client; waits while it is slow." };
