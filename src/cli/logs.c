/*
 * `trilith logs`: the last lines of a site's log, and on request the new ones as they come, across
 * the change to a new file. This server's files are read as they are, whether the site runs or not;
 * those of other servers come through the process `peer` (logs_all.c).
 */
#include "cli/logs.h"

#include "cli/terminal.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>

enum { FOLLOW_MS = 200, LINE_LIMIT = 1 << 20 };

/* ---- one line ---- */

/* "TIME LEVEL PROCESS rest", as the log process writes it. */
static void add_parts(json_t *root, struct text line)
{
    struct text time = text_next(&line, ' ');
    struct text level = text_next(&line, ' ');
    line = text_trim(line);
    struct text process = text_next(&line, ' ');
    json_object_set_new(root, "time", json_stringn(time.data, time.len));
    json_object_set_new(root, "level", json_stringn(level.data, level.len));
    json_object_set_new(root, "process", json_stringn(process.data, process.len));
    if (line.data != NULL)
        json_object_set_new(root, "text", json_stringn(line.data, line.len));
}

static void write_json(struct buffer *out, const char *server, bool is_access, struct text line)
{
    char time[CLOCK_ISO_SIZE] = "";
    json_t *root = json_object();
    json_t *entry =
        text_starts_with(line, T("{")) ? json_loadb(line.data, line.len, 0, NULL) : NULL;
    int64_t time_ms = logs_time_ms(is_access, line);
    if (server[0] != '\0')
        json_object_set_new(root, "server", json_string(server));
    json_object_set_new(root, "log", json_string(is_access ? "access" : "trilith"));
    if (time_ms >= 0)
        clock_format_iso(time_ms, time);
    json_object_set_new(root, "time", json_string(time));
    if (entry != NULL)
        json_object_set_new(root, "entry", entry);
    else if (!is_access && time_ms >= 0)
        add_parts(root, line);
    else
        json_object_set_new(root, "text", json_stringn(line.data, line.len));
    char *text = json_dumps(root, JSON_COMPACT);
    buffer_append(out, text_of(text != NULL ? text : "{}")); /* NULL: a line that is no UTF-8 */
    memory_free(text);
    json_decref(root);
}

bool logs_print(const struct logs_output *output, const char *server, bool is_access,
                struct text line)
{
    struct buffer out AUTO(buffer_done) = buffer_of(LINE_LIMIT);
    if (output->is_json) {
        write_json(&out, server, is_access, line);
    } else {
        if (output->width > 0)
            buffer_print(&out, "%s%-*s%s  ", colour_begin(COLOUR_DIM, output->has_colour),
                         output->width, server, colour_end(COLOUR_DIM, output->has_colour));
        buffer_append(&out, line);
    }
    buffer_append_byte(&out, '\n');
    return out.failed || print_text(buffer_text(&out));
}

/* ---- this server ---- */

struct printing {
    const struct logs_output *output;
    bool has_failed;
};

static bool print_one(void *context, bool is_access, struct text line)
{
    struct printing *printing = context;
    printing->has_failed = !logs_print(printing->output, "", is_access, line);
    return !printing->has_failed;
}

static int read_here(const char *path, const struct logs_query *query,
                     const struct logs_output *output)
{
    struct logs_reader reader;
    struct printing printing = { output, false };
    AUTO(fd_close) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *name = query->has_main ? "trilith.log" : "access.log";
    AUTO(fd_close) int fd = folder >= 0 ? openat(folder, name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 && errno == ENOENT) {
        complain("there is no log at %s/%s; `trilith up` starts the site, --state names its folder",
                 path, name);
        return CLI_NOT_RUNNING;
    }
    if (fd < 0) {
        complain("cannot read %s/%s: %s%s", path, name, strerror(errno),
                 errno == EACCES ? "; run this as root or as the user who started the site" : "");
        return CLI_FAILED;
    }
    bool goes_on = logs_reader_begin(&reader, folder, query, print_one, &printing);
    while (goes_on && query->follow) {
        clock_sleep_ms(FOLLOW_MS);
        goes_on = logs_reader_more(&reader, print_one, &printing);
    }
    logs_reader_done(&reader);
    return printing.has_failed ? CLI_FAILED : CLI_OK;
}

/* ---- the command ---- */

static int make_query(const struct options *options, struct logs_query *query)
{
    *query = (struct logs_query){ .lines = options->lines, .follow = options->follow };
    query->has_access = options->access || options->status != NULL || options->id != NULL;
    query->has_main = !options->access && options->status == NULL;
    if (options->status != NULL && !logs_status_read(text_of(options->status), query)) {
        complain("'%s' is not a status; write one like 404, 5xx or 400-499", options->status);
        return CLI_USAGE;
    }
    if (options->id != NULL && (!text_copy_to(text_of(options->id), query->id, sizeof(query->id)) ||
                                strpbrk(query->id, " \t\r\n") != NULL)) {
        complain("'%s' is not the id of a request; the access log has them", options->id);
        return CLI_USAGE;
    }
    return CLI_OK;
}

int command_logs(const struct invocation *invocation)
{
    const struct options *options = &invocation->options;
    struct target target;
    struct logs_query query;
    char path[TARGET_STATE_SIZE + TARGET_SITE_SIZE + 32];
    struct logs_output output = { .is_json = options->json };
    int status = make_query(options, &query);
    if (status == CLI_OK)
        status = target_find(invocation, &target);
    if (status != CLI_OK)
        return status;
    if (options->all || options->server != NULL || options->id != NULL)
        return logs_all(&target, options->server, &query, &output);
    snprintf(path, sizeof(path), "%s/%s/log", target.state, target.site);
    return read_here(path, &query, &output);
}
