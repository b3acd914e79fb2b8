/*
 * The environ of a request: a copy of the template with the entries that the edge prepared. Known
 * keys are strings made once (their hash is ready); the names of other headers are kept in a small
 * table, because clients send the same few again and again.
 */
#include "app/python/worker.h"

#include <string.h>

enum { NAME_CACHE = 256, NAME_LIMIT = 64 };

static struct {
    uint32_t hash;
    PyObject *name;
} name_cache[NAME_CACHE];

static PyObject *input_key;

int environ_setup(void)
{
    for (int key = 1; key < KEY_COUNT; key++) {
        if (worker.keys[key] == NULL)
            worker.keys[key] =
                PyUnicode_InternFromString(segment_key_name((enum segment_key)key).data);
        if (worker.keys[key] == NULL)
            return -1;
    }
    if (input_key == NULL)
        input_key = PyUnicode_InternFromString("wsgi.input");
    return input_key != NULL ? 0 : -1;
}

/* A new reference. */
static PyObject *name_of(struct text name)
{
    uint32_t hash = text_hash(name);
    PyObject *cached = name_cache[hash % NAME_CACHE].name;
    if (cached != NULL && name_cache[hash % NAME_CACHE].hash == hash &&
        (size_t)PyUnicode_GET_LENGTH(cached) == name.len &&
        memcmp(PyUnicode_1BYTE_DATA(cached), name.data, name.len) == 0) {
        Py_INCREF(cached);
        return cached;
    }
    PyObject *made = PyUnicode_DecodeLatin1(name.data, (Py_ssize_t)name.len, NULL);
    if (made == NULL || name.len > NAME_LIMIT)
        return made;
    Py_XSETREF(name_cache[hash % NAME_CACHE].name, made);
    name_cache[hash % NAME_CACHE].hash = hash;
    Py_INCREF(made);
    return made;
}

static int add_entry(PyObject *variables, const struct segment_entry *entry, struct text name,
                     struct text value)
{
    PyObject *key;
    if (entry->key != KEY_OTHER && entry->key < KEY_COUNT) {
        key = worker.keys[entry->key];
        Py_INCREF(key);
    } else {
        key = name_of(name);
    }
    PyObject *text = PyUnicode_DecodeLatin1(value.data, (Py_ssize_t)value.len, NULL);
    int result = key != NULL && text != NULL ? PyDict_SetItem(variables, key, text) : -1;
    Py_XDECREF(key);
    Py_XDECREF(text);
    return result;
}

PyObject *environ_new(PyObject *template, const struct segment_slot *slot, PyObject *input)
{
    PyObject *variables = PyDict_Copy(template);
    if (variables == NULL || PyDict_SetItem(variables, input_key, input) < 0)
        goto failed;
    size_t bytes = slot->table_bytes <= SEGMENT_REQUEST_BYTES ? slot->table_bytes : 0;
    struct text rest = text_from((const char *)slot->request, bytes), name, value;
    struct segment_entry entry;
    for (uint32_t i = 0; i < slot->entry_count; i++) {
        if (!segment_table_next(&rest, &entry, &name, &value))
            break;
        if (add_entry(variables, &entry, name, value) < 0)
            goto failed;
    }
    return variables;
failed:
    Py_XDECREF(variables);
    return NULL;
}
