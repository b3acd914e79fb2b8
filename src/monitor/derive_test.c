/* Events out of frames. */
#include "metrics/metrics.h"
#include "monitor/derive.h"
#include "monitor/scene_fixture.h"

#include <stdio.h>

static void hear(void *context, const struct event *event)
{
    struct scene *scene = context;
    snprintf(scene->events + strlen(scene->events), SCENE_SAID - strlen(scene->events),
             "%s %s %s: %s\n", event->kind, event->level, event->server, event->text);
}

static bool look(struct scene *scene, struct derive *derive, const char *want)
{
    scene->events[0] = '\0';
    scene_seconds(scene, 1);
    scene->events[0] = '\0';
    derive_look(derive, scene->now, scene->now_ms, scene->wall_ms, hear, scene);
    bool is_same = strcmp(scene->events, want) == 0;
    CHECK(is_same, "want\n%sgot\n%s", want, scene->events);
    return is_same;
}

TEST(derive_tells_what_happened)
{
    struct scene *scene = scene_new("{}");
    struct derive *derive = derive_new();
    CHECK(look(scene, derive, ""), "what is there at first did not happen now");
    CHECK(look(scene, derive, ""), "nothing happens");
    scene_say(scene, 1, "site.generation", 2);
    CHECK(look(scene, derive, "reload info web-01: web-01 serves generation 2\n"), "a reload");
    scene_say(scene, 2, "process/edge/0/restarts", 2);
    CHECK(look(scene, derive, "restart warning web-02: edge/0 on web-02 was started again\n"),
          "a restart");
    scene_say(scene, 2, "process/edge/0/restarts", 0);
    CHECK(look(scene, derive, ""), "another process with its title");
    scene_say(scene, 0, "backend/web/web-02/state", HEALTH_DOWN);
    CHECK(look(scene, derive, "health warning : web/web-02 is down\n"), "down");
    scene_say(scene, 0, "backend/web/web-02/state", HEALTH_UNKNOWN);
    CHECK(look(scene, derive, ""), "nobody knows");
    scene_say(scene, 0, "backend/web/web-02/state", HEALTH_UP);
    CHECK(look(scene, derive, "health info : web/web-02 is up\n"), "up");
    scene_say(scene, 0, "firewall.bans", 1);
    CHECK(look(scene, derive, ""), "the first value is no growth");
    scene_say(scene, 0, "firewall.bans", 3);
    CHECK(look(scene, derive, "ban warning lb-01: lb-01 banned 2 addresses\n"), "bans");
    derive_free(derive);
    scene_free(scene);
}

TEST(derive_tells_of_a_new_primary_once)
{
    struct scene *scene = scene_new("{}");
    struct derive *derive = derive_new();
    CHECK(look(scene, derive, ""), "the first");
    for (int i = 0; i < SCENE_SERVERS; i++)
        scene_say(scene, i, "backend/database/web-01/role", HEALTH_ROLE_REPLICA);
    CHECK(look(scene, derive, ""), "between the two");
    scene_say(scene, 1, "backend/database/web-02/role", HEALTH_ROLE_PRIMARY);
    CHECK(look(scene, derive,
               "primary warning web-02: the primary of the database is web-02 in place of "
               "web-01 now\n"),
          "as soon as one server has seen it");
    scene_say(scene, 2, "backend/database/web-02/role", HEALTH_ROLE_PRIMARY);
    CHECK(look(scene, derive, ""), "once");
    derive_free(derive);
    scene_free(scene);
}
