/*
 * Where passwords come from and how they reach who needs them. The secrets folder is the parent's
 * alone; processes get sealed memory files, applications a part of DATABASE_URL.
 */
#include "database/secrets.h"

#include "core/memory.h"
#include "core/openssl.h"
#include "core/sys.h"
#include "database/child.h"
#include "database/config.h"
#include "database/sql.h"
#include "process/site_key.h"
#include "stream/inside.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSWORD_BYTES = 32, STATE_PATHS_LIMIT = 65536 };

static enum err check_password(struct text password, const char *path, struct why *why)
{
    bool is_good = password.len > 0 && password.len <= DATABASE_PASSWORD_LIMIT;
    for (size_t i = 0; i < password.len; i++)
        is_good = is_good && password.data[i] > ' ' && password.data[i] <= '~';
    if (is_good)
        return OK;
    return fail(why, ERR_SYNTAX,
                "'%s' must hold one line of 1 to %d printable characters; remove it and a new "
                "password is made",
                path, DATABASE_PASSWORD_LIMIT);
}

/* From the file; else the one the running database has; else a new one. */
static enum err find_password(const struct generation *generation, const char *path,
                              char out[DATABASE_PASSWORD_LIMIT + 1], struct why *why)
{
    struct text found;
    struct why no_file = { "" };
    enum err err = sys_read_file(path, 4096, &found, &no_file);
    if (err == OK) {
        struct text password = found;
        while (password.len > 0 && strchr("\r\n", password.data[password.len - 1]) != NULL)
            password.len--;
        err = check_password(password, path, why);
        if (err == OK)
            text_copy_to(password, out, DATABASE_PASSWORD_LIMIT + 1);
        memory_free((void *)(uintptr_t)found.data);
        return err;
    }
    if (err != ERR_NOT_FOUND)
        return fail(why, err, "%s", no_file.text);
    if (generation->previous == NULL || database_password(generation->previous, out) != OK)
        sys_random_hex(out, DATABASE_PASSWORD_LIMIT + 1, PASSWORD_BYTES);
    return sys_replace_file(path, text_of(out), 0600, (uid_t)-1, (gid_t)-1, why);
}

/* Name of the descriptor with an account's password. */
static void descriptor_name(enum database_account account, char out[64])
{
    const char *label = database_account_label(account);
    if (account == ACCOUNT_APPLICATION)
        snprintf(out, 64, "database.password");
    else
        snprintf(out, 64, "database.account.%s", strchr(label, '/') + 1);
}

static enum err hand_over(struct generation *generation, enum database_account account,
                          const char *password, struct why *why)
{
    char name[64];
    descriptor_name(account, name);
    return generation_add_data(generation, text_of(password), name, why);
}

enum err database_account_password(const struct generation *generation,
                                   enum database_account account,
                                   char password_out[DATABASE_PASSWORD_LIMIT + 1])
{
    char name[64];
    descriptor_name(account, name);
    ssize_t got = generation_read_data(generation, name, password_out, DATABASE_PASSWORD_LIMIT);
    if (got <= 0)
        return ERR_MISSING;
    password_out[got] = '\0';
    return OK;
}

enum err database_password(const struct generation *generation,
                           char password_out[DATABASE_PASSWORD_LIMIT + 1])
{
    return database_account_password(generation, ACCOUNT_APPLICATION, password_out);
}

/* A full disk must not stop a reload that changes nothing here. */
static bool is_written(const char *path, struct text wanted)
{
    struct stat status;
    struct text data;
    if (stat(path, &status) != 0 || (status.st_mode & 07777) != 0600 ||
        sys_read_file(path, STATE_PATHS_LIMIT, &data, NULL) != OK)
        return false;
    bool is_same = text_equal(data, wanted);
    explicit_bzero((void *)data.data, data.len);
    memory_free((void *)data.data);
    return is_same;
}

/* The local server's socket; of a tier, the SQL proxy's when it runs here, else the primary's. */
static enum err make_url(const struct generation *generation, const struct database_place *place,
                         const char *password, struct buffer *out, struct why *why)
{
    const struct site *site = generation->site;
    const struct site_server *primary = database_first_primary(site);
    struct address address;
    if (sql_is_wanted(generation)) {
        enum err err = sql_socket_path(generation, &address, why);
        if (err == OK)
            database_write_url(out, &site->database, text_of(password),
                               text_of(address.u.local.sun_path));
        return err;
    }
    if (!database_is_tier(site) || primary == generation->server) {
        database_write_url(out, &site->database, text_of(password), text_of(place->socket));
        return OK;
    }
    address = primary->address;
    address_set_port(&address, (uint16_t)database_port(site));
    database_write_remote_url(out, &site->database, text_of(password), &address);
    return OK;
}

static enum err write_url(const struct generation *generation, struct arena *arena,
                          const struct database_place *place, const char *password, struct why *why)
{
    struct text path = arena_print(arena, "%.*s/secrets/database-url", FMT(generation->state));
    struct buffer url = buffer_of(STATE_PATHS_LIMIT);
    enum err err = make_url(generation, place, password, &url, why);
    if (err != OK)
        return err;
    err = path.data == NULL || url.failed
              ? fail(why, ERR_LIMIT, "the state folder's name is too long")
          : is_written(path.data, buffer_text(&url))
              ? OK
              : sys_replace_file(path.data, buffer_text(&url), 0600, (uid_t)-1, (gid_t)-1, why);
    buffer_done(&url);
    return err;
}

/* Of one server alone, which has no key of a site: made from the application's, which cannot be got
 * back out of it; so it is the same as long as that one is, and nowhere kept. out may be the same.
 */
static enum err derive_figures(const char *password, char out[DATABASE_PASSWORD_LIMIT + 1],
                               struct why *why)
{
    static const char label[] = "database/figures";
    uint8_t secret[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (HMAC(EVP_sha256(), password, (int)strlen(password), (const uint8_t *)label,
             sizeof(label) - 1, secret, &len) == NULL)
        return fail(why, ERR_SYSTEM, "cannot make a password");
    for (unsigned i = 0; i < len && i * 2 + 2 <= DATABASE_PASSWORD_LIMIT; i++)
        snprintf(out + (size_t)i * 2, 3, "%02x", secret[i]);
    explicit_bzero(secret, sizeof(secret));
    return OK;
}

/* One server alone: the application's password, from the secrets folder. */
static enum err prepare_alone(struct generation *generation, struct arena *arena,
                              const struct database_place *place, struct why *why)
{
    char password[DATABASE_PASSWORD_LIMIT + 1];
    struct text path = arena_print(arena, "%.*s/secrets/database-password", FMT(generation->state));
    if (path.data == NULL)
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    enum err err = find_password(generation, path.data, password, why);
    if (err == OK)
        err = write_url(generation, arena, place, password, why);
    if (err == OK)
        err = hand_over(generation, ACCOUNT_APPLICATION, password, why);
    if (err == OK)
        err = derive_figures(password, password, why);
    if (err == OK)
        err = hand_over(generation, ACCOUNT_FIGURES, password, why);
    explicit_bzero(password, sizeof(password));
    return err;
}

static enum err prepare_tier(struct generation *generation, struct arena *arena,
                             const struct database_place *place, struct why *why)
{
    struct site_key key;
    enum err err = database_tier_check(generation->site, why);
    if (err == OK)
        err = site_key_of(generation, &key, why);
    for (enum database_account n = 0; n < ACCOUNT_COUNT && err == OK; n++) {
        char password[SITE_PASSWORD_SIZE];
        site_key_password(&key, database_account_label(n), password);
        err = hand_over(generation, n, password, why);
        if (err == OK && n == ACCOUNT_APPLICATION)
            err = write_url(generation, arena, place, password, why);
        explicit_bzero(password, sizeof(password));
    }
    site_key_wipe(&key);
    return err;
}

static enum err prepare_in(struct generation *generation, struct arena *arena, struct why *why)
{
    char program[PATH_MAX];
    struct database_place place;
    const struct site *site = generation->site;
    bool is_here = site_is_on(site, &site->database.on, generation->server);
    enum err err = database_name_check(site->database.name, why);
    if (err == OK && is_here)
        err = child_find("mariadbd", program, why);
    if (err == OK)
        err = database_place_find(arena, generation->state, &place, why);
    if (err != OK)
        return err;
    struct text secrets = arena_print(arena, "%.*s/secrets", FMT(generation->state));
    if (secrets.data == NULL)
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    err = sys_make_folder(secrets.data, 0700, (uid_t)-1, (gid_t)-1, why);
    if (err != OK)
        return err;
    return database_is_tier(site) ? prepare_tier(generation, arena, &place, why)
                                  : prepare_alone(generation, arena, &place, why);
}

enum err database_prepare(struct generation *generation, struct why *why)
{
    const struct site *site = generation->site;
    bool is_here = site_is_on(site, &site->database.on, generation->server);
    if (!site->database.is_present || (!is_here && !database_is_tier(site)))
        return OK;
    struct arena *arena = arena_new(STATE_PATHS_LIMIT, 0);
    enum err err = prepare_in(generation, arena, why);
    arena_free(arena);
    if (err != OK)
        return fail_in(why, err, "database");
    return database_is_tier(site) ? inside_prepare(generation, why) : OK;
}
