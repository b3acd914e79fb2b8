/*
 * Reads maps of the tree by their tables of rows. Every mistake is written with its place and path,
 * and reading goes on, so that one run names them all.
 */
#include "site/field.h"

#include "core/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

void *append_item(struct arena *arena, void *array_pointer, size_t *count, size_t size)
{
    void **array = array_pointer;
    bool is_full = *count == 0 || (*count >= 4 && (*count & (*count - 1)) == 0);
    if (is_full) {
        size_t capacity = *count == 0 ? 4 : *count * 2;
        void *moved = arena_alloc(arena, capacity * size);
        if (moved == NULL)
            abort(); /* the tree's limits keep every site far below the arena's */
        if (*count > 0)
            memcpy(moved, *array, *count * size);
        *array = moved;
    }
    return (char *)*array + (*count)++ * size;
}

/* ---- values ---- */

static const char *kind_names[] = { "text", "a list", "a map of keys" };

bool expect_kind(struct reading *reading, const struct node *node, const struct path *path,
                 enum node_kind kind, const char *form)
{
    char word[SHOWN_SIZE];
    if (node->kind == kind || (kind == NODE_MAP && node_is_null(node)))
        return true;
    if (node->kind == NODE_SCALAR && node_is_null(node))
        mistakes_add(reading->mistakes, node->place, path, "nothing is written here; must be %s",
                     form);
    else if (node->kind == NODE_SCALAR)
        mistakes_add(reading->mistakes, node->place, path, "'%s' is not allowed here; must be %s",
                     shown(node->value, word), form);
    else
        mistakes_add(reading->mistakes, node->place, path, "%s is not allowed here; must be %s",
                     kind_names[node->kind], form);
    return false;
}

bool value_text(struct reading *reading, const struct node *node, const struct path *path,
                struct text *out)
{
    if (!expect_kind(reading, node, path, NODE_SCALAR, "one text"))
        return false;
    if (node_is_null(node) || text_is_empty(node->value)) {
        mistakes_add(reading->mistakes, node->place, path,
                     "the value is empty; write one, or remove the key if it is not needed");
        return false;
    }
    *out = node->value;
    return true;
}

static bool parse_number(struct text text, enum field_kind kind, int64_t *out)
{
    uint64_t number;
    if (kind == FIELD_SIZE)
        return parse_size(text, out);
    if (kind == FIELD_PERCENT) {
        if (!text_ends_with(text, T("%")))
            return false;
        text.len--;
    }
    if (kind == FIELD_TIME || kind == FIELD_SECONDS) {
        if (!parse_time(text, out) || (kind == FIELD_SECONDS && *out % 1000 != 0))
            return false;
        *out /= kind == FIELD_SECONDS ? 1000 : 1;
        return true;
    }
    if (!text_to_uint(text, INT64_MAX, &number))
        return false;
    *out = (int64_t)number;
    return true;
}

/* What a number of that kind is called, and what a text is that is none. */
static const char *number_name(enum field_kind kind)
{
    if (kind == FIELD_SIZE)
        return "a size, like 128 MiB";
    if (kind == FIELD_TIME || kind == FIELD_SECONDS)
        return "a duration, like 30s";
    if (kind == FIELD_PERCENT)
        return "a percentage, like 20%";
    return "a number";
}

static const char *number_problem(enum field_kind kind, struct text text)
{
    bool is_negative = text_starts_with(text, T("-"));
    struct text digits = text_skip(text, is_negative ? 1 : 0);
    bool is_number = !text_is_empty(digits);
    for (size_t i = 0; i < digits.len; i++)
        is_number = is_number && digits.data[i] >= '0' && digits.data[i] <= '9';
    if (kind == FIELD_SIZE)
        return "not a size; write a number with a unit, like 64 KiB or 128 MiB";
    if (kind == FIELD_TIME)
        return "not a duration; write a number with a unit, like 250ms, 30s or 1h";
    if (kind == FIELD_SECONDS)
        return "not a duration in whole seconds; write a number with a unit, like 60s or 1h";
    if (kind == FIELD_PERCENT)
        return "not a percentage; write a whole number with %, like 20%";
    if (is_number)
        return is_negative ? "too small" : "too large";
    return "not a whole number";
}

bool value_number(struct reading *reading, const struct node *node, const struct path *path,
                  const struct field *field, int64_t *out)
{
    struct text text;
    char word[SHOWN_SIZE], low[32], high[32];
    int64_t value;
    if (!expect_kind(reading, node, path, NODE_SCALAR, number_name(field->kind)) ||
        !value_text(reading, node, path, &text))
        return false;
    const char *min = format_number(field->kind, field->min, low);
    const char *max = format_number(field->kind, field->max, high);
    if (!parse_number(text, field->kind, &value)) {
        mistakes_add(reading->mistakes, node->place, path, "'%s' is %s; allowed: %s to %s",
                     shown(text, word), number_problem(field->kind, text), min, max);
        return false;
    }
    if (value < field->min || value > field->max) {
        mistakes_add(reading->mistakes, node->place, path, "'%s' is too %s; allowed: %s to %s",
                     shown(text, word), value < field->min ? "small" : "large", min, max);
        return false;
    }
    *out = value;
    return true;
}

static bool text_to_bool(struct text text, bool *out)
{
    static const char *const yes[] = { "yes", "true", "on" };
    static const char *const no[] = { "no", "false", "off" };
    for (size_t i = 0; i < COUNT(yes); i++) {
        bool is_yes = text_equal_fold(text, text_of(yes[i]));
        if (!is_yes && !text_equal_fold(text, text_of(no[i])))
            continue;
        *out = is_yes;
        return true;
    }
    return false;
}

bool value_bool(struct reading *reading, const struct node *node, const struct path *path,
                bool *out)
{
    struct text text;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &text))
        return false;
    if (text_to_bool(text, out))
        return true;
    mistakes_add(reading->mistakes, node->place, path, "'%s' is not allowed; write yes or no",
                 shown(text, word));
    return false;
}

struct text absolute_path(struct reading *reading, struct text path)
{
    struct text folder = reading->site->folder;
    bool is_absolute = path.len > 0 && path.data[0] == '/';
    char *clean = arena_bytes(reading->arena, folder.len + path.len + 3);
    size_t len = 0;
    if (clean == NULL)
        abort(); /* see append_item */
    struct text parts[2] = { is_absolute ? T("") : folder, path };
    for (size_t i = 0; i < 2; i++) {
        struct text rest = parts[i];
        while (rest.data != NULL && !text_is_empty(rest)) {
            struct text part = text_next(&rest, '/');
            if (text_is_empty(part) || text_equal(part, T(".")))
                continue;
            clean[len++] = '/';
            memcpy(clean + len, part.data, part.len);
            len += part.len;
        }
    }
    if (len == 0)
        clean[len++] = '/';
    clean[len] = '\0';
    return text_from(clean, len);
}

bool value_path(struct reading *reading, const struct node *node, const struct path *path,
                bool is_folder, struct text *out)
{
    struct text text;
    struct stat status;
    const char *kind = is_folder ? "folder" : "file";
    if (!value_text(reading, node, path, &text))
        return false;
    struct text full = absolute_path(reading, text);
    *out = full;
    if (!reading->check_files)
        return true;
    if (full.len >= 4096 || stat(full.data, &status) != 0) {
        mistakes_add(reading->mistakes, node->place, path,
                     "there is no %s '%s'; create it or correct the path", kind, full.data);
        return false;
    }
    if (is_folder == S_ISDIR(status.st_mode))
        return true;
    mistakes_add(reading->mistakes, node->place, path, "'%s' is not a %s; a %s is needed here",
                 full.data, kind, kind);
    return false;
}

/* ---- choices ---- */

enum { CHOICE_LIMIT = 16 };

static size_t split_choices(const char *choices, struct text out[CHOICE_LIMIT])
{
    struct text rest = text_of(choices);
    size_t count = 0;
    while (rest.data != NULL && !text_is_empty(rest) && count < CHOICE_LIMIT)
        out[count++] = text_next(&rest, ' ');
    return count;
}

static void read_choice(struct reading *reading, const struct node *node, const struct path *path,
                        const struct field *field, int64_t *out)
{
    struct text words[CHOICE_LIMIT], text;
    char word[SHOWN_SIZE];
    size_t count = split_choices(field->choices, words);
    if (!value_text(reading, node, path, &text))
        return;
    for (size_t i = 0; i < count; i++) {
        if (!text_equal(words[i], text))
            continue;
        *out = (int64_t)i;
        return;
    }
    struct text near = nearest(text, words, count);
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not known, did you mean '%.*s'? allowed: %s", shown(text, word),
                     FMT(near), field->choices);
    else
        mistakes_add(reading->mistakes, node->place, path, "'%s' is not known; allowed: %s",
                     shown(text, word), field->choices);
}

/* ---- on: ---- */

static void add_server(struct reading *reading, const struct node *node, const struct path *path,
                       struct site_on *on)
{
    struct site *site = reading->site;
    struct text name;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &name))
        return;
    const struct site_server *server = site_server_find(site, name);
    bool is_shown = reading->mistakes->count < MISTAKES_KEPT;
    for (size_t i = 0; server != NULL && i < on->count; i++) {
        if (on->servers[i] == server) {
            mistakes_add(reading->mistakes, node->place, path, "'%s' is in this list already",
                         shown(name, word));
            return;
        }
    }
    if (server != NULL) {
        const struct site_server **place =
            append_item(reading->arena, &on->servers, &on->count, sizeof(struct site_server *));
        *place = server;
        return;
    }
    struct text *names = memory_new_array(site->server_count + 1, sizeof(*names));
    for (size_t i = 0; i < site->server_count; i++)
        names[i] = site->servers[i].name;
    struct text near = nearest(name, names, is_shown ? site->server_count : 0);
    memory_free(names);
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, node->place, path,
                     "there is no server '%s' in servers:, did you mean '%.*s'?", shown(name, word),
                     FMT(near));
    else
        mistakes_add(reading->mistakes, node->place, path,
                     "there is no server '%s'; add it to servers: or name one of those",
                     shown(name, word));
}

void read_on(struct reading *reading, const struct node *node, const struct path *path,
             struct site_on *on)
{
    if (node_find(reading->root, T("servers")) == NULL) {
        mistakes_add(reading->mistakes, node->place, path,
                     "this file has no servers:, so everything runs here; remove `%.*s`, or add "
                     "servers: with names and addresses",
                     FMT(path->name));
        return;
    }
    if (node->kind == NODE_SCALAR) {
        add_server(reading, node, path, on);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_LIST, "a server's name or a list of names"))
        return;
    if (node->count == 0)
        mistakes_add(reading->mistakes, node->place, path,
                     "the list is empty; name at least one server, or remove `on` for all");
    size_t index = 0;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_server(reading, entry->value, &item, on);
    }
}

/* ---- rows ---- */

static void read_field(struct reading *reading, const struct node *node, const struct path *path,
                       const struct field *field, void *section)
{
    void *member = (char *)section + field->offset;
    switch (field->kind) {
    case FIELD_TEXT:
        if (value_text(reading, node, path, member) && field->check != NULL)
            field->check(reading, node, path, *(struct text *)member);
        return;
    case FIELD_FOLDER:
    case FIELD_FILE:
        (void)value_path(reading, node, path, field->kind == FIELD_FOLDER, member);
        return;
    case FIELD_BOOL:
        (void)value_bool(reading, node, path, member);
        return;
    case FIELD_INT:
    case FIELD_PORT:
    case FIELD_SIZE:
    case FIELD_TIME:
    case FIELD_SECONDS:
    case FIELD_PERCENT:
        (void)value_number(reading, node, path, field, member);
        return;
    case FIELD_CHOICE:
        read_choice(reading, node, path, field, member);
        return;
    case FIELD_ON:
        read_on(reading, node, path, member);
        return;
    case FIELD_MAP:
        fields_read(reading, node, path, field->fields, member);
        if (field->read != NULL)
            field->read(reading, node, path, member);
        return;
    case FIELD_OWN:
        field->read(reading, node, path, section);
        return;
    case FIELD_LATER:
        mistakes_add(
            reading->mistakes, node->place, path,
            "this part of Trilith is not built yet (see the roadmap in README); remove it");
        return;
    }
}

static void preset_field(struct reading *reading, const struct field *field, void *section)
{
    void *member = (char *)section + field->offset;
    if (field->kind == FIELD_MAP)
        fields_preset(reading, field->fields, member);
    if (field->preset == NULL || field->kind == FIELD_OWN)
        return;
    struct node node = { .kind = NODE_SCALAR, .is_plain = true, .value = text_of(field->preset) };
    read_field(reading, &node, NULL, field, section);
}

void fields_preset(struct reading *reading, const struct fields *fields, void *section)
{
    for (size_t i = 0; i < fields->count; i++)
        preset_field(reading, &fields->rows[i], section);
}

static void report_unknown(struct reading *reading, const struct node_entry *entry,
                           const struct path *path, const struct fields *fields)
{
    char list[512];
    size_t at = 0;
    struct text *names = memory_new_array(fields->count, sizeof(*names));
    list[0] = '\0';
    for (size_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->rows[i];
        names[i] = text_of(field->name);
        if (field->kind != FIELD_LATER && at < sizeof(list))
            at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at > 0 ? ", " : "",
                                   field->name);
    }
    struct text near = nearest(entry->key->value, names, fields->count);
    memory_free(names);
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, entry->key->place, path,
                     "unknown key, did you mean '%.*s'?", FMT(near));
    else
        mistakes_add(reading->mistakes, entry->key->place, path, "unknown key; allowed: %s", list);
}

static bool is_known(struct text key, const struct fields *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (text_equal(key, text_of(fields->rows[i].name)))
            return true;
    }
    return false;
}

const struct node_entry *entries_next(struct reading *reading, const struct node *map,
                                      const struct path *path, const struct node_entry *entry)
{
    entry = entry == NULL ? map->first : entry->next;
    while (entry != NULL && entry->earlier.line > 0) {
        struct path at = { path, entry->key->value, 0 };
        mistakes_add(reading->mistakes, entry->key->place, &at,
                     "this key is there twice, first on line %d; remove one", entry->earlier.line);
        entry = entry->next;
    }
    return entry;
}

void fields_read(struct reading *reading, const struct node *node, const struct path *path,
                 const struct fields *fields, void *section)
{
    fields_preset(reading, fields, section);
    if (!expect_kind(reading, node, path, NODE_MAP, "a map of keys (`key: value` lines)"))
        return;
    for (size_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->rows[i];
        const struct node_entry *entry = node_entry_find(node, text_of(field->name));
        struct path at = { path, text_of(field->name), 0 };
        if (entry != NULL)
            read_field(reading, field->kind == FIELD_LATER ? entry->key : entry->value, &at, field,
                       section);
        else if (field->is_required)
            mistakes_add(reading->mistakes, node->place, &at,
                         "missing; add it, for example: %s: %s", field->name, field->example);
    }
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        if (!is_known(entry->key->value, fields))
            report_unknown(reading, entry, &at, fields);
    }
}

struct site_place place_in(const struct reading *reading, const char *first, ...)
{
    const struct node *node = reading->root;
    struct site_place place = { 1, 1 };
    va_list names;
    if (node != NULL)
        place = node->place;
    va_start(names, first);
    for (const char *name = first; name != NULL; name = va_arg(names, const char *)) {
        node = node_find(node, text_of(name));
        if (node == NULL)
            break;
        place = node->place;
    }
    va_end(names);
    return place;
}
