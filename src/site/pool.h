#ifndef SITE_POOL_H
#define SITE_POOL_H

/*
 * Servers that share work, and the policy by which they do: the web servers behind `balancer:`,
 * each entry of `upstreams:` and of `tcp:`, and the servers of an application. Part of site.h.
 */

#include "core/address.h"
#include "core/network.h"

struct site_server;

struct site_place { /* where something stands in the file, both from 1; 0: not in the file */
    int line;
    int column;
};

/* A list of servers from `on:`; empty: every server (a site without `servers:` has one, "local").
 */
struct site_on {
    const struct site_server **servers;
    size_t count;
};

enum site_algorithm {
    ALGORITHM_ROUND_ROBIN, /* smooth, weighted */
    ALGORITHM_LEAST_CONNECTIONS,
    ALGORITHM_RANDOM_TWO,
    ALGORITHM_IP_HASH,
    ALGORITHM_CONSISTENT_HASH,
};

enum site_hash { SITE_HASH_PATH, SITE_HASH_HEADER, SITE_HASH_COOKIE };

enum site_proxy_protocol { PROXY_PROTOCOL_OFF, PROXY_PROTOCOL_V1, PROXY_PROTOCOL_V2 };

enum site_http {
    SITE_HTTP1,
    SITE_HTTP2_CLEAR, /* HTTP/2 without TLS, with prior knowledge */
    SITE_HTTP2,       /* HTTP/2 by TLS */
};

enum site_check_type { SITE_CHECK_HTTP, SITE_CHECK_TCP, SITE_CHECK_MYSQL };

struct site_status_range {
    int64_t from;
    int64_t to; /* with it */
};

struct site_check {
    bool is_active; /* the pool of `balancer:` always; others when `check:` is written */
    int64_t type;   /* enum site_check_type; default http, in `tcp:` tcp */
    struct text path;
    struct text host;                 /* Host of the check; never empty: default the site's name */
    struct site_status_range *status; /* at least one; default 200-499 */
    size_t status_count;
    struct text body; /* must be in the answer's body; empty: any */
    int64_t interval_ms;
    int64_t timeout_ms;
    int64_t rise; /* good checks in a row until it is up */
    int64_t fall; /* bad checks in a row until it is down */
};

struct site_outlier {
    int64_t failures; /* in a row until it is left out; 0: never */
    int64_t eject_ms;
    int64_t most; /* percent of the pool that may be left out at a time */
};

struct site_backend {
    struct text name;  /* of the server, else the element of `to:` without its scheme */
    struct text board; /* its name on the health board: "web/web-01" */
    const struct site_server *server; /* NULL: no server of the site */
    struct address address; /* with its port, or a Unix socket; len 0: `host` is a name that is
                               resolved at run time */
    struct text host;       /* name or address as it is written, without the port */
    struct text authority;  /* Host for a request without one: "host" or "host:port" */
    int64_t port;           /* 0: a Unix socket */
    int64_t weight;         /* 1 to 256 */
    bool is_backup;         /* used only when no other works */
    bool is_https;
    struct site_place place;
};

struct site_pool {
    struct text name;  /* "web", "upstream/api", "tcp/mail", "app/NAME": first part of the names of
                          its backends on the health board */
    struct site_on on; /* servers that pass requests on to it */
    struct site_backend *backends; /* at least one; the pool of apps may be without */
    size_t backend_count;
    int64_t algorithm;     /* enum site_algorithm */
    int64_t hash_by;       /* enum site_hash */
    struct text hash_name; /* of the header or cookie */
    struct text sticky;    /* cookie's name; empty: none */
    int64_t connections;   /* requests in flight per backend and edge process */
    int64_t queue;         /* requests that may wait, per edge process */
    int64_t queue_ms;
    int64_t connect_ms;
    int64_t try_ms;       /* to the head of the answer, one try */
    int64_t total_ms;     /* to the head of the answer, all tries */
    int64_t retries;      /* after the first try */
    int64_t retry_budget; /* percent of requests that may be tried again */
    int64_t slow_start_ms;
    struct site_check check;
    struct site_outlier outlier;
    bool is_secure;          /* spoken to by TLS, with certificates of the site's servers */
    bool is_https;           /* the same with anybody's, for the name in `to:` */
    struct text authorities; /* of is_https: a PEM file; empty: those that this machine trusts */
    bool adaptive;           /* limit of requests in flight follows the latency */
    int64_t protocol;        /* enum site_http: how they are spoken to */
    int64_t proxy_protocol;  /* enum site_proxy_protocol, sent to the backends */
    int64_t request_buffer;  /* bytes of a body kept while the backend is slower */
    int64_t response_buffer; /* bytes of an answer kept while the client is slower */
    struct site_place place;
};

struct site_balancer {
    struct site_pool pool;   /* "web"; first, so that one table of rows reads them all */
    bool is_present;         /* false also when one server would only spread over itself */
    struct network *trusted; /* whose X-Forwarded-For and PROXY headers are believed */
    size_t trusted_count;
};

struct site_tcp {          /* connections passed on as they are */
    struct site_pool pool; /* "tcp/NAME"; first, see above */
    int64_t listen;        /* port */
    int64_t idle_ms;       /* without a byte in either direction */
    int64_t limit;         /* open connections per edge process */
};

#endif
