/*
 * Partitions by nftables: one table of the bridge family for machines of the same network, one of
 * inet for what the router passes on. Both are replaced in one transaction.
 */
#include "lab/partition.h"
#include "lab/rights.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static bool active;

static bool holds(struct text group, struct text name)
{
    while (group.data != NULL) {
        if (text_equal(text_next(&group, ','), name))
            return true;
    }
    return false;
}

static enum err check_group(const struct lab_plan *plan, struct text group, struct text other,
                            struct why *why)
{
    struct text rest = group;
    if (text_is_empty(group))
        return fail(why, ERR_SYNTAX, "name the machines of both groups: web-01,client web-02");
    while (rest.data != NULL) {
        struct text name = text_next(&rest, ',');
        if (lab_node_find(plan, name) == NULL)
            return fail(why, ERR_NOT_FOUND, "the lab has no machine '%.*s'", FMT(name));
        if (holds(other, name))
            return fail(why, ERR_SYNTAX, "'%.*s' is in both groups", FMT(name));
    }
    return OK;
}

static void add_addresses(const struct lab_plan *plan, struct text group, int family,
                          struct buffer *out)
{
    char address[ADDRESS_TEXT_SIZE];
    const char *gap = "";
    for (size_t i = 0; i < plan->node_count; i++) {
        const struct lab_node *node = &plan->nodes[i];
        if (!holds(group, text_of(node->name)) || address_family(&node->address) != family)
            continue;
        address_format_ip(&node->address, address);
        buffer_print(out, "%s%s", gap, address);
        gap = ", ";
    }
}

static bool has_family(const struct lab_plan *plan, struct text group, int family)
{
    for (size_t i = 0; i < plan->node_count; i++) {
        if (holds(group, text_of(plan->nodes[i].name)) &&
            address_family(&plan->nodes[i].address) == family)
            return true;
    }
    return false;
}

/* Drops what goes from one group to the other, by addresses: links may have wires in between. */
static void add_chain(const struct lab_plan *plan, struct text from, struct text to,
                      struct buffer *out)
{
    static const struct {
        int family;
        const char *word;
    } families[] = { { AF_INET, "ip" }, { AF_INET6, "ip6" } };
    for (size_t i = 0; i < COUNT(families); i++) {
        if (!has_family(plan, from, families[i].family) ||
            !has_family(plan, to, families[i].family))
            continue;
        buffer_print(out, "    %s saddr { ", families[i].word);
        add_addresses(plan, from, families[i].family, out);
        buffer_print(out, " } %s daddr { ", families[i].word);
        add_addresses(plan, to, families[i].family, out);
        buffer_print(out, " } drop\n");
    }
}

/* ARP between the groups of one network must stay silent too. */
static void add_arp(const struct lab_plan *plan, struct text from, struct text to,
                    struct buffer *out)
{
    if (!has_family(plan, from, AF_INET) || !has_family(plan, to, AF_INET))
        return;
    buffer_print(out, "    arp saddr ip { ");
    add_addresses(plan, from, AF_INET, out);
    buffer_print(out, " } arp daddr ip { ");
    add_addresses(plan, to, AF_INET, out);
    buffer_print(out, " } drop\n");
}

enum err partition_rules(const struct lab_plan *plan, struct text group, struct text other,
                         struct buffer *out, struct why *why)
{
    static const char *const tables[] = { "bridge", "inet" };
    enum err err = check_group(plan, group, other, why);
    if (err == OK)
        err = check_group(plan, other, group, why);
    for (size_t i = 0; i < COUNT(tables) && err == OK; i++) {
        buffer_print(out,
                     "table %s lab\ndelete table %s lab\ntable %s lab {\n  chain forward {\n"
                     "    type filter hook forward priority 0;\n",
                     tables[i], tables[i], tables[i]);
        add_chain(plan, group, other, out);
        add_chain(plan, other, group, out);
        if (i == 0) {
            add_arp(plan, group, other, out);
            add_arp(plan, other, group, out);
        }
        buffer_print(out, "  }\n}\n");
    }
    return err != OK || !out->failed ? err : fail(why, ERR_LIMIT, "too many machines");
}

static enum err run_nft(struct text rules, struct why *why)
{
    int ends[2], status = -1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(ends[0], 0);
        lab_keep_rights();
        execl("/usr/sbin/nft", "nft", "-f", "-", (char *)NULL);
        _exit(127);
    }
    fd_close(&ends[0]);
    enum err err = pid > 0 ? sys_write_all(ends[1], rules) : ERR_SYSTEM;
    fd_close(&ends[1]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return fail(why, ERR_MISSING, "partitions need nft; install it: apt-get install nftables");
    if (err != OK || status != 0)
        return fail(why, ERR_SYSTEM, "nft refuses the partition; the lab's log says why");
    return OK;
}

enum err partition_start(const struct lab_plan *plan, struct text group, struct text other,
                         struct why *why)
{
    struct buffer rules AUTO(buffer_done) = buffer_of(1 << 20);
    enum err err = partition_rules(plan, group, other, &rules, why);
    if (err == OK)
        err = run_nft(buffer_text(&rules), why);
    active = active || err == OK;
    return err;
}

enum err partition_end(struct why *why)
{
    if (!active)
        return OK;
    active = false;
    return run_nft(T("table bridge lab\ndelete table bridge lab\ntable inet lab\ndelete table inet "
                     "lab\n"),
                   why);
}
