/*
 * The loop of a worker. Waking the edge is what costs most in a small request, so it is put off: a
 * finished request is not announced when the worker takes another one of the same edge at once
 * (that edge polls every millisecond while its requests are queued), at most 16 times or 1 ms.
 */
#include "app/python/worker.h"

#include "core/clock.h"
#include "core/sys.h"

#include <unistd.h>

enum {
    UNRUNG_LIMIT = 16,
    UNRUNG_US = 1000,
    WAIT_MS = 1000,
    SLOW_TAIL_US = 1000, /* longer work behind the last byte is not waited for by the client */
};

struct worker worker = { .file_socket = -1, .control = -1 };

void worker_ring(size_t edge)
{
    uint64_t one = 1;
    if (edge < worker.bell_count && segment_must_ring(&worker.segment, edge))
        (void)!sys_write(worker.bells[edge], &one, sizeof(one));
}

void worker_ask_follower(void)
{
    uint64_t one = 1;
    if (segment_is_spent(&worker.segment, worker.index) && worker.control >= 0)
        (void)!sys_write(worker.control, &one, sizeof(one));
}

/* ---- the application's result ---- */

static int send_chunk(PyObject *chunk)
{
    if (!PyBytes_Check(chunk)) {
        PyErr_Format(PyExc_TypeError, "the application must give bytes, not %.100s",
                     Py_TYPE(chunk)->tp_name);
        return -1;
    }
    return answer_send(text_from(PyBytes_AS_STRING(chunk), (size_t)PyBytes_GET_SIZE(chunk)));
}

/* A list or tuple: its length is known before the first byte goes out. */
static int send_sequence(PyObject *result)
{
    struct answer *answer = &worker.answer;
    int64_t total = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(result); i++) {
        PyObject *chunk = PySequence_Fast_GET_ITEM(result, i);
        total += PyBytes_Check(chunk) ? PyBytes_GET_SIZE(chunk) : 0;
    }
    bool is_bodyless = answer->status == 204 || answer->status == 304;
    if (answer->is_started && !answer->is_head_sent && answer->length < 0 && !is_bodyless &&
        (total > 0 || !answer->is_head_request))
        answer->length = total;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(result); i++) {
        PyObject *chunk = PySequence_Fast_GET_ITEM(result, i);
        if (PyBytes_Check(chunk) && PyBytes_GET_SIZE(chunk) == 0)
            continue;
        Py_INCREF(chunk);
        int sent = send_chunk(chunk);
        Py_DECREF(chunk);
        if (sent < 0)
            return -1;
    }
    return answer_finish(0);
}

static int send_iterator(PyObject *result)
{
    struct answer *answer = &worker.answer;
    PyObject *iterator = PyObject_GetIter(result);
    if (iterator == NULL)
        return -1;
    PyObject *chunk;
    int sent = 0;
    while (sent == 0 && (chunk = PyIter_Next(iterator)) != NULL) {
        bool is_empty = PyBytes_Check(chunk) && PyBytes_GET_SIZE(chunk) == 0;
        if (!is_empty)
            sent = send_chunk(chunk);
        Py_DECREF(chunk);
        if (sent < 0 || is_empty)
            continue;
        if (answer->has_no_body)
            break;
        if (answer->whole_us == 0)
            answer_flush();
        else if (worker.is_tail_slow) {
            sent = answer_finish(0);
            answer_flush();
        }
    }
    Py_DECREF(iterator);
    if (sent < 0 || PyErr_Occurred())
        return -1;
    return answer_finish(0);
}

/* close() is called whatever happened (PEP 3333); an exception that is on its way stays. */
static void close_result(PyObject *result)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *close = PyObject_GetAttrString(result, "close");
    if (close == NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
        return;
    }
    if (worker.is_tail_slow && worker.answer.is_ended)
        answer_flush();
    PyObject *done = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    Py_XDECREF(done);
    if (type == NULL)
        return; /* its own exception, if any, is reported */
    PyErr_Clear();
    PyErr_Restore(type, value, trace);
}

static int send_result(PyObject *result)
{
    int sent;
    if (PyList_CheckExact(result) || PyTuple_CheckExact(result))
        return send_sequence(result);
    sent = send_iterator(result);
    close_result(result);
    return PyErr_Occurred() ? -1 : sent;
}

/* ---- one request ---- */

/* Takes the exception away and has it written to the log, with the request. */
static void report_exception(PyObject *report, PyObject *variables)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL)
        PyException_SetTraceback(value, trace);
    PyObject *done = PyObject_CallFunctionObjArgs(report, variables != NULL ? variables : Py_None,
                                                  value != NULL ? value : Py_None, NULL);
    if (done == NULL)
        PyErr_WriteUnraisable(report);
    Py_XDECREF(done);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

static void report_length(PyObject *report, PyObject *variables)
{
    const struct answer *answer = &worker.answer;
    bool is_short = answer->length >= 0 && answer->given < answer->length && !answer->has_no_body &&
                    !answer_is_cancelled();
    if (!is_short && !answer->is_cut)
        return;
    PyErr_Format(PyExc_AssertionError, "the answer has %s bytes than its Content-Length of %lld",
                 is_short ? "fewer" : "more", (long long)answer->length);
    report_exception(report, variables);
}

struct application {
    PyObject *call;
    PyObject *template;
    PyObject *report;
};

static void run_request(const struct application *application, size_t slot)
{
    answer_begin(slot);
    PyObject *input = input_new(worker.answer.slot);
    PyObject *start_response = start_response_new();
    PyObject *variables = NULL, *result = NULL;
    if (input != NULL && start_response != NULL)
        variables = environ_new(application->template, worker.answer.slot, input);
    if (variables != NULL) {
        PyObject *arguments[] = { variables, start_response };
        result = PyObject_Vectorcall(application->call, arguments, 2, NULL);
    }
    if (result != NULL && send_result(result) == 0)
        report_length(application->report, variables);
    if (PyErr_Occurred() != NULL) {
        bool is_expected = answer_is_cancelled() && PyErr_ExceptionMatches(PyExc_BrokenPipeError);
        answer_fail();
        if (is_expected)
            PyErr_Clear();
        else
            report_exception(application->report, variables);
    }
    if (input != NULL)
        input_detach(input);
    if (start_response != NULL)
        start_response_detach(start_response);
    Py_XDECREF(result);
    Py_XDECREF(variables);
    Py_XDECREF(start_response);
    Py_XDECREF(input);
}

/* After the last byte came more work (close(), background tasks): from now on this worker tells the
 * edge before it. */
static void watch_tail(int64_t now_us)
{
    const struct answer *answer = &worker.answer;
    if (answer->whole_us != 0 && now_us - answer->whole_us > SLOW_TAIL_US)
        worker.is_tail_slow = true;
}

/* ---- the loop ---- */

/* Rings for the request that was finished last, unless the next one makes that needless. */
static void announce(size_t finished, bool has_next, size_t next)
{
    size_t edge = finished / worker.segment.slots_per_edge;
    int64_t now_us = has_next ? clock_now_us() : 0;
    if (worker.unrung++ == 0)
        worker.unrung_since_us = now_us;
    if (has_next && next / worker.segment.slots_per_edge == edge && worker.unrung < UNRUNG_LIMIT &&
        now_us - worker.unrung_since_us < UNRUNG_US)
        return;
    worker.unrung = 0;
    worker_ring(edge);
}

static void run_and_finish(const struct application *application, size_t slot)
{
    run_request(application, slot);
    if (worker.is_stray) /* the request is its parent's, which goes on with it */
        _exit(0);
    segment_finish(&worker.segment, worker.index, slot);
    int64_t now_us = clock_now_us();
    int64_t started_us = atomic_load(&worker.segment.workers[worker.index].busy_since_us);
    worker.is_slow = now_us - started_us > UNRUNG_US; /* beside that a wake-up costs nothing */
    watch_tail(now_us);
    segment_tell(&worker.segment, slot);
    worker.answer.slot = NULL;
    worker_ask_follower();
}

PyObject *worker_serve(PyObject *module, PyObject *arguments)
{
    struct application application;
    size_t slot = 0, finished = 0;
    bool has_finished = false;
    if (!PyArg_ParseTuple(arguments, "OO!O", &application.call, &PyDict_Type, &application.template,
                          &application.report))
        return NULL;
    _Atomic uint32_t *retire = &worker.segment.workers[worker.index].retire;
    for (;;) {
        bool is_there =
            atomic_load(retire) == 0 && segment_claim(&worker.segment, worker.index, &slot);
        if (has_finished)
            announce(finished, is_there, slot);
        has_finished = is_there;
        finished = slot;
        if (is_there) {
            run_and_finish(&application, slot);
            continue;
        }
        if (atomic_load(retire) != 0)
            break;
        Py_BEGIN_ALLOW_THREADS;
        segment_wait(&worker.segment, worker.index, WAIT_MS);
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
    segment_wake(&worker.segment, 1); /* the last wake-up may have been meant for a request */
    Py_RETURN_NONE;
}
