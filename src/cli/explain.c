/*
 * `trilith explain URL`: reads the request as a server would, loads the site, fills a health board
 * from what the running site says of its backends, and lets the roles say what they would do.
 */
#include "cli/target.h"
#include "cli/terminal.h"
#include "core/memory.h"
#include "core/sys.h"
#include "http/forwarded.h"
#include "http/http1.h"

#include <jansson.h>
#include <stdio.h>

enum { ASK_MS = 10000, OUTPUT_LIMIT = 4 << 20, HEAD_LIMIT = 65536, ARENA_LIMIT = 1 << 20 };

/* What all steps need; freed by done(). */
struct explaining {
    const struct invocation *invocation;
    struct cli_question question;
    struct http_request request;
    struct site *site;
    struct arena *arena;
    struct buffer head;
    json_t *status; /* NULL: the site does not run here */
};

static void done(struct explaining *self)
{
    site_free(self->site);
    arena_free(self->arena);
    buffer_done(&self->head);
    json_decref(self->status);
    health_free(self->question.health);
}

/* ---- the request ---- */

static bool write_headers(struct explaining *self)
{
    const struct options *options = &self->invocation->options;
    for (size_t i = 0; i < options->header_count; i++) {
        struct text rest = text_of(options->headers[i]);
        struct text name = text_next(&rest, ':');
        if (!http_is_token(name) || !http_is_field_value(text_trim(rest))) {
            complain("'%s' is no header; write --header 'Name: value'", options->headers[i]);
            return false;
        }
        if (!text_equal_fold(name, T("Host")))
            buffer_print(&self->head, "%.*s: %.*s\r\n", FMT(name), FMT(text_trim(rest)));
    }
    return true;
}

static bool write_head(struct explaining *self, struct text url)
{
    const struct options *options = &self->invocation->options;
    struct text host = self->site->name, rest = url;
    if (text_starts_with(url, T("http://")) || text_starts_with(url, T("https://"))) {
        rest = text_skip(url, url.data[4] == 's' ? 8 : 7);
        size_t end = 0;
        while (end < rest.len && rest.data[end] != '/' && rest.data[end] != '?')
            end++;
        host = text_part(rest, 0, end);
        rest = text_skip(rest, end);
    }
    struct text target = text_next(&rest, '#'); /* a fragment is not sent */
    for (size_t i = 0; i < options->header_count; i++) {
        struct text header = text_of(options->headers[i]);
        if (text_equal_fold(text_next(&header, ':'), T("Host")))
            host = text_trim(header);
    }
    bool has_path = target.len > 0 && target.data[0] == '/';
    buffer_print(&self->head, "%s %s%.*s HTTP/1.1\r\nHost: %.*s\r\n",
                 options->method != NULL ? options->method : "GET", has_path ? "" : "/",
                 FMT(target), FMT(host));
    if (!write_headers(self))
        return false;
    buffer_append(&self->head, T("\r\n"));
    return true;
}

static bool read_request(struct explaining *self)
{
    static const struct http1_limits limits = { HEAD_LIMIT, HEAD_LIMIT, 128 };
    const char *from = self->invocation->options.from;
    struct http1_scan scan = { 0 };
    struct http1_problem problem = { 400, "it is cut" };
    struct http_request *request = &self->request;
    struct text head = buffer_text(&self->head);
    if (http1_scan(&scan, head, &limits, &problem) != HTTP1_DONE || scan.end != head.len ||
        http1_parse_request(text_part(head, scan.skip, scan.end), &limits, self->arena, request,
                            &problem) != HTTP1_DONE) {
        complain("a server would refuse this request with %d: %s", problem.status, problem.reason);
        return false;
    }
    if (address_parse_ip(text_of(from != NULL ? from : "127.0.0.1"), 0, &request->client) != OK) {
        complain("--from %s: not an IP address", from);
        return false;
    }
    struct http_trust trust = { .networks = self->site->web.trusted,
                                .count = self->site->web.trusted_count };
    request->scheme = T("http");
    request->server = self->question.server->address;
    sys_random_hex(request->id, sizeof(request->id), 16);
    http_forwarded_take(request, &trust);
    return true;
}

/* ---- the site ---- */

/* Says what the running site says of its backends on a board of our own. */
static void fill_board(struct health_board *board, const json_t *status)
{
    static const char *const members[] = { "file", "added", "removed" };
    size_t index;
    json_t *item;
    json_array_foreach(json_object_get(status, "backends"), index, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const char *judged = json_string_value(json_object_get(item, "judged"));
        const char *reason = json_string_value(json_object_get(item, "reason"));
        const char *member = json_string_value(json_object_get(item, "member"));
        struct health_entry *entry = health_use(board, text_of(name));
        if (entry == NULL || judged == NULL || member == NULL)
            continue;
        for (int state = HEALTH_UNKNOWN; state <= HEALTH_DOWN; state++)
            if (strcmp(judged, health_state_name((enum health_state)state)) == 0)
                health_judge(board, entry, (enum health_state)state, text_of(reason), -1, 1);
        for (size_t i = 0; i < COUNT(members); i++)
            if (strcmp(member, members[i]) == 0)
                health_set_member(board, entry, (enum health_member)i);
        health_set_drained(board, entry, json_is_true(json_object_get(item, "drained")));
        health_set_weight(board, entry, json_integer_value(json_object_get(item, "weight")));
        metrics_set(&health_lane(board, entry, 0)->active,
                    json_integer_value(json_object_get(item, "active")));
    }
}

/* The running site, when there is one. False: complained about. */
static int ask_running(struct explaining *self, const struct invocation *about)
{
    struct target target;
    struct why why;
    struct buffer answer AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    int status = target_find(about, &target);
    if (status != CLI_OK)
        return status;
    enum err err =
        control_ask(target.state, text_of(target.site), T("status"), ASK_MS, &answer, &why);
    if (err == OK)
        self->status = json_loadb(answer.data, answer.len, 0, NULL);
    else if (err != ERR_NOT_FOUND || about->argument_count == 0)
        complain("%s", why.text);
    return err == OK || (err == ERR_NOT_FOUND && about->argument_count > 0) ? CLI_OK : CLI_FAILED;
}

static bool load_site(struct explaining *self, const char *given)
{
    const char *running = json_string_value(json_object_get(self->status, "file"));
    const char *path = running != NULL ? running : given;
    struct site_mistakes mistakes = { 0 };
    enum err err = path != NULL ? site_load(path, &self->site, &mistakes) : ERR_MISSING;
    if (err != OK && mistakes.text.len > 0)
        complain("%.*s", FMT(text_trim(buffer_text(&mistakes.text))));
    else if (err != OK)
        complain("the site does not run here; give its file: --site FILE");
    site_mistakes_done(&mistakes);
    return err == OK;
}

static bool choose_server(struct explaining *self)
{
    const char *running = json_string_value(json_object_get(self->status, "server"));
    const char *name = self->invocation->options.server;
    name = name != NULL ? name : running;
    const struct site *site = self->site;
    self->question.server =
        name != NULL ? site_server_find(site, text_of(name)) : &site->servers[0];
    for (size_t i = 0; name == NULL && i < site->server_count; i++)
        if (site_balances(site, &site->servers[i])) {
            self->question.server = &site->servers[i]; /* where requests from outside come in */
            break;
        }
    if (self->question.server == NULL)
        complain("the site has no server '%s'", name);
    return self->question.server != NULL;
}

/* ---- the command ---- */

static int explain(struct explaining *self)
{
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    char from[ADDRESS_TEXT_SIZE];
    const struct http_request *request = &self->request;
    self->question.site = self->site;
    self->question.request = request;
    self->question.health = health_new();
    fill_board(self->question.health, self->status);
    address_format_ip(&request->client, from);
    buffer_print(&out, "%.*s http://%.*s%.*s  from %s%s\n", FMT(request->method_text),
                 FMT(request->authority), FMT(request->target), from,
                 request->is_forwarded ? " (as a trusted proxy says)" : "");
    if (self->status == NULL)
        buffer_append(&out, T("the site does not run here: nothing is known of its backends\n"));
    self->invocation->explain(&self->question, &out);
    return print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
}

int command_explain(const struct invocation *invocation)
{
    struct invocation about = *invocation;
    struct explaining self = { .invocation = invocation,
                               .arena = arena_new(ARENA_LIMIT, 0),
                               .head = buffer_of(HEAD_LIMIT) };
    about.arguments[0] = invocation->options.site;
    about.argument_count = invocation->options.site != NULL ? 1 : 0;
    int status = ask_running(&self, &about);
    if (status == CLI_OK && (!load_site(&self, invocation->options.site) || !choose_server(&self)))
        status = CLI_FAILED;
    if (status == CLI_OK &&
        (!write_head(&self, text_of(invocation->arguments[0])) || !read_request(&self)))
        status = CLI_USAGE;
    if (status == CLI_OK)
        status = explain(&self);
    done(&self);
    return status;
}
