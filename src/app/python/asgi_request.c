/*
 * One request in an event loop. The object is what its Task runs: it passes each step on to the
 * application's coroutine and sees its end without a callback. When the answer is complete the slot
 * is given back at once; the coroutine may go on (background tasks).
 *
 *   started ── Task ──► steps of the application ──► over: answer ended, or 500, or broken off
 *                 └─ notice of the edge: client gone (http.disconnect), deadline (cancel), room
 */
#include "app/python/asgi.h"

#include "core/clock.h"
#include "core/sys.h"

#include <string.h>

void asgi_wake(struct asgi_request *request)
{
    PyObject *waiters = request->waiters;
    request->waiters = NULL;
    for (Py_ssize_t i = 0; waiters != NULL && i < PyList_GET_SIZE(waiters); i++) {
        PyObject *future = PyList_GET_ITEM(waiters, i);
        PyObject *is_done = PyObject_CallMethodNoArgs(future, asgi_names.done);
        if (is_done == Py_False)
            Py_XDECREF(PyObject_CallMethodOneArg(future, asgi_names.set_result, Py_None));
        Py_XDECREF(is_done);
        if (PyErr_Occurred())
            PyErr_WriteUnraisable(future);
    }
    Py_XDECREF(waiters);
}

void asgi_request_detach(struct asgi_request *request)
{
    if (request->slot == NULL)
        return;
    request->slot = NULL;
    fd_close(&request->file);
    asgi.load--;
    asgi.sockets -= request->is_accepted;
    segment_finish(&worker.segment, worker.index, request->number);
    asgi_tell_load();
    asgi_tell(request->number);
    worker_ask_follower();
}

/* ---- what the edge says ---- */

static void cancel_task(struct asgi_request *request)
{
    if (request->task == NULL || request->coroutine == NULL)
        return;
    PyObject *done = PyObject_CallMethodNoArgs(request->task, asgi_names.cancel);
    if (done == NULL)
        PyErr_WriteUnraisable(request->task);
    Py_XDECREF(done);
}

void asgi_request_notice(struct asgi_request *request)
{
    struct segment_slot *slot = request->slot;
    if (slot == NULL)
        return;
    uint32_t cancelled = atomic_load(&slot->cancelled);
    if (cancelled == CANCEL_DEADLINE) {
        request->is_gone = request->is_overdue = true;
        asgi_request_detach(request);
        cancel_task(request);
    } else if (cancelled != CANCEL_NONE) {
        request->is_gone = true;
        if (!request->is_accepted) /* a WebSocket may have messages that are not read yet */
            asgi_request_detach(request);
    }
    asgi_wake(request);
}

/* ---- the end ---- */

/* Takes the exception away and has it written to the log, with the request. */
static void report_exception(struct asgi_request *request)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL)
        PyException_SetTraceback(value, trace);
    PyObject *done = PyObject_CallFunctionObjArgs(
        asgi.report, request->scope != NULL ? request->scope : Py_None,
        value != NULL ? value : Py_None, request->is_overdue ? Py_True : Py_False, NULL);
    if (done == NULL)
        PyErr_WriteUnraisable(asgi.report);
    Py_XDECREF(done);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

static bool is_expected(const struct asgi_request *request)
{
    return (request->is_gone && PyErr_ExceptionMatches(asgi.gone)) ||
           (worker.is_stray && PyErr_ExceptionMatches(PyExc_SystemExit));
}

/* The application has returned or raised (then its exception is set, and gone afterwards). */
static void finish(struct asgi_request *request)
{
    bool has_failed = PyErr_Occurred() != NULL;
    bool must_answer = request->slot != NULL && !request->is_ended;
    if (has_failed && is_expected(request))
        PyErr_Clear();
    else if (!has_failed && must_answer && !request->is_gone && !request->is_accepted)
        PyErr_SetString(PyExc_RuntimeError, request->is_started
                                                ? "the application returned inside its answer"
                                                : "the application returned without an answer");
    if (PyErr_Occurred())
        report_exception(request);
    if (must_answer && request->is_accepted)
        asgi_socket_close(request, has_failed ? 1011 : 1000);
    else if (must_answer)
        segment_put(request->slot, RECORD_ERROR, T(""), true); /* without room: the same to it */
    request->is_ended = true;
    asgi_request_detach(request);
    asgi_wake(request);
    Py_CLEAR(request->coroutine);
    Py_CLEAR(request->task);
    if (list_is_empty(&request->link))
        return;
    list_remove(&request->link);
    Py_DECREF(request); /* the list's; the caller has one too */
}

/* ---- as a coroutine ---- */

static void begin(struct asgi_request *request)
{
    if (request->is_begun)
        return;
    request->is_begun = true;
    asgi.starting--;
}

static PySendResult request_step(PyObject *object, PyObject *argument, PyObject **result)
{
    struct asgi_request *self = (struct asgi_request *)object;
    *result = NULL;
    begin(self);
    if (self->coroutine == NULL) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    PyObject *coroutine = Py_NewRef(self->coroutine);
    PySendResult state = PyIter_Send(coroutine, argument, result);
    Py_DECREF(coroutine);
    if (state == PYGEN_NEXT)
        return state;
    Py_CLEAR(*result);
    Py_INCREF(self);
    finish(self);
    Py_DECREF(self);
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *request_send(PyObject *self, PyObject *argument)
{
    PyObject *result;
    if (request_step(self, argument, &result) == PYGEN_NEXT)
        return result;
    Py_XDECREF(result);
    PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *request_next(PyObject *self)
{
    return request_send(self, Py_None);
}

static PyObject *request_throw(PyObject *object, PyObject *arguments)
{
    struct asgi_request *self = (struct asgi_request *)object;
    begin(self);
    PyObject *coroutine = Py_XNewRef(self->coroutine);
    PyObject *throw = coroutine != NULL ? PyObject_GetAttr(coroutine, asgi_names.throw_) : NULL;
    PyObject *result = throw != NULL ? PyObject_Call(throw, arguments, NULL) : NULL;
    Py_XDECREF(throw);
    Py_XDECREF(coroutine);
    if (result != NULL)
        return result;
    if (PyErr_ExceptionMatches(PyExc_StopIteration))
        PyErr_Clear();
    Py_INCREF(self);
    finish(self);
    Py_DECREF(self);
    PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *request_close(PyObject *object, PyObject *nothing)
{
    struct asgi_request *self = (struct asgi_request *)object;
    begin(self);
    if (self->coroutine == NULL)
        Py_RETURN_NONE;
    PyObject *done = PyObject_CallMethodNoArgs(self->coroutine, asgi_names.close);
    Py_XDECREF(done);
    Py_INCREF(self);
    finish(self);
    Py_DECREF(self);
    Py_RETURN_NONE;
}

/* For the stack of a task: as if it were the application's coroutine. */
static PyObject *get_of_coroutine(PyObject *object, void *name)
{
    struct asgi_request *self = (struct asgi_request *)object;
    if (self->coroutine == NULL)
        Py_RETURN_NONE;
    PyObject *value = PyObject_GetAttrString(self->coroutine, name);
    if (value != NULL)
        return value;
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyObject *get_scope(PyObject *object, void *nothing)
{
    PyObject *scope = ((struct asgi_request *)object)->scope;
    return Py_NewRef(scope != NULL ? scope : Py_None);
}

static PyObject *get_task(PyObject *object, void *nothing)
{
    PyObject *task = ((struct asgi_request *)object)->task;
    return Py_NewRef(task != NULL ? task : Py_None);
}

static PyObject *get_age(PyObject *object, void *nothing)
{
    const struct asgi_request *self = (struct asgi_request *)object;
    if (self->is_accepted || self->is_slow_logged)
        return PyLong_FromLong(0);
    return PyLong_FromLongLong((clock_now_us() - self->started_us) / 1000);
}

static PyObject *mark_slow(PyObject *object, PyObject *nothing)
{
    ((struct asgi_request *)object)->is_slow_logged = true;
    Py_RETURN_NONE;
}

static PyGetSetDef attributes[] = {
    { "cr_frame", get_of_coroutine, NULL, NULL, "cr_frame" },
    { "cr_await", get_of_coroutine, NULL, NULL, "cr_await" },
    { "cr_code", get_of_coroutine, NULL, NULL, "cr_code" },
    { "cr_running", get_of_coroutine, NULL, NULL, "cr_running" },
    { "__qualname__", get_of_coroutine, NULL, NULL, "__qualname__" },
    { "__name__", get_of_coroutine, NULL, NULL, "__name__" },
    { "scope", get_scope, NULL, NULL, NULL },
    { "task", get_task, NULL, NULL, NULL },
    { "age_ms", get_age, NULL, "since its start; 0: not of interest any more", NULL },
    { NULL },
};

static PyMethodDef methods[] = {
    { "send", request_send, METH_O, NULL },
    { "throw", request_throw, METH_VARARGS, NULL },
    { "close", request_close, METH_NOARGS, NULL },
    { "mark_slow", mark_slow, METH_NOARGS, NULL },
    { NULL, NULL, 0, NULL },
};

/* ---- as an object ---- */

static int request_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct asgi_request *self = (struct asgi_request *)object;
    Py_VISIT(self->coroutine);
    Py_VISIT(self->task);
    Py_VISIT(self->scope);
    Py_VISIT(self->waiters);
    Py_VISIT(self->message);
    return 0;
}

static int request_clear(PyObject *object)
{
    struct asgi_request *self = (struct asgi_request *)object;
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->task);
    Py_CLEAR(self->scope);
    Py_CLEAR(self->waiters);
    Py_CLEAR(self->message);
    return 0;
}

static void request_free(PyObject *object)
{
    struct asgi_request *self = (struct asgi_request *)object;
    PyObject_GC_UnTrack(self);
    asgi_request_detach(self);
    list_remove(&self->link);
    request_clear(object);
    fd_close(&self->file);
    PyMem_Free(self->head);
    PyObject_GC_Del(self);
}

static PyAsyncMethods async_methods = {
    .am_await = PyObject_SelfIter,
    .am_send = request_step,
};

PyTypeObject AsgiRequest_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_trilith.request",
    .tp_basicsize = sizeof(struct asgi_request),
    .tp_dealloc = request_free,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = request_traverse,
    .tp_clear = request_clear,
    .tp_as_async = &async_methods,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = request_next,
    .tp_methods = methods,
    .tp_getset = attributes,
};

/* ---- the start ---- */

static struct asgi_request *request_new(size_t number)
{
    struct segment_slot *slot = &worker.segment.slots[number];
    struct asgi_request *self = PyObject_GC_New(struct asgi_request, &AsgiRequest_Type);
    if (self == NULL)
        return NULL;
    char *fields = (char *)self + offsetof(struct asgi_request, link);
    memset(fields, 0, sizeof(*self) - offsetof(struct asgi_request, link));
    self->slot = slot;
    self->number = number;
    self->ticket = segment_slot_ticket(&worker.segment, number);
    self->started_us = clock_now_us();
    self->is_socket = slot->is_socket != 0;
    self->is_head_request = slot->is_head != 0;
    self->file = -1;
    self->length = -1;
    list_init(&self->link);
    list_append(&asgi.active, &self->link);
    Py_INCREF(self); /* the list's: asyncio itself holds tasks only weakly */
    asgi.load++;
    PyObject_GC_Track(self);
    return self;
}

/* Its coroutine and the Task that runs it. */
static int start(struct asgi_request *request)
{
    request->scope = asgi_scope_new(request->slot);
    PyObject *receive = PyCFunction_New(&asgi_receive_method, (PyObject *)request);
    PyObject *send = PyCFunction_New(&asgi_send_method, (PyObject *)request);
    if (request->scope != NULL && receive != NULL && send != NULL) {
        PyObject *arguments[] = { request->scope, receive, send };
        request->coroutine = PyObject_Vectorcall(asgi.application, arguments, 3, NULL);
    }
    Py_XDECREF(receive);
    Py_XDECREF(send);
    if (request->coroutine == NULL)
        return -1;
    if (!PyCoro_CheckExact(request->coroutine)) { /* any awaitable */
        PyObject *iterator = PyObject_CallMethodNoArgs(request->coroutine, asgi_names.await_);
        Py_XSETREF(request->coroutine, iterator);
        if (iterator == NULL)
            return -1;
    }
    PyObject *arguments[] = { (PyObject *)request, asgi.loop };
    asgi.starting++;
    request->task = PyObject_Vectorcall(asgi.task_type, arguments, 1, asgi.task_names);
    if (request->task == NULL)
        begin(request);
    return request->task != NULL ? 0 : -1;
}

void asgi_request_start(size_t slot)
{
    struct asgi_request *request = request_new(slot);
    if (request == NULL) {
        PyErr_WriteUnraisable(asgi.application);
        segment_finish(&worker.segment, worker.index, slot);
        asgi_tell(slot);
        return;
    }
    if (start(request) < 0) {
        request->is_begun = true;
        finish(request);
    }
    Py_DECREF(request);
}
