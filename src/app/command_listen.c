/*
 * Where the programs of this session listen: for the sentence that tells somebody that his program
 * does not look at $PORT. Reads /proc, which shows a process what others of its user have open.
 */
#include "app/command_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { SOCKETS_LIMIT = 4096, TABLE_LIMIT = 4 << 20, STATE_LISTEN = 0x0a };

struct sockets {
    uint64_t inodes[SOCKETS_LIMIT];
    size_t count;
};

/* Field `index` (from 0) of a line whose fields stand apart by any number of spaces. */
static struct text field_at(struct text line, int index)
{
    struct text field = T("");
    for (int i = 0; i <= index; i++) {
        line = text_trim(line);
        field = text_next(&line, ' ');
    }
    return field;
}

bool command_process_field(const char *pid, enum process_field field, pid_t *out)
{
    char path[64], data[512];
    uint64_t number;
    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? sys_read(fd, data, sizeof(data) - 1) : 0;
    data[len > 0 ? len : 0] = '\0';
    const char *behind_name = strrchr(data, ')'); /* the name may hold anything */
    if (behind_name == NULL ||
        !text_to_uint(field_at(text_of(behind_name), (int)field), INT32_MAX, &number))
        return false;
    *out = (pid_t)number;
    return true;
}

static bool is_of_session(const char *pid, pid_t session)
{
    pid_t found;
    return command_process_field(pid, PROCESS_SESSION, &found) && found == session;
}

static void add_sockets(struct sockets *sockets, const char *pid)
{
    char path[64], target[64];
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        uint64_t inode;
        ssize_t len = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target));
        struct text text = text_from(target, len > 0 ? (size_t)len : 0);
        if (text_starts_with(text, T("socket:[")) && sockets->count < SOCKETS_LIMIT &&
            text_to_uint(text_part(text, 8, text.len - 9), UINT64_MAX, &inode))
            sockets->inodes[sockets->count++] = inode;
    }
    if (folder != NULL)
        closedir(folder);
}

static void collect_sockets(struct sockets *sockets)
{
    pid_t session = getsid(0);
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        uint64_t pid;
        if (text_to_uint(text_of(entry->d_name), INT32_MAX, &pid) && (pid_t)pid != getpid() &&
            is_of_session(entry->d_name, session))
            add_sockets(sockets, entry->d_name);
    }
    if (processes != NULL)
        closedir(processes);
}

/* "0100007F:1F90": words of four bytes in the order of this machine, then the port. */
static bool read_local(struct text text, char out[ADDRESS_TEXT_SIZE])
{
    uint32_t words[4] = { 0 };
    uint64_t number, port;
    struct address address = { 0 };
    struct text rest = text, ip = text_next(&rest, ':');
    if ((ip.len != 8 && ip.len != 32) || !text_hex_to_uint(rest, 65535, &port))
        return false;
    for (size_t i = 0; i < ip.len / 8; i++) {
        if (!text_hex_to_uint(text_part(ip, 8 * i, 8), UINT32_MAX, &number))
            return false;
        words[i] = (uint32_t)number;
    }
    if (ip.len == 8) {
        address.u.v4.sin_family = AF_INET;
        memcpy(&address.u.v4.sin_addr, words, 4);
        address.len = sizeof(address.u.v4);
    } else {
        address.u.v6.sin6_family = AF_INET6;
        memcpy(&address.u.v6.sin6_addr, words, 16);
        address.len = sizeof(address.u.v6);
    }
    address_set_port(&address, (uint16_t)port);
    address_format(&address, out);
    return true;
}

static bool has_inode(const struct sockets *sockets, struct text text)
{
    uint64_t inode;
    if (!text_to_uint(text, UINT64_MAX, &inode) || inode == 0)
        return false;
    for (size_t i = 0; i < sockets->count; i++)
        if (sockets->inodes[i] == inode)
            return true;
    return false;
}

static void add_listeners(const struct sockets *sockets, const char *table, struct buffer *out)
{
    struct text all;
    if (sys_read_file(table, TABLE_LIMIT, &all, NULL) != OK)
        return;
    struct text rest = all;
    text_next(&rest, '\n'); /* the names of the columns */
    while (rest.len > 0) {
        struct text line = text_next(&rest, '\n');
        char address[ADDRESS_TEXT_SIZE];
        uint64_t state;
        if (text_hex_to_uint(field_at(line, 3), 255, &state) && state == STATE_LISTEN &&
            has_inode(sockets, field_at(line, 9)) && read_local(field_at(line, 1), address))
            buffer_print(out, "%s%s", out->len > 0 ? ", " : "", address);
    }
    memory_free((void *)all.data);
}

void command_listeners(char *out, size_t size)
{
    struct sockets *sockets = NEW(struct sockets);
    AUTO(buffer_done) struct buffer found = buffer_of(size - 1);
    collect_sockets(sockets);
    add_listeners(sockets, "/proc/net/tcp", &found);
    add_listeners(sockets, "/proc/net/tcp6", &found);
    if (!text_copy_to(buffer_text(&found), out, size))
        out[0] = '\0';
    memory_free(sockets);
}
