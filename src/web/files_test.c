/* The file table: kinds, validators, siblings, what is kept and for how long. */
#include "web/files.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char folder[32];
    int fd;
    struct web_files *files;
};

static bool place_make(struct place *place)
{
    memcpy(place->folder, "/tmp/trilith-file-XXXXXX", 25);
    if (mkdtemp(place->folder) == NULL)
        return false;
    place->fd = open(place->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    place->files = web_files_new(1 << 20);
    return true;
}

static void put(const struct place *place, const char *name, struct text data)
{
    char path[300];
    struct why why;
    snprintf(path, sizeof(path), "%s/%s", place->folder, name);
    CHECK(sys_replace_file(path, data, 0644, (uid_t)-1, (gid_t)-1, &why) == OK, "%s", path);
}

static void age(const struct place *place, const char *name, int64_t mtime_s)
{
    const struct timespec times[2] = { { .tv_sec = mtime_s }, { .tv_sec = mtime_s } };
    CHECK(utimensat(AT_FDCWD, place->folder, times, 0) == 0, "folder");
    int folder = open(place->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(utimensat(folder, name, times, 0) == 0, "%s", name);
    fd_close(&folder);
}

static void drop(const struct place *place, const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", place->folder, name);
    CHECK(remove(path) == 0, "%s", path);
}

static void place_end(struct place *place)
{
    web_files_free(place->files);
    fd_close(&place->fd);
    CHECK(rmdir(place->folder) == 0, "%s", place->folder);
}

static struct web_file *find(struct place *place, const char *name, int64_t now_ms, int *error)
{
    *error = 0;
    return web_files_find(place->files, place->fd, name, false, now_ms * 1000, error);
}

static struct text contents(const struct web_file *file)
{
    const struct web_body *body = &file->bodies[ENCODING_IDENTITY];
    return text_from(body->memory->data, (size_t)body->size);
}

TEST(web_files_show_changes_at_once)
{
    struct place place;
    int error;
    REQUIRE(place_make(&place), "place");
    put(&place, "a.txt", T("one"));
    struct web_file *file = find(&place, "a.txt", 0, &error);
    REQUIRE(file != NULL, "found");
    CHECK(text_equal(contents(file), T("one")), "contents");
    char etag[FILE_ETAG_SIZE];
    memcpy(etag, file->bodies[ENCODING_IDENTITY].etag, sizeof(etag));
    put(&place, "a.txt", T("two!"));
    CHECK(text_equal(contents(find(&place, "a.txt", 0, &error)), T("one")), "the same turn");
    file = find(&place, "a.txt", 1, &error);
    CHECK(text_equal(contents(file), T("two!")), "looked at again");
    CHECK(strcmp(etag, file->bodies[ENCODING_IDENTITY].etag) != 0, "another tag");
    drop(&place, "a.txt");
    CHECK(find(&place, "a.txt", 2, &error) == NULL && error == ENOENT, "gone");
    place_end(&place);
}

TEST(web_files_kinds)
{
    struct place place;
    int error;
    REQUIRE(place_make(&place), "place");
    char path[300];
    snprintf(path, sizeof(path), "%s/sub", place.folder);
    CHECK(mkdir(path, 0755) == 0, "mkdir");
    snprintf(path, sizeof(path), "%s/pipe", place.folder);
    CHECK(mkfifo(path, 0644) == 0, "mkfifo");
    put(&place, "empty", T(""));
    CHECK(find(&place, "sub", 0, &error) == NULL && error == EISDIR, "folder");
    CHECK(find(&place, "pipe", 0, &error) == NULL && error == ENOENT, "a pipe is no file");
    CHECK(find(&place, "none", 0, &error) == NULL && error == ENOENT, "missing");
    CHECK(find(&place, "empty/", 0, &error) == NULL && error == ENOTDIR, "file with a slash");
    struct web_file *file = find(&place, "empty", 0, &error);
    CHECK(file != NULL && contents(file).len == 0, "empty file");
    drop(&place, "sub");
    drop(&place, "pipe");
    drop(&place, "empty");
    place_end(&place);
}

TEST(web_files_large_ones_are_not_kept)
{
    struct place place;
    int error;
    REQUIRE(place_make(&place), "place");
    size_t len = FILE_MEMORY_MAX + 1;
    char *data = memory_new(len);
    put(&place, "large", text_from(data, len));
    put(&place, "small", text_from(data, len - 1));
    struct web_file *file = find(&place, "large", 0, &error);
    CHECK(file != NULL && !file->is_kept && file->bodies[0].fd >= 0, "descriptor");
    file = find(&place, "small", 0, &error);
    CHECK(file != NULL && file->is_kept && file->bodies[0].memory != NULL, "memory");
    memory_free(data);
    drop(&place, "large");
    drop(&place, "small");
    place_end(&place);
}

TEST(web_files_siblings)
{
    struct place place;
    int error;
    REQUIRE(place_make(&place), "place");
    put(&place, "a.css", T("body { color: red }"));
    put(&place, "a.css.gz", T("gz"));
    put(&place, "a.css.br", T("br"));
    age(&place, "a.css", 1000);
    age(&place, "a.css.gz", 999);
    age(&place, "a.css.br", 1000);
    struct web_file *file = find(&place, "a.css", 0, &error);
    REQUIRE(file != NULL, "found");
    CHECK(web_file_sibling(place.files, file, ENCODING_GZIP) == NULL, "older than the file");
    CHECK(web_file_sibling(place.files, file, ENCODING_ZSTD) == NULL, "not there");
    struct web_body *body = web_file_sibling(place.files, file, ENCODING_BR);
    REQUIRE(body != NULL, "there");
    CHECK(text_ends_with(text_of(body->etag), T("-br\"")), "%s", body->etag);
    drop(&place, "a.css.br");
    file = find(&place, "a.css", 1500, &error);
    CHECK(web_file_sibling(place.files, file, ENCODING_BR) == NULL, "gone after a second");
    age(&place, "a.css.gz", 1001);
    file = find(&place, "a.css", 3000, &error);
    CHECK(web_file_sibling(place.files, file, ENCODING_GZIP) != NULL, "new enough now");
    drop(&place, "a.css");
    drop(&place, "a.css.gz");
    place_end(&place);
}

TEST(web_files_compressed_once)
{
    struct place place;
    int error;
    char data[20000];
    REQUIRE(place_make(&place), "place");
    memset(data, 'x', sizeof(data));
    put(&place, "a.txt", text_from(data, sizeof(data)));
    struct web_file *file = find(&place, "a.txt", 0, &error);
    CHECK(web_file_sibling(place.files, file, ENCODING_GZIP) == NULL, "no sibling");
    struct web_body *body = web_file_compressed(place.files, file, ENCODING_GZIP);
    REQUIRE(body != NULL, "made");
    CHECK(body->size < 1000 && text_starts_with(text_of(body->etag), T("W/\"")), "small, weak");
    file = find(&place, "a.txt", 5000, &error);
    CHECK(web_file_sibling(place.files, file, ENCODING_GZIP) == NULL, "still no sibling");
    CHECK(web_file_compressed(place.files, file, ENCODING_GZIP) == body, "kept while unchanged");
    put(&place, "a.txt", T("short"));
    file = find(&place, "a.txt", 9000, &error);
    CHECK(web_file_sibling(place.files, file, ENCODING_GZIP) == NULL, "no sibling");
    CHECK(web_file_compressed(place.files, file, ENCODING_GZIP) == NULL, "does not get smaller");
    drop(&place, "a.txt");
    place_end(&place);
}

TEST(web_files_limit_memory)
{
    struct place place;
    int error;
    char name[32];
    REQUIRE(place_make(&place), "place");
    char *data = memory_new(FILE_MEMORY_MAX);
    enum { FILES = 40 }; /* 40 * 64 KiB is more than 1 MiB */
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "%d", i);
        put(&place, name, text_from(data, FILE_MEMORY_MAX));
        CHECK(find(&place, name, 0, &error) != NULL, "%s", name);
    }
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "%d", i);
        CHECK(find(&place, name, 1, &error) != NULL, "%s again", name);
        drop(&place, name);
    }
    memory_free(data);
    place_end(&place);
}
