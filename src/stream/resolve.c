/*
 * Asking for a name:
 *
 *   start ──► /etc/hosts ──has it──────────────────────────────► done
 *                │ no                                             ▲
 *                ▼                                                │ both answered, or no more to
 * ask A and AAAA to a name server ──no answer──► the next server, each twice ▲ ──no such name──►
 * the next search domain └───────────────────────────────────────┘
 */
#include "stream/resolve.h"

#include "core/memory.h"
#include "core/sys.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

enum {
    FILE_MOST = 1 << 20,
    SERVERS = 3,
    NAMES = 4,
    ROUNDS = 2, /* of all servers */
    WAIT_MS = 1500,
    PACKET_MOST = 4096,
    PACKETS_PER_EVENT = 8,
    TTL_FAILED_S = 5,
    NAME_SIZE = 256,
    DNS_PORT = 53,
};

struct question {
    uint8_t query[RESOLVE_QUERY_SIZE];
    size_t len;
    bool is_answered;
};

struct resolve {
    struct loop *loop;
    struct loop_task task;
    struct loop_timer timer;
    struct loop_watch watch;
    int fd; /* -1: none */
    uint16_t port;
    char names[NAMES][NAME_SIZE]; /* to be asked in turn */
    size_t name_count;
    size_t name_at;
    struct address servers[SERVERS];
    size_t server_count;
    size_t attempt;
    struct question questions[2];
    struct resolve_answer answer;
    void (*done)(void *owner, const struct resolve_answer *answer);
    void *owner;
};

static void close_socket(struct resolve *resolve)
{
    if (resolve->fd < 0)
        return;
    loop_watch_stop(&resolve->watch);
    fd_close(&resolve->fd);
}

void resolve_cancel(struct resolve *resolve)
{
    if (resolve == NULL)
        return;
    close_socket(resolve);
    loop_timer_stop(resolve->loop, &resolve->timer);
    loop_task_cancel(&resolve->task);
    memory_free(resolve);
}

static void finish(struct resolve *resolve, enum err err)
{
    struct resolve_answer answer = resolve->answer;
    void (*done)(void *, const struct resolve_answer *) = resolve->done;
    void *owner = resolve->owner;
    answer.err = answer.count > 0 ? OK : err;
    if (answer.count == 0 && (answer.ttl_s > TTL_FAILED_S || answer.ttl_s == 0))
        answer.ttl_s = TTL_FAILED_S;
    resolve_cancel(resolve);
    done(owner, &answer);
}

/* ---- the files ---- */

static bool find_in_hosts(struct resolve *resolve)
{
    struct text hosts = { 0 }, name = text_of(resolve->names[0]);
    if (text_ends_with(name, T(".")))
        name.len--;
    if (sys_read_file("/etc/hosts", FILE_MOST, &hosts, NULL) == OK) {
        resolve_read_hosts(hosts, name, resolve->port, &resolve->answer);
        memory_free((void *)hosts.data);
    }
    if (resolve->answer.count == 0 && text_equal_fold(name, T("localhost"))) /* RFC 6761 6.3 */
        resolve_read_hosts(T("127.0.0.1 localhost\n::1 localhost\n"), name, resolve->port,
                           &resolve->answer);
    return resolve->answer.count > 0;
}

/* Search domains come before the name itself when that has no dot. */
static void add_domain(struct resolve *resolve, struct text domain)
{
    char *out = resolve->names[resolve->name_count];
    if (domain.len == 0 || resolve->name_count == NAMES)
        return;
    int len = snprintf(out, NAME_SIZE, "%s.%.*s", resolve->names[0], FMT(domain));
    if (len > 0 && len < NAME_SIZE)
        resolve->name_count++;
}

static void read_line(struct resolve *resolve, struct text line)
{
    bool has_dot = text_find(text_of(resolve->names[0]), '.') >= 0;
    struct text key = text_next(&line, ' '), tail = key;
    key = text_next(&tail, '\t');
    if (tail.len > 0)
        line = tail;
    line = text_trim(line);
    if (text_equal(key, T("nameserver")) && resolve->server_count < SERVERS) {
        if (address_parse_ip(line, DNS_PORT, &resolve->servers[resolve->server_count]) == OK)
            resolve->server_count++;
    } else if (!has_dot && (text_equal(key, T("search")) || text_equal(key, T("domain")))) {
        resolve->name_count = 1; /* the last line counts */
        while (line.len > 0) {
            struct text domain = text_next(&line, ' ');
            add_domain(resolve, domain);
            line = text_trim(line);
        }
    }
}

static void read_settings(struct resolve *resolve)
{
    struct text all = { 0 };
    if (sys_read_file("/etc/resolv.conf", FILE_MOST, &all, NULL) == OK) {
        struct text rest = all;
        while (rest.data != NULL && rest.len > 0) {
            struct text line = text_next(&rest, '\n');
            if (text_ends_with(line, T("\r")))
                line.len--;
            read_line(resolve, line);
        }
        memory_free((void *)all.data);
    }
    if (resolve->server_count == 0) /* what the C library does then */
        resolve->server_count =
            address_parse_ip(T("127.0.0.1"), DNS_PORT, &resolve->servers[0]) == OK ? 1 : 0;
}

/* ---- asking ---- */

static void ask(struct resolve *resolve);

/* The name at name_at, counted so that the one as given comes last. */
static struct text current_name(const struct resolve *resolve)
{
    size_t index = (resolve->name_at + 1) % resolve->name_count;
    return text_of(resolve->names[index]);
}

static void next_server(struct resolve *resolve, enum err err)
{
    resolve->attempt++;
    if (resolve->attempt < ROUNDS * resolve->server_count)
        ask(resolve);
    else
        finish(resolve, err);
}

static void next_name(struct resolve *resolve)
{
    resolve->name_at++;
    resolve->attempt = 0;
    if (resolve->name_at < resolve->name_count)
        ask(resolve);
    else
        finish(resolve, ERR_NOT_FOUND);
}

/* False: the question is gone or begun anew. */
static bool take_packet(struct resolve *resolve, struct text packet)
{
    struct resolve_answer *answer = &resolve->answer;
    int64_t before_s = answer->ttl_s;
    for (size_t i = 0; i < COUNT(resolve->questions); i++) {
        struct question *question = &resolve->questions[i];
        struct text query = text_from((const char *)question->query, question->len);
        if (question->is_answered || !resolve_read_answer(packet, query, resolve->port, answer))
            continue;
        if (before_s > 0 && before_s < answer->ttl_s)
            answer->ttl_s = before_s;
        if (answer->err == ERR_SYSTEM) {
            next_server(resolve, ERR_SYSTEM);
            return false;
        }
        question->is_answered = true;
        break;
    }
    if (!resolve->questions[0].is_answered || !resolve->questions[1].is_answered)
        return true;
    if (answer->count > 0)
        finish(resolve, OK);
    else
        next_name(resolve);
    return false;
}

static void on_readable(struct loop_watch *watch, unsigned events)
{
    struct resolve *resolve = (struct resolve *)((char *)watch - offsetof(struct resolve, watch));
    char packet[PACKET_MOST];
    (void)events;
    for (int i = 0; i < PACKETS_PER_EVENT; i++) {
        ssize_t len = recv(resolve->fd, packet, sizeof(packet), MSG_DONTWAIT);
        if (len <= 0)
            break;
        if (!take_packet(resolve, text_from(packet, (size_t)len)))
            return;
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct resolve *resolve = list_entry(timer, struct resolve, timer);
    if (resolve->answer.count > 0) /* of one kind; the other question found nobody */
        finish(resolve, OK);
    else
        next_server(resolve, ERR_TIMEOUT);
}

static bool send_questions(struct resolve *resolve)
{
    static const uint16_t types[] = { RESOLVE_A, RESOLVE_AAAA };
    for (size_t i = 0; i < COUNT(types); i++) {
        struct question *question = &resolve->questions[i];
        uint16_t id = 0;
        sys_random(&id, sizeof(id));
        question->is_answered = false;
        question->len = resolve_write_query(current_name(resolve), id, types[i], question->query);
        if (question->len == 0 ||
            send(resolve->fd, question->query, question->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return false;
    }
    return true;
}

/* A socket of its own each time: another source port to guess. */
static void ask(struct resolve *resolve)
{
    const struct address *server = &resolve->servers[resolve->attempt % resolve->server_count];
    close_socket(resolve);
    resolve->fd = socket(address_family(server), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (resolve->fd >= 0 &&
        loop_watch_start(resolve->loop, &resolve->watch, resolve->fd, LOOP_READ, on_readable) != OK)
        fd_close(&resolve->fd);
    bool is_sent = resolve->fd >= 0 && connect(resolve->fd, &server->u.any, server->len) == 0 &&
                   send_questions(resolve);
    /* what cannot be sent now waits its time too: a server that is not there must not be asked
     * again without a pause */
    (void)is_sent;
    loop_timer_start(resolve->loop, &resolve->timer, WAIT_MS);
}

static void begin(struct loop_task *task)
{
    struct resolve *resolve = list_entry(task, struct resolve, task);
    if (resolve->names[0][0] == '\0') {
        finish(resolve, ERR_NOT_FOUND);
        return;
    }
    if (find_in_hosts(resolve)) {
        finish(resolve, OK);
        return;
    }
    read_settings(resolve);
    ask(resolve);
}

struct resolve *resolve_start(struct loop *loop, struct text name, uint16_t port,
                              void (*done)(void *owner, const struct resolve_answer *answer),
                              void *owner)
{
    uint8_t query[RESOLVE_QUERY_SIZE];
    struct resolve *resolve = NEW(struct resolve);
    *resolve = (struct resolve){
        .loop = loop, .fd = -1, .port = port, .name_count = 1, .done = done, .owner = owner
    };
    if (resolve_write_query(name, 0, RESOLVE_A, query) == 0 ||
        !text_copy_to(name, resolve->names[0], NAME_SIZE))
        resolve->names[0][0] = '\0';
    loop_task_init(&resolve->task, begin);
    loop_timer_init(&resolve->timer, on_timer);
    loop_defer(loop, &resolve->task);
    return resolve;
}
