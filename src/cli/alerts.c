/*
 * `trilith alerts`: what is wrong now, silences, a test of the receivers, and what happened. The
 * monitor answers; where it runs on another server, through the process `peer` of this one.
 */
#include "cli/status.h"
#include "cli/target.h"
#include "cli/terminal.h"
#include "core/clock.h"
#include "process/peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    ASK_MS = 10000,
    PEER_MS = 5000,
    ANSWER_LIMIT = 4 << 20,
    LINE_SIZE = 512,
    HOUR_MS = 3600000,
    EVENTS = 50,
};

/* ---- the line for the monitor ---- */

static bool has_count(const struct invocation *invocation, size_t least, size_t most)
{
    return invocation->argument_count >= least && invocation->argument_count <= most;
}

static int wrong(const char *usage)
{
    complain("write: trilith alerts %s", usage);
    return CLI_USAGE;
}

static int write_silence(const struct invocation *invocation, char line[LINE_SIZE])
{
    int64_t ms = HOUR_MS;
    if (!has_count(invocation, 2, 3))
        return wrong("silence WHAT [TIME]");
    if (invocation->argument_count == 3 &&
        (!site_read_time(text_of(invocation->arguments[2]), &ms) || ms <= 0)) {
        complain("'%s' is not a duration; write one like 30m, 2h or 7d", invocation->arguments[2]);
        return CLI_USAGE;
    }
    snprintf(line, LINE_SIZE, "alerts silence %" PRId64 " %s", ms, invocation->arguments[1]);
    return CLI_OK;
}

static int write_line(const struct invocation *invocation, char line[LINE_SIZE])
{
    const char *verb = invocation->argument_count > 0 ? invocation->arguments[0] : "list";
    bool is_alone = has_count(invocation, 0, 1);
    if (strcmp(verb, "silence") == 0)
        return write_silence(invocation, line);
    if (strcmp(verb, "unsilence") == 0 && !has_count(invocation, 2, 2))
        return wrong("unsilence WHAT");
    if (strcmp(verb, "unsilence") == 0)
        snprintf(line, LINE_SIZE, "alerts unsilence %s", invocation->arguments[1]);
    else if (strcmp(verb, "events") == 0 && is_alone)
        snprintf(line, LINE_SIZE, "alerts events %d", EVENTS);
    else if ((strcmp(verb, "list") == 0 || strcmp(verb, "test") == 0) && is_alone)
        snprintf(line, LINE_SIZE, "alerts %s", verb);
    else
        return wrong("[list|silence WHAT [TIME]|unsilence WHAT|test|events]");
    return CLI_OK;
}

/* ---- asking ---- */

static enum err ask_stream(struct peer_stream *stream, const char *line, struct buffer *answer,
                           struct why *why)
{
    struct peer_frame frame;
    enum err err = peer_send(stream, PEER_COMMAND, text_of(line));
    if (err == OK)
        err = peer_receive(stream, &frame);
    if (err != OK)
        return fail(why, err, "the monitor does not answer: %s", err_text(err));
    if (frame.type != PEER_ANSWER)
        return fail(why, ERR_DENIED, "the monitor refused: %.*s", FMT(frame.payload));
    buffer_clear(answer);
    buffer_append(answer, frame.payload);
    return OK;
}

static enum err ask_server(const char *state, const char *server, bool is_here, const char *line,
                           struct buffer *answer, struct why *why)
{
    struct peer_stream stream;
    enum err err = is_here ? peer_connect_here(text_of(state), PEER_COMMANDS, PEER_MS, &stream, why)
                           : peer_connect(text_of(state), text_of(server), PEER_COMMANDS, PEER_MS,
                                          &stream, why);
    if (err != OK)
        return err;
    err = ask_stream(&stream, line, answer, why);
    peer_stream_close(&stream);
    return err;
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* This server first, then the others in the order of the site file. A list is asked of one monitor,
 * whatever changes something is for all of them. */
static enum err ask_monitors(const json_t *here, const char *line, bool is_for_all,
                             struct buffer *answer, struct why *why)
{
    const char *state = string_of(here, "state_folder"), *own = string_of(here, "server");
    struct why last = { "no server of the site runs a monitor; add `monitor:` to the site file" };
    enum err result = ask_server(state, own, true, line, answer, NULL);
    json_t *name;
    size_t index;
    json_array_foreach(json_object_get(here, "servers"), index, name)
    {
        struct buffer other AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
        const char *server = json_string_value(name);
        if (server == NULL || strcmp(server, own) == 0 || (result == OK && !is_for_all))
            continue;
        if (ask_server(state, server, false, line, &other, &last) != OK || result == OK)
            continue;
        buffer_append(answer, buffer_text(&other));
        result = OK;
    }
    return result == OK ? OK : fail(why, result, "%s", last.text);
}

/* ---- the page ---- */

static void write_alert(struct buffer *out, const json_t *alert, int64_t now_ms, bool is_under,
                        bool has_colour)
{
    char age[24];
    bool is_critical = strcmp(string_of(alert, "severity"), "critical") == 0;
    bool is_over = strcmp(string_of(alert, "state"), "settling") == 0;
    enum colour colour = is_over ? COLOUR_DIM : is_critical ? COLOUR_RED : COLOUR_YELLOW;
    int64_t since_ms = json_integer_value(json_object_get(alert, "since_ms"));
    buffer_print(out, "  %6s  %s%-8s%s  %s%-20s  %s%s%s\n", status_age(now_ms - since_ms, age),
                 colour_begin(colour, has_colour), string_of(alert, "severity"),
                 colour_end(colour, has_colour), is_under ? "  " : "", string_of(alert, "alert"),
                 string_of(alert, "summary"),
                 is_over                                          ? " (getting well)"
                 : !json_is_true(json_object_get(alert, "known")) ? " (not known now)"
                                                                  : "",
                 json_is_true(json_object_get(alert, "silenced")) ? " (silenced)" : "");
}

/* Roots, each with what follows from it below. */
static void write_alerts(struct buffer *out, const json_t *alerts, bool has_colour)
{
    const json_t *root, *other;
    size_t i, j;
    int64_t now_ms = clock_wall_ms();
    json_array_foreach(alerts, i, root)
    {
        if (string_of(root, "cause")[0] != '\0')
            continue;
        write_alert(out, root, now_ms, false, has_colour);
        json_array_foreach(alerts, j, other)
        {
            if (strcmp(string_of(other, "cause"), string_of(root, "id")) == 0)
                write_alert(out, other, now_ms, true, has_colour);
        }
    }
}

static void write_rest(struct buffer *out, const json_t *root)
{
    const json_t *one;
    size_t index;
    json_array_foreach(json_object_get(root, "silences"), index, one) buffer_print(
        out, "silenced: %s until %.19sZ\n", string_of(one, "pattern"), string_of(one, "until"));
    json_array_foreach(json_object_get(root, "receivers"), index, one)
    {
        int64_t waiting = json_integer_value(json_object_get(one, "waiting"));
        buffer_print(out, "told: %s", string_of(one, "receiver"));
        if (string_of(one, "trouble")[0] != '\0')
            buffer_print(out, ", %" PRId64 " waiting: %s", waiting, string_of(one, "trouble"));
        buffer_append_byte(out, '\n');
    }
    if (json_array_size(json_object_get(root, "receivers")) == 0)
        buffer_append(out, T("nobody is told: the site file names no receiver\n"));
    int64_t left_out = json_integer_value(json_object_get(root, "left_out"));
    if (left_out > 0)
        buffer_print(out, "and %" PRId64 " alerts more\n", left_out);
}

static void write_page(struct buffer *out, const char *site, const json_t *root, bool has_colour)
{
    const json_t *alerts = json_object_get(root, "alerts");
    size_t count = json_array_size(alerts);
    buffer_print(out, "%s%s%s: %s", colour_begin(COLOUR_BOLD, has_colour), site,
                 colour_end(COLOUR_BOLD, has_colour), count == 0 ? "no alerts\n" : "");
    if (count > 0)
        buffer_print(out, "%zu alert%s\n\n", count, count > 1 ? "s" : "");
    write_alerts(out, alerts, has_colour);
    if (count > 0)
        buffer_append_byte(out, '\n');
    write_rest(out, root);
}

static void write_events(struct buffer *out, const json_t *root)
{
    const json_t *event;
    size_t index;
    json_array_foreach(json_object_get(root, "events"), index, event)
        buffer_print(out, "%.19sZ  %-9s %-8s  %s\n", string_of(event, "time"),
                     string_of(event, "kind"), string_of(event, "level"), string_of(event, "text"));
}

static int print_answer(const struct invocation *invocation, const struct target *target,
                        const struct buffer *answer)
{
    struct buffer out AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    json_t *root = json_loadb(answer->data, answer->len, 0, NULL);
    const char *error = string_of(root, "error");
    int status = json_is_true(json_object_get(root, "ok")) ? CLI_OK : CLI_FAILED;
    bool is_printed = true;
    if (status != CLI_OK) {
        complain("%s: %s", target->site, error[0] != '\0' ? error : "the answer is not understood");
    } else if (invocation->options.json) {
        is_printed = print_text(buffer_text(answer)) && print_text(T("\n"));
    } else if (!invocation->options.quiet) {
        if (json_object_get(root, "events") != NULL)
            write_events(&out, root);
        else
            write_page(&out, target->site, root, terminal_has_colour(STDOUT_FILENO));
        is_printed = print_text(buffer_text(&out));
    }
    json_decref(root);
    return is_printed ? status : CLI_FAILED;
}

int command_alerts(const struct invocation *invocation)
{
    struct invocation about = *invocation;
    struct target target;
    struct why why = { "" };
    char line[LINE_SIZE];
    struct buffer status_text AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    struct buffer answer AUTO(buffer_done) = buffer_of(ANSWER_LIMIT);
    int status = write_line(invocation, line);
    if (status != CLI_OK)
        return status;
    about.arguments[0] = invocation->options.site;
    about.argument_count = invocation->options.site != NULL ? 1 : 0;
    status = target_find(&about, &target);
    if (status == CLI_OK)
        status = target_ask(&target, "status", ASK_MS, &status_text);
    if (status != CLI_OK)
        return status;
    json_t *here = json_loadb(status_text.data, status_text.len, 0, NULL);
    bool is_for_all =
        strncmp(line, "alerts silence", 14) == 0 || strncmp(line, "alerts unsilence", 16) == 0;
    enum err err = ask_monitors(here, line, is_for_all, &answer, &why);
    json_decref(here);
    if (err == OK)
        return print_answer(invocation, &target, &answer);
    complain("%s: %s", target.site, why.text);
    return CLI_FAILED;
}
