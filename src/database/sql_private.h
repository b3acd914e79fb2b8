#ifndef DATABASE_SQL_PRIVATE_H
#define DATABASE_SQL_PRIVATE_H

/*
 * Inside of the SQL proxy; sql_*.c only.
 *
 *     sql_proxy.c     listeners, servers, who is the primary      sql_watch.c    asks them
 *     sql_session.c   a client: bytes in and out, its end         sql_enter.c    its login
 *     sql_command.c   what a command needs                        sql_route.c    where it goes
 *     sql_run.c       a command on its way through a backend      sql_prepared.c prepared
 * statements sql_backend.c   a connection to a server and its login      sql_pool.c     unused ones
 *     sql_wire.c      a stream with what waits to be sent         sql_hold.c     a switchover
 *
 * The life of a session:
 *
 *   GREETED ─login─► PROVING (another challenge) ─► OPENING (first backend) ─► IDLE
 *   IDLE ─command─► WAITING (backend opens, catches up, or all is held) ─► BUSY ─answer─► IDLE
 *                                                          BUSY ─0xfb─► SENDING (a file) ─► BUSY
 */

#include "core/list.h"
#include "core/loop.h"
#include "database/sql_login.h"
#include "database/sql_reply.h"
#include "database/sql_statement.h"
#include "database/sql_upload.h"
#include "metrics/metrics.h"
#include "stream/stream.h"
#include "stream/tls.h"

enum {
    SQL_SERVERS = 16,
    SQL_LISTENERS = 4,
    SQL_NAME = 256,
    SQL_REQUEST_MOST = 65536,    /* a command larger than this is passed on without being held */
    SQL_WAITING_MOST = 262144,   /* what may wait for a slow peer before the other side waits too */
    SQL_POOL_MOST = 64,          /* unused connections per server */
    SQL_HISTORY_MOST = 64,       /* settings remembered for other connections of a session */
    SQL_STATEMENTS_MOST = 16382, /* prepared ones per session, as in MariaDB */
    SQL_FIRST_ID = 0x40000000,   /* thread ids of sessions; a server does not get that far */
};

struct sql_session;

enum sql_role { SQL_IS_PRIMARY, SQL_IS_REPLICA, SQL_ROLES };

/* What clients are offered: everything that can be passed through. */
#define SQL_PASSED                                                                                 \
    (SQL_FOUND_ROWS_CHANGED | SQL_LONG_FLAG | SQL_NO_SCHEMA | SQL_ODBC | SQL_LOCAL_FILES |         \
     SQL_IGNORE_SPACE | SQL_INTERACTIVE | SQL_TRANSACTIONS | SQL_MULTI_STATEMENTS |                \
     SQL_MULTI_RESULTS | SQL_PS_MULTI_RESULTS | SQL_DEPRECATE_EOF | SQL_PROGRESS |                 \
     SQL_BULK_OPERATIONS | SQL_EXTENDED_METADATA | SQL_CACHE_METADATA)
#define SQL_CAPABILITIES                                                                           \
    (SQL_PASSED | SQL_CONNECT_WITH_DB | SQL_PROTOCOL_41 | SQL_SECURE_CONNECTION |                  \
     SQL_PLUGIN_AUTH | SQL_CONNECT_ATTRS | SQL_AUTH_LENENC | SQL_SESSION_TRACK)

/* ---- a stream with what waits to be sent ---- */

struct sql_wire {
    struct stream *stream; /* NULL: closed */
    struct buffer waiting;
    struct buffer flying;
    bool is_sending;
    bool is_silent; /* sends are not told of before something else happens */
};

void sql_wire_init(struct sql_wire *wire, size_t limit);
/* Starts sending what waits, unless something is on its way. */
void sql_wire_flush(struct sql_wire *wire);
/* Somebody waits until what was sent has left. */
void sql_wire_hurry(struct sql_wire *wire);
/* To be called in sent(): true when something more was sent. */
bool sql_wire_sent(struct sql_wire *wire);
void sql_wire_done(struct sql_wire *wire); /* frees the buffers; the stream is the caller's */

static inline size_t sql_wire_load(const struct sql_wire *wire)
{
    return wire->waiting.len + wire->flying.len;
}

/* ---- servers ---- */

struct sql_server {
    struct sql_proxy *proxy;
    char name[64];
    struct address address;
    bool is_primary;
    bool is_named;     /* it should be the primary, by the site file or what was announced */
    bool is_up;        /* as far as we know; unknown counts as up */
    bool is_drained;   /* by a person, or judged to be down: gets no reads */
    bool is_leaving;   /* not in the site any more */
    bool is_writable;  /* as it said itself */
    bool has_said;     /* it did */
    bool tells_gtid;   /* with its answers to writes */
    int64_t lag_ms;    /* of a replica, from the board; -1: unknown */
    int64_t failed_ms; /* last failed connection, 0: none since it worked */
    struct sql_gtid applied[4]; /* of a replica, by domain; sequence 0: none */
    struct list pool;           /* unused connections, last used first */
    size_t pool_count;
    struct sql_watch *watch;
    struct tls_peer *peer; /* who it must be, by TLS; NULL: without */
    void *board;           /* its entry there */
};

struct sql_settings {
    char user[SQL_NAME]; /* of the application */
    char password[SQL_NAME];
    int64_t lag_ms;  /* a replica that is more behind gets no reads */
    int64_t hold_ms; /* how long a command waits for a primary */
    int64_t connect_ms;
    bool reads_primary; /* no split */
    size_t sessions;    /* limit */
};

struct sql_proxy {
    struct loop *loop;
    struct metrics *metrics;
    struct sql_settings settings;
    struct sql_server servers[SQL_SERVERS];
    size_t server_count;
    struct stream_listener *listeners[SQL_LISTENERS];
    size_t listener_count;
    struct list sessions;
    size_t session_count;
    uint32_t next_id;
    size_t backend_count; /* open or closing */
    uint32_t lives;       /* of backends so far */
    size_t next_replica;
    int64_t lost_ms;                 /* since when there is no primary; 0: there is one */
    char version[64];                /* of the servers, for greetings */
    struct primary_board *announced; /* NULL: nobody announces */
    uint32_t announced_version;
    uint32_t reported;      /* version of the last report to the board, when has_reported */
    int64_t quick_until_ms; /* something was announced: more may follow soon */
    bool has_reported;
    bool is_announced;     /* who is the primary, and nobody else can be it */
    int64_t hold_until_ms; /* a switchover is on its way: nothing new on the primary until then */
    void (*roles_changed)(void *owner);
    struct list held; /* sessions that wait for a primary */
    struct loop_timer wake_timer;
    bool is_draining;
    void (*drained)(void *owner);
    void *owner;
};

struct sql_proxy *sql_proxy_new(struct loop *loop, struct metrics *metrics,
                                const struct sql_settings *settings);
/* Adds a server, or notes anew what is said of the one of that name; it is watched from now on.
 * NULL: too many. */
struct sql_server *sql_proxy_add(struct sql_proxy *proxy, struct text name,
                                 const struct address *address, bool is_named);
/* From now on connections to it are made by TLS, or without (NULL). */
void sql_server_secure(struct sql_server *server, struct tls_context *tls);
/* Lets go of servers that are leaving. */
void sql_proxy_sweep(struct sql_proxy *proxy);
/* Accepts on fd, which stays the caller's. False: too many, or no descriptor is left. */
bool sql_proxy_listen(struct sql_proxy *proxy, int fd);
void sql_proxy_unlisten(struct sql_proxy *proxy);
/* Ends what is idle, the rest when it is; calls drained at the end, maybe from inside. */
void sql_proxy_drain(struct sql_proxy *proxy, void (*drained)(void *owner), void *owner);
/* Ends everything at once, turns the loop until it has ended, and frees. */
void sql_proxy_free(struct sql_proxy *proxy);
/* Works out again who is the primary. */
void sql_proxy_roles(struct sql_proxy *proxy);

/* The primary, or NULL when there is none that takes commands now. */
struct sql_server *sql_proxy_primary(struct sql_proxy *proxy);
/* A replica that has applied gtid (sequence 0: any), or NULL. */
struct sql_server *sql_proxy_replica(struct sql_proxy *proxy, const struct sql_gtid *gtid);
bool sql_server_may_read(struct sql_server *server, const struct sql_gtid *gtid);
/* A switchover is on its way: nothing new may begin on the primary. */
bool sql_proxy_is_holding(struct sql_proxy *proxy);
/* It was asked and does not answer: what runs there is lost. */
void sql_server_hangs(struct sql_server *server);
/* It refused a write although we took it for the primary. */
void sql_server_refused(struct sql_server *server);
/* The session waits until there is a primary, or too long. */
void sql_proxy_hold(struct sql_session *session);
/* Roles or states changed, or a hold is over: who waits tries again. */
void sql_proxy_wake(struct sql_proxy *proxy);
/* Somebody needs to know better than the last answer says: ask the servers soon. */
void sql_watch_hurry(struct sql_server *server);
void sql_watch_start(struct sql_server *server);
void sql_watch_stop(struct sql_server *server);
/* It could not be reached. */
void sql_server_failed(struct sql_server *server);
/* Takes the texts of @@read_only and @@gtid_slave_pos. */
void sql_server_said(struct sql_server *server, struct text read_only, struct text position);

/* ---- connections to servers ---- */

struct sql_backend;

struct sql_user { /* who uses a backend; called from the loop only */
    void (*challenged)(struct sql_backend *backend); /* is_relayed: sql_backend_relay goes on */
    void (*opened)(struct sql_backend *backend);
    /* It could not be opened; error: the server's ERR packet, or empty. It is gone afterwards. */
    void (*failed)(struct sql_backend *backend, struct text error);
    void (*received)(struct sql_backend *backend, struct text data);
    void (*sent)(struct sql_backend *backend); /* nothing waits any more */
    void (*lost)(struct sql_backend *backend); /* it is gone afterwards */
};

struct sql_backend {
    struct list link; /* in the pool */
    struct sql_server *server;
    struct sql_wire wire;
    const struct sql_user *user;
    void *owner;
    enum {
        SQL_CONNECTING,
        SQL_GREETING,
        SQL_ASKING,   /* for TLS, which begins when that has left */
        SQL_SECURING, /* the handshake */
        SQL_RELAYING, /* the client is asked to answer the challenge */
        SQL_ENTERING,
        SQL_OPEN,
        SQL_RESETTING,
        SQL_UNUSED,
    } state;
    struct buffer in; /* of the login */
    uint8_t sequence; /* of the last packet of the login */
    uint32_t thread;
    uint64_t capabilities;
    uint64_t asked; /* capabilities of the client that it was opened for */
    uint16_t collation;
    char challenge[SQL_SCRAMBLE];
    char login[SQL_NAME]; /* user */
    char password[SQL_NAME];
    char schema[SQL_NAME];   /* at the login */
    char now[SQL_NAME];      /* the default database now */
    bool is_relayed;         /* the client itself answers the challenge; never pooled */
    bool is_paused;          /* nothing is received: the other side is slow */
    uint64_t replayed;       /* number of the first setting of the session that it lacks */
    uint32_t life;           /* tells connections apart, for prepared statements */
    struct loop_timer timer; /* unused for too long, or a login that takes too long */
};

struct sql_opening { /* what a connection has to be like */
    uint64_t capabilities;
    uint16_t collation;
    struct text user, schema, password;
    bool is_relayed;
};

/* An unused one that fits, in state SQL_OPEN, or a new one that will say opened() or failed();
 * NULL: no socket could be made. */
struct sql_backend *sql_backend_get(struct sql_server *server, const struct sql_opening *opening,
                                    const struct sql_user *user, void *owner);
struct sql_backend *sql_backend_open(struct sql_server *server, const struct sql_opening *opening,
                                     const struct sql_user *user, void *owner);
void sql_backend_relay(struct sql_backend *backend, struct text answer);
void sql_pool_add(struct sql_backend *backend); /* a clean one */
/* Back to the pool when it can be cleaned, else closed. */
void sql_backend_put(struct sql_backend *backend);
void sql_backend_close(struct sql_backend *backend);
/* As if the server had closed it: its user hears of it. */
void sql_backend_lose(struct sql_backend *backend);
void sql_backend_resume(struct sql_backend *backend); /* receives again after is_paused */
void sql_pool_close(struct sql_server *server);       /* all unused ones */

/* ---- sessions ---- */

struct sql_prepared;

struct sql_session {
    struct list link;
    struct list hold_link;
    struct sql_proxy *proxy;
    struct sql_wire wire;
    enum {
        SQL_GREETED,
        SQL_PROVING,
        SQL_OPENING,
        SQL_IDLE,
        SQL_WAITING,
        SQL_BUSY,
        SQL_SENDING,
        SQL_ENDING, /* what waits is sent, then it is closed */
    } state;
    uint32_t id;
    uint8_t sequence; /* of the client's last packet in the login */
    bool is_relayed;  /* the primary itself checks who the client is */
    bool is_change;   /* the login is a COM_CHANGE_USER */
    bool is_paused;
    bool has_ended; /* the client sends nothing more */
    char challenge[SQL_SCRAMBLE];
    uint64_t capabilities;
    uint16_t collation;
    char user[SQL_NAME];
    char schema[SQL_NAME];
    struct text password; /* known one: the application's or empty */
    struct buffer in;     /* what the client sent and was not taken yet */
    struct sql_backend *links[SQL_ROLES];
    /* the running command */
    struct buffer request; /* whole, for another try; empty when it was too large */
    struct sql_upload upload;
    struct sql_reply reply;
    struct sql_verdict verdict;
    struct buffer hidden; /* answers to what the client did not ask */
    uint8_t command;
    enum sql_reply_kind kind;
    enum sql_role target;
    bool is_catching_up; /* a hidden command runs */
    bool is_preparing;   /* which prepares the statement */
    bool has_no_answer;  /* the command */
    bool has_begun;      /* some of the answer is with the client */
    bool is_cut;         /* the request goes on in `upload` */
    bool is_kept;        /* request holds all of it: it can be tried again */
    unsigned tries;
    struct sql_prepared *statement; /* the prepared one it is about */
    struct loop_timer timer;        /* login, and hold */
    /* what the session is like */
    enum sql_role last;
    const char *pinned; /* why it stays on the primary; NULL: it does not */
    struct sql_dialect dialect;
    bool in_transaction;
    bool has_autocommit;
    bool is_next_primary; /* SET TRANSACTION: the next statement is the primary's */
    bool is_unknown;      /* wrote something, and nobody said where that is */
    struct sql_gtid gtid;
    struct buffer *history; /* settings, as command packets, in order */
    size_t history_count;
    uint64_t history_first;         /* number of the first one; counts on for ever */
    bool has_locks;                 /* LOCK TABLES on the primary */
    bool is_kept_there;             /* the primary's connection holds something of the session */
    struct sql_prepared **prepared; /* by number */
    size_t prepared_count;
    uint32_t last_prepared;
};

void sql_session_new(void *proxy, int fd, const struct address *peer);
/* Ends it: what waits for the client is sent first. */
void sql_session_end(struct sql_session *session);
/* At once. */
void sql_session_abort(struct sql_session *session);
/* An error as a server would say it. */
void sql_session_fail(struct sql_session *session, uint8_t sequence, uint16_t code,
                      const char *state, const char *message);
/* Takes the next command, if there is one. */
void sql_session_step(struct sql_session *session);
/* Asks for more of the client's bytes, unless a slow server must be waited for. */
void sql_session_receive(struct sql_session *session);
void sql_session_release(struct sql_session *session); /* its backends */
/* Forgets settings, statements and pins. */
void sql_session_clear(struct sql_session *session);
/* A connection to the server in place of links[target]; NULL: none can be made now. */
struct sql_backend *sql_session_link(struct sql_session *session, struct sql_server *server,
                                     const struct sql_user *user);

/* The login; `body` is a whole packet without its head. */
void sql_enter(struct sql_session *session, struct text body);
void sql_enter_answer(struct sql_session *session, struct text body);
void sql_enter_change(struct sql_session *session, struct text body);
void sql_enter_again(struct sql_session *session); /* after a hold */
extern const struct sql_user sql_enter_user;

/* A command; packet: with its head, the front of it when it is too large. */
void sql_command(struct sql_session *session, struct text packet, bool is_cut);
/* The answer is complete. */
void sql_command_done(struct sql_session *session);

/* An answer of our own. */
void sql_command_refuse(struct sql_session *session, uint16_t code, const char *state,
                        const char *message);

/* Where it goes. */
enum sql_role sql_route(struct sql_session *session, const struct sql_verdict *verdict);
void sql_pin(struct sql_session *session, const char *reason);

/* On its way. */
void sql_run(struct sql_session *session);
void sql_run_again(struct sql_session *session); /* after a hold */
extern const struct sql_user sql_run_user;

/* ---- a switchover ---- */

/* Reads what was announced and reports what is open; to be called all the time. True: it is to be
 * called again in milliseconds, somebody waits for the report. */
bool sql_hold_look(struct sql_proxy *proxy);
/* It has something on the primary that no other server has and nobody can bring there. */
bool sql_hold_has_state(const struct sql_session *session);
/* It has state on a server that is the primary no more, and there is another one. */
bool sql_hold_is_left_behind(const struct sql_session *session);
/* Answers its command with an error and ends it: it was left behind. */
void sql_hold_refuse(struct sql_session *session);
/* There is another primary: ends idle sessions that are left behind, as a server does that stops.
 */
void sql_hold_moved(struct sql_proxy *proxy);

/* Settings to be replayed on other connections. */
void sql_history_add(struct sql_session *session, struct text packet);
void sql_history_reset(struct sql_session *session);
/* The next one that the backend lacks, or NULL. */
const struct buffer *sql_history_next(struct sql_session *session, struct sql_backend *backend);
void sql_history_done(struct sql_session *session);

/* ---- prepared statements: numbers are ours, each server has its own ---- */

struct sql_prepared {
    uint32_t id;
    struct buffer text;
    struct sql_verdict verdict;
    uint16_t parameters;
    struct buffer types;       /* of the parameters, as last sent */
    uint32_t ids[SQL_ROLES];   /* the servers' numbers */
    uint32_t lives[SQL_ROLES]; /* of the connections that know it; 0: none */
    bool has_types[SQL_ROLES]; /* the server has them */
    bool has_long;             /* parts of parameters were sent to the primary */
};

/* False: answered with an error. */
bool sql_prepare(struct sql_session *session, struct text packet);
bool sql_execute(struct sql_session *session, struct text packet);

/* Whether the request is an execution that asks for a cursor. */
bool sql_execute_asks_cursor(const struct sql_session *session);
bool sql_prepared_use(struct sql_session *session, struct text packet); /* the other commands */
void sql_prepared_close(struct sql_session *session, struct text packet);
void sql_prepare_done(struct sql_session *session);   /* the answer is there */
void sql_prepare_failed(struct sql_session *session); /* there will be none */
/* Puts the server's number, and the types if it lacks them, into the request. */
void sql_execute_fit(struct sql_session *session, const struct sql_backend *backend);
bool sql_prepared_is_known(const struct sql_session *session, const struct sql_backend *backend);
void sql_prepared_again(struct sql_session *session, const struct sql_backend *backend);
void sql_prepared_done(struct sql_session *session); /* frees all */

#endif
