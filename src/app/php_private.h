#ifndef APP_PHP_PRIVATE_H
#define APP_PHP_PRIVATE_H

/*
 * The edge's side of a PHP application, and what it shares with the others.
 *
 *   php_place.c   which script or file a path means
 *   php_params.c  the request as FastCGI parameters
 *   php_share.c   who may have a connection: one per php-fpm child in all edge processes together
 *   php_pool.c    the connections of this process, and the requests that wait for one
 *   php_call.c    one request on its way
 */

#include "app/fastcgi.h"
#include "app/php.h"
#include "app/php_head.h"
#include "app/spill.h"

#include <stdatomic.h>

/* ---- php_place.c ---- */

enum php_place_kind {
    PLACE_NONE,   /* nothing is there, or nothing that may be seen */
    PLACE_SCRIPT, /* for php-fpm */
    PLACE_FILE,   /* for the handler of files */
    PLACE_FOLDER, /* its slash is missing */
};

struct php_place {
    enum php_place_kind kind;
    struct text script;    /* below the documents: "/blog/index.php" */
    struct text path_info; /* behind it: "/a/b", or empty */
};

/* documents: descriptor; path: decoded, begins with '/', without dot segments. Only looks. The
 * texts are slices of path and front, or in the arena. */
struct php_place php_place_find(int documents, struct text path, struct text front,
                                struct arena *arena);

/* ---- php_params.c ---- */

struct php_script {
    struct text documents; /* real path of the folder */
    struct text mount;     /* "" or "/blog" */
    struct php_place place;
};

/* Appends the parameters with their last record. content_length: of the collected body, -1 none.
 * ERR_LIMIT: they do not fit. */
MUST_CHECK enum err php_params_write(struct buffer *out, const struct http_request *request,
                                     const struct php_script *script, int64_t content_length,
                                     struct arena *arena);

/* ---- php_share.c ---- */

enum { PHP_CHILDREN_LIMIT = 512, PHP_EDGES_LIMIT = 64 };

/* In a memfd of the generation. Edge processes trust each other: they are one program and one
 * user. */
struct php_share {
    _Atomic uint32_t owners[PHP_CHILDREN_LIMIT]; /* 0 free, else edge + 1 */
    struct {
        _Atomic int64_t waiting_us; /* since when its first request waits, 0: none does */
        _Atomic uint32_t waiting;   /* how many do */
        _Atomic uint32_t idle;      /* its connections without a request */
    } edges[PHP_EDGES_LIMIT];
};

MUST_CHECK enum err php_share_create(int *fd_out, struct why *why);
MUST_CHECK enum err php_share_map(int fd, struct php_share **share_out, struct why *why);
void php_share_unmap(struct php_share *share); /* accepts NULL */

/* Gives back all that a crashed predecessor of this edge had. */
void php_share_start(struct php_share *share, size_t edge);

/* A free permit of `children`, now the edge's; -1: none. */
int php_share_take(struct php_share *share, size_t children, size_t edge);
bool php_share_is_free(struct php_share *share, size_t children);
void php_share_leave(struct php_share *share, int permit);

/* The other edge that waits longest, if it waits since before before_us (0: since any time); -1. */
int php_share_elder(struct php_share *share, size_t edge, int64_t before_us);
/* Requests that wait in all of them. */
size_t php_share_waiting(const struct php_share *share);
/* Another edge with an idle connection; -1: none. */
int php_share_keeper(struct php_share *share, size_t edge);

/* ---- php_pool.c ---- */

struct php_call;

struct php_pool {
    struct list link; /* in the list of pools of this process */
    struct loop *loop;
    struct metrics *metrics;
    struct board_series *series;
    const struct site_app *app;
    uint64_t generation;
    size_t references;
    struct php_share *share;
    size_t edge;
    size_t edge_count;
    size_t children;
    bool keeps; /* connections are used again */
    int bells[PHP_EDGES_LIMIT];
    int documents;
    struct text root; /* real path of the documents */
    struct address address;
    struct list waiting; /* calls */
    size_t waiting_count;
    struct list idle; /* connections, used last first */
    struct list busy;
    size_t connection_count;
    struct list limbo; /* children that still work for nobody */
    struct loop_watch bell;
    struct loop_timer tick;
    int64_t careful_until_ms; /* a child worked on after an answer: see php_pool.c */
    int settle;               /* epoll: tells when a child has come back from its last request */
    struct loop_watch settle_watch;
    char name[48]; /* "php NAME", for logs */
    bool is_freed;
};

struct php_connection {
    struct list link;
    struct php_pool *pool;
    struct stream *stream;
    struct php_call *call; /* NULL: idle or closing */
    struct buffer out;     /* what is being sent */
    struct buffer in;      /* an incomplete head */
    int fd;                /* the stream's */
    int permit;
    int64_t idle_since_ms;
    bool is_idle;
    bool is_sending;
    bool is_closing;
    bool is_watched; /* by settle */
};

/* Whose fields up to `name` but the lists are set. On an error nothing is left to end. */
MUST_CHECK enum err php_pool_start(struct php_pool *pool, struct why *why);
/* No call uses it any more: closes its connections; the next turns of the loop free it. */
void php_pool_end(struct php_pool *pool);

/* Wants a connection: php_call_begin is called, now or later. False: too many wait. */
bool php_pool_enter(struct php_pool *pool, struct php_call *call);
/* As many wait as may, in all edges together. */
bool php_pool_is_full(const struct php_pool *pool);
/* It does not wait any more. */
void php_pool_forget(struct php_pool *pool, struct php_call *call);

/* True when the child has not even begun to read what was sent to it: it still works for the
 * request before. */
bool php_connection_is_unread(const struct php_connection *connection);
/* Such a child was met: for a while only those are used that have come back. */
void php_pool_be_careful(struct php_pool *pool);

void php_connection_send(struct php_connection *connection);

/* PHP_KEEP: the answer is complete, the child comes back to it. PHP_CLOSE: in order. PHP_ABANDON:
 * the child works on for nobody; its permit is taken until it is done. */
enum php_end { PHP_KEEP, PHP_CLOSE, PHP_ABANDON };
void php_connection_release(struct php_connection *connection, enum php_end end);

/* ---- php_call.c ---- */

struct php_call {
    struct list link; /* in pool->waiting */
    struct php_pool *pool;
    struct http_exchange *exchange; /* NULL: answered */
    struct php_connection *connection;
    struct php_script script;
    struct loop_timer deadline;
    struct loop_timer doubt; /* whether the child has come back at all */
    struct fastcgi_reader reader;
    struct spill spill;
    struct buffer said; /* an unfinished line of its errors */
    size_t said_lines;
    size_t head_seen;
    int64_t body_at; /* of the request: bytes in records so far */
    int64_t arrived_us;
    int64_t begun_us;
    bool is_waiting;
    bool is_repeatable; /* idempotent and without a body */
    bool is_kept;       /* the connection served others before */
    bool is_hasty;      /* its child was not seen to have come back from them */
    bool is_doubted;
    bool is_retried;
    bool has_sent_all; /* of the request */
    bool is_cut;       /* it does not take the body; its answer is awaited */
    bool has_bytes;    /* of the answer */
    bool has_head;
    bool is_paused; /* the client does not take what is there, and the file is full */
    bool has_ended; /* php is done, the rest is in the spill */
};

void php_call_start(struct php_pool *pool, const struct php_script *script,
                    struct http_exchange *exchange);
void php_call_begin(struct php_call *call, struct php_connection *connection, bool is_kept);
void php_call_received(struct php_call *call, struct text data, enum err err);
void php_call_sent(struct php_call *call, enum err err);

#endif
