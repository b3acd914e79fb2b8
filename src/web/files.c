/*
 * The file table. Small files are kept with their contents under (folder, path), newest use first;
 * large ones are opened for each request, which costs little beside sending them, and so nothing
 * here holds a deleted file open.
 *
 * A kept file is compared with the disk (device, inode, size, times) once per turn of the loop: a
 * change is seen at once, and under load many requests share the look. That look goes by name and
 * proves only that the file is the same; every FULL_US it is opened again by the safe way, and its
 * siblings are looked for.
 */
#include "web/files.h"
#include "core/memory.h"
#include "core/sys.h"
#include "web/compress.h"
#include "web/mime.h"
#include "web/path.h"

#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

enum {
    FULL_US = 1000000,
    FILES_LIMIT = 4096,
    BUCKETS = 1024, /* power of two */
};

struct web_files {
    struct list buckets[BUCKETS];
    struct list used; /* newest first */
    size_t count;
    size_t memory_used;
    size_t memory_limit;
    struct web_file *loose; /* the last answer that is not kept */
};

struct web_files *web_files_new(size_t memory_bytes)
{
    struct web_files *files = NEW(struct web_files);
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&files->buckets[i]);
    list_init(&files->used);
    files->memory_limit = memory_bytes;
    return files;
}

static void heads_drop(struct web_body *body)
{
    for (int i = 0; i < WEB_HEAD_COUNT; i++) {
        http_blob_unref(body->heads[i]);
        body->heads[i] = NULL;
    }
}

static void body_drop(struct web_body *body)
{
    fd_close(&body->fd);
    heads_drop(body);
    http_blob_unref(body->memory);
    *body = (struct web_body){ .fd = -1 };
}

static size_t file_memory(const struct web_file *file)
{
    size_t sum = 0;
    for (int i = 0; i < ENCODING_COUNT; i++)
        sum += file->bodies[i].memory != NULL ? (size_t)file->bodies[i].size : 0;
    return sum;
}

static void file_free(struct web_file *file)
{
    if (file == NULL)
        return;
    for (int i = 0; i < ENCODING_COUNT; i++)
        body_drop(&file->bodies[i]);
    memory_free(file->path);
    memory_free(file);
}

static void file_forget(struct web_files *files, struct web_file *file)
{
    files->count--;
    files->memory_used -= file_memory(file);
    list_remove(&file->link);
    list_remove(&file->chain);
    file_free(file);
}

void web_files_free(struct web_files *files)
{
    if (files == NULL)
        return;
    list_each (at, &files->used)
        file_forget(files, list_entry(at, struct web_file, link));
    file_free(files->loose);
    memory_free(files);
}

static struct web_identity identity_of(const struct stat *info)
{
    return (struct web_identity){
        .device = info->st_dev,
        .inode = info->st_ino,
        .modified_ns = info->st_mtim.tv_sec * 1000000000LL + info->st_mtim.tv_nsec,
        .changed_ns = info->st_ctim.tv_sec * 1000000000LL + info->st_ctim.tv_nsec,
        .size = info->st_size,
    };
}

static bool identity_equal(const struct web_identity *a, const struct web_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->modified_ns == b->modified_ns &&
           a->changed_ns == b->changed_ns && a->size == b->size;
}

/* Strong: changes with every change of the file that the file system can tell. */
static void etag_write(struct web_body *body, enum web_encoding encoding)
{
    snprintf(body->etag, sizeof(body->etag), "\"%llx-%llx%s%.*s\"",
             (unsigned long long)body->identity.modified_ns,
             (unsigned long long)body->identity.size, encoding != ENCODING_IDENTITY ? "-" : "",
             FMT(web_encoding_suffix(encoding)));
}

/* Small contents into memory. A file that changes while it is read stays a descriptor. */
static void body_read(struct web_body *body)
{
    struct stat info;
    size_t len = (size_t)body->size, at = 0;
    struct http_blob *memory = http_blob_new(len);
    while (at < len) {
        ssize_t got = sys_pread(body->fd, memory->data + at, len - at, (int64_t)at);
        if (got <= 0)
            break;
        at += (size_t)got;
    }
    struct web_identity after = { 0 };
    if (fstat(body->fd, &info) == 0)
        after = identity_of(&info);
    if (at < len || !identity_equal(&after, &body->identity)) {
        http_blob_unref(memory);
        return;
    }
    body->memory = memory;
    fd_close(&body->fd);
}

static int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Opens the file of that coding; errno when it fails. Keeps *body when it is still the same. */
static bool body_open(const struct web_file *file, enum web_encoding encoding,
                      struct web_body *body)
{
    char path[PATH_MAX + 8];
    struct text suffix = web_encoding_suffix(encoding);
    int len = snprintf(path, sizeof(path), "%s%s%.*s", file->path, suffix.len > 0 ? "." : "",
                       FMT(suffix));
    if (len < 0 || (size_t)len >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    AUTO(fd_close) int fd = web_path_open(file->folder, path, file->symlinks, 0);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return false;
    if (!S_ISREG(info.st_mode)) {
        errno = S_ISDIR(info.st_mode) ? EISDIR : ENOENT;
        return false;
    }
    struct web_identity identity = identity_of(&info);
    if (body->state == BODY_FILE && body->memory != NULL &&
        identity_equal(&identity, &body->identity))
        return true;
    body_drop(body);
    body->state = BODY_FILE;
    body->identity = identity;
    body->size = identity.size;
    body->fd = fd_take(&fd);
    etag_write(body, encoding);
    if (body->size <= FILE_MEMORY_MAX)
        body_read(body);
    return true;
}

/* Brings what is known about the file up to date. False with errno. */
static bool file_load(struct web_file *file)
{
    struct web_body *body = &file->bodies[ENCODING_IDENTITY];
    struct web_identity before = body->identity;
    if (!body_open(file, ENCODING_IDENTITY, body))
        return false;
    file->modified_s = body->identity.modified_ns / 1000000000;
    clock_format_http(file->modified_s, file->modified);
    bool is_same = identity_equal(&before, &body->identity);
    for (int i = ENCODING_IDENTITY + 1; i < ENCODING_COUNT; i++) {
        file->bodies[i].is_checked = false;
        if (!is_same)
            heads_drop(&file->bodies[i]); /* they have the date of the file itself */
        if (file->bodies[i].state != BODY_FILE && !is_same)
            body_drop(&file->bodies[i]);
    }
    return true;
}

static struct web_file *file_new(int folder, const char *path, bool symlinks, uint32_t hash)
{
    struct web_file *file = NEW(struct web_file);
    list_init(&file->link);
    list_init(&file->chain);
    file->folder = folder;
    file->symlinks = symlinks;
    file->hash = hash;
    file->path = memory_copy_string(path);
    for (int i = 0; i < ENCODING_COUNT; i++)
        file->bodies[i].fd = -1;
    file->type = web_mime_type(text_of(path));
    file->is_compressible = web_mime_is_compressible(file->type);
    return file;
}

static void files_make_room(struct web_files *files, size_t more)
{
    while (!list_is_empty(&files->used) &&
           (files->count >= FILES_LIMIT || files->memory_used + more > files->memory_limit))
        file_forget(files, list_entry(files->used.previous, struct web_file, link));
}

static struct web_file *file_keep(struct web_files *files, struct web_file *file)
{
    size_t more = file_memory(file);
    files_make_room(files, more);
    files->count++;
    files->memory_used += more;
    file->is_kept = true;
    list_prepend(&files->used, &file->link);
    list_append(&files->buckets[file->hash % BUCKETS], &file->chain);
    return file;
}

static struct web_file *files_load(struct web_files *files, int folder, const char *path,
                                   bool symlinks, uint32_t hash, int *error_out)
{
    struct web_file *file = file_new(folder, path, symlinks, hash);
    if (!file_load(file)) {
        *error_out = errno;
        file_free(file);
        return NULL;
    }
    if (file->bodies[ENCODING_IDENTITY].memory != NULL)
        return file_keep(files, file);
    files->loose = file;
    return file;
}

static struct web_file *files_lookup(struct web_files *files, int folder, const char *path,
                                     uint32_t hash)
{
    list_each (at, &files->buckets[hash % BUCKETS]) {
        struct web_file *file = list_entry(at, struct web_file, chain);
        if (file->hash == hash && file->folder == folder && strcmp(file->path, path) == 0)
            return file;
    }
    return NULL;
}

/* Is what is kept what the disk has? */
static bool file_is_fresh(struct web_file *file, int64_t now_us)
{
    struct stat info;
    if (now_us == file->checked_us)
        return true;
    if (now_us - file->loaded_us >= FULL_US ||
        fstatat(file->folder, file->path, &info, file->symlinks ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    struct web_identity identity = identity_of(&info);
    file->checked_us = now_us;
    return identity_equal(&identity, &file->bodies[ENCODING_IDENTITY].identity);
}

struct web_file *web_files_find(struct web_files *files, int folder, const char *path,
                                bool symlinks, int64_t now_us, int *error_out)
{
    uint32_t hash = text_hash(text_of(path)) * 31 + (uint32_t)folder;
    web_files_sent(files);
    struct web_file *file = files_lookup(files, folder, path, hash);
    if (file != NULL) {
        list_remove(&file->link);
        list_prepend(&files->used, &file->link);
        if (file_is_fresh(file, now_us))
            return file;
        files->memory_used -= file_memory(file);
        bool ok = file_load(file);
        files->memory_used += file_memory(file);
        if (!ok || file->bodies[ENCODING_IDENTITY].memory == NULL) {
            file_forget(files, file);
            file = NULL;
        }
    }
    if (file == NULL)
        file = files_load(files, folder, path, symlinks, hash, error_out);
    if (file != NULL)
        file->checked_us = file->loaded_us = now_us;
    return file;
}

void web_files_sent(struct web_files *files)
{
    file_free(files->loose);
    files->loose = NULL;
}

void web_files_forget(struct web_files *files, int folder)
{
    list_each (at, &files->used) {
        struct web_file *file = list_entry(at, struct web_file, link);
        if (file->folder == folder)
            file_forget(files, file);
    }
}

/* Looks on the disk for the sibling; a form made here stays when there is none. */
static void sibling_check(struct web_file *file, enum web_encoding encoding)
{
    struct web_body *body = &file->bodies[encoding];
    const struct web_identity *plain = &file->bodies[ENCODING_IDENTITY].identity;
    struct web_body found = { .fd = -1 };
    if (body->state == BODY_FILE) {
        found = *body;
        *body = (struct web_body){ .fd = -1 };
    }
    bool ok = body_open(file, encoding, &found) &&
              found.identity.modified_ns >= plain->modified_ns &&
              (found.memory != NULL || !file->is_kept);
    if (ok) {
        body_drop(body);
        *body = found;
    } else {
        body_drop(&found);
    }
    body->is_checked = true;
}

struct web_body *web_file_sibling(struct web_files *files, struct web_file *file,
                                  enum web_encoding encoding)
{
    struct web_body *body = &file->bodies[encoding];
    if (!body->is_checked) {
        size_t before = file_memory(file);
        sibling_check(file, encoding);
        if (file->is_kept) {
            files->memory_used += file_memory(file) - before;
            files_make_room(files, 0);
        }
    }
    return body->state == BODY_FILE ? body : NULL;
}

struct web_body *web_file_compressed(struct web_files *files, struct web_file *file,
                                     enum web_encoding encoding)
{
    struct web_body *body = &file->bodies[encoding];
    const struct web_body *plain = &file->bodies[ENCODING_IDENTITY];
    if (body->state == BODY_MADE)
        return body;
    if (!file->is_kept || encoding == ENCODING_IDENTITY || body->state != BODY_UNKNOWN)
        return NULL;
    AUTO(buffer_done) struct buffer out = buffer_of(FILE_MEMORY_MAX);
    body->state = BODY_NONE;
    if (!web_compress_all(encoding, text_from(plain->memory->data, plain->memory->len), &out))
        return NULL;
    body->state = BODY_MADE;
    body->size = (int64_t)out.len;
    body->memory = http_blob_new(out.len);
    memcpy(body->memory->data, out.data, out.len);
    body->identity = plain->identity;
    /* weak: another process may have made other bytes of the same content */
    char tag[FILE_ETAG_SIZE - 2];
    snprintf(tag, sizeof(tag), "%.*s-%.*s\"", (int)strlen(plain->etag) - 1, plain->etag,
             FMT(web_encoding_suffix(encoding)));
    snprintf(body->etag, sizeof(body->etag), "W/%s", tag);
    files->memory_used += (size_t)body->size;
    files_make_room(files, 0);
    return body;
}

int web_file_status(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return 503;
    case EIO:
    case EBADF:
        return 500;
    default: /* no such file, a link, a name too long, a folder where a file is needed... */
        return 404;
    }
}
