/*
 * One role alone: `trilith serve`, `app` and `proxy`. Each makes a small site file in a folder of
 * its own, which also holds the state, runs it like `up`, and removes the folder at the end.
 */
#include "cli/command.h"
#include "cli/temporary.h"
#include "cli/terminal.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the site's text ---- */

/* "name: " and the value in double quotes; YAML reads JSON's escapes. */
static void add_text(struct buffer *out, const char *name, const char *value)
{
    buffer_print(out, "%s: \"", name);
    buffer_append_json(out, text_of(value));
    buffer_print(out, "\"");
}

static bool parse_listen(const char *given, struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    uint64_t port;
    if (text_to_uint(text_of(given), 65535, &port)) /* a port alone: not open to the world */
        return port > 0 && address_parse_ip(T("127.0.0.1"), (uint16_t)port, address) == OK;
    if (text_starts_with(text_of(given), T("localhost:"))) {
        snprintf(text, sizeof(text), "127.0.0.1:%s", given + strlen("localhost:"));
        given = text;
    }
    return address_parse(text_of(given), address) == OK && address_port(address) != 0 &&
           address_family(address) != AF_UNIX;
}

static bool begin_site(struct buffer *out, const struct invocation *invocation)
{
    const char *given = invocation->options.listen;
    struct address address;
    char ip[ADDRESS_TEXT_SIZE];
    if (!parse_listen(given != NULL ? given : "127.0.0.1:8080", &address)) {
        complain("--listen '%s' is not ADDR:PORT; write it like 127.0.0.1:8080, or :8080 for every "
                 "address",
                 given);
        return false;
    }
    address_format_ip(&address, ip);
    buffer_print(out, "site: localhost\nlisten: { ");
    add_text(out, "address", ip);
    buffer_print(out, ", http: %d }\n", address_port(&address));
    return true;
}

/* ---- running it ---- */

/* The mistakes without the place in a file that the user never saw. */
static void complain_mistakes(const struct buffer *mistakes, const char *path)
{
    struct text rest = buffer_text(mistakes);
    while (rest.data != NULL && !text_is_empty(rest)) {
        struct text line = text_next(&rest, '\n');
        struct text message = text_skip(line, strlen(path));
        ssize_t space = text_find(message, ' ');
        complain("%.*s", FMT(text_skip(message, space >= 0 ? (size_t)space + 1 : 0)));
    }
}

static bool write_site(const char *folder, const struct buffer *text, char *path, size_t size)
{
    struct why why;
    snprintf(path, size, "%s/site.yaml", folder);
    if (sys_replace_file(path, buffer_text(text), 0600, (uid_t)-1, (gid_t)-1, &why) == OK)
        return true;
    complain("%s", why.text);
    return false;
}

static int run_in(const char *folder, const struct buffer *text,
                  const struct invocation *invocation)
{
    char path[PATH_MAX];
    struct site *site = NULL;
    struct site_mistakes mistakes;
    struct process_options options = {
        .site_path = path,
        .state = folder,
        .quiet = invocation->options.quiet,
        .json = invocation->options.json,
        .is_temporary = true,
    };
    if (!write_site(folder, text, path, sizeof(path)))
        return CLI_FAILED;
    enum err err = site_load(path, &site, &mistakes);
    if (err != OK)
        complain_mistakes(&mistakes.text, path);
    site_mistakes_done(&mistakes);
    site_free(site);
    return err == OK ? process_parent(&options, invocation->roles) : CLI_FAILED;
}

static int run_text(const struct buffer *text, const struct invocation *invocation)
{
    struct temporary folder;
    if (!temporary_open(&folder))
        return CLI_FAILED;
    int status = run_in(folder.path, text, invocation);
    temporary_close(&folder);
    return status;
}

/* The folder's absolute path; false: it was complained about. */
static bool find_folder(const char *given, char out[PATH_MAX])
{
    struct stat status;
    if (realpath(given, out) == NULL || stat(out, &status) != 0) {
        complain("there is no folder '%s': %s", given, strerror(errno));
        return false;
    }
    if (S_ISDIR(status.st_mode))
        return true;
    complain("'%s' is not a folder", given);
    return false;
}

/* ---- the commands ---- */

int command_serve(const struct invocation *invocation)
{
    struct buffer text AUTO(buffer_done) = buffer_of(65536);
    char folder[PATH_MAX];
    if (!find_folder(invocation->arguments[0], folder))
        return CLI_FAILED;
    if (!begin_site(&text, invocation))
        return CLI_USAGE;
    buffer_print(&text, "web: { static: { /: { ");
    add_text(&text, "folder", folder);
    buffer_print(&text, ", listing: yes } } }\n");
    return run_text(&text, invocation);
}

int command_app(const struct invocation *invocation)
{
    struct buffer text AUTO(buffer_done) = buffer_of(65536);
    const struct options *options = &invocation->options;
    char folder[PATH_MAX];
    if (!find_folder(options->root != NULL ? options->root : ".", folder))
        return CLI_FAILED;
    if (!begin_site(&text, invocation))
        return CLI_USAGE;
    buffer_print(&text, "app: { ");
    add_text(&text, "wsgi", invocation->arguments[0]);
    buffer_print(&text, ", ");
    add_text(&text, "root", folder);
    if (options->workers > 0)
        buffer_print(&text, ", workers: %d", (int)options->workers);
    buffer_print(&text, " }\n");
    return run_text(&text, invocation);
}

int command_proxy(const struct invocation *invocation)
{
    struct buffer text AUTO(buffer_done) = buffer_of(65536);
    const char *to = invocation->options.to;
    char url[1024];
    if (to == NULL) {
        complain("missing --to URL; write: trilith proxy --to http://127.0.0.1:9000");
        return CLI_USAGE;
    }
    if (text_find_text(text_of(to), T("://")) < 0) { /* in a file it would be a name */
        complain("--to '%s' must start with http://, like http://127.0.0.1:9000", to);
        return CLI_FAILED;
    }
    bool is_local = text_starts_with(text_of(to), T("http://localhost"));
    snprintf(url, sizeof(url), "%s%s", is_local ? "http://127.0.0.1" : to,
             is_local ? to + strlen("http://localhost") : "");
    size_t len = strlen(url);
    bool is_unix = text_starts_with(text_of(url), T("http://unix:"));
    if (!is_unix && len > strlen("http://") && url[len - 1] == '/')
        url[len - 1] = '\0';
    if (!begin_site(&text, invocation))
        return CLI_USAGE;
    buffer_print(&text, "routes: [ { ");
    add_text(&text, "upstream", url);
    buffer_print(&text, " } ]\n");
    return run_text(&text, invocation);
}
