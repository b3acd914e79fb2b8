/*
 * The top of the site file: its name, servers, listen, and the sections of the other files. Parts
 * that are not built yet stand here too, so that they are refused by name and never ignored.
 */
#include "site/field.h"

#include <stdlib.h>
#include <unistd.h>

/* ---- names ---- */

static const char *label_problem(struct text label, bool underscores)
{
    if (text_is_empty(label))
        return "has an empty part between two dots";
    if (label.len > 63)
        return "has a part of more than 63 characters";
    for (size_t i = 0; i < label.len; i++) {
        char c = text_lower(label.data[i]);
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!is_letter && c != '-' && !(c == '_' && underscores))
            return "may hold only letters, digits, '-' and '.'";
    }
    if (label.data[0] == '-' || label.data[label.len - 1] == '-')
        return "has a part that starts or ends with '-'";
    return NULL;
}

const char *host_problem(struct text host, bool is_wild, bool underscores)
{
    struct text rest = host, label = { NULL, 0 };
    if (host.len > 253)
        return "is longer than 253 characters";
    if (text_ends_with(host, T(".")))
        return "must not end with '.'";
    if (is_wild && text_starts_with(host, T("*.")))
        rest = text_skip(host, 2);
    while (rest.data != NULL) {
        label = text_next(&rest, '.');
        const char *problem = label_problem(label, underscores);
        if (problem != NULL)
            return problem;
    }
    uint64_t number;
    if (text_to_uint(label, UINT64_MAX, &number))
        return "looks like an address; a name like www.example.com is needed";
    return NULL;
}

void check_host(struct reading *reading, const struct node *node, const struct path *path,
                struct text value)
{
    char word[SHOWN_SIZE];
    bool is_url = text_find_text(value, T("://")) >= 0;
    bool is_route = text_equal(path->name, T("host"));
    const char *problem = is_url ? "is a URL; write only the name, like www.example.com"
                                 : host_problem(value, is_route, false);
    if (problem != NULL)
        mistakes_add(reading->mistakes, node->place, path, "'%s' %s", shown(value, word), problem);
}

/* ---- servers ---- */

static void check_server(struct reading *reading, const struct node_entry *entry,
                         const struct path *path, struct site_server *server)
{
    struct site *site = reading->site;
    char ip[ADDRESS_TEXT_SIZE];
    const char *problem = label_problem(server->name, false);
    if (problem != NULL)
        mistakes_add(reading->mistakes, entry->key->place, path,
                     "a server's name is one word of letters, digits and '-', like web-01");
    for (size_t i = 0; i + 1 < site->server_count; i++) {
        if (server->address.len == 0 || !address_equal(&site->servers[i].address, &server->address))
            continue;
        address_format_ip(&server->address, ip);
        mistakes_add(reading->mistakes, entry->value->place, path,
                     "'%s' is the address of server '%.*s' already; each server needs its own", ip,
                     FMT(site->servers[i].name));
        return;
    }
}

void read_servers(struct reading *reading, const struct node *node, const struct path *path,
                  void *section)
{
    struct site *site = section;
    site->has_servers = true;
    if (!expect_kind(reading, node, path, NODE_MAP,
                     "a map of names and addresses, like web-01: 192.0.2.1"))
        return;
    if (node->first == NULL)
        mistakes_add(reading->mistakes, node->place, path,
                     "no server is named; add one like web-01: 192.0.2.1, or remove servers: to "
                     "run on this machine");
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_server *server =
            append_item(reading->arena, &site->servers, &site->server_count, sizeof(*server));
        *server = (struct site_server){ .name = entry->key->value, .place = entry->key->place };
        read_one_server(reading, entry->value, &at, server);
        check_server(reading, entry, &at, server);
    }
}

/* ---- networks ---- */

static void add_network(struct reading *reading, const struct node *node, const struct path *path,
                        struct network **networks, size_t *count)
{
    struct network network;
    struct text value;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return;
    enum err err = network_parse(value, &network);
    if (err != OK) {
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' %s; write one like 192.0.2.0/24 or 2001:db8::/32", shown(value, word),
                     err == ERR_RANGE ? "has bits behind its prefix that are not zero"
                                      : "is not a network");
        return;
    }
    struct network *place = append_item(reading->arena, networks, count, sizeof(*place));
    *place = network;
}

void read_networks(struct reading *reading, const struct node *node, const struct path *path,
                   struct network **networks, size_t *count)
{
    size_t index = 0;
    if (node->kind == NODE_SCALAR) {
        add_network(reading, node, path, networks, count);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_LIST, "a list of networks, like [192.0.2.0/24]"))
        return;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_network(reading, entry->value, &item, networks, count);
    }
}

/* ---- listen ---- */

static void check_listen_address(struct reading *reading, const struct node *node,
                                 const struct path *path, struct text value)
{
    struct address address;
    char word[SHOWN_SIZE];
    if (address_parse_ip(value, 0, &address) == OK)
        return;
    mistakes_add(reading->mistakes, node->place, path,
                 "'%s' is not an IP address; write one like 127.0.0.1, or 0.0.0.0 for every "
                 "address of this machine",
                 shown(value, word));
}

static const struct field listen_rows[] = {
    { .name = "address",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_listen, address, struct text),
      .otherwise = "127.0.0.1 without `servers:`, else the server's own",
      .check = check_listen_address,
      .form = "IP address",
      .example = "0.0.0.0",
      .help = "Address to listen on; 0.0.0.0 for every address of the machine." },
    { .name = "http",
      .kind = FIELD_PORT,
      .offset = AT(struct site_listen, http, int64_t),
      .otherwise = "80 as root, else 8080",
      .min = 1,
      .max = 65535,
      .example = "8080",
      .help = "TCP port of the web server." },
    { .name = "https",
      .kind = FIELD_PORT,
      .offset = AT(struct site_listen, https, int64_t),
      .otherwise = "with `tls:` 443 as root, else 8443",
      .min = 1,
      .max = 65535,
      .example = "8443",
      .help = "TCP port of the web server for encrypted requests." },
    { .name = "dns",
      .kind = FIELD_PORT,
      .offset = AT(struct site_listen, dns, int64_t),
      .otherwise = "53 as root, else 5300",
      .min = 1,
      .max = 65535,
      .example = "5300",
      .help = "UDP and TCP port of the DNS server." },
    { .name = "proxy-protocol",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_listen, proxy_protocol, int64_t),
      .preset = "off",
      .choices = "off accept",
      .help =
          "Whether connections to `http` and `https` begin with a PROXY header (before TLS); who "
          "is `trusted` must send one, from others it is an error." },
    { .name = "inside",
      .kind = FIELD_PORT,
      .offset = AT(struct site_listen, inside, int64_t),
      .preset = "5310",
      .min = 1,
      .max = 65535,
      .help = "TCP port on which the servers of the site pass requests to each other, where they "
              "need one beside `http`." },
    { .name = "control",
      .kind = FIELD_PORT,
      .offset = AT(struct site_listen, control, int64_t),
      .preset = "5320",
      .min = 1,
      .max = 65535,
      .help = "TCP port of the channel between the servers of the site." },
    { .name = "metrics",
      .kind = FIELD_PORT,
      .offset = AT(struct site_listen, metrics, int64_t),
      .preset = "5330",
      .min = 1,
      .max = 65535,
      .help = "With `monitor:`, TCP port of `/metrics` on each server, for the servers of the site "
              "and for `monitor.scrape`." },
    { .name = "monitor",
      .kind = FIELD_PORT,
      .offset = AT(struct site_listen, monitor, int64_t),
      .preset = "5340",
      .min = 1,
      .max = 65535,
      .help = "TCP port of the monitor's page, on 127.0.0.1 of the servers of `monitor.on`." },
};
const struct fields listen_fields = { listen_rows, COUNT(listen_rows) };

/* ---- the sections ---- */

static void web_is_there(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    ((struct site_web *)section)->is_present = true;
}

static void balancer_is_there(struct reading *reading, const struct node *node,
                              const struct path *path, void *section)
{
    ((struct site_balancer *)section)->is_present = true;
    ((struct site_balancer *)section)->pool.place = node->place;
}

static void database_is_there(struct reading *reading, const struct node *node,
                              const struct path *path, void *section)
{
    ((struct site_database *)section)->is_present = true;
    ((struct site_database *)section)->place = node->place;
}

static void dns_is_there(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    ((struct site_dns *)section)->is_present = true;
    ((struct site_dns *)section)->place = node->place;
}

static const struct field site_rows[] = {
    { .name = "site",
      .kind = FIELD_TEXT,
      .offset = AT(struct site, name, struct text),
      .is_required = true,
      .check = check_host,
      .form = "host name",
      .example = "www.example.com",
      .help = "Name of the site, as browsers ask for it." },
    { .name = "servers",
      .kind = FIELD_OWN,
      .read = read_servers,
      .fields = &server_fields,
      .form = "map of name: IP address, or of name: map of keys",
      .otherwise = "this machine",
      .schema = "{\"type\":\"object\",\"minProperties\":1,\"additionalProperties\":"
                "{\"oneOf\":[{\"type\":\"string\"},%]}}",
      .example = "{ web-01: 192.0.2.11 }",
      .help = "The servers of the site. Without it everything runs on this machine." },
    { .name = "listen",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, listen),
      .fields = &listen_fields,
      .help = "Where the servers listen." },
    { .name = "web",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, web),
      .fields = &web_fields,
      .read = web_is_there,
      .help = "The web server: answers browsers, serves files, passes the rest to the apps." },
    { .name = "app",
      .kind = FIELD_OWN,
      .read = read_app,
      .fields = &app_fields,
      .form = "map of keys",
      .schema = "%",
      .help = "The application, when the site has one; short for `apps: { app: ... }`." },
    { .name = "apps",
      .kind = FIELD_OWN,
      .read = read_apps,
      .fields = &app_fields,
      .form = "map of name: app",
      .schema = "{\"type\":\"object\",\"additionalProperties\":%}",
      .help = "Several applications, by name. Each one needs a route or a `mount`." },
    { .name = "upstreams",
      .kind = FIELD_OWN,
      .read = read_upstreams,
      .fields = &upstream_fields,
      .form = "map of name: upstream",
      .otherwise = "none",
      .schema = "{\"type\":[\"object\",\"null\"],\"additionalProperties\":%}",
      .help = "Other HTTP servers, by a name that `upstream` of a route gives." },
    { .name = "routes",
      .kind = FIELD_OWN,
      .read = read_routes,
      .fields = &route_fields,
      .form = "list of routes",
      .otherwise = "`/` leads to the app",
      .schema = "{\"type\":\"array\",\"items\":%}",
      .help = "What answers which request. An exact host is tried before `*.` hosts and those "
              "before any host, a longer path before a shorter one, then the order of the file." },
    { .name = "balancer",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, balancer),
      .fields = &balancer_fields,
      .read = balancer_is_there,
      .help = "Spreads the requests over the servers of `web:`." },
    { .name = "tcp",
      .kind = FIELD_OWN,
      .read = read_tcp,
      .fields = &tcp_fields,
      .form = "map of name: service",
      .otherwise = "none",
      .schema = "{\"type\":[\"object\",\"null\"],\"additionalProperties\":%}",
      .help = "Services that are no HTTP: connections are spread over their servers as they are." },
    { .name = "database",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, database),
      .fields = &database_fields,
      .read = database_is_there,
      .help = "A private MariaDB, created on the first start. The apps get `DATABASE_URL`." },
    { .name = "dns",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, dns),
      .fields = &dns_fields,
      .read = dns_is_there,
      .help = "An authoritative DNS server for the site's domain." },
    { .name = "vip",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, vip),
      .fields = &vip_fields,
      .read = finish_vip,
      .help = "An address that moves to a healthy balancer. It can be checked, audited and drawn; "
              "a site with it does not run yet." },
    { .name = "tls",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, tls),
      .fields = &tls_fields,
      .read = finish_tls,
      .help = "Encryption: HTTPS where clients come in." },
    { .name = "firewall",
      .kind = FIELD_OWN,
      .read = read_firewall,
      .fields = &firewall_fields,
      .form = "`audit` or map of keys",
      .schema = "{\"oneOf\":[{\"const\":\"audit\"},%]}",
      .help = "Packet filter of every server, derived from the topology: what the file does not "
              "need is closed, in both directions." },
    { .name = "monitor",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, monitor),
      .fields = &monitor_fields,
      .read = finish_monitor,
      .help = "Watches every server: measures it each second, keeps that for a year." },
    { .name = "objectives",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, objectives),
      .fields = &objectives_fields,
      .read = finish_objectives,
      .help = "What the site promises, to be judged by." },
    { .name = "audit",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site, audit),
      .fields = &audit_fields,
      .help = "What `trilith audit` reckons with." },
};
const struct fields site_fields = { site_rows, COUNT(site_rows) };
