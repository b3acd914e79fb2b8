/* See outside.h. */
#include "stream/outside.h"

#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { PIECE_BYTES = 16384 };

/* What the connections of a pool agree on. */
static const char *protocol_of(const struct site_pool *pool)
{
    return pool->protocol == SITE_HTTP2 ? "h2" : "http/1.1";
}

struct outside {
    const struct site_pool *first; /* of the site's upstreams */
    size_t count;
    struct tls_context *contexts[]; /* NULL: without https */
};

/* ---- in the parent ---- */

static enum err file_open(struct generation *generation, size_t number, struct why *why)
{
    char path[4096];
    struct text file = generation->site->upstreams[number].authorities;
    if (!text_copy_to(file, path, sizeof(path)))
        return fail(why, ERR_LIMIT, "'%.*s': the name is too long", FMT(file));
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "cannot open '%s': %s", path, strerror(errno));
    generation_add_fd(generation, fd, "authorities.%zu", number);
    return OK;
}

enum err outside_prepare(struct generation *generation, struct why *why)
{
    const struct site *site = generation->site;
    for (size_t i = 0; i < site->upstream_count; i++) {
        const struct site_pool *pool = &site->upstreams[i];
        if (!pool->is_https || text_is_empty(pool->authorities) ||
            generation_fd(generation, "authorities.%zu", i) >= 0)
            continue;
        enum err err = file_open(generation, i, why);
        if (err != OK)
            return fail_in(why, err, "authorities of %.*s", FMT(pool->name));
    }
    return OK;
}

/* ---- in a role ---- */

static enum err new_from_file(int fd, const char *protocol, struct tls_context **context_out,
                              struct why *why)
{
    AUTO(buffer_done) struct buffer pem = buffer_of(TLS_PEM_LIMIT);
    ssize_t got = 1;
    while (got > 0) {
        char *place = buffer_reserve(&pem, PIECE_BYTES);
        if (place == NULL)
            return fail(why, ERR_LIMIT, "the file is too large");
        got = sys_pread(fd, place, PIECE_BYTES, (int64_t)pem.len);
        if (got < 0)
            return fail(why, ERR_SYSTEM, "cannot read the file");
        pem.len += (size_t)got;
    }
    if (pem.len == 0)
        return fail(why, ERR_SYNTAX, "the file is empty");
    struct tls_client_settings settings = { .authorities = buffer_text(&pem),
                                            .protocol = protocol };
    return tls_client_context_new(&settings, context_out, why);
}

/* Those that the machine trusts: many, so they are read once for each protocol. */
static enum err share_machines(struct tls_context **shared, const char *protocol,
                               struct tls_context **context_out, struct why *why)
{
    struct tls_client_settings settings = { .protocol = protocol };
    enum err err = *shared == NULL ? tls_client_context_new(&settings, shared, why) : OK;
    if (err == OK)
        *context_out = tls_context_ref(*shared);
    return err;
}

static enum err fill(struct outside *outside, const struct generation *generation, struct why *why)
{
    struct tls_context *shared[SITE_HTTP2 + 1] = { NULL };
    enum err err = OK;
    for (size_t i = 0; i < outside->count && err == OK; i++) {
        const struct site_pool *pool = &outside->first[i];
        struct tls_context **context = &outside->contexts[i];
        if (!pool->is_https)
            continue;
        err = text_is_empty(pool->authorities)
                  ? share_machines(&shared[pool->protocol], protocol_of(pool), context, why)
                  : new_from_file(generation_fd(generation, "authorities.%zu", i),
                                  protocol_of(pool), context, why);
        if (err != OK)
            fail_in(why, err, "authorities of %.*s", FMT(pool->name));
    }
    for (size_t i = 0; i < COUNT(shared); i++)
        tls_context_unref(shared[i]);
    return err;
}

enum err outside_new(const struct generation *generation, struct outside **outside_out,
                     struct why *why)
{
    const struct site *site = generation->site;
    struct outside *outside =
        memory_new(sizeof(*outside) + site->upstream_count * sizeof(outside->contexts[0]));
    outside->first = site->upstreams;
    outside->count = site->upstream_count;
    enum err err = fill(outside, generation, why);
    if (err == OK)
        *outside_out = outside;
    else
        outside_free(outside);
    return err;
}

void outside_free(struct outside *outside)
{
    for (size_t i = 0; outside != NULL && i < outside->count; i++)
        tls_context_unref(outside->contexts[i]);
    memory_free(outside);
}

struct tls_context *outside_find(const struct outside *outside, const struct site_pool *pool)
{
    return outside != NULL && pool->is_https ? outside->contexts[pool - outside->first] : NULL;
}
