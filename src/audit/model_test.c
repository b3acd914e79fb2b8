/*
 * Cut sets and odds against what trying everything gives: each state of all components, one by one.
 */
#include "audit/model.h"
#include "site/site_fixture.h"

#include <math.h>

enum { MOST_COMPONENTS = 16 };

static const struct {
    const char *what, *source;
} cases[] = {
    { "one server",
      "site: a.example.com\napp: { wsgi: \"a:b\", root: r }\ndatabase: { name: d }\n" },
    { "a balancer, two of all else", "site: a.example.com\n"
                                     "servers: { l: 192.0.2.1, a: 192.0.2.2, b: 192.0.2.3 }\n"
                                     "balancer: { on: l }\n"
                                     "web: { on: [a, b] }\n"
                                     "app: { on: [a, b], wsgi: \"a:b\", root: r }\n"
                                     "database: { on: [a, b], name: d, reads: replica }\n"
                                     "dns: { on: l }\n" },
    { "tiers that overlap, racks, a data centre, semi-sync",
      "site: a.example.com\n"
      "servers:\n"
      "  l: { address: 192.0.2.1, rack: r1, site: x }\n"
      "  m: { address: 192.0.2.2, rack: r2, site: x }\n"
      "  a: { address: 192.0.2.3, rack: r1, site: x }\n"
      "  b: { address: 192.0.2.4, rack: r2, site: x }\n"
      "  c: { address: 192.0.2.5, rack: r1, site: y }\n"
      "  d: 192.0.2.6\n"
      "  e: { address: 192.0.2.7, rack: r1 }\n"
      "balancer: { on: [l, m] }\n"
      "vip: { address: 192.0.2.99 }\n"
      "web: { on: [a, b, m] }\n"
      "app: { on: [b, c], wsgi: \"a:b\", root: r }\n"
      "database: { on: [c, d, e], name: d, reads: replica, replication: semi-sync }\n"
      "dns: { on: [l, d] }\n"
      "audit: { servers: { mtbf: 10d, mttr: 1d }, racks: { mtbf: 30d, mttr: 2d } }\n" },
    { "upstreams and services outside",
      "site: a.example.com\n"
      "servers: { a: 192.0.2.2, b: 192.0.2.3 }\n"
      "web: {}\n"
      "routes:\n"
      "  - { path: /, upstream: api }\n"
      "  - { path: /one, upstream: \"http://198.51.100.1:80\" }\n"
      "upstreams: { api: { to: [\"http://a:8000\", \"http://198.51.100.1\"] } }\n"
      "tcp: { mail: { listen: 25, on: a, to: [\"b:25\", \"198.51.100.2:25\"] } }\n" },
};

/* Machines that have failed when these components have. */
static void kill_all(const struct model *model, unsigned failed, machine_word *dead)
{
    memset(dead, 0, model->word_count * sizeof(machine_word));
    for (size_t i = 0; i < model->component_count; i++)
        for (size_t j = 0; j < model->word_count && (failed >> i & 1) != 0; j++)
            dead[j] |= model->components[i].machines[j];
}

static double try_all(const struct model *model, const struct journey *journey)
{
    machine_word dead[1];
    double broken = 0;
    for (unsigned failed = 0; failed < 1u << model->component_count; failed++) {
        double odds = 1;
        for (size_t i = 0; i < model->component_count; i++) {
            double one = model->components[i].broken;
            odds *= (failed >> i & 1) != 0 ? one : 1 - one;
        }
        kill_all(model, failed, dead);
        broken += journey_fails(model, journey, dead) ? odds : 0;
    }
    return broken;
}

static bool fails(const struct model *model, const struct journey *journey, unsigned failed)
{
    machine_word dead[1];
    kill_all(model, failed, dead);
    return journey_fails(model, journey, dead);
}

/* Machines alone: no smaller set ends it, and this one does. */
static bool is_minimal(const struct model *model, const struct journey *journey, unsigned set)
{
    if (!fails(model, journey, set))
        return false;
    for (size_t i = 0; i < model->component_count; i++)
        if ((set >> i & 1) != 0 && fails(model, journey, set & ~(1u << i)))
            return false;
    return true;
}

static unsigned bits_of(const struct cut *cut)
{
    unsigned bits = 0;
    for (size_t i = 0; i < cut->order; i++)
        bits |= 1u << cut->members[i];
    return bits;
}

static bool is_listed(const struct cuts *cuts, unsigned set)
{
    for (size_t i = 0; i < cuts->count; i++)
        if (bits_of(&cuts->items[i]) == set)
            return true;
    return false;
}

static void check_cuts(const char *what, const struct model *model, const struct journey *journey)
{
    struct cuts cuts;
    REQUIRE(cuts_find(model, journey, CUT_ORDER, &cuts) == OK, "%s", what);
    for (size_t i = 0; i < cuts.count; i++)
        CHECK(is_minimal(model, journey, bits_of(&cuts.items[i])), "%s, %.*s: %zu", what,
              FMT(journey->id), i);
    for (unsigned set = 1; set < 1u << model->machine_count; set++)
        if (__builtin_popcount(set) <= CUT_ORDER && is_minimal(model, journey, set))
            CHECK(is_listed(&cuts, set), "%s, %.*s: set %x", what, FMT(journey->id), set);
}

TEST(audit_model_agrees_with_trying_everything)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(MODEL_ARENA, 0);
        struct site *site = site_parse_good(cases[i].source);
        struct model *model = NULL;
        bool is_good = site != NULL && model_make(site, arena, &model) == OK &&
                       model->component_count <= MOST_COMPONENTS;
        CHECK(is_good && model->journey_count > 0, "%s", cases[i].what);
        for (size_t j = 0; is_good && j < model->journey_count; j++) {
            const struct journey *journey = &model->journeys[j];
            struct odds odds;
            double broken = try_all(model, journey);
            CHECK(odds_reckon(model, journey, &odds) == OK, "%s", cases[i].what);
            CHECK(fabs(odds.broken - broken) < 1e-12, "%s, %.*s: %.15f, by trying %.15f",
                  cases[i].what, FMT(journey->id), odds.broken, broken);
            check_cuts(cases[i].what, model, journey);
        }
        site_free(site);
        arena_free(arena);
    }
}

static void check_names(const struct model *model, const struct cuts *cuts, const char *want)
{
    struct buffer out AUTO(buffer_done) = buffer_of(1 << 16);
    for (size_t i = 0; i < cuts->count; i++) {
        for (size_t j = 0; j < cuts->items[i].order; j++)
            buffer_print(&out, "%s%.*s", j > 0 ? "+" : "",
                         FMT(model->components[cuts->items[i].members[j]].name));
        buffer_print(&out, " ");
    }
    CHECK(text_equal(buffer_text(&out), text_of(want)), "%.*s", FMT(buffer_text(&out)));
}

/* A rack is named where it is the reason, and not where one of its servers is. */
TEST(audit_model_names_racks_for_what_they_share)
{
    struct arena *arena = arena_new(MODEL_ARENA, 0);
    struct site *site = site_parse_good("site: a.example.com\n"
                                        "servers:\n"
                                        "  a: { address: 192.0.2.1, rack: r1, site: x }\n"
                                        "  b: { address: 192.0.2.2, rack: r1, site: x }\n"
                                        "  c: { address: 192.0.2.3, rack: r2, site: x }\n"
                                        "  d: { address: 192.0.2.4, rack: r3, site: x }\n"
                                        "balancer: { on: [a, b] }\n"
                                        "web: { on: [c, d], static: { /: f } }\n");
    struct model *model;
    struct cuts cuts;
    REQUIRE(site != NULL && model_make(site, arena, &model) == OK, "it is good");
    REQUIRE(cuts_find(model, &model->journeys[0], CUT_ORDER, &cuts) == OK, "found");
    check_names(model, &cuts, "rack r1 of x a+b c+d ");
    site_free(site);
    arena_free(arena);
}

TEST(audit_model_counts_the_largest_contributors)
{
    struct arena *arena = arena_new(MODEL_ARENA, 0);
    struct site *site = site_parse_good(cases[1].source);
    struct model *model;
    struct odds odds;
    REQUIRE(site != NULL && model_make(site, arena, &model) == OK, "it is good");
    REQUIRE(text_equal(model->journeys[1].id, T("write")), "the second journey");
    REQUIRE(odds_reckon(model, &model->journeys[1], &odds) == OK, "reckoned");
    REQUIRE(odds.most_count >= 2, "balancer and primary");
    CHECK(text_equal(model->components[odds.most[0].component].name, T("l")), "balancer");
    CHECK(text_equal(model->components[odds.most[1].component].name, T("a")), "primary");
    CHECK(fabs(odds.most[0].share - 0.5) < 0.01, "half: %f", odds.most[0].share);
    site_free(site);
    arena_free(arena);
}

TEST(audit_model_in_too_small_an_arena)
{
    struct site *site = site_parse_good(cases[2].source);
    size_t good = 0;
    REQUIRE(site != NULL, "it is good");
    for (size_t limit = 0; limit < 1 << 16; limit += 512) {
        struct arena *arena = arena_new(limit, 64);
        struct model *model;
        good += model_make(site, arena, &model) == OK ? 1 : 0;
        arena_free(arena);
    }
    CHECK(good > 0 && good < 128, "%zu of 128", good);
    site_free(site);
}
