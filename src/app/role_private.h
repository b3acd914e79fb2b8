#ifndef APP_ROLE_PRIVATE_H
#define APP_ROLE_PRIVATE_H

/* What the roles that run applications share, and the tests. */

#include "process/process.h"

/* ---- here.c ---- */

/* The applications of some kinds on this server, in the order of the file; kinds: bits
 * 1 << enum site_app_kind. NULL: there are no more than `index`. */
const struct site_app *app_here(const struct generation *generation, unsigned kinds, size_t index);
size_t app_count_here(const struct generation *generation, unsigned kinds);

/* What a role says of a process; app: NULL for one that the generation does not have. */
void app_title(const struct site_app *app, char *out, size_t size); /* "app/NAME" */
struct text app_user(const struct site_app *app);
int64_t app_start_ms(const struct site_app *app);

/* ---- environ.c, start.c, role.c ---- */

/* The environment of the app as NAME=VALUE\0 pairs: PATH, HOME and LANG, DATABASE_URL when the site
 * has a database, then what the site file says. database_url is empty without one. */
MUST_CHECK enum err app_environment_build(const struct site_app *app, struct text database_url,
                                          struct buffer *out, struct why *why);

/* The pairs as an array for exec, ended by NULL; pointers into `pairs`. The caller frees the array
 * with memory_free. */
char **app_environment_array(struct text pairs);

/* The same with the site's database, added to the generation as "PREFIX.NAME.environment". */
MUST_CHECK enum err app_environment_add(struct generation *generation, const struct site_app *app,
                                        const char *prefix, struct why *why);

/* A close-on-exec memfd with these bytes. */
MUST_CHECK enum err app_memfd(const char *name, struct text data, int *fd_out, struct why *why);

/* The JSON that the modules in python/ get. */
struct app_start {
    const struct site_app *app;
    struct text site_name;
    uint64_t generation;
    size_t edge_count;
    int channel;
    int lifeline;
    int segment;
    int control;
    int root;
    int extension;
    const int *bells;   /* edge_count of them */
    const int *backs;   /* edge_count of them: sockets for files that go to the edge */
    const int *workers; /* app_worker_places(app): sockets on which bodies come */
    const int *knocks;  /* as many: eventfds of ASGI workers; NULL for WSGI */
    int64_t idle_ms;    /* a worker above the least ends when it was idle for so long; 0: 30 s */
};

void app_start_json(const struct app_start *start, struct buffer *out);

/* The code behind `python -c`; bundle is the descriptor of app_bundle_file. */
void app_start_code(int bundle, char *out, size_t size);

/* The embedded files. */
struct text app_bundle_file(void);
struct text app_extension_file(void);

/* Places in the table of workers: room for the most workers and for followers that start before
 * those they replace have ended. */
size_t app_worker_places(const struct site_app *app);

/* Edge processes that this server's generation will have. */
size_t app_edge_count(const struct generation *generation);

#endif
