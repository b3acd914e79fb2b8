#ifndef AUDIT_PICTURE_H
#define AUDIT_PICTURE_H

/*
 * The whiteboard: tiers as columns from the internet to the database, each server one box from its
 * first to its last tier, a node in it for each thing it does, links from node to node. Places are
 * those of a grid, in half rows: whoever draws makes pixels or letters of them. Pure. Private to
 * src/audit (others get it as JSON: audit_write_picture).
 */

#include "audit/finding.h"

enum tier {
    TIER_INTERNET,
    TIER_VIP,
    TIER_BALANCER,
    TIER_WEB,
    TIER_APP,
    TIER_DATABASE,
    TIER_OUTSIDE,
    TIER_COUNT,
};

enum part {
    PART_CLIENT,
    PART_VIP,
    PART_BALANCER,
    PART_WEB,
    PART_APP,
    PART_DATABASE,
    PART_OUTSIDE, /* a host that is not the site's */
    PART_SERVICE, /* `tcp:`; from here on small ones that have no tier of their own */
    PART_NAMES,
    PART_MONITOR,
};

enum live { LIVE_UNKNOWN, LIVE_UP, LIVE_DOWN };

struct picture_box {
    struct text name;
    struct text address;              /* empty: none */
    const struct site_server *server; /* NULL: not one of the site */
    size_t first, last;               /* columns: indices of picture.tiers */
    size_t row;                       /* its upper edge, in half rows; a box is two of them high */
    bool is_single;
    bool is_aside; /* nothing of it is in a tier: a monitor, a name server alone */
    enum live live;
};

struct picture_node {
    size_t box;
    enum part part;
    size_t column;
    struct text text; /* "primary", "guestbook:app": what more there is to say */
    bool is_single;   /* a journey ends with it alone */
    bool is_small;    /* stands below the others of its box, without a tier */
    enum live live;
};

struct picture_link {
    size_t from, to;              /* nodes */
    const struct site_edge *edge; /* NULL: inside one server */
    bool is_spare;                /* used when the server's own does not work */
};

struct picture {
    enum tier tiers[TIER_COUNT]; /* those that the site has */
    size_t tier_count;
    struct picture_box *boxes;
    size_t box_count;
    struct picture_node *nodes;
    size_t node_count;
    struct picture_link *links;
    size_t link_count;
    size_t rows; /* height of it all, in half rows */
};

/* Of the audited site, in the audit's arena. */
MUST_CHECK enum err picture_make(struct audit *audit, struct picture *picture_out);

const char *tier_name(enum tier tier); /* "balancer" */
const char *part_name(enum part part); /* "name server" */
const char *part_key(enum part part);  /* for programs: "dns" */

/* "HTTP 80", "VRRP"; "in cleartext" where it can be read along. */
void picture_label(const struct site_edge *edge, struct buffer *out);

/* Edges that no link stands for: "control", "dns/udp". */
bool picture_has_edge(const struct picture *picture, const struct site_edge *edge);

/* ---- drawings ---- */

void draw_text(const struct audit *audit, const struct picture *picture, bool has_colour,
               struct buffer *out);
void draw_svg(const struct audit *audit, const struct picture *picture, struct buffer *out);
void draw_mermaid(const struct audit *audit, const struct picture *picture, struct buffer *out);
void draw_dot(const struct audit *audit, const struct picture *picture, struct buffer *out);
void draw_json(const struct audit *audit, const struct picture *picture, struct buffer *out);

#endif
