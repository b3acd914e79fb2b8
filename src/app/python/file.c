/*
 * wsgi.file_wrapper. When the application returns it untouched and its read() is that of an
 * ordinary file, the answer is not read here at all: the edge gets the descriptor and sends it
 * itself. What is no such file is read in blocks, as PEP 3333 says.
 */
#include "app/python/worker.h"

#include "core/sys.h"

#include <string.h>
#include <sys/stat.h>

enum {
    BLOCK_BYTES = 64 * 1024,
    WORTH_BYTES = 32 * 1024, /* less is copied faster than a descriptor is passed */
    WRAPPED_LIMIT = 4,       /* functools.wraps around read() */
};

struct file_wrapper {
    PyObject_HEAD;
    PyObject *filelike;
    Py_ssize_t block_size;
    bool is_touched; /* somebody reads it */
};

/* ---- the object ---- */

static PyObject *wrapper_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    static char *keywords[] = { "filelike", "block_size", NULL };
    PyObject *filelike;
    Py_ssize_t block_size = BLOCK_BYTES;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "O|n", keywords, &filelike, &block_size))
        return NULL;
    struct file_wrapper *self = PyObject_New(struct file_wrapper, type);
    if (self == NULL)
        return NULL;
    Py_INCREF(filelike);
    self->filelike = filelike;
    self->block_size = block_size > 0 ? block_size : BLOCK_BYTES;
    self->is_touched = false;
    return (PyObject *)self;
}

static void wrapper_free(PyObject *self)
{
    Py_XDECREF(((struct file_wrapper *)self)->filelike);
    PyObject_Free(self);
}

static PyObject *wrapper_iter(PyObject *self)
{
    ((struct file_wrapper *)self)->is_touched = true;
    Py_INCREF(self);
    return self;
}

static PyObject *wrapper_next(PyObject *object)
{
    struct file_wrapper *self = (struct file_wrapper *)object;
    self->is_touched = true;
    PyObject *data = PyObject_CallMethod(self->filelike, "read", "n", self->block_size);
    if (data != NULL && PyObject_Size(data) == 0)
        Py_CLEAR(data);
    return data;
}

static PyObject *wrapper_close(PyObject *object, PyObject *nothing)
{
    PyObject *close = PyObject_GetAttrString(((struct file_wrapper *)object)->filelike, "close");
    if (close == NULL) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *done = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    return done;
}

static PyObject *wrapper_filelike(PyObject *object, void *nothing)
{
    struct file_wrapper *self = (struct file_wrapper *)object;
    self->is_touched = true; /* who asks for it may read it, or move its position */
    Py_INCREF(self->filelike);
    return self->filelike;
}

static PyMethodDef methods[] = {
    { "close", wrapper_close, METH_NOARGS, "Closes the file." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef attributes[] = {
    { "filelike", wrapper_filelike, NULL, "The file that is wrapped.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject FileWrapper_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_trilith.FileWrapper",
    .tp_basicsize = sizeof(struct file_wrapper),
    .tp_new = wrapper_new,
    .tp_dealloc = wrapper_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_iter = wrapper_iter,
    .tp_iternext = wrapper_next,
    .tp_methods = methods,
    .tp_getset = attributes,
    .tp_doc = "FileWrapper(filelike, block_size): wsgi.file_wrapper of PEP 3333",
};

/* ---- handing the file over ---- */

/* Types of io whose read() gives the bytes of their descriptor; their addresses, once known. */
static struct {
    PyObject *plain, *reader, *random;
} io_types;

int file_setup(void)
{
    if (io_types.plain != NULL)
        return 0;
    PyObject *io = PyImport_ImportModule("io");
    if (io == NULL)
        return -1;
    io_types.plain = PyObject_GetAttrString(io, "FileIO");
    io_types.reader = PyObject_GetAttrString(io, "BufferedReader");
    io_types.random = PyObject_GetAttrString(io, "BufferedRandom");
    Py_DECREF(io);
    return io_types.plain != NULL && io_types.reader != NULL && io_types.random != NULL ? 0 : -1;
}

static PyObject *attribute(PyObject *object, const char *name)
{
    PyObject *found = PyObject_GetAttrString(object, name);
    if (found == NULL)
        PyErr_Clear();
    return found;
}

/* The object whose bytes read() really gives. Wrappers like those of tempfile and Django pass its
 * method on; one that makes other bytes (gzip) has a method of its own. A new reference or NULL. */
static PyObject *reader_of(PyObject *filelike)
{
    PyObject *read = attribute(filelike, "read");
    for (int i = 0; read != NULL && i < WRAPPED_LIMIT; i++) {
        PyObject *inner = attribute(read, "__wrapped__");
        if (inner == NULL)
            break;
        Py_SETREF(read, inner);
    }
    PyObject *owner = read != NULL ? attribute(read, "__self__") : NULL;
    Py_XDECREF(read);
    return owner;
}

static bool is_plain(PyObject *file)
{
    PyObject *type = (PyObject *)Py_TYPE(file);
    if (type == io_types.plain)
        return true;
    if (type != io_types.reader && type != io_types.random)
        return false;
    PyObject *raw = attribute(file, "raw");
    bool is_file = raw != NULL && (PyObject *)Py_TYPE(raw) == io_types.plain;
    Py_XDECREF(raw);
    return is_file;
}

/* What file.name() says as a number, -1 for none. */
static int64_t ask(PyObject *file, const char *name)
{
    PyObject *got = PyObject_CallMethod(file, name, NULL);
    int64_t number = got != NULL && PyLong_Check(got) ? PyLong_AsLongLong(got) : -1;
    Py_XDECREF(got);
    PyErr_Clear();
    return number;
}

struct place {
    int fd;
    int64_t offset;
    int64_t length; /* from there to the end */
};

/* Where the rest of an ordinary file lies; false for anything else. */
static bool find_place(PyObject *filelike, struct place *place)
{
    struct stat status;
    PyObject *file = reader_of(filelike);
    if (file == NULL)
        return false;
    bool is_found = is_plain(file);
    if (is_found && (PyObject *)Py_TYPE(file) == io_types.random) {
        PyObject *done = PyObject_CallMethod(file, "flush", NULL);
        is_found = done != NULL;
        PyErr_Clear();
        Py_XDECREF(done);
    }
    if (is_found) {
        place->fd = (int)ask(file, "fileno");
        place->offset = ask(file, "tell");
        is_found = place->fd >= 0 && place->offset >= 0 && fstat(place->fd, &status) == 0 &&
                   S_ISREG(status.st_mode) && (int64_t)status.st_size >= place->offset;
        place->length = is_found ? (int64_t)status.st_size - place->offset : 0;
    }
    Py_DECREF(file);
    return is_found;
}

/* The descriptor goes to the edge before the record that names it. False: no room, or no socket. */
static bool send_descriptor(const struct answer *answer, int fd)
{
    size_t edge = answer->number / worker.segment.slots_per_edge;
    struct segment_ticket packet = { .ticket = segment_slot_ticket(&worker.segment, answer->number),
                                     .slot = answer->number };
    return edge < worker.back_count && sys_send_fd(worker.backs[edge], &packet, sizeof(packet), fd);
}

/* A short file, or a short part of one: 1 when it is sent, 0 when it could not be read. */
static int send_short(struct answer *answer, const struct place *place)
{
    char data[WORTH_BYTES];
    size_t length = (size_t)answer->length;
    if (sys_pread(place->fd, data, length, place->offset) != (ssize_t)length)
        return 0;
    if (length > 0 && answer_send(answer, text_from(data, length)) < 0)
        return -1;
    return answer_finish(answer, 0) < 0 ? -1 : 1;
}

int file_hand_over(struct answer *answer, PyObject *result)
{
    struct file_wrapper *self = (struct file_wrapper *)result;
    struct place place;
    if (self->is_touched || !answer->is_started || answer->is_head_sent || worker.is_stray ||
        !find_place(self->filelike, &place))
        return 0;
    bool is_bodyless = answer->status == 204 || answer->status == 304;
    if (answer->length < 0 && !is_bodyless)
        answer->length = place.length;
    if (answer->has_no_body)
        return answer_finish(answer, 0) < 0 ? -1 : 1;
    /* more announced than there is: reading it reports that */
    if (answer->length > place.length)
        return 0;
    if (answer->length <= WORTH_BYTES)
        return send_short(answer, &place);
    if (!send_descriptor(answer, place.fd))
        return 0;
    return answer_send_file(answer, place.offset) < 0 ? -1 : 1;
}
