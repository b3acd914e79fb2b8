/*
 * The scope of a request: a copy of the template with what the edge put into the slot's table.
 * Header names and the few values that come again and again are objects made once.
 */
#include "app/python/asgi.h"

#include <string.h>

enum { CACHE = 256, CACHED_LIMIT = 64 };

struct cached {
    uint32_t hash;
    PyObject *object;
};

static struct cached header_names[CACHE], strings[CACHE];
struct asgi_names asgi_names;

int asgi_scope_setup(void)
{
#define X(name, text)                                                                              \
    if (asgi_names.name == NULL)                                                                   \
        asgi_names.name = PyUnicode_InternFromString(text);                                        \
    if (asgi_names.name == NULL)                                                                   \
        return -1;
    ASGI_NAME_LIST(X)
#undef X
    return 0;
}

/* A new reference to bytes with this text, mostly to the ones of the last time. */
static PyObject *name_of(struct text name)
{
    uint32_t hash = text_hash(name);
    struct cached *cached = &header_names[hash % CACHE];
    if (cached->object != NULL && cached->hash == hash &&
        (size_t)PyBytes_GET_SIZE(cached->object) == name.len &&
        memcmp(PyBytes_AS_STRING(cached->object), name.data, name.len) == 0) {
        Py_INCREF(cached->object);
        return cached->object;
    }
    PyObject *made = PyBytes_FromStringAndSize(name.data, (Py_ssize_t)name.len);
    if (made == NULL || name.len > CACHED_LIMIT)
        return made;
    Py_XSETREF(cached->object, made);
    cached->hash = hash;
    Py_INCREF(made);
    return made;
}

/* The same for a str of ASCII: methods, schemes, addresses. */
static PyObject *string_of(struct text text)
{
    uint32_t hash = text_hash(text);
    struct cached *cached = &strings[hash % CACHE];
    if (cached->object != NULL && cached->hash == hash &&
        (size_t)PyUnicode_GET_LENGTH(cached->object) == text.len &&
        memcmp(PyUnicode_1BYTE_DATA(cached->object), text.data, text.len) == 0) {
        Py_INCREF(cached->object);
        return cached->object;
    }
    PyObject *made = PyUnicode_DecodeLatin1(text.data, (Py_ssize_t)text.len, NULL);
    if (made == NULL || text.len > CACHED_LIMIT)
        return made;
    Py_XSETREF(cached->object, made);
    cached->hash = hash;
    Py_INCREF(made);
    return made;
}

/* ---- values ---- */

struct scope {
    PyObject *variables;
    PyObject *headers;
    PyObject *subprotocols; /* NULL for http */
    struct text client, client_port, server, server_port;
};

static int set(PyObject *variables, PyObject *key, PyObject *value)
{
    int result = value != NULL ? PyDict_SetItem(variables, key, value) : -1;
    Py_XDECREF(value);
    return result;
}

static PyObject *bytes_of(struct text text)
{
    return PyBytes_FromStringAndSize(text.data, (Py_ssize_t)text.len);
}

static PyObject *path_of(struct text path)
{
    PyObject *root =
        asgi.strips_root ? PyDict_GetItemString(asgi.template_http, "root_path") : NULL;
    PyObject *text = PyUnicode_DecodeUTF8(path.data, (Py_ssize_t)path.len, "replace");
    if (text == NULL || root == NULL || PyUnicode_GET_LENGTH(root) == 0 ||
        PyUnicode_Tailmatch(text, root, 0, PY_SSIZE_T_MAX, -1) != 1)
        return text;
    PyObject *rest =
        PyUnicode_Substring(text, PyUnicode_GET_LENGTH(root), PyUnicode_GET_LENGTH(text));
    Py_DECREF(text);
    return rest;
}

static int set_address(PyObject *variables, PyObject *key, struct text ip, struct text port)
{
    uint64_t number = 0;
    if (text_is_empty(ip) || !text_to_uint(port, 65535, &number))
        return set(variables, key, Py_NewRef(Py_None));
    PyObject *host = string_of(ip);
    PyObject *value = PyLong_FromLong((long)number);
    PyObject *pair = host != NULL && value != NULL ? PyTuple_Pack(2, host, value) : NULL;
    Py_XDECREF(host);
    Py_XDECREF(value);
    return set(variables, key, pair);
}

static int add_subprotocols(PyObject *list, struct text value)
{
    while (value.len > 0) {
        struct text one = text_trim(text_next(&value, ','));
        if (text_is_empty(one))
            continue;
        PyObject *name = string_of(one);
        int result = name != NULL ? PyList_Append(list, name) : -1;
        Py_XDECREF(name);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int add_header(struct scope *scope, struct text name, struct text value)
{
    PyObject *key = name_of(name), *data = bytes_of(value);
    PyObject *pair = PyTuple_New(2);
    if (key == NULL || data == NULL || pair == NULL) {
        Py_XDECREF(key);
        Py_XDECREF(data);
        Py_XDECREF(pair);
        return -1;
    }
    PyTuple_SET_ITEM(pair, 0, key);
    PyTuple_SET_ITEM(pair, 1, data);
    int result = PyList_Append(scope->headers, pair);
    Py_DECREF(pair);
    if (result == 0 && scope->subprotocols != NULL && text_equal(name, T("sec-websocket-protocol")))
        return add_subprotocols(scope->subprotocols, value);
    return result;
}

static int add_scheme(struct scope *scope, struct text value)
{
    bool is_safe = text_equal(value, T("https"));
    if (scope->subprotocols != NULL)
        return PyDict_SetItem(scope->variables, asgi_names.scheme,
                              is_safe ? asgi_names.wss : asgi_names.ws);
    return set(scope->variables, asgi_names.scheme, string_of(value));
}

static int add_entry(struct scope *scope, uint16_t key, struct text name, struct text value)
{
    PyObject *variables = scope->variables;
    switch (key) {
    case KEY_OTHER:
        return add_header(scope, name, value);
    case KEY_REQUEST_METHOD:
        if (scope->subprotocols != NULL)
            return 0;
        return set(variables, asgi_names.method, string_of(value));
    case KEY_PATH_INFO:
        return set(variables, asgi_names.path, path_of(value));
    case KEY_REQUEST_URI:
        return set(variables, asgi_names.raw_path, bytes_of(value));
    case KEY_QUERY_STRING:
        return set(variables, asgi_names.query_string, bytes_of(value));
    case KEY_SERVER_PROTOCOL:
        return set(variables, asgi_names.http_version, string_of(value));
    case KEY_URL_SCHEME:
        return add_scheme(scope, value);
    case KEY_REMOTE_ADDR:
        scope->client = value;
        return 0;
    case KEY_REMOTE_PORT:
        scope->client_port = value;
        return 0;
    case KEY_SERVER_NAME:
        scope->server = value;
        return 0;
    case KEY_SERVER_PORT:
        scope->server_port = value;
        return 0;
    default:
        return 0;
    }
}

static int add_table(struct scope *scope, const struct segment_slot *slot)
{
    size_t bytes = slot->table_bytes <= SEGMENT_REQUEST_BYTES ? slot->table_bytes : 0;
    struct text rest = text_from((const char *)slot->request, bytes);
    struct segment_entry entry;
    struct text name, value;
    while (segment_table_next(&rest, &entry, &name, &value)) {
        if (add_entry(scope, entry.key, name, value) < 0)
            return -1;
    }
    return 0;
}

PyObject *asgi_scope_new(const struct segment_slot *slot)
{
    bool is_socket = slot->is_socket != 0;
    struct scope scope = { 0 };
    scope.variables = PyDict_Copy(is_socket ? asgi.template_socket : asgi.template_http);
    scope.headers = PyList_New(0);
    scope.subprotocols = is_socket ? PyList_New(0) : NULL;
    bool is_made =
        scope.variables != NULL && scope.headers != NULL &&
        (!is_socket || scope.subprotocols != NULL) && add_table(&scope, slot) == 0 &&
        PyDict_SetItem(scope.variables, asgi_names.headers, scope.headers) == 0 &&
        set_address(scope.variables, asgi_names.client, scope.client, scope.client_port) == 0 &&
        set_address(scope.variables, asgi_names.server, scope.server, scope.server_port) == 0;
    if (is_made && is_socket)
        is_made = PyDict_SetItem(scope.variables, asgi_names.subprotocols, scope.subprotocols) == 0;
    if (is_made && asgi.state != NULL)
        is_made = set(scope.variables, asgi_names.state, PyDict_Copy(asgi.state)) == 0;
    Py_XDECREF(scope.headers);
    Py_XDECREF(scope.subprotocols);
    if (!is_made)
        Py_CLEAR(scope.variables);
    return scope.variables;
}
