#ifndef LAB_NETLINK_H
#define LAB_NETLINK_H

/*
 * Links, addresses and routes by rtnetlink (rtnetlink(7), over libmnl). A struct netlink speaks for
 * the network namespace in which it was opened, wherever its process goes afterwards.
 */

#include "core/address.h"

struct netlink {
    int fd; /* -1: closed */
    unsigned sequence;
};

/* For the namespace that the calling thread is in now. */
MUST_CHECK enum err netlink_open(struct netlink *netlink, struct why *why);
void netlink_close(struct netlink *netlink); /* accepts a closed one */

/* A bridge, up, without spanning tree and multicast snooping. */
MUST_CHECK enum err netlink_add_bridge(struct netlink *netlink, const char *name, struct why *why);

/* A pair of links: `name` here, on the bridge and up; `far_name` in the namespace far_fd, down. */
MUST_CHECK enum err netlink_add_pair(struct netlink *netlink, const char *name, const char *bridge,
                                     const char *far_name, int far_fd, struct why *why);

/* A pair of links here: `name` on the bridge, `far_name` on none, both up. */
MUST_CHECK enum err netlink_add_local_pair(struct netlink *netlink, const char *name,
                                           const char *bridge, const char *far_name,
                                           struct why *why);

/* Puts a link on a bridge, or on none (NULL). */
MUST_CHECK enum err netlink_set_bridge(struct netlink *netlink, const char *name,
                                       const char *bridge, struct why *why);

/* Whether the link may have checksums and segments made later than its stack does; packets carried
 * by hand must be complete and small. */
MUST_CHECK enum err netlink_set_offloads(struct netlink *netlink, const char *name, bool is_on,
                                         struct why *why);

/* Deletes the link (and with it the other end of its pair). */
MUST_CHECK enum err netlink_delete(struct netlink *netlink, const char *name, struct why *why);
MUST_CHECK enum err netlink_set_up(struct netlink *netlink, const char *name, bool is_up,
                                   struct why *why);

/* prefix: its length in bits. IPv6 addresses skip duplicate detection: the lab made them all. */
MUST_CHECK enum err netlink_add_address(struct netlink *netlink, const char *name,
                                        const struct address *address, int prefix, struct why *why);
MUST_CHECK enum err netlink_add_default(struct netlink *netlink, const struct address *gateway,
                                        struct why *why);

#endif
