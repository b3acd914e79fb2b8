/*
 * `trilith dashboard`: where the page of the monitor is and what opens it.
 */
#include "cli/target.h"
#include "cli/terminal.h"
#include "core/memory.h"
#include "core/sys.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { ASK_MS = 10000, OUTPUT_LIMIT = 4 << 20, TOKEN_LIMIT = 4096 };

static int read_token(const struct target *target, struct text *token_out)
{
    char path[TARGET_STATE_SIZE + TARGET_SITE_SIZE + 32];
    struct why why;
    snprintf(path, sizeof(path), "%s/%s/secrets/monitor-token", target->state, target->site);
    enum err err = sys_read_file(path, TOKEN_LIMIT, token_out, &why);
    if (err == OK)
        return CLI_OK;
    complain("%s%s", why.text, err == ERR_DENIED ? "; only who runs the site may read it" : "");
    return CLI_FAILED;
}

static void write_page(struct buffer *out, const char *url, const char *server, struct text token)
{
    const char *host = strstr(url, "//") != NULL ? strstr(url, "//") + 2 : url;
    struct text place = text_of(host);
    place.len -= text_ends_with(place, T("/")) ? 1 : 0;
    const char *port = strrchr(host, ':') != NULL ? strrchr(host, ':') + 1 : "";
    buffer_print(out, "page:  %s\n", url);
    buffer_print(out, "token: %.*s\n", FMT(token));
    buffer_print(out, "away:  ssh -L %.*s:%.*s %s, then the same page on your own machine\n",
                 (int)strcspn(port, "/"), port, FMT(place), server);
}

static int print_page(const struct invocation *invocation, const struct target *target,
                      const json_t *root)
{
    const char *url = json_string_value(json_object_get(root, "dashboard"));
    const char *server = json_string_value(json_object_get(root, "server"));
    struct buffer out AUTO(buffer_done) = buffer_of(65536);
    struct text token;
    if (url == NULL) {
        complain("the monitor does not run on this server: give the site file `monitor:`, or ask "
                 "on the server that it names (`on:`)");
        return CLI_FAILED;
    }
    int status = read_token(target, &token);
    if (status != CLI_OK)
        return status;
    struct text shown = token;
    while (shown.len > 0 && strchr(" \r\n", shown.data[shown.len - 1]) != NULL)
        shown.len--;
    if (invocation->options.json)
        buffer_print(&out, "{\"url\":\"%s\",\"token\":\"%.*s\"}\n", url, FMT(shown));
    else
        write_page(&out, url, server != NULL ? server : "SERVER", shown);
    explicit_bzero((void *)(uintptr_t)token.data, token.len);
    memory_free((void *)(uintptr_t)token.data);
    return print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
}

int command_dashboard(const struct invocation *invocation)
{
    struct target target;
    struct buffer answer AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    int status = target_find(invocation, &target);
    if (status == CLI_OK)
        status = target_ask(&target, "status", ASK_MS, &answer);
    if (status != CLI_OK)
        return status;
    json_t *root = json_loadb(answer.data, answer.len, 0, NULL);
    status = print_page(invocation, &target, root);
    json_decref(root);
    return status;
}
