#ifndef FIREWALL_KERNEL_H
#define FIREWALL_KERNEL_H

/*
 * Private to firewall: what the kernel has. Counters and news by netlink (nfnetlink, over libmnl),
 * which is cheap; changes and whole listings by the program nft.
 */

#include "firewall/rules.h"

/* ---- nft ---- */

enum { NFT_MS = 10000, NFT_OUTPUT_LIMIT = 8 << 20 };

/* Its path; NULL: it is not installed. */
const char *nft_program(void);

/* The commands that take our table away, whether there is one or not. */
#define RULES_NONE                                                                                 \
    "{\"nftables\":[{\"add\":{\"table\":{\"family\":\"inet\",\"name\":\"" FIREWALL_TABLE           \
    "\"}}},{\"delete\":{\"table\":{\"family\":\"inet\",\"name\":\"" FIREWALL_TABLE "\"}}}]}"

/* Commands in one transaction. *why has what nft said first. */
MUST_CHECK enum err nft_apply(struct text commands, struct why *why);

/* Our table as JSON; ERR_NOT_FOUND: there is none. */
MUST_CHECK enum err nft_list(struct buffer *out, struct why *why);

/* `list meter` of our table. */
MUST_CHECK enum err nft_list_meter(const char *name, struct buffer *out, struct why *why);

/* ---- netlink ---- */

/* A socket for requests; -1 with why. */
int kernel_open(struct why *why);

/* A non-blocking one that hears of every change of the rules. */
int kernel_open_news(struct why *why);

/* Reads what came: true when our table may have changed (or news were lost). */
bool kernel_hears(int news);

/* The counters as they are: those in the kernel get is_there and their values, those that are gone
 * keep theirs. */
MUST_CHECK enum err kernel_count(int socket, struct firewall_counts *counts, struct why *why);
void firewall_counts_done(struct firewall_counts *counts);

/* Pure, fuzzed: one message of the answer, or of news. */
struct nlmsghdr;
bool kernel_is_ours(const struct nlmsghdr *message);
void kernel_take_counter(const struct nlmsghdr *message, struct firewall_counts *counts);

/* ---- comparing ---- */

/* What of a listing is ours to say: without handles, values of counters and who is in which set. An
 * order that is always the same. false: it is none. */
bool listing_shape(struct text listing, struct buffer *out);

/* How many addresses are in the sets of bans. */
size_t listing_banned(struct text listing);

#endif
