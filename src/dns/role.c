/*
 * The DNS role: builds the zone of each generation it is given, and serves it from the moment the
 * parent commits to it:
 *
 *   CONFIG ──► zone built ──► READY ──► COMMIT ──► serves it, RELEASED(old)
 *                  └──► FAILED            └──► DISCARD
 */
#include "dns/dns.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/memory.h"
#include "dns/build.h"
#include "dns/server.h"

#include <stdio.h>
#include <sys/socket.h>

enum { DRAIN_MS = 5000 };

struct dns {
    struct process *self;
    struct loop *loop;
    struct loop_watch channel;
    struct loop_timer drain_timer;
    struct dns_server *server;
    struct generation *live;
    struct generation *next; /* built, waits for COMMIT */
    struct dns_zone *next_zone;
    uint32_t serial;
    char buffer[MESSAGE_TEXT_LIMIT + 64];
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

static void drop_next(struct dns *dns)
{
    generation_free(dns->next);
    dns_zone_free(dns->next_zone);
    dns->next = NULL;
    dns->next_zone = NULL;
}

/* Takes over the generation and tells the parent what became of it. */
static bool build_next(struct dns *dns, struct generation *generation)
{
    struct why why = { "" };
    drop_next(dns);
    uint32_t serial = next_serial(dns->serial);
    if (dns_zone_build(generation->site, serial, &dns->next_zone, &why) == OK) {
        dns->serial = serial;
        dns->next = generation;
        process_send(dns->self, MESSAGE_READY, generation->number, T(""));
        return true;
    }
    process_send(dns->self, MESSAGE_FAILED, generation->number, text_of(why.text));
    generation_free(generation);
    return false;
}

static void commit(struct dns *dns, uint64_t number)
{
    struct why why = { "" };
    struct generation *generation = dns->next;
    if (generation == NULL || generation->number != number)
        return;
    enum err err =
        dns_server_use(dns->server, dns->next_zone, generation_fd(generation, "listen.dns.udp"),
                       generation_fd(generation, "listen.dns.tcp"), &why);
    if (err != OK) {
        log_error("dns", "cannot use the new zone", STRING("why", why.text));
        drop_next(dns);
        return;
    }
    log_info("dns", "serving", TEXT("zone", generation->site->domain), INT("serial", dns->serial),
             INT("names", (int64_t)dns->next_zone->node_count));
    struct generation *old = dns->live;
    dns->live = generation;
    dns->next = NULL;
    dns->next_zone = NULL;
    if (old != NULL)
        process_send(dns->self, MESSAGE_RELEASED, old->number, T(""));
    generation_free(old);
}

/* ---- messages ---- */

static void drained(void *owner)
{
    struct dns *dns = owner;
    loop_stop(dns->loop);
}

static void drain_too_long(struct loop_timer *timer)
{
    loop_stop(list_entry(timer, struct dns, drain_timer)->loop);
}

static void drain(struct dns *dns)
{
    if (dns->server->is_draining)
        return;
    loop_timer_start(dns->loop, &dns->drain_timer, DRAIN_MS);
    dns_server_drain(dns->server, drained, dns);
}

static void handle(struct dns *dns, const struct message *message, struct generation *generation)
{
    switch (message->type) {
    case MESSAGE_CONFIG:
        if (generation != NULL)
            build_next(dns, generation);
        break;
    case MESSAGE_COMMIT:
        commit(dns, message->generation);
        break;
    case MESSAGE_DISCARD:
        if (dns->next != NULL && dns->next->number == message->generation)
            drop_next(dns);
        break;
    case MESSAGE_DRAIN:
        drain(dns);
        break;
    case MESSAGE_STOP:
        loop_stop(dns->loop);
        break;
    case MESSAGE_READY:
    case MESSAGE_FAILED:
    case MESSAGE_RELEASED:
    case MESSAGE_WORKERS:
    case MESSAGE_NOTE:
    case MESSAGE_LOG_PIPE:
    case MESSAGE_LAST:
        break; /* never to a role of this kind */
    }
}

static void channel_ready(struct loop_watch *watch, unsigned events)
{
    struct dns *dns = list_entry(watch, struct dns, channel);
    for (;;) {
        struct message message;
        struct generation *generation = NULL;
        struct why why = { "" };
        enum err err = process_receive(dns->self, &message, dns->buffer, sizeof(dns->buffer),
                                       &generation, &why);
        if (err == ERR_BUSY)
            return;
        if (err == ERR_CLOSED) { /* the parent is gone, and so should we be */
            loop_stop(dns->loop);
            return;
        }
        if (err != OK) {
            log_error("dns", "bad message from the parent", STRING("why", why.text));
            return;
        }
        handle(dns, &message, generation);
    }
}

static enum err start(struct dns *dns, struct why *why)
{
    enum err err = loop_new(LOOP_AUTO, &dns->loop, why);
    if (err != OK)
        return err;
    dns->server = dns_server_new(dns->loop, dns->self->metrics);
    loop_timer_init(&dns->drain_timer, drain_too_long);
    err = loop_watch_start(dns->loop, &dns->channel, dns->self->channel, LOOP_READ, channel_ready);
    if (err != OK)
        return fail(why, err, "cannot watch the channel to the parent");
    struct generation *first = dns->self->first;
    dns->self->first = NULL; /* ours to free from here on */
    if (!build_next(dns, first))
        return ERR_STATE;
    if (dns->self->is_replay)
        commit(dns, first->number);
    return OK;
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct dns *dns = NEW(struct dns);
    dns->self = self;
    if (start(dns, &why) != OK) {
        log_error("dns", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(dns->loop);
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
