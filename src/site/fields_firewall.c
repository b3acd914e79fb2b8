/*
 * The section firewall. What is open follows from the rest of the file (edges.h); here stands what
 * only a person knows: from where servers are looked after, what else may come in and go out, and
 * how much one client may do.
 */
#include "site/field.h"

enum { WAYS_LIMIT = 64, PORTS_LIMIT = 65535 };

/* ---- any, none, or networks ---- */

static void read_anyone(struct reading *reading, const struct node *node, const struct path *path,
                        bool *is_anyone, struct network **networks, size_t *count)
{
    *is_anyone = node->kind == NODE_SCALAR && text_equal(node->value, T("any"));
    if (!*is_anyone)
        read_networks(reading, node, path, networks, count);
}

static void read_admin(struct reading *reading, const struct node *node, const struct path *path,
                       void *section)
{
    struct site_firewall *firewall = section;
    firewall->has_admin = true;
    firewall->admin_place = node->place;
    if (node->kind == NODE_SCALAR && text_equal(node->value, T("none")))
        return;
    read_anyone(reading, node, path, &firewall->is_admin_anyone, &firewall->admin,
                &firewall->admin_count);
}

static void read_other_end(struct reading *reading, const struct node *node,
                           const struct path *path, void *section)
{
    struct site_way *way = section;
    read_anyone(reading, node, path, &way->is_anyone, &way->networks, &way->network_count);
}

#define ANYONE_SCHEMA                                                                              \
    "{\"type\":[\"string\",\"array\"],\"minItems\":1,\"items\":{\"type\":\"string\"}}"

/* ---- ways ---- */

#define WAY_ROWS(end_, end_help_)                                                                  \
    { .name = end_,                                                                                \
      .kind = FIELD_OWN,                                                                           \
      .read = read_other_end,                                                                      \
      .is_required = true,                                                                         \
      .form = "`any` or networks",                                                                 \
      .schema = ANYONE_SCHEMA,                                                                     \
      .example = "192.0.2.0/24",                                                                   \
      .help = end_help_ },                                                                         \
        { .name = "port",                                                                          \
          .kind = FIELD_PORT,                                                                      \
          .offset = AT(struct site_way, port, int64_t),                                            \
          .is_required = true,                                                                     \
          .min = 1,                                                                                \
          .max = PORTS_LIMIT,                                                                      \
          .example = "443",                                                                        \
          .help = "The port that is connected to." },                                              \
        { .name = "protocol",                                                                      \
          .kind = FIELD_CHOICE,                                                                    \
          .offset = AT(struct site_way, protocol, int64_t),                                        \
          .preset = "tcp",                                                                         \
          .choices = "tcp udp",                                                                    \
          .help = "What is spoken there." },                                                       \
    {                                                                                              \
        .name = "on", .kind = FIELD_ON, .offset = AT(struct site_way, on, struct site_on),         \
        .otherwise = "every server", .help = "Servers for which it counts."                        \
    }

static const struct field incoming_rows[] = { WAY_ROWS("from",
                                                       "Who may come: `any`, or networks.") };
static const struct fields incoming_fields = { incoming_rows, COUNT(incoming_rows) };

static const struct field outgoing_rows[] = { WAY_ROWS(
    "to", "Where the servers may go: `any`, or networks.") };
static const struct fields outgoing_fields = { outgoing_rows, COUNT(outgoing_rows) };

static void read_ways(struct reading *reading, const struct node *node, const struct path *path,
                      const struct fields *fields, bool is_outgoing, struct site_firewall *firewall)
{
    size_t index = 0;
    if (!expect_kind(reading, node, path, NODE_LIST,
                     is_outgoing ? "a list of ways, like [{ to: any, port: 443 }]"
                                 : "a list of ways, like [{ from: 192.0.2.0/24, port: 9100 }]"))
        return;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        if (firewall->way_count == WAYS_LIMIT) {
            mistakes_add(reading->mistakes, entry->value->place, &item, "at most %d ways",
                         WAYS_LIMIT);
            return;
        }
        struct site_way *way =
            append_item(reading->arena, &firewall->ways, &firewall->way_count, sizeof(*way));
        way->is_outgoing = is_outgoing;
        way->place = entry->value->place;
        if (expect_kind(reading, entry->value, &item, NODE_MAP, "a map of keys"))
            fields_read(reading, entry->value, &item, fields, way);
    }
}

static void read_incoming(struct reading *reading, const struct node *node, const struct path *path,
                          void *section)
{
    read_ways(reading, node, path, &incoming_fields, false, section);
}

static void read_outgoing(struct reading *reading, const struct node *node, const struct path *path,
                          void *section)
{
    read_ways(reading, node, path, &outgoing_fields, true, section);
}

/* ---- limits ---- */

static const struct field limit_rows[] = {
    { .name = "connections",
      .kind = FIELD_INT,
      .offset = AT(struct site_firewall_limits, connections, int64_t),
      .preset = "1024",
      .min = 1,
      .max = 1000000,
      .help = "Connections that one address may have open to the public ports of a server." },
    { .name = "new",
      .kind = FIELD_INT,
      .offset = AT(struct site_firewall_limits, fresh, int64_t),
      .preset = "500",
      .min = 1,
      .max = 1000000,
      .help = "Connections that one address may begin per second there; twice as many at once." },
    { .name = "new-total",
      .kind = FIELD_INT,
      .offset = AT(struct site_firewall_limits, fresh_total, int64_t),
      .preset = "20000",
      .min = 100,
      .max = 10000000,
      .help = "Connections that all of them together may begin per second at one server: what a "
              "flood of SYN packets can cost." },
};
static const struct fields limit_fields = { limit_rows, COUNT(limit_rows) };

static const struct field ban_rows[] = {
    { .name = "after",
      .kind = FIELD_INT,
      .offset = AT(struct site_firewall_ban, after, int64_t),
      .preset = "200",
      .min = 0,
      .max = 1000000,
      .help = "So many requests over the `rate` of their route (429) within the time, and the "
              "client is banned at all entrances; `0`: nobody is." },
    { .name = "within",
      .kind = FIELD_TIME,
      .offset = AT(struct site_firewall_ban, within_ms, int64_t),
      .preset = "10s",
      .min = 1000,
      .max = 3600000,
      .help = "The time in which they are counted." },
    { .name = "for",
      .kind = FIELD_TIME,
      .offset = AT(struct site_firewall_ban, for_ms, int64_t),
      .preset = "10m",
      .min = 1000,
      .max = 31536000000,
      .help = "How long a ban lasts." },
};
static const struct fields ban_fields = { ban_rows, COUNT(ban_rows) };

/* ---- the section ---- */

static const struct field rows[] = {
    { .name = "admin",
      .kind = FIELD_OWN,
      .read = read_admin,
      .form = "`any`, `none` or networks",
      .otherwise = "must be written, but for `mode: audit`",
      .schema = ANYONE_SCHEMA,
      .example = "[192.0.2.0/24]",
      .help = "From where the servers are looked after by ssh." },
    { .name = "ssh",
      .kind = FIELD_PORT,
      .offset = AT(struct site_firewall, ssh, int64_t),
      .preset = "22",
      .min = 1,
      .max = PORTS_LIMIT,
      .help = "The port of ssh on the servers." },
    { .name = "mode",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_firewall, mode, int64_t),
      .preset = "enforce",
      .choices = "enforce audit",
      .help = "`audit`: nothing is dropped, but counted and logged as if; `firewall: audit` is "
              "short for it." },
    { .name = "incoming",
      .kind = FIELD_OWN,
      .read = read_incoming,
      .fields = &incoming_fields,
      .form = "list of ways",
      .otherwise = "what the rest of the file needs",
      .schema = "{\"type\":\"array\",\"items\":%}",
      .example = "[{ from: 192.0.2.0/24, port: 9100 }]",
      .help = "What may come in besides." },
    { .name = "outgoing",
      .kind = FIELD_OWN,
      .read = read_outgoing,
      .fields = &outgoing_fields,
      .form = "list of ways",
      .otherwise = "what the rest of the file needs, DNS, NTP and DHCP",
      .schema = "{\"type\":\"array\",\"items\":%}",
      .example = "[{ to: any, port: 443 }]",
      .help = "What the servers, their applications among it, may connect to besides." },
    { .name = "limits",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_firewall, limits),
      .fields = &limit_fields,
      .help = "How much may come from one address; the site's own servers, `admin` and the "
              "`trusted` proxies of web and balancer are not meant." },
    { .name = "ban",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_firewall, ban),
      .fields = &ban_fields,
      .help = "When a client is shut out by itself." },
    { .name = "confirm",
      .kind = FIELD_TIME,
      .offset = AT(struct site_firewall, confirm_ms, int64_t),
      .preset = "10s",
      .min = 1000,
      .max = 45000,
      .help = "How long other servers that were reachable have time to connect again through new "
              "rules; else the old ones are put back and the reload fails." },
};
const struct fields firewall_fields = { rows, COUNT(rows) };

void read_firewall(struct reading *reading, const struct node *node, const struct path *path,
                   void *section)
{
    struct site_firewall *firewall = &((struct site *)section)->firewall;
    struct path admin = { path, T("admin"), 0 };
    firewall->is_present = true;
    firewall->place = node->place;
    if (node->kind == NODE_SCALAR && text_equal(node->value, T("audit"))) {
        fields_preset(reading, &firewall_fields, firewall);
        firewall->mode = FIREWALL_AUDIT;
        return;
    }
    if (!expect_kind(reading, node, path, NODE_MAP, "`audit` or a map of keys"))
        return;
    fields_read(reading, node, path, &firewall_fields, firewall);
    if (!firewall->has_admin && firewall->mode == FIREWALL_ENFORCE)
        mistakes_add(reading->mistakes, node->place, &admin,
                     "is missing: say from where ssh may come, like admin: [192.0.2.0/24], or any, "
                     "or none; without it the firewall could lock you out");
}
