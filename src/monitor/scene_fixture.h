#ifndef MONITOR_SCENE_FIXTURE_H
#define MONITOR_SCENE_FIXTURE_H

/*
 * For tests of rules and alerts: a site of three servers whose agents say what the test wants,
 * second by second, and a record of what people would be told.
 */

#include "core/test.h"
#include "monitor/alert.h"

enum { SCENE_SERVERS = 3, SCENE_SAID = 8192 };

struct scene {
    struct site *site;
    struct now *now;
    struct rules *rules;
    struct alert_book *book;
    int64_t now_ms, wall_ms;
    bool is_mute[SCENE_SERVERS]; /* lb-01, web-01, web-02 */
    char said[SCENE_SAID];       /* "tell RULE ELEMENT; end RULE ELEMENT; " */
    char events[SCENE_SAID];
};

/* alerts: what stands behind `alerts: ` in the site file. All servers are well, and the monitor has
 * run for a while. */
struct scene *scene_new(const char *alerts);
void scene_free(struct scene *scene);

/* A value that the server says from now on; NAN: it says it no more. */
void scene_say(struct scene *scene, int server, const char *name, double value);

/* Of a histogram: so many values of that size, each second from now on. */
void scene_count(struct scene *scene, int server, const char *name, int64_t value, uint32_t count);

void scene_seconds(struct scene *scene, int seconds);

/* The monitor dies and starts again with what it had remembered. */
void scene_restart(struct scene *scene);

/* What was said since the last call; empties it. */
bool scene_said(struct scene *scene, const char *want);

#endif
