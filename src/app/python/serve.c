/*
 * The loop of a worker. Waking the edge is what costs most in a small request, so it is put off: a
 * finished request is not announced when the worker takes another one of the same edge at once
 * (that edge polls every millisecond while its requests are queued), at most 16 times or 1 ms.
 */
#include "app/python/worker.h"

#include "core/clock.h"
#include "core/sys.h"

#include <sys/syscall.h>
#include <unistd.h>

enum {
    UNRUNG_LIMIT = 16,
    UNRUNG_US = 1000,
    WAIT_MS = 1000,
    SLOW_US = 500,
    SLOW_TAIL_US = 1000, /* longer work behind the last byte is not waited for by the client */
    SLOW_TAIL = 8,       /* one counts as much as so many short ones */
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

static int send_chunk(struct answer *answer, PyObject *chunk)
{
    if (!PyBytes_Check(chunk)) {
        PyErr_Format(PyExc_TypeError, "the application must give bytes, not %.100s",
                     Py_TYPE(chunk)->tp_name);
        return -1;
    }
    return answer_send(answer,
                       text_from(PyBytes_AS_STRING(chunk), (size_t)PyBytes_GET_SIZE(chunk)));
}

static bool is_tail_slow(void)
{
    return worker.slow_tails >= SLOW_TAIL;
}

/* A list or tuple: its length is known before the first byte goes out. */
static int send_sequence(struct answer *answer, PyObject *result)
{
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
        int sent = send_chunk(answer, chunk);
        Py_DECREF(chunk);
        if (sent < 0)
            return -1;
    }
    return answer_finish(answer, 0);
}

static int send_iterator(struct answer *answer, PyObject *result)
{
    PyObject *iterator = PyObject_GetIter(result);
    if (iterator == NULL)
        return -1;
    PyObject *chunk;
    int sent = 0;
    while (sent == 0 && (chunk = PyIter_Next(iterator)) != NULL) {
        bool is_empty = PyBytes_Check(chunk) && PyBytes_GET_SIZE(chunk) == 0;
        if (!is_empty)
            sent = send_chunk(answer, chunk);
        Py_DECREF(chunk);
        if (is_empty && sent == 0 && answer_is_cancelled(answer))
            break; /* nobody is there any more: close() now, not at the next byte */
        if (sent < 0 || is_empty)
            continue;
        if (answer->has_no_body)
            break;
        if (answer->whole_us == 0)
            answer_flush(answer);
        else if (is_tail_slow()) {
            sent = answer_finish(answer, 0);
            answer_flush(answer);
        }
    }
    Py_DECREF(iterator);
    if (sent < 0 || PyErr_Occurred())
        return -1;
    return answer_is_cancelled(answer) ? 0 : answer_finish(answer, 0);
}

/* close() is called whatever happened (PEP 3333); an exception that is on its way stays. */
static void close_result(struct answer *answer, PyObject *result)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *close = PyObject_GetAttrString(result, "close");
    if (close == NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
        return;
    }
    if (is_tail_slow() && answer->is_ended)
        answer_flush(answer);
    PyObject *done = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    Py_XDECREF(done);
    if (type == NULL)
        return; /* its own exception, if any, is reported */
    PyErr_Clear();
    PyErr_Restore(type, value, trace);
}

static int send_result(struct answer *answer, PyObject *result)
{
    int sent;
    if (PyList_CheckExact(result) || PyTuple_CheckExact(result))
        return send_sequence(answer, result);
    bool is_file = Py_IS_TYPE(result, &FileWrapper_Type);
    sent = is_file ? file_hand_over(answer, result) : 0;
    if (sent == 0)
        sent = send_iterator(answer, result);
    if (is_file)
        answer->is_cut = false; /* Content-Length says how much of a file is wanted */
    close_result(answer, result);
    return PyErr_Occurred() || sent < 0 ? -1 : 0;
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

static void report_length(const struct answer *answer, PyObject *report, PyObject *variables)
{
    bool is_short = answer->length >= 0 && answer->given < answer->length && !answer->has_no_body &&
                    !answer_is_cancelled(answer);
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

/* Answers the request in the slot. Expected exceptions are those of an answer nobody wants. */
static void run_request(const struct application *application, struct lane *lane, size_t slot)
{
    struct answer *answer = &lane->answer;
    answer_begin(answer, slot);
    PyObject *input = input_new(answer);
    PyObject *start_response = start_response_new(answer);
    PyObject *variables = NULL, *result = NULL;
    if (input != NULL && start_response != NULL)
        variables = environ_new(application->template, answer->slot, input);
    if (variables != NULL) {
        PyObject *arguments[] = { variables, start_response };
        result = PyObject_Vectorcall(application->call, arguments, 2, NULL);
    }
    if (result != NULL && send_result(answer, result) == 0)
        report_length(answer, application->report, variables);
    if (PyErr_Occurred() != NULL) {
        bool is_expected =
            answer_is_cancelled(answer) && PyErr_ExceptionMatches(PyExc_BrokenPipeError);
        answer_fail(answer);
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
 * edge before it. Now and then any tail is long because another process had the core. */
static void watch_tail(const struct answer *answer, int64_t now_us)
{
    if (answer->whole_us == 0)
        return;
    if (now_us - answer->whole_us <= SLOW_TAIL_US)
        worker.slow_tails -= worker.slow_tails > 0;
    else if (worker.slow_tails < 2 * SLOW_TAIL)
        worker.slow_tails += SLOW_TAIL;
}

/* ---- deadlines ---- */

/* Whether the edge gave up its request and nobody has told the thread yet. */
static bool is_due(struct lane *lane)
{
    const struct answer *answer = &lane->answer;
    if (answer->slot == NULL || atomic_load(&answer->slot->cancelled) != CANCEL_DEADLINE)
        return false;
    uint64_t ticket = segment_slot_ticket(&worker.segment, answer->number) + 1;
    bool is_new = lane->interrupted != ticket;
    lane->interrupted = ticket;
    return is_new;
}

PyObject *worker_interrupt(PyObject *module, PyObject *exception)
{
    bool is_mine = false;
    for (size_t i = 0; i < worker.lane_count && !worker.is_stray; i++) {
        struct lane *lane = &worker.lanes[i];
        if (lane->ident == 0 || !is_due(lane))
            continue;
        if (lane->ident == PyThread_get_thread_ident())
            is_mine = true;
        else
            PyThreadState_SetAsyncExc(lane->ident, exception);
    }
    if (!is_mine)
        Py_RETURN_NONE;
    PyErr_SetString(exception, "the request took longer than app.request-timeout");
    return NULL;
}

/* The exception may still be on its way to this thread: it was for the request that is over. */
static void forget_interrupt(struct lane *lane)
{
    lane->answer.slot = NULL;
    if (lane->interrupted != 0)
        PyThreadState_SetAsyncExc(lane->ident, NULL);
    lane->interrupted = 0;
}

/* ---- the loop ---- */

/* Rings for the request that was finished last, unless the next one makes that needless. */
static void announce(struct lane *lane, size_t finished, bool has_next, size_t next)
{
    size_t edge = finished / worker.segment.slots_per_edge;
    if (lane->unrung++ == 0)
        lane->unrung_since_us = lane->finished_us;
    bool may_wait =
        segment_naps(&worker.segment, edge) ||
        (lane->unrung < UNRUNG_LIMIT && lane->finished_us - lane->unrung_since_us < UNRUNG_US);
    if (has_next && next / worker.segment.slots_per_edge == edge && may_wait && !lane->is_slow)
        return;
    lane->unrung = 0;
    worker_ring(edge);
}

static void run_and_finish(const struct application *application, struct lane *lane, size_t slot)
{
    run_request(application, lane, slot);
    if (worker.is_stray) /* the request is its parent's, which goes on with it */
        _exit(0);
    int64_t started_us = atomic_load(&lane->answer.slot->started_us);
    forget_interrupt(lane);
    lane->finished_us = segment_finish(&worker.segment, lane->number, slot);
    lane->is_slow = lane->finished_us - started_us > SLOW_US;
    watch_tail(&lane->answer, lane->finished_us);
    segment_tell(&worker.segment, slot);
    worker_ask_follower();
}

/* Claims and runs until the worker retires; -1 with an exception of a signal handler. */
static int serve(const struct application *application, struct lane *lane)
{
    size_t slot = 0, finished = 0;
    bool has_finished = false;
    _Atomic uint32_t *retire = &worker.segment.workers[worker.index].retire;
    for (;;) {
        bool is_there =
            atomic_load(retire) == 0 && segment_claim(&worker.segment, lane->number, &slot);
        if (has_finished)
            announce(lane, finished, is_there, slot);
        has_finished = is_there;
        finished = slot;
        if (is_there) {
            run_and_finish(application, lane, slot);
            continue;
        }
        if (atomic_load(retire) != 0)
            return 0;
        Py_BEGIN_ALLOW_THREADS;
        segment_wait(&worker.segment, lane->number, WAIT_MS);
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

PyObject *worker_serve(PyObject *module, PyObject *arguments)
{
    struct application application;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(arguments, "OO!On", &application.call, &PyDict_Type,
                          &application.template, &application.report, &index))
        return NULL;
    if (index < 0 || (size_t)index >= worker.lane_count) {
        PyErr_SetString(PyExc_IndexError, "no such lane");
        return NULL;
    }
    struct lane *lane = &worker.lanes[index];
    lane->number = worker.index + (size_t)index * worker.segment.worker_count;
    lane->ident = PyThread_get_thread_ident();
    atomic_store(&worker.segment.lanes[lane->number].tid, (int32_t)syscall(SYS_gettid));
    int result = serve(&application, lane);
    lane->ident = 0;
    if (result < 0)
        return NULL;
    segment_wake(&worker.segment, 1); /* the last wake-up may have been meant for a request */
    Py_RETURN_NONE;
}
