#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

/*
 * HTTP for the layers above: one request type and one exchange, whatever the protocol version.
 *
 *   server ── one per edge process; accepts streams, holds the current configuration
 *     └─ connection ── parses requests in order, writes answers in order (pipelining)
 *          └─ exchange ── one request and its answer; the handler's view, ended by the last byte
 *
 * A handler answers an exchange: at once (http_reply), or later from its own events. It never sees
 * the connection. All exchange events come from the loop, none from inside an http_* function but
 * http_server_free (aborted). Inside http_response_* only filters and http_config.error_page run.
 * Standards: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 3986 (URI).
 */

#include "core/arena.h"
#include "core/buffer.h"
#include "core/loop.h"
#include "core/network.h"
#include "stream/stream.h"

/* ---- messages ---- */

#define HTTP_METHOD_LIST(X)                                                                        \
    X(HTTP_GET, "GET")                                                                             \
    X(HTTP_HEAD, "HEAD")                                                                           \
    X(HTTP_POST, "POST")                                                                           \
    X(HTTP_PUT, "PUT")                                                                             \
    X(HTTP_DELETE, "DELETE")                                                                       \
    X(HTTP_OPTIONS, "OPTIONS")                                                                     \
    X(HTTP_PATCH, "PATCH")                                                                         \
    X(HTTP_TRACE, "TRACE")                                                                         \
    X(HTTP_CONNECT, "CONNECT")

enum http_method {
#define X(code, name) code,
    HTTP_METHOD_LIST(X)
#undef X
        HTTP_OTHER, /* any other token; see method_text */
};

/* Header fields the program itself looks at; found without a search. Names compare without case. */
#define HTTP_FIELD_LIST(X)                                                                         \
    X(FIELD_HOST, "Host")                                                                          \
    X(FIELD_CONNECTION, "Connection")                                                              \
    X(FIELD_CONTENT_LENGTH, "Content-Length")                                                      \
    X(FIELD_CONTENT_TYPE, "Content-Type")                                                          \
    X(FIELD_TRANSFER_ENCODING, "Transfer-Encoding")                                                \
    X(FIELD_EXPECT, "Expect")                                                                      \
    X(FIELD_UPGRADE, "Upgrade")                                                                    \
    X(FIELD_TE, "TE")                                                                              \
    X(FIELD_TRAILER, "Trailer")                                                                    \
    X(FIELD_KEEP_ALIVE, "Keep-Alive")                                                              \
    X(FIELD_PROXY_CONNECTION, "Proxy-Connection")                                                  \
    X(FIELD_IF_NONE_MATCH, "If-None-Match")                                                        \
    X(FIELD_IF_MODIFIED_SINCE, "If-Modified-Since")                                                \
    X(FIELD_IF_MATCH, "If-Match")                                                                  \
    X(FIELD_IF_UNMODIFIED_SINCE, "If-Unmodified-Since")                                            \
    X(FIELD_IF_RANGE, "If-Range")                                                                  \
    X(FIELD_RANGE, "Range")                                                                        \
    X(FIELD_ACCEPT_ENCODING, "Accept-Encoding")                                                    \
    X(FIELD_CONTENT_ENCODING, "Content-Encoding")                                                  \
    X(FIELD_CONTENT_RANGE, "Content-Range")                                                        \
    X(FIELD_ACCEPT_RANGES, "Accept-Ranges")                                                        \
    X(FIELD_ETAG, "ETag")                                                                          \
    X(FIELD_LAST_MODIFIED, "Last-Modified")                                                        \
    X(FIELD_VARY, "Vary")                                                                          \
    X(FIELD_CACHE_CONTROL, "Cache-Control")                                                        \
    X(FIELD_DATE, "Date")                                                                          \
    X(FIELD_SERVER, "Server")                                                                      \
    X(FIELD_LOCATION, "Location")                                                                  \
    X(FIELD_ALLOW, "Allow")                                                                        \
    X(FIELD_RETRY_AFTER, "Retry-After")                                                            \
    X(FIELD_COOKIE, "Cookie")                                                                      \
    X(FIELD_SET_COOKIE, "Set-Cookie")                                                              \
    X(FIELD_USER_AGENT, "User-Agent")                                                              \
    X(FIELD_REFERER, "Referer")                                                                    \
    X(FIELD_X_FORWARDED_FOR, "X-Forwarded-For")                                                    \
    X(FIELD_X_FORWARDED_PROTO, "X-Forwarded-Proto")                                                \
    X(FIELD_X_FORWARDED_HOST, "X-Forwarded-Host")                                                  \
    X(FIELD_FORWARDED, "Forwarded")                                                                \
    X(FIELD_X_REQUEST_ID, "X-Request-Id")                                                          \
    X(FIELD_TRACEPARENT, "traceparent")                                                            \
    X(FIELD_VIA, "Via")                                                                            \
    X(FIELD_PROXY, "Proxy")

enum http_field {
    FIELD_OTHER,
#define X(code, name) code,
    HTTP_FIELD_LIST(X)
#undef X
        FIELD_COUNT,
};

struct http_header {
    struct text name;  /* as received or as set */
    struct text value; /* trimmed; no CR, LF, NUL or other control but tab */
    enum http_field field;
};

struct http_headers {
    struct http_header *items;
    size_t count;
    size_t capacity;
    uint64_t present; /* private: a bit per field that was added, so that most searches end at once;
                       * 0 with items: not known */
};

/* FIELD_OTHER when the name is not in the list. */
enum http_field http_field_find(struct text name);
struct text http_field_name(enum http_field field);

/* First header of that name, or NULL. */
const struct http_header *http_headers_find(const struct http_headers *headers,
                                            enum http_field field);
const struct http_header *http_headers_find_name(const struct http_headers *headers,
                                                 struct text name);
/* Its value, or the empty text. */
struct text http_headers_value(const struct http_headers *headers, enum http_field field);

/* Appends; the texts must live as long as the arena. False over the arena's limit. */
bool http_headers_add(struct http_headers *headers, struct arena *arena, enum http_field field,
                      struct text name, struct text value);
void http_headers_remove(struct http_headers *headers, enum http_field field);

/* True when the comma-separated list in all headers of that name has the token (no case). */
bool http_headers_has_token(const struct http_headers *headers, enum http_field field,
                            struct text token);

/* True for a valid field name (token) and for a value that may be sent (no control but tab). */
bool http_is_token(struct text text);
bool http_is_field_value(struct text text);

/* Whether a field may stand behind a body: not what frames, routes, allows or describes a message,
 * which others have acted upon before it comes (RFC 9110 6.5.1). What may not is left out. */
bool http_trailer_is_allowed(enum http_field field, struct text name);

struct http_request {
    enum http_method method;
    struct text method_text;
    struct text target;   /* as received, for logs and for passing on */
    struct text raw_path; /* of the target, still encoded, starts with '/' (or is "*"); what
                           * follows an absolute form's authority */
    struct text path;     /* decoded once, dot segments removed, starts with '/', no NUL */
    struct text query;    /* still encoded, without '?' */
    bool has_query;
    struct text host;      /* lower case, no port, no trailing dot; may be empty (HTTP/1.0) */
    struct text authority; /* host and port as sent: of the target if it has one, else of Host
                            * (which is replaced then) */
    struct text scheme;    /* "http" or "https" */
    int minor_version;     /* of HTTP/1; HTTP/2 counts as 1; -1: a connection of layer 4, in the
                            * access log only */
    bool is_http2;         /* for what tells the version on; no handler needs it */
    struct http_headers headers;
    struct http_headers trailers; /* what came behind the body, once its last piece was given; never
                                   * part of the headers (see http_trailer_is_allowed) */
    int64_t content_length;       /* -1: chunked, length not known */
    bool has_body;
    bool is_upgrade;       /* Connection: upgrade with an Upgrade header */
    bool is_forwarded;     /* a trusted proxy sent it: its forwarding headers are there, and true
                            * as far as it knows */
    bool was_forwarded;    /* a stranger sent Forwarded; it was taken out */
    struct address client; /* who asks: the other end of the connection, or who a trusted proxy says
                            * (PROXY protocol, X-Forwarded-For, Forwarded) */
    struct address peer;   /* is_forwarded: the proxy; else unset */
    struct address server; /* our side of the connection */
    char id[33];           /* 32 hex digits, made here, or from a valid traceparent */
    int64_t started_us;    /* first byte of the head, loop clock */
};

/* "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0", as logs and applications name it. */
struct text http_request_protocol(const struct http_request *request);

/* ---- exchange: the handler's side ---- */

struct http_exchange;

struct http_exchange_events {
    /* Answer to http_body_read: the next piece, valid during the call only; is_last with the last
     * piece (which may be empty). */
    void (*body)(struct http_exchange *exchange, struct text data, bool is_last);
    /* Answer to http_body_collect. */
    void (*collected)(struct http_exchange *exchange);
    /* What waits to be sent fell below the low-water mark after http_response_is_full. */
    void (*drained)(struct http_exchange *exchange);
    /* Optional: the client will send nothing more on this connection. Most have gone then, some
     * only closed their side and wait for the answer. */
    void (*ended)(struct http_exchange *exchange);
    /* The client is gone, broke the protocol inside its body, or the server closes: stop working.
     * The exchange is not valid after this call; nothing else may be called on it. Not called once
     * the answer is complete. */
    void (*aborted)(struct http_exchange *exchange);
};

const struct http_request *http_exchange_request(const struct http_exchange *exchange);
struct arena *http_exchange_arena(const struct http_exchange *exchange);
struct loop *http_exchange_loop(const struct http_exchange *exchange);

/* Every handler that does not answer inside start() attaches its events first. `events` may leave
 * entries NULL. */
void http_exchange_attach(struct http_exchange *exchange, const struct http_exchange_events *events,
                          void *state);
void *http_exchange_state(const struct http_exchange *exchange);

/* For the access log: who answered ("static", "app guestbook", "upstream ..."; must live as long as
 * the exchange) and how long the answerer took (us; 0 unknown). */
void http_exchange_note(struct http_exchange *exchange, struct text answered_by, int64_t wait_us,
                        int64_t work_us);

/* Anything of the router's own for its `finished` call-back; record->mark, NULL until it is set. */
void http_exchange_mark(struct http_exchange *exchange, void *mark);

/* Request body. Nothing is read from the client before one of these is called (and "100 Continue"
 * is sent then if it was expected); a body nobody read is dropped or the connection closed. One
 * call, one body(): calling it again, also from inside body(), asks for the next piece. Works for
 * requests without a body too (an empty last piece). */
void http_body_read(struct http_exchange *exchange);

struct http_body {
    struct text memory; /* all of it when file < 0 */
    int file;           /* >= 0: an unlinked temporary file with the whole body from offset 0 */
    int64_t length;
};

/* Reads the whole body: up to memory_bytes in memory, else into a temporary file made by O_TMPFILE
 * in the server's spool folder; then collected(). A slow client so never holds a worker. Bodies
 * over the configured limit are answered 413, a full disk 507, by the server; the handler gets
 * aborted(). */
void http_body_collect(struct http_exchange *exchange, size_t memory_bytes);
/* Valid from collected() until the exchange ends; owned by the exchange. */
const struct http_body *http_body_collected(const struct http_exchange *exchange);

/* ---- the answer ----
 * Order: http_response_start, headers, then http_response_send/_file until is_last. Framing headers
 * (Content-Length, Transfer-Encoding, Connection, Keep-Alive, Proxy-Connection, Upgrade, Trailer,
 * Date, Server) are the server's: handlers do not set them. HEAD, 204 and 304: the server drops the
 * body. */

/* length: of the body, -1 unknown (chunked for 1.1, close for 1.0; a body that comes in one last
 * piece gets its length). A status outside 200 to 599 becomes 502. Has no effect once the head is
 * sent.
 *
 * 101 answers a request with is_upgrade and opens a tunnel (WebSocket): set the Upgrade header,
 * send the head with an empty piece; from then on http_body_read gives what the client sends,
 * without limit or deadline, is_last when it ends its side, and http_response_send goes out as it
 * is. */
void http_response_start(struct http_exchange *exchange, int status, int64_t length);

/* Texts are copied, values trimmed. Invalid names or values (so an answer can never be split) and
 * the framing headers are refused: returns false and nothing is added. */
bool http_response_header(struct http_exchange *exchange, enum http_field field, struct text value);
bool http_response_header_name(struct http_exchange *exchange, struct text name, struct text value);
/* The status and headers set so far, for filters (may be changed until the head is sent). */
int http_response_status(const struct http_exchange *exchange);
void http_response_set_status(struct http_exchange *exchange, int status);
int64_t http_response_length(const struct http_exchange *exchange);
void http_response_set_length(struct http_exchange *exchange, int64_t length);
struct http_headers *http_response_headers(struct http_exchange *exchange);
bool http_response_is_head_sent(const struct http_exchange *exchange);
bool http_response_is_started(const struct http_exchange *exchange);

/* Body bytes; copied. More than the announced length is cut and logged, less closes the connection
 * after is_last. An empty data without is_last sends the head now. */
void http_response_send(struct http_exchange *exchange, struct text data, bool is_last);

/* A field behind the body, before its last piece; copied. It is left out when the client does not
 * want it ("TE: trailers"; who speaks HTTP/2 always does) or the answer has no place for it: a
 * length that was announced in HTTP/1, no body. False: not allowed there, or too much. */
bool http_response_trailer(struct http_exchange *exchange, struct text name, struct text value);

/* A part of a file. The descriptor is duplicated if owns_file is false, else owned (closed) by the
 * exchange. */
void http_response_file(struct http_exchange *exchange, int file, bool owns_file, int64_t offset,
                        int64_t len, bool is_last);

/* Bytes that many answers share; what is on its way to a client keeps them alive. */
struct http_blob {
    size_t references;
    size_t len;
    char data[];
};

/* With one reference and one more byte than len, not initialised. unref accepts NULL. */
struct http_blob *http_blob_new(size_t len);
struct http_blob *http_blob_ref(struct http_blob *blob);
void http_blob_unref(struct http_blob *blob);

/* Like http_response_send for the bytes [start, start + len) of a blob: sent from where they are.
 */
void http_response_blob(struct http_exchange *exchange, struct http_blob *blob, size_t start,
                        size_t len, bool is_last);

/* The head as it will be sent, but for Date and Connection, to be kept for answers that differ in
 * nothing else. After all headers are set and before the body; the length must be known. NULL when
 * a filter's work cannot be kept (see http_filter.is_fixed). The caller owns a reference. */
struct http_blob *http_response_head_keep(struct http_exchange *exchange);

/* A whole answer with a head that http_response_head_keep made for this status, under the same
 * configuration, and its body (NULL: none). False when it cannot be used: nothing has happened. */
bool http_response_kept(struct http_exchange *exchange, int status, struct http_blob *head,
                        struct http_blob *body);

/* So many bytes of the answer may wait in memory for the client before http_response_is_full; by
 * default 256 KiB. */
void http_response_limit(struct http_exchange *exchange, size_t bytes);

/* True when a well-behaved producer should pause until drained(). */
bool http_response_is_full(struct http_exchange *exchange);

/* Breaks the answer off: 502 if no head was sent yet (through http_reply_error), else the
 * connection is closed without a clean end, so the client sees that something is missing. The
 * exchange is over for the caller, as after is_last: no aborted() comes. */
void http_response_abort(struct http_exchange *exchange);

/* A whole answer in one call. */
void http_reply(struct http_exchange *exchange, int status, struct text content_type,
                struct text body);

/* An error answer: the configured error page (http_config.error_page), else a small built-in page
 * with the request id. */
void http_reply_error(struct http_exchange *exchange, int status);

/* The same with "Retry-After: wait_s", for 429 and 503 (RFC 9110 10.2.3). Left out when the
 * exchange's arena is full. */
void http_reply_error_wait(struct http_exchange *exchange, int status, int64_t wait_s);

/* "Not Found"; "" for an unknown status. */
const char *http_status_text(int status);

/* ---- filters: may change the answer on its way out (compression, header rules) ---- */

struct http_filter {
    /* Called once before the head is written: may change status, length and headers. */
    void (*head)(struct http_filter *filter, struct http_exchange *exchange);
    /* Optional. Gets every piece of the body (file parts are read for it) and passes on what it
     * makes with http_filter_pass. */
    void (*data)(struct http_filter *filter, struct http_exchange *exchange, struct text data,
                 bool is_last);
    struct http_filter *next; /* private */
    bool is_fixed; /* head() depends on the route, the status and the headers only, and there is no
                    * data(): a head that went through it may be kept for other answers */
};

/* Adds a filter in front of those already there; memory from the exchange's arena. Before the head
 * is sent. */
void http_filter_add(struct http_exchange *exchange, struct http_filter *filter);
void http_filter_pass(struct http_filter *filter, struct http_exchange *exchange, struct text data,
                      bool is_last);

/* ---- handlers ---- */

struct http_handler {
    const char *name;
    /* Begins to answer. The exchange's request is complete up to the body. */
    void (*start)(struct http_handler *handler, struct http_exchange *exchange);
};

/* ---- server ---- */

struct http_limits {
    size_t head_bytes; /* request line and headers (431; the request line alone: 414) */
    size_t target_bytes;
    size_t header_count;
    int64_t body_bytes;             /* 413; 0: any */
    size_t connections;             /* open ones per process; more wait in the backlog */
    int64_t head_ms;                /* from the first byte to the end of the head: 408 */
    int64_t body_ms;                /* between two pieces of a body: 408 */
    int64_t send_ms;                /* without any progress of the client: closed */
    int64_t idle_ms;                /* keep-alive */
    size_t requests_per_connection; /* then Connection: close; 0: any number */
};

/* Whose word counts. The networks live as long as the configuration. */
struct http_trust {
    const struct network *networks; /* their forwarding headers are believed */
    size_t count;
    const struct network *proxies; /* their connections begin with a PROXY header, always */
    size_t proxy_count;
};

/* What a finished exchange tells the access log and the counters. Valid during the call. */
struct http_record {
    const struct http_request *request; /* NULL parts when the head was never complete */
    int status;                         /* 499: client gone before an answer */
    int64_t received_bytes;
    int64_t sent_bytes; /* with head */
    int64_t body_sent_bytes;
    int64_t total_us;
    int64_t wait_us;
    int64_t work_us;
    struct text answered_by;
    void *mark;          /* of http_exchange_mark */
    const char *failure; /* NULL, or why it broke: "client closed", "send timeout"... */
};

/* One configuration generation. Exchanges hold a reference from their start to their end. */
struct http_config {
    struct http_handler *handler; /* the router */
    struct http_limits limits;
    struct http_trust trust;
    const char *spool_folder; /* for large bodies, writable by this process */
    struct text server_name;  /* value of the Server header; empty: none */
    void (*finished)(struct http_config *config, const struct http_record *record);
    /* Optional: who had to show a certificate of ours (tls_settings.authorities) and could not;
     * why: a few words, valid during the call. */
    void (*stranger)(struct http_config *config, const struct address *peer, const char *why);
    /* Optional: may answer an error itself (returns true) before the built-in page. */
    bool (*error_page)(struct http_config *config, struct http_exchange *exchange, int status);
    /* Called when the last reference is gone: the owner frees the generation. */
    void (*released)(struct http_config *config);
    void *owner;
    int64_t references; /* private, starts at 1 with http_server_set_config */
};

struct http_server;

/* spool for all; `config` is referenced. */
struct http_server *http_server_new(struct loop *loop, struct http_config *config);

/* New exchanges use `config` from now on, on old connections too; the old one is released when its
 * last exchange ends (inside this call when there is none). */
void http_server_set_config(struct http_server *server, struct http_config *config);

/* The configuration an exchange runs under. */
struct http_config *http_exchange_config(const struct http_exchange *exchange);

/* Takes over an accepted descriptor. `released` (may be NULL) is called when its connection ends.
 */
void http_server_accept(struct http_server *server, int fd, const struct address *peer,
                        void (*released)(void *), void *argument);
/* The same with TLS; the handshake has the time of a head. Takes a reference of the context. */
void http_server_accept_tls(struct http_server *server, struct tls_context *tls, int fd,
                            const struct address *peer, void (*released)(void *), void *argument);

/* Graceful end: connections close after their current answer ("Connection: close"), idle ones after
 * 0.2 s, so that a request that is on its way is still answered. drained() when none is left. */
void http_server_drain(struct http_server *server, void (*drained)(void *), void *argument);

size_t http_server_connections(const struct http_server *server);

/* Connections must be gone (drain) or are aborted. Accepts NULL. */
void http_server_free(struct http_server *server);

#endif
