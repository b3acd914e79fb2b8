/*
 * The application user's password. The parent makes it at the first start and keeps it in the
 * secrets folder, which only the parent can open; the database's process gets it as a sealed
 * memory file, the applications as part of DATABASE_URL.
 */
#include "database/secrets.h"

#include "core/memory.h"
#include "core/sys.h"
#include "database/child.h"
#include "database/config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
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

static enum err hand_over(struct generation *generation, const char *password, struct why *why)
{
    int fd = memfd_create("database.password", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    if (fd < 0 || sys_write_all(fd, text_of(password)) != OK ||
        fcntl(fd, F_ADD_SEALS, seals) != 0) {
        int error = errno;
        fd_close(&fd);
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(error));
    }
    generation_add_fd(generation, fd, "database.password");
    return OK;
}

enum err database_password(const struct generation *generation,
                           char password_out[DATABASE_PASSWORD_LIMIT + 1])
{
    int fd = generation_fd(generation, "database.password");
    ssize_t got = fd >= 0 ? sys_pread(fd, password_out, DATABASE_PASSWORD_LIMIT, 0) : -1;
    if (got <= 0)
        return ERR_MISSING;
    password_out[got] = '\0';
    return OK;
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

static enum err write_url(const struct generation *generation, struct arena *arena,
                          const struct database_place *place, const char *password, struct why *why)
{
    struct text path = arena_print(arena, "%.*s/secrets/database-url", FMT(generation->state));
    struct buffer url = buffer_of(STATE_PATHS_LIMIT);
    database_write_url(&url, &generation->site->database, text_of(password),
                       text_of(place->socket));
    enum err err =
        path.data == NULL || url.failed
            ? fail(why, ERR_LIMIT, "the state folder's name is too long")
        : is_written(path.data, buffer_text(&url))
            ? OK
            : sys_replace_file(path.data, buffer_text(&url), 0600, (uid_t)-1, (gid_t)-1, why);
    buffer_done(&url);
    return err;
}

static enum err prepare_in(struct generation *generation, struct arena *arena, struct why *why)
{
    char program[PATH_MAX], password[DATABASE_PASSWORD_LIMIT + 1];
    struct database_place place;
    enum err err = database_name_check(generation->site->database.name, why);
    if (err == OK)
        err = child_find("mariadbd", program, why);
    if (err == OK)
        err = database_place_find(arena, generation->state, &place, why);
    if (err != OK)
        return err;
    struct text secrets = arena_print(arena, "%.*s/secrets", FMT(generation->state));
    struct text path = arena_print(arena, "%.*s/database-password", FMT(secrets));
    if (path.data == NULL)
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    err = sys_make_folder(secrets.data, 0700, (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        err = find_password(generation, path.data, password, why);
    if (err == OK)
        err = write_url(generation, arena, &place, password, why);
    if (err == OK)
        err = hand_over(generation, password, why);
    explicit_bzero(password, sizeof(password));
    return err;
}

enum err database_prepare(struct generation *generation, struct why *why)
{
    struct arena *arena = arena_new(STATE_PATHS_LIMIT, 0);
    enum err err = prepare_in(generation, arena, why);
    arena_free(arena);
    return err == OK ? OK : fail_in(why, err, "database");
}
