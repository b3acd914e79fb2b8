/*
 * rtnetlink requests, one at a time, each with its acknowledgement.
 */
#include "lab/netlink.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REQUEST_SIZE = 1024, REPLY_SIZE = 8192 };

union request {
    struct nlmsghdr head;
    char bytes[REQUEST_SIZE];
};

enum err netlink_open(struct netlink *netlink, struct why *why)
{
    struct sockaddr_nl self = { .nl_family = AF_NETLINK };
    netlink->sequence = 0;
    netlink->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink->fd >= 0 && bind(netlink->fd, (struct sockaddr *)&self, sizeof(self)) == 0)
        return OK;
    fail(why, ERR_SYSTEM, "cannot open rtnetlink: %s", strerror(errno));
    fd_close(&netlink->fd);
    return ERR_SYSTEM;
}

void netlink_close(struct netlink *netlink)
{
    fd_close(&netlink->fd);
}

static struct nlmsghdr *begin(union request *request, uint16_t type, uint16_t flags)
{
    memset(request, 0, sizeof(*request));
    struct nlmsghdr *head = mnl_nlmsg_put_header(request->bytes);
    head->nlmsg_type = type;
    head->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    return head;
}

/* Sends it and waits for the kernel's verdict. */
static enum err talk(struct netlink *netlink, struct nlmsghdr *head, struct why *why,
                     const char *what, const char *name)
{
    char reply[REPLY_SIZE];
    head->nlmsg_seq = ++netlink->sequence;
    if (send(netlink->fd, head, head->nlmsg_len, 0) < 0)
        return fail(why, ERR_SYSTEM, "cannot %s '%s': %s", what, name, strerror(errno));
    for (;;) {
        ssize_t got = recv(netlink->fd, reply, sizeof(reply), 0);
        if (got < 0 && errno == EINTR)
            continue;
        const struct nlmsghdr *answer = (const struct nlmsghdr *)reply;
        if (got < (ssize_t)sizeof(*answer) || !mnl_nlmsg_ok(answer, (int)got))
            return fail(why, ERR_PROTOCOL, "cannot %s '%s': no answer", what, name);
        if (answer->nlmsg_seq != netlink->sequence || answer->nlmsg_type != NLMSG_ERROR)
            continue;
        const struct nlmsgerr *verdict = mnl_nlmsg_get_payload(answer);
        if (verdict->error == 0)
            return OK;
        return fail(why, -verdict->error == EPERM ? ERR_DENIED : ERR_SYSTEM, "cannot %s '%s': %s",
                    what, name, strerror(-verdict->error));
    }
}

static struct nlmsghdr *begin_link(union request *request, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *head = begin(request, type, flags);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(head, sizeof(*link));
    link->ifi_family = AF_UNSPEC;
    return head;
}

static void set_flags(struct nlmsghdr *head, bool is_up)
{
    struct ifinfomsg *link = mnl_nlmsg_get_payload(head);
    link->ifi_change = IFF_UP;
    link->ifi_flags = is_up ? IFF_UP : 0;
}

/* The number of a link in this socket's namespace, 0: there is none. */
static unsigned index_of(struct netlink *netlink, const char *name)
{
    union request request;
    char reply[REPLY_SIZE];
    struct nlmsghdr *head = begin_link(&request, RTM_GETLINK, 0);
    head->nlmsg_flags = NLM_F_REQUEST;
    head->nlmsg_seq = ++netlink->sequence;
    mnl_attr_put_strz(head, IFLA_IFNAME, name);
    if (send(netlink->fd, head, head->nlmsg_len, 0) < 0)
        return 0;
    for (;;) {
        ssize_t got = recv(netlink->fd, reply, sizeof(reply), 0);
        if (got < 0 && errno == EINTR)
            continue;
        const struct nlmsghdr *answer = (const struct nlmsghdr *)reply;
        if (got < (ssize_t)sizeof(*answer) || !mnl_nlmsg_ok(answer, (int)got))
            return 0;
        if (answer->nlmsg_seq != netlink->sequence)
            continue;
        if (answer->nlmsg_type != RTM_NEWLINK)
            return 0;
        const struct ifinfomsg *link = mnl_nlmsg_get_payload(answer);
        return (unsigned)link->ifi_index;
    }
}

enum err netlink_add_bridge(struct netlink *netlink, const char *name, struct why *why)
{
    union request request;
    struct nlmsghdr *head = begin_link(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    set_flags(head, true);
    mnl_attr_put_strz(head, IFLA_IFNAME, name);
    struct nlattr *info = mnl_attr_nest_start(head, IFLA_LINKINFO);
    mnl_attr_put_strz(head, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(head, IFLA_INFO_DATA);
    mnl_attr_put_u32(head, IFLA_BR_STP_STATE, 0);
    mnl_attr_put_u8(head, IFLA_BR_MCAST_SNOOPING, 0);
    mnl_attr_nest_end(head, data);
    mnl_attr_nest_end(head, info);
    return talk(netlink, head, why, "make the bridge", name);
}

enum err netlink_add_pair(struct netlink *netlink, const char *name, const char *bridge,
                          const char *far_name, int far_fd, struct why *why)
{
    union request request;
    unsigned master = index_of(netlink, bridge);
    if (master == 0)
        return fail(why, ERR_MISSING, "there is no bridge '%s'", bridge);
    struct nlmsghdr *head = begin_link(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    set_flags(head, true);
    mnl_attr_put_strz(head, IFLA_IFNAME, name);
    mnl_attr_put_u32(head, IFLA_MASTER, master);
    struct nlattr *info = mnl_attr_nest_start(head, IFLA_LINKINFO);
    mnl_attr_put_strz(head, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(head, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(head, VETH_INFO_PEER);
    struct ifinfomsg *far = mnl_nlmsg_put_extra_header(head, sizeof(*far));
    far->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(head, IFLA_IFNAME, far_name);
    mnl_attr_put_u32(head, IFLA_NET_NS_FD, (uint32_t)far_fd);
    mnl_attr_nest_end(head, peer);
    mnl_attr_nest_end(head, data);
    mnl_attr_nest_end(head, info);
    return talk(netlink, head, why, "make the link", name);
}

enum err netlink_add_local_pair(struct netlink *netlink, const char *name, const char *bridge,
                                const char *far_name, struct why *why)
{
    AUTO(fd_close) int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (here < 0)
        return fail(why, ERR_SYSTEM, "cannot open the room's namespace: %s", strerror(errno));
    enum err err = netlink_add_pair(netlink, name, bridge, far_name, here, why);
    return err == OK ? netlink_set_up(netlink, far_name, true, why) : err;
}

enum err netlink_set_bridge(struct netlink *netlink, const char *name, const char *bridge,
                            struct why *why)
{
    union request request;
    unsigned index = index_of(netlink, name);
    unsigned master = bridge != NULL ? index_of(netlink, bridge) : 0;
    if (index == 0 || (bridge != NULL && master == 0))
        return fail(why, ERR_NOT_FOUND, "there is no link '%s'", index == 0 ? name : bridge);
    struct nlmsghdr *head = begin_link(&request, RTM_NEWLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_get_payload(head);
    link->ifi_index = (int)index;
    mnl_attr_put_u32(head, IFLA_MASTER, master);
    return talk(netlink, head, why, "move the link", name);
}

enum err netlink_set_offloads(struct netlink *netlink, const char *name, bool is_on,
                              struct why *why)
{
    static const uint32_t commands[] = { ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO,
                                         ETHTOOL_SGRO };
    for (size_t i = 0; i < COUNT(commands); i++) {
        struct ethtool_value value = { .cmd = commands[i], .data = is_on ? 1 : 0 };
        struct ifreq request = { .ifr_data = (char *)&value };
        if (!text_copy_to(text_of(name), request.ifr_name, sizeof(request.ifr_name)) ||
            ioctl(netlink->fd, SIOCETHTOOL, &request) != 0)
            return fail(why, ERR_SYSTEM, "cannot set up the link '%s': %s", name, strerror(errno));
    }
    return OK;
}

/* A link that exists, by its number. */
static enum err change(struct netlink *netlink, const char *name, uint16_t type, bool is_up,
                       struct why *why, const char *what)
{
    union request request;
    unsigned index = index_of(netlink, name);
    if (index == 0)
        return fail(why, ERR_NOT_FOUND, "there is no link '%s'", name);
    struct nlmsghdr *head = begin_link(&request, type, 0);
    struct ifinfomsg *link = mnl_nlmsg_get_payload(head);
    link->ifi_index = (int)index;
    if (type == RTM_NEWLINK)
        set_flags(head, is_up);
    return talk(netlink, head, why, what, name);
}

enum err netlink_delete(struct netlink *netlink, const char *name, struct why *why)
{
    return change(netlink, name, RTM_DELLINK, false, why, "delete the link");
}

enum err netlink_set_up(struct netlink *netlink, const char *name, bool is_up, struct why *why)
{
    return change(netlink, name, RTM_NEWLINK, is_up, why,
                  is_up ? "bring up the link" : "bring down the link");
}

static void put_ip(struct nlmsghdr *head, uint16_t type, const struct address *address)
{
    if (address_family(address) == AF_INET6)
        mnl_attr_put(head, type, 16, &address->u.v6.sin6_addr);
    else
        mnl_attr_put(head, type, 4, &address->u.v4.sin_addr);
}

enum err netlink_add_address(struct netlink *netlink, const char *name,
                             const struct address *address, int prefix, struct why *why)
{
    union request request;
    unsigned index = index_of(netlink, name);
    if (index == 0)
        return fail(why, ERR_NOT_FOUND, "there is no link '%s'", name);
    struct nlmsghdr *head = begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(head, sizeof(*message));
    message->ifa_family = (uint8_t)address_family(address);
    message->ifa_prefixlen = (uint8_t)prefix;
    message->ifa_flags = address_family(address) == AF_INET6 ? IFA_F_NODAD : 0;
    message->ifa_index = index;
    put_ip(head, IFA_LOCAL, address);
    put_ip(head, IFA_ADDRESS, address);
    return talk(netlink, head, why, "give an address to", name);
}

enum err netlink_add_default(struct netlink *netlink, const struct address *gateway,
                             struct why *why)
{
    union request request;
    struct nlmsghdr *head = begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(head, sizeof(*route));
    route->rtm_family = (uint8_t)address_family(gateway);
    route->rtm_table = RT_TABLE_MAIN;
    route->rtm_protocol = RTPROT_STATIC;
    route->rtm_scope = RT_SCOPE_UNIVERSE;
    route->rtm_type = RTN_UNICAST;
    put_ip(head, RTA_GATEWAY, gateway);
    return talk(netlink, head, why, "set the default route by", "the router");
}
