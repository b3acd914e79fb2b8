/*
 * A generation of the configuration: the site, the descriptors that its roles prepared, and how
 * both travel to a process (site text in a sealed memfd, names of the descriptors as lines).
 */
#include "process/generation.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SITE_BYTES_LIMIT = 16 << 20 /* far more than any site file */ };

struct generation *generation_new(uint64_t number, struct site *site,
                                  const struct site_server *server, struct text state, bool is_root,
                                  const struct generation *previous)
{
    struct generation *generation = NEW(struct generation);
    char *copy = memory_new(state.len + 1);
    memcpy(copy, state.data, state.len);
    *generation = (struct generation){ .number = number,
                                       .site = site,
                                       .server = server,
                                       .state = text_from(copy, state.len),
                                       .is_root = is_root,
                                       .previous = previous };
    return generation;
}

void generation_free(struct generation *generation)
{
    if (generation == NULL)
        return;
    for (size_t i = 0; i < generation->fd_count; i++) {
        fd_close(&generation->fds[i].fd);
        watched_file_free(generation->fds[i].watch);
    }
    memory_free(generation->fds);
    memory_free((void *)generation->state.data);
    site_free(generation->site);
    memory_free(generation);
}

struct process_fd *generation_find(const struct generation *generation, const char *name)
{
    for (size_t i = 0; i < generation->fd_count; i++)
        if (strcmp(generation->fds[i].name, name) == 0)
            return &generation->fds[i];
    return NULL;
}

int generation_fd(const struct generation *generation, const char *format, ...)
{
    char name[sizeof(generation->fds->name)];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    const struct process_fd *found = generation_find(generation, name);
    return found != NULL ? found->fd : -1;
}

static struct process_fd *add(struct generation *generation, int fd, const char *name)
{
    if (generation->fd_count == generation->fd_room) {
        generation->fd_room = generation->fd_room > 0 ? 2 * generation->fd_room : 16;
        generation->fds =
            memory_resize(generation->fds, generation->fd_room * sizeof(*generation->fds));
    }
    struct process_fd *added = &generation->fds[generation->fd_count++];
    *added = (struct process_fd){ .fd = fd };
    snprintf(added->name, sizeof(added->name), "%s", name);
    return added;
}

void generation_add_fd(struct generation *generation, int fd, const char *format, ...)
{
    char name[sizeof(generation->fds->name)];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    add(generation, fd, name);
}

/* -1 with errno. */
static int sealed_file(const char *name, struct text data)
{
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (sys_write_all(fd, data) != OK || fcntl(fd, F_ADD_SEALS, seals) != 0)) {
        int error = errno;
        fd_close(&fd);
        errno = error;
    }
    return fd;
}

enum err generation_add_data(struct generation *generation, struct text data, const char *name,
                             struct why *why)
{
    int fd = sealed_file(name, data);
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    generation_add_fd(generation, fd, "%s", name);
    return OK;
}

ssize_t generation_read_data(const struct generation *generation, const char *name, void *data,
                             size_t size)
{
    int fd = generation_fd(generation, "%s", name);
    return fd >= 0 ? sys_pread(fd, data, size, 0) : -1;
}

uid_t generation_uid(const struct generation *generation, const char *role_name)
{
    return generation->is_root ? privileges_uid(generation->site->name, role_name) : geteuid();
}

bool generation_is_needed(const char *needs, const char *name)
{
    struct text rest = text_of(needs != NULL ? needs : "");
    while (rest.len > 0) {
        struct text prefix = text_next(&rest, ' ');
        if (text_equal(prefix, T("*")))
            return true;
        if (prefix.len > 0 && text_starts_with(text_of(name), prefix))
            return true;
    }
    return false;
}

/* ---- MESSAGE_FILES ---- */

enum err generation_exchange(struct generation *generation, struct message *message)
{
    struct process_fd *places[MESSAGE_FD_LIMIT];
    struct text rest = message->text;
    size_t count = 0;
    while (rest.len > 0) {
        char name[sizeof(generation->fds->name)];
        if (count == message->fd_count || !text_copy_to(text_next(&rest, '\n'), name, sizeof(name)))
            return ERR_PROTOCOL;
        places[count] = generation_find(generation, name);
        if (places[count++] == NULL)
            return ERR_PROTOCOL;
    }
    if (count != message->fd_count)
        return ERR_PROTOCOL;
    for (size_t i = 0; i < count; i++) {
        int fd = places[i]->fd;
        places[i]->fd = message->fds[i];
        message->fds[i] = fd;
    }
    return OK;
}

/* ---- MESSAGE_CONFIG ---- */

/* What has no room in one message lies in a socket that travels with it, in messages like it. */

#define MORE T("more\n") /* first line: the second descriptor is that socket */

static enum err send_more(int socket, struct buffer *text, struct message *message)
{
    message->text = buffer_text(text);
    enum err err = text->failed ? ERR_LIMIT : message_send(socket, message);
    buffer_clear(text);
    message->fd_count = 0;
    return err;
}

static enum err pack_more(const struct generation *generation, const struct role *role, size_t from,
                          int *socket_out, struct why *why)
{
    int ends[2];
    enum err err = OK;
    AUTO(buffer_done) struct buffer text = buffer_of(MESSAGE_TEXT_LIMIT);
    struct message message = { .type = MESSAGE_CONFIG, .generation = generation->number };
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a socket: %s", strerror(errno));
    for (size_t i = from; i < generation->fd_count && err == OK; i++) {
        const struct process_fd *at = &generation->fds[i];
        if (!generation_is_needed(role->needs, at->name))
            continue;
        buffer_print(&text, "fd %s\n", at->name);
        message.fds[message.fd_count++] = at->fd;
        if (message.fd_count == MESSAGE_FD_LIMIT)
            err = send_more(ends[1], &text, &message);
    }
    if (err == OK && message.fd_count > 0)
        err = send_more(ends[1], &text, &message);
    fd_close(&ends[1]);
    *socket_out = ends[0];
    if (err == OK)
        return OK;
    fd_close(&ends[0]);
    return fail(why, ERR_LIMIT,
                "%s needs too many descriptors (listeners, static folders, workers): use fewer "
                "routes with `static`, or fewer workers",
                role->name);
}

enum err generation_pack(const struct generation *generation, const struct role *role,
                         struct buffer *text, struct message *message, struct why *why)
{
    size_t count = 0, direct;
    *message = (struct message){ .type = MESSAGE_CONFIG, .generation = generation->number };
    for (size_t i = 0; i < generation->fd_count; i++)
        count += generation_is_needed(role->needs, generation->fds[i].name);
    bool has_more = count > MESSAGE_FD_LIMIT - 1;
    if (has_more)
        buffer_append(text, MORE);
    buffer_print(text, "server %.*s\nstate %.*s\nfile %.*s\nroot %d\n",
                 FMT(generation->server->name), FMT(generation->state), FMT(generation->site->file),
                 generation->is_root);
    message->fd_count = has_more ? 2 : 1;
    for (direct = 0; direct < generation->fd_count && message->fd_count < MESSAGE_FD_LIMIT;
         direct++) {
        const struct process_fd *at = &generation->fds[direct];
        if (!generation_is_needed(role->needs, at->name))
            continue;
        buffer_print(text, "fd %s\n", at->name);
        message->fds[message->fd_count++] = at->fd;
    }
    message->text = buffer_text(text);
    if (text->failed || text->len > MESSAGE_TEXT_LIMIT)
        return fail(why, ERR_LIMIT, "the paths of the site are too long");
    message->fds[0] = sealed_file("site", generation->site->source);
    if (message->fds[0] < 0)
        return fail(why, ERR_SYSTEM, "cannot make a memory file: %s", strerror(errno));
    enum err err = has_more ? pack_more(generation, role, direct, &message->fds[1], why) : OK;
    if (err != OK)
        fd_close(&message->fds[0]);
    return err;
}

void generation_pack_done(struct message *message)
{
    fd_close(&message->fds[0]);
    if (text_starts_with(message->text, MORE))
        fd_close(&message->fds[1]);
}

struct config {
    struct text server, state, file;
    bool is_root;
};

/* A name for the message's next descriptor, which is the generation's from now on. */
static enum err unpack_fd(struct text value, struct message *message, struct generation *generation,
                          size_t *next_fd)
{
    char name[sizeof(generation->fds->name)];
    if (*next_fd >= message->fd_count || !text_copy_to(value, name, sizeof(name)))
        return ERR_PROTOCOL;
    add(generation, message->fds[*next_fd], name);
    message->fds[(*next_fd)++] = -1;
    return OK;
}

static void close_fds(struct message *message)
{
    for (size_t i = 0; i < message->fd_count; i++)
        fd_close(&message->fds[i]);
    message->fd_count = 0;
}

static enum err unpack_more(int socket, struct generation *generation)
{
    enum { PACKET_SIZE = MESSAGE_TEXT_LIMIT + 64 };
    AUTO(memory_drop) char *packet = memory_new(PACKET_SIZE);
    struct message message = { 0 };
    enum err err;
    while ((err = message_receive(socket, packet, PACKET_SIZE, &message)) == OK) {
        struct text rest = message.text;
        size_t next_fd = 0;
        while (err == OK && rest.len > 0) {
            struct text value = text_next(&rest, '\n'), key = text_next(&value, ' ');
            err = text_equal(key, T("fd")) ? unpack_fd(value, &message, generation, &next_fd)
                                           : ERR_PROTOCOL;
        }
        if (next_fd != message.fd_count)
            err = ERR_PROTOCOL;
        close_fds(&message);
        if (err != OK)
            return err;
    }
    return err == ERR_CLOSED ? OK : err;
}

/* One line of a CONFIG text. next_fd: index of the descriptor that the next `fd` line names. */
static enum err unpack_line(struct text line, struct config *config, struct message *message,
                            struct generation *generation, size_t *next_fd)
{
    struct text value = line, key = text_next(&value, ' ');
    if (text_equal(key, T("server")))
        config->server = value;
    else if (text_equal(key, T("state")))
        config->state = value;
    else if (text_equal(key, T("file")))
        config->file = value;
    else if (text_equal(key, T("root")))
        config->is_root = text_equal(value, T("1"));
    else if (text_equal(key, T("more")) && *next_fd == 1 && message->fd_count > 1)
        return unpack_more(message->fds[(*next_fd)++], generation);
    else
        return text_equal(key, T("fd")) ? unpack_fd(value, message, generation, next_fd)
                                        : ERR_PROTOCOL;
    return OK;
}

static enum err read_memfd(int fd, char **data_out, size_t *len_out)
{
    off_t len = lseek(fd, 0, SEEK_END);
    if (len < 0 || len > SITE_BYTES_LIMIT)
        return ERR_LIMIT;
    char *data = memory_new((size_t)len + 1);
    if (sys_pread(fd, data, (size_t)len, 0) != len) {
        memory_free(data);
        return ERR_SYSTEM;
    }
    *data_out = data;
    *len_out = (size_t)len;
    return OK;
}

static enum err unpack_site(const struct config *config, int memfd, struct generation *generation,
                            struct why *why)
{
    struct site_mistakes mistakes = { 0 };
    AUTO(memory_drop) char *data = NULL;
    AUTO(memory_drop) char *path = memory_new(config->file.len + 1);
    size_t len;
    if (config->file.len > 0)
        memcpy(path, config->file.data, config->file.len);
    if (read_memfd(memfd, &data, &len) != OK)
        return fail(why, ERR_SYSTEM, "cannot read the site's bytes");
    enum err err = site_parse_as(text_from(data, len), path, false, config->is_root,
                                 &generation->site, &mistakes);
    if (err != OK)
        fail(why, err, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    if (err != OK)
        return err;
    generation->server = site_server_find(generation->site, config->server);
    return generation->server != NULL ? OK : fail(why, ERR_NOT_FOUND, "no such server");
}

enum err generation_unpack(struct message *message, struct generation **generation_out,
                           struct why *why)
{
    struct config config = { 0 };
    struct generation *generation = NEW(struct generation);
    struct text rest = message->text;
    size_t next_fd = 1;
    enum err err = message->fd_count > 0 ? OK : ERR_PROTOCOL;
    while (err == OK && rest.len > 0)
        err = unpack_line(text_next(&rest, '\n'), &config, message, generation, &next_fd);
    if (err != OK || next_fd != message->fd_count)
        err = fail(why, ERR_PROTOCOL, "malformed configuration message");
    else
        err = unpack_site(&config, message->fds[0], generation, why);
    if (err == OK) {
        generation->number = message->generation;
        generation->is_root = config.is_root;
        char *state = memory_new(config.state.len + 1);
        memcpy(state, config.state.data, config.state.len);
        generation->state = text_from(state, config.state.len);
    }
    close_fds(message);
    if (err != OK) {
        generation_free(generation);
        return err;
    }
    *generation_out = generation;
    return OK;
}
