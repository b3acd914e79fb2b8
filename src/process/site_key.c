/*
 * The site's secret: its file, and what is derived from it. The file is text so that a person can
 * carry it to another server through a terminal.
 */
#include "process/site_key.h"

#include "core/memory.h"
#include "core/openssl.h"
#include "core/sys.h"
#include "process/state_folder.h"

#include <stdio.h>
#include <stdlib.h>

enum { FILE_LIMIT = 4096, LABEL_LIMIT = 256 };

/* Derived secrets of another version of Trilith's protocols would get another prefix. */
static const char derive_prefix[] = "trilith/1/";

void site_key_make(struct site_key *key_out)
{
    sys_random(key_out->bytes, sizeof(key_out->bytes));
}

void site_key_wipe(struct site_key *key)
{
    explicit_bzero(key, sizeof(*key));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum err site_key_parse(struct text file, struct site_key *key_out)
{
    struct site_key key;
    while (file.len > 0 && is_blank(file.data[file.len - 1]))
        file.len--;
    if (file.len != (size_t)SITE_KEY_BYTES * 2)
        return ERR_SYNTAX;
    for (size_t i = 0; i < sizeof(key.bytes); i++) {
        uint64_t byte;
        if (!text_hex_to_uint(text_part(file, i * 2, 2), 255, &byte)) {
            site_key_wipe(&key);
            return ERR_SYNTAX;
        }
        key.bytes[i] = (uint8_t)byte;
    }
    *key_out = key;
    site_key_wipe(&key);
    return OK;
}

enum err site_key_path(const char *state, struct text site_name, char *out, size_t size,
                       struct why *why)
{
    if (state_folder_path(state, site_name, "secrets/site-key", out, size) == OK)
        return OK;
    return fail(why, ERR_LIMIT, "the state folder's name is too long");
}

enum err site_key_read(const char *path, struct site_key *key_out, struct why *why)
{
    struct text file;
    enum err err = sys_read_file(path, FILE_LIMIT, &file, why);
    if (err != OK)
        return err;
    err = site_key_parse(file, key_out);
    explicit_bzero((void *)file.data, file.len);
    memory_free((void *)file.data);
    if (err == OK)
        return OK;
    return fail(why, err,
                "'%s' is no key of a site (64 hex digits): take it from another server of the site "
                "again, or remove it",
                path);
}

static enum err make_folder(const char *path, struct why *why)
{
    char folder[STATE_PATH_SIZE];
    const char *slash = strrchr(path, '/');
    if (slash == NULL ||
        !text_copy_to(text_from(path, (size_t)(slash - path)), folder, sizeof(folder)))
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    return sys_make_folder(folder, 0700, (uid_t)-1, (gid_t)-1, why);
}

enum err site_key_write(const char *path, const struct site_key *key, struct why *why)
{
    char line[SITE_KEY_BYTES * 2 + 2];
    enum err err = make_folder(path, why);
    if (err != OK)
        return err;
    for (size_t i = 0; i < sizeof(key->bytes); i++)
        snprintf(line + i * 2, 3, "%02x", key->bytes[i]);
    line[sizeof(line) - 2] = '\n';
    line[sizeof(line) - 1] = '\0';
    err = sys_replace_file(path, text_of(line), 0600, (uid_t)-1, (gid_t)-1, why);
    explicit_bzero(line, sizeof(line));
    return err;
}

enum err site_key_of(const struct generation *generation, struct site_key *key_out, struct why *why)
{
    char path[STATE_PATH_SIZE];
    const struct site *site = generation->site;
    int len = snprintf(path, sizeof(path), "%.*s/secrets/site-key", FMT(generation->state));
    if (len < 0 || (size_t)len >= sizeof(path))
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    enum err err = site_key_read(path, key_out, why);
    if (err != ERR_NOT_FOUND)
        return err;
    if (site->server_count > 1)
        return fail(why, ERR_MISSING,
                    "this server has no key of the site: run `trilith init %.*s` on one server and "
                    "do what it says for the others",
                    FMT(site->file));
    site_key_make(key_out);
    return site_key_write(path, key_out, why);
}

void site_key_derive(const struct site_key *key, const char *label, uint8_t out[SITE_KEY_BYTES])
{
    char message[LABEL_LIMIT];
    unsigned int made = 0;
    int len = snprintf(message, sizeof(message), "%s%s", derive_prefix, label);
    /* a cut label would be another one's secret, and a secret not made would be a known one */
    if (len < 0 || (size_t)len >= sizeof(message) ||
        HMAC(EVP_sha256(), key->bytes, sizeof(key->bytes), (const uint8_t *)message, (size_t)len,
             out, &made) == NULL ||
        made != SITE_KEY_BYTES)
        abort();
}

void site_key_password(const struct site_key *key, const char *label, char out[SITE_PASSWORD_SIZE])
{
    uint8_t secret[SITE_KEY_BYTES];
    site_key_derive(key, label, secret);
    for (size_t i = 0; i < (SITE_PASSWORD_SIZE - 1) / 2; i++)
        snprintf(out + i * 2, 3, "%02x", secret[i]);
    explicit_bzero(secret, sizeof(secret));
}

enum err site_key_add(struct generation *generation, const char *label, const char *name,
                      struct why *why)
{
    struct site_key key;
    uint8_t secret[SITE_KEY_BYTES];
    enum err err = site_key_of(generation, &key, why);
    if (err != OK)
        return err;
    site_key_derive(&key, label, secret);
    site_key_wipe(&key);
    err =
        generation_add_data(generation, text_from((const char *)secret, sizeof(secret)), name, why);
    explicit_bzero(secret, sizeof(secret));
    return err;
}
