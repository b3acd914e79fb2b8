/*
 * See backends.h. A change that says nothing different from the site file is forgotten; one whose
 * backend a reload took out of the site file stays, should the backend come back.
 */
#include "process/backends.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_LIMIT = 1 << 20 };

/* ---- the file ---- */

static const char *const member_names[] = { "file", "added", "removed" };

static bool read_change(const json_t *item, struct backend_change *change)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *member = json_string_value(json_object_get(item, "member"));
    const json_t *weight = json_object_get(item, "weight");
    const json_t *drained = json_object_get(item, "drained");
    if (json_object_size(item) != 4 || name == NULL || member == NULL || !json_is_integer(weight) ||
        !json_is_boolean(drained) || name[0] == '\0' ||
        !text_copy_to(text_of(name), change->name, sizeof(change->name)))
        return false;
    change->weight = json_integer_value(weight);
    change->is_drained = json_is_true(drained);
    for (size_t i = 0; i < COUNT(member_names); i++) {
        if (strcmp(member, member_names[i]) != 0)
            continue;
        change->member = (enum health_member)i;
        return change->weight >= -1 && change->weight <= BACKEND_WEIGHT_MOST;
    }
    return false;
}

enum err backends_parse(struct text file, struct backends *backends, struct why *why)
{
    json_error_t error;
    size_t index;
    json_t *item;
    json_t *root =
        json_loadb(file.data != NULL ? file.data : "", file.len, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_object_get(root, "backends");
    enum err err = OK;
    backends->count = 0;
    if (root == NULL)
        return fail(why, ERR_SYNTAX, "line %d: %s", error.line, error.text);
    if (!json_is_array(list) || json_object_size(root) != 1 ||
        json_array_size(list) > BACKEND_CHANGES)
        err = fail(why, ERR_SYNTAX, "not a list of at most %d backends", BACKEND_CHANGES);
    backends->items = memory_resize(backends->items, BACKEND_CHANGES * sizeof(*backends->items));
    json_array_foreach(list, index, item)
    {
        if (err == OK && !read_change(item, &backends->items[backends->count++]))
            err = fail(why, ERR_SYNTAX, "backend %zu is not valid", index + 1);
    }
    if (err != OK)
        backends->count = 0;
    json_decref(root);
    return err;
}

void backends_print(const struct backends *backends, struct buffer *out)
{
    buffer_append(out, T("{\"backends\": ["));
    for (size_t i = 0; i < backends->count; i++) {
        const struct backend_change *change = &backends->items[i];
        buffer_append(out, i > 0 ? T(",\n  {\"name\": \"") : T("\n  {\"name\": \""));
        buffer_append_json(out, text_of(change->name));
        buffer_print(out, "\", \"member\": \"%s\", \"weight\": %lld, \"drained\": %s}",
                     member_names[change->member], (long long)change->weight,
                     change->is_drained ? "true" : "false");
    }
    buffer_append(out, T("\n]}\n"));
}

static enum err save(const struct backends *backends, struct why *why)
{
    struct buffer file AUTO(buffer_done) = buffer_of(FILE_LIMIT);
    backends_print(backends, &file);
    return sys_replace_file(backends->path, buffer_text(&file), 0600, (uid_t)-1, (gid_t)-1, why);
}

/* ---- the board ---- */

static void tell(struct parent *parent, const struct backend_change *change)
{
    struct health_entry *entry = health_use(parent->health, text_of(change->name));
    health_set_weight(parent->health, entry, change->weight);
    health_set_drained(parent->health, entry, change->is_drained);
    health_set_member(parent->health, entry, change->member);
}

void backends_open(struct parent *parent)
{
    struct backends *backends = NEW(struct backends);
    struct why why;
    struct text file;
    char path[STATE_PATH_SIZE], aside[STATE_PATH_SIZE + 8];
    parent->backends = backends;
    backends->items = memory_new_array(BACKEND_CHANGES, sizeof(*backends->items));
    snprintf(path, sizeof(path), "%s/backends.json", parent->folder.path);
    backends->path = memory_copy_string(path);
    enum err err = sys_read_file(path, FILE_LIMIT, &file, &why);
    if (err == ERR_NOT_FOUND)
        return;
    if (err == OK) {
        err = backends_parse(file, backends, &why);
        memory_free((void *)file.data);
    }
    for (size_t i = 0; err == OK && i < backends->count; i++)
        tell(parent, &backends->items[i]);
    if (err == OK)
        return;
    snprintf(aside, sizeof(aside), "%s.bad", path);
    (void)rename(path, aside);
    log_error("process", "changes of backends cannot be read: the site file counts alone",
              STRING("file", aside), STRING("reason", why.text));
}

void backends_close(struct parent *parent)
{
    if (parent->backends == NULL)
        return;
    memory_free(parent->backends->path);
    memory_free(parent->backends->items);
    memory_free(parent->backends);
    parent->backends = NULL;
}

/* ---- which backend ---- */

struct found {
    const struct site_pool *pool;
    const struct site_backend *backend; /* NULL: added at run time */
    struct text name;
};

static struct backend_change *find_change(struct backends *backends, struct text name)
{
    for (size_t i = 0; i < backends->count; i++)
        if (text_equal(text_of(backends->items[i].name), name))
            return &backends->items[i];
    return NULL;
}

static const struct site_pool *pool_of(const struct site *site, struct text name)
{
    for (size_t i = 0; i < site->pool_count; i++) {
        const struct site_pool *pool = site->pools[i];
        if (text_starts_with(name, pool->name) && name.len > pool->name.len + 1 &&
            name.data[pool->name.len] == '/')
            return pool;
    }
    return NULL;
}

static const struct site_backend *backend_of(const struct site_pool *pool, struct text name)
{
    for (size_t i = 0; pool != NULL && i < pool->backend_count; i++)
        if (text_equal(pool->backends[i].board, name))
            return &pool->backends[i];
    return NULL;
}

/* "web-01" for "web/web-01", when no other pool that this server uses has one of that name. */
static size_t find_short(const struct generation *serving, struct text name, struct found *found)
{
    const struct site *site = serving->site;
    size_t count = 0;
    for (size_t i = 0; i < site->pool_count; i++) {
        const struct site_pool *pool = site->pools[i];
        bool is_used = site_is_on(site, &pool->on, serving->server);
        for (size_t j = 0; is_used && j < pool->backend_count; j++) {
            if (!text_equal(pool->backends[j].name, name))
                continue;
            *found = (struct found){ pool, &pool->backends[j], pool->backends[j].board };
            count++;
        }
    }
    return count;
}

static enum err find(const struct parent *parent, struct text name, struct found *found,
                     struct why *why)
{
    const struct site *site = parent->serving->site;
    const struct backend_change *change = find_change(parent->backends, name);
    *found = (struct found){ .pool = pool_of(site, name), .name = name };
    found->backend = backend_of(found->pool, name);
    if (found->backend != NULL || (change != NULL && change->member == HEALTH_MEMBER_ADDED))
        return OK;
    size_t count = find_short(parent->serving, name, found);
    if (count == 1)
        return OK;
    if (count > 1)
        return fail(why, ERR_UNKNOWN,
                    "'%.*s' is in several pools: write its whole name, such as '%.*s'", FMT(name),
                    FMT(found->name));
    return fail(why, ERR_NOT_FOUND,
                "there is no backend '%.*s'; `trilith backend list` names them all", FMT(name));
}

/* ---- the verbs ---- */

static bool is_different(const struct backend_change *change)
{
    return change->weight >= 0 || change->is_drained || change->member != HEALTH_MEMBER_FILE;
}

/* The change of that name as it will be, in place of what is there. False: no room. */
static bool put(struct backends *backends, const struct backend_change *change)
{
    struct backend_change *place = find_change(backends, text_of(change->name));
    if (place != NULL && is_different(change)) {
        *place = *change;
    } else if (place != NULL) {
        *place = backends->items[--backends->count];
    } else if (is_different(change)) {
        if (backends->count == BACKEND_CHANGES)
            return false;
        backends->items[backends->count++] = *change;
    }
    return true;
}

static enum err apply(struct parent *parent, const struct backend_change *change, struct why *why)
{
    struct backends *backends = parent->backends;
    struct backends before = { .path = backends->path, .count = backends->count };
    if (health_use(parent->health, text_of(change->name)) == NULL)
        return fail(why, ERR_LIMIT, "there is no room for more backends on the health board");
    before.items = memory_new_array(BACKEND_CHANGES, sizeof(*before.items));
    memcpy(before.items, backends->items, backends->count * sizeof(*before.items));
    enum err err = put(backends, change)
                       ? save(backends, why)
                       : fail(why, ERR_LIMIT, "%d backends differ from the site file already",
                              BACKEND_CHANGES);
    if (err == OK) {
        tell(parent, change);
    } else {
        memcpy(backends->items, before.items, before.count * sizeof(*before.items));
        backends->count = before.count;
    }
    memory_free(before.items);
    return err;
}

/* How many backends of the pool would still get work. */
static size_t count_left(const struct parent *parent, const struct site_pool *pool,
                         struct text without)
{
    size_t count = 0, at = 0;
    char prefix[HEALTH_NAME_SIZE];
    const struct health_entry *entry;
    for (size_t i = 0; i < pool->backend_count; i++) {
        const struct health_entry *has = health_find(parent->health, pool->backends[i].board);
        if (!text_equal(pool->backends[i].board, without) &&
            health_member(has) != HEALTH_MEMBER_REMOVED)
            count++;
    }
    snprintf(prefix, sizeof(prefix), "%.*s/", FMT(pool->name));
    while ((entry = health_next(parent->health, text_of(prefix), &at)) != NULL)
        if (health_member(entry) == HEALTH_MEMBER_ADDED &&
            !text_equal(text_of(entry->name), without))
            count++;
    return count;
}

static enum err add(struct parent *parent, const struct control_request *request, struct why *why)
{
    const struct site *site = parent->serving->site;
    const struct site_pool *pool = pool_of(site, request->name);
    struct backend_change change = { .weight = -1 };
    struct site_backend backend;
    if (pool == NULL)
        return fail(why, ERR_NOT_FOUND,
                    "'%.*s' begins with no pool of the site; example: upstream/api/192.0.2.9:8000",
                    FMT(request->name));
    const struct backend_change *has = find_change(parent->backends, request->name);
    if (has != NULL)
        change = *has;
    bool is_in_file = backend_of(pool, request->name) != NULL;
    bool is_there =
        is_in_file ? change.member != HEALTH_MEMBER_REMOVED : change.member == HEALTH_MEMBER_ADDED;
    if (is_there)
        return fail(why, ERR_EXISTS, "'%.*s' is in the pool already", FMT(request->name));
    const char *problem =
        is_in_file
            ? NULL
            : site_backend_read(site, text_skip(request->name, pool->name.len + 1), 0, &backend);
    if (problem != NULL)
        return fail(why, ERR_SYNTAX, "'%.*s' %s; example: %.*s/192.0.2.9:8000", FMT(request->name),
                    problem, FMT(pool->name));
    (void)text_copy_to(request->name, change.name, sizeof(change.name));
    change.member = is_in_file ? HEALTH_MEMBER_FILE : HEALTH_MEMBER_ADDED;
    if (request->weight >= 0)
        change.weight = request->weight;
    return apply(parent, &change, why);
}

static enum err change_one(struct parent *parent, const struct control_request *request,
                           struct why *why)
{
    struct found found;
    struct backend_change change = { .weight = -1 };
    enum err err = find(parent, request->name, &found, why);
    if (err != OK)
        return err;
    const struct backend_change *has = find_change(parent->backends, found.name);
    if (has != NULL)
        change = *has;
    if (!text_copy_to(found.name, change.name, sizeof(change.name)))
        return fail(why, ERR_LIMIT, "the name '%.*s' is too long", FMT(found.name));
    switch (request->verb) {
    case BACKEND_WEIGHT:
        change.weight = request->weight;
        break;
    case BACKEND_DRAIN:
    case BACKEND_UNDRAIN:
        change.is_drained = request->verb == BACKEND_DRAIN;
        break;
    case BACKEND_REMOVE:
        if (found.pool != NULL && count_left(parent, found.pool, found.name) == 0)
            return fail(why, ERR_STATE,
                        "'%.*s' is the last one of its pool: add another one first, or drain it",
                        FMT(found.name));
        if (found.backend == NULL)
            change.weight = -1;
        change.is_drained = found.backend != NULL && change.is_drained;
        change.member = found.backend != NULL ? HEALTH_MEMBER_REMOVED : HEALTH_MEMBER_FILE;
        break;
    case BACKEND_RESET:
        change.weight = -1;
        change.is_drained = false;
        change.member = HEALTH_MEMBER_FILE;
        break;
    case BACKEND_LIST:
    case BACKEND_ADD:
        break; /* not here */
    }
    return apply(parent, &change, why);
}

enum err backends_do(struct parent *parent, const struct control_request *request, struct why *why)
{
    static const char *const verbs[] = { "list", "weight", "drain", "undrain",
                                         "add",  "remove", "reset" };
    enum err err = OK;
    if (parent->serving == NULL)
        return fail(why, ERR_STATE, "the site does not serve yet");
    if (request->verb == BACKEND_LIST)
        return OK;
    err =
        request->verb == BACKEND_ADD ? add(parent, request, why) : change_one(parent, request, why);
    if (err == OK)
        log_info("process", "backend changed", STRING("verb", verbs[request->verb]),
                 TEXT("backend", request->name), INT("weight", request->weight));
    return err;
}

/* ---- a new generation ---- */

void backends_committed(struct parent *parent)
{
    const struct site *site = parent->serving->site;
    struct backends *backends = parent->backends;
    struct why why;
    bool has_changed = false;
    for (size_t i = 0; i < site->pool_count; i++) {
        const struct site_pool *pool = site->pools[i];
        for (size_t j = 0; j < pool->backend_count; j++) {
            struct health_entry *entry = health_use(parent->health, pool->backends[j].board);
            if (!pool->check.is_active && entry != NULL &&
                atomic_load(&entry->judged) != HEALTH_UNKNOWN)
                health_judge(parent->health, entry, HEALTH_UNKNOWN, T(""), -1, 0);
        }
    }
    for (size_t i = backends->count; i-- > 0;) {
        struct backend_change change = backends->items[i];
        struct text name = text_of(change.name);
        if (change.member != HEALTH_MEMBER_ADDED || backend_of(pool_of(site, name), name) == NULL)
            continue;
        change.member = HEALTH_MEMBER_FILE;
        (void)put(backends, &change);
        tell(parent, &change);
        has_changed = true;
    }
    if (has_changed && save(backends, &why) != OK)
        log_error("process", "changes of backends cannot be kept", STRING("reason", why.text));
}
