/*
 * The picture for programs: {"site", "tiers": [name], "rows", "boxes": [{name, address, first,
 * last, row}], "nodes": [{box, server, part, tier, text, single}], "links": [{from, to, edge,
 * spare}], "edges": [{name, kind, protocol, port, speaks, cleartext, drawn, line}], "singles"}.
 * first, last, tier: indices of tiers; row: in half rows from the top, a box is two high; from, to:
 * indices of nodes; edge: index of edges, -1 inside one server.
 */
#include "audit/audit.h"
#include "audit/picture.h"

static void write_string(struct buffer *out, struct text value)
{
    buffer_print(out, "\"");
    buffer_append_json(out, value);
    buffer_print(out, "\"");
}

static const char *live_name(enum live live)
{
    static const char *const names[] = { "unknown", "up", "down" };
    return names[live];
}

static void write_boxes(struct buffer *out, const struct picture *picture)
{
    buffer_print(out, ",\"boxes\":[");
    for (size_t i = 0; i < picture->box_count; i++) {
        const struct picture_box *box = &picture->boxes[i];
        buffer_print(out, "%s{\"name\":", i > 0 ? "," : "");
        write_string(out, box->name);
        buffer_print(out, ",\"address\":");
        write_string(out, box->address);
        buffer_print(out,
                     ",\"server\":%s,\"first\":%zu,\"last\":%zu,\"row\":%zu,\"single\":%s,"
                     "\"state\":\"%s\"}",
                     box->server != NULL ? "true" : "false", box->first, box->last, box->row,
                     box->is_single ? "true" : "false", live_name(box->live));
    }
    buffer_print(out, "]");
}

static void write_nodes(struct buffer *out, const struct picture *picture)
{
    buffer_print(out, ",\"nodes\":[");
    for (size_t i = 0; i < picture->node_count; i++) {
        const struct picture_node *node = &picture->nodes[i];
        buffer_print(out, "%s{\"box\":%zu,\"server\":", i > 0 ? "," : "", node->box);
        write_string(out, picture->boxes[node->box].name);
        buffer_print(out,
                     ",\"part\":\"%s\",\"tier\":%zu,\"small\":%s,\"text\":", part_key(node->part),
                     node->column, node->is_small ? "true" : "false");
        write_string(out, node->text);
        buffer_print(out, ",\"single\":%s,\"state\":\"%s\"}", node->is_single ? "true" : "false",
                     live_name(node->live));
    }
    buffer_print(out, "]");
}

static void write_links(struct buffer *out, const struct audit *audit,
                        const struct picture *picture)
{
    buffer_print(out, ",\"links\":[");
    for (size_t i = 0; i < picture->link_count; i++) {
        const struct picture_link *link = &picture->links[i];
        long edge = link->edge != NULL ? (long)(link->edge - audit->edges) : -1;
        buffer_print(out, "%s{\"from\":%zu,\"to\":%zu,\"edge\":%ld,\"spare\":%s}", i > 0 ? "," : "",
                     link->from, link->to, edge, link->is_spare ? "true" : "false");
    }
    buffer_print(out, "]");
}

static void write_edges(struct buffer *out, const struct audit *audit,
                        const struct picture *picture)
{
    static const char *const kinds[] = {
        [EDGE_DOOR] = "door",       [EDGE_DNS] = "dns",         [EDGE_SERVICE] = "service",
        [EDGE_WEB] = "web",         [EDGE_APP] = "app",         [EDGE_UPSTREAM] = "upstream",
        [EDGE_BEHIND] = "behind",   [EDGE_SQL] = "sql",         [EDGE_REPLICATION] = "replication",
        [EDGE_CONTROL] = "control", [EDGE_VIP] = "vip",         [EDGE_ADMIN] = "admin",
        [EDGE_ALLOWED] = "allowed", [EDGE_MONITOR] = "monitor", [EDGE_OUTSIDE] = "outside",
    };
    static const char *const protocols[] = { "tcp", "udp", "vrrp" };
    buffer_print(out, ",\"edges\":[");
    for (size_t i = 0; i < audit->edge_count; i++) {
        const struct site_edge *edge = &audit->edges[i];
        buffer_print(out, "%s{\"name\":", i > 0 ? "," : "");
        write_string(out, edge->name);
        buffer_print(out,
                     ",\"kind\":\"%s\",\"protocol\":\"%s\",\"port\":%d,\"speaks\":\"%s\","
                     "\"cleartext\":%s,\"drawn\":%s,\"line\":%d,\"why\":",
                     kinds[edge->kind], protocols[edge->protocol], edge->port, edge->speaks,
                     site_edge_is_bare(edge) ? "true" : "false",
                     picture_has_edge(picture, edge) ? "true" : "false", edge->place.line);
        write_string(out, text_of(edge->why));
        buffer_print(out, "}");
    }
    buffer_print(out, "]");
}

void draw_json(const struct audit *audit, const struct picture *picture, struct buffer *out)
{
    const char *gap = "";
    buffer_print(out, "{\"site\":");
    write_string(out, audit->site->name);
    buffer_print(out, ",\"tiers\":[");
    for (size_t i = 0; i < picture->tier_count; i++)
        buffer_print(out, "%s\"%s\"", i > 0 ? "," : "", tier_name(picture->tiers[i]));
    buffer_print(out, "],\"rows\":%zu", picture->rows);
    write_boxes(out, picture);
    write_nodes(out, picture);
    write_links(out, audit, picture);
    write_edges(out, audit, picture);
    buffer_print(out, ",\"singles\":[");
    for (size_t i = 0; i < picture->box_count; i++) {
        if (!picture->boxes[i].is_single)
            continue;
        buffer_print(out, "%s", gap);
        write_string(out, picture->boxes[i].name);
        gap = ",";
    }
    buffer_print(out, "]}\n");
}

void audit_write_picture(const struct site *site, struct buffer *out)
{
    struct arena *arena = arena_new(MODEL_ARENA, 1 << 16);
    struct audit *audit;
    struct picture picture;
    if (audit_make(site, arena, 1, &audit) == OK && picture_make(audit, &picture) == OK)
        draw_json(audit, &picture, out);
    else
        out->failed = true;
    arena_free(arena);
}
