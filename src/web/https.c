/*
 * HTTPS; see https.h and docs/decisions/070: the parent opens key files but reads none, the edge
 * keeps keys where no core dump shows them.
 */
#include "web/https.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "metrics/challenges.h"
#include "process/site_key.h"
#include "stream/local_ca.h"
#include "stream/tls.h"
#include "web/reply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define WEB_ACME_FILE "acme/site.pem" /* below the state folder, as src/acme writes it */

enum {
    PEM_BYTES = 16384, /* of what is made here */
    NAMES_LIMIT = 100,
    LOCATION_LIMIT = 65536,
    HSTS_BYTES = 64,
    HTTPS_PORT = 443,
};

/* ---- in the parent ---- */

static enum err file_open(struct generation *generation, struct text file, bool is_key,
                          size_t number, struct why *why)
{
    char path[4096];
    struct stat info;
    if (!text_copy_to(file, path, sizeof(path)))
        return fail(why, ERR_LIMIT, "tls.certificate: '%.*s': the name is too long", FMT(file));
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "cannot open '%s' of tls.certificate: %s", path,
                    strerror(errno));
    if (is_key && fstat(fd, &info) == 0 && (info.st_mode & S_IRWXO) != 0)
        log_warn("web", "everybody on this machine may use the file of a private key: chmod 600",
                 STRING("file", path));
    const char *name = is_key ? "key" : "chain";
    generation_add_fd(generation, fd, "tls.%s.%zu", name, number);
    generation_watch(generation, path, (uid_t)-1, "tls.%s.%zu", name, number);
    return OK;
}

/* Of the tickets that all servers of the site take; the site's key may be missing where nothing
 * else needs it, then each server is for itself. */
static enum err site_secret(const struct generation *generation, uint8_t out[TLS_SECRET_BYTES],
                            struct why *why)
{
    struct site_key key;
    enum err err = site_key_of(generation, &key, why);
    if (err == ERR_MISSING) {
        log_info("web", "without the site's key TLS sessions are not resumed on other servers",
                 STRING("reason", why->text));
        sys_random(out, TLS_SECRET_BYTES);
        return OK;
    }
    if (err == OK)
        site_key_derive(&key, WEB_TICKETS_LABEL, out);
    site_key_wipe(&key);
    return err;
}

static enum err secret_add(struct generation *generation, struct why *why)
{
    uint8_t secrets[2 * TLS_SECRET_BYTES];
    int before =
        generation->previous != NULL ? generation_fd(generation->previous, "tls.secret") : -1;
    int fd = before >= 0 ? fcntl(before, F_DUPFD_CLOEXEC, 3) : -1;
    if (fd >= 0) {
        generation_add_fd(generation, fd, "tls.secret");
        return OK;
    }
    enum err err = site_secret(generation, secrets, why);
    sys_random(secrets + TLS_SECRET_BYTES, TLS_SECRET_BYTES);
    if (err == OK)
        err = generation_add_data(generation, text_from((const char *)secrets, sizeof(secrets)),
                                  "tls.secret", why);
    explicit_bzero(secrets, sizeof(secrets));
    return err;
}

struct names {
    struct text items[NAMES_LIMIT];
    char addresses[NAMES_LIMIT][ADDRESS_TEXT_SIZE];
    size_t count;
};

static void name_add(struct names *names, struct text name)
{
    for (size_t i = 0; i < names->count; i++)
        if (text_equal_fold(names->items[i], name))
            return;
    if (names->count < NAMES_LIMIT && name.len > 0)
        names->items[names->count++] = name;
}

static void address_add(struct names *names, const struct address *address)
{
    if (names->count == NAMES_LIMIT || address->len == 0)
        return;
    char *text = names->addresses[names->count];
    address_format_ip(address, text);
    name_add(names, text_of(text));
}

/* All by which a client may reach this server. */
static void names_find(const struct generation *generation, struct names *names)
{
    const struct site *site = generation->site;
    struct address listen;
    name_add(names, site->name);
    for (size_t i = 0; i < site->route_count; i++)
        name_add(names, site->routes[i].host);
    address_add(names, &generation->server->address);
    if (address_parse_ip(site->listen.address, 0, &listen) == OK)
        address_add(names, &listen);
    if (address_is_loopback(&generation->server->address))
        name_add(names, T("localhost"));
}

static enum err ca_publish(const struct generation *generation, const uint8_t *secret,
                           struct why *why)
{
    char path[4096];
    int len = snprintf(path, sizeof(path), "%.*s/ca.pem", FMT(generation->state));
    if (len < 0 || (size_t)len >= sizeof(path))
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    return local_ca_publish(secret, generation->site->name, path, why);
}

static enum err pair_add(struct generation *generation, const uint8_t *secret,
                         const struct names *names, struct why *why)
{
    AUTO(buffer_done) struct buffer chain = buffer_of(PEM_BYTES);
    struct buffer key = buffer_of(PEM_BYTES);
    enum err err = local_ca_issue(secret, generation->site->name, names->items, names->count,
                                  clock_wall_ms() / 1000, &chain, &key, why);
    if (err == OK)
        err = generation_add_data(generation, buffer_text(&chain), "tls.chain.0", why);
    if (err == OK)
        err = generation_add_data(generation, buffer_text(&key), "tls.key.0", why);
    buffer_wipe(&key);
    return err;
}

static enum err local_add(struct generation *generation, struct why *why)
{
    struct site_key key;
    uint8_t secret[SITE_KEY_BYTES];
    struct names *names = NEW(struct names);
    enum err err = site_key_of(generation, &key, why);
    if (err == OK) {
        site_key_derive(&key, LOCAL_CA_LABEL, secret);
        site_key_wipe(&key);
        names_find(generation, names);
        err = ca_publish(generation, secret, why);
        if (err == OK)
            err = pair_add(generation, secret, names, why);
        explicit_bzero(secret, sizeof(secret));
    }
    memory_free(names);
    return err;
}

/* A plain file of the process `acme`; -1: there is none (yet). */
static int acme_open(const struct generation *generation, const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
                    info.st_uid != generation_uid(generation, "acme")))
        fd_close(&fd);
    return fd;
}

/* What the process `acme` got and keeps in one file, key and chain. Until there is any, and so that
 * the site can be asked for the first one, the site's own CA stands in. */
static enum err acme_add(struct generation *generation, struct why *why)
{
    static const char *const names[] = { "tls.chain.0", "tls.key.0" };
    char path[4096];
    enum err err = OK;
    int len = snprintf(path, sizeof(path), "%.*s/" WEB_ACME_FILE, FMT(generation->state));
    if (len < 0 || (size_t)len >= sizeof(path))
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    int fds[] = { acme_open(generation, path), acme_open(generation, path) };
    if (fds[0] < 0 || fds[1] < 0)
        err = local_add(generation, why);
    for (size_t i = 0; i < COUNT(names); i++) {
        if (fds[0] >= 0 && fds[1] >= 0)
            generation_add_fd(generation, fds[i], "%s", names[i]);
        generation_watch(generation, path, generation_uid(generation, "acme"), "%s", names[i]);
    }
    return err;
}

enum err web_https_prepare(struct generation *generation, struct why *why)
{
    const struct site_tls *tls = &generation->site->tls;
    enum err err = secret_add(generation, why);
    if (err == OK && tls->is_local)
        err = local_add(generation, why);
    if (err == OK && tls->is_acme)
        err = acme_add(generation, why);
    for (size_t i = 0; i < tls->certificate_count && err == OK; i++) {
        err = file_open(generation, tls->certificates[i].chain, false, i, why);
        if (err == OK)
            err = file_open(generation, tls->certificates[i].key, true, i, why);
    }
    return err;
}

/* ---- in an edge ---- */

/* All edges share the descriptor, so nobody moves its offset. */
static enum err read_all(int fd, const char *name, struct buffer *out, struct why *why)
{
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return fail(why, ERR_MISSING, "tls.certificate: '%s' is not a file", name);
    if (info.st_size > TLS_PEM_LIMIT)
        return fail(why, ERR_LIMIT, "tls.certificate: '%s' is too large", name);
    char *place = buffer_reserve(out, (size_t)info.st_size);
    while (place != NULL && out->len < (size_t)info.st_size) {
        ssize_t got =
            sys_pread(fd, place + out->len, (size_t)info.st_size - out->len, (int64_t)out->len);
        if (got <= 0)
            break;
        out->len += (size_t)got;
    }
    return OK;
}

void web_https_name(const struct generation *generation, size_t number, char out[512])
{
    const struct site_tls *tls = &generation->site->tls;
    if (tls->is_local || tls->is_acme)
        snprintf(out, 512, "tls.certificate: %s", tls->is_local ? "local" : "acme");
    else
        snprintf(out, 512, "tls.certificate: %.*s and %.*s", FMT(tls->certificates[number].chain),
                 FMT(tls->certificates[number].key));
}

struct pair_files {
    struct buffer chain, key;
    char name[512];
};

static enum err secrets_read(const struct generation *generation, struct tls_settings *settings,
                             struct why *why)
{
    uint8_t secrets[2 * TLS_SECRET_BYTES];
    if (generation_read_data(generation, "tls.secret", secrets, sizeof(secrets)) != sizeof(secrets))
        return fail(why, ERR_MISSING, "the secrets of TLS tickets are missing");
    memcpy(settings->secret, secrets, TLS_SECRET_BYTES);
    memcpy(settings->own_secret, secrets + TLS_SECRET_BYTES, TLS_SECRET_BYTES);
    explicit_bzero(secrets, sizeof(secrets));
    return OK;
}

static struct challenges *challenges_of(const struct generation *generation)
{
    return challenges_map(generation_fd(generation, "acme.challenges"), false);
}

static enum err context_make(const struct web_generation *self, struct pair_files *files,
                             size_t count, struct tls_context **context_out, struct why *why)
{
    const struct generation *generation = self->source;
    struct tls_pair pairs[TLS_PAIRS_LIMIT];
    struct tls_settings settings = {
        .pairs = pairs, .count = count, .protocols = "h2,http/1.1", .metrics = self->metrics
    };
    enum err err = OK;
    for (size_t i = 0; i < count && err == OK; i++) {
        web_https_name(generation, i, files[i].name);
        err = read_all(generation_fd(generation, "tls.chain.%zu", i), files[i].name,
                       &files[i].chain, why);
        if (err == OK)
            err = read_all(generation_fd(generation, "tls.key.%zu", i), files[i].name,
                           &files[i].key, why);
        pairs[i] = (struct tls_pair){ buffer_text(&files[i].chain), buffer_text(&files[i].key),
                                      files[i].name };
    }
    if (err == OK)
        err = secrets_read(generation, &settings, why);
    if (err == OK) {
        settings.challenges = challenges_of(generation);
        err = tls_context_new(&settings, context_out, why);
    }
    explicit_bzero(settings.secret, sizeof(settings.secret));
    explicit_bzero(settings.own_secret, sizeof(settings.own_secret));
    return err;
}

static enum err read_pairs(const struct web_generation *self, struct tls_context **context_out,
                           struct why *why)
{
    const struct site_tls *tls = &self->source->site->tls;
    size_t count = tls->is_local || tls->is_acme ? 1 : tls->certificate_count;
    if (count > TLS_PAIRS_LIMIT)
        return fail(why, ERR_LIMIT, "at most %d certificates", TLS_PAIRS_LIMIT);
    struct pair_files *files = memory_new_array(count, sizeof(*files));
    tls_protect_keys();
    for (size_t i = 0; i < count; i++)
        files[i].chain = files[i].key = buffer_of(TLS_PEM_LIMIT);
    enum err err = context_make(self, files, count, context_out, why);
    for (size_t i = 0; i < count; i++) {
        buffer_wipe(&files[i].key);
        buffer_done(&files[i].chain);
    }
    memory_free(files);
    return err;
}

enum err web_https_start(struct web_generation *self, struct why *why)
{
    self->challenges = challenges_of(self->source);
    return read_pairs(self, &self->tls, why);
}

void web_https_end(struct web_generation *self)
{
    tls_context_unref(self->tls);
    challenges_unmap(self->challenges);
}

enum err web_https_renew(struct web_generation *self, struct why *why)
{
    struct tls_context *fresh;
    if (self->tls == NULL)
        return fail(why, ERR_STATE, "clients do not come in encrypted here");
    enum err err = read_pairs(self, &fresh, why);
    if (err != OK)
        return err;
    tls_context_unref(self->tls);
    self->tls = fresh;
    return OK;
}

/* ---- requests ---- */

void web_https_target(struct buffer *out, const struct site *site,
                      const struct http_request *request)
{
    struct text host = request->host.len > 0 ? request->host : site->name;
    bool is_bare_ip6 = text_find(host, ':') >= 0 && !text_starts_with(host, T("["));
    AUTO(buffer_done) struct buffer start = buffer_of(LOCATION_LIMIT);
    buffer_print(&start, is_bare_ip6 ? "https://[%.*s]" : "https://%.*s", FMT(host));
    if (site->listen.https != HTTPS_PORT)
        buffer_print(&start, ":%d", (int)site->listen.https);
    buffer_append(&start, T("/"));
    struct site_route route = { .path = T("/"), .redirect = buffer_text(&start) };
    if (start.failed)
        out->failed = true;
    else
        web_redirect_target(out, &route, request->path, request->query, request->has_query);
}

static void redirect(const struct site *site, struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    AUTO(buffer_done) struct buffer location = buffer_of(LOCATION_LIMIT);
    bool is_get = request->method == HTTP_GET || request->method == HTTP_HEAD;
    http_exchange_note(exchange, T("https"), 0, 0);
    web_https_target(&location, site, request);
    web_reply_location(exchange, is_get ? 301 : 308, &location); /* 308 keeps method and body */
}

struct hsts_filter {
    struct http_filter filter;
    int64_t seconds;
};

static void hsts_head(struct http_filter *filter, struct http_exchange *exchange)
{
    static const struct text name = T("Strict-Transport-Security");
    struct http_headers *headers = http_response_headers(exchange);
    char value[HSTS_BYTES];
    size_t kept = 0;
    for (size_t i = 0; i < headers->count; i++) /* RFC 6797 7.1: one only; the site file decides */
        if (!text_equal_fold(headers->items[i].name, name))
            headers->items[kept++] = headers->items[i];
    headers->count = kept;
    snprintf(value, sizeof(value), "max-age=%lld",
             (long long)((struct hsts_filter *)filter)->seconds);
    http_response_header_name(exchange, name, text_of(value));
}

/* On every answer, so that heads which are kept have it too: with HSTS what is not encrypted is
 * redirected and sees none of them. */
static void hsts_attach(int64_t seconds, struct http_exchange *exchange)
{
    struct hsts_filter *self = ARENA_NEW(http_exchange_arena(exchange), struct hsts_filter);
    if (self == NULL)
        return;
    self->filter.head = hsts_head;
    self->filter.is_fixed = true;
    self->seconds = seconds;
    http_filter_add(exchange, &self->filter);
}

bool web_https_first(const struct web_generation *self, struct http_exchange *exchange)
{
    const struct site *site = self->source->site;
    const struct http_request *request = http_exchange_request(exchange);
    bool is_outside = address_port(&request->server) != self->inside;
    if (is_outside && web_challenge_answer(self, exchange))
        return true;
    if (site->tls.redirect && is_outside && text_equal(request->scheme, T("http"))) {
        redirect(site, exchange);
        return true;
    }
    if (site->tls.hsts_s > 0)
        hsts_attach(site->tls.hsts_s, exchange);
    return false;
}
