/*
 * The state of a running site in its picture: the server that is asked is up, and of the others the
 * health board knows as much as its own work needs: web servers, applications, databases.
 */
#include "audit/live.h"

#include "core/memory.h"
#include "process/process.h"

#include <jansson.h>

enum { ASK_MS = 2000, ANSWER_LIMIT = 16 << 20 };

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* "web/web-01", "app/shop/web-01", "database/web-01": the part, and the server behind the last
 * slash. */
static bool read_name(struct text name, enum part *part_out, struct text *server_out)
{
    static const struct {
        const char *prefix;
        enum part part;
    } prefixes[] = { { "web/", PART_WEB },
                     { "app/", PART_APP },
                     { "database/", PART_DATABASE },
                     { "upstream/", PART_OUTSIDE } };
    struct text rest = name;
    for (size_t i = 0; i < COUNT(prefixes); i++) {
        if (!text_starts_with(name, text_of(prefixes[i].prefix)))
            continue;
        while (rest.data != NULL)
            *server_out = text_next(&rest, '/');
        *part_out = prefixes[i].part;
        return true;
    }
    return false;
}

static void mark_part(struct picture *picture, enum part part, struct text server, enum live live)
{
    for (size_t i = 0; i < picture->node_count; i++) {
        struct picture_node *node = &picture->nodes[i];
        if (node->part == part && text_equal(picture->boxes[node->box].name, server))
            node->live = live;
    }
}

/* A server is down when nothing of it that is known works. */
static void mark_boxes(struct picture *picture)
{
    for (size_t i = 0; i < picture->node_count; i++) {
        struct picture_box *box = &picture->boxes[picture->nodes[i].box];
        if (picture->nodes[i].live == LIVE_UP)
            box->live = LIVE_UP;
        else if (picture->nodes[i].live == LIVE_DOWN && box->live == LIVE_UNKNOWN)
            box->live = LIVE_DOWN;
    }
}

void live_mark(struct picture *picture, struct text answer)
{
    json_t *root = json_loadb(answer.data, answer.len, 0, NULL);
    struct text own = text_of(string_of(root, "server"));
    json_t *backend;
    size_t index;
    for (size_t i = 0; i < picture->box_count && root != NULL; i++)
        if (picture->boxes[i].server != NULL && text_equal(picture->boxes[i].name, own))
            picture->boxes[i].live = LIVE_UP;
    json_array_foreach(json_object_get(root, "backends"), index, backend)
    {
        const char *state = string_of(backend, "state");
        enum part part;
        struct text server;
        if (!read_name(text_of(string_of(backend, "name")), &part, &server))
            continue;
        if (strcmp(state, "up") == 0)
            mark_part(picture, part, server, LIVE_UP);
        else if (strcmp(state, "down") == 0)
            mark_part(picture, part, server, LIVE_DOWN);
    }
    mark_boxes(picture);
    json_decref(root);
}

void live_ask(struct picture *picture, const struct site *site, const char *state)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    AUTO(memory_drop) char *own = process_default_state();
    struct why why;
    if (control_ask(state != NULL ? state : own, site->name, T("status"), ASK_MS, &answer, &why) ==
        OK)
        live_mark(picture, buffer_text(&answer));
}
