/*
 * DNS over UDP: reads up to 32 queries with one system call and answers them with another. Answers
 * leave from the address that was asked, also on a socket of all addresses.
 */
#include "core/memory.h"
#include "dns/answer.h"
#include "dns/server.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BATCH = 32,
    ROUNDS = 8, /* batches per event, so that TCP and messages get their turn */
    QUERY_SIZE = 2048,
    CONTROL_SIZE = CMSG_SPACE(sizeof(struct in6_pktinfo)),
};

struct dns_udp {
    struct dns_server *server;
    struct loop_watch watch;
    bool is_any; /* bound to all addresses of the machine */
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_storage peers[BATCH];
    union {
        struct cmsghdr align;
        uint8_t bytes[CONTROL_SIZE];
    } controls[BATCH];
    uint8_t queries[BATCH][QUERY_SIZE];
    uint8_t answers[BATCH][DNS_UDP_LIMIT];
};

/* Which interface it came in by does not bind the way out. */
static void forget_interface(struct msghdr *message)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO)
            ((struct in_pktinfo *)CMSG_DATA(at))->ipi_ifindex = 0;
        /* link-local IPv6 addresses mean nothing without their interface */
        if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(at);
            if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
                info->ipi6_ifindex = 0;
        }
    }
}

static int receive_batch(struct dns_udp *udp)
{
    for (size_t i = 0; i < BATCH; i++) {
        udp->iov[i] = (struct iovec){ udp->queries[i], QUERY_SIZE };
        udp->messages[i].msg_hdr =
            (struct msghdr){ .msg_name = &udp->peers[i],
                             .msg_namelen = sizeof(udp->peers[i]),
                             .msg_iov = &udp->iov[i],
                             .msg_iovlen = 1,
                             .msg_control = udp->controls[i].bytes,
                             .msg_controllen = udp->is_any ? CONTROL_SIZE : 0 };
    }
    return recvmmsg(udp->watch.fd, udp->messages, BATCH, MSG_DONTWAIT, NULL);
}

/* Answers the received ones; those to send are moved together. */
static unsigned answer_batch(struct dns_udp *udp, unsigned count)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < count; i++) {
        struct text query = text_from((const char *)udp->queries[i], udp->messages[i].msg_len);
        struct dns_reply reply = dns_answer(udp->server->zone, query, false, udp->answers[i]);
        dns_server_count(udp->server, (int)reply.outcome);
        if (reply.outcome == DNS_SILENCE)
            continue;
        udp->iov[i] = (struct iovec){ udp->answers[i], reply.len };
        udp->messages[i].msg_hdr.msg_flags = 0;
        if (udp->is_any)
            forget_interface(&udp->messages[i].msg_hdr);
        udp->messages[ready++] = udp->messages[i];
    }
    return ready;
}

static void send_batch(struct dns_udp *udp, unsigned count)
{
    unsigned at = 0;
    while (at < count) {
        int sent = sendmmsg(udp->watch.fd, udp->messages + at, count - at, MSG_DONTWAIT);
        /* what cannot be sent is dropped, as UDP may; the client asks again */
        at += sent > 0 ? (unsigned)sent : 1;
    }
}

static void udp_ready(struct loop_watch *watch, unsigned events)
{
    struct dns_udp *udp = list_entry(watch, struct dns_udp, watch);
    for (size_t round = 0; round < ROUNDS; round++) {
        int count = receive_batch(udp);
        if (count <= 0)
            return;
        send_batch(udp, answer_batch(udp, (unsigned)count));
        if (count < BATCH)
            return;
    }
}

/* On a socket of all addresses the kernel must tell which one was asked. */
static void ask_for_address(struct dns_udp *udp, int fd)
{
    static const struct in6_addr any = IN6ADDR_ANY_INIT;
    struct address own = { .len = sizeof(own.u) };
    int on = 1;
    if (getsockname(fd, &own.u.any, &own.len) != 0)
        return;
    if (own.u.any.sa_family == AF_INET && own.u.v4.sin_addr.s_addr == INADDR_ANY)
        udp->is_any = setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0;
    if (own.u.any.sa_family == AF_INET6 && memcmp(&own.u.v6.sin6_addr, &any, sizeof(any)) == 0)
        udp->is_any = setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0;
}

struct dns_udp *dns_udp_new(struct dns_server *server, int fd)
{
    int omit = IP_PMTUDISC_OMIT; /* no forged ICMP can make our packets small */
    (void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &omit, sizeof(omit)); /* IPv4 only */
    struct dns_udp *udp = NEW(struct dns_udp);
    udp->server = server;
    ask_for_address(udp, fd);
    if (loop_watch_start(server->loop, &udp->watch, fd, LOOP_READ, udp_ready) == OK)
        return udp;
    memory_free(udp);
    return NULL;
}

void dns_udp_free(struct dns_udp *udp)
{
    if (udp == NULL)
        return;
    loop_watch_stop(&udp->watch);
    memory_free(udp);
}
