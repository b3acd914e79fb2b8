/*
 * Permits for connections to php-fpm, shared by all edge processes of a generation: there are as
 * many as php-fpm has children, so no connection ever waits in a queue that nobody sees.
 */
#include "app/php_private.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum err php_share_create(int *fd_out, struct why *why)
{
    int fd = memfd_create("trilith-php", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, sizeof(struct php_share)) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        fail(why, ERR_SYSTEM, "cannot make shared memory: %s", strerror(errno));
        fd_close(&fd);
        return ERR_SYSTEM;
    }
    *fd_out = fd;
    return OK;
}

enum err php_share_map(int fd, struct php_share **share_out, struct why *why)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size < (off_t)sizeof(struct php_share))
        return fail(why, ERR_SYSTEM, "the shared memory of php is too small");
    void *memory = mmap(NULL, sizeof(struct php_share), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return fail(why, ERR_SYSTEM, "cannot map shared memory: %s", strerror(errno));
    *share_out = memory;
    return OK;
}

void php_share_unmap(struct php_share *share)
{
    if (share != NULL)
        munmap(share, sizeof(*share));
}

void php_share_start(struct php_share *share, size_t edge)
{
    for (size_t i = 0; i < PHP_CHILDREN_LIMIT; i++) {
        uint32_t mine = (uint32_t)edge + 1;
        atomic_compare_exchange_strong(&share->owners[i], &mine, 0);
    }
    atomic_store(&share->edges[edge].waiting_us, 0);
    atomic_store(&share->edges[edge].waiting, 0);
    atomic_store(&share->edges[edge].idle, 0);
}

int php_share_take(struct php_share *share, size_t children, size_t edge)
{
    for (size_t i = 0; i < children && i < PHP_CHILDREN_LIMIT; i++) {
        uint32_t nobody = 0;
        if (atomic_load_explicit(&share->owners[i], memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&share->owners[i], &nobody, (uint32_t)edge + 1))
            return (int)i;
    }
    return -1;
}

bool php_share_is_free(struct php_share *share, size_t children)
{
    for (size_t i = 0; i < children && i < PHP_CHILDREN_LIMIT; i++)
        if (atomic_load(&share->owners[i]) == 0)
            return true;
    return false;
}

void php_share_leave(struct php_share *share, int permit)
{
    if (permit >= 0)
        atomic_store(&share->owners[permit], 0);
}

int php_share_elder(struct php_share *share, size_t edge, int64_t before_us)
{
    int found = -1;
    for (size_t i = 0; i < PHP_EDGES_LIMIT; i++) {
        int64_t since_us = atomic_load(&share->edges[i].waiting_us);
        if (i == edge || since_us == 0 || (before_us != 0 && since_us >= before_us))
            continue;
        before_us = since_us;
        found = (int)i;
    }
    return found;
}

size_t php_share_waiting(const struct php_share *share)
{
    size_t count = 0;
    for (size_t i = 0; i < PHP_EDGES_LIMIT; i++)
        count += atomic_load(&share->edges[i].waiting);
    return count;
}

int php_share_keeper(struct php_share *share, size_t edge)
{
    for (size_t i = 0; i < PHP_EDGES_LIMIT; i++)
        if (i != edge && atomic_load(&share->edges[i].idle) > 0)
            return (int)i;
    return -1;
}
