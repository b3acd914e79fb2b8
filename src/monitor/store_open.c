/*
 * See store_private.h: the file of what is open, as memory. Its layout is its format: a file of
 * another version, size, or with something in it that cannot be is begun anew. While there is no
 * space for it the same is kept in memory alone, and the file is tried again later.
 */
#include "monitor/store_private.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "monitor/column.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PATH_SIZE = 512, RETRY_MS = 5000 };

static const char magic[8] = "TRBopen";

void store_fail(struct store *store, const char *what, int error)
{
    snprintf(store->trouble, sizeof(store->trouble), "%s", what != NULL ? what : strerror(error));
}

static bool path_of(const struct store *store, const char *server, const char *suffix,
                    char path[PATH_SIZE])
{
    int len = snprintf(path, PATH_SIZE, "%s/%s.%s", store->folder, server, suffix);
    return len > 0 && len < PATH_SIZE;
}

/* ---- what may be in the file ---- */

static bool is_good_name(const struct open_name *name)
{
    size_t len = strnlen(name->name, sizeof(name->name));
    return len > 0 && len < sizeof(name->name) && name->kind <= SAMPLE_HISTOGRAM &&
           name->histogram <= STORE_HISTOGRAMS;
}

static bool is_good(const struct open_file *open)
{
    bool is_good = memcmp(open->magic, magic, sizeof(magic)) == 0 &&
                   open->version == STORE_VERSION && open->size == sizeof(*open) &&
                   open->name_count <= SAMPLE_SERIES;
    for (uint32_t i = 0; is_good && i < open->name_count; i++)
        is_good = is_good_name(&open->names[i]);
    for (size_t i = 0; is_good && i < TIERS; i++) {
        const struct open_block *block = &open->blocks[i];
        is_good = block->start_s >= 0 && block->start_s % tier_block_s(&store_tiers[i]) == 0 &&
                  block->bytes <= sizeof(block->buckets) && open->points[i].start_s >= 0 &&
                  open->points[i].start_s % store_tiers[i].step_s == 0;
    }
    return is_good;
}

static void begin(struct open_file *open)
{
    memset(open, 0, sizeof(*open));
    open->version = STORE_VERSION;
    open->size = sizeof(*open);
    memcpy(open->magic, magic, sizeof(magic));
}

/* ---- the file ---- */

static struct open_file *in_memory(void)
{
    void *memory = mmap(NULL, sizeof(struct open_file), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

/* The file as memory, with all its space, so that no write to it can fail. NULL with errno. */
static struct open_file *map_file(const struct store *store, const char *name)
{
    char path[PATH_SIZE];
    if (!path_of(store, name, "open", path))
        return NULL;
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return NULL;
    int error = posix_fallocate(fd, 0, (off_t)sizeof(struct open_file));
    if (error == 0 && ftruncate(fd, (off_t)sizeof(struct open_file)) != 0)
        error = errno;
    void *memory =
        error == 0 ? mmap(NULL, sizeof(struct open_file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                   : MAP_FAILED;
    if (error != 0)
        errno = error;
    return memory != MAP_FAILED ? memory : NULL;
}

static int open_ring(struct store *store, const char *name, const char *suffix)
{
    char path[PATH_SIZE];
    int ring = path_of(store, name, suffix, path)
                   ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)
                   : -1;
    if (ring < 0)
        store_fail(store, NULL, errno);
    return ring;
}

void store_index(struct store_server *server)
{
    struct open_file *open = server->open;
    sample_table_done(&server->index);
    sample_table_init(&server->index);
    for (uint32_t i = 0; i < open->name_count; i++) {
        size_t at = sample_use(&server->index, (enum sample_kind)open->names[i].kind,
                               text_of(open->names[i].name));
        if (at != i) { /* the same name twice: no file of ours */
            begin(open);
            sample_table_done(&server->index);
            sample_table_init(&server->index);
            return;
        }
    }
}

/* Moves what is in memory alone to the disk, as soon as there is space. */
static void get_onto_disk(struct store *store, struct store_server *server)
{
    int64_t now_ms = clock_now_ms();
    bool is_whole = server->is_on_disk;
    for (size_t i = 0; i < TIERS; i++)
        is_whole = is_whole && server->rings[i] >= 0;
    if (is_whole || now_ms - server->tried_ms < RETRY_MS)
        return;
    server->tried_ms = now_ms;
    for (size_t i = 0; i < TIERS; i++)
        if (server->rings[i] < 0)
            server->rings[i] = open_ring(store, server->name, store_tiers[i].suffix);
    if (server->is_on_disk)
        return;
    struct open_file *open = map_file(store, server->name);
    if (open == NULL) {
        store_fail(store, NULL, errno);
        return;
    }
    memcpy(open, server->open, sizeof(*open));
    munmap(server->open, sizeof(*server->open));
    server->open = open;
    server->is_on_disk = true;
    store->trouble[0] = '\0';
}

static bool open_server(struct store *store, struct store_server *server)
{
    server->open = map_file(store, server->name);
    server->is_on_disk = server->open != NULL;
    if (!server->is_on_disk) {
        store_fail(store, NULL, errno);
        server->open = in_memory();
        server->tried_ms = clock_now_ms();
    }
    for (size_t i = 0; i < TIERS; i++)
        server->rings[i] = open_ring(store, server->name, store_tiers[i].suffix);
    if (server->open == NULL)
        return false;
    if (!is_good(server->open))
        begin(server->open);
    store_index(server);
    return true;
}

void store_server_free(struct store_server *server)
{
    if (server->open != NULL)
        munmap(server->open, sizeof(*server->open));
    for (size_t i = 0; i < TIERS; i++)
        fd_close(&server->rings[i]);
    sample_table_done(&server->index);
    memory_free(server);
}

/* What may be a part of a file's name. */
static bool is_file_name(struct text name)
{
    bool is_good = name.len > 0 && name.data[0] != '.';
    for (size_t i = 0; i < name.len; i++) {
        char c = text_lower(name.data[i]);
        is_good =
            is_good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.');
    }
    return is_good;
}

struct store_server *store_server_get(struct store *store, struct text name, bool make)
{
    struct store_server *server = store->servers;
    while (server != NULL && !text_equal(text_of(server->name), name))
        server = server->next;
    if (server != NULL) {
        get_onto_disk(store, server);
        return server;
    }
    char path[PATH_SIZE];
    server = NEW(struct store_server);
    if (!is_file_name(name) || !text_copy_to(name, server->name, sizeof(server->name)) ||
        (!make && (!path_of(store, server->name, "open", path) || access(path, F_OK) != 0))) {
        memory_free(server);
        return NULL;
    }
    if (!open_server(store, server)) {
        store_server_free(server);
        return NULL;
    }
    server->next = store->servers;
    store->servers = server;
    return server;
}

/* A place for the buckets of one more histogram, plus 1; 0: there is none. */
static uint8_t free_histogram(const struct open_file *open)
{
    bool is_taken[STORE_HISTOGRAMS + 1] = { false };
    for (uint32_t i = 0; i < open->name_count; i++)
        is_taken[open->names[i].histogram] = true;
    for (uint8_t place = 1; place <= STORE_HISTOGRAMS; place++)
        if (!is_taken[place])
            return place;
    return 0;
}

size_t store_series(struct store_server *server, enum sample_kind kind, const char *name)
{
    struct open_file *open = server->open;
    size_t at = sample_use(&server->index, kind, text_of(name));
    if (at == SAMPLE_NONE || at < open->name_count)
        return at;
    struct open_name *place = &open->names[at];
    memset(place, 0, sizeof(*place));
    place->kind = (uint8_t)kind;
    memcpy(place->name, name,
           strlen(name)); /* shorter than SAMPLE_NAME_SIZE, or it had no number */
    if (kind == SAMPLE_HISTOGRAM)
        place->histogram = free_histogram(open);
    open->name_count = (uint32_t)at + 1;
    return at;
}
