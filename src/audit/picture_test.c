/*
 * The picture: who stands where, what is linked, and the drawings of it.
 */
#include "audit/audit.h"
#include "audit/live.h"
#include "audit/picture.h"
#include "site/site_fixture.h"

static const char distributed[] =
    "site: www.foobar.com\n"
    "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12,\n"
    "           mon-01: 198.51.100.13 }\n"
    "listen:   { http: 80, dns: 53 }\n"
    "balancer: { on: lb-01 }\n"
    "web:      { on: [web-01, web-02] }\n"
    "app:      { on: [web-01, web-02], wsgi: \"guestbook:app\", root: r }\n"
    "database: { on: [web-01, web-02], name: guestbook, reads: replica }\n"
    "dns:      { on: lb-01 }\n"
    "monitor:  { on: mon-01 }\n";

struct drawn {
    struct arena *arena;
    struct site *site;
    struct audit *audit;
    struct picture picture;
    struct buffer out;
};

static bool drawn_make(struct drawn *drawn, const char *source)
{
    *drawn = (struct drawn){ .arena = arena_new(MODEL_ARENA, 0),
                             .site = site_parse_good(source),
                             .out = buffer_of(1 << 20) };
    return drawn->site != NULL && audit_make(drawn->site, drawn->arena, 1, &drawn->audit) == OK &&
           picture_make(drawn->audit, &drawn->picture) == OK;
}

static void drawn_done(struct drawn *drawn)
{
    buffer_done(&drawn->out);
    site_free(drawn->site);
    arena_free(drawn->arena);
}

static bool has(const struct drawn *drawn, const char *part)
{
    return text_find_text(buffer_text(&drawn->out), text_of(part)) >= 0;
}

TEST(picture_places)
{
    static const struct {
        const char *name;
        size_t first, last, row;
        bool is_single;
    } wanted[] = { { "internet", 0, 0, 2, false },
                   { "lb-01", 1, 1, 2, true },
                   { "web-01", 2, 4, 0, true },
                   { "web-02", 2, 4, 2, false },
                   { "mon-01", 4, 4, 4, false } };
    struct drawn drawn;
    REQUIRE(drawn_make(&drawn, distributed), "it is drawn");
    CHECK(drawn.picture.tier_count == 5 && drawn.picture.rows == 6, "%zu tiers, %zu rows",
          drawn.picture.tier_count, drawn.picture.rows);
    for (size_t i = 0; i < COUNT(wanted) && i < drawn.picture.box_count; i++) {
        const struct picture_box *box = &drawn.picture.boxes[i];
        CHECK(text_equal(box->name, text_of(wanted[i].name)) && box->first == wanted[i].first &&
                  box->last == wanted[i].last && box->row == wanted[i].row &&
                  box->is_single == wanted[i].is_single,
              "%.*s: %zu to %zu, row %zu", FMT(box->name), box->first, box->last, box->row);
    }
    drawn_done(&drawn);
}

/* No two boxes in the same place. */
TEST(picture_boxes_do_not_overlap)
{
    struct buffer source AUTO(buffer_done) = buffer_of(1 << 16);
    struct drawn drawn;
    buffer_print(&source, "site: a.example.com\nservers:\n");
    for (int i = 0; i < 60; i++)
        buffer_print(&source, "  s%d: 192.0.2.%d\n", i, i + 1);
    buffer_print(&source,
                 "balancer: { on: [s1, s2, s3, s9] }\nweb: { on: [s3, s4, s5, s6] }\n"
                 "app: { on: [s5, s6, s7, s8], wsgi: \"a:b\", root: r }\n"
                 "database: { on: [s8, s9, s10], name: d }\ndns: { on: [s3, s20] }\n%c",
                 0);
    REQUIRE(drawn_make(&drawn, source.data), "it is drawn");
    for (size_t i = 0; i < drawn.picture.box_count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct picture_box *a = &drawn.picture.boxes[i], *b = &drawn.picture.boxes[j];
            bool is_beside = a->first > b->last || b->first > a->last;
            bool is_below = a->row >= b->row + 2 || b->row >= a->row + 2;
            CHECK(is_beside || is_below, "%.*s and %.*s", FMT(a->name), FMT(b->name));
        }
    drawn_done(&drawn);
}

TEST(picture_drawings)
{
    static const char *const wanted[][4] = {
        { "| balancer: round-robin (!) |", "|  HTTP 80, cleartext",
          "| database: primary (!)      |",
          "web-01, web-02 -> each other: SQL 3306, cleartext (replicas follow the primary)" },
        { "<svg xmlns=", "guestbook:app</text>", "class=\"e r\"",
          "<title>single point of failure" },
        { "flowchart LR\n", "|\"HTTP 80, cleartext\"| n1", ":::single", "linkStyle" },
        { "digraph \"www.foobar.com\" {", "label=\"web-01\\n198.51.100.11\"", "color=\"#cc0000\"",
          "style=dashed" },
        { "\"tiers\":[\"internet\",\"balancer\",\"web\",\"app\",\"database\"]",
          "\"singles\":[\"lb-01\",\"web-01\"]", "\"cleartext\":true",
          "{\"name\":\"metrics\",\"kind\":\"monitor\"" },
    };
    static void (*const draw[])(const struct audit *, const struct picture *,
                                struct buffer *) = { draw_svg, draw_mermaid, draw_dot, draw_json };
    struct drawn drawn;
    REQUIRE(drawn_make(&drawn, distributed), "it is drawn");
    for (size_t i = 0; i < COUNT(wanted); i++) {
        buffer_clear(&drawn.out);
        if (i == 0)
            draw_text(drawn.audit, &drawn.picture, false, &drawn.out);
        else
            draw[i - 1](drawn.audit, &drawn.picture, &drawn.out);
        for (size_t j = 0; j < COUNT(wanted[i]); j++)
            CHECK(has(&drawn, wanted[i][j]), "%s in\n%.*s", wanted[i][j],
                  FMT(buffer_text(&drawn.out)));
    }
    drawn_done(&drawn);
}

TEST(picture_of_a_running_site)
{
    struct drawn drawn;
    REQUIRE(drawn_make(&drawn, distributed), "it is drawn");
    live_mark(&drawn.picture,
              T("{\"server\":\"lb-01\",\"backends\":["
                "{\"name\":\"web/web-01\",\"state\":\"up\"},{\"name\":\"web/web-02\",\"state\":"
                "\"down\"},{\"name\":\"database/web-01\",\"state\":\"down\"},{\"name\":3},"
                "{\"name\":\"tcp/x\",\"state\":\"down\"}]}"));
    CHECK(drawn.picture.boxes[1].live == LIVE_UP, "who was asked is up");
    CHECK(drawn.picture.boxes[2].live == LIVE_UP, "web-01 does something");
    CHECK(drawn.picture.boxes[3].live == LIVE_DOWN, "web-02 does nothing");
    CHECK(drawn.picture.boxes[4].live == LIVE_UNKNOWN, "of mon-01 nothing is known");
    draw_text(drawn.audit, &drawn.picture, false, &drawn.out);
    CHECK(has(&drawn, "web-02  198.51.100.12 DOWN"), "in letters");
    CHECK(has(&drawn, "database: primary DOWN (!)"), "and the database");
    live_mark(&drawn.picture, T("nonsense"));
    live_mark(&drawn.picture, T("[1,2"));
    drawn_done(&drawn);
}

TEST(picture_as_json_of_a_site)
{
    struct site *site = site_parse_good(distributed);
    struct buffer out AUTO(buffer_done) = buffer_of(1 << 20),
                      small AUTO(buffer_done) = buffer_of(9);
    REQUIRE(site != NULL, "it is good");
    audit_write_picture(site, &out);
    CHECK(!out.failed && text_starts_with(buffer_text(&out), T("{\"site\":\"www.foobar.com\"")),
          "%.*s", FMT(buffer_text(&out)));
    audit_write_picture(site, &small);
    CHECK(small.failed, "too large for that buffer");
    site_free(site);
}
