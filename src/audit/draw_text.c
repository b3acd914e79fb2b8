/*
 * The picture in letters, as on a whiteboard: tier below tier, a box for each server, the ways from
 * above with what is spoken there. (!) marks single points of failure.
 */
#include "audit/picture.h"

enum {
    WIDTH = 100,
    GAP = 2,          /* between boxes */
    BORDER = 4,       /* "| " and " |" */
    LINES_LIMIT = 12, /* of one box */
    ACROSS = 16,      /* boxes beside each other */
    LINE_LIMIT = 256,
    NAMES_SHOWN = 4,
};

struct sheet {
    const struct audit *audit;
    const struct picture *picture;
    struct buffer *out;
    bool has_colour;
};

/* ---- boxes ---- */

static struct text box_line(const struct sheet *sheet, size_t box, size_t line)
{
    const struct picture *picture = sheet->picture;
    const struct picture_box *at = &picture->boxes[box];
    struct arena *arena = sheet->audit->arena;
    if (line == 0) {
        const char *state = at->live == LIVE_DOWN ? " DOWN" : at->live == LIVE_UP ? " up" : "";
        return arena_print(arena, "%.*s%s%.*s%s", FMT(at->name),
                           text_is_empty(at->address) ? "" : "  ", FMT(at->address), state);
    }
    for (size_t i = 0; i < picture->node_count; i++) {
        const struct picture_node *node = &picture->nodes[i];
        if (node->box != box || --line > 0)
            continue;
        return arena_print(arena, "%s%s%.*s%s%s", part_name(node->part),
                           text_is_empty(node->text) ? "" : ": ", FMT(node->text),
                           node->live == LIVE_DOWN ? " DOWN" : "", node->is_single ? " (!)" : "");
    }
    return (struct text){ NULL, 0 };
}

static size_t box_height(const struct sheet *sheet, size_t box)
{
    size_t height = 1;
    for (size_t i = 0; i < sheet->picture->node_count; i++)
        height += sheet->picture->nodes[i].box == box ? 1 : 0;
    return height < LINES_LIMIT ? height : LINES_LIMIT;
}

static size_t box_width(const struct sheet *sheet, size_t box)
{
    size_t width = 0;
    for (size_t i = 0; i < box_height(sheet, box); i++) {
        size_t len = box_line(sheet, box, i).len;
        width = len > width ? len : width;
    }
    return (width < WIDTH - BORDER ? width : WIDTH - BORDER) + BORDER;
}

/* Boxes beside each other. */
struct row {
    size_t boxes[ACROSS];
    size_t widths[ACROSS];
    size_t lefts[ACROSS];
    size_t count, width, height;
};

static void place_row(const struct sheet *sheet, struct row *row)
{
    size_t left = row->width < WIDTH ? (WIDTH - row->width) / 2 : 0;
    for (size_t i = 0; i < row->count; i++) {
        row->lefts[i] = left;
        left += row->widths[i] + GAP;
    }
    (void)sheet;
}

static size_t middle(const struct row *row, size_t index)
{
    return row->lefts[index] + row->widths[index] / 2;
}

/* "+-----+" or "| text |" of each box, side by side. */
static void write_line(const struct sheet *sheet, const struct row *row, ssize_t line)
{
    struct buffer *out = sheet->out;
    size_t at = 0;
    for (size_t i = 0; i < row->count; i++) {
        bool is_edge = line < 0 || (size_t)line == row->height;
        int inner = (int)row->widths[i] - BORDER;
        buffer_print(out, "%*s", (int)(row->lefts[i] - at), "");
        at = row->lefts[i] + row->widths[i];
        if (is_edge) {
            buffer_print(out, "+");
            for (int j = 0; j < inner + 2; j++)
                buffer_print(out, "-");
            buffer_print(out, "+");
            continue;
        }
        struct text text =
            text_part(box_line(sheet, row->boxes[i], (size_t)line), 0, (size_t)inner);
        bool is_down = sheet->picture->boxes[row->boxes[i]].live == LIVE_DOWN;
        buffer_print(out, "| %s%-*.*s%s |", sheet->has_colour && is_down ? "\033[31m" : "", inner,
                     FMT(text), sheet->has_colour && is_down ? "\033[0m" : "");
    }
    buffer_print(out, "\n");
}

static void write_row(const struct sheet *sheet, const struct row *row)
{
    for (ssize_t i = -1; i <= (ssize_t)row->height; i++)
        write_line(sheet, row, i);
}

/* ---- ways from above ---- */

/* Whether a link of the edge leads from a box of an upper level into one of this level. */
static bool comes_in(const struct picture *picture, const struct site_edge *edge, size_t level)
{
    for (size_t i = 0; i < picture->link_count; i++) {
        const struct picture_link *link = &picture->links[i];
        if (link->edge == edge && !link->is_spare &&
            picture->boxes[picture->nodes[link->from].box].first < level &&
            picture->boxes[picture->nodes[link->to].box].first == level)
            return true;
    }
    return false;
}

static void write_label(const struct sheet *sheet, const struct site_edge *edge)
{
    bool is_red = sheet->has_colour && site_edge_is_bare(edge);
    buffer_print(sheet->out, "%s", is_red ? "\033[31m" : "");
    picture_label(edge, sheet->out);
    buffer_print(sheet->out, "%s", is_red ? "\033[0m" : "");
}

static void write_trunk(const struct sheet *sheet, size_t level, size_t column)
{
    const struct audit *audit = sheet->audit;
    buffer_print(sheet->out, "%*s|\n", (int)column, "");
    for (size_t i = 0; i < audit->edge_count; i++) {
        if (!comes_in(sheet->picture, &audit->edges[i], level))
            continue;
        buffer_print(sheet->out, "%*s|  ", (int)column, "");
        write_label(sheet, &audit->edges[i]);
        buffer_print(sheet->out, "\n");
    }
}

static void write_fork(const struct sheet *sheet, const struct row *row, size_t column)
{
    char line[LINE_LIMIT];
    size_t last = middle(row, row->count - 1), first = middle(row, 0);
    memset(line, ' ', sizeof(line));
    for (size_t i = first; i <= last && row->count > 1; i++)
        line[i] = '-';
    line[column] = '+';
    for (size_t i = 0; i < row->count; i++)
        line[middle(row, i)] = '+';
    if (row->count > 1)
        buffer_print(sheet->out, "%.*s\n", (int)last + 1, line);
    for (size_t i = first; i <= last; i++)
        line[i] = ' ';
    for (size_t i = 0; i < row->count; i++)
        line[middle(row, i)] = 'v';
    buffer_print(sheet->out, "%.*s\n", (int)last + 1, line);
}

/* ---- levels ---- */

/* Of the boxes that begin in that column; level: picture.tier_count for those aside. */
static bool is_of_level(const struct picture *picture, size_t box, size_t level)
{
    const struct picture_box *at = &picture->boxes[box];
    return at->is_aside ? level == picture->tier_count : at->first == level;
}

static void write_level(const struct sheet *sheet, size_t level)
{
    const struct picture *picture = sheet->picture;
    struct row row = { .count = 0 };
    bool is_first = true;
    for (size_t i = 0; i <= picture->box_count; i++) {
        bool is_end = i == picture->box_count;
        if (!is_end && !is_of_level(picture, i, level))
            continue;
        size_t width = is_end ? 0 : box_width(sheet, i);
        size_t needed = row.width + (row.count > 0 ? GAP : 0) + width;
        if (row.count > 0 && (is_end || row.count == ACROSS || needed > WIDTH)) {
            place_row(sheet, &row);
            size_t column = row.count > 1 ? WIDTH / 2 : middle(&row, 0);
            if (is_first && level > 0 && level < picture->tier_count) {
                write_trunk(sheet, level, column);
                write_fork(sheet, &row, column);
            }
            if (is_first && level == picture->tier_count)
                buffer_print(sheet->out, "\n");
            write_row(sheet, &row);
            is_first = false;
            row = (struct row){ .count = 0 };
        }
        if (is_end)
            return;
        size_t height = box_height(sheet, i);
        row.width += (row.count > 0 ? GAP : 0) + width;
        row.height = height > row.height ? height : row.height;
        row.boxes[row.count] = i;
        row.widths[row.count++] = width;
    }
}

/* ---- below the picture ---- */

static void write_party(struct buffer *out, const struct site_party *party)
{
    switch (party->kind) {
    case PARTY_ANYONE:
        buffer_print(out, "anyone");
        return;
    case PARTY_RESOLVERS:
        buffer_print(out, "name servers of the machine");
        return;
    case PARTY_NETWORKS:
        buffer_print(out, "networks of the file");
        return;
    case PARTY_HOST:
        buffer_print(out, "%.*s", FMT(party->host));
        return;
    case PARTY_SERVERS:
        break;
    }
    size_t shown = party->server_count > NAMES_SHOWN + 1 ? NAMES_SHOWN : party->server_count;
    for (size_t i = 0; i < shown; i++)
        buffer_print(out, "%s%.*s", i > 0 ? ", " : "", FMT(party->servers[i]->name));
    if (party->server_count > shown)
        buffer_print(out, " and %zu others", party->server_count - shown);
}

static bool is_same_party(const struct site_party *a, const struct site_party *b)
{
    bool is_same = a->kind == PARTY_SERVERS && a->server_count == b->server_count;
    for (size_t i = 0; is_same && i < a->server_count; i++)
        is_same = a->servers[i] == b->servers[i];
    return is_same;
}

/* Whether the edge stands above one of the levels. */
static bool is_above(const struct sheet *sheet, const struct site_edge *edge)
{
    for (size_t i = 1; i < sheet->picture->tier_count; i++)
        if (comes_in(sheet->picture, edge, i))
            return true;
    return false;
}

static void write_others(const struct sheet *sheet)
{
    const struct audit *audit = sheet->audit;
    struct buffer *out = sheet->out;
    bool has_any = false;
    for (size_t i = 0; i < audit->edge_count; i++) {
        const struct site_edge *edge = &audit->edges[i];
        if (is_above(sheet, edge))
            continue;
        buffer_print(out, "%s  ", has_any ? "" : "\nalso:\n");
        write_party(out, &edge->from);
        buffer_print(out, " -> ");
        if (is_same_party(&edge->from, &edge->to))
            buffer_print(out, "each other");
        else
            write_party(out, &edge->to);
        buffer_print(out, ": ");
        write_label(sheet, edge);
        buffer_print(out, " (%s)\n", edge->why);
        has_any = true;
    }
    for (size_t i = 0; i < sheet->picture->box_count; i++)
        if (sheet->picture->boxes[i].is_single) {
            buffer_print(out, "\n(!) single point of failure: `trilith audit` says what to do\n");
            return;
        }
}

void draw_text(const struct audit *audit, const struct picture *picture, bool has_colour,
               struct buffer *out)
{
    const struct sheet sheet = { audit, picture, out, has_colour };
    buffer_print(out, "%.*s\n\n", FMT(audit->site->name));
    for (size_t i = 0; i <= picture->tier_count; i++)
        write_level(&sheet, i);
    write_others(&sheet);
}
