/*
 * What audits and drills go by: where servers stand (rack, site), `objectives:` and `audit:`.
 */
#include "site/field.h"

/* ---- servers ---- */

static void read_server_address(struct reading *reading, const struct node *node,
                                const struct path *path, void *section)
{
    struct site_server *server = section;
    struct text address;
    char word[SHOWN_SIZE];
    if (value_text(reading, node, path, &address) &&
        address_parse_ip(address, 0, &server->address) != OK)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not an IP address; write one like 192.0.2.1 or 2001:db8::1",
                     shown(address, word));
}

static void check_word(struct reading *reading, const struct node *node, const struct path *path,
                       struct text value)
{
    char word[SHOWN_SIZE];
    bool is_good = value.len <= 63;
    for (size_t i = 0; i < value.len; i++) {
        char c = text_lower(value.data[i]);
        is_good = is_good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                              c == '_' || c == '.');
    }
    if (!is_good)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is no name: write up to 63 letters, digits, '-', '_' and '.'",
                     shown(value, word));
}

static const struct field server_rows[] = {
    { .name = "address",
      .kind = FIELD_OWN,
      .read = read_server_address,
      .is_required = true,
      .form = "IP address",
      .schema = "{\"type\":\"string\"}",
      .example = "192.0.2.11",
      .help = "Its address. `web-01: 192.0.2.11` is short for this key alone." },
    { .name = "site",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_server, location, struct text),
      .check = check_word,
      .form = "name",
      .otherwise = "not known",
      .example = "fra1",
      .help = "Data centre where it stands: what fails together." },
    { .name = "rack",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_server, rack, struct text),
      .check = check_word,
      .form = "name",
      .otherwise = "not known",
      .example = "r12",
      .help = "Rack, switch or power feed in that data centre: what fails together." },
};
const struct fields server_fields = { server_rows, COUNT(server_rows), NULL };

void read_one_server(struct reading *reading, const struct node *node, const struct path *path,
                     struct site_server *server)
{
    if (node->kind == NODE_MAP && !node_is_null(node))
        fields_read(reading, node, path, &server_fields, server);
    else
        read_server_address(reading, node, path, server);
}

/* ---- objectives ---- */

/* "99.95%", up to six digits in all behind the point's place: millionths. */
static bool parse_availability(struct text value, int64_t *out)
{
    uint64_t whole, part = 0;
    size_t digits = 0;
    if (!text_ends_with(value, T("%")))
        return false;
    struct text rest = text_trim(text_part(value, 0, value.len - 1));
    struct text front = text_next(&rest, '.');
    if (!text_to_uint(front, 100, &whole))
        return false;
    if (rest.data != NULL) {
        digits = rest.len;
        if (digits > 4 || !text_to_uint(rest, 9999, &part))
            return false;
    }
    for (; digits < 4; digits++)
        part *= 10;
    *out = (int64_t)(whole * 10000 + part);
    return *out > 0 && *out <= 1000000;
}

static void read_availability(struct reading *reading, const struct node *node,
                              const struct path *path, void *section)
{
    struct site_objectives *objectives = section;
    struct text value;
    char word[SHOWN_SIZE];
    if (value_text(reading, node, path, &value) &&
        !parse_availability(value, &objectives->availability))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is no share of time; write one like 99.9%% or 99.95%%",
                     shown(value, word));
}

static const struct field planned_rows[] = {
    { .name = "lost",
      .kind = FIELD_INT,
      .offset = AT(struct site_objectives, planned_lost, int64_t),
      .is_required = true,
      .min = 0,
      .max = 1000000,
      .example = "0",
      .help = "Requests that a planned change may lose." },
};
static const struct fields planned_fields = { planned_rows, COUNT(planned_rows), NULL };

static void planned_is_there(struct reading *reading, const struct node *node,
                             const struct path *path, void *section)
{
    ((struct site_objectives *)section)->has_planned_lost = true;
}

static const struct field objectives_rows[] = {
    { .name = "availability",
      .kind = FIELD_OWN,
      .read = read_availability,
      .form = "percentage, like 99.95%",
      .otherwise = "none",
      .schema = "{\"type\":\"string\",\"pattern\":\"^[0-9]+(\\\\.[0-9]{1,4})? ?\\u0025$\"}",
      .example = "99.9%",
      .help = "Share of time in which every journey of a visitor works; `trilith audit` compares "
              "it with what is to be expected." },
    { .name = "link-loss",
      .kind = FIELD_TIME,
      .offset = AT(struct site_objectives, link_loss_ms, int64_t),
      .otherwise = "none",
      .min = 1,
      .max = 86400000,
      .example = "60ms",
      .help = "Longest outage when a server or its link fails." },
    { .name = "database-failover",
      .kind = FIELD_TIME,
      .offset = AT(struct site_objectives, database_failover_ms, int64_t),
      .otherwise = "none",
      .min = 1,
      .max = 86400000,
      .example = "5s",
      .help = "Longest time without writes when the primary fails." },
    { .name = "planned-change",
      .kind = FIELD_MAP, /* its members are the section's own */
      .offset = 0,
      .fields = &planned_fields,
      .read = planned_is_there,
      .help = "What a planned change may cost." },
    { .name = "writes-lost",
      .kind = FIELD_INT,
      .offset = AT(struct site_objectives, writes_lost, int64_t),
      .otherwise = "none",
      .min = 0,
      .max = 1000000,
      .example = "0",
      .help = "Acknowledged writes that may be lost when the primary fails." },
};
const struct fields objectives_fields = { objectives_rows, COUNT(objectives_rows), NULL };

void finish_objectives(struct reading *reading, const struct node *node, const struct path *path,
                       void *section)
{
    struct site_objectives *objectives = section;
    objectives->is_present = true;
    objectives->has_writes_lost = node_find(node, T("writes-lost")) != NULL;
}

/* ---- audit ---- */

/* Twice the same rows, but for their defaults. */
#define RATE_ROWS(name_, mtbf_, mttr_)                                                             \
    static const struct field name_##_rows[] = {                                                   \
        { .name = "mtbf",                                                                          \
          .kind = FIELD_TIME,                                                                      \
          .offset = AT(struct site_rate_of_failure, mtbf_ms, int64_t),                             \
          .preset = mtbf_,                                                                         \
          .min = 60000,                                                                            \
          .max = 100LL * 365 * 86400000,                                                           \
          .help = "Time from one failure to the next." },                                          \
        { .name = "mttr",                                                                          \
          .kind = FIELD_TIME,                                                                      \
          .offset = AT(struct site_rate_of_failure, mttr_ms, int64_t),                             \
          .preset = mttr_,                                                                         \
          .min = 1000,                                                                             \
          .max = 365LL * 86400000,                                                                 \
          .help = "Time until it works again." },                                                  \
    };                                                                                             \
    static const struct fields name_##_fields = { name_##_rows, COUNT(name_##_rows), NULL }

RATE_ROWS(server_rate, "120d",
          "3h"); /* 99.9 %: what providers promise for one machine and often keep */
RATE_ROWS(rack_rate, "3y", "4h");
RATE_ROWS(location_rate, "5y", "8h");
RATE_ROWS(outside_rate, "90d", "1h");

static void add_accepted(struct reading *reading, const struct node *node, const struct path *path,
                         struct site_audit *audit)
{
    struct text rest, id;
    if (!value_text(reading, node, path, &rest))
        return;
    id = text_next(&rest, ' ');
    struct site_accepted *accepted =
        append_item(reading->arena, &audit->accept, &audit->accept_count, sizeof(*accepted));
    *accepted = (struct site_accepted){ .id = id, .place = node->place };
    if (rest.data != NULL)
        accepted->element = text_trim(rest);
}

static void read_accept(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    size_t index = 0;
    if (!expect_kind(reading, node, path, NODE_LIST, "a list, like [single-writable-database]"))
        return;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_accepted(reading, entry->value, &item, section);
    }
}

static const struct field audit_rows[] = {
    { .name = "accept",
      .kind = FIELD_OWN,
      .read = read_accept,
      .form = "list of findings: ID, or ID ELEMENT",
      .otherwise = "none",
      .schema = "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}",
      .example = "[single-writable-database, cleartext-leg sql]",
      .help = "Findings that are known and borne: they are listed below the others and do not "
              "count." },
    { .name = "servers",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_audit, servers),
      .fields = &server_rate_fields,
      .help = "How often a server fails, and for how long." },
    { .name = "racks",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_audit, racks),
      .fields = &rack_rate_fields,
      .help = "The same of a rack, its switch or its power." },
    { .name = "sites",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_audit, sites),
      .fields = &location_rate_fields,
      .help = "The same of a data centre." },
    { .name = "outside",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_audit, outside),
      .fields = &outside_rate_fields,
      .help = "The same of a server that is not the site's (`upstreams:`)." },
};
const struct fields audit_fields = { audit_rows, COUNT(audit_rows), NULL };
