/*
 * Once per turn of the event loop, while there is something to do: take requests, look at what the
 * edges gave notice of, ring the edges. With nothing to do the worker says that it listens and is
 * woken by its eventfd. Answers are announced together: when all tasks that were started have had
 * their first step, after 16 or a millisecond (waking the edge costs more than a small request).
 *
 * Nobody hands requests out. A worker takes no more than its share of what runs and waits, so that
 * the first one to wake up does not take all.
 */
#include "app/python/asgi.h"

#include "core/clock.h"
#include "core/sys.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LIMIT = 256, /* requests at a time in one worker, WebSockets beside them */
    UNRUNG_LIMIT = 16,
    UNRUNG_US = 1000,
    STALE_US = 50000, /* a worker whose loop did not turn for so long takes no share */
};

struct asgi asgi;

static PyMethodDef turn_method = { "turn", asgi_module_turn, METH_NOARGS, NULL };

static struct segment_worker *self(void)
{
    return &worker.segment.workers[worker.index];
}

void asgi_tell_load(void)
{
    atomic_store_explicit(&self()->load, (uint32_t)asgi.load, memory_order_relaxed);
}

static void schedule(void)
{
    if (asgi.is_turn_due)
        return;
    PyObject *handle = PyObject_CallOneArg(asgi.call_soon, asgi.turn);
    asgi.is_turn_due = handle != NULL;
    if (handle == NULL)
        PyErr_WriteUnraisable(asgi.turn);
    Py_XDECREF(handle);
}

/* ---- ringing ---- */

static void ring_all(void)
{
    for (size_t edge = 0; asgi.unrung > 0 && edge < worker.bell_count; edge++) {
        if (asgi.is_unrung[edge])
            worker_ring(edge);
        asgi.is_unrung[edge] = false;
    }
    asgi.unrung = 0;
}

void asgi_tell(size_t slot)
{
    size_t edge = slot / worker.segment.slots_per_edge;
    if (worker.is_stray)
        return;
    segment_tell(&worker.segment, slot);
    if (edge >= SEGMENT_EDGES_LIMIT)
        return;
    asgi.is_unrung[edge] = true;
    int64_t now_us = clock_now_us();
    if (asgi.unrung++ == 0)
        asgi.unrung_since_us = now_us;
    if (asgi.starting == 0 || asgi.unrung >= UNRUNG_LIMIT ||
        now_us - asgi.unrung_since_us > UNRUNG_US)
        ring_all();
    else
        schedule();
}

/* ---- taking requests ---- */

struct queued {
    uint64_t ticket;
    size_t slot;
};

/* The oldest waiting requests of all edges, in their order; *count_out: how many wait. */
static size_t find_queued(struct queued found[LIMIT])
{
    size_t count = 0;
    for (size_t slot = 0; slot < worker.segment.slot_count && count < LIMIT; slot++) {
        if (segment_state(&worker.segment, slot) != SLOT_QUEUED)
            continue;
        struct queued queued = { segment_slot_ticket(&worker.segment, slot), slot };
        size_t at = count++;
        for (; at > 0 && found[at - 1].ticket > queued.ticket; at--)
            found[at] = found[at - 1];
        found[at] = queued;
    }
    return count;
}

/* Its loop should turn and does not. */
static bool is_stale(struct segment_worker *other, int64_t now_us)
{
    int64_t turned_us = atomic_load(&other->turned_us);
    int64_t knocked_us = atomic_load(&other->knocked_us);
    int64_t since_us = turned_us > knocked_us ? turned_us : knocked_us;
    return atomic_load(&other->listens) == 0 && now_us - since_us > STALE_US;
}

/* How many of the waiting requests are for this worker. */
static size_t share_of(size_t waiting)
{
    size_t total = waiting + asgi.load, workers = 1;
    int64_t now_us = clock_now_us();
    for (size_t i = 0; i < worker.segment.worker_count; i++) {
        struct segment_worker *other = &worker.segment.workers[i];
        if (i == worker.index || atomic_load(&other->pid) == 0 || atomic_load(&other->retire) != 0)
            continue;
        if (is_stale(other, now_us))
            continue;
        workers++;
        total += atomic_load(&other->load);
    }
    size_t fair = (total + workers - 1) / workers;
    size_t limit = LIMIT + asgi.sockets;
    if (fair > limit)
        fair = limit;
    return fair > asgi.load ? fair - asgi.load : 0;
}

static size_t take(void)
{
    static struct queued queued[LIMIT];
    size_t taken = 0;
    if (atomic_load(&self()->retire) != 0 || worker.is_stray)
        return 0;
    size_t count = find_queued(queued);
    size_t share = count > 0 ? share_of(count) : 0;
    for (size_t i = 0; i < count && taken < share; i++) {
        if (!segment_claim_slot(&worker.segment, worker.index, queued[i].slot))
            continue;
        taken++;
        asgi_request_start(queued[i].slot);
    }
    if (taken > 0)
        asgi_tell_load();
    return taken;
}

/* ---- one turn ---- */

static void look_at_notices(void)
{
    uint32_t notices = atomic_load(&self()->notices);
    if (notices == asgi.seen_notices)
        return;
    asgi.seen_notices = notices;
    list_each (at, &asgi.active) {
        struct asgi_request *request = list_entry(at, struct asgi_request, link);
        if (request->slot != NULL && atomic_exchange(&request->slot->notice, 0) != 0)
            asgi_request_notice(request);
    }
}

static void look_at_retirement(void)
{
    if (asgi.is_retiring || atomic_load(&self()->retire) == 0)
        return;
    asgi.is_retiring = true;
    PyObject *done = PyObject_CallNoArgs(asgi.on_retire);
    if (done == NULL)
        PyErr_WriteUnraisable(asgi.on_retire);
    Py_XDECREF(done);
}

static bool is_anything_new(void)
{
    return atomic_load(&self()->notices) != asgi.seen_notices ||
           (!asgi.is_retiring && atomic_load(&self()->retire) != 0);
}

PyObject *asgi_module_turn(PyObject *module, PyObject *nothing)
{
    struct segment_worker *at = self();
    asgi.is_turn_due = false;
    if (worker.is_stray)
        Py_RETURN_NONE;
    atomic_store(&at->turned_us, clock_now_us());
    atomic_store(&at->listens, 0);
    ring_all();
    look_at_notices();
    look_at_retirement();
    if (take() > 0 || asgi.is_turn_due) {
        schedule();
        Py_RETURN_NONE;
    }
    /* looked at once more after the mark is set: who comes later sees it and knocks */
    atomic_store(&at->listens, 1);
    if (take() > 0 || is_anything_new()) {
        atomic_store(&at->listens, 0);
        schedule();
    }
    Py_RETURN_NONE;
}

PyObject *asgi_module_knocked(PyObject *module, PyObject *nothing)
{
    uint64_t count;
    (void)!sys_read(worker.knocks[worker.index], &count, sizeof(count));
    return asgi_module_turn(module, NULL);
}

/* ---- descriptors of large bodies ---- */

/* file(): a packet came: the ticket of a request and the descriptor of its body. */
PyObject *asgi_module_file(PyObject *module, PyObject *nothing)
{
    uint64_t ticket = 0;
    bool is_empty;
    int fd = sys_receive_fd(worker.file_socket, &ticket, sizeof(ticket), MSG_DONTWAIT, &is_empty);
    if (fd < 0)
        Py_RETURN_NONE;
    list_each (at, &asgi.active) {
        struct asgi_request *request = list_entry(at, struct asgi_request, link);
        if (request->slot == NULL || request->ticket != ticket || request->file >= 0)
            continue;
        request->file = fd;
        asgi_wake(request);
        Py_RETURN_NONE;
    }
    fd_close(&fd);
    Py_RETURN_NONE;
}

/* ---- what asgi.py calls ---- */

/* active(): list of the requests that are not over. */
PyObject *asgi_module_active(PyObject *module, PyObject *nothing)
{
    PyObject *list = PyList_New(0);
    list_each (at, &asgi.active) {
        if (list == NULL ||
            PyList_Append(list, (PyObject *)list_entry(at, struct asgi_request, link)) < 0) {
            Py_XDECREF(list);
            return NULL;
        }
    }
    return list;
}

/* close_sockets(): open WebSockets are told that this worker ends. */
PyObject *asgi_module_close_sockets(PyObject *module, PyObject *nothing)
{
    list_each (at, &asgi.active) {
        struct asgi_request *request = list_entry(at, struct asgi_request, link);
        if (request->is_accepted && !request->is_ended) {
            asgi_socket_close(request, 1012);
            request->is_gone = true;
            asgi_wake(request);
        }
    }
    Py_RETURN_NONE;
}

static int take_loop(PyObject *loop)
{
    PyObject *module = PyImport_ImportModule("asyncio");
    asgi.loop = Py_NewRef(loop);
    asgi.create_future = PyObject_GetAttrString(loop, "create_future");
    asgi.call_soon = PyObject_GetAttrString(loop, "call_soon");
    asgi.task_type = module != NULL ? PyObject_GetAttrString(module, "Task") : NULL;
    asgi.task_names = Py_BuildValue("(s)", "loop");
    Py_XDECREF(module);
    return asgi.create_future != NULL && asgi.call_soon != NULL && asgi.task_type != NULL &&
                   asgi.task_names != NULL
               ? 0
               : -1;
}

/* start(application, loop, template_http, template_socket, state, report, on_retire, gone,
 * strips_root) */
PyObject *asgi_module_start(PyObject *module, PyObject *arguments)
{
    PyObject *loop, *state;
    int strips_root;
    list_init(&asgi.active);
    if (!PyArg_ParseTuple(arguments, "OOO!O!OOOOp", &asgi.application, &loop, &PyDict_Type,
                          &asgi.template_http, &PyDict_Type, &asgi.template_socket, &state,
                          &asgi.report, &asgi.on_retire, &asgi.gone, &strips_root))
        return NULL;
    asgi.strips_root = strips_root != 0;
    asgi.state = PyDict_Check(state) ? Py_NewRef(state) : NULL;
    Py_INCREF(asgi.application);
    Py_INCREF(asgi.template_http);
    Py_INCREF(asgi.template_socket);
    Py_INCREF(asgi.report);
    Py_INCREF(asgi.on_retire);
    Py_INCREF(asgi.gone);
    asgi.turn = PyCFunction_New(&turn_method, NULL);
    if (asgi.turn == NULL || asgi_scope_setup() < 0 || take_loop(loop) < 0)
        return NULL;
    atomic_store(&worker.segment.lanes[worker.index].tid, (int32_t)syscall(SYS_gettid));
    return asgi_module_turn(NULL, NULL);
}
