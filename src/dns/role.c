/*
 * The DNS role: builds the zone of each generation it is given, and serves it from the moment the
 * parent commits to it (process/swap.h).
 */
#include "dns/dns.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/memory.h"
#include "dns/build.h"
#include "dns/server.h"
#include "process/swap.h"

#include <stdio.h>
#include <sys/socket.h>

enum { DRAIN_MS = 5000 };

struct dns {
    struct swap swap;
    struct loop_timer drain_timer;
    struct dns_server *server;
    struct dns_zone *next; /* built, not served yet */
    uint32_t serial;
};

static size_t dns_count(const struct generation *generation)
{
    const struct site *site = generation->site;
    return site->dns.is_present && site_is_on(site, &site->dns.on, generation->server) ? 1 : 0;
}

static void dns_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "dns");
}

static enum err prepare(struct generation *generation, struct why *why)
{
    const struct site *site = generation->site;
    struct dns_zone *zone;
    if (dns_count(generation) == 0)
        return OK;
    enum err err = dns_zone_build(site, 1, &zone, why);
    if (err != OK)
        return err;
    dns_zone_free(zone);
    struct address address = generation->server->address;
    if (!text_is_empty(site->listen.address) &&
        address_parse_ip(site->listen.address, 0, &address) != OK)
        return fail(why, ERR_SYNTAX, "listen.address: '%.*s' is not an IP address",
                    FMT(site->listen.address));
    address_set_port(&address, (uint16_t)site->listen.dns);
    err = generation_listen(generation, &address, SOCK_DGRAM, why, "listen.dns.udp");
    return err == OK ? generation_listen(generation, &address, SOCK_STREAM, why, "listen.dns.tcp")
                     : err;
}

/* ---- generations ---- */

/* Grows with each zone, also over restarts: the time in seconds (RFC 1982 for the wrap). */
static uint32_t next_serial(uint32_t last)
{
    uint32_t now = (uint32_t)(clock_wall_ms() / 1000);
    return (int32_t)(now - last) > 0 ? now : last + 1;
}

static struct dns *dns_of(struct swap *swap)
{
    return list_entry(swap, struct dns, swap);
}

static enum err build(struct swap *swap, const struct generation *generation, struct why *why)
{
    struct dns *dns = dns_of(swap);
    uint32_t serial = next_serial(dns->serial);
    enum err err = dns_zone_build(generation->site, serial, &dns->next, why);
    if (err == OK)
        dns->serial = serial;
    return err;
}

static void forget(struct swap *swap)
{
    struct dns *dns = dns_of(swap);
    dns_zone_free(dns->next);
    dns->next = NULL;
}

static enum err use(struct swap *swap, const struct generation *generation, struct why *why)
{
    struct dns *dns = dns_of(swap);
    enum err err =
        dns_server_use(dns->server, dns->next, generation_fd(generation, "listen.dns.udp"),
                       generation_fd(generation, "listen.dns.tcp"), why);
    if (err != OK)
        return err;
    log_info("dns", "serving", TEXT("zone", generation->site->domain), INT("serial", dns->serial),
             INT("names", (int64_t)dns->next->node_count));
    dns->next = NULL; /* the server's */
    return OK;
}

/* ---- the end ---- */

static void drained(void *owner)
{
    loop_stop(((struct dns *)owner)->swap.loop);
}

static void drain_too_long(struct loop_timer *timer)
{
    loop_stop(list_entry(timer, struct dns, drain_timer)->swap.loop);
}

static void drain(struct swap *swap)
{
    struct dns *dns = dns_of(swap);
    if (dns->server->is_draining)
        return;
    loop_timer_start(swap->loop, &dns->drain_timer, DRAIN_MS);
    dns_server_drain(dns->server, drained, dns);
}

static int run(struct process *self)
{
    static const struct swap_steps steps = {
        .area = "dns", .build = build, .use = use, .forget = forget, .drain = drain
    };
    struct why why = { "" };
    struct dns *dns = NEW(struct dns);
    struct loop *loop;
    enum err err = loop_new(LOOP_AUTO, &loop, &why);
    if (err == OK) {
        dns->server = dns_server_new(loop, self->metrics);
        loop_timer_init(&dns->drain_timer, drain_too_long);
        err = swap_start(&dns->swap, &steps, self, loop, &why);
    }
    if (err != OK) {
        log_error("dns", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(loop);
    /* open connections end with the process */
    return 0;
}

const struct role dns_role = {
    .name = "dns",
    .summary = "authoritative DNS for the site's zone, over UDP and TCP",
    .reload = RELOAD_SWAP,
    .start_order = 30,
    .needs = "listen.dns",
    .count = dns_count,
    .title = dns_title,
    .prepare = prepare,
    .run = run,
};
