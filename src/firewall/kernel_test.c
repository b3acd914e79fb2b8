/* What the kernel and nft say: messages and listings. */
#include "firewall/kernel.h"

#include "core/test.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>

union message {
    struct nlmsghdr head;
    char bytes[512];
};

static void make_counter(union message *message, const char *table, const char *name,
                         uint64_t packets)
{
    memset(message, 0, sizeof(*message));
    struct nlmsghdr *head = mnl_nlmsg_put_header(message->bytes);
    head->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWOBJ;
    struct nfgenmsg *general = mnl_nlmsg_put_extra_header(head, sizeof(*general));
    general->nfgen_family = NFPROTO_INET;
    mnl_attr_put_strz(head, NFTA_OBJ_TABLE, table);
    mnl_attr_put_strz(head, NFTA_OBJ_NAME, name);
    mnl_attr_put_u32(head, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
    struct nlattr *data = mnl_attr_nest_start(head, NFTA_OBJ_DATA);
    mnl_attr_put_u64(head, NFTA_COUNTER_BYTES, htobe64(60 * packets));
    mnl_attr_put_u64(head, NFTA_COUNTER_PACKETS, htobe64(packets));
    mnl_attr_nest_end(head, data);
}

TEST(firewall_reads_counters_of_its_own_table)
{
    union message message;
    struct firewall_counts counts = { 0 };
    make_counter(&message, "trilith", "in/https", 7);
    kernel_take_counter(&message.head, &counts);
    make_counter(&message, "docker", "in/https", 9);
    kernel_take_counter(&message.head, &counts);
    make_counter(&message, "trilith", "in/https", 8);
    kernel_take_counter(&message.head, &counts);
    const struct firewall_count *count = firewall_counts_find(&counts, "in/https");
    REQUIRE(counts.count == 1 && count != NULL, "%zu", counts.count);
    CHECK(count->packets == 8 && count->bytes == 480 && count->is_there, "the newest of ours");
    CHECK(firewall_counts_find(&counts, "in/http") == NULL, "no other");
    firewall_counts_done(&counts);
}

TEST(firewall_survives_messages_that_are_cut)
{
    union message whole;
    make_counter(&whole, "trilith", "in/https", 7);
    for (uint32_t len = 0; len < whole.head.nlmsg_len; len++) {
        union message message = whole;
        struct firewall_counts counts = { 0 };
        message.head.nlmsg_len = len < sizeof(struct nlmsghdr) ? sizeof(struct nlmsghdr) : len;
        memset(message.bytes + message.head.nlmsg_len, 0xff,
               sizeof(message) - message.head.nlmsg_len);
        kernel_take_counter(&message.head, &counts);
        CHECK(counts.count <= 1, "%u", len);
        firewall_counts_done(&counts);
    }
}

TEST(firewall_counts_who_is_banned)
{
    static const struct {
        const char *listing;
        size_t want;
    } cases[] = {
        { "", 0 },
        { "{\"nftables\":[]}", 0 },
        { "{\"nftables\":[{\"set\":{\"name\":\"banned4\"}}]}", 0 },
        { "{\"nftables\":[{\"set\":{\"name\":\"banned4\",\"elem\":[1,2]}},{\"set\":{\"name\":"
          "\"banned6\",\"elem\":[3]}},{\"set\":{\"name\":\"other\",\"elem\":[4]}}]}",
          3 },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(listing_banned(text_of(cases[i].listing)) == cases[i].want, "%s", cases[i].listing);
}

static bool shape_of(const char *listing, struct buffer *out)
{
    *out = buffer_of(65536);
    return listing_shape(text_of(listing), out);
}

TEST(firewall_compares_rules_and_not_what_changes_by_itself)
{
    static const struct {
        const char *what, *listing;
        bool is_same;
    } cases[] = {
        { "another handle, counts and bans",
          "{\"nftables\":[{\"metainfo\":{\"version\":\"9\"}},{\"counter\":{\"name\":\"a\","
          "\"handle\":9,\"packets\":5,\"bytes\":6}},{\"set\":{\"name\":\"banned4\",\"elem\":[1]}},"
          "{\"rule\":{\"handle\":3,\"expr\":[{\"accept\":null}]}}]}",
          true },
        { "another verdict",
          "{\"nftables\":[{\"counter\":{\"name\":\"a\"}},{\"set\":{\"name\":\"banned4\"}},"
          "{\"rule\":{\"handle\":2,\"expr\":[{\"drop\":null}]}}]}",
          false },
        { "one more rule",
          "{\"nftables\":[{\"counter\":{\"name\":\"a\"}},{\"set\":{\"name\":\"banned4\"}},"
          "{\"rule\":{\"expr\":[{\"accept\":null}]}},{\"rule\":{\"expr\":[{\"accept\":null}]}}]}",
          false },
        { "none", "{\"nftables\":[]}", false },
    };
    struct buffer good, other;
    REQUIRE(shape_of("{\"nftables\":[{\"metainfo\":{}},{\"counter\":{\"name\":\"a\",\"handle\":1,"
                     "\"packets\":0,\"bytes\":0}},{\"set\":{\"name\":\"banned4\"}},{\"rule\":{"
                     "\"handle\":2,\"expr\":[{\"accept\":null}]}}]}",
                     &good),
            "a listing");
    for (size_t i = 0; i < COUNT(cases); i++) {
        CHECK(shape_of(cases[i].listing, &other), "%s: a listing", cases[i].what);
        CHECK(text_equal(buffer_text(&good), buffer_text(&other)) == cases[i].is_same, "%s",
              cases[i].what);
        buffer_done(&other);
    }
    CHECK(!shape_of("", &other) && !shape_of("[]", &other) && !shape_of("{}", &other), "none");
    buffer_done(&good);
}
