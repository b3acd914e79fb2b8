/*
 * `trilith status --all`: every server of the site in one table, with what is not well there. This
 * server is asked directly, the others through its process `peer`; one that does not answer is a
 * row that says why.
 */
#include "cli/status.h"

#include "cli/target.h"
#include "cli/terminal.h"
#include "process/peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ASK_MS = 10000, PEER_MS = 3000, ANSWER_LIMIT = 4 << 20, OUTPUT_LIMIT = 16 << 20 };

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* ---- the page ---- */

/* Adds "name state (reason)" of each entry of a list whose state is not as it should be. */
static void add_troubles(struct buffer *out, const json_t *list, const char *well,
                         const char *reason)
{
    size_t index;
    json_t *entry;
    json_array_foreach(list, index, entry)
    {
        const char *state = string_of(entry, "state"), *why = string_of(entry, reason);
        if (strcmp(state, well) == 0 || strcmp(state, "unknown") == 0)
            continue;
        buffer_print(out, "%s%s %s", out->len > 0 ? "; " : "", string_of(entry, "name"), state);
        if (why[0] != '\0')
            buffer_print(out, " (%s)", why);
    }
}

static void write_row(struct buffer *out, const char *name, const json_t *answer, int width,
                      bool has_colour)
{
    struct buffer note AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    bool is_there = json_is_true(json_object_get(answer, "ok"));
    const char *state = is_there ? string_of(answer, "state") : "no answer";
    bool is_well = strcmp(state, "serving") == 0;
    enum colour colour = is_well ? COLOUR_GREEN : is_there ? COLOUR_YELLOW : COLOUR_RED;
    char age[24] = "-", requests[24] = "-";
    const json_t *parent = json_array_get(json_object_get(answer, "processes"), 0);
    if (is_there) {
        status_age(number_of(parent, "uptime_ms"), age);
        snprintf(requests, sizeof(requests), "%" PRId64,
                 number_of(json_object_get(answer, "metrics"), "requests"));
        add_troubles(&note, json_object_get(answer, "processes"), "ready", "ended");
        add_troubles(&note, json_object_get(answer, "backends"), "up", "reason");
    } else {
        buffer_print(&note, "%s", string_of(answer, "error"));
    }
    buffer_print(out, "  %-*s  %s%-9s%s %10" PRId64 " %7s %10s  %.*s\n", width, name,
                 colour_begin(colour, has_colour), state, colour_end(colour, has_colour),
                 number_of(answer, "generation"), age, requests, FMT(buffer_text(&note)));
}

void status_all_page(struct buffer *out, const char *site, const json_t *servers, bool has_colour)
{
    const json_t *knows = NULL; /* the first server that has seen the databases */
    const char *name;
    json_t *answer;
    int width = (int)strlen("SERVER");
    json_object_foreach((json_t *)servers, name, answer)
    {
        width = (int)strlen(name) > width ? (int)strlen(name) : width;
        if (knows == NULL && json_array_size(json_object_get(answer, "databases")) > 0)
            knows = answer;
    }
    buffer_print(out, "%s%s%s\n\n", colour_begin(COLOUR_BOLD, has_colour), site,
                 colour_end(COLOUR_BOLD, has_colour));
    buffer_print(out, "  %-*s  %-9s %10s %7s %10s  NOTE\n", width, "SERVER", "STATE", "GENERATION",
                 "UPTIME", "REQUESTS");
    json_object_foreach((json_t *)servers, name, answer)
        write_row(out, name, answer, width, has_colour);
    status_databases(out, knows, has_colour);
}

/* ---- asking ---- */

static enum err read_all(struct peer_stream *stream, struct buffer *answer, struct why *why)
{
    char piece[16384];
    size_t got = 1;
    while (got > 0) {
        enum err err = peer_read(stream, piece, sizeof(piece), &got);
        if (err != OK)
            return fail(why, err, "its answer broke off: %s", err_text(err));
        buffer_append(answer, text_from(piece, got));
    }
    return answer->failed ? fail(why, ERR_LIMIT, "its answer is too long") : OK;
}

/* What that server says of itself, or {"ok": false, "error": "..."}. */
static json_t *ask_peer(const char *state, const char *server)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    struct peer_stream stream;
    struct why why;
    enum err err =
        peer_connect(text_of(state), text_of(server), PEER_STATUS, PEER_MS, &stream, &why);
    if (err == ERR_NOT_FOUND) /* no site key, no process `peer` */
        (void)fail(&why, err,
                   "not asked: this server has no channel to others; give every server "
                   "the site's key (trilith help init), then reload");
    if (err == OK) {
        err = read_all(&stream, &answer, &why);
        peer_stream_close(&stream);
    }
    json_t *root = err == OK ? json_loadb(answer.data, answer.len, 0, NULL) : NULL;
    if (root != NULL)
        return root;
    root = json_object();
    json_object_set_new(root, "ok", json_false());
    json_object_set_new(root, "error",
                        json_string(err == OK ? "its answer is not understood" : why.text));
    return root;
}

/* Name -> answer of each server, in the order of the site file. */
static json_t *ask_servers(json_t *here)
{
    json_t *servers = json_object(), *name;
    size_t index;
    json_array_foreach(json_object_get(here, "servers"), index, name)
    {
        const char *server = json_string_value(name);
        bool is_here = server == NULL || strcmp(server, string_of(here, "server")) == 0;
        if (server != NULL)
            json_object_set_new(servers, server,
                                is_here ? json_incref(here)
                                        : ask_peer(string_of(here, "state_folder"), server));
    }
    return servers;
}

static bool print_json(const struct target *target, json_t *servers)
{
    json_t *root = json_object();
    json_object_set_new(root, "ok", json_true());
    json_object_set_new(root, "site", json_string(target->site));
    json_object_set(root, "servers", servers);
    bool is_done =
        json_dumpf(root, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
    json_decref(root);
    return is_done;
}

static bool print_page(const struct target *target, const json_t *servers)
{
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    status_all_page(&out, target->site, servers, terminal_has_colour(STDOUT_FILENO));
    return print_text(buffer_text(&out));
}

int status_all(const struct target *target, bool is_json)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    int status = target_ask(target, "status", ASK_MS, &answer);
    if (status != CLI_OK)
        return status;
    json_t *here = json_loadb(answer.data, answer.len, 0, NULL);
    json_t *servers = ask_servers(here), *one;
    const char *name;
    bool is_printed = is_json ? print_json(target, servers) : print_page(target, servers);
    status = is_printed ? CLI_OK : CLI_FAILED;
    json_object_foreach(servers, name, one)
    {
        if (!json_is_true(json_object_get(one, "ok")))
            status = CLI_FAILED;
    }
    json_decref(servers);
    json_decref(here);
    return status;
}
