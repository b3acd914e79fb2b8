#ifndef AUDIT_MODEL_H
#define AUDIT_MODEL_H

/*
 * What a site needs to work, as a boolean function of what has failed. Pure. Private to src/audit.
 *
 * A journey is something that a visitor wants: it works when all its needs are met. A need is met
 * when at least `least` of its members live. Members are machines: servers of the site and hosts
 * outside. What can fail are components: each machine, and the racks and data centres of the file,
 * which take all their machines with them. As every path of a request leads through one member of
 * each tier, that is the exact structure function, however the tiers overlap.
 */

#include "site/edges.h"

enum {
    NEED_LIMIT = 16, /* of one journey: tiers that a request passes */
    MODEL_ARENA = 64 << 20,
};

/* A set of machines, 64 in each word. */
typedef uint64_t machine_word;

enum component_kind { COMPONENT_SERVER, COMPONENT_OUTSIDE, COMPONENT_RACK, COMPONENT_LOCATION };

struct component {
    enum component_kind kind;
    struct text name;                 /* "lb-01", "192.0.2.1:80", "rack r1", "site fra1" */
    const struct site_server *server; /* COMPONENT_SERVER */
    machine_word *machines;           /* that fail with it; a machine's index is its component's */
    size_t parent;                    /* the smallest one that takes it along; itself: none */
    double broken;                    /* share of time in which it has failed by itself */
};

enum need_kind {
    NEED_DOOR,     /* a balancer, or a web server where clients come in */
    NEED_VIP,      /* a server that holds the virtual address */
    NEED_WEB,      /* a web server behind the balancers */
    NEED_APP,      /* the application */
    NEED_READ,     /* a database to read from */
    NEED_WRITE,    /* the primary */
    NEED_COPY,     /* a second database that has each write, before it is acknowledged */
    NEED_UPSTREAM, /* somebody behind a route */
    NEED_LISTENER, /* of a service of `tcp:` */
    NEED_BACKEND,  /* of a service of `tcp:` */
    NEED_NAMES,    /* a name server */
};

struct need {
    enum need_kind kind;
    struct text name; /* of the app, the upstream, the service; else empty */
    machine_word *members;
    size_t member_count;
    size_t least;
    struct site_place place;
};

struct journey {
    struct text id;   /* "page", "write", "names", "page /shop/", "tcp/mail" */
    struct text name; /* "read a page": goes behind "nobody can" */
    struct need needs[NEED_LIMIT];
    size_t need_count;
};

struct model {
    const struct site *site;
    struct arena *arena;
    struct component *components; /* machines first */
    size_t component_count, machine_count, word_count;
    struct journey *journeys;
    size_t journey_count;
};

/* In the arena. ERR_LIMIT when it is full. */
MUST_CHECK enum err model_make(const struct site *site, struct arena *arena,
                               struct model **model_out);

/* Whether the journey fails when these machines do (word_count words). */
bool journey_fails(const struct model *model, const struct journey *journey,
                   const machine_word *dead);
bool need_fails(const struct model *model, const struct need *need, const machine_word *dead);

static inline bool machine_is_in(const machine_word *set, size_t machine)
{
    return (set[machine / 64] >> (machine % 64) & 1) != 0;
}

/* ---- cut sets (cuts.c) ---- */

enum { CUT_ORDER = 3, CUT_LIMIT = 20000 };

struct cut { /* components whose failure together ends the journey; none of them can be left out */
    uint16_t members[CUT_ORDER];
    uint8_t order;
};

struct cuts {
    struct cut *items; /* by order, then by the order of the components */
    size_t count;
    size_t counts[CUT_ORDER + 1]; /* by order, with those that are not in items */
    bool is_cut_off;              /* there are more than CUT_LIMIT */
};

/* All minimal cut sets up to that order (1 to CUT_ORDER). A rack or data centre is in one only when
 * none of its machines, nor a smaller part of it, would do in its place. */
MUST_CHECK enum err cuts_find(const struct model *model, const struct journey *journey,
                              size_t order, struct cuts *cuts_out);

/* ---- availability (odds.c) ---- */

enum { CONTRIBUTORS = 3 };

struct odds {
    double broken; /* share of time in which the journey does not work; exact for the model */
    struct {
        size_t component;
        double share;     /* of `broken`: what would be gone if it never failed */
    } most[CONTRIBUTORS]; /* the largest first */
    size_t most_count;
};

/* Fails only at the arena's limit. */
MUST_CHECK enum err odds_reckon(const struct model *model, const struct journey *journey,
                                struct odds *odds_out);

#endif
