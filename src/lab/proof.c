/*
 * The proof that a lab works: one request as a browser would make it. A child goes to where the
 * client lives, looks the site's name up there and asks for its page; the way the request took is
 * read from the servers' access logs, where its id is in every line.
 *
 *   child: enter the client ──► look up (the client's own resolv.conf) ──► GET / ──► result
 *   here:  result ──► the access log of each server ──► hops
 */
#include "lab/proof.h"
#include "lab/ask.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/openssl.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ANSWER_S = 10,
    LOG_MS = 2000, /* log lines come in batches */
    LOG_POLL_MS = 20,
    LOG_LIMIT = 64 << 20,
    ID_BYTES = 16,
    HEAD_LIMIT = 16384,
    DNS_PORT = 53, /* the only one that resolv.conf can name */
};

struct result {
    int status;             /* of HTTP; 0: none, `reason` says why */
    struct address address; /* of the site, as the client was told */
    int64_t lookup_us, total_us;
    char reason[160];
};

struct question {
    const struct lab_plan *plan;
    char id[2 * ID_BYTES + 1];
    char name[256];
    SSL_CTX *tls; /* NULL: by http:// */
};

/* ---- in the client's place ---- */

static bool look_up(const struct question *question, struct result *result)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int64_t from_us = clock_now_us();
    result->address = question->plan->entry;
    if (address_port(&question->plan->resolver) != DNS_PORT)
        return true;
    int error = getaddrinfo(question->name, NULL, &hints, &found);
    result->lookup_us = clock_now_us() - from_us;
    if (error != 0 || found->ai_addrlen > sizeof(result->address.u)) {
        snprintf(result->reason, sizeof(result->reason), "DNS does not know %.100s: %s",
                 question->name, gai_strerror(error));
        return false;
    }
    memcpy(&result->address.u, found->ai_addr, found->ai_addrlen);
    result->address.len = found->ai_addrlen;
    address_set_port(&result->address, address_port(&question->plan->entry));
    freeaddrinfo(found);
    return true;
}

static int status_of(struct text head)
{
    uint64_t status = 0;
    bool is_http = text_starts_with(head, T("HTTP/1.")) &&
                   text_to_uint(text_part(head, sizeof("HTTP/1.1"), 3), 999, &status);
    return is_http ? (int)status : 0;
}

/* The connection with TLS, or NULL and the reason. */
static SSL *shake_hands(const struct question *question, int fd, struct result *result)
{
    SSL *ssl = SSL_new(question->tls);
    if (ssl != NULL && SSL_set_tlsext_host_name(ssl, question->name) == 1 &&
        SSL_set1_host(ssl, question->name) == 1 && SSL_set_fd(ssl, fd) == 1 &&
        SSL_connect(ssl) == 1)
        return ssl;
    long trust = ssl != NULL ? SSL_get_verify_result(ssl) : X509_V_OK;
    const char *reason = trust != X509_V_OK ? X509_verify_cert_error_string(trust)
                                            : ERR_reason_error_string(ERR_peek_last_error());
    snprintf(result->reason, sizeof(result->reason), "TLS: %.150s",
             reason != NULL ? reason : "the connection ended");
    SSL_free(ssl);
    return NULL;
}

static bool say(SSL *ssl, int fd, struct text text)
{
    size_t sent;
    if (ssl == NULL)
        return sys_write_all(fd, text) == OK;
    return SSL_write_ex(ssl, text.data, text.len, &sent) == 1;
}

static ssize_t hear(SSL *ssl, int fd, char *data, size_t size)
{
    return ssl != NULL ? SSL_read(ssl, data, (int)size) : sys_read(fd, data, size);
}

static void ask_page(const struct question *question, struct result *result)
{
    struct timeval limit = { .tv_sec = ANSWER_S };
    char text[HEAD_LIMIT];
    size_t len = 0;
    ssize_t got = 0;
    SSL *ssl = NULL;
    AUTO(fd_close)
    int fd = socket(address_family(&result->address), SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(text, sizeof(text),
             "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: trilith-lab\r\n"
             "traceparent: 00-%s-%.16s-01\r\nConnection: close\r\n\r\n",
             question->name, question->id, question->id);
    bool is_sent = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
                   setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
                   connect(fd, &result->address.u.any, result->address.len) == 0;
    if (is_sent && question->tls != NULL) {
        ssl = shake_hands(question, fd, result);
        if (ssl == NULL)
            return;
    }
    is_sent = is_sent && say(ssl, fd, text_of(text));
    /* to the end, so that every server has sent all of it and writes its line */
    while (is_sent && (got = hear(ssl, fd, text + len, sizeof(text) - len)) > 0)
        len = len == 0 ? (size_t)got : len;
    if (len > 0)
        result->status = status_of(text_from(text, len));
    if (!is_sent || (got < 0 && len == 0))
        snprintf(result->reason, sizeof(result->reason), "%s", strerror(errno));
    else if (result->status == 0)
        snprintf(result->reason, sizeof(result->reason), "the answer is not HTTP");
    SSL_free(ssl);
}

/* Trusts the site's own CA; certificates of others, which may be for elsewhere, are not checked. */
static SSL_CTX *make_tls(const struct lab_plan *plan, const char *folder)
{
    char path[PATH_MAX];
    SSL_CTX *tls = plan->is_entry_tls ? SSL_CTX_new(TLS_client_method()) : NULL;
    snprintf(path, sizeof(path), "%s/client/ca.pem", folder);
    if (tls != NULL && plan->site->tls.is_local) {
        SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
        (void)SSL_CTX_load_verify_locations(tls, path, NULL); /* then no certificate is good */
    }
    return tls;
}

_Noreturn static void ask_from_inside(int machine, const struct question *question, int output)
{
    struct result result = { .status = 0 };
    int64_t from_us = clock_now_us();
    if (lab_enter(machine) != 0)
        snprintf(result.reason, sizeof(result.reason), "cannot enter the client: %s",
                 strerror(errno));
    else if (look_up(question, &result))
        ask_page(question, &result);
    result.total_us = clock_now_us() - from_us;
    (void)!sys_write(output, &result, sizeof(result));
    _exit(0);
}

static bool ask_site(const struct question *question, const char *run, struct result *result)
{
    struct why why;
    char *answer = NULL;
    int ends[2];
    AUTO(fd_close) int machine = -1;
    if (lab_ask(run, "enter client", &answer, &machine, &why) != OK || machine < 0 ||
        pipe2(ends, O_CLOEXEC) != 0) {
        memory_free(answer);
        return false;
    }
    memory_free(answer);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        ask_from_inside(machine, question, ends[1]);
    fd_close(&ends[1]);
    bool is_there = pid > 0 && sys_read(ends[0], result, sizeof(*result)) == sizeof(*result);
    fd_close(&ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return is_there;
}

/* ---- the servers' logs ---- */

/* What stands behind `name` up to `end` in the line, or an empty text. */
static struct text member(struct text line, const char *name, char end)
{
    ssize_t at = text_find_text(line, text_of(name));
    struct text rest = text_skip(line, at < 0 ? line.len : (size_t)at + strlen(name));
    return at < 0 ? T("") : text_next(&rest, end);
}

static json_t *hop_of(const struct lab_node *node, struct text line)
{
    uint64_t us = 0;
    struct text by = member(line, " by=\"", '"');
    struct text total = member(line, " total_us=", ' ');
    if (line.data[0] == '{') {
        by = member(line, "\"by\":\"", '"');
        total = member(line, "\"total_us\":", ',');
    }
    (void)text_to_uint(total, INT64_MAX, &us);
    return json_pack("{s:s, s:s#, s:I}", "server", node->name, "by", by.data, (int)by.len, "us",
                     (json_int_t)us);
}

/* The server's line about the request, as an object; NULL: none (yet). */
static json_t *find_hop(const struct lab_node *node, const char *folder, const char *site,
                        const char *id)
{
    char path[PATH_MAX + 512];
    struct text log;
    json_t *hop = NULL;
    snprintf(path, sizeof(path), "%s/%s/state/%s/log/access.log", folder, node->name, site);
    if (sys_read_file(path, LOG_LIMIT, &log, NULL) != OK)
        return NULL;
    for (struct text rest = log; rest.data != NULL && hop == NULL;) {
        struct text line = text_next(&rest, '\n');
        /* only whole lines */
        if (rest.data != NULL && line.len > 0 && text_find_text(line, text_of(id)) >= 0)
            hop = hop_of(node, line);
    }
    memory_free((void *)log.data);
    return hop;
}

/* The hops, outermost first: each one takes longer than what it waits for. */
static void add_hop(json_t *hops, json_t *hop)
{
    size_t at = 0;
    json_int_t us = json_integer_value(json_object_get(hop, "us"));
    while (at < json_array_size(hops) &&
           json_integer_value(json_object_get(json_array_get(hops, at), "us")) > us)
        at++;
    json_array_insert_new(hops, at, hop);
}

static json_t *find_hops(const struct question *question, const char *folder)
{
    const struct lab_plan *plan = question->plan;
    size_t wanted = plan->site->balancer.is_present ? 2 : 1;
    int64_t until_ms = clock_now_ms() + LOG_MS;
    bool has_log = plan->site->web.access_log != ACCESS_LOG_OFF;
    json_t *hops = json_array();
    while (has_log && json_array_size(hops) < wanted && clock_now_ms() < until_ms) {
        json_array_clear(hops);
        for (size_t i = 0; i < plan->node_count; i++) {
            json_t *hop = find_hop(&plan->nodes[i], folder, question->name, question->id);
            if (hop != NULL)
                add_hop(hops, hop);
        }
        clock_sleep_ms(LOG_POLL_MS);
    }
    return hops;
}

/* ---- together ---- */

static const char *resolver_name(const struct lab_plan *plan)
{
    for (size_t i = 0; i < plan->node_count; i++) {
        struct address at = plan->nodes[i].address;
        address_set_port(&at, address_port(&plan->resolver));
        if (plan->resolver.len > 0 && address_equal(&at, &plan->resolver))
            return plan->nodes[i].name;
    }
    return NULL;
}

json_t *lab_prove(const struct lab_plan *plan, const char *run, const char *folder)
{
    struct question question = { .plan = plan };
    struct result result = { .status = 0 };
    uint8_t random[ID_BYTES];
    char address[ADDRESS_TEXT_SIZE];
    const char *resolver = resolver_name(plan);
    if (plan->entry.len == 0 ||
        !text_copy_to(plan->site->name, question.name, sizeof(question.name)))
        return NULL;
    sys_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(question.id + 2 * i, 3, "%02x", random[i]);
    question.tls = make_tls(plan, folder);
    bool is_asked = ask_site(&question, run, &result);
    SSL_CTX_free(question.tls);
    if (!is_asked)
        return NULL;
    address_format_ip(&result.address, address);
    json_t *proof = json_pack("{s:s, s:s, s:s, s:i, s:I}", "url", question.name, "scheme",
                              plan->is_entry_tls ? "https" : "http", "id", question.id, "status",
                              result.status, "us", (json_int_t)result.total_us);
    if (resolver != NULL && result.lookup_us > 0)
        json_object_set_new(proof, "resolver", json_string(resolver));
    if (result.address.len > 0)
        json_object_set_new(proof, "address", json_string(address));
    if (result.status == 0)
        json_object_set_new(proof, "error", json_string(result.reason));
    json_object_set_new(proof, "path", find_hops(&question, folder));
    return proof;
}

void lab_print_proof(const json_t *proof)
{
    const char *resolver = json_string_value(json_object_get(proof, "resolver"));
    const char *address = json_string_value(json_object_get(proof, "address"));
    const char *error = json_string_value(json_object_get(proof, "error"));
    json_t *hop;
    size_t index;
    printf("asked:  %s://%s/", json_string_value(json_object_get(proof, "scheme")),
           json_string_value(json_object_get(proof, "url")));
    if (resolver != NULL && address != NULL)
        printf(" -> DNS on %s: %s", resolver, address);
    json_array_foreach(json_object_get(proof, "path"), index, hop)
    {
        printf(" -> %s (%s, %.1f ms)", json_string_value(json_object_get(hop, "server")),
               json_string_value(json_object_get(hop, "by")),
               (double)json_integer_value(json_object_get(hop, "us")) / 1000);
    }
    if (error != NULL)
        printf(": %s\n", error);
    else
        printf(": status %d after %.1f ms\n",
               (int)json_integer_value(json_object_get(proof, "status")),
               (double)json_integer_value(json_object_get(proof, "us")) / 1000);
}
