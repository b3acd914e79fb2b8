#ifndef AUDIT_FINDING_H
#define AUDIT_FINDING_H

/*
 * What an audit found: weaknesses of a site, each with an id of the catalogue, the element, the
 * line of the file, what it means for visitors, and what to write instead. Pure. Private to
 * src/audit.
 */

#include "audit/model.h"

enum severity { SEVERITY_LOW, SEVERITY_MEDIUM, SEVERITY_HIGH };

/* X(name in C, id, severity, what it is: goes behind the element) */
#define FINDINGS(X)                                                                                \
    X(SINGLE_SERVER, "single-server", HIGH, "everything is on one server")                         \
    X(MAINTENANCE, "maintenance-downtime", MEDIUM, "work on the server is downtime")               \
    X(NOT_SCALABLE, "not-scalable", MEDIUM, "the load of all visitors is on one server")           \
    X(SINGLE_BALANCER, "single-balancer", HIGH, "there is one balancer")                           \
    X(SINGLE_WEB, "single-web", HIGH, "there is one web server")                                   \
    X(SINGLE_APP, "single-app", HIGH, "the application runs on one server")                        \
    X(SINGLE_DATABASE, "single-database", HIGH, "there is one database")                           \
    X(SINGLE_WRITABLE, "single-writable-database", MEDIUM, "one database takes all writes")        \
    X(READS_ON_PRIMARY, "reads-on-primary", MEDIUM, "all reads go to the primary, too")            \
    X(ONE_REPLICA, "semi-sync-one-replica", MEDIUM, "writes wait for the only replica")            \
    X(SINGLE_UPSTREAM, "single-upstream", MEDIUM, "one server answers a route")                    \
    X(SINGLE_LISTENER, "single-listener", MEDIUM, "one server accepts a service")                  \
    X(SINGLE_BACKEND, "single-backend", MEDIUM, "one server gives a service")                      \
    X(SINGLE_NAMES, "single-name-server", MEDIUM, "there is one name server")                      \
    X(SHARED_FATE, "shared-fate", HIGH, "what should replace each other fails together")           \
    X(FATE_UNKNOWN, "fate-unknown", LOW, "the file does not say what fails together")              \
    X(NO_VIP, "no-virtual-address", MEDIUM, "clients have to find out which balancer is dead")     \
    X(VIP_ONE, "vip-one-candidate", HIGH, "one server can hold the virtual address")               \
    X(VIP_NO_WITNESS, "vip-no-witness", MEDIUM, "nobody decides when two servers lose each other") \
    X(ALL_IN_ONE, "all-in-one", LOW, "web server, application and database share servers")         \
    X(NO_HTTPS, "no-https", HIGH, "no HTTPS: browsers and the site talk in cleartext")             \
    X(TLS_ENDS, "tls-ends-at-balancer", MEDIUM, "TLS ends at the balancer")                        \
    X(CLEARTEXT_INSIDE, "cleartext-inside", MEDIUM, "the servers talk to each other in cleartext") \
    X(CLEARTEXT_UPSTREAM, "cleartext-upstream", MEDIUM, "requests leave the site in cleartext")    \
    X(HTTPS_NOT_FORCED, "https-not-forced", MEDIUM, "whoever comes without HTTPS stays without")   \
    X(NO_HSTS, "no-hsts", LOW, "browsers are not told to come encrypted only")                     \
    X(LOCAL_AUTHORITY, "local-authority", LOW, "browsers do not know who signed the certificate")  \
    X(NO_FIREWALL, "no-firewall", HIGH, "no firewall: every port is open to everyone")             \
    X(NO_MONITORING, "no-monitoring", MEDIUM,                                                      \
      "no monitoring: nobody is told when something fails")                                        \
    X(NO_RECEIVER, "no-receiver", MEDIUM, "alerts reach nobody")                                   \
    X(WATCHER_FALLS, "monitor-falls-too", LOW, "the monitor fails with what it watches")           \
    X(ASYNC, "async-replication", MEDIUM, "acknowledged writes can be lost with the primary")      \
    X(NO_BACKUP, "no-backup", MEDIUM, "there is no backup")                                        \
    X(FEW_CONNECTIONS, "few-connections", MEDIUM,                                                  \
      "the applications may want more connections than the database has")                          \
    X(NAMES_TOGETHER, "name-servers-together", LOW, "all name servers are in one network")         \
    X(SHALLOW_CHECK, "shallow-check", LOW, "the health check sees only that the port is open")     \
    X(IDLE_CHECK, "check-cannot-fail", MEDIUM, "the health check takes errors for health")         \
    X(NO_CHECK, "no-check", LOW, "nobody looks whether the servers of the pool work")              \
    X(TRUSTS_ANYONE, "trusts-anyone", HIGH, "anyone may say which address he has")                 \
    X(SECRET_IN_FILE, "secret-in-file", MEDIUM, "a secret stands in the site file")                \
    X(KEY_READABLE, "key-readable", HIGH, "others can read a private key")                         \
    X(CERTIFICATE_ENDS, "certificate-ends", MEDIUM, "a certificate ends soon")                     \
    X(RUNS_AS_ROOT, "runs-as-root", HIGH, "the application runs as root")                          \
    X(AVAILABILITY, "availability-missed", MEDIUM, "less is to be expected than is promised")      \
    X(FAILOVER, "failover-missed", MEDIUM, "the primary is moved by hand only")                    \
    X(LINK_LOSS, "link-loss-missed", MEDIUM, "a dead server is noticed later than promised")       \
    X(ACCEPT_UNUSED, "accept-unused", LOW, "an accepted finding is none")

enum finding_id {
#define X(name, id, severity, what) FINDING_##name,
    FINDINGS(X)
#undef X
        FINDING_COUNT
};

struct finding_kind {
    const char *id;
    enum severity severity;
    const char *what;
};

extern const struct finding_kind finding_kinds[FINDING_COUNT];

struct finding {
    enum finding_id id;
    enum severity severity;  /* the kind's, unless the site makes it better or worse */
    struct text element;     /* "lb-01", "web-01, web-02", "upstream api" */
    struct site_place place; /* {0, 0}: nothing is written there */
    struct text consequence; /* sentences for people */
    struct text fix;         /* lines of YAML, each with its end; comments where none helps */
    bool is_accepted;
};

enum { FINDING_LIMIT = 512 };

struct audit {
    const struct site *site;
    struct arena *arena;
    struct model *model;
    struct cuts *cuts; /* of each journey */
    struct odds *odds;
    const struct site_edge *edges;
    size_t edge_count;
    struct finding *findings; /* worst first; among equals by line */
    size_t finding_count;
    size_t order; /* cut sets were looked for up to here */
    bool failed;  /* the arena is full */
};

/* Everything, in the arena (MODEL_ARENA is enough for 1000 servers). order: 1 to CUT_ORDER. */
MUST_CHECK enum err audit_make(const struct site *site, struct arena *arena, size_t order,
                               struct audit **audit_out);

/* ---- for those who look (find_*.c) ---- */

/* One more; later ones about the same id and element are dropped. consequence and fix: printed into
 * the arena by the caller. NULL over the limit of findings. */
struct finding *finding_add(struct audit *audit, enum finding_id id, struct text element,
                            struct site_place place, struct text consequence, struct text fix);

void find_single_points(struct audit *audit);
void find_fates(struct audit *audit);
void find_cleartext(struct audit *audit);
void find_open(struct audit *audit); /* firewall, monitoring, trust, secrets */
void find_data(struct audit *audit); /* replication, backups, connections */
void find_rest(struct audit *audit); /* names, addresses, checks, objectives */

/* Looks at the files of certificates, too (files.c): after audit_make, for who may read them.
 * now_s: wall clock. The findings are in order again. */
void find_files(struct audit *audit, int64_t now_s);

/* After findings were added: worst first. */
void findings_sort(struct audit *audit);

/* Whether the key is written: one of the upper two levels, as "tls.inside". */
bool has_key(const struct audit *audit, const char *path);

/* "a", "a and b", "a, b and c" of the machines in the set; the arena's. joint: "and", "or". */
struct text name_machines(struct audit *audit, const machine_word *set, const char *joint);
/* The journeys that fail when these machines do: "read a page or write an entry". Empty: none. */
struct text name_journeys(struct audit *audit, const machine_word *dead);
struct text name_servers(struct audit *audit, const struct site_on *on);

/* For a fix: a server's name that is free ("lb-02" after "lb-01") and an address near its own. nth
 * from 0: different ones. */
struct text free_name(struct audit *audit, const struct site_server *like);
struct text free_address(struct audit *audit, const struct site_server *like, size_t nth);

#endif
