/* The newest frames: who is silent, what stays over a reload. */
#include "monitor/now.h"

#include "core/test.h"

#include <stdio.h>

static struct site *site_of(const char *servers)
{
    char text[512];
    struct site *site = NULL;
    struct site_mistakes mistakes;
    snprintf(text, sizeof(text),
             "site: www.foobar.com\nservers: %s\nweb: { static: { /: a } }\nmonitor: {}\n",
             servers);
    enum err err = site_parse(text_of(text), "site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    return site;
}

TEST(now_forgets_nobody_and_invents_nobody)
{
    struct now *now = now_new();
    struct site *first = site_of("{ a: 192.0.2.1, b: 192.0.2.2 }");
    REQUIRE(first != NULL, "a site");
    now_use(now, first);
    struct now_server *b = now_find(now, T("b"));
    REQUIRE(now->count == 2 && b != NULL && now_find(now, T("c")) == NULL, "as in the file");
    CHECK(now_age_ms(b, 5000) == -1 && now_is_silent(b, 5000), "nothing heard is silent");
    b->heard_ms = 5000;
    b->table.series[sample_use(&b->table, SAMPLE_GAUGE, T("cpu.busy"))].value = 3;
    CHECK(now_age_ms(b, 6500) == 1500 && !now_is_silent(b, 6500), "heard");
    CHECK(now_is_silent(b, 5000 + NOW_SILENT_MS + 1), "not heard for long");
    struct site *next = site_of("{ c: 192.0.2.3, b: 192.0.2.2 }");
    REQUIRE(next != NULL, "another site");
    now_use(now, next);
    CHECK(now_find(now, T("a")) == NULL, "a server that is gone");
    CHECK(now_value(now_find(now, T("b")), T("cpu.busy")) == 3, "one that stays");
    CHECK(isnan(now_value(now_find(now, T("c")), T("cpu.busy"))), "one that is new");
    CHECK(isnan(now_value(NULL, T("cpu.busy"))), "none");
    now_free(now);
    site_free(first);
    site_free(next);
}
