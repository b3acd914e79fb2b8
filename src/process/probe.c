/*
 * The proof before "ready": a short-lived process without any right asks the site's own listeners
 * like a client would. It works one step after the other, with time limits on the sockets.
 */
#include "process/parent.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/privileges.h"
#include "process/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    HTTP_MS = 20000,
    DNS_MS = 1000,
    DNS_TRIES = 5,
    PROBE_MS = 30000,
    OTHERS_MS = 10000, /* the other servers of the site may take so long to be there */
    AGAIN_MS = 100,
    EXIT_FAILED = 1,
    EXIT_WAITS = 2,
};

struct probe {
    pid_t pid;
    int output;
    struct parent *parent;
    struct loop_timer timer;
};

struct probe_target {
    struct address http, dns; /* len 0: none */
    const char *host;
    bool is_gateway;  /* another server answers for / */
    bool has_others;  /* what answers may need servers that start at the same time */
    bool sends_proxy; /* the site takes this machine's address for that of a proxy */
};

/* ---- in the child ---- */

static int connect_to(const struct address *address, int type, int64_t limit_ms)
{
    struct timeval limit = { .tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000 };
    int fd = socket(address_family(address), type | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
                    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0 ||
                    connect(fd, &address->u.any, address->len) != 0)) {
        int error = errno;
        fd_close(&fd);
        errno = error;
    }
    return fd;
}

static const char *system_reason(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK ? "no answer in time" : strerror(errno);
}

/* A gateway works while the server behind it does not, and that one should not be asked what nobody
 * wanted to know: there the question is one that our own HTTP must refuse (no Host, RFC 9112 3.2).
 */
static void write_request(const struct probe_target *target, char *out, size_t size)
{
    if (target->is_gateway)
        snprintf(out, size, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    else
        snprintf(out, size,
                 "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: trilith-probe\r\n"
                 "Connection: close\r\n\r\n",
                 target->host);
}

static enum err ask_http(const struct probe_target *target, struct why *why)
{
    const struct address *address = &target->http;
    const char *host = target->host;
    char where[ADDRESS_TEXT_SIZE], request[512], answer[1024];
    size_t len = 0;
    uint64_t status;
    address_format(address, where);
    AUTO(fd_close) int fd = connect_to(address, SOCK_STREAM, HTTP_MS);
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "GET http://%s/: %s", where, system_reason());
    write_request(target, request, sizeof(request));
    if ((target->sends_proxy && sys_write_all(fd, T("PROXY UNKNOWN\r\n")) != OK) ||
        sys_write_all(fd, text_of(request)) != OK)
        return fail(why, ERR_SYSTEM, "GET http://%s/: %s", where, system_reason());
    while (len < sizeof("HTTP/1.1 200") - 1) {
        ssize_t got = sys_read(fd, answer + len, sizeof(answer) - len);
        if (got <= 0)
            return fail(why, ERR_SYSTEM, "GET http://%s/: %s", where,
                        got == 0 ? "the connection was closed" : system_reason());
        len += (size_t)got;
    }
    struct text text = text_from(answer, len);
    if (!text_starts_with(text, T("HTTP/1.")) ||
        !text_to_uint(text_part(text, sizeof("HTTP/1.1"), 3), 999, &status))
        return fail(why, ERR_PROTOCOL, "GET http://%s/: the answer is not HTTP", where);
    if (status >= 500)
        return fail(why, ERR_STATE, "GET http://%s/ with Host: %s was answered with status %llu",
                    where, host, (unsigned long long)status);
    return OK;
}

/* One that needs other servers is asked again until they are there. */
static enum err ask_site(const struct probe_target *target, struct why *why)
{
    int64_t end_ms = clock_now_ms() + OTHERS_MS;
    enum err err = ask_http(target, why);
    while (err == ERR_STATE && target->has_others && clock_now_ms() < end_ms) {
        clock_sleep_ms(AGAIN_MS);
        err = ask_http(target, why);
    }
    return err;
}

static void write_question(struct buffer *out, uint16_t id, const char *host)
{
    struct text rest = text_of(host);
    buffer_append_u16(out, id);
    buffer_append_u16(out, 0);
    buffer_append_u16(out, 1);
    for (int i = 0; i < 3; i++)
        buffer_append_u16(out, 0);
    while (rest.len > 0) {
        struct text label = text_part(text_next(&rest, '.'), 0, 63);
        buffer_append_byte(out, (uint8_t)label.len);
        buffer_append(out, label);
    }
    buffer_append_byte(out, 0);
    buffer_append_u16(out, 1); /* A */
    buffer_append_u16(out, 1); /* IN */
}

static enum err ask_dns(const struct address *address, const char *host, struct why *why)
{
    char where[ADDRESS_TEXT_SIZE];
    uint8_t answer[1500];
    uint16_t id;
    struct buffer question = buffer_of(512);
    address_format(address, where);
    sys_random(&id, sizeof(id));
    write_question(&question, id, host);
    enum err err = fail(why, ERR_TIMEOUT, "dns %s: no answer for %s", where, host);
    for (int i = 0; i < DNS_TRIES && err == ERR_TIMEOUT; i++) {
        AUTO(fd_close) int fd = connect_to(address, SOCK_DGRAM, DNS_MS);
        if (fd < 0 || sys_write(fd, question.data, question.len) < 0)
            continue;
        ssize_t len = sys_read(fd, answer, sizeof(answer));
        bool is_ours =
            len >= 12 && answer[0] == id >> 8 && answer[1] == (id & 255) && (answer[2] & 0x80) != 0;
        if (is_ours)
            err = (answer[3] & 15) == 0 ? OK
                                        : fail(why, ERR_STATE, "dns %s: rcode %d for %s", where,
                                               answer[3] & 15, host);
    }
    buffer_done(&question);
    return err;
}

_Noreturn static void probe_child(struct parent *parent, const struct probe_target *target,
                                  int output, uid_t uid, pid_t parent_pid)
{
    struct why why;
    enum err err = OK;
    spawn_prepare_child(parent, "probe", output, NULL, 0);
    if (privileges_drop(uid, (gid_t)uid, 0, &why) != OK) {
        err = ERR_SYSTEM;
    } else {
        privileges_die_with(parent_pid);
        sandbox_enter();
        if (target->http.len > 0)
            err = ask_site(target, &why);
        if (err == OK && target->dns.len > 0)
            err = ask_dns(&target->dns, target->host, &why);
    }
    if (err != OK)
        dprintf(1, "%s", why.text);
    /* this server does its part; that the others do theirs must not be asked by starting anew */
    bool waits = err == ERR_STATE && target->has_others;
    _exit(err == OK ? 0 : waits ? EXIT_WAITS : EXIT_FAILED);
}

/* ---- in the parent ---- */

/* A client's way to a listener: the wildcard address is reached over loopback. */
static bool reach(int fd, int wanted_type, struct address *address_out)
{
    struct address address = { .len = sizeof(address.u) };
    int type;
    socklen_t len = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != wanted_type ||
        getsockname(fd, &address.u.any, &address.len) != 0)
        return false;
    if (address_family(&address) == AF_INET && address.u.v4.sin_addr.s_addr == INADDR_ANY)
        address.u.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (address_family(&address) == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address.u.v6.sin6_addr))
        address.u.v6.sin6_addr = in6addr_loopback;
    *address_out = address;
    return true;
}

void parent_each_url(const struct parent *parent,
                     void (*each)(void *context, const char *kind, const char *url), void *context)
{
    const struct generation *serving = parent->serving;
    char where[ADDRESS_TEXT_SIZE], url[ADDRESS_TEXT_SIZE + 16];
    struct address address, last = { 0 };
    for (size_t i = 0; serving != NULL && i < serving->fd_count; i++) {
        const struct process_fd *at = &serving->fds[i];
        bool is_http = text_starts_with(text_of(at->name), T("listen.http"));
        bool is_https = text_starts_with(text_of(at->name), T("listen.https"));
        bool is_dns = text_starts_with(text_of(at->name), T("listen.dns"));
        if ((!is_http && !is_dns) || !reach(at->fd, is_http ? SOCK_STREAM : SOCK_DGRAM, &address) ||
            address_equal(&address, &last))
            continue;
        last = address;
        address_format(&address, where);
        snprintf(url, sizeof(url),
                 is_https  ? "https://%s/"
                 : is_http ? "http://%s/"
                           : "dns://%s",
                 where);
        each(context, is_https ? "https" : is_http ? "http" : "dns", url);
    }
}

static bool has_gateway(const struct site *site, const struct site_server *server)
{
    if (site_balances(site, server))
        return true;
    for (size_t i = 0; i < site->route_count; i++)
        if (site->routes[i].action == ACTION_UPSTREAM && text_equal(site->routes[i].path, T("/")))
            return true;
    return false;
}

/* From one's own address to it. */
static bool expects_proxy(const struct generation *serving, const struct address *address)
{
    struct arena *arena = arena_new(1 << 20, 0);
    size_t count;
    const struct network *proxies = site_proxies(serving->site, serving->server, arena, &count);
    bool is_expected = networks_contain(proxies, count, address);
    arena_free(arena);
    return is_expected;
}

static struct probe_target find_target(const struct parent *parent)
{
    const struct generation *serving = parent->serving;
    struct probe_target target = {
        .host = parent->site_name,
        .is_gateway = has_gateway(serving->site, serving->server),
        .has_others = serving->site->server_count > 1,
    };
    for (size_t i = 0; i < serving->fd_count; i++) {
        const struct process_fd *at = &serving->fds[i];
        if (target.http.len == 0 && text_starts_with(text_of(at->name), T("listen.http")))
            reach(at->fd, SOCK_STREAM, &target.http);
        if (target.dns.len == 0 && text_starts_with(text_of(at->name), T("listen.dns")))
            reach(at->fd, SOCK_DGRAM, &target.dns);
    }
    target.sends_proxy = expects_proxy(serving, &target.http);
    return target;
}

static void late(struct loop_timer *timer)
{
    struct probe *probe = list_entry(timer, struct probe, timer);
    kill(probe->pid, SIGKILL);
}

enum err probe_start(struct parent *parent, struct why *why)
{
    int ends[2];
    struct probe_target target = find_target(parent);
    if (target.http.len == 0 && target.dns.len == 0) {
        parent_probed(parent, OK, NULL);
        return OK;
    }
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    struct probe *probe = NEW(struct probe);
    probe->parent = parent;
    probe->output = ends[0];
    pid_t self = getpid();
    uid_t uid = generation_uid(parent->serving, "probe");
    fflush(NULL);
    probe->pid = fork();
    if (probe->pid == 0)
        probe_child(parent, &target, ends[1], uid, self);
    fd_close(&ends[1]);
    if (probe->pid < 0) {
        fd_close(&probe->output);
        memory_free(probe);
        return fail(why, ERR_SYSTEM, "cannot fork: %s", strerror(errno));
    }
    loop_timer_init(&probe->timer, late);
    loop_timer_start(parent->loop, &probe->timer, PROBE_MS);
    parent->probe = probe;
    return OK;
}

static void probe_free(struct parent *parent)
{
    loop_timer_stop(parent->loop, &parent->probe->timer);
    fd_close(&parent->probe->output);
    memory_free(parent->probe);
    parent->probe = NULL;
}

bool probe_reaped(struct parent *parent, pid_t pid, int wait_status)
{
    char reason[512];
    if (parent->probe == NULL || parent->probe->pid != pid)
        return false;
    ssize_t len = sys_read(parent->probe->output, reason, sizeof(reason) - 1);
    reason[len > 0 ? len : 0] = '\0';
    probe_free(parent);
    bool waits = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_WAITS;
    bool is_good = waits || (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
    if (waits)
        log_warn("process", "ready, but the site does not answer here yet; it may need the others",
                 STRING("reason", reason));
    parent_probed(parent, is_good ? OK : ERR_STATE,
                  reason[0] != '\0' ? reason : "the site did not answer in time");
    return true;
}

void probe_stop(struct parent *parent)
{
    if (parent->probe == NULL)
        return;
    kill(parent->probe->pid, SIGKILL); /* reaped as an unknown child */
    probe_free(parent);
}
