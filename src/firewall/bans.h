#ifndef FIREWALL_BANS_H
#define FIREWALL_BANS_H

/*
 * Private to firewall, pure: who is shut out and until when. An IPv6 client is its /64: who has one
 * address of it has them all.
 */

#include "core/buffer.h"
#include "core/network.h"

enum { BANS_LIMIT = 4096, BAN_WHY_SIZE = 96, BAN_MOST_S = 31536000 };

struct ban {
    struct network who; /* /32, or /64 */
    int64_t until_s;    /* wall clock */
    char why[BAN_WHY_SIZE];
};

struct bans {
    struct ban *items;
    size_t count, room;
};

void bans_done(struct bans *bans);

/* The network that is meant when this address is; false: it has no IP. */
bool ban_of(const struct address *address, struct network *who_out);

/* Who is there already gets the later end. ERR_LIMIT: there are too many. */
MUST_CHECK enum err bans_add(struct bans *bans, const struct network *who, int64_t until_s,
                             struct text why);
bool bans_remove(struct bans *bans, const struct network *who);
const struct ban *bans_find(const struct bans *bans, const struct network *who);
/* Drops those whose time is over; how many. */
size_t bans_expire(struct bans *bans, int64_t now_s);

/* "192.0.2.1", "2001:db8::/64" */
void ban_format(const struct network *who, char out[ADDRESS_TEXT_SIZE]);

/* JSON, for the file and for people: [{"address":"192.0.2.1","until":1795270150,"why":"..."}]. */
void bans_write(const struct bans *bans, struct buffer *out);
/* Reads it into *bans, which is empty; those that are over are left out. ERR_SYNTAX. */
MUST_CHECK enum err bans_read(struct text json, int64_t now_s, struct bans *bans);

#endif
