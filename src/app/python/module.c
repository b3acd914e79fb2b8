/*
 * The module `_trilith`: what the zygote of an application calls.
 */
#include "app/python/asgi.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

PyMODINIT_FUNC PyInit__trilith(void);

static size_t take_descriptors(PyObject *list, int *out)
{
    size_t count = 0;
    while (count < (size_t)PyList_GET_SIZE(list) && count < SEGMENT_EDGES_LIMIT) {
        out[count] = (int)PyLong_AsLong(PyList_GET_ITEM(list, (Py_ssize_t)count));
        count++;
    }
    return count;
}

static PyObject *module_map(PyObject *module, PyObject *arguments)
{
    int fd;
    PyObject *bells, *backs, *knocks;
    struct why why;
    if (!PyArg_ParseTuple(arguments, "iO!iO!O!", &fd, &PyList_Type, &bells, &worker.control,
                          &PyList_Type, &backs, &PyList_Type, &knocks))
        return NULL;
    segment_unmap(&worker.segment);
    if (segment_map(fd, &worker.segment, &why) != OK) {
        PyErr_SetString(PyExc_OSError, why.text);
        return NULL;
    }
    worker.bell_count = take_descriptors(bells, worker.bells);
    worker.back_count = take_descriptors(backs, worker.backs);
    worker.knock_count = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(knocks) && i < SEGMENT_WORKERS_LIMIT; i++)
        worker.knocks[worker.knock_count++] = (int)PyLong_AsLong(PyList_GET_ITEM(knocks, i));
    worker.lane_count = worker.segment.lane_count / worker.segment.worker_count;
    if (PyErr_Occurred() || environ_setup() < 0 || input_setup() < 0 || file_setup() < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The table entry that a call names, or NULL with an exception. */
static struct segment_worker *entry_of(PyObject *number, size_t *index)
{
    *index = PyLong_AsSize_t(number);
    if (PyErr_Occurred())
        return NULL;
    if (worker.segment.base == NULL || *index >= worker.segment.worker_count) {
        PyErr_SetString(PyExc_IndexError, "no such worker");
        return NULL;
    }
    return &worker.segment.workers[*index];
}

/* begin(index, limit): in the zygote before the fork: the entry is for a new worker, which rings
 * the zygote at so many requests (0: never). Not after the fork: the worker may be at work by then.
 */
static PyObject *module_begin(PyObject *module, PyObject *arguments)
{
    PyObject *number;
    unsigned long long limit = 0;
    size_t index;
    if (!PyArg_ParseTuple(arguments, "O|K", &number, &limit))
        return NULL;
    struct segment_worker *entry = entry_of(number, &index);
    if (entry == NULL)
        return NULL;
    atomic_store(&entry->retire, 0);
    atomic_store(&entry->requests, 0);
    atomic_store(&entry->limit, limit);
    atomic_store(&entry->listens, 0);
    atomic_store(&entry->load, 0);
    Py_RETURN_NONE;
}

/* become(index, file_socket): in the worker. Its pid stands there before it takes a request,
 * because requests of nobody are given up. */
static PyObject *module_become(PyObject *module, PyObject *arguments)
{
    PyObject *number;
    int file_socket;
    size_t index;
    if (!PyArg_ParseTuple(arguments, "Oi", &number, &file_socket))
        return NULL;
    struct segment_worker *entry = entry_of(number, &index);
    if (entry == NULL)
        return NULL;
    worker.index = index;
    worker.file_socket = file_socket;
    atomic_store(&entry->pid, getpid());
    Py_RETURN_NONE;
}

static PyObject *module_retire(PyObject *module, PyObject *number)
{
    size_t index;
    struct segment_worker *entry = entry_of(number, &index);
    if (entry == NULL)
        return NULL;
    atomic_store(&entry->retire, 1);
    segment_wake_worker(&worker.segment, index);
    if (index < worker.knock_count) {
        uint64_t one = 1;
        (void)!sys_write(worker.knocks[index], &one, sizeof(one));
    }
    Py_RETURN_NONE;
}

/* lost(index): it is dead; its request fails and the edge is told. Returns whether it had one. */
static PyObject *module_lost(PyObject *module, PyObject *number)
{
    size_t index, edges[SEGMENT_EDGES_LIMIT];
    if (entry_of(number, &index) == NULL)
        return NULL;
    size_t count = segment_worker_lost(&worker.segment, index, edges);
    for (size_t i = 0; i < count; i++)
        worker_ring(edges[i]);
    segment_wake(&worker.segment, 1); /* it may have been woken for a request it did not take */
    return PyBool_FromLong(count > 0);
}

/* info(index) -> (pid, requests, milliseconds in its oldest request or -1, requests it is in) */
static PyObject *module_info(PyObject *module, PyObject *number)
{
    size_t index, busy = 0;
    struct segment_worker *entry = entry_of(number, &index);
    if (entry == NULL)
        return NULL;
    int64_t now_us = clock_now_us(), since_us = now_us;
    for (size_t slot = 0; slot < worker.segment.slot_count; slot++) {
        if (segment_state(&worker.segment, slot) != SLOT_RUNNING ||
            segment_slot_worker(&worker.segment, slot) != index)
            continue;
        int64_t started_us = atomic_load(&worker.segment.slots[slot].started_us);
        since_us = started_us > 0 && started_us < since_us ? started_us : since_us;
        busy++;
    }
    return Py_BuildValue("iKLn", (int)atomic_load(&entry->pid),
                         (unsigned long long)atomic_load(&entry->requests),
                         busy > 0 ? (long long)(now_us - since_us) / 1000 : -1LL, (Py_ssize_t)busy);
}

/* queue() -> (requests that wait for a worker, milliseconds of the oldest) */
static PyObject *module_queue(PyObject *module, PyObject *nothing)
{
    int64_t oldest_us = 0;
    size_t count = worker.segment.base != NULL ? segment_queue(&worker.segment, &oldest_us) : 0;
    return Py_BuildValue("nL", (Py_ssize_t)count, (long long)(oldest_us / 1000));
}

/* trim(): gives memory that nothing uses back to the kernel, so that forks do not share it. */
static PyObject *module_trim(PyObject *module, PyObject *nothing)
{
    malloc_trim(0);
    Py_RETURN_NONE;
}

/* The value of a key in the table of a request, as latin-1 text; "?" without it. */
static PyObject *value_of(const struct segment_slot *slot, enum segment_key key)
{
    size_t bytes = slot->table_bytes <= SEGMENT_REQUEST_BYTES ? slot->table_bytes : 0;
    struct text rest = text_from((const char *)slot->request, bytes), name, value;
    struct segment_entry entry;
    while (segment_table_next(&rest, &entry, &name, &value)) {
        if (entry.key == key)
            return PyUnicode_DecodeLatin1(value.data, (Py_ssize_t)value.len, NULL);
    }
    return PyUnicode_FromString("?");
}

/* running() -> [(worker, lane, slot, ticket, milliseconds, is_overdue)] of all requests that a
 * worker is in. */
static PyObject *module_running(PyObject *module, PyObject *nothing)
{
    PyObject *found = PyList_New(0);
    int64_t now_us = clock_now_us();
    for (size_t slot = 0; found != NULL && slot < worker.segment.slot_count; slot++) {
        if (segment_state(&worker.segment, slot) != SLOT_RUNNING)
            continue;
        const struct segment_slot *at = &worker.segment.slots[slot];
        int64_t started_us = atomic_load(&at->started_us);
        size_t lane = segment_slot_lane(&worker.segment, slot);
        if (lane == SEGMENT_NO_WORKER)
            continue;
        long long ms = started_us > 0 && started_us < now_us ? (now_us - started_us) / 1000 : 0;
        bool is_overdue = atomic_load(&at->cancelled) == CANCEL_DEADLINE;
        PyObject *row = Py_BuildValue(
            "nnnKLO", (Py_ssize_t)segment_slot_worker(&worker.segment, slot), (Py_ssize_t)lane,
            (Py_ssize_t)slot, (unsigned long long)segment_slot_ticket(&worker.segment, slot), ms,
            is_overdue ? Py_True : Py_False);
        if (row == NULL || PyList_Append(found, row) < 0)
            Py_CLEAR(found);
        Py_XDECREF(row);
    }
    return found;
}

/* line(slot) -> (method, path, id) of the request in it */
static PyObject *module_line(PyObject *module, PyObject *number)
{
    size_t slot = PyLong_AsSize_t(number);
    if (PyErr_Occurred())
        return NULL;
    if (slot >= worker.segment.slot_count) {
        PyErr_SetString(PyExc_IndexError, "no such slot");
        return NULL;
    }
    const struct segment_slot *at = &worker.segment.slots[slot];
    return Py_BuildValue("NNN", value_of(at, KEY_REQUEST_METHOD), value_of(at, KEY_PATH_INFO),
                         value_of(at, KEY_REQUEST_ID));
}

/* signal(worker, lane, number): to the thread of that lane. False: it is not there. */
static PyObject *module_signal(PyObject *module, PyObject *arguments)
{
    Py_ssize_t index, lane;
    int number;
    if (!PyArg_ParseTuple(arguments, "nni", &index, &lane, &number))
        return NULL;
    if (index < 0 || (size_t)index >= worker.segment.worker_count || lane < 0 ||
        (size_t)lane >= worker.segment.lane_count)
        Py_RETURN_FALSE;
    int32_t pid = atomic_load(&worker.segment.workers[index].pid);
    int32_t tid = atomic_load(&worker.segment.lanes[lane].tid);
    /* tgkill: the thread must be one of that process, whatever stands in the shared memory */
    bool is_sent = pid > 0 && tid > 0 && syscall(SYS_tgkill, pid, tid, number) == 0;
    return PyBool_FromLong(is_sent);
}

/* abandon(): in a child that the application forked. */
static PyObject *module_abandon(PyObject *module, PyObject *nothing)
{
    worker.is_stray = true;
    Py_RETURN_NONE;
}

/* title(text): what ps shows, written over the arguments the process was started with. */
static PyObject *module_title(PyObject *module, PyObject *title)
{
    struct text stat;
    const char *text = PyUnicode_AsUTF8(title);
    if (text == NULL)
        return NULL;
    prctl(PR_SET_NAME, text, 0, 0, 0);
    if (sys_read_file("/proc/self/stat", 4096, &stat, NULL) != OK)
        Py_RETURN_NONE;
    /* behind the name in brackets: field 3 is the first, 48 and 49 are the argument area */
    struct text rest = stat;
    while (text_find(rest, ')') >= 0)
        rest = text_skip(rest, (size_t)text_find(rest, ')') + 1);
    uint64_t start = 0, end = 0;
    text_next(&rest, ' ');
    for (int field = 3; field <= 49; field++) {
        struct text word = text_next(&rest, ' ');
        if (field == 48 && !text_to_uint(word, UINT64_MAX, &start))
            break;
        if (field == 49 && !text_to_uint(word, UINT64_MAX, &end))
            break;
    }
    memory_free((void *)stat.data);
    if (start != 0 && end > start) {
        memset((char *)(uintptr_t)start, 0, (size_t)(end - start));
        text_copy_to(text_of(text), (char *)(uintptr_t)start, (size_t)(end - start));
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    { "map", module_map, METH_VARARGS, "map(segment_fd, bells, control, backs)" },
    { "begin", module_begin, METH_VARARGS, "begin(index, limit)" },
    { "queue", module_queue, METH_NOARGS, "queue() -> (waiting, oldest_ms)" },
    { "trim", module_trim, METH_NOARGS, "trim()" },
    { "become", module_become, METH_VARARGS, "become(index, file_socket)" },
    { "retire", module_retire, METH_O, "retire(index)" },
    { "lost", module_lost, METH_O, "lost(index)" },
    { "info", module_info, METH_O, "info(index) -> (pid, requests, busy_ms, busy_count)" },
    { "running", module_running, METH_NOARGS,
      "running() -> [(worker, lane, slot, ticket, ms, is_overdue)]" },
    { "line", module_line, METH_O, "line(slot) -> (method, path, id)" },
    { "signal", module_signal, METH_VARARGS, "signal(worker, lane, number)" },
    { "interrupt", worker_interrupt, METH_O, "interrupt(exception)" },
    { "abandon", module_abandon, METH_NOARGS, "abandon()" },
    { "title", module_title, METH_O, "title(text)" },
    { "asgi_start", asgi_module_start, METH_VARARGS, "see asgi_turn.c" },
    { "asgi_knocked", asgi_module_knocked, METH_NOARGS, "asgi_knocked(): the eventfd is readable" },
    { "asgi_file", asgi_module_file, METH_NOARGS, "asgi_file(): the socket for bodies is" },
    { "asgi_active", asgi_module_active, METH_NOARGS, "asgi_active() -> [request]" },
    { "asgi_close_sockets", asgi_module_close_sockets, METH_NOARGS, "asgi_close_sockets()" },
    { "serve", worker_serve, METH_VARARGS, "serve(application, template, report, lane)" },
    { NULL, NULL, 0, NULL },
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_trilith",
    .m_doc = "The worker side of Trilith's application server.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__trilith(void)
{
    if (PyType_Ready(&AsgiRequest_Type) < 0 || PyType_Ready(&AsgiAwaitable_Type) < 0 ||
        PyType_Ready(&StartResponse_Type) < 0 || PyType_Ready(&Input_Type) < 0 ||
        PyType_Ready(&FileWrapper_Type) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL &&
        PyModule_AddObjectRef(module, "FileWrapper", (PyObject *)&FileWrapper_Type) < 0)
        Py_CLEAR(module);
    return module;
}
