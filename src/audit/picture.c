/*
 * Boxes, nodes and links of a site, and their places (picture.h).
 *
 * Columns that a server spans belong together: their boxes are packed into rows, each into the
 * first row where none of its columns is taken. Groups of columns are then centred beside each
 * other.
 */
#include "audit/picture.h"

enum {
    BOX_ROWS = 2, /* half rows */
    LINK_LIMIT = 1 << 17,
};

struct drawing {
    struct audit *audit;
    const struct site *site;
    struct picture *picture;
    size_t columns[TIER_COUNT]; /* of each tier */
    size_t link_room;
    bool failed; /* the arena is full */
};

const char *tier_name(enum tier tier)
{
    static const char *const names[] = { "internet", "address",  "balancer", "web",
                                         "app",      "database", "outside" };
    return names[tier];
}

const char *part_name(enum part part)
{
    static const char *const names[] = { "browsers",         "virtual address", "balancer",
                                         "web server",       "application",     "database",
                                         "another's server", "service",         "name server",
                                         "monitor" };
    return names[part];
}

const char *part_key(enum part part)
{
    static const char *const names[] = { "client",   "vip",     "balancer", "web", "app",
                                         "database", "outside", "tcp",      "dns", "monitor" };
    return names[part];
}

/* ---- columns ---- */

static bool any_server(const struct site *site,
                       bool (*is_part)(const struct site *, const struct site_server *))
{
    for (size_t i = 0; i < site->server_count; i++)
        if (is_part(site, &site->servers[i]))
            return true;
    return false;
}

static bool has_app(const struct site *site, const struct site_server *server)
{
    for (size_t i = 0; i < site->app_count; i++)
        if (site_is_on(site, &site->apps[i].on, server))
            return true;
    return false;
}

static bool has_database(const struct site *site, const struct site_server *server)
{
    return site->database.is_present && site_is_on(site, &site->database.on, server);
}

static void make_columns(struct drawing *drawing)
{
    const struct site *site = drawing->site;
    struct picture *picture = drawing->picture;
    const bool wanted[TIER_COUNT] = {
        [TIER_INTERNET] = true,
        [TIER_VIP] = site->vip.is_present,
        [TIER_BALANCER] = any_server(site, site_balances),
        [TIER_WEB] = any_server(site, site_serves),
        [TIER_APP] = any_server(site, has_app),
        [TIER_DATABASE] = any_server(site, has_database),
        [TIER_OUTSIDE] = drawing->audit->model->machine_count > site->server_count,
    };
    for (enum tier tier = 0; tier < TIER_COUNT; tier++)
        if (wanted[tier]) {
            drawing->columns[tier] = picture->tier_count;
            picture->tiers[picture->tier_count++] = tier;
        }
    if (picture->tier_count == 1) /* name servers alone: somewhere they must stand */
        picture->tiers[picture->tier_count++] = TIER_WEB;
}

/* ---- boxes and nodes ---- */

static size_t add_box(struct drawing *drawing, struct text name, const struct site_server *server,
                      const struct address *address)
{
    struct picture *picture = drawing->picture;
    struct picture_box *box = &picture->boxes[picture->box_count];
    char ip[ADDRESS_TEXT_SIZE] = "";
    if (address != NULL && address->len > 0)
        address_format_ip(address, ip);
    *box = (struct picture_box){ .name = name,
                                 .server = server,
                                 .first = TIER_COUNT,
                                 .address = arena_copy(drawing->audit->arena, text_of(ip)) };
    drawing->failed = drawing->failed || box->address.data == NULL;
    return picture->box_count++;
}

/* A small part (without a tier) stands in the first column of its box: see settle. */
static void add_node(struct drawing *drawing, size_t box, enum part part, enum tier tier,
                     struct text text)
{
    struct picture *picture = drawing->picture;
    struct picture_box *at = &picture->boxes[box];
    bool has_tier = tier < TIER_COUNT;
    size_t column = has_tier ? drawing->columns[tier] : TIER_COUNT;
    picture->nodes[picture->node_count++] =
        (struct picture_node){ .box = box, .part = part, .column = column, .text = text };
    if (!has_tier)
        return;
    at->last = at->first == TIER_COUNT || column > at->last ? column : at->last;
    at->first = column < at->first ? column : at->first;
}

static struct text app_names(struct drawing *drawing, const struct site_server *server)
{
    const struct site *site = drawing->site;
    struct text names = { NULL, 0 };
    for (size_t i = 0; i < site->app_count; i++) {
        const struct site_app *app = &site->apps[i];
        if (!site_is_on(site, &app->on, server))
            continue;
        struct text name =
            app->kind == APP_WSGI || app->kind == APP_ASGI ? app->callable : app->name;
        names = text_is_empty(names)
                    ? name
                    : arena_print(drawing->audit->arena, "%.*s, %.*s", FMT(names), FMT(name));
    }
    return names;
}

static struct text database_text(const struct site *site, const struct site_server *server)
{
    if (site_on_count(site, &site->database.on) == 1)
        return site->database.name;
    return site->database.primary == server ? T("primary") : T("replica");
}

static struct text algorithm_text(const struct site *site)
{
    static const char *const names[] = { "round-robin", "least-connections", "random-two",
                                         "ip-hash", "consistent-hash" };
    return text_of(names[site->balancer.pool.algorithm]);
}

static void add_server(struct drawing *drawing, const struct site_server *server)
{
    const struct site *site = drawing->site;
    size_t box = add_box(drawing, server->name, server, &server->address);
    if (site_balances(site, server))
        add_node(drawing, box, PART_BALANCER, TIER_BALANCER, algorithm_text(site));
    if (site_serves(site, server))
        add_node(drawing, box, PART_WEB, TIER_WEB, T(""));
    if (has_app(site, server))
        add_node(drawing, box, PART_APP, TIER_APP, app_names(drawing, server));
    if (has_database(site, server))
        add_node(drawing, box, PART_DATABASE, TIER_DATABASE, database_text(site, server));
    if (site_passes_tcp(site, server))
        add_node(drawing, box, PART_SERVICE, TIER_COUNT, T(""));
    if (site->dns.is_present && site_is_on(site, &site->dns.on, server))
        add_node(drawing, box, PART_NAMES, TIER_COUNT, T(""));
    if (site->monitor.is_present && site_is_on(site, &site->monitor.on, server))
        add_node(drawing, box, PART_MONITOR, TIER_COUNT, T(""));
}

static void make_boxes(struct drawing *drawing)
{
    const struct site *site = drawing->site;
    const struct model *model = drawing->audit->model;
    add_node(drawing, add_box(drawing, T("internet"), NULL, NULL), PART_CLIENT, TIER_INTERNET,
             T(""));
    for (size_t i = 0; i < site->vip.address_count; i++) {
        char ip[ADDRESS_TEXT_SIZE];
        address_format_ip(&site->vip.addresses[i], ip);
        struct text name = arena_copy(drawing->audit->arena, text_of(ip));
        add_node(drawing, add_box(drawing, name, NULL, NULL), PART_VIP, TIER_VIP, T(""));
    }
    for (size_t i = 0; i < site->server_count; i++)
        add_server(drawing, &site->servers[i]);
    for (size_t i = site->server_count; i < model->machine_count; i++)
        add_node(drawing, add_box(drawing, model->components[i].name, NULL, NULL), PART_OUTSIDE,
                 TIER_OUTSIDE, T(""));
}

/* Boxes with small parts only stand below the last tier, and their first part is a large one. */
static void settle(struct picture *picture)
{
    for (size_t i = 0; i < picture->box_count; i++) {
        struct picture_box *box = &picture->boxes[i];
        box->is_aside = box->first == TIER_COUNT;
        if (box->is_aside)
            box->first = box->last = picture->tier_count - 1;
    }
    for (size_t i = 0; i < picture->node_count; i++) {
        struct picture_node *node = &picture->nodes[i];
        const struct picture_box *box = &picture->boxes[node->box];
        bool is_first = i == 0 || picture->nodes[i - 1].box != node->box;
        if (node->column < TIER_COUNT)
            continue;
        node->column = box->first;
        node->is_small = !box->is_aside || !is_first;
    }
}

/* ---- rows ---- */

/* Columns that belong together have the same group: the lowest column of it. */
static void make_groups(const struct picture *picture, size_t groups[TIER_COUNT])
{
    for (size_t i = 0; i < TIER_COUNT; i++)
        groups[i] = i;
    for (size_t i = 0; i < picture->box_count; i++) {
        const struct picture_box *box = &picture->boxes[i];
        size_t low = groups[box->first];
        for (size_t j = box->first; j <= box->last; j++) {
            size_t joined = groups[j];
            size_t to = joined < low ? joined : low, from = joined < low ? low : joined;
            for (size_t k = 0; k < TIER_COUNT; k++)
                groups[k] = groups[k] == from ? to : groups[k];
            low = to;
        }
    }
}

/* The first row that is free in all columns of the box; used: rows taken in each column, bit by
 * bit in words of the arena. */
static size_t find_row(uint8_t *used, size_t rows, const struct picture_box *box)
{
    for (size_t row = 0; row < rows; row++) {
        bool is_free = true;
        for (size_t i = box->first; i <= box->last; i++)
            is_free = is_free && used[i * rows + row] == 0;
        if (!is_free)
            continue;
        for (size_t i = box->first; i <= box->last; i++)
            used[i * rows + row] = 1;
        return row;
    }
    return rows;
}

static void make_rows(struct drawing *drawing)
{
    struct picture *picture = drawing->picture;
    size_t groups[TIER_COUNT], heights[TIER_COUNT] = { 0 };
    uint8_t *used = arena_alloc(drawing->audit->arena, TIER_COUNT * picture->box_count);
    if (used == NULL) {
        drawing->failed = true;
        return;
    }
    make_groups(picture, groups);
    for (size_t i = 0; i < 2 * picture->box_count; i++) { /* those aside last */
        struct picture_box *box = &picture->boxes[i % picture->box_count];
        if (box->is_aside != (i >= picture->box_count))
            continue;
        size_t row = find_row(used, picture->box_count, box), *height;
        box->row = row * BOX_ROWS;
        height = &heights[groups[box->first]];
        *height = box->row + BOX_ROWS > *height ? box->row + BOX_ROWS : *height;
        picture->rows = *height > picture->rows ? *height : picture->rows;
    }
    for (size_t i = 0; i < picture->box_count; i++) {
        struct picture_box *box = &picture->boxes[i];
        box->row += (picture->rows - heights[groups[box->first]]) / 2;
    }
}

/* ---- links ---- */

static size_t node_of(const struct picture *picture, const struct site_server *server,
                      enum part part)
{
    for (size_t i = 0; i < picture->node_count; i++)
        if (picture->nodes[i].part == part &&
            picture->boxes[picture->nodes[i].box].server == server)
            return i;
    return picture->node_count;
}

static void add_link(struct drawing *drawing, size_t from, size_t to, const struct site_edge *edge)
{
    struct picture *picture = drawing->picture;
    if (from == picture->node_count || to == picture->node_count ||
        picture->link_count == drawing->link_room)
        return;
    picture->links[picture->link_count++] =
        (struct picture_link){ .from = from, .to = to, .edge = edge };
}

/* From every server of the one party to every one of the other. */
static void link_parties(struct drawing *drawing, const struct site_edge *edge, enum part from,
                         enum part to)
{
    const struct picture *picture = drawing->picture;
    for (size_t i = 0; i < edge->from.server_count; i++)
        for (size_t j = 0; j < edge->to.server_count; j++) {
            const struct site_server *source = edge->from.servers[i];
            const struct site_server *target = edge->to.servers[j];
            size_t before = picture->link_count;
            if (!site_edge_joins(edge, source, target))
                continue;
            if (edge->kind == EDGE_REPLICATION && source != drawing->site->database.primary)
                continue;
            add_link(drawing, node_of(picture, source, from), node_of(picture, target, to), edge);
            bool has_own = node_of(picture, source, to) < picture->node_count;
            if (picture->link_count > before)
                picture->links[before].is_spare = edge->kind == EDGE_APP && has_own;
        }
}

/* Clients come to the virtual addresses, else to each door. */
static void link_door(struct drawing *drawing, const struct site_edge *edge)
{
    const struct site *site = drawing->site;
    const struct picture *picture = drawing->picture;
    enum part part = site->balancer.is_present ? PART_BALANCER : PART_WEB;
    for (size_t i = 0; i < picture->node_count; i++) {
        if (picture->nodes[i].part != PART_VIP)
            continue;
        add_link(drawing, 0, i, edge);
        for (size_t j = 0; j < site->server_count; j++)
            if (site_is_on(site, &site->vip.on, &site->servers[j]))
                add_link(drawing, i, node_of(picture, &site->servers[j], part), edge);
    }
    for (size_t i = 0; i < edge->to.server_count && !site->vip.is_present; i++)
        add_link(drawing, 0, node_of(picture, edge->to.servers[i], part), edge);
}

static void link_outside(struct drawing *drawing, const struct site_edge *edge, enum part from)
{
    const struct picture *picture = drawing->picture;
    for (size_t i = 0; i < picture->node_count; i++)
        for (size_t j = 0; j < edge->from.server_count; j++)
            if (picture->nodes[i].part == PART_OUTSIDE &&
                text_equal(picture->boxes[picture->nodes[i].box].name, edge->to.host))
                add_link(drawing, node_of(picture, edge->from.servers[j], from), i, edge);
}

static void link_edge(struct drawing *drawing, const struct site_edge *edge)
{
    switch (edge->kind) {
    case EDGE_DOOR:
        link_door(drawing, edge);
        return;
    case EDGE_SERVICE:
        for (size_t i = 0; i < edge->to.server_count; i++)
            add_link(drawing, 0, node_of(drawing->picture, edge->to.servers[i], PART_SERVICE),
                     edge);
        return;
    case EDGE_WEB:
        link_parties(drawing, edge, PART_BALANCER, PART_WEB);
        return;
    case EDGE_APP:
        link_parties(drawing, edge, PART_WEB, PART_APP);
        return;
    case EDGE_UPSTREAM:
        link_outside(drawing, edge, PART_WEB);
        return;
    case EDGE_BEHIND:
        link_outside(drawing, edge, PART_SERVICE);
        return;
    case EDGE_SQL:
        link_parties(drawing, edge, PART_APP, PART_DATABASE);
        return;
    case EDGE_REPLICATION:
        link_parties(drawing, edge, PART_DATABASE, PART_DATABASE);
        return;
    case EDGE_DNS:
    case EDGE_CONTROL:
    case EDGE_VIP:
    case EDGE_ADMIN:
    case EDGE_ALLOWED:
    case EDGE_MONITOR:
    case EDGE_OUTSIDE:
        return; /* everybody with everybody: in the legend */
    }
}

/* Inside a server: no packet, but the way of a request. */
static void link_inside(struct drawing *drawing)
{
    static const enum part ways[][2] = { { PART_BALANCER, PART_WEB },
                                         { PART_WEB, PART_APP },
                                         { PART_APP, PART_DATABASE } };
    const struct site *site = drawing->site;
    for (size_t i = 0; i < site->server_count; i++)
        for (size_t j = 0; j < COUNT(ways); j++)
            add_link(drawing, node_of(drawing->picture, &site->servers[i], ways[j][0]),
                     node_of(drawing->picture, &site->servers[i], ways[j][1]), NULL);
}

/* ---- single points ---- */

/* Which part of a machine a need is about. */
static enum part part_of_need(const struct site *site, enum need_kind kind)
{
    switch (kind) {
    case NEED_DOOR:
    case NEED_VIP:
        return site->balancer.is_present ? PART_BALANCER : PART_WEB;
    case NEED_WEB:
        return PART_WEB;
    case NEED_APP:
        return PART_APP;
    case NEED_READ:
    case NEED_WRITE:
    case NEED_COPY:
        return PART_DATABASE;
    case NEED_UPSTREAM:
    case NEED_BACKEND:
        return PART_OUTSIDE;
    case NEED_LISTENER:
        return PART_SERVICE;
    case NEED_NAMES:
        return PART_NAMES;
    }
    return PART_CLIENT;
}

static bool is_single(const struct drawing *drawing, const struct picture_node *node)
{
    const struct model *model = drawing->audit->model;
    const struct picture_box *box = &drawing->picture->boxes[node->box];
    for (size_t i = 0; i < model->machine_count; i++) {
        if (!text_equal(model->components[i].name, box->name))
            continue;
        for (size_t j = 0; j < model->journey_count; j++)
            for (size_t k = 0; k < model->journeys[j].need_count; k++) {
                const struct need *need = &model->journeys[j].needs[k];
                if (part_of_need(drawing->site, need->kind) == node->part &&
                    need_fails(model, need, model->components[i].machines))
                    return true;
            }
    }
    return false;
}

static void mark_single(struct drawing *drawing)
{
    struct picture *picture = drawing->picture;
    for (size_t i = 0; i < picture->node_count; i++) {
        struct picture_node *node = &picture->nodes[i];
        node->is_single = is_single(drawing, node);
        picture->boxes[node->box].is_single |= node->is_single;
    }
}

/* ---- all ---- */

enum { PARTS_OF_A_SERVER = 8 };

enum err picture_make(struct audit *audit, struct picture *picture_out)
{
    struct drawing drawing = { .audit = audit, .site = audit->site, .picture = picture_out };
    size_t boxes = audit->model->machine_count + audit->site->vip.address_count + 1;
    size_t servers = audit->site->server_count;
    drawing.link_room = 64 + 8 * servers * servers;
    if (drawing.link_room > LINK_LIMIT)
        drawing.link_room = LINK_LIMIT;
    *picture_out = (struct picture){
        .boxes = arena_alloc(audit->arena, boxes * sizeof(struct picture_box)),
        .nodes = arena_alloc(audit->arena, boxes * PARTS_OF_A_SERVER * sizeof(struct picture_node)),
        .links = arena_alloc(audit->arena, drawing.link_room * sizeof(struct picture_link)),
    };
    if (picture_out->boxes == NULL || picture_out->nodes == NULL || picture_out->links == NULL)
        return ERR_LIMIT;
    make_columns(&drawing);
    make_boxes(&drawing);
    settle(picture_out);
    make_rows(&drawing);
    link_inside(&drawing);
    for (size_t i = 0; i < audit->edge_count; i++)
        link_edge(&drawing, &audit->edges[i]);
    mark_single(&drawing);
    return drawing.failed ? ERR_LIMIT : OK;
}

/* ---- words ---- */

void picture_label(const struct site_edge *edge, struct buffer *out)
{
    buffer_print(out, "%s", edge->speaks);
    if (edge->port > 0)
        buffer_print(out, " %d", edge->port);
    if (site_edge_is_bare(edge))
        buffer_print(out, ", cleartext");
}

bool picture_has_edge(const struct picture *picture, const struct site_edge *edge)
{
    for (size_t i = 0; i < picture->link_count; i++)
        if (picture->links[i].edge == edge)
            return true;
    return false;
}
