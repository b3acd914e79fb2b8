/*
 * One TLS connection. OpenSSL reads from `input`, the bytes that were lent by tls_put, and writes
 * to `output`, through a BIO that does nothing else; see docs/decisions/070.
 */
#include "stream/tls.h"

#include "core/memory.h"
#include "metrics/metrics.h"
#include "stream/tls_private.h"

/* Never reached: what is written at a time is bounded by who calls tls_write. */
enum { OUTPUT_LIMIT = 4 << 20 };

enum {
    RECORD_DATA = 16 * 1024,
    RECORD_EXTRA = 64,       /* head, type, tag and what a suite may add */
    SPARE_LEAST = 16 * 1024, /* smaller ones are quickly made */
    SPARE_MOST = 128 * 1024,
};

struct tls {
    SSL *ssl;
    struct tls_context *context;
    struct tls_peer *peer; /* NULL: we are the server */
    struct text input;
    struct buffer output;
    enum tls_outcome failure; /* of has_failed */
    const char *reason;       /* the same in words */
    bool is_refused;          /* the other's certificate is why it failed */
    bool has_failed;
    bool has_finished;
};

/* ---- OpenSSL's way to our bytes ---- */

static int bio_read(BIO *bio, char *data, size_t size, size_t *got)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->input.len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *got = size < tls->input.len ? size : tls->input.len;
    memcpy(data, tls->input.data, *got);
    tls->input = text_skip(tls->input, *got);
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *done)
{
    struct tls *tls = BIO_get_data(bio);
    buffer_append(&tls->output, text_from(data, len));
    *done = len;
    return tls->output.failed ? 0 : 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD *tls_method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "bytes");
    if (method == NULL)
        return NULL;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
}

/* ---- life ---- */

static struct tls *make(struct tls_context *context)
{
    struct tls *tls = NEW(struct tls);
    tls->context = tls_context_ref(context);
    tls->output = buffer_of(OUTPUT_LIMIT);
    tls->input = T("");
    tls->ssl = SSL_new(context->certificates[0].ssl);
    BIO *bio = tls->ssl != NULL ? BIO_new(context->method) : NULL;
    tls->has_failed = bio == NULL; /* no memory: the connection ends at its first byte */
    tls->failure = TLS_BROKEN;
    if (bio == NULL)
        return tls;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    return tls;
}

struct tls *tls_new(struct tls_context *context)
{
    struct tls *tls = make(context);
    if (tls->has_failed)
        return tls;
    SSL_set_app_data(tls->ssl, context);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

struct tls *tls_new_client(struct tls_peer *peer)
{
    struct tls *tls = make(peer->context);
    tls->peer = tls_peer_ref(peer);
    tls->has_failed = tls->has_failed || !tls_peer_begin(peer, tls->ssl);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    if (tls->peer != NULL && tls_is_open(tls)) /* else its session would not be resumed */
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN);
    SSL_free(tls->ssl);
    tls_peer_unref(tls->peer);
    buffer_done(&tls->output);
    tls_context_unref(tls->context);
    memory_free(tls);
}

/* ---- bytes ---- */

void tls_put(struct tls *tls, struct text cipher)
{
    tls->input = cipher;
}

static void note_failure(struct tls *tls)
{
    long verdict = SSL_get_verify_result(tls->ssl);
    bool was_open = SSL_is_init_finished(tls->ssl) == 1;
    tls->has_failed = true;
    tls->is_refused = !was_open && verdict != X509_V_OK;
    tls->failure = tls_outcome_of(ERR_peek_error());
    tls->reason = tls->is_refused ? X509_verify_cert_error_string(verdict)
                                  : ERR_reason_error_string(ERR_peek_error());
    if (tls->peer != NULL && !was_open)
        tls_peer_forget(tls->peer);
}

static enum tls_state state_of(struct tls *tls, int result)
{
    int error = SSL_get_error(tls->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return TLS_MORE;
    if (error == SSL_ERROR_ZERO_RETURN)
        return TLS_ENDED;
    note_failure(tls);
    tls->input = T("");
    return TLS_FAILED;
}

const char *tls_failure(const struct tls *tls, bool *is_refused_out)
{
    *is_refused_out = tls->is_refused;
    return tls->reason != NULL ? tls->reason : "the TLS connection broke";
}

/* What is left of something else would be taken for our failure. Mostly there is nothing, and
 * looking is cheaper than clearing. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* A CA proves a name; see tls_challenge.c. */
static bool is_challenge(const struct tls *tls)
{
    return tls->context->challenge != NULL && SSL_get_SSL_CTX(tls->ssl) == tls->context->challenge;
}

enum tls_state tls_read(struct tls *tls, char *data, size_t size, size_t *got_out)
{
    *got_out = 0;
    if (tls->has_failed)
        return TLS_FAILED;
    forget_errors();
    int result = SSL_read_ex(tls->ssl, data, size, got_out);
    if (result == 1 && !is_challenge(tls)) /* asking OpenSSL once more would only tell the same */
        return tls->input.len == 0 && SSL_has_pending(tls->ssl) == 0 ? TLS_MORE : TLS_DATA;
    enum tls_state state = result == 1 ? TLS_DATA : state_of(tls, result);
    forget_errors();
    if (!is_challenge(tls) || !tls_is_open(tls))
        return state;
    *got_out = 0; /* RFC 8737 3: the handshake was all; nothing is ever heard on it */
    return TLS_ENDED;
}

bool tls_is_open(const struct tls *tls)
{
    return !tls->has_failed && SSL_is_init_finished(tls->ssl) == 1;
}

enum tls_outcome tls_outcome(const struct tls *tls)
{
    if (tls->has_failed)
        return tls->failure;
    return tls_is_open(tls) ? TLS_DONE : TLS_GONE;
}

void tls_count(const struct tls *tls, enum tls_outcome outcome)
{
    struct metrics *metrics = tls->context->metrics;
    if (metrics == NULL)
        return;
    tls_outcome_count(metrics, outcome);
    if (outcome == TLS_DONE && SSL_session_reused(tls->ssl) == 1)
        metrics_add(&metrics->tls_resumed, 1);
    if (outcome == TLS_DONE && SSL_version(tls->ssl) == TLS1_2_VERSION)
        metrics_add(&metrics->tls_1_2, 1);
}

struct text tls_protocol(const struct tls *tls)
{
    const unsigned char *name = NULL;
    unsigned int len = 0;
    if (tls->ssl != NULL)
        SSL_get0_alpn_selected(tls->ssl, &name, &len);
    return text_from(name != NULL ? (const char *)name : "", len);
}

bool tls_write(struct tls *tls, struct text plain)
{
    size_t done = 0;
    if (!tls_is_open(tls) || tls->has_finished)
        return false;
    forget_errors();
    bool is_done = plain.len == 0 || SSL_write_ex(tls->ssl, plain.data, plain.len, &done) == 1;
    forget_errors();
    if (!is_done)
        tls->has_failed = true;
    return is_done;
}

void tls_finish(struct tls *tls)
{
    if (!tls_is_open(tls) || tls->has_finished)
        return;
    tls->has_finished = true;
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

struct buffer *tls_output(struct tls *tls)
{
    return &tls->output;
}

void tls_make_room(struct tls *tls, size_t len)
{
    struct tls_context *context = tls->context;
    size_t room = len + (len / RECORD_DATA + 1) * RECORD_EXTRA;
    if (tls->output.data == NULL && room >= SPARE_LEAST && context->spare_count > 0) {
        tls->output = context->spares[--context->spare_count];
        buffer_clear(&tls->output);
    }
    (void)buffer_reserve(&tls->output, room); /* over its limit tls_write says so */
}

void tls_give_back(struct tls *tls, struct buffer *sent)
{
    struct tls_context *context = tls->context;
    bool is_good = sent->capacity >= SPARE_LEAST && sent->capacity <= SPARE_MOST;
    if (!is_good || context->spare_count == TLS_SPARES) {
        buffer_done(sent);
        return;
    }
    context->spares[context->spare_count++] = *sent;
    *sent = buffer_of(sent->limit);
}
