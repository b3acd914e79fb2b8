/*
 * The picture as SVG: no script, nothing from outside, dark where the reader's system is. Columns
 * are tiers; what is spoken between two of them stands above the gap, so that no label covers a
 * line. Edges with very many links are drawn as one.
 */
#include "audit/picture.h"

enum {
    MARGIN = 20,
    COLUMN = 280, /* from one tier to the next */
    NODE_WIDTH = 156,
    NODE_HEIGHT = 40,
    PAD = 12,
    TITLE = 24, /* of a box */
    CHIPS = 20, /* small parts, below the nodes */
    BOX_HEIGHT = TITLE + NODE_HEIGHT + CHIPS + PAD,
    HALF_ROW = (BOX_HEIGHT + 16) / 2,
    LABEL = 14,        /* line of text */
    ASIDE = 100,       /* right of the last tier: copies among databases */
    BUNDLE = 24,       /* links of one edge; more are drawn as one */
    LETTERS = 25,      /* of a node's text */
    SMALL_LETTERS = 30 /* of a box' address line */
};

static const char style[] =
    "<style>"
    "text{font:12px system-ui,sans-serif;fill:#1c2430}"
    ".t{font-weight:600;fill:#5b6675;text-anchor:middle}.n{font-weight:600}"
    ".s{font-size:11px;fill:#5b6675}.l{font-size:11px;text-anchor:middle}"
    ".b{fill:#f6f8fa;stroke:#c3ccd6}.o{fill:none;stroke:#c3ccd6;stroke-dasharray:4 3}"
    ".p{fill:#fff;stroke:#8a97a6}.e{fill:none;stroke:#4a6fa5;stroke-width:1.5}"
    ".i{fill:none;stroke:#a9b4c0;stroke-width:1.5}.d{stroke-dasharray:5 4;stroke-width:1}"
    ".r{stroke:#c62828}.w{stroke-width:4}text.r{stroke:none;fill:#c62828}"
    ".q{fill:none;stroke:#c62828;stroke-width:2;stroke-dasharray:3 3}"
    ".up{stroke:#2e7d32;stroke-width:2}.down{fill:#fdecea;stroke:#c62828;stroke-width:2}"
    ".bg{fill:#fff}"
    "@media(prefers-color-scheme:dark){.bg{fill:#12161c}text{fill:#e6ebf1}.t,.s{fill:#9aa7b5}"
    ".b{fill:#1b222b;stroke:#3a4654}.o{stroke:#3a4654}.p{fill:#242d38;stroke:#66778a}"
    ".e{stroke:#7aa2e0}.i{stroke:#556372}.r{stroke:#ff7769}text.r{fill:#ff7769}.q{stroke:#ff7769}"
    ".down{fill:#3a1f1f;stroke:#ff7769}.up{stroke:#66bb6a}}"
    "</style>\n";

struct svg {
    const struct audit *audit;
    const struct picture *picture;
    struct buffer *out;
    size_t top; /* where the boxes begin */
};

static void write_escaped(struct buffer *out, struct text text, size_t limit)
{
    for (size_t i = 0; i < text.len && i < limit; i++) {
        char c = text.data[i];
        if (c == '<')
            buffer_print(out, "&lt;");
        else if (c == '>')
            buffer_print(out, "&gt;");
        else if (c == '&')
            buffer_print(out, "&amp;");
        else
            buffer_append_byte(out, (unsigned char)c < ' ' ? '?' : (uint8_t)c);
    }
    if (text.len > limit)
        buffer_print(out, "…");
}

/* ---- places ---- */

static int column_x(size_t column)
{
    return MARGIN + PAD + (int)column * COLUMN;
}

static int box_y(const struct svg *svg, const struct picture_box *box)
{
    return (int)(svg->top + box->row * HALF_ROW);
}

static int node_x(const struct picture_node *node)
{
    return column_x(node->column);
}

/* The middle of the node; that of the box for small parts. */
static int node_y(const struct svg *svg, const struct picture_node *node)
{
    int y = box_y(svg, &svg->picture->boxes[node->box]) + TITLE + NODE_HEIGHT / 2;
    return node->is_small ? y + NODE_HEIGHT / 2 + CHIPS / 2 : y;
}

/* ---- boxes ---- */

static void write_node(const struct svg *svg, const struct picture_node *node)
{
    int x = node_x(node), y = node_y(svg, node) - NODE_HEIGHT / 2;
    struct buffer *out = svg->out;
    buffer_print(out, "<rect class=\"p%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>",
                 node->live == LIVE_DOWN ? " down"
                 : node->live == LIVE_UP ? " up"
                                         : "",
                 x, y, NODE_WIDTH, NODE_HEIGHT);
    buffer_print(out, "<text class=\"n\" x=\"%d\" y=\"%d\">%s</text>", x + 10,
                 y + (text_is_empty(node->text) ? 25 : 17), part_name(node->part));
    if (!text_is_empty(node->text)) {
        buffer_print(out, "<text class=\"s\" x=\"%d\" y=\"%d\">", x + 10, y + 32);
        write_escaped(out, node->text, LETTERS);
        buffer_print(out, "</text>");
    }
    if (node->is_single)
        buffer_print(out,
                     "<rect class=\"q\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"9\">"
                     "<title>single point of failure</title></rect>",
                     x - 4, y - 4, NODE_WIDTH + 8, NODE_HEIGHT + 8);
    buffer_print(out, "\n");
}

static void write_chips(const struct svg *svg, size_t index)
{
    const struct picture *picture = svg->picture;
    const struct picture_box *box = &picture->boxes[index];
    int x = column_x(box->first) + 2;
    int y = box_y(svg, box) + TITLE + NODE_HEIGHT + CHIPS - 3;
    for (size_t i = 0; i < picture->node_count; i++) {
        const struct picture_node *node = &picture->nodes[i];
        if (node->box != index || !node->is_small)
            continue;
        buffer_print(svg->out, "<text class=\"s%s\" x=\"%d\" y=\"%d\">%s%s</text>",
                     node->is_single ? " r" : "", x, y, part_name(node->part),
                     node->is_single ? " (!)" : "");
        x += 8 + 7 * (int)strlen(part_name(node->part)) + (node->is_single ? 16 : 0);
    }
}

static const char *box_class(const struct picture_box *box)
{
    if (box->server == NULL)
        return "o";
    return box->live == LIVE_DOWN ? "b down" : box->live == LIVE_UP ? "b up" : "b";
}

static void write_box(const struct svg *svg, size_t index)
{
    const struct picture *picture = svg->picture;
    const struct picture_box *box = &picture->boxes[index];
    struct buffer *out = svg->out;
    int x = column_x(box->first) - PAD, y = box_y(svg, box);
    int width = (int)(box->last - box->first) * COLUMN + NODE_WIDTH + 2 * PAD;
    buffer_print(out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"10\"/>",
                 box_class(box), x, y, width, BOX_HEIGHT);
    buffer_print(out, "<text x=\"%d\" y=\"%d\"><tspan class=\"n\">", x + PAD, y + 16);
    write_escaped(out, box->name, SMALL_LETTERS);
    buffer_print(out, "</tspan> <tspan class=\"s\">");
    write_escaped(out, box->address, SMALL_LETTERS);
    buffer_print(out, "</tspan></text>\n");
    for (size_t i = 0; i < picture->node_count; i++)
        if (picture->nodes[i].box == index && !picture->nodes[i].is_small)
            write_node(svg, &picture->nodes[i]);
    write_chips(svg, index);
}

/* ---- links ---- */

static const char *link_class(const struct picture_link *link)
{
    if (link->edge == NULL)
        return "i";
    if (site_edge_is_bare(link->edge))
        return link->is_spare ? "e d r" : "e r";
    return link->is_spare ? "e d" : "e";
}

static void write_curve(const struct svg *svg, const char *class, int x1, int y1, int x2, int y2)
{
    int bend = x2 > x1 ? (x2 - x1) / 2 : 60;
    int x3 = x2 > x1 ? x2 - bend : x2 + bend;
    buffer_print(svg->out, "<path class=\"%s\" d=\"M%d %d C%d %d %d %d %d %d\"/>\n", class, x1, y1,
                 x1 + bend, y1, x3, y2, x2, y2);
}

static void write_link(const struct svg *svg, const struct picture_link *link)
{
    const struct picture_node *from = &svg->picture->nodes[link->from];
    const struct picture_node *to = &svg->picture->nodes[link->to];
    int right = node_x(from) + NODE_WIDTH;
    int target = to->column > from->column ? node_x(to) : node_x(to) + NODE_WIDTH;
    write_curve(svg, link_class(link), right, node_y(svg, from), target, node_y(svg, to));
}

static size_t count_links(const struct picture *picture, const struct site_edge *edge)
{
    size_t count = 0;
    for (size_t i = 0; i < picture->link_count; i++)
        count += picture->links[i].edge == edge ? 1 : 0;
    return count;
}

/* One thick line for all links of the edge: from the middle of their beginnings to that of their
 * ends. */
static void write_bundle(const struct svg *svg, const struct site_edge *edge)
{
    const struct picture *picture = svg->picture;
    const struct picture_link *any = NULL;
    long from = 0, to = 0, count = 0;
    char class[16];
    for (size_t i = 0; i < picture->link_count; i++) {
        const struct picture_link *link = &picture->links[i];
        if (link->edge != edge)
            continue;
        from += node_y(svg, &picture->nodes[link->from]);
        to += node_y(svg, &picture->nodes[link->to]);
        any = link;
        count++;
    }
    const struct picture_node *start = &picture->nodes[any->from], *end = &picture->nodes[any->to];
    int target = end->column > start->column ? node_x(end) : node_x(end) + NODE_WIDTH;
    text_copy_to(site_edge_is_bare(edge) ? T("e w r") : T("e w"), class, sizeof(class));
    write_curve(svg, class, node_x(start) + NODE_WIDTH, (int)(from / count), target,
                (int)(to / count));
}

static void write_links(const struct svg *svg)
{
    const struct picture *picture = svg->picture;
    for (size_t i = 0; i < picture->link_count; i++)
        if (picture->links[i].edge == NULL)
            write_link(svg, &picture->links[i]);
    for (size_t i = 0; i < svg->audit->edge_count; i++) {
        const struct site_edge *edge = &svg->audit->edges[i];
        size_t count = count_links(picture, edge);
        if (count > BUNDLE) {
            write_bundle(svg, edge);
            continue;
        }
        for (size_t j = 0; j < picture->link_count && count > 0; j++)
            if (picture->links[j].edge == edge)
                write_link(svg, &picture->links[j]);
    }
}

/* ---- labels ---- */

/* The gap, left of a column, above which the edge's label stands; 0: it has no link. */
static size_t gap_of(const struct picture *picture, const struct site_edge *edge)
{
    for (size_t i = 0; i < picture->link_count; i++) {
        size_t from = picture->nodes[picture->links[i].from].column;
        size_t to = picture->nodes[picture->links[i].to].column;
        if (picture->links[i].edge == edge)
            return to > from ? to : from + 1;
    }
    return 0;
}

/* Lines of labels above the fullest gap; writes them when svg->out is to get them. */
static size_t write_labels(const struct svg *svg, bool is_written)
{
    size_t lines[TIER_COUNT + 2] = { 0 }, most = 0;
    for (size_t i = 0; i < svg->audit->edge_count; i++) {
        const struct site_edge *edge = &svg->audit->edges[i];
        size_t gap = gap_of(svg->picture, edge);
        if (gap == 0)
            continue;
        size_t line = lines[gap]++;
        most = lines[gap] > most ? lines[gap] : most;
        if (!is_written)
            continue;
        int x = column_x(gap) - (COLUMN - NODE_WIDTH) / 2;
        buffer_print(svg->out, "<text class=\"l%s\" x=\"%d\" y=\"%zu\">%s",
                     site_edge_is_bare(edge) ? " r" : "", x, 64 + line * LABEL, edge->speaks);
        if (edge->port > 0)
            buffer_print(svg->out, " %d", edge->port);
        buffer_print(svg->out, "%s<title>%s</title></text>\n",
                     edge->kind == EDGE_REPLICATION ? " copies" : "", edge->why);
    }
    return most;
}

static void write_tiers(const struct svg *svg)
{
    for (size_t i = 0; i < svg->picture->tier_count; i++)
        buffer_print(svg->out, "<text class=\"t\" x=\"%d\" y=\"48\">%s</text>\n",
                     column_x(i) + NODE_WIDTH / 2, tier_name(svg->picture->tiers[i]));
}

static size_t write_legend(const struct svg *svg, size_t y)
{
    struct buffer *out = svg->out;
    buffer_print(out,
                 "<path class=\"e r\" d=\"M%d %zu h30\"/><text class=\"s\" x=\"%d\" y=\"%zu\">can "
                 "be read along</text><rect class=\"q\" x=\"%d\" y=\"%zu\" width=\"30\" "
                 "height=\"12\" rx=\"5\"/><text class=\"s\" x=\"%d\" y=\"%zu\">single point of "
                 "failure</text><path class=\"e d\" d=\"M%d %zu h30\"/><text class=\"s\" x=\"%d\" "
                 "y=\"%zu\">when the server's own does not work</text>\n",
                 MARGIN, y, MARGIN + 38, y + 4, MARGIN + 160, y - 6, MARGIN + 198, y + 4,
                 MARGIN + 330, y, MARGIN + 368, y + 4);
    y += LABEL + 8;
    for (size_t i = 0; i < svg->audit->edge_count; i++) {
        const struct site_edge *edge = &svg->audit->edges[i];
        if (picture_has_edge(svg->picture, edge))
            continue;
        buffer_print(out, "<text class=\"s\" x=\"%d\" y=\"%zu\">%.*s: ", MARGIN, y,
                     FMT(edge->name));
        picture_label(edge, out);
        buffer_print(out, ", %s</text>\n", edge->why);
        y += LABEL;
    }
    return y;
}

void draw_svg(const struct audit *audit, const struct picture *picture, struct buffer *out)
{
    struct svg svg = { audit, picture, out, 0 };
    size_t lines = write_labels(&svg, false), rest = 0;
    svg.top = 64 + lines * LABEL;
    for (size_t i = 0; i < audit->edge_count; i++)
        rest += picture_has_edge(picture, &audit->edges[i]) ? 0 : 1;
    size_t bottom = svg.top + picture->rows * HALF_ROW + 24;
    size_t height = bottom + LABEL + 8 + rest * LABEL + MARGIN;
    int width = column_x(picture->tier_count - 1) + NODE_WIDTH + PAD + MARGIN + ASIDE;
    width = width < 640 ? 640 : width;
    buffer_print(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %zu\" width=\"%d\" "
                 "height=\"%zu\" role=\"img\">\n<title>",
                 width, height, width, height);
    write_escaped(out, audit->site->name, 253);
    buffer_print(out, "</title>\n%s<rect class=\"bg\" width=\"100%%\" height=\"100%%\"/>\n", style);
    buffer_print(out, "<text class=\"n\" x=\"%d\" y=\"24\">", MARGIN);
    write_escaped(out, audit->site->name, 253);
    buffer_print(out, "</text>\n");
    write_tiers(&svg);
    (void)write_labels(&svg, true);
    for (size_t i = 0; i < picture->box_count; i++)
        write_box(&svg, i);
    write_links(&svg);
    (void)write_legend(&svg, bottom);
    buffer_print(out, "</svg>\n");
}
