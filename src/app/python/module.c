/*
 * The module `_trilith`: what the zygote of an application calls.
 */
#include "app/python/worker.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <malloc.h>
#include <sys/prctl.h>

PyMODINIT_FUNC PyInit__trilith(void);

static PyObject *module_map(PyObject *module, PyObject *arguments)
{
    int fd;
    PyObject *bells;
    struct why why;
    if (!PyArg_ParseTuple(arguments, "iO!|i", &fd, &PyList_Type, &bells, &worker.control))
        return NULL;
    segment_unmap(&worker.segment);
    if (segment_map(fd, &worker.segment, &why) != OK) {
        PyErr_SetString(PyExc_OSError, why.text);
        return NULL;
    }
    worker.bell_count = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(bells) && i < SEGMENT_EDGES_LIMIT; i++)
        worker.bells[worker.bell_count++] = (int)PyLong_AsLong(PyList_GET_ITEM(bells, i));
    if (PyErr_Occurred() || environ_setup() < 0)
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

/* begin(index, pid, limit): in the zygote right after the fork: the entry is this worker's; at so
 * many requests it rings the zygote (0: never). */
static PyObject *module_begin(PyObject *module, PyObject *arguments)
{
    PyObject *number;
    int pid;
    unsigned long long limit = 0;
    size_t index;
    if (!PyArg_ParseTuple(arguments, "Oi|K", &number, &pid, &limit))
        return NULL;
    struct segment_worker *entry = entry_of(number, &index);
    if (entry == NULL)
        return NULL;
    atomic_store(&entry->retire, 0);
    atomic_store(&entry->sleeping, 0);
    atomic_store(&entry->requests, 0);
    atomic_store(&entry->limit, limit);
    atomic_store(&entry->pid, pid);
    Py_RETURN_NONE;
}

/* become(index, file_socket): in the worker. */
static PyObject *module_become(PyObject *module, PyObject *arguments)
{
    PyObject *number;
    int file_socket;
    size_t index;
    if (!PyArg_ParseTuple(arguments, "Oi", &number, &file_socket))
        return NULL;
    if (entry_of(number, &index) == NULL)
        return NULL;
    worker.index = index;
    worker.file_socket = file_socket;
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

/* info(index) -> (pid, requests, milliseconds in its request or -1, over its deadline) */
static PyObject *module_info(PyObject *module, PyObject *number)
{
    size_t index;
    struct segment_worker *entry = entry_of(number, &index);
    if (entry == NULL)
        return NULL;
    uint32_t busy = atomic_load(&entry->busy_slot);
    bool is_busy = busy > 0 && busy <= worker.segment.slot_count;
    bool is_overdue = is_busy && segment_slot_worker(&worker.segment, busy - 1) == index &&
                      segment_state(&worker.segment, busy - 1) == SLOT_RUNNING &&
                      atomic_load(&worker.segment.slots[busy - 1].cancelled) == CANCEL_DEADLINE;
    long long busy_ms = is_busy ? (clock_now_us() - atomic_load(&entry->busy_since_us)) / 1000 : -1;
    return Py_BuildValue("iKLO", (int)atomic_load(&entry->pid),
                         (unsigned long long)atomic_load(&entry->requests), busy_ms,
                         is_overdue ? Py_True : Py_False);
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

/* is_overdue(): the edge gave up the request that this worker is in. */
static PyObject *module_is_overdue(PyObject *module, PyObject *nothing)
{
    const struct segment_slot *slot = worker.answer.slot;
    return PyBool_FromLong(slot != NULL && atomic_load(&slot->cancelled) == CANCEL_DEADLINE);
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
    { "map", module_map, METH_VARARGS, "map(segment_fd, bells, control)" },
    { "begin", module_begin, METH_VARARGS, "begin(index, pid, limit)" },
    { "queue", module_queue, METH_NOARGS, "queue() -> (waiting, oldest_ms)" },
    { "trim", module_trim, METH_NOARGS, "trim()" },
    { "become", module_become, METH_VARARGS, "become(index, file_socket)" },
    { "retire", module_retire, METH_O, "retire(index)" },
    { "lost", module_lost, METH_O, "lost(index)" },
    { "info", module_info, METH_O, "info(index) -> (pid, requests, busy_ms, is_overdue)" },
    { "is_overdue", module_is_overdue, METH_NOARGS, "is_overdue()" },
    { "abandon", module_abandon, METH_NOARGS, "abandon()" },
    { "title", module_title, METH_O, "title(text)" },
    { "serve", worker_serve, METH_VARARGS, "serve(application, template, report)" },
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
    if (PyType_Ready(&StartResponse_Type) < 0 || PyType_Ready(&Input_Type) < 0)
        return NULL;
    return PyModule_Create(&definition);
}
