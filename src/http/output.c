/*
 * What waits to be sent on a connection: a chain of memory chunks, parts of blobs and of files.
 * Small pieces are put together in a chunk, so a head and its body, and the answers to pipelined
 * requests, leave in one send. Chunks come from a pool and are held only while something waits.
 */
#include "http/http_private.h"

#include "core/memory.h"
#include "core/sys.h"

static struct chunk *chunk_take(struct chunk_pool *pool)
{
    struct chunk *chunk = pool->idle;
    if (chunk != NULL) {
        pool->idle = chunk->next;
        pool->count--;
    } else {
        chunk = memory_new(sizeof(*chunk) + CHUNK_BYTES);
    }
    chunk->next = NULL;
    chunk->blob = NULL;
    chunk->file = -1;
    chunk->start = chunk->end = 0;
    return chunk;
}

/* Without room for data. */
static struct chunk *chunk_take_small(struct chunk_pool *pool)
{
    struct chunk *chunk = pool->idle_small;
    if (chunk != NULL) {
        pool->idle_small = chunk->next;
        pool->small_count--;
    } else {
        chunk = memory_new(sizeof(*chunk));
    }
    *chunk = (struct chunk){ .file = -1 };
    return chunk;
}

static bool is_small(const struct chunk *chunk)
{
    return chunk->file >= 0 || chunk->blob != NULL;
}

static void chunk_give_back(struct chunk_pool *pool, struct chunk *chunk)
{
    bool was_small = is_small(chunk);
    struct chunk **idle = was_small ? &pool->idle_small : &pool->idle;
    size_t *count = was_small ? &pool->small_count : &pool->count;
    fd_close(&chunk->file);
    http_blob_unref(chunk->blob);
    chunk->blob = NULL;
    if (*count >= IDLE_CHUNKS) {
        memory_free(chunk);
        return;
    }
    chunk->next = *idle;
    *idle = chunk;
    ++*count;
}

static void chain(struct output *output, struct chunk *chunk)
{
    if (output->last != NULL)
        output->last->next = chunk;
    else
        output->first = chunk;
    output->last = chunk;
}

/* The place behind the last byte, with *room bytes, at least one. */
static char *room_behind(struct output *output, struct chunk_pool *pool, size_t *room)
{
    struct chunk *last = output->last;
    if (last == NULL || is_small(last) || last->end == CHUNK_BYTES) {
        last = chunk_take(pool);
        chain(output, last);
    }
    *room = CHUNK_BYTES - last->end;
    return last->data + last->end;
}

static void added(struct output *output, size_t len)
{
    output->last->end += len;
    output->waiting += len;
    output->queued += (int64_t)len;
}

void output_append(struct output *output, struct chunk_pool *pool, struct text data)
{
    while (data.len > 0) {
        size_t room;
        char *place = room_behind(output, pool, &room);
        size_t len = data.len < room ? data.len : room;
        memcpy(place, data.data, len);
        added(output, len);
        data = text_skip(data, len);
    }
}

char *output_reserve(struct output *output, struct chunk_pool *pool, size_t len)
{
    struct chunk *last = output->last;
    if (last == NULL || is_small(last) || CHUNK_BYTES - last->end < len)
        chain(output, chunk_take(pool));
    char *place = output->last->data + output->last->end;
    added(output, len);
    return place;
}

void output_append_blob(struct output *output, struct chunk_pool *pool, struct http_blob *blob,
                        size_t start, size_t len)
{
    /* The head before a blob has a chunk of its own: when many answers wait (a client that asks
     * much and reads little) that would cost more memory than it saves time. */
    bool has_queue = output->waiting > CHUNK_BYTES && len < CHUNK_BYTES;
    if (len <= SMALL_BLOB_BYTES || has_queue)
        output_append(output, pool, text_from(blob->data + start, len));
    else
        output_share_blob(output, pool, blob, start, len);
}

void output_share_blob(struct output *output, struct chunk_pool *pool, struct http_blob *blob,
                       size_t start, size_t len)
{
    struct chunk *chunk = chunk_take_small(pool);
    chunk->blob = http_blob_ref(blob);
    chunk->start = chunk->end = start;
    chain(output, chunk);
    added(output, len);
}

void output_append_uint(struct output *output, struct chunk_pool *pool, uint64_t value,
                        unsigned base)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    output_append(output, pool, text_from(digits + at, sizeof(digits) - at));
}

bool output_append_from_file(struct output *output, struct chunk_pool *pool, int file,
                             int64_t offset, int64_t len)
{
    while (len > 0) {
        size_t room;
        char *place = room_behind(output, pool, &room);
        size_t want = (uint64_t)len < room ? (size_t)len : room;
        ssize_t got = sys_pread(file, place, want, offset);
        if (got <= 0)
            return false;
        added(output, (size_t)got);
        offset += got;
        len -= got;
    }
    return true;
}

void output_append_file(struct output *output, struct chunk_pool *pool, int file, int64_t offset,
                        int64_t len)
{
    struct chunk *chunk = chunk_take_small(pool);
    chunk->file = file;
    chunk->offset = offset;
    chunk->left = len;
    chain(output, chunk);
    output->waiting += sizeof(*chunk);
    output->queued += len;
}

void output_flush(struct output *output, struct stream *stream, int64_t timeout_ms)
{
    struct iovec iov[4];
    int count = 0;
    struct chunk *chunk = output->first;
    if (output->sending > 0 || chunk == NULL)
        return;
    if (chunk->file >= 0) {
        output->sending = chunk->left;
        stream_send_file(stream, chunk->file, chunk->offset, chunk->left, timeout_ms);
        return;
    }
    for (; chunk != NULL && chunk->file < 0 && count < (int)COUNT(iov); chunk = chunk->next) {
        char *data = chunk->blob != NULL ? chunk->blob->data : chunk->data;
        iov[count].iov_base = data + chunk->start;
        iov[count].iov_len = chunk->end - chunk->start;
        output->sending += (int64_t)iov[count++].iov_len;
    }
    stream_send(stream, iov, count, timeout_ms);
}

static void drop_first(struct output *output, struct chunk_pool *pool)
{
    struct chunk *chunk = output->first;
    output->first = chunk->next;
    if (output->first == NULL)
        output->last = NULL;
    chunk_give_back(pool, chunk);
}

static bool move_file(struct output *to, struct chunk *chunk, struct chunk_pool *pool, size_t len)
{
    static const char zeros[1024];
    int64_t end = to->queued + (int64_t)len;
    bool is_good = output_append_from_file(to, pool, chunk->file, chunk->offset, (int64_t)len);
    while (to->queued < end)
        output_append(to, pool,
                      text_part(text_from(zeros, sizeof(zeros)), 0, (size_t)(end - to->queued)));
    chunk->offset += (int64_t)len;
    chunk->left -= (int64_t)len;
    return is_good;
}

static void move_memory(struct output *to, struct chunk *chunk, struct chunk_pool *pool, size_t len)
{
    const char *data = chunk->blob != NULL ? chunk->blob->data : chunk->data;
    output_append(to, pool, text_from(data + chunk->start, len));
    chunk->start += len;
}

bool output_move(struct output *to, struct output *from, struct chunk_pool *pool, size_t len)
{
    bool is_good = true;
    from->sent += (int64_t)len;
    while (len > 0) {
        struct chunk *chunk = from->first;
        bool is_file = chunk->file >= 0;
        size_t have = is_file ? (size_t)chunk->left : chunk->end - chunk->start;
        size_t part = have < len ? have : len;
        if (is_file)
            is_good = move_file(to, chunk, pool, part) && is_good;
        else
            move_memory(to, chunk, pool, part);
        if (!is_file)
            from->waiting -= part;
        else if (part == have)
            from->waiting -= sizeof(*chunk);
        if (part == have)
            drop_first(from, pool);
        len -= part;
    }
    return is_good;
}

void output_sent(struct output *output, struct chunk_pool *pool)
{
    int64_t left = output->sending;
    output->sent += left;
    output->sending = 0;
    while (left > 0) {
        struct chunk *chunk = output->first;
        if (chunk->file >= 0) {
            output->waiting -= sizeof(*chunk);
            drop_first(output, pool);
            return;
        }
        size_t have = chunk->end - chunk->start;
        size_t len = (int64_t)have < left ? have : (size_t)left;
        chunk->start += len;
        output->waiting -= len;
        left -= (int64_t)len;
        if (chunk->start == chunk->end)
            drop_first(output, pool);
    }
}

void output_done(struct output *output, struct chunk_pool *pool)
{
    while (output->first != NULL)
        drop_first(output, pool);
    *output = (struct output){ 0 };
}

static void chunks_free(struct chunk **idle)
{
    while (*idle != NULL) {
        struct chunk *chunk = *idle;
        *idle = chunk->next;
        memory_free(chunk);
    }
}

void chunk_pool_done(struct chunk_pool *pool)
{
    chunks_free(&pool->idle);
    chunks_free(&pool->idle_small);
    *pool = (struct chunk_pool){ 0 };
}
