/*
 * `trilith init`: gives this server the key of a site: a new one, or the one of another server.
 */
#include "cli/target.h"
#include "cli/terminal.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/site_key.h"
#include "stream/local_ca.h"

#include <stdio.h>
#include <unistd.h>

enum { OUTPUT_LIMIT = 65536 };

/* The key of --key: a file, or "-": standard input. */
static enum err read_given(const char *path, struct site_key *key, struct why *why)
{
    char line[256];
    size_t len = 0;
    ssize_t got;
    if (strcmp(path, "-") != 0)
        return site_key_read(path, key, why);
    while (len < sizeof(line) && (got = sys_read(STDIN_FILENO, line + len, sizeof(line) - len)) > 0)
        len += (size_t)got;
    enum err err = site_key_parse(text_from(line, len), key);
    explicit_bzero(line, sizeof(line));
    return err == OK ? OK : fail(why, err, "standard input holds no key of a site (64 hex digits)");
}

/* OK with *is_new: written; without: it was there already. */
static enum err place_key(const char *path, const char *given, bool *is_new, struct why *why)
{
    struct site_key own, key;
    enum err err = site_key_read(path, &own, why);
    bool has_own = err == OK;
    *is_new = !has_own;
    if (err != OK && err != ERR_NOT_FOUND)
        return err;
    err = OK;
    if (given != NULL)
        err = read_given(given, &key, why);
    else if (!has_own)
        site_key_make(&key);
    if (err == OK && has_own && given != NULL && memcmp(&own, &key, sizeof(key)) != 0)
        err = fail(why, ERR_EXISTS,
                   "this server has another key already: %s; remove that file first if the new one "
                   "is right",
                   path);
    if (err == OK && !has_own)
        err = site_key_write(path, &key, why);
    site_key_wipe(&own);
    site_key_wipe(&key);
    return err;
}

static bool tell(const struct site *site, const char *path, bool is_new, bool is_given)
{
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    buffer_print(&out, "%.*s: the key is %s: %s\n", FMT(site->name),
                 is_new ? "made" : "there already", path);
    if (is_given) {
        buffer_clear(&out);
        buffer_print(&out, "%.*s: this server has the site's key\n", FMT(site->name));
    } else if (site->server_count > 1) {
        buffer_print(&out, "every other server of the site needs the same one; on this server, "
                           "for each of them:\n");
        buffer_print(&out, "  ssh root@SERVER trilith init SITE --key - < %s\n", path);
    }
    return print_text(buffer_text(&out));
}

/* Of `tls: { certificate: local }`: the certificate that clients are to trust. */
static enum err publish_ca(const struct site *site, const char *state, bool is_quiet,
                           struct why *why)
{
    struct site_key key;
    uint8_t secret[SITE_KEY_BYTES];
    char path[TARGET_STATE_SIZE + 300];
    if (!site->tls.is_local)
        return OK;
    if (site_key_path(state, site->name, path, sizeof(path), why) != OK ||
        site_key_read(path, &key, why) != OK)
        return ERR_SYSTEM;
    site_key_derive(&key, LOCAL_CA_LABEL, secret);
    site_key_wipe(&key);
    snprintf(path, sizeof(path), "%s/%.*s/ca.pem", state, FMT(site->name));
    enum err err = local_ca_publish(secret, site->name, path, why);
    explicit_bzero(secret, sizeof(secret));
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    buffer_print(&out, "clients trust the site when they trust its CA: %s\n", path);
    if (err == OK && !is_quiet && !print_text(buffer_text(&out)))
        return ERR_SYSTEM;
    return err;
}

int command_init(const struct invocation *invocation)
{
    const struct options *given = &invocation->options;
    const char *file = invocation->arguments[0];
    char path[TARGET_STATE_SIZE];
    struct site *site = NULL;
    struct site_mistakes mistakes;
    struct target target;
    struct why why = { "" };
    bool is_new = false;
    enum err err = site_load(file, &site, &mistakes);
    if (err != OK) {
        (void)!sys_write(STDERR_FILENO, mistakes.text.data, mistakes.text.len);
        complain("%s is not usable: %zu mistake%s in it", file, mistakes.count,
                 mistakes.count == 1 ? "" : "s");
    } else {
        target_state(invocation, &target);
        err = site_key_path(target.state, site->name, path, sizeof(path), &why);
        if (err == OK)
            err = place_key(path, given->key, &is_new, &why);
        if (err != OK)
            complain("%s", why.text);
        else if (!given->quiet && !tell(site, path, is_new, given->key != NULL))
            err = ERR_SYSTEM;
        if (err == OK) {
            err = publish_ca(site, target.state, given->quiet, &why);
            if (err != OK)
                complain("%s", why.text);
        }
    }
    site_mistakes_done(&mistakes);
    site_free(site);
    return err == OK ? CLI_OK : CLI_FAILED;
}
