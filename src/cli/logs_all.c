/*
 * `trilith logs` of several servers: each is asked for its last lines, which are put together by
 * time; then what comes is printed as it comes. A server that cannot be reached, or breaks off, is
 * said so and asked again while new lines are waited for.
 */
#include "cli/logs.h"

#include "cli/terminal.h"
#include "core/clock.h"
#include "core/memory.h"
#include "process/peer.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ASK_MS = 10000,
    CONNECT_MS = 3000,
    READ_MS = 60000, /* a search through all old files */
    AGAIN_MS = 2000,
    ANSWER_LIMIT = 4 << 20,
};

struct line {
    int64_t time_ms;
    size_t server, number;
    bool is_access;
    char *text; /* owned */
    size_t len;
};

struct source {
    const char *name;
    bool is_here;
    struct peer_stream *stream; /* NULL: not connected */
    int64_t again_ms;
};

struct all {
    const struct logs_query *query;
    const struct logs_output *output;
    const char *state;
    struct source *sources;
    size_t count;
    struct line *lines;
    size_t line_count, line_room;
    bool has_failed; /* some server was not there */
    bool is_over;    /* nobody reads any more */
};

/* ---- asking ---- */

static void drop(struct source *source)
{
    if (source->stream != NULL)
        peer_stream_close(source->stream);
    memory_free(source->stream);
    source->stream = NULL;
    source->again_ms = clock_now_ms() + AGAIN_MS;
}

static enum err ask(const struct all *all, struct source *source, const struct logs_query *query,
                    struct why *why)
{
    struct buffer words AUTO(buffer_done) = buffer_of(1024);
    struct text state = text_of(all->state);
    source->stream = NEW(struct peer_stream);
    source->stream->fd = -1;
    logs_query_write(query, &words);
    enum err err = source->is_here
                       ? peer_connect_here(state, PEER_LOGS, CONNECT_MS, source->stream, why)
                       : peer_connect(state, text_of(source->name), PEER_LOGS, CONNECT_MS,
                                      source->stream, why);
    if (err == OK && peer_send(source->stream, PEER_COMMAND, buffer_text(&words)) != OK)
        err = fail(why, ERR_CLOSED, "%s: the log hung up", source->name);
    if (err != OK)
        drop(source);
    return err;
}

/* ---- lines ---- */

static void keep_line(struct all *all, size_t server, bool is_access, struct text text)
{
    if (all->line_count == all->line_room) {
        all->line_room = all->line_room > 0 ? 2 * all->line_room : 256;
        all->lines = memory_resize(all->lines, all->line_room * sizeof(*all->lines));
    }
    struct line *line = &all->lines[all->line_count];
    int64_t time_ms = logs_time_ms(is_access, text);
    if (time_ms < 0 && all->line_count > 0 && line[-1].server == server)
        time_ms = line[-1].time_ms; /* it goes with the one before it */
    *line = (struct line){ .time_ms = time_ms,
                           .server = server,
                           .number = all->line_count++,
                           .is_access = is_access,
                           .text = memory_new(text.len + 1),
                           .len = text.len };
    if (text.len > 0)
        memcpy(line->text, text.data, text.len);
}

static int compare(const void *a, const void *b)
{
    const struct line *one = a, *other = b;
    if (one->time_ms != other->time_ms)
        return one->time_ms < other->time_ms ? -1 : 1;
    return one->number < other->number ? -1 : one->number > other->number;
}

static void print_kept(struct all *all)
{
    size_t most = (size_t)all->query->lines;
    size_t from = all->line_count > most ? all->line_count - most : 0;
    if (all->line_count > 0)
        qsort(all->lines, all->line_count, sizeof(*all->lines), compare);
    for (size_t i = 0; i < all->line_count; i++) {
        const struct line *line = &all->lines[i];
        if (i >= from && !all->is_over)
            all->is_over = !logs_print(all->output, all->sources[line->server].name,
                                       line->is_access, text_from(line->text, line->len));
        memory_free(line->text);
    }
    memory_free(all->lines);
    all->lines = NULL;
}

/* Lines of a PEER_DATA, each behind its kind. */
static void take_lines(struct all *all, size_t server, struct text data, bool is_kept)
{
    while (data.len > 0 && !all->is_over) {
        struct text line = text_next(&data, '\n');
        if (line.len == 0)
            continue;
        bool is_access = line.data[0] == 'a';
        if (is_kept)
            keep_line(all, server, is_access, text_skip(line, 1));
        else
            all->is_over =
                !logs_print(all->output, all->sources[server].name, is_access, text_skip(line, 1));
    }
}

/* Everything that is there already. */
static enum err read_last(struct all *all, size_t server, struct why *why)
{
    struct source *source = &all->sources[server];
    struct peer_frame frame;
    enum err err;
    peer_stream_extend(source->stream, READ_MS);
    while ((err = peer_receive(source->stream, &frame)) == OK && frame.type == PEER_DATA)
        take_lines(all, server, frame.payload, true);
    if (err == OK && (frame.type == PEER_END || frame.type == PEER_ANSWER))
        return OK;
    if (err == OK)
        err = fail(why, ERR_DENIED, "%s: %.*s", source->name, FMT(frame.payload));
    else
        (void)fail(why, err, "%s: the log broke off: %s", source->name, err_text(err));
    drop(source);
    return err;
}

/* ---- what comes ---- */

static void read_more(struct all *all, size_t server)
{
    struct source *source = &all->sources[server];
    struct peer_frame frame;
    peer_stream_extend(source->stream, CONNECT_MS);
    if (peer_receive(source->stream, &frame) != OK) {
        complain("%s: the log broke off; it is asked again", source->name);
        drop(source);
        return;
    }
    if (frame.type == PEER_DATA)
        take_lines(all, server, frame.payload, false);
}

static bool has_frame(const struct peer_stream *stream)
{
    struct peer_frame frame;
    size_t used;
    return stream->len > 0 &&
           peer_frame_parse(text_from(stream->buffer + stream->start, stream->len), &frame,
                            &used) == OK;
}

static void ask_again(struct all *all)
{
    struct logs_query query = *all->query;
    query.lines = 0;
    for (size_t i = 0; i < all->count; i++) {
        struct source *source = &all->sources[i];
        if (source->stream == NULL && clock_now_ms() >= source->again_ms &&
            ask(all, source, &query, NULL) == OK)
            complain("%s: the log goes on", source->name);
    }
}

static void follow(struct all *all)
{
    struct pollfd *ready = memory_new_array(all->count, sizeof(*ready));
    while (!all->is_over) {
        int wait_ms = AGAIN_MS;
        ask_again(all);
        for (size_t i = 0; i < all->count; i++) {
            const struct peer_stream *stream = all->sources[i].stream;
            ready[i] = (struct pollfd){ .fd = stream != NULL ? stream->fd : -1, .events = POLLIN };
            wait_ms = stream != NULL && has_frame(stream) ? 0 : wait_ms;
        }
        if (poll(ready, all->count, wait_ms) < 0)
            continue;
        for (size_t i = 0; i < all->count; i++) {
            const struct peer_stream *stream = all->sources[i].stream;
            if (stream != NULL && (ready[i].revents != 0 || has_frame(stream)))
                read_more(all, i);
        }
    }
    memory_free(ready);
}

/* ---- the servers ---- */

static void add_sources(struct all *all, const json_t *here, const char *server)
{
    json_t *name, *names = json_object_get(here, "servers");
    const char *own = json_string_value(json_object_get(here, "server"));
    size_t index;
    all->sources = memory_new_array(json_array_size(names) + 1, sizeof(*all->sources));
    json_array_foreach(names, index, name)
    {
        const char *text = json_string_value(name);
        if (text == NULL || (server != NULL && strcmp(text, server) != 0))
            continue;
        struct source *source = &all->sources[all->count++];
        source->name = text;
        source->is_here = own != NULL && strcmp(text, own) == 0;
    }
}

static void run(struct all *all)
{
    for (size_t i = 0; i < all->count; i++) { /* all search at the same time */
        struct why why = { "" };
        if (ask(all, &all->sources[i], all->query, &why) == OK)
            continue;
        complain("%s", why.text);
        all->has_failed = true;
    }
    for (size_t i = 0; i < all->count; i++) {
        struct why why = { "" };
        if (all->sources[i].stream == NULL || read_last(all, i, &why) == OK)
            continue;
        complain("%s", why.text);
        all->has_failed = true;
    }
    print_kept(all);
    if (all->query->follow)
        follow(all);
    for (size_t i = 0; i < all->count; i++)
        drop(&all->sources[i]);
}

int logs_all(const struct target *target, const char *server, const struct logs_query *query,
             struct logs_output *output)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    struct all all = { .query = query, .output = output };
    int status = target_ask(target, "status", ASK_MS, &answer);
    if (status != CLI_OK)
        return status;
    json_t *here = json_loadb(answer.data, answer.len, 0, NULL);
    all.state = json_string_value(json_object_get(here, "state_folder"));
    add_sources(&all, here, server);
    if (all.count == 0 || all.state == NULL) {
        complain("%s: the site file has no server '%s'", target->site,
                 server != NULL ? server : "");
        memory_free(all.sources);
        json_decref(here);
        return CLI_FAILED;
    }
    output->has_colour = terminal_has_colour(STDOUT_FILENO);
    for (size_t i = 0; i < all.count && all.count > 1; i++) {
        int width = (int)strlen(all.sources[i].name);
        output->width = width > output->width ? width : output->width;
    }
    run(&all);
    memory_free(all.sources);
    json_decref(here);
    return all.has_failed || all.is_over ? CLI_FAILED : CLI_OK;
}
