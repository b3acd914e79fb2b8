/*
 * See obtain.h. In order:
 *
 *   directory ─► account (known already, or new) ─► order ─► a challenge per name, shown, then all
 *   awaited ─► request for the certificate ─► certificate, checked as if a stranger had sent it
 *
 * Each answer brings the nonce of the next request; one that the CA does not know (any more) is
 * answered by another try, as RFC 8555 6.5 asks for.
 */
#include "acme/obtain.h"

#include "acme/call.h"
#include "acme/certificate.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/openssl.h"

#include <stdio.h>

enum {
    REQUEST_MS = 30000,
    REQUEST_LIMIT = 65536,
    NONCE_TRIES = 5,
    LOOK_FIRST_MS = 250, /* between two looks at what a CA works on, growing */
    LOOK_MOST_MS = 5000,
    RETRY_MOST_S = 10,
};

struct dialogue {
    const struct acme_wish *wish;
    const struct acme_account *account;
    const struct acme_prover *prover;
    struct acme_outcome *outcome;
    struct acme_call *call;
    struct acme_directory directory;
    char account_url[ACME_URL_SIZE]; /* empty: not known yet */
    char nonce[ACME_URL_SIZE];       /* empty: used */
    int64_t until_ms;
    int64_t look_ms;
    struct acme_reply reply;
};

/* ---- requests ---- */

static int64_t time_left_ms(const struct dialogue *self)
{
    int64_t left_ms = self->until_ms - clock_now_ms();
    return left_ms < REQUEST_MS ? left_ms : REQUEST_MS;
}

/* Why an answer is none that helps. */
static enum err refuse(struct dialogue *self, struct why *why)
{
    struct acme_problem problem;
    acme_problem_parse(buffer_text(&self->reply.body), self->reply.status, &problem);
    self->outcome->was_refused = self->reply.status < 500;
    self->outcome->retry_after_s = self->reply.head.retry_after_s;
    return fail(why, ERR_DENIED, "the CA says: %s", problem.reason);
}

static enum err get_nonce(struct dialogue *self, struct why *why)
{
    if (self->nonce[0] != '\0')
        return OK;
    enum err err = acme_call_make(self->call, ACME_HEAD, self->directory.new_nonce, T(""),
                                  time_left_ms(self), &self->reply, why);
    if (err != OK)
        return err;
    if (self->reply.head.nonce[0] == '\0')
        return fail(why, ERR_PROTOCOL, "the CA gives no nonce");
    memcpy(self->nonce, self->reply.head.nonce, sizeof(self->nonce));
    return OK;
}

static bool is_bad_nonce(const struct dialogue *self)
{
    struct acme_problem problem;
    if (self->reply.status != 400)
        return false;
    acme_problem_parse(buffer_text(&self->reply.body), self->reply.status, &problem);
    return strcmp(problem.type, "badNonce") == 0;
}

/* payload: JSON, or empty to read only. What is answered is in self->reply. */
static enum err post(struct dialogue *self, const char *url, struct text payload, struct why *why)
{
    for (int i = 0; i < NONCE_TRIES; i++) {
        struct buffer body = buffer_of(REQUEST_LIMIT);
        struct jose_head head = { url, self->nonce,
                                  self->account_url[0] != '\0' ? self->account_url : NULL };
        enum err err = get_nonce(self, why);
        if (err == OK)
            err = jose_sign(self->account, &head, payload, &body, why);
        self->nonce[0] = '\0';
        if (err == OK)
            err = acme_call_make(self->call, ACME_POST, url, buffer_text(&body), time_left_ms(self),
                                 &self->reply, why);
        buffer_done(&body);
        if (err != OK)
            return err;
        memcpy(self->nonce, self->reply.head.nonce, sizeof(self->nonce));
        if (!is_bad_nonce(self))
            return self->reply.status >= 200 && self->reply.status < 300 ? OK : refuse(self, why);
    }
    return fail(why, ERR_PROTOCOL, "the CA takes none of the nonces that it gives");
}

/* Before the next look. False: there is no time left for one. */
static bool wait_a_moment(struct dialogue *self)
{
    int64_t pause_ms = self->reply.head.retry_after_s * 1000;
    if (pause_ms > RETRY_MOST_S * 1000)
        pause_ms = RETRY_MOST_S * 1000;
    if (pause_ms < self->look_ms)
        pause_ms = self->look_ms;
    self->look_ms = self->look_ms * 3 / 2 < LOOK_MOST_MS ? self->look_ms * 3 / 2 : LOOK_MOST_MS;
    if (clock_now_ms() + pause_ms >= self->until_ms)
        return false;
    clock_sleep_ms(pause_ms);
    return true;
}

/* ---- the way to an order ---- */

static enum err read_directory(struct dialogue *self, struct why *why)
{
    enum err err = acme_call_make(self->call, ACME_GET, self->wish->directory, T(""),
                                  time_left_ms(self), &self->reply, why);
    if (err != OK)
        return err;
    if (self->reply.status != 200)
        return refuse(self, why);
    err = acme_directory_parse(buffer_text(&self->reply.body), &self->directory, why);
    if (err == OK && self->directory.needs_binding && self->wish->binding_id.len == 0) {
        self->outcome->was_refused = true;
        return fail(why, ERR_UNSUPPORTED,
                    "this CA wants an account that was made on its pages (external account "
                    "binding): write what it gives into tls.acme.binding-id and binding-key-file");
    }
    return err;
}

static enum err find_account(struct dialogue *self, struct why *why)
{
    AUTO(buffer_done) struct buffer payload = buffer_of(REQUEST_LIMIT);
    buffer_print(&payload, "{\"termsOfServiceAgreed\":true");
    if (self->wish->email.len > 0) {
        buffer_print(&payload, ",\"contact\":[\"mailto:");
        buffer_append_json(&payload, self->wish->email);
        buffer_print(&payload, "\"]");
    }
    enum err err = OK;
    if (self->wish->binding_id.len > 0) {
        buffer_print(&payload, ",\"externalAccountBinding\":");
        err = jose_bind(self->account, self->directory.new_account, self->wish->binding_id,
                        self->wish->binding_key, &payload, why);
    }
    buffer_append_byte(&payload, '}');
    if (err == OK)
        err = post(self, self->directory.new_account, buffer_text(&payload), why);
    if (err != OK)
        return fail_in(why, err, "account");
    if (self->reply.head.location[0] == '\0')
        return fail(why, ERR_PROTOCOL, "the CA does not say which account is ours");
    memcpy(self->account_url, self->reply.head.location, sizeof(self->account_url));
    return OK;
}

static enum err begin_order(struct dialogue *self, struct acme_order *order,
                            char url[ACME_URL_SIZE], struct why *why)
{
    AUTO(buffer_done) struct buffer payload = buffer_of(REQUEST_LIMIT);
    buffer_print(&payload, "{\"identifiers\":[");
    for (size_t i = 0; i < self->wish->name_count; i++) {
        buffer_print(&payload, "%s{\"type\":\"dns\",\"value\":\"", i > 0 ? "," : "");
        buffer_append_json(&payload, self->wish->names[i]);
        buffer_print(&payload, "\"}");
    }
    buffer_print(&payload, "]}");
    enum err err = post(self, self->directory.new_order, buffer_text(&payload), why);
    if (err != OK)
        return fail_in(why, err, "order");
    if (self->reply.head.location[0] == '\0')
        return fail(why, ERR_PROTOCOL, "the CA does not say where the order is");
    memcpy(url, self->reply.head.location, ACME_URL_SIZE);
    return acme_order_parse(buffer_text(&self->reply.body), order, why);
}

/* ---- proving names ---- */

static bool is_wished(const struct acme_wish *wish, const char *name)
{
    for (size_t i = 0; i < wish->name_count; i++)
        if (text_equal_fold(wish->names[i], text_of(name)))
            return true;
    return false;
}

static enum err look_at_name(struct dialogue *self, const char *url,
                             struct acme_authorization *found, struct why *why)
{
    enum err err = post(self, url, T(""), why);
    if (err == OK)
        err = acme_authorization_parse(buffer_text(&self->reply.body), self->wish->challenge, found,
                                       why);
    if (err == OK && !is_wished(self->wish, found->name))
        err = fail(why, ERR_PROTOCOL, "the CA wants '%s' proven, which was not asked for",
                   found->name);
    return err;
}

static enum err begin_proof(struct dialogue *self, const struct acme_authorization *name,
                            struct why *why)
{
    if (name->status != ACME_PENDING)
        return OK;
    if (!name->has_challenge) {
        self->outcome->was_refused = true;
        return fail(why, ERR_UNSUPPORTED,
                    "the CA does not offer %s for %s: set tls.acme.challenge to another one",
                    self->wish->challenge, name->name);
    }
    self->prover->show(self->prover->context, text_of(name->name), text_of(name->token));
    enum err err = post(self, name->url, T("{}"), why);
    return err == OK ? OK : fail_in(why, err, "%s", name->name);
}

static enum err await_proof(struct dialogue *self, const char *url, struct acme_authorization *name,
                            struct why *why)
{
    while (name->status == ACME_PENDING || name->status == ACME_PROCESSING) {
        if (!wait_a_moment(self))
            return fail(why, ERR_TIMEOUT, "the CA has not looked at %s in time", name->name);
        enum err err = look_at_name(self, url, name, why);
        if (err != OK)
            return err;
    }
    if (name->status == ACME_VALID)
        return OK;
    self->outcome->was_refused = true;
    return fail(why, ERR_DENIED, "the CA could not prove that %s is ours: %s", name->name,
                name->reason[0] != '\0' ? name->reason : "it does not say why");
}

static enum err prove_all(struct dialogue *self, const struct acme_order *order, struct why *why)
{
    size_t count = order->authorization_count;
    struct acme_authorization *names = memory_new_array(count, sizeof(*names));
    enum err err = OK;
    for (size_t i = 0; i < count && err == OK; i++) {
        err = look_at_name(self, order->authorizations[i], &names[i], why);
        if (err == OK)
            err = begin_proof(self, &names[i], why);
    }
    for (size_t i = 0; i < count && err == OK; i++) {
        self->look_ms = LOOK_FIRST_MS;
        err = await_proof(self, order->authorizations[i], &names[i], why);
    }
    for (size_t i = 0; i < count; i++)
        if (names[i].has_challenge)
            self->prover->hide(self->prover->context, text_of(names[i].name));
    memory_free(names);
    return err;
}

/* ---- the certificate ---- */

/* Until the order is in that state. */
static enum err await_order(struct dialogue *self, const char *url, enum acme_status wanted,
                            struct acme_order *order, struct why *why)
{
    self->look_ms = LOOK_FIRST_MS;
    while (order->status != wanted && order->status != ACME_INVALID) {
        if (!wait_a_moment(self))
            return fail(why, ERR_TIMEOUT, "the CA has not gone on with the order in time");
        enum err err = post(self, url, T(""), why);
        if (err != OK)
            return err;
        acme_order_done(order);
        err = acme_order_parse(buffer_text(&self->reply.body), order, why);
        if (err != OK)
            return err;
        if (wanted == ACME_READY && order->status == ACME_VALID)
            return OK;
    }
    if (order->status == wanted)
        return OK;
    self->outcome->was_refused = true;
    return fail(why, ERR_DENIED, "the CA refuses the order: %s",
                order->reason[0] != '\0' ? order->reason : "it does not say why");
}

static enum err finalize(struct dialogue *self, struct evp_pkey_st *key,
                         const struct acme_order *order, struct why *why)
{
    AUTO(buffer_done) struct buffer der = buffer_of(REQUEST_LIMIT);
    AUTO(buffer_done) struct buffer payload = buffer_of(REQUEST_LIMIT);
    enum err err = acme_request_write(key, self->wish->names, self->wish->name_count, &der, why);
    if (err != OK)
        return err;
    buffer_print(&payload, "{\"csr\":\"");
    jose_encode(&payload, buffer_text(&der));
    buffer_print(&payload, "\"}");
    return post(self, order->finalize, buffer_text(&payload), why);
}

static enum err fetch(struct dialogue *self, struct evp_pkey_st *key,
                      const struct acme_order *order, struct buffer *file_out, struct why *why)
{
    const struct acme_wish *wish = self->wish;
    struct acme_facts facts;
    if (order->certificate[0] == '\0')
        return fail(why, ERR_PROTOCOL, "the CA does not say where the certificate is");
    enum err err = post(self, order->certificate, T(""), why);
    if (err == OK)
        err = acme_file_write(key, buffer_text(&self->reply.body), file_out, why);
    if (err == OK)
        err = acme_file_read(buffer_text(file_out), wish->names, wish->name_count, &facts, why);
    if (err != OK)
        return fail_in(why, err, "the certificate of the CA");
    if (!facts.is_complete)
        return fail(why, ERR_PROTOCOL, "the CA sent a certificate for other names");
    if (!acme_is_good(&facts, clock_wall_ms() / 1000))
        return fail(why, ERR_PROTOCOL,
                    "the CA sent a certificate that is not valid now (is the clock right?)");
    return OK;
}

static enum err get_certificate(struct dialogue *self, struct buffer *file_out, struct why *why)
{
    char url[ACME_URL_SIZE];
    struct acme_order order = { 0 };
    struct evp_pkey_st *key = acme_key_new();
    enum err err = key != NULL ? OK : fail(why, ERR_SYSTEM, "cannot make a key");
    if (err == OK)
        err = begin_order(self, &order, url, why);
    if (err == OK)
        err = prove_all(self, &order, why);
    if (err == OK)
        err = await_order(self, url, ACME_READY, &order, why);
    if (err == OK)
        err = finalize(self, key, &order, why);
    if (err == OK) {
        order.status = ACME_PROCESSING;
        err = await_order(self, url, ACME_VALID, &order, why);
    }
    if (err == OK)
        err = fetch(self, key, &order, file_out, why);
    acme_order_done(&order);
    EVP_PKEY_free(key);
    return err;
}

enum err acme_obtain(const struct acme_wish *wish, const struct acme_account *account,
                     const struct acme_prover *prover, int64_t timeout_ms, struct buffer *file_out,
                     struct acme_outcome *outcome_out, struct why *why)
{
    struct dialogue *self = NEW(struct dialogue);
    *outcome_out = (struct acme_outcome){ 0 };
    *self = (struct dialogue){ .wish = wish,
                               .account = account,
                               .prover = prover,
                               .outcome = outcome_out,
                               .until_ms = clock_now_ms() + timeout_ms,
                               .look_ms = LOOK_FIRST_MS,
                               .reply = { .body = buffer_of(ACME_ANSWER_LIMIT) } };
    enum err err = acme_call_new(wish->trusted, &self->call, why);
    if (err == OK)
        err = read_directory(self, why);
    if (err == OK)
        err = find_account(self, why);
    if (err == OK)
        err = get_certificate(self, file_out, why);
    acme_call_free(self->call);
    buffer_done(&self->reply.body);
    memory_free(self);
    return err;
}
