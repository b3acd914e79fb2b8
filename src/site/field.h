#ifndef SITE_FIELD_H
#define SITE_FIELD_H

/*
 * Fields: one row per key of the site file gives its parsing, default, range, JSON Schema and
 * reference text. Private to src/site. Sections are arrays of rows in fields_*.c.
 */

#include "site/mistakes.h"
#include "site/tree.h"

/* What the reading of one file carries along. */
struct reading {
    struct arena *arena;
    struct mistakes *mistakes;
    struct site *site;
    const struct node *root;
    bool check_files; /* that folders and files exist */
    bool is_root;     /* the defaults of ports are those of root */
};

enum field_kind {
    FIELD_TEXT,    /* struct text; check may look at it */
    FIELD_FOLDER,  /* struct text: absolute path of a folder */
    FIELD_FILE,    /* struct text: absolute path of a file */
    FIELD_BOOL,    /* bool */
    FIELD_INT,     /* int64_t */
    FIELD_PORT,    /* int64_t */
    FIELD_SIZE,    /* int64_t, bytes */
    FIELD_TIME,    /* int64_t, ms */
    FIELD_SECONDS, /* int64_t, s; written as a duration */
    FIELD_PERCENT, /* int64_t; written "20%" */
    FIELD_CHOICE,  /* int64_t: index of the word in choices */
    FIELD_ON,      /* struct site_on */
    FIELD_MAP,     /* rows of `fields`, in the struct at offset; then `read` if there is one */
    FIELD_OWN,     /* `read` does it all; `fields` are for the documents */
    FIELD_LATER,   /* known, not built yet: refused by name */
};

struct field;

struct fields {
    const struct field *rows;
    size_t count;
    const char *schema; /* more members for its JSON Schema: rules between keys; may be NULL */
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset; /* in the section's struct */
    bool is_required;
    const char *preset;    /* the default, as it would be written; NULL: none */
    const char *otherwise; /* the default in words, where it is worked out */
    int64_t min, max;
    const char *choices; /* "combined json off" */
    const struct fields *fields;
    /* FIELD_TEXT: looks at a value, writes a mistake. */
    void (*check)(struct reading *reading, const struct node *node, const struct path *path,
                  struct text value);
    /* FIELD_OWN: reads node into the struct (not the member). FIELD_MAP: called after its rows. */
    void (*read)(struct reading *reading, const struct node *node, const struct path *path,
                 void *section);
    const char *form;    /* FIELD_OWN: what it looks like, for mistakes and the reference */
    const char *schema;  /* FIELD_OWN: JSON Schema; "%" stands for the schema of `fields` */
    const char *example; /* for "missing" mistakes and the reference */
    const char *help;
};

/* A member's offset; refuses to compile when it does not have the type. */
#define AT(struct_, member_, type_)                                                                \
    (offsetof(struct_, member_) + 0 * sizeof(_Generic(((struct_ *)0)->member_, type_ : 1)))

#define LATER_ROW(name_, help_)                                                                    \
    {                                                                                              \
        .name = name_, .kind = FIELD_LATER, .help = help_                                          \
    }

/* Reads a map by its rows into section: defaults first, then what is there; unknown keys, missing
 * ones and keys that are there twice are mistakes. */
void fields_read(struct reading *reading, const struct node *node, const struct path *path,
                 const struct fields *fields, void *section);

/* Writes the defaults only. */
void fields_preset(struct reading *reading, const struct fields *fields, void *section);

/* For maps with free keys: the next entry whose key is not there twice (a mistake is written for
 * those that are); NULL at the end. Start with entry NULL. */
const struct node_entry *entries_next(struct reading *reading, const struct node *map,
                                      const struct path *path, const struct node_entry *entry);

/* True when node is of that kind; else writes "must be FORM". NULL values count as empty maps. */
bool expect_kind(struct reading *reading, const struct node *node, const struct path *path,
                 enum node_kind kind, const char *form);

/* The scalar's text; false and a mistake when it is none or empty. */
bool value_text(struct reading *reading, const struct node *node, const struct path *path,
                struct text *out);
/* Of a row's kind (int, port, size, time, seconds, percent), in its range. */
bool value_number(struct reading *reading, const struct node *node, const struct path *path,
                  const struct field *field, int64_t *out);
/* Absolute path; exists as what is wanted (when files are checked), else a mistake. */
bool value_path(struct reading *reading, const struct node *node, const struct path *path,
                bool is_folder, struct text *out);
bool value_bool(struct reading *reading, const struct node *node, const struct path *path,
                bool *out);

/* path made absolute: below the site's folder when it is relative; "a/./b" and "a//b" cleaned. */
struct text absolute_path(struct reading *reading, struct text path);

/* Pure parsers. Size in bytes: "512", "64k", "128 MiB", "1 GB". */
bool parse_size(struct text text, int64_t *bytes_out);
/* "250ms", "30s", "5m", "1h30m", "7d", "1y"; "0". */
bool parse_time(struct text text, int64_t *ms_out);
/* RFC 9110 token: name of a header or cookie. */
bool is_token(struct text name);
/* A number of that kind as a person would write it: "128 MiB", "30s". */
const char *format_number(enum field_kind kind, int64_t value, char out[32]);

/* Appends a zeroed item to an array in the arena. The array moves when it grows. */
void *append_item(struct arena *arena, void *array_pointer, size_t *count, size_t size);

/* The tables (fields_*.c); site_fields is the top. */
extern const struct fields site_fields, listen_fields, web_fields, folder_fields, route_fields,
    app_fields, database_fields, dns_fields, record_fields, balancer_fields, upstream_fields,
    tcp_fields, policy_fields, tls_fields, certificate_fields, acme_fields, alerts_fields,
    alert_mail_fields, alert_rule_fields, monitor_fields;
extern const struct fields vip_fields, objectives_fields, audit_fields, server_fields;
extern const struct fields firewall_fields;

void finish_monitor(struct reading *reading, const struct node *node, const struct path *path,
                    void *section);
void read_servers(struct reading *reading, const struct node *node, const struct path *path,
                  void *section);
void read_app(struct reading *reading, const struct node *node, const struct path *path,
              void *section);
void read_apps(struct reading *reading, const struct node *node, const struct path *path,
               void *section);
/* Of an application (fields_app_environment.c). */
void read_environment(struct reading *reading, const struct node *node, const struct path *path,
                      void *section);
void read_settings(struct reading *reading, const struct node *node, const struct path *path,
                   void *section);
void read_command(struct reading *reading, const struct node *node, const struct path *path,
                  void *section);
/* The words of a command, as one text or a list. False when a quote is not closed: the mistake is
 * written. */
bool read_words(struct reading *reading, const struct node *node, const struct path *path,
                struct text **words, size_t *count);
void read_warm(struct reading *reading, const struct node *node, const struct path *path,
               void *section);
void check_absolute(struct reading *reading, const struct node *node, const struct path *path,
                    struct text value);
void read_routes(struct reading *reading, const struct node *node, const struct path *path,
                 void *section);
void read_static(struct reading *reading, const struct node *node, const struct path *path,
                 void *section);
void check_host(struct reading *reading, const struct node *node, const struct path *path,
                struct text value);
/* After the rows of tls. */
void finish_tls(struct reading *reading, const struct node *node, const struct path *path,
                void *section);
/* After the rows of vip, objectives and audit. */
void finish_vip(struct reading *reading, const struct node *node, const struct path *path,
                void *section);
void finish_objectives(struct reading *reading, const struct node *node, const struct path *path,
                       void *section);
/* An address, or a map of server_fields, into a struct site_server. */
void read_one_server(struct reading *reading, const struct node *node, const struct path *path,
                     struct site_server *server);
/* `audit` or its rows. */
void read_firewall(struct reading *reading, const struct node *node, const struct path *path,
                   void *section);
/* Names of servers, appended. */
void read_on(struct reading *reading, const struct node *node, const struct path *path,
             struct site_on *on);
/* client or header:NAME, into a struct site_route. */
void read_rate_by(struct reading *reading, const struct node *node, const struct path *path,
                  void *section);
void read_networks(struct reading *reading, const struct node *node, const struct path *path,
                   struct network **networks, size_t *count);
#define NETWORKS_SCHEMA                                                                            \
    "{\"type\":[\"string\",\"array\"],\"minItems\":1,\"items\":{\"type\":\"string\"}}"

/* Pools (pools.c). One element of `to:`; is_http: a URL. */
void add_backend(struct reading *reading, const struct node *node, const struct path *path,
                 bool is_http, struct site_pool *pool);
/* That the name of an upstream is there. */
void check_route_upstream(struct reading *reading, const struct node *node, const struct path *path,
                          const struct site_route *route);
/* What is wrong with the URL of an upstream, or NULL. */
const char *url_problem(struct reading *reading, struct text url);
void read_upstreams(struct reading *reading, const struct node *node, const struct path *path,
                    void *section);
void read_tcp(struct reading *reading, const struct node *node, const struct path *path,
              void *section);

/* Valid DNS labels; is_wild: "*." allowed at the front; underscores: "_sip._tcp" allowed. NULL, or
 * what is wrong. */
const char *host_problem(struct text host, bool is_wild, bool underscores);

/* After all sections: routes are added, sorted and checked (routes.c), pools get their servers
 * (pools.c); then the rest (check.c). */
void finish_routes(struct reading *reading);
void finish_pools(struct reading *reading);
void check_site(struct reading *reading);
/* What only shows beside the rest of the site, of vip (fields_vip.c). */
void check_vip(struct reading *reading);

/* Where a key of the file stands, by names ended by NULL; the root's place when it is not there. */
struct site_place place_in(const struct reading *reading, const char *first, ...)
    __attribute__((sentinel));

#endif
