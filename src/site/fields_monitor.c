/*
 * The section monitor: where what all servers measure is kept and shown.
 */
#include "site/field.h"

static void read_scrape(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    struct site_monitor *monitor = section;
    read_networks(reading, node, path, &monitor->scrape, &monitor->scrape_count);
}

static const struct field rows[] = {
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct site_monitor, on, struct site_on),
      .otherwise = "the first server",
      .help = "Servers that keep what every server measures, and show it." },
    { .name = "scrape",
      .kind = FIELD_OWN,
      .read = read_scrape,
      .form = "list of networks",
      .otherwise = "none",
      .schema = "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":"
                "\"string\"}}]}",
      .example = "[ 192.0.2.0/24 ]",
      .help = "Who may read `/metrics` of the servers (`listen.metrics`), beside the servers "
              "themselves: where your Prometheus runs." },
    { .name = "alerts",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_monitor, alerts),
      .fields = &alerts_fields,
      .help = "Who is told when something is wrong, and what counts as wrong." },
};
const struct fields monitor_fields = { rows, COUNT(rows) };

void finish_monitor(struct reading *reading, const struct node *node, const struct path *path,
                    void *section)
{
    struct site_monitor *monitor = section;
    monitor->is_present = true;
    monitor->place = node->place;
}
