/*
 * `trilith check` and `trilith schema`: what a site file says, and what it may say.
 */
#include "cli/command.h"
#include "cli/terminal.h"
#include "core/sys.h"

#include <jansson.h>
#include <unistd.h>

/* One line "FILE:LINE:COLUMN: TEXT" as a JSON object; a line without a place has only the text. */
static void write_mistake(struct buffer *out, const char *path, struct text line)
{
    uint64_t number = 0, column = 0;
    struct text rest = text_skip(line, strlen(path));
    struct text message = text_skip(rest, 2);
    if (text_starts_with(rest, T(":"))) {
        struct text place = text_skip(rest, 1);
        struct text first = text_next(&place, ':'), second = text_next(&place, ':');
        if (text_to_uint(first, INT32_MAX, &number) && text_to_uint(second, INT32_MAX, &column))
            message = text_trim(place);
    }
    buffer_print(out, "{\"line\":%d,\"column\":%d,\"message\":\"", (int)number, (int)column);
    buffer_append_json(out, message);
    buffer_print(out, "\"}");
}

static int print_json(const char *path, const struct site_mistakes *mistakes)
{
    struct buffer out AUTO(buffer_done) = buffer_of(4 << 20);
    struct text rest = buffer_text(&mistakes->text);
    const char *gap = "";
    buffer_print(&out, "{\"file\":\"");
    buffer_append_json(&out, text_of(path));
    buffer_print(&out, "\",\"ok\":%s,\"mistakes\":[", mistakes->count == 0 ? "true" : "false");
    while (rest.data != NULL && !text_is_empty(rest)) {
        buffer_print(&out, "%s", gap);
        write_mistake(&out, path, text_next(&rest, '\n'));
        gap = ",";
    }
    buffer_print(&out, "]}\n");
    return print_text(buffer_text(&out)) && mistakes->count == 0 ? CLI_OK : CLI_FAILED;
}

static int print_summary(const char *path, const struct site *site)
{
    struct buffer out AUTO(buffer_done) = buffer_of(4096);
    bool has_colour = terminal_has_colour(STDOUT_FILENO);
    buffer_print(&out, "%s: %sok%s: %.*s, %zu server%s", path,
                 colour_begin(COLOUR_GREEN, has_colour), colour_end(COLOUR_GREEN, has_colour),
                 FMT(site->name), site->server_count, site->server_count == 1 ? "" : "s");
    buffer_print(&out, ", %zu route%s", site->route_count, site->route_count == 1 ? "" : "s");
    buffer_print(&out, ", %zu app%s", site->app_count, site->app_count == 1 ? "" : "s");
    buffer_print(&out, "%s%s\n", site->database.is_present ? ", a database" : "",
                 site->dns.is_present ? ", DNS" : "");
    return print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
}

int command_check(const struct invocation *invocation)
{
    const char *path = invocation->arguments[0];
    struct site *site = NULL;
    struct site_mistakes mistakes;
    enum err err = site_load(path, &site, &mistakes);
    int status = err == OK ? CLI_OK : CLI_FAILED;
    if (invocation->options.json)
        status = print_json(path, &mistakes);
    else if (err != OK)
        (void)!sys_write(STDERR_FILENO, mistakes.text.data, mistakes.text.len);
    else if (!invocation->options.quiet)
        status = print_summary(path, site);
    if (err != OK && !invocation->options.json && mistakes.count > 1)
        complain("%zu mistakes in %s", mistakes.count, path);
    site_mistakes_done(&mistakes);
    site_free(site);
    return status;
}

static int append_piece(const char *piece, size_t size, void *out)
{
    buffer_append(out, text_from(piece, size));
    return 0;
}

int command_schema(const struct invocation *invocation)
{
    struct buffer out AUTO(buffer_done) = buffer_of(4 << 20);
    struct buffer compact AUTO(buffer_done) = buffer_of(4 << 20);
    if (invocation->options.markdown) {
        site_write_reference(&out);
        return print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
    }
    site_write_schema(&compact);
    json_t *schema = json_loadb(compact.data, compact.len, 0, NULL);
    int failed =
        json_dump_callback(schema, append_piece, &out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(schema);
    buffer_print(&out, "\n");
    return failed == 0 && print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
}
