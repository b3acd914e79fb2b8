/*
 * What a bad cable may be called, and the rules of a partition.
 */
#include "lab/partition.h"
#include "lab/wire.h"

#include "core/test.h"

TEST(lab_wire_reads_its_settings)
{
    static const struct {
        const char *text;
        bool is_good;
        int64_t delay_us, rate_bps;
        uint32_t loss;
    } cases[] = {
        { "delay=20ms", true, 20000, 0, 0 },
        { "delay=500us loss=1% rate=10mbit", true, 500, 10000000, 10000 },
        { "loss=0.5%", true, 0, 0, 5000 },
        { "loss=100%", true, 0, 0, 1000000 },
        { "rate=1gbit delay=1s", true, 1000000, 1000000000, 0 },
        { "loss=100.1%", false, 0, 0, 0 },
        { "loss=1", false, 0, 0, 0 },
        { "delay=20", false, 0, 0, 0 },
        { "delay=11s", false, 0, 0, 0 },
        { "delay=-1ms", false, 0, 0, 0 },
        { "delay=1ms delay=2ms", false, 0, 0, 0 },
        { "speed=1mbit", false, 0, 0, 0 },
        { "delay", false, 0, 0, 0 },
        { "rate=99999999999999999999kbit", false, 0, 0, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_settings settings;
        struct why why = { "" };
        bool is_good = wire_parse(text_of(cases[i].text), &settings, &why) == OK;
        CHECK(is_good == cases[i].is_good, "%s", cases[i].text);
        if (!is_good || !cases[i].is_good)
            continue;
        CHECK(settings.delay_us == cases[i].delay_us && settings.rate_bps == cases[i].rate_bps &&
                  settings.loss == cases[i].loss,
              "%s", cases[i].text);
    }
}

TEST(lab_partition_names_both_groups)
{
    static const struct {
        const char *group, *other, *want; /* want: a part of the rules, or of the reason */
        enum err err;
    } cases[] = {
        { "one", "two,client", "ip saddr { 192.0.2.1 } ip daddr { 192.0.2.2, 203.0.113.10 } drop",
          OK },
        { "two,client", "one", "arp saddr ip { 192.0.2.1 } arp daddr ip { 192.0.2.2, ", OK },
        { "six", "two,six", "both groups", ERR_SYNTAX },
        { "one", "three", "no machine 'three'", ERR_NOT_FOUND },
        { "one", "", "both groups", ERR_SYNTAX },
        { "six", "one", "chain forward", OK },
    };
    struct site *site = NULL;
    struct site_mistakes mistakes;
    struct lab_plan plan;
    struct why why = { "" };
    struct arena *arena = arena_new(1 << 20, 0);
    enum err err = site_parse(T("site: a.b.c\nservers: { one: 192.0.2.1, two: 192.0.2.2, six: "
                                "'2001:db8::6' }\ndns: {}\n"),
                              "s.yaml", false, &site, &mistakes);
    site_mistakes_done(&mistakes);
    REQUIRE(err == OK && lab_plan_make(site, arena, &plan, &why) == OK, "%s", why.text);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer rules AUTO(buffer_done) = buffer_of(65536);
        err =
            partition_rules(&plan, text_of(cases[i].group), text_of(cases[i].other), &rules, &why);
        CHECK(err == cases[i].err, "%s | %s: %s", cases[i].group, cases[i].other, why.text);
        struct text found = err == OK ? buffer_text(&rules) : text_of(why.text);
        CHECK(text_find_text(found, text_of(cases[i].want)) >= 0, "%.*s", FMT(found));
    }
    site_free(site);
    arena_free(arena);
}
