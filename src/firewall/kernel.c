/* Counters and news of our table, see kernel.h. */
#include "firewall/kernel.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REPLY_SIZE = 65536, NEWS_BUFFER = 1 << 20, REPLIES = 4096, ANSWER_MS = 2000 };

/* ---- attributes ---- */

static const struct nlattr *find(const struct nlattr *first, size_t bytes, uint16_t type)
{
    const struct nlattr *attribute = first;
    const char *end = (const char *)first + bytes;
    while (mnl_attr_ok(attribute, (int)(end - (const char *)attribute))) {
        if (mnl_attr_get_type(attribute) == type)
            return attribute;
        attribute = mnl_attr_next(attribute);
    }
    return NULL;
}

static const struct nlattr *find_in(const struct nlmsghdr *message, uint16_t type)
{
    size_t head = MNL_ALIGN(sizeof(struct nfgenmsg));
    size_t len = mnl_nlmsg_get_payload_len(message);
    if (len <= head)
        return NULL;
    return find((const struct nlattr *)((const char *)mnl_nlmsg_get_payload(message) + head),
                len - head, type);
}

static struct text text_in(const struct nlattr *attribute)
{
    if (attribute == NULL)
        return T("");
    const char *data = mnl_attr_get_payload(attribute);
    return text_from(data, strnlen(data, mnl_attr_get_payload_len(attribute)));
}

static uint64_t number_in(const struct nlattr *nest, uint16_t type)
{
    uint64_t value = 0;
    const struct nlattr *attribute =
        find(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), type);
    if (attribute == NULL || mnl_attr_get_payload_len(attribute) != sizeof(value))
        return 0;
    memcpy(&value, mnl_attr_get_payload(attribute), sizeof(value));
    return be64toh(value);
}

/* ---- messages ---- */

_Static_assert((int)NFTA_TABLE_NAME == 1 && (int)NFTA_CHAIN_TABLE == 1 &&
                   (int)NFTA_RULE_TABLE == 1 && (int)NFTA_SET_TABLE == 1 &&
                   (int)NFTA_SET_ELEM_LIST_TABLE == 1 && (int)NFTA_OBJ_TABLE == 1,
               "all of them name their table first");

bool kernel_is_ours(const struct nlmsghdr *message)
{
    unsigned kind = message->nlmsg_type & 0xff;
    if (message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || kind == NFT_MSG_NEWGEN)
        return false;
    return text_equal(text_in(find_in(message, NFTA_TABLE_NAME)), T(FIREWALL_TABLE));
}

static struct firewall_count *count_of(struct firewall_counts *counts, const char *name)
{
    struct firewall_count *found = firewall_counts_find(counts, name);
    if (found != NULL)
        return found;
    counts->items = memory_resize(counts->items, (counts->count + 1) * sizeof(*counts->items));
    found = &counts->items[counts->count++];
    *found = (struct firewall_count){ 0 };
    snprintf(found->name, sizeof(found->name), "%s", name);
    return found;
}

void kernel_take_counter(const struct nlmsghdr *message, struct firewall_counts *counts)
{
    enum { COUNTERS_LIMIT = 16384 };
    char name[FIREWALL_COUNTER_SIZE];
    const struct nlattr *data = find_in(message, NFTA_OBJ_DATA);
    const struct nlattr *type = find_in(message, NFTA_OBJ_TYPE);
    bool is_counter = message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWOBJ) &&
                      data != NULL && type != NULL &&
                      mnl_attr_get_payload_len(type) == sizeof(uint32_t) &&
                      ntohl(mnl_attr_get_u32(type)) == NFT_OBJECT_COUNTER;
    if (!is_counter || !kernel_is_ours(message) || counts->count >= COUNTERS_LIMIT ||
        !text_copy_to(text_in(find_in(message, NFTA_OBJ_NAME)), name, sizeof(name)))
        return;
    struct firewall_count *count = count_of(counts, name);
    count->packets = number_in(data, NFTA_COUNTER_PACKETS);
    count->bytes = number_in(data, NFTA_COUNTER_BYTES);
    count->is_there = true;
}

struct firewall_count *firewall_counts_find(const struct firewall_counts *counts, const char *name)
{
    for (size_t i = 0; counts != NULL && i < counts->count; i++)
        if (strcmp(counts->items[i].name, name) == 0)
            return &counts->items[i];
    return NULL;
}

void firewall_counts_done(struct firewall_counts *counts)
{
    memory_free(counts->items);
    *counts = (struct firewall_counts){ 0 };
}

/* ---- sockets ---- */

static int open_socket(uint32_t groups, struct why *why)
{
    struct sockaddr_nl self = { .nl_family = AF_NETLINK, .nl_groups = groups };
    int flags = SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(AF_NETLINK, flags, NETLINK_NETFILTER);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&self, sizeof(self)) == 0)
        return fd;
    (void)fail(why, ERR_SYSTEM, "cannot open netlink to the firewall: %s", strerror(errno));
    fd_close(&fd);
    return -1;
}

int kernel_open(struct why *why)
{
    return open_socket(0, why);
}

int kernel_open_news(struct why *why)
{
    int size = NEWS_BUFFER;
    int fd = open_socket(1u << (NFNLGRP_NFTABLES - 1), why);
    if (fd >= 0)
        (void)!setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    return fd;
}

bool kernel_hears(int news)
{
    char reply[REPLY_SIZE];
    bool is_ours = false;
    for (int i = 0; i < REPLIES; i++) {
        ssize_t got = recv(news, reply, sizeof(reply), 0);
        if (got < 0 && errno == ENOBUFS) {
            is_ours = true; /* some were lost */
            continue;
        }
        if (got <= 0)
            return is_ours;
        int left = (int)got;
        const struct nlmsghdr *message = (const struct nlmsghdr *)reply;
        for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
            is_ours = is_ours || kernel_is_ours(message);
    }
    return is_ours;
}

static enum err read_counters(int socket, uint32_t sequence, struct firewall_counts *counts,
                              struct why *why)
{
    char reply[REPLY_SIZE];
    int64_t until_ms = clock_now_ms() + ANSWER_MS;
    for (;;) {
        ssize_t got = recv(socket, reply, sizeof(reply), 0);
        if (got < 0 && errno == EAGAIN && sys_wait(socket, POLLIN, until_ms) == OK)
            continue;
        if (got <= 0)
            return fail(why, ERR_SYSTEM, "the kernel does not list the counters: %s",
                        strerror(errno));
        int left = (int)got;
        const struct nlmsghdr *message = (const struct nlmsghdr *)reply;
        for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
            if (message->nlmsg_seq != sequence)
                continue;
            if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
                return OK; /* an error: there is no such table */
            kernel_take_counter(message, counts);
        }
    }
}

enum err kernel_count(int socket, struct firewall_counts *counts, struct why *why)
{
    char request[MNL_NLMSG_HDRLEN + 256] = { 0 };
    struct nlmsghdr *head = mnl_nlmsg_put_header(request);
    head->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETOBJ;
    head->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    head->nlmsg_seq = (uint32_t)clock_now_us();
    struct nfgenmsg *general = mnl_nlmsg_put_extra_header(head, sizeof(*general));
    general->nfgen_family = NFPROTO_INET;
    mnl_attr_put_strz(head, NFTA_OBJ_TABLE, FIREWALL_TABLE);
    mnl_attr_put_u32(head, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
    for (size_t i = 0; i < counts->count; i++)
        counts->items[i].is_there = false;
    if (send(socket, head, head->nlmsg_len, 0) < 0)
        return fail(why, ERR_SYSTEM, "cannot ask for the counters: %s", strerror(errno));
    return read_counters(socket, head->nlmsg_seq, counts, why);
}
