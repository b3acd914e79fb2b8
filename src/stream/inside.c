/* See inside.h. */
#include "stream/inside.h"

#include "core/clock.h"
#include "process/site_key.h"
#include "stream/local_ca.h"

#include <stdio.h>
#include <string.h>

enum { PEM_BYTES = 16384 };

_Static_assert((int)SITE_KEY_BYTES == (int)LOCAL_CA_SECRET_BYTES &&
                   (int)SITE_KEY_BYTES == (int)TLS_SECRET_BYTES,
               "what is derived is what they take");

/* ---- in the parent ---- */

static enum err add(struct generation *generation, const struct buffer *pem, const char *name,
                    struct why *why)
{
    return generation_add_data(generation, buffer_text(pem), name, why);
}

static enum err certificate_add(struct generation *generation, const uint8_t *secret,
                                struct why *why)
{
    const struct site *site = generation->site;
    char address[ADDRESS_TEXT_SIZE];
    address_format_ip(&generation->server->address, address);
    const struct text names[] = { generation->server->name, text_of(address) };
    AUTO(buffer_done) struct buffer authority = buffer_of(PEM_BYTES);
    AUTO(buffer_done) struct buffer chain = buffer_of(PEM_BYTES);
    struct buffer key = buffer_of(PEM_BYTES);
    enum err err = local_ca_write(secret, site->name, &authority, why);
    if (err == OK)
        err = local_ca_issue_member(secret, site->name, names, COUNT(names), clock_wall_ms() / 1000,
                                    &chain, &key, why);
    if (err == OK)
        err = add(generation, &authority, "inside.authority", why);
    if (err == OK)
        err = add(generation, &chain, "inside.chain", why);
    if (err == OK)
        err = add(generation, &key, "inside.key", why);
    if (key.data != NULL)
        explicit_bzero(key.data, key.len);
    buffer_done(&key);
    return err;
}

/* Of this server alone: a ticket proves who made it, so nobody else may be able to. */
static enum err tickets_add(struct generation *generation, const struct site_key *key,
                            struct why *why)
{
    char label[128];
    uint8_t secret[TLS_SECRET_BYTES];
    snprintf(label, sizeof(label), "tls/inside/tickets/%.*s", FMT(generation->server->name));
    site_key_derive(key, label, secret);
    enum err err = generation_add_data(generation, text_from((const char *)secret, sizeof(secret)),
                                       "inside.tickets", why);
    explicit_bzero(secret, sizeof(secret));
    return err;
}

enum err inside_prepare(struct generation *generation, struct why *why)
{
    struct site_key key;
    uint8_t secret[LOCAL_CA_SECRET_BYTES];
    if (!site_secures_inside(generation->site) || generation_fd(generation, "inside.key") >= 0)
        return OK;
    enum err err = site_key_of(generation, &key, why);
    if (err != OK)
        return fail_in(why, err, "tls.inside");
    site_key_derive(&key, LOCAL_CA_INSIDE_LABEL, secret);
    err = tickets_add(generation, &key, why);
    site_key_wipe(&key);
    if (err == OK)
        err = certificate_add(generation, secret, why);
    explicit_bzero(secret, sizeof(secret));
    return err == OK ? OK : fail_in(why, err, "tls.inside");
}

/* ---- in a role ---- */

struct material {
    struct tls_pair pair;
    struct text authority;
    char bytes[3][PEM_BYTES];
};

static enum err material_read(const struct generation *generation, struct material *material,
                              struct why *why)
{
    static const char *const names[] = { "inside.authority", "inside.chain", "inside.key" };
    struct text texts[COUNT(names)];
    for (size_t i = 0; i < COUNT(names); i++) {
        ssize_t got = generation_read_data(generation, names[i], material->bytes[i], PEM_BYTES);
        if (got <= 0)
            return fail(why, ERR_MISSING, "the parent gave no certificate for tls.inside");
        texts[i] = text_from(material->bytes[i], (size_t)got);
    }
    material->authority = texts[0];
    material->pair = (struct tls_pair){ texts[1], texts[2], "tls.inside" };
    return OK;
}

enum err inside_server(const struct generation *generation, const char *protocol,
                       struct tls_context **context_out, struct why *why)
{
    struct material material;
    *context_out = NULL;
    if (!site_secures_inside(generation->site))
        return OK;
    tls_protect_keys();
    enum err err = material_read(generation, &material, why);
    struct tls_settings settings = { .pairs = &material.pair,
                                     .count = 1,
                                     .protocols = protocol,
                                     .authorities = material.authority };
    if (err == OK && generation_read_data(generation, "inside.tickets", settings.secret,
                                          sizeof(settings.secret)) != sizeof(settings.secret))
        err = fail(why, ERR_MISSING, "the parent gave no secret for tls.inside");
    if (err == OK)
        err = tls_context_new(&settings, context_out, why);
    explicit_bzero(&settings.secret, sizeof(settings.secret));
    explicit_bzero(&material, sizeof(material));
    return err;
}

enum err inside_client(const struct generation *generation, const char *protocol,
                       struct tls_context **context_out, struct why *why)
{
    struct material material;
    *context_out = NULL;
    if (!site_secures_inside(generation->site))
        return OK;
    tls_protect_keys();
    enum err err = material_read(generation, &material, why);
    struct tls_client_settings settings = { .authorities = material.authority,
                                            .pair = material.pair,
                                            .protocol = protocol };
    if (err == OK)
        err = tls_client_context_new(&settings, context_out, why);
    explicit_bzero(&material, sizeof(material));
    return err;
}

bool inside_files(const struct generation *generation, struct inside_files *files_out)
{
    static const char *const names[] = { "inside.authority", "inside.chain", "inside.key" };
    char *const paths[] = { files_out->authority, files_out->chain, files_out->key };
    for (size_t i = 0; i < COUNT(names); i++) {
        files_out->fds[i] = generation_fd(generation, "%s", names[i]);
        if (files_out->fds[i] < 0)
            return false;
        snprintf(paths[i], sizeof(files_out->key), "/proc/self/fd/%d", files_out->fds[i]);
    }
    tls_protect_keys(); /* a program that it becomes has to see to that itself */
    return true;
}
