/* Alerts, by recorded seconds of a site: who is told what, and how often. */
#include "metrics/metrics.h"
#include "monitor/scene_fixture.h"

#include <stdio.h>

enum { LB, WEB_1, WEB_2 };

#define NEVER "a quiet site says nothing"

TEST(alert_says_nothing_of_a_quiet_site)
{
    struct scene *scene = scene_new("{}");
    scene_seconds(scene, 1800);
    CHECK(scene_said(scene, ""), NEVER);
    CHECK(scene->events[0] == '\0', "%s", scene->events);
    scene_free(scene);
}

TEST(alert_of_a_silent_server_is_the_root)
{
    struct scene *scene = scene_new("{}");
    scene->is_mute[WEB_1] = true;
    scene_seconds(scene, 1);
    for (int i = 0; i < SCENE_SERVERS; i++) {
        scene_say(scene, i, "backend/database/web-01/state", HEALTH_DOWN);
        scene_say(scene, i, "backend/database/web-02/lag_ms", -1);
    }
    scene_say(scene, LB, "backend/web/web-01/state", HEALTH_DOWN);
    scene_say(scene, LB, "http.5xx", 50);
    scene_seconds(scene, 3);
    CHECK(scene_said(scene, ""), "nobody is told of what may follow from something");
    scene_seconds(scene, 3);
    CHECK(scene_said(scene, "tell server-silent web-01; "), "the root");
    scene_seconds(scene, 300);
    CHECK(scene_said(scene, ""), "once");
    CHECK(strstr(scene->events, "start backend-down web/web-01; ") != NULL &&
              strstr(scene->events, "start no-database database; ") != NULL &&
              strstr(scene->events, "start replication-stopped database/web-02; ") != NULL &&
              strstr(scene->events, "start errors lb-01; ") != NULL,
          "the rest is known: %s", scene->events);
    scene->is_mute[WEB_1] = false;
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-02/lag_ms", 10);
    scene_say(scene, LB, "http.5xx", 0);
    scene_seconds(scene, 20); /* its database takes longer */
    CHECK(scene_said(scene, "end server-silent web-01; "), "is over, the rest may take a while");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-01/state", HEALTH_UP);
    scene_say(scene, LB, "backend/web/web-01/state", HEALTH_UP);
    scene_seconds(scene, 120);
    CHECK(scene_said(scene, ""), "what nobody was told of ends without a word");
    scene_free(scene);
}

TEST(alert_that_outlives_its_cause_is_told)
{
    struct scene *scene = scene_new("{}");
    scene->is_mute[WEB_1] = true;
    scene_say(scene, LB, "backend/web/web-01/state", HEALTH_DOWN);
    scene_seconds(scene, 10);
    CHECK(scene_said(scene, "tell server-silent web-01; "), "the root");
    scene->is_mute[WEB_1] = false;
    scene_seconds(scene, 80);
    CHECK(scene_said(scene, "end server-silent web-01; tell backend-down web/web-01; "),
          "nothing is hidden for good");
    scene_free(scene);
}

TEST(alert_of_a_backend_is_told_within_seconds)
{
    struct scene *scene = scene_new("{}");
    scene_say(scene, LB, "backend/web/web-02/state", HEALTH_DOWN);
    scene_seconds(scene, 3);
    CHECK(scene_said(scene, "tell backend-down web/web-02; "), "at once");
    scene_say(scene, LB, "backend/web/web-02/state", HEALTH_UP);
    scene_seconds(scene, 7);
    CHECK(scene_said(scene, "end backend-down web/web-02; "), "and its end");
    scene_free(scene);
}

TEST(alert_that_comes_and_goes_is_not_told_again_and_again)
{
    struct scene *scene = scene_new("{}");
    size_t told = 0;
    for (int i = 0; i < 60; i++) { /* 10 s down, 10 s up: 20 minutes */
        scene_say(scene, LB, "backend/web/web-02/state", i % 2 == 0 ? HEALTH_DOWN : HEALTH_UP);
        scene_seconds(scene, 10);
    }
    for (const char *at = scene->said; (at = strstr(at, "tell ")) != NULL; at++)
        told++;
    CHECK(told >= 1 && told <= 3, "told %zu times: %s", told, scene->said);
    scene->said[0] = '\0';
    scene_say(scene, LB, "backend/web/web-02/state", HEALTH_UP);
    scene_seconds(scene, 700);
    CHECK(scene_said(scene, "end backend-down web/web-02; "), "it ends when it stays up");
    scene_free(scene);
}

static double used(double percent)
{
    return 1000 - 10 * percent;
}

TEST(alert_of_a_disk_has_hysteresis_and_waits)
{
    static const struct {
        const char *what;
        double percent;
        int seconds;
        const char *want;
    } steps[] = {
        { "a peak", 95, 3, "" },
        { "over", 80, 3, "" },
        { "full", 91, 8, "tell disk-full web-01; " },
        { "a little less is still full", 89, 60, "" },
        { "less", 85, 5, "" },
        { "full again before it was over", 92, 5, "" },
        { "less for long", 85, 12, "end disk-full web-01; " },
    };
    struct scene *scene = scene_new("{}");
    for (size_t i = 0; i < COUNT(steps); i++) {
        scene_say(scene, WEB_1, "disk.free", used(steps[i].percent));
        scene_seconds(scene, steps[i].seconds);
        CHECK(scene_said(scene, steps[i].want), "%s", steps[i].what);
    }
    scene_free(scene);
}

TEST(alert_of_a_server_that_went_silent_stays_as_it_was)
{
    struct scene *scene = scene_new("{}");
    scene_say(scene, WEB_1, "disk.free", used(92));
    scene_seconds(scene, 10);
    CHECK(scene_said(scene, "tell disk-full web-01; "), "full");
    scene->is_mute[WEB_1] = true;
    scene_say(scene, WEB_1, "disk.free", used(10)); /* nobody can say that */
    scene_seconds(scene, 60);
    CHECK(scene_said(scene, "tell server-silent web-01; "), "not over");
    scene->is_mute[WEB_1] = false;
    scene_seconds(scene, 20);
    CHECK(scene_said(scene, "end server-silent web-01; end disk-full web-01; "), "now it is");
    scene_free(scene);
}

TEST(alert_of_a_process_that_does_not_stay_up)
{
    struct scene *scene = scene_new("{}");
    scene_say(scene, WEB_1, "process/edge/0/restarts", 3);
    scene_seconds(scene, 5);
    CHECK(scene_said(scene, ""), "two are none");
    scene_say(scene, WEB_1, "process/edge/0/restarts", 4);
    scene_seconds(scene, 5);
    CHECK(scene_said(scene, "tell process-restarts web-01 edge/0; "), "three within a minute");
    scene_seconds(scene, 80);
    CHECK(scene_said(scene, "end process-restarts web-01 edge/0; "), "it stays up");
    scene_free(scene);
}

TEST(alert_of_replication)
{
    struct scene *scene = scene_new("{ lag: 10s }");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-02/lag_ms", -1);
    scene_seconds(scene, 6);
    CHECK(scene_said(scene, "tell replication-stopped database/web-02; "), "stopped");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-02/lag_ms", 12000);
    scene_seconds(scene, 13);
    CHECK(scene_said(scene, "end replication-stopped database/web-02; "
                            "tell replica-lag database/web-02; "),
          "goes on, behind");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-02/lag_ms", 100);
    scene_seconds(scene, 15);
    CHECK(scene_said(scene, "end replica-lag database/web-02; "), "there");
    scene_free(scene);
}

TEST(alert_of_a_replica_that_applies_nothing)
{
    struct scene *scene = scene_new("{}");
    for (int second = 0; second < 20; second++) {
        scene_say(scene, WEB_2, "backend/database/web-02/lag_ms", 300 + 1000 * second);
        scene_seconds(scene, 1);
    }
    CHECK(scene_said(scene, "tell replication-stopped database/web-02; "), "long before the limit");
    scene_say(scene, WEB_2, "backend/database/web-02/lag_ms", 0);
    scene_seconds(scene, 10);
    CHECK(scene_said(scene, "end replication-stopped database/web-02; "), "it goes on");
    for (int second = 0; second < 60; second++) {
        scene_say(scene, WEB_2, "backend/database/web-02/lag_ms", 500 * second);
        scene_seconds(scene, 1);
    }
    CHECK(scene_said(scene, ""), "slow is not stopped");
    scene_free(scene);
}

TEST(alert_of_the_database)
{
    struct scene *scene = scene_new("{}");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-01/state", HEALTH_DOWN);
    scene_seconds(scene, 20);
    CHECK(scene_said(scene, "tell database-down database/web-01; "),
          "that nothing takes writes follows from it");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-01/state", HEALTH_UP);
    scene_seconds(scene, 20);
    CHECK(scene_said(scene, "end database-down database/web-01; "), "over");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-01/role", HEALTH_ROLE_REPLICA);
    scene_seconds(scene, 80); /* the end of the other is a moment ago */
    CHECK(scene_said(scene, "tell no-database database; "), "two replicas");
    scene_free(scene);
}

TEST(alert_of_requests)
{
    struct scene *scene = scene_new("{ latency: 100ms }");
    scene_say(scene, LB, "http.5xx", 1);
    scene_seconds(scene, 60);
    CHECK(scene_said(scene, ""), "1 %%");
    scene_say(scene, LB, "http.5xx", 20);
    scene_seconds(scene, 16);
    CHECK(scene_said(scene, "tell errors lb-01; "), "20 %%");
    scene_say(scene, LB, "http.5xx", 0);
    scene_seconds(scene, 62);
    CHECK(scene_said(scene, "end errors lb-01; "), "over");
    scene_count(scene, LB, "http.latency", 150000, 100);
    scene_seconds(scene, 34);
    CHECK(scene_said(scene, "tell latency lb-01; "), "slow");
    scene_count(scene, LB, "http.latency", 1000, 100);
    scene_seconds(scene, 62);
    CHECK(scene_said(scene, "end latency lb-01; "), "fast again");
    scene_say(scene, WEB_1, "http.5xx", 100);
    scene_seconds(scene, 60);
    CHECK(scene_said(scene, ""), "what the balancer made good is nobody's trouble");
    scene_free(scene);
}

TEST(alert_of_a_certificate)
{
    struct scene *scene = scene_new("{}");
    double now_s = (double)scene->wall_ms / 1000;
    scene_say(scene, LB, "tls.soonest_end_s", now_s + 13 * 86400);
    scene_seconds(scene, 4);
    CHECK(scene_said(scene, "tell certificate-ends lb-01; "), "in 13 days");
    scene_say(scene, LB, "tls.soonest_end_s", now_s + 90 * 86400);
    scene_seconds(scene, 8);
    CHECK(scene_said(scene, "end certificate-ends lb-01; "), "renewed");
    scene_free(scene);
}

TEST(alert_by_rules_of_the_file)
{
    struct scene *scene = scene_new(
        "{ rules: { busy: { series: cpu.busy, above: 90%, for: 10s, on: [web-01, web-02] },\n"
        "  idle: { series: \"route/*/requests\", below: 5, clear: 10, for: 3s },\n"
        "  slow: { series: http.latency, quantile: 90%, above: 50ms, for: 5s, on: lb-01 } } }");
    scene_say(scene, LB, "cpu.busy", 99);
    scene_say(scene, WEB_1, "cpu.busy", 91);
    scene_say(scene, WEB_2, "cpu.busy", 90);
    scene_seconds(scene, 13);
    CHECK(scene_said(scene, "tell busy web-01 cpu.busy; "), "only where it is wanted");
    scene_say(scene, WEB_1, "cpu.busy", 85);
    scene_seconds(scene, 30);
    CHECK(scene_said(scene, ""), "a tenth below the limit is needed");
    scene_say(scene, WEB_1, "cpu.busy", 80);
    scene_seconds(scene, 12);
    CHECK(scene_said(scene, "end busy web-01 cpu.busy; "), "over");
    scene_say(scene, WEB_2, "route/ /a app/requests", 4);
    scene_say(scene, WEB_2, "route/ /b app/requests", 6);
    scene_seconds(scene, 6);
    CHECK(scene_said(scene, "tell idle web-02 route/ /a app/requests; "), "by pattern");
    scene_count(scene, LB, "http.latency", 60000, 100);
    scene_seconds(scene, 20);
    CHECK(scene_said(scene, "tell slow lb-01 http.latency; "), "quantiles");
    scene_free(scene);
}

TEST(alert_defaults_can_be_off)
{
    struct scene *scene = scene_new("{ off: [disk-full, server-silent] }");
    scene_say(scene, WEB_1, "disk.free", 0);
    scene->is_mute[WEB_2] = true;
    scene_seconds(scene, 60);
    CHECK(scene_said(scene, ""), NEVER);
    scene_free(scene);
}

TEST(alert_is_not_told_twice_after_a_restart)
{
    struct scene *scene = scene_new("{}");
    scene->is_mute[WEB_1] = true;
    scene_say(scene, WEB_2, "disk.free", used(95));
    scene_seconds(scene, 10);
    CHECK(strstr(scene->said, "tell server-silent web-01; ") != NULL &&
              strstr(scene->said, "tell disk-full web-02; ") != NULL,
          "both");
    scene->said[0] = '\0';
    scene_restart(scene);
    scene_seconds(scene, 60);
    CHECK(scene_said(scene, ""), "nobody is told again");
    scene->is_mute[WEB_1] = false;
    scene_say(scene, WEB_2, "disk.free", used(50));
    scene_seconds(scene, 20);
    CHECK(strstr(scene->said, "end server-silent web-01; ") != NULL &&
              strstr(scene->said, "end disk-full web-02; ") != NULL,
          "the ends: %s", scene->said);
    scene_free(scene);
}

TEST(alert_waits_for_a_server_after_a_restart)
{
    struct scene *scene = scene_new("{}");
    scene->is_mute[WEB_1] = true;
    scene_restart(scene);
    scene_seconds(scene, 20);
    CHECK(scene_said(scene, ""), "it may come yet");
    scene_seconds(scene, 20);
    CHECK(scene_said(scene, "tell server-silent web-01; "), "it did not");
    scene_free(scene);
}

TEST(alert_says_nothing_while_a_site_starts)
{
    struct scene *scene = scene_new("{}");
    scene_restart(scene);
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-01/state", HEALTH_DOWN);
    scene_say(scene, LB, "backend/web/web-01/state", HEALTH_DOWN);
    scene_seconds(scene, 40);
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-01/state", HEALTH_UP);
    scene_say(scene, LB, "backend/web/web-01/state", HEALTH_UP);
    scene_seconds(scene, 120);
    CHECK(scene_said(scene, ""), NEVER);
    scene_free(scene);
}

TEST(alert_says_nothing_when_the_monitor_slept)
{
    struct scene *scene = scene_new("{}");
    scene->now_ms += 60000; /* a machine that was suspended */
    scene->wall_ms += 60000;
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene->is_mute[i] = true;
    scene_seconds(scene, 2);
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene->is_mute[i] = false;
    scene_seconds(scene, 60);
    CHECK(scene_said(scene, ""), NEVER);
    scene->wall_ms -= 86400000; /* and a clock that was put back */
    scene_seconds(scene, 60);
    CHECK(scene_said(scene, ""), NEVER);
    scene_free(scene);
}

TEST(alert_is_silent_under_a_silence)
{
    struct scene *scene = scene_new("{}");
    REQUIRE(alert_silence(scene->book, T("web-0*"), scene->wall_ms + 60000) == OK, "silence");
    scene_say(scene, WEB_1, "disk.free", used(95));
    scene_say(scene, LB, "disk.free", used(95));
    scene_seconds(scene, 10);
    CHECK(scene_said(scene, "tell disk-full lb-01; "), "the other one");
    scene_restart(scene);
    scene_seconds(scene, 30);
    CHECK(scene_said(scene, ""), "it outlives the monitor");
    scene_seconds(scene, 30);
    CHECK(scene_said(scene, "tell disk-full web-01; "), "when it is over");
    CHECK(alert_unsilence(scene->book, T("web-0*")) == ERR_NOT_FOUND, "gone");
    REQUIRE(alert_silence(scene->book, T("disk-full"), scene->wall_ms + 600000) == OK, "by rule");
    scene_say(scene, WEB_2, "disk.free", used(95));
    scene_seconds(scene, 10);
    CHECK(scene_said(scene, ""), "silenced");
    REQUIRE(alert_unsilence(scene->book, T("disk-full")) == OK, "ended by hand");
    scene_seconds(scene, 1);
    CHECK(scene_said(scene, "tell disk-full web-02; "), "told late");
    scene_free(scene);
}

TEST(alert_has_a_limit_of_silences)
{
    struct alert_book *book = alert_book_new(0);
    char pattern[32];
    for (int i = 0; i < ALERT_SILENCES; i++) {
        snprintf(pattern, sizeof(pattern), "p%d", i);
        CHECK(alert_silence(book, text_of(pattern), 1000) == OK, "%d", i);
    }
    CHECK(alert_silence(book, T("one more"), 1000) == ERR_LIMIT, "full");
    CHECK(alert_silence(book, T("p3"), 2000) == OK, "the same again is fine");
    CHECK(alert_silence(book, T(""), 1000) == ERR_RANGE, "empty");
    alert_book_free(book);
}

TEST(alert_ends_when_its_rule_is_gone)
{
    struct scene *scene = scene_new("{}");
    struct site_alerts *alerts = &scene->site->monitor.alerts;
    struct text off = T("disk-full");
    scene_say(scene, WEB_1, "disk.free", used(95));
    scene_seconds(scene, 10);
    CHECK(scene_said(scene, "tell disk-full web-01; "), "full");
    alerts->off = &off;
    alerts->off_count = 1;
    rules_use(scene->rules, scene->site, scene->now_ms);
    scene_restart(scene);
    scene_seconds(scene, 3);
    CHECK(scene_said(scene, "end disk-full web-01; "), "a reload took the rule away");
    scene_free(scene);
}

TEST(alert_state_that_is_broken_is_left_out)
{
    static const char *const cases[] = {
        "",
        "x",
        "{}",
        "[]",
        "{\"version\":1}",
        "{\"version\":2,\"alerts\":[{}]}",
        "{\"version\":1,\"alerts\":[{},3,null,{\"rule\":\"a\"}],\"silences\":[{},7]}",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct alert_book *book = alert_book_new(0);
        alert_book_load(book, text_of(cases[i]), 1000, 1000);
        CHECK(book->alerts.count == 0 && book->silence_count == 0, "%s", cases[i]);
        alert_book_free(book);
    }
}

TEST(alert_matches_patterns)
{
    static const struct {
        const char *pattern, *text;
        bool want;
    } cases[] = {
        { "a", "a", true },          { "a", "ab", false },        { "*", "", true },
        { "web-*", "web-01", true }, { "web-*", "lb-01", false }, { "*-01", "web-01", true },
        { "a*a", "a", false },       { "a*a", "aa", true },       { "", "a", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(alert_matches(text_of(cases[i].pattern), text_of(cases[i].text)) == cases[i].want,
              "%s %s", cases[i].pattern, cases[i].text);
}

static void say_all(void *context, const struct alert *alert)
{
    struct scene *scene = context;
    char text[ALERT_TEXT_SIZE];
    alert_say(scene->rules, alert, text);
    snprintf(scene->events + strlen(scene->events), SCENE_SAID - strlen(scene->events), "%s\n",
             text);
}

TEST(alert_speaks_in_sentences)
{
    struct scene *scene =
        scene_new("{ rules: { busy: { series: cpu.busy, above: 90, for: 1s } } }");
    scene->is_mute[WEB_2] = true;
    scene_say(scene, WEB_1, "disk.free", used(95));
    scene_say(scene, WEB_1, "disk/\x2fvar/total", 100);
    scene_say(scene, WEB_1, "disk/\x2fvar/free", 0);
    scene_say(scene, WEB_1, "process/edge/0/restarts", 5);
    scene_say(scene, WEB_1, "cpu.busy", 97.25);
    scene_say(scene, LB, "backend/web/web-01/state", HEALTH_DOWN);
    scene_say(scene, LB, "tls.soonest_end_s", (double)scene->wall_ms / 1000 - 10);
    scene_seconds(scene, 12);
    scene->events[0] = '\0';
    alert_book_each(scene->book, say_all, scene);
    static const char *const wanted[] = {
        "web-02 is silent: nothing was heard from it for 12 s\n",
        "the disk of web-01 with the site's data is 95 % full\n",
        "the disk /var of web-01 is 100 % full\n",
        "edge/0 on web-01 does not stay up: it was started again 4 times within a minute\n",
        "cpu.busy of web-01 is 97.25, above 90\n",
        "backend web/web-01 is down\n",
        "a certificate of lb-01 has ended: clients refuse it\n",
    };
    for (size_t i = 0; i < COUNT(wanted); i++)
        CHECK(strstr(scene->events, wanted[i]) != NULL, "%snot in\n%s", wanted[i], scene->events);
    scene_free(scene);
}

TEST(rule_of_each_default)
{
    struct scene *scene = scene_new("{}");
    for (size_t i = 0; alerts_defaults[i] != NULL; i++)
        CHECK(rules_find(scene->rules, text_of(alerts_defaults[i])) != NULL, "%s",
              alerts_defaults[i]);
    CHECK(rules_find(scene->rules, T("no-such")) == NULL, "no other");
    scene_free(scene);
}

TEST(window_holds_half_a_minute)
{
    struct window window = { 0 };
    double part, whole;
    for (int64_t second = 100; second < 200; second++)
        window_add(&window, second, 1, 2);
    window_sum(&window, 199, &part, &whole);
    CHECK(part == WINDOW_SECONDS && whole == 2 * WINDOW_SECONDS, "%g %g", part, whole);
    window_sum(&window, 209, &part, &whole);
    CHECK(part == WINDOW_SECONDS - 10, "ten have left: %g", part);
    window_add(&window, 219, 5, 5);
    window_sum(&window, 219, &part, &whole);
    CHECK(part == WINDOW_SECONDS - 20 + 5, "a gap: %g", part);
    window_add(&window, 1000, 1, 1);
    window_sum(&window, 1000, &part, &whole);
    CHECK(part == 1 && whole == 1, "long ago: %g", part);
}
