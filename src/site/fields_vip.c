/*
 * The section vip: addresses that move between the servers where clients come in, and how
 * eagerly.
 */
#include "site/field.h"

enum { ADDRESSES_LIMIT = 8 };

static void add_vip_address(struct reading *reading, const struct node *node,
                            const struct path *path, struct site_vip *vip)
{
    struct address address;
    struct text value;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return;
    if (address_parse_ip(value, 0, &address) != OK) {
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not an IP address; write one like 192.0.2.10 or 2001:db8::10",
                     shown(value, word));
        return;
    }
    for (size_t i = 0; i < vip->address_count; i++) {
        if (!address_equal(&vip->addresses[i], &address))
            continue;
        mistakes_add(reading->mistakes, node->place, path, "'%s' is in this list already",
                     shown(value, word));
        return;
    }
    if (vip->address_count == ADDRESSES_LIMIT) {
        mistakes_add(reading->mistakes, node->place, path, "at most %d addresses", ADDRESSES_LIMIT);
        return;
    }
    struct address *place =
        append_item(reading->arena, &vip->addresses, &vip->address_count, sizeof(*place));
    *place = address;
}

static void read_vip_address(struct reading *reading, const struct node *node,
                             const struct path *path, void *section)
{
    size_t index = 0;
    if (node->kind == NODE_SCALAR) {
        add_vip_address(reading, node, path, section);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_LIST, "an IP address or a list of them"))
        return;
    if (node->first == NULL)
        mistakes_add(reading->mistakes, node->place, path, "the list is empty; write an address");
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_vip_address(reading, entry->value, &item, section);
    }
}

static const struct field after_rows[] = {
    { .name = "after",
      .kind = FIELD_TIME,
      .offset = AT(struct site_vip, preempt_ms, int64_t),
      .is_required = true,
      .min = 1000,
      .max = 3600000,
      .example = "30s",
      .help = "A better server takes over when it has been ready for so long." },
};
static const struct fields after_fields = { after_rows, COUNT(after_rows), NULL };

static void read_preempt(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    struct site_vip *vip = section;
    if (node->kind == NODE_MAP) {
        vip->preempt = VIP_PREEMPT_AFTER;
        fields_read(reading, node, path, &after_fields, vip);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_SCALAR, "never, when-ready or { after: 30s }"))
        return;
    bool is_ready = text_equal(node->value, T("when-ready"));
    char word[SHOWN_SIZE];
    if (is_ready || text_equal(node->value, T("never")))
        vip->preempt = is_ready ? VIP_PREEMPT_WHEN_READY : VIP_PREEMPT_NEVER;
    else
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is none of: never, when-ready, { after: 30s }",
                     shown(node->value, word));
}

static const struct field rows[] = {
    { .name = "address",
      .kind = FIELD_OWN,
      .read = read_vip_address,
      .is_required = true,
      .form = "IP address, or a list of them",
      .schema = "{\"type\":[\"string\",\"array\"],\"minItems\":1,\"items\":{\"type\":\"string\"}}",
      .example = "192.0.2.10",
      .help = "Where clients find the site. None of them is a server's own address." },
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct site_vip, on, struct site_on),
      .otherwise = "the servers of `balancer`, else of `web`",
      .help = "Servers that may hold it; the first is the first choice." },
    { .name = "mode",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_vip, mode, int64_t),
      .preset = "active-passive",
      .choices = "active-passive active-active",
      .help = "active-passive: one server holds every address. active-active: each address has "
              "another first choice, and DNS gives all of them." },
    { .name = "preempt",
      .kind = FIELD_OWN,
      .read = read_preempt,
      .form = "`never`, `when-ready` or `{ after: 30s }`",
      .otherwise = "`never`",
      .schema = "{\"oneOf\":[{\"enum\":[\"never\",\"when-ready\"]},{\"type\":\"object\","
                "\"required\":[\"after\"],\"properties\":{\"after\":{\"type\":\"string\"}},"
                "\"additionalProperties\":false}]}",
      .example = "{ after: 30s }",
      .help = "When a server that is a better choice takes the address from one that works." },
    { .name = "interval",
      .kind = FIELD_TIME,
      .offset = AT(struct site_vip, interval_ms, int64_t),
      .preset = "100ms",
      .min = 10,
      .max = 40950,
      .help = "Time between two adverts; after three of them that do not come another server takes "
              "over." },
    { .name = "id",
      .kind = FIELD_INT,
      .offset = AT(struct site_vip, id, int64_t),
      .preset = "1",
      .min = 1,
      .max = 248,
      .help = "VRRP's number of the first address, the next ones have the next; others in the "
              "same network need other numbers." },
    LATER_ROW("move", "A command that moves the address, for clouds that need one."),
};
const struct fields vip_fields = { rows, COUNT(rows), NULL };

void finish_vip(struct reading *reading, const struct node *node, const struct path *path,
                void *section)
{
    struct site_vip *vip = section;
    struct path mode = { path, T("mode"), 0 };
    vip->is_present = true;
    if (vip->mode == VIP_ACTIVE_ACTIVE && vip->address_count == 1)
        mistakes_add(reading->mistakes, place_in(reading, "vip", "mode", NULL), &mode,
                     "needs an address for each active server: write two at least in `address`");
}

/* ---- beside the rest of the site ---- */

static const struct path root_path = { NULL, { NULL, 0 }, 0 };

static void check_vip_addresses(struct reading *reading, const struct path *path)
{
    const struct site *site = reading->site;
    struct path at = { path, T("address"), 0 };
    for (size_t i = 0; i < site->vip.address_count; i++)
        for (size_t j = 0; j < site->server_count; j++) {
            char ip[ADDRESS_TEXT_SIZE];
            if (!address_equal(&site->vip.addresses[i], &site->servers[j].address))
                continue;
            address_format_ip(&site->vip.addresses[i], ip);
            mistakes_add(reading->mistakes, place_in(reading, "vip", "address", NULL), &at,
                         "'%s' is the address of server '%.*s'; it needs one of its own", ip,
                         FMT(site->servers[j].name));
        }
}

static void check_vip_servers(struct reading *reading, const struct path *path)
{
    const struct site *site = reading->site;
    struct path at = { path, T("on"), 0 };
    for (size_t i = 0; i < site->vip.on.count; i++) {
        const struct site_server *server = site->vip.on.servers[i];
        if (!site_is_door(site, server))
            mistakes_add(reading->mistakes, place_in(reading, "vip", "on", NULL), &at,
                         "clients do not come in at '%.*s'; name servers of %s", FMT(server->name),
                         site->balancer.is_present ? "balancer:" : "web:");
    }
}

void check_vip(struct reading *reading)
{
    struct site *site = reading->site;
    struct path path = { &root_path, T("vip"), 0 };
    struct site_place place = place_in(reading, "vip", NULL);
    bool is_written = site->vip.on.count > 0;
    if (!site->vip.is_present)
        return;
    if (!site->has_servers) {
        mistakes_add(reading->mistakes, place, &path,
                     "one machine has nobody to move an address to; add servers:");
        return;
    }
    if (!site->web.is_present && !site->balancer.is_present) {
        mistakes_add(reading->mistakes, place, &path,
                     "nobody comes in by it: add web: or balancer:");
        return;
    }
    check_vip_addresses(reading, &path);
    check_vip_servers(reading, &path);
    for (size_t i = 0; i < site->server_count && !is_written; i++) {
        const struct site_server **door;
        if (!site_is_door(site, &site->servers[i]))
            continue;
        door =
            append_item(reading->arena, &site->vip.on.servers, &site->vip.on.count, sizeof(*door));
        *door = &site->servers[i];
    }
}
