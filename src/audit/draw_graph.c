/*
 * The picture in the languages of other programs: Mermaid and Graphviz' DOT. They place it
 * themselves; servers are groups, cleartext legs and single points are red.
 */
#include "audit/picture.h"

/* Inside quotes of both languages: names and addresses have none, but callables may be anything. */
static void write_plain(struct buffer *out, struct text text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_odd =
            c == '"' || c == '\\' || c == '<' || c == '>' || c == '#' || (unsigned char)c < ' ';
        buffer_append_byte(out, is_odd ? '\'' : (uint8_t)c);
    }
}

static bool is_server_box(const struct picture_box *box)
{
    return box->server != NULL;
}

static void write_node_text(struct buffer *out, const struct picture *picture,
                            const struct picture_node *node)
{
    const struct picture_box *box = &picture->boxes[node->box];
    if (node->part == PART_VIP || node->part == PART_OUTSIDE)
        write_plain(out, box->name);
    else
        buffer_print(out, "%s", part_name(node->part));
    if (text_is_empty(node->text))
        return;
    buffer_print(out, ": ");
    write_plain(out, node->text);
}

/* ---- Mermaid ---- */

static void mermaid_node(struct buffer *out, const struct picture *picture, size_t index)
{
    const struct picture_node *node = &picture->nodes[index];
    buffer_print(out, "n%zu[\"", index);
    write_node_text(out, picture, node);
    buffer_print(out, "\"]%s\n", node->is_single ? ":::single" : "");
}

static void mermaid_boxes(struct buffer *out, const struct picture *picture)
{
    for (size_t i = 0; i < picture->box_count; i++) {
        const struct picture_box *box = &picture->boxes[i];
        if (is_server_box(box)) {
            buffer_print(out, "  subgraph b%zu[\"", i);
            write_plain(out, box->name);
            buffer_print(out, " ");
            write_plain(out, box->address);
            buffer_print(out, "\"]\n");
        }
        for (size_t j = 0; j < picture->node_count; j++) {
            if (picture->nodes[j].box != i)
                continue;
            buffer_print(out, is_server_box(box) ? "    " : "  ");
            mermaid_node(out, picture, j);
        }
        if (is_server_box(box))
            buffer_print(out, "  end\n");
    }
}

void draw_mermaid(const struct audit *audit, const struct picture *picture, struct buffer *out)
{
    buffer_print(out, "flowchart LR\n");
    mermaid_boxes(out, picture);
    for (size_t i = 0; i < picture->link_count; i++) {
        const struct picture_link *link = &picture->links[i];
        buffer_print(out, "  n%zu %s", link->from, link->is_spare ? "-.->" : "-->");
        if (link->edge != NULL) {
            buffer_print(out, "|\"");
            picture_label(link->edge, out);
            buffer_print(out, "\"|");
        }
        buffer_print(out, " n%zu\n", link->to);
    }
    for (size_t i = 0; i < picture->link_count; i++)
        if (picture->links[i].edge != NULL && site_edge_is_bare(picture->links[i].edge))
            buffer_print(out, "  linkStyle %zu stroke:#c00\n", i);
    buffer_print(out, "  classDef single stroke:#c00,stroke-width:3px\n");
}

/* ---- DOT ---- */

static void dot_boxes(struct buffer *out, const struct picture *picture)
{
    for (size_t i = 0; i < picture->box_count; i++) {
        const struct picture_box *box = &picture->boxes[i];
        if (is_server_box(box)) {
            buffer_print(out, "  subgraph cluster_%zu {\n    label=\"", i);
            write_plain(out, box->name);
            buffer_print(out, "\\n");
            write_plain(out, box->address);
            buffer_print(out, "\";\n");
        }
        for (size_t j = 0; j < picture->node_count; j++) {
            const struct picture_node *node = &picture->nodes[j];
            if (node->box != i)
                continue;
            buffer_print(out, "    n%zu [label=\"", j);
            write_node_text(out, picture, node);
            buffer_print(out, "\"%s];\n", node->is_single ? ", color=\"#cc0000\", penwidth=3" : "");
        }
        if (is_server_box(box))
            buffer_print(out, "  }\n");
    }
}

void draw_dot(const struct audit *audit, const struct picture *picture, struct buffer *out)
{
    buffer_print(out, "digraph \"");
    write_plain(out, audit->site->name);
    buffer_print(out, "\" {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    dot_boxes(out, picture);
    for (size_t i = 0; i < picture->link_count; i++) {
        const struct picture_link *link = &picture->links[i];
        bool is_bare = link->edge != NULL && site_edge_is_bare(link->edge);
        buffer_print(out, "  n%zu -> n%zu [", link->from, link->to);
        if (link->edge != NULL) {
            buffer_print(out, "label=\"");
            picture_label(link->edge, out);
            buffer_print(out, "\", ");
        }
        buffer_print(out, "style=%s%s];\n", link->is_spare ? "dashed" : "solid",
                     is_bare ? ", color=\"#cc0000\"" : "");
    }
    buffer_print(out, "}\n");
}
