/*
 * `trilith firewall verify`: every server tries every port that some edge of the site names, at
 * every other server, and what it finds is held against what the site means.
 */
#include "firewall/talk.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { AT_ONCE = 64, PATIENCE_MS = 1500 };

enum result { RESULT_OPEN, RESULT_REFUSED, RESULT_SILENT };
static const char *const result_names[] = { "open", "refused", "silent" };

struct probe {
    const struct site_server *to;
    enum site_protocol protocol;
    uint16_t port;
    enum result result;
    int fd;
};

/* ---- one server tries ---- */

/* DNS may be asked; of other UDP nobody knows what would be answered. */
static bool is_tried(const struct site_edge *edge)
{
    return edge->to.kind == PARTY_SERVERS && edge->port != 0 &&
           (edge->protocol == PROTOCOL_TCP ||
            (edge->protocol == PROTOCOL_UDP && edge->kind == EDGE_DNS));
}

static bool is_repeated(const struct site_edge *edges, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (is_tried(&edges[i]) && edges[i].port == edges[index].port &&
            edges[i].protocol == edges[index].protocol)
            return true;
    return false;
}

static size_t list_probes(const struct firewall_plan *plan, const struct site_server *from,
                          struct probe **probes_out)
{
    const struct site *site = plan->site;
    size_t count = 0;
    struct probe *probes =
        memory_new_array(plan->edge_count * site->server_count + 1, sizeof(*probes));
    for (size_t i = 0; i < plan->edge_count; i++) {
        if (!is_tried(&plan->edges[i]) || is_repeated(plan->edges, i))
            continue;
        for (size_t j = 0; j < site->server_count; j++)
            if (&site->servers[j] != from)
                probes[count++] = (struct probe){ .to = &site->servers[j],
                                                  .protocol = plan->edges[i].protocol,
                                                  .port = plan->edges[i].port,
                                                  .result = RESULT_SILENT,
                                                  .fd = -1 };
    }
    *probes_out = probes;
    return count;
}

static void start(struct probe *probe, const struct site_server *self)
{
    /* who is asked for the root's NS is named by nobody but a name server */
    static const uint8_t question[] = { 0x54, 0x52, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1 };
    struct address own = self->address, address = probe->to->address;
    bool is_tcp = probe->protocol == PROTOCOL_TCP;
    int type = (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    address_set_port(&own, 0);
    address_set_port(&address, probe->port);
    probe->fd = socket(address_family(&address), type, 0);
    if (probe->fd < 0)
        return;
    bool is_done = bind(probe->fd, &own.u.any, own.len) != 0 ||
                   (connect(probe->fd, &address.u.any, address.len) != 0 && errno != EINPROGRESS) ||
                   (!is_tcp && send(probe->fd, question, sizeof(question), 0) < 0);
    if (!is_done)
        return;
    probe->result = errno == ECONNREFUSED || errno == EHOSTUNREACH ? RESULT_REFUSED : RESULT_SILENT;
    fd_close(&probe->fd);
}

static void finish(struct probe *probe)
{
    int error = 0;
    char answer[512];
    socklen_t len = sizeof(error);
    if (probe->protocol == PROTOCOL_TCP)
        (void)getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    else if (recv(probe->fd, answer, sizeof(answer), 0) < 0)
        error = errno;
    probe->result = error == 0 ? RESULT_OPEN : RESULT_REFUSED;
    fd_close(&probe->fd);
}

static void try_some(struct probe *probes, size_t count, const struct site_server *self)
{
    struct pollfd waits[AT_ONCE];
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    for (size_t i = 0; i < count; i++)
        start(&probes[i], self);
    for (;;) {
        size_t open = 0;
        for (size_t i = 0; i < count; i++) {
            bool is_tcp = probes[i].protocol == PROTOCOL_TCP;
            waits[i] = (struct pollfd){ probes[i].fd, is_tcp ? POLLOUT : POLLIN, 0 };
            open += probes[i].fd >= 0;
        }
        int64_t left_ms = until_ms - clock_now_ms();
        if (open == 0 || left_ms <= 0 || poll(waits, (nfds_t)count, (int)left_ms) == 0)
            break;
        for (size_t i = 0; i < count; i++)
            if (probes[i].fd >= 0 && waits[i].revents != 0)
                finish(&probes[i]);
    }
    for (size_t i = 0; i < count; i++)
        fd_close(&probes[i].fd);
}

void probe_write(const struct firewall_plan *plan, struct buffer *out)
{
    struct probe *probes;
    size_t count = list_probes(plan, plan->server, &probes);
    for (size_t i = 0; i < count; i += AT_ONCE)
        try_some(&probes[i], count - i < AT_ONCE ? count - i : AT_ONCE, plan->server);
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < count; i++)
        buffer_print(out, "%s{\"to\":\"%.*s\",\"protocol\":\"%s\",\"port\":%u,\"result\":\"%s\"}",
                     i > 0 ? "," : "", FMT(probes[i].to->name),
                     probes[i].protocol == PROTOCOL_TCP ? "tcp" : "udp", probes[i].port,
                     result_names[probes[i].result]);
    buffer_append_byte(out, ']');
    memory_free(probes);
}

/* ---- all of them, and what should be ---- */

struct check {
    struct talk *talk;
    struct buffer *out;
    size_t lines, wrong;
};

/* Nobody listening where somebody may is no fault of a firewall. */
static const char *judge(bool is_declared, struct text result)
{
    if (text_equal(result, T("open")))
        return is_declared ? "as declared" : "open, but not declared";
    if (!is_declared)
        return "as declared";
    return text_equal(result, T("refused")) ? "nobody listens" : "declared, but shut";
}

static void add_line(struct check *check, const struct site_server *from, const json_t *item)
{
    const struct firewall_plan *plan = check->talk->plan;
    const char *name = json_string_value(json_object_get(item, "to"));
    const char *protocol = json_string_value(json_object_get(item, "protocol"));
    const char *result = json_string_value(json_object_get(item, "result"));
    json_int_t port = json_integer_value(json_object_get(item, "port"));
    const struct site_server *to =
        name != NULL ? site_server_find(plan->site, text_of(name)) : NULL;
    if (to == NULL || protocol == NULL || result == NULL || port < 1 || port > UINT16_MAX)
        return;
    bool is_tcp = strcmp(protocol, "tcp") == 0;
    bool is_declared = firewall_means(plan->edges, plan->edge_count, from, to,
                                      is_tcp ? PROTOCOL_TCP : PROTOCOL_UDP, (uint16_t)port);
    const char *verdict = judge(is_declared, text_of(result));
    check->wrong += strstr(verdict, ", but ") != NULL;
    buffer_print(check->out,
                 "%s{\"from\":\"%.*s\",\"to\":\"%.*s\",\"protocol\":\"%s\",\"port\":%d,"
                 "\"declared\":%s,\"verdict\":\"%s\",\"result\":\"",
                 check->lines++ > 0 ? "," : "", FMT(from->name), FMT(to->name),
                 is_tcp ? "tcp" : "udp", (int)port, is_declared ? "true" : "false", verdict);
    buffer_append_json(check->out, text_of(result));
    buffer_print(check->out, "\"}");
}

static enum err ask_server(struct check *check, const struct site_server *server, struct why *why)
{
    struct talk *talk = check->talk;
    struct buffer found AUTO(buffer_done) = buffer_of(TALK_JSON_LIMIT);
    enum err err = OK;
    char note[128];
    snprintf(note, sizeof(note), "%.*s tries all ports of the others", FMT(server->name));
    (void)!peer_send(talk->stream, PEER_NOTE, text_of(note));
    if (server == talk->generation->server)
        probe_write(talk->plan, &found);
    else
        err = talk_ask(talk->generation->state, server->name, T("probe"), TALK_VERIFY_MS, &found,
                       why);
    if (err != OK)
        return err;
    json_t *list = json_loadb(found.data, found.len, 0, NULL), *item;
    size_t index;
    json_array_foreach(list, index, item) add_line(check, server, item);
    bool is_list = json_is_array(list);
    json_decref(list);
    return is_list ? OK : fail(why, ERR_PROTOCOL, "%.*s: not a list", FMT(server->name));
}

enum err verify_write(struct talk *talk, struct buffer *out, struct why *why)
{
    const struct site *site = talk->plan->site;
    struct check check = { .talk = talk, .out = out };
    struct why reason = { "" };
    size_t silent = 0;
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < site->server_count; i++) {
        struct why last = { "" };
        if (ask_server(&check, &site->servers[i], &last) == OK)
            continue;
        if (silent++ == 0)
            reason = last;
    }
    buffer_append_byte(out, ']');
    if (check.wrong > 0)
        return fail(why, ERR_STATE, "%zu ways are not as the site file says", check.wrong);
    if (silent > 0)
        return fail(why, ERR_STATE, "%zu servers could not try: %s", silent, reason.text);
    return OK;
}
