#ifndef SITE_SITE_H
#define SITE_SITE_H

/*
 * The site file: YAML -> field tables -> checked topology. Everything lives in the site's own arena
 * and is immutable after site_load; a reload loads a new one.
 *
 * One table of fields per section (fields_*.c) gives parsing, defaults, checks, the JSON Schema
 * (trilith schema) and the reference page (docs/reference/site.md).
 */

#include "core/address.h"
#include "core/arena.h"
#include "core/buffer.h"
#include "core/error.h"
#include "site/alerts.h"
#include "site/pool.h"

struct site_server {
    struct text name;
    struct address address;
    struct text location; /* key `site`: the data centre; empty: not said */
    struct text rack;     /* in that data centre; empty: not said */
    struct site_place place;
};

struct site_listen {
    struct text address; /* "127.0.0.1" without servers:, or as given; empty (several servers and
                            not given): each server's own */
    int64_t http;        /* port; default 80 as root, else 8080 */
    int64_t https;       /* port; with tls: default 443 as root, else 8443; without: 0 */
    int64_t dns;         /* port; default 53 as root, else 5300 */
    int64_t inside;      /* port for other servers of the site: apps, and web beside a balancer */
    int64_t control;     /* port of the channel between the servers of the site */
    int64_t metrics; /* port of each agent's /metrics; with `monitor:` only, see site_is_watched */
    int64_t monitor; /* port of the page, on the loopback of the servers of monitor.on */
    int64_t proxy_protocol; /* 1: connections to http begin with a PROXY header */
};

enum site_action { ACTION_STATIC, ACTION_APP, ACTION_REDIRECT, ACTION_RESPOND, ACTION_UPSTREAM };

enum site_rate_by { SITE_RATE_BY_CLIENT, SITE_RATE_BY_HEADER };

struct site_rate {  /* of requests to one route */
    int64_t count;  /* 0: no limit */
    int64_t per_ms; /* 1000 or 60000 */
    int64_t burst;  /* requests at once; default: count */
    int64_t by;     /* enum site_rate_by */
    struct text header;
};

struct site_header_rule {
    struct text name;
    struct text value;
};

/* One way in: what matches and what answers. Routes are tried in the order of site.routes, which
 * site_load sorts: exact host before any host, longer path before shorter, then file order. */
struct site_route {
    struct text host;     /* empty: any; "*.example.com" allowed; lower case */
    struct text path;     /* prefix; matches whole segments: "/a" matches "/a" and "/a/b" */
    struct text *methods; /* empty: any */
    size_t method_count;
    struct text header_name;  /* empty: any request */
    struct text header_value; /* empty: the header must just exist */
    enum site_action action;
    size_t number;      /* index in site.routes: names its descriptors ("static.N") */
    struct text folder; /* ACTION_STATIC: absolute path */
    struct text index;  /* "index.html" */
    bool listing;
    bool symlinks;                /* follow links that stay inside the folder; default no */
    struct text app;              /* ACTION_APP: name in site.apps */
    struct text redirect;         /* target; keeps the rest of the path when it ends with '/' */
    int64_t status;               /* of redirect (301 302 303 307 308) or respond */
    struct text body;             /* of respond */
    struct text type;             /* of respond */
    struct text upstream;         /* "http://host:port", "http://unix:/path", or a name of
                                     site.upstreams */
    const struct site_pool *pool; /* what upstream names; NULL: it is a URL */
    struct site_rate rate;
    struct text cache_control; /* made from `cache: 1h` or as given; empty: none */
    bool compress;
    struct site_header_rule *headers; /* added to every answer of this route */
    size_t header_count;
    struct site_place place;
};

struct site_error_page {
    int64_t status;
    struct text file; /* absolute */
};

enum site_access_log { ACCESS_LOG_COMBINED, ACCESS_LOG_JSON, ACCESS_LOG_OFF };

struct site_web {
    bool is_present;
    struct site_on on;
    int64_t workers;         /* edge processes; 0: one per core */
    struct network *trusted; /* whose X-Forwarded-For and PROXY headers are believed */
    size_t trusted_count;
    size_t trusted_written; /* so many are in the file; behind them the site's own servers that
                               pass requests on */
    struct site_error_page *errors;
    size_t error_count;
    int64_t access_log; /* enum site_access_log */
    struct site_limits {
        int64_t head;        /* bytes, default 64 KiB */
        int64_t target;      /* bytes, default 16 KiB */
        int64_t headers;     /* count, default 128 */
        int64_t body;        /* bytes, default 1 GiB */
        int64_t connections; /* per process, default 8192 */
        int64_t requests;    /* per connection, default 0: any */
    } limits;
    struct site_timeouts { /* ms */
        int64_t head;      /* 10 s */
        int64_t body;      /* 30 s */
        int64_t send;      /* 30 s */
        int64_t idle;      /* 75 s */
        int64_t drain;     /* 30 s: how long old connections may live at stop or replacement */
    } timeouts;
};

struct site_variable { /* environment of an app */
    struct text name;
    struct text value; /* empty when it comes from `file` */
    struct text file;  /* absolute; read by the parent at start, contents are secret */
};

enum site_app_kind { APP_WSGI, APP_ASGI, APP_PHP, APP_COMMAND };

enum site_app_lifespan { LIFESPAN_AUTO, LIFESPAN_ON, LIFESPAN_OFF };

enum site_app_listen { APP_LISTEN_PORT, APP_LISTEN_SOCKET };

struct site_app {
    struct text name; /* "app" for the short form, else its key in apps: */
    struct site_on on;
    enum site_app_kind kind;
    struct text callable;   /* wsgi, asgi: "module:callable" */
    struct text documents;  /* php: absolute folder of the public files */
    struct text *arguments; /* command: program and its arguments */
    size_t argument_count;
    struct text root;   /* absolute folder, working directory and first of sys.path; php: the folder
                         * that holds what its code may need, by default that of `documents` */
    struct text python; /* interpreter; default: ROOT/venv or ROOT/.venv, else /usr/bin/python3 */
    int64_t workers;    /* processes that are always there */
    int64_t workers_most; /* processes when the queue is long; >= workers */
    int64_t threads;      /* wsgi: requests at a time per worker; default 1 */
    int64_t queue;        /* requests that may wait; more get 503; default 1024 */
    int64_t start_ms;     /* deadline of a start, default 60 s */
    int64_t slow_ms;      /* from then on its stack is in the log; 0 (default): never */
    int64_t request_ms;   /* deadline of a request, default 60 s: 504, an exception in the worker */
    int64_t grace_ms;     /* what still runs so long after its deadline is killed; default 5 s */
    int64_t max_requests; /* a worker is replaced after so many; 0 (default): never */
    int64_t jitter;       /* percent of max_requests, by chance less; default 10 */
    int64_t memory;       /* bytes per worker (PSS) after which it is replaced; 0: any */
    struct text *warm;    /* wsgi, asgi: paths asked in the zygote before workers are forked */
    size_t warm_count;
    int64_t lifespan;    /* asgi: enum site_app_lifespan */
    int64_t max_message; /* asgi: bytes of a client's WebSocket message; default 16 MiB */
    struct text front;   /* php: answers what is no file; below documents, "index.php" */
    struct text fpm;     /* php: the php-fpm program; empty: the newest /usr/sbin/php-fpm* */
    struct site_variable *settings; /* php: php.ini directives */
    size_t setting_count;
    int64_t listen;    /* command: enum site_app_listen */
    struct text ready; /* path asked in the new worker before it counts as ready; empty: import only
                        * (command: that it accepts connections) */
    struct text mount; /* SCRIPT_NAME; "" at the root */
    struct text user;  /* runs as this user instead of its own uid; empty: own uid */
    struct site_variable *environment;
    size_t environment_count;
    struct site_pool pool; /* "app/NAME": its servers, at listen.inside */
    struct site_place place;
};

enum site_reads { READS_PRIMARY, READS_REPLICA };

enum site_replication { REPLICATION_ASYNC, REPLICATION_SEMI_SYNC };

struct site_database {
    bool is_present;
    struct site_on on;
    const struct site_server *primary; /* takes the writes, until a switchover; one of `on` */
    int64_t reads;                     /* enum site_reads */
    int64_t replication;               /* enum site_replication */
    int64_t lag_ms;                    /* a replica that is further behind is not read from */
    struct text name;                  /* of the database; letters, digits, underscore */
    int64_t port;                      /* TCP on the server's address; 0: Unix socket only */
    int64_t memory;                    /* bytes of buffer pool, default 128 MiB */
    int64_t connections;               /* max_connections, default 200 */
    struct site_place place;
};

struct site_record {  /* extra DNS records */
    struct text name; /* relative to the zone, "@" for the apex */
    struct text type; /* A AAAA CNAME TXT MX CAA NS SRV */
    struct text value;
    int64_t ttl; /* s; 0: the zone's */
    struct site_place place;
};

struct site_dns {
    bool is_present;
    struct site_on on;
    int64_t ttl; /* s, default 60 */
    struct site_record *records;
    size_t record_count;
    struct site_place place;
};

struct site_certificate {
    struct text chain; /* absolute paths of PEM files */
    struct text key;
    struct site_place place;
};

enum site_challenge { CHALLENGE_HTTP, CHALLENGE_TLS_ALPN };

struct site_acme {          /* RFC 8555: a CA that gives certificates by itself */
    struct text directory;  /* its URL, https */
    struct text email;      /* for the CA to write to; empty: none */
    struct text ca_file;    /* absolute: whom to trust to be the CA; empty: the system's list */
    struct text binding_id; /* of an account that was made elsewhere; empty: none */
    struct text binding_key_file; /* absolute: the key of that account */
    int64_t challenge;            /* enum site_challenge: how the names are proven */
};

enum site_inside { INSIDE_PLAIN, INSIDE_MUTUAL };

struct site_tls {
    bool is_present;
    bool is_local; /* by the site's own CA */
    bool is_acme;  /* by a CA that is asked; else certificates */
    struct site_acme acme;
    struct site_certificate *certificates;
    size_t certificate_count;
    bool redirect;  /* what comes to listen.http is sent to listen.https */
    int64_t hsts_s; /* 0: none; more only with redirect */
    int64_t inside; /* enum site_inside */
    struct site_place place;
};

struct site_monitor {
    bool is_present;
    struct site_on on;      /* where the samples are kept and shown; never empty when present */
    struct network *scrape; /* who may read /metrics, beside the servers of the site */
    size_t scrape_count;
    struct site_alerts alerts;
    struct site_place place;
};

enum site_vip_mode { VIP_ACTIVE_PASSIVE, VIP_ACTIVE_ACTIVE };
enum site_vip_preempt { VIP_PREEMPT_NEVER, VIP_PREEMPT_WHEN_READY, VIP_PREEMPT_AFTER };

struct site_vip { /* addresses that move to a healthy server of `on` */
    bool is_present;
    struct address *addresses; /* at least one, without a port; none is a server's */
    size_t address_count;
    struct site_on on; /* the first one is the first choice; where clients come in */
    int64_t mode;      /* enum site_vip_mode */
    int64_t preempt;   /* enum site_vip_preempt: when a better one takes over from a working one */
    int64_t preempt_ms;
    int64_t interval_ms; /* of adverts */
    int64_t id;          /* VRRP's; the second address has the next */
};

struct site_objectives { /* what drills and audits are judged by; 0 and false: nothing is said */
    bool is_present;
    int64_t availability; /* in millionths: 999500 for 99.95 % */
    int64_t link_loss_ms; /* outage by a cut or dead server */
    int64_t database_failover_ms;
    bool has_planned_lost, has_writes_lost;
    int64_t planned_lost; /* requests lost by a planned change */
    int64_t writes_lost;  /* acknowledged ones */
};

struct site_rate_of_failure {
    int64_t mtbf_ms; /* from one failure to the next */
    int64_t mttr_ms; /* until it works again */
};

struct site_accepted {       /* a finding that is known and borne */
    struct text id, element; /* element may be empty: all of that id */
    struct site_place place;
};

struct site_audit {
    struct site_rate_of_failure servers, racks, sites, outside;
    struct site_accepted *accept;
    size_t accept_count;
};

/* A key that is written in the file: "database", "database.primary", "servers.web-01". */
struct site_written {
    struct text path;
    struct site_place place;
};

enum site_firewall_mode { FIREWALL_ENFORCE, FIREWALL_AUDIT };

struct site_way { /* that the rest of the file does not tell */
    bool is_outgoing;
    bool is_anyone; /* at the other end; else networks */
    struct network *networks;
    size_t network_count;
    int64_t port;
    int64_t protocol; /* 0: TCP, 1: UDP */
    struct site_on on;
    struct site_place place;
};

struct site_firewall {
    bool is_present;
    int64_t mode;         /* enum site_firewall_mode */
    bool has_admin;       /* it is written */
    bool is_admin_anyone; /* may come by ssh; else these networks, maybe none */
    struct network *admin;
    size_t admin_count;
    struct site_place admin_place;
    int64_t ssh; /* port */
    struct site_way *ways;
    size_t way_count;
    int64_t confirm_ms;           /* how long other servers may take to connect through new rules */
    struct site_firewall_limits { /* at public ports */
        int64_t connections;      /* open, of one address */
        int64_t fresh;            /* begun per second, of one address */
        int64_t fresh_total;      /* of all */
    } limits;
    struct site_firewall_ban {
        int64_t after; /* refused requests (429); 0: never */
        int64_t within_ms;
        int64_t for_ms;
    } ban;
    struct site_place place;
};

struct site {
    struct arena *arena;
    struct text file;            /* absolute path of the file */
    struct text folder;          /* its folder; relative paths start here */
    struct text source;          /* the bytes of the file */
    struct text name;            /* "www.foobar.com" */
    struct text domain;          /* the zone: name without its first label when it has 3 or more */
    struct site_server *servers; /* at least one */
    size_t server_count;
    bool has_servers; /* false: this machine, on loopback */
    struct site_listen listen;
    struct site_route *routes;
    size_t route_count;
    struct site_app *apps;
    size_t app_count;
    struct site_balancer balancer;
    struct site_web web;
    struct site_pool *upstreams;
    size_t upstream_count;
    struct site_tcp *tcp;
    size_t tcp_count;
    const struct site_pool **pools; /* all of the above, and those of apps that have a use */
    size_t pool_count;
    struct site_database database;
    struct site_dns dns;
    struct site_tls tls;
    struct site_monitor monitor;
    struct site_vip vip;
    struct site_objectives objectives;
    struct site_audit audit;
    struct site_written *keys; /* the upper two levels, in the order of the file */
    size_t key_count;
    struct site_firewall firewall;
};

/* All mistakes of one file, in file order, each one line: "file:line:column: path: what is wrong,
 * what is allowed". */
struct site_mistakes {
    struct buffer text;
    size_t count;
};

/* Reads, checks and completes the file. On failure *mistakes says all that is wrong (the caller
 * frees it with site_mistakes_done in any case) and the result is ERR_SYNTAX, or
 * ERR_NOT_FOUND/ERR_SYSTEM with one line when the file cannot be read. The caller frees the site
 * with site_free. */
MUST_CHECK enum err site_load(const char *path, struct site **site_out,
                              struct site_mistakes *mistakes);

/* The same for bytes that are already here; `path` is used in messages and for relative names and
 * need not exist. check_files: that the folders and files named in it exist. */
MUST_CHECK enum err site_parse(struct text source, const char *path, bool check_files,
                               struct site **site_out, struct site_mistakes *mistakes);

/* The same, by the defaults that a process of root has or has not (ports): for processes that read
 * what their parent has read, and have other rights. */
MUST_CHECK enum err site_parse_as(struct text source, const char *path, bool check_files,
                                  bool is_root, struct site **site_out,
                                  struct site_mistakes *mistakes);

/* The name alone, in lower case, even of a file with other mistakes: for commands that ask what
 * runs (size: 256 is enough for any valid name). */
MUST_CHECK enum err site_read_name(const char *path, char *out, size_t size, struct why *why);

/* A duration as the file has it ("30s", "1h30m", "7d"), for commands. False: it is none. */
bool site_read_time(struct text text, int64_t *ms_out);

void site_mistakes_done(struct site_mistakes *mistakes);
void site_free(struct site *site); /* accepts NULL */

/* Where the key stands, by its path as in struct site_written; where it is not written, its
 * parent's
 * ("tls" for "tls.inside"); {0, 0}: neither is. */
struct site_place site_key_place(const struct site *site, const char *path);

const struct site_server *site_server_find(const struct site *site, struct text name);
bool site_is_on(const struct site *site, const struct site_on *on,
                const struct site_server *server);
const struct site_app *site_app_find(const struct site *site, struct text name);

/* Reads "HOST", "HOST:PORT", "[IP]:PORT" or "unix:/path" (no scheme) as an element of `to:`; HOST
 * may be a server of the site. default_port 0: the port must be there. NULL when it is good, else
 * what is wrong with it ("needs a port"). The texts of *out are slices of `rest`; board is empty.
 */
const char *site_backend_read(const struct site *site, struct text rest, int64_t default_port,
                              struct site_backend *out);

/* Whether that server spreads requests over the servers of web. */
bool site_balances(const struct site *site, const struct site_server *server);
/* Whether it answers browsers itself. */
bool site_serves(const struct site *site, const struct site_server *server);
/* Whether clients come in there: a balancer, or without any a server of web. */
bool site_is_door(const struct site *site, const struct site_server *server);
/* Whether it is where clients come in encrypted: with tls, the balancers, without them the servers
 * of web. */
bool site_ends_tls(const struct site *site, const struct site_server *server);
/* Whether the servers of the site encrypt what they say to each other, and show certificates. */
bool site_secures_inside(const struct site *site);
/* Whether browsers come to it only through the balancers on other servers, encrypted on that way,
 * too: its listen.https is theirs, and there is no listen.http. */
bool site_is_behind(const struct site *site, const struct site_server *server);
/* Whether the server passes connections on (`tcp:`). */
bool site_passes_tcp(const struct site *site, const struct site_server *server);

/* Whether the server measures itself, for the servers of monitor.on. */
bool site_is_watched(const struct site *site, const struct site_server *server);
/* Whether it keeps what all servers measure. */
bool site_watches(const struct site *site, const struct site_server *server);

/* Whether other servers pass requests to its port listen.inside. */
bool site_is_inside(const struct site *site, const struct site_server *server);

/* How many servers the list means: an empty one means all. */
size_t site_on_count(const struct site *site, const struct site_on *on);

/* By its name on the health board ("web", "upstream/api"), or NULL. */
const struct site_pool *site_pool_find(const struct site *site, struct text name);

/* Whose connections to the HTTP port of the server begin with a PROXY header: those that are
 * written as trusted, with `listen.proxy-protocol: accept`, and the site's balancers when their
 * pool says that they send one. Never guessed. In the arena. */
const struct network *site_proxies(const struct site *site, const struct site_server *server,
                                   struct arena *arena, size_t *count_out);

/* ERR_UNSUPPORTED and the reason when the site has a part that may be written, audited and drawn,
 * and cannot run yet. */
MUST_CHECK enum err site_can_run(const struct site *site, struct why *why);

/* A time as in the file: "250ms", "30s", "1h30m", "7d". */
bool site_parse_time(struct text text, int64_t *ms_out);

/* JSON Schema (draft 2020-12) of the site file, and its reference page in Markdown. */
void site_write_schema(struct buffer *out);
void site_write_reference(struct buffer *out);

#endif
