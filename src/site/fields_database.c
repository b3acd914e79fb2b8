/*
 * The section database: a private MariaDB.
 */
#include "site/field.h"

#include <ctype.h>

static void check_name(struct reading *reading, const struct node *node, const struct path *path,
                       struct text value)
{
    static const char *const reserved[] = { "mysql", "sys", "information_schema",
                                            "performance_schema" };
    char word[SHOWN_SIZE];
    bool is_good = value.len <= 64 && isalpha((unsigned char)value.data[0]);
    for (size_t i = 0; i < value.len; i++)
        is_good = is_good && (value.data[i] == '_' || isalnum((unsigned char)value.data[i]));
    if (!is_good)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' cannot name a database; use up to 64 letters, digits and '_', a letter "
                     "first",
                     shown(value, word));
    for (size_t i = 0; i < COUNT(reserved); i++) {
        if (text_equal_fold(value, text_of(reserved[i])))
            mistakes_add(reading->mistakes, node->place, path,
                         "'%s' is MariaDB's own database; use another name", shown(value, word));
    }
}

/* Like one name of `on:`, which is read first. */
static void read_primary(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    struct site_database *database = section;
    struct site_on found = { NULL, 0 };
    char word[SHOWN_SIZE];
    size_t before = reading->mistakes->count;
    if (!expect_kind(reading, node, path, NODE_SCALAR, "a server's name"))
        return;
    read_on(reading, node, path, &found);
    if (found.count == 0 || reading->mistakes->count > before)
        return;
    if (!site_is_on(reading->site, &database->on, found.servers[0]))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not in `on`; add it there, or name one of those",
                     shown(node->value, word));
    database->primary = found.servers[0];
}

static const struct field rows[] = {
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct site_database, on, struct site_on),
      .otherwise = "every server",
      .help = "Servers that run it: one takes the writes, the others are its replicas." },
    { .name = "name",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_database, name, struct text),
      .is_required = true,
      .check = check_name,
      .form = "name",
      .example = "guestbook",
      .help = "Name of the database: letters, digits and `_`." },
    { .name = "port",
      .kind = FIELD_PORT,
      .offset = AT(struct site_database, port, int64_t),
      .otherwise = "3306 with several servers, else none: a Unix socket only",
      .min = 1,
      .max = 65535,
      .example = "3306",
      .help = "TCP port to listen on, beside the Unix socket." },
    { .name = "memory",
      .kind = FIELD_SIZE,
      .offset = AT(struct site_database, memory, int64_t),
      .preset = "128 MiB",
      .min = 8 << 20,
      .max = 1LL << 42,
      .help = "Buffer pool: most of the memory that the database will use." },
    { .name = "connections",
      .kind = FIELD_INT,
      .offset = AT(struct site_database, connections, int64_t),
      .preset = "200",
      .min = 10,
      .max = 100000,
      .help = "Connections that may be open at once." },
    { .name = "primary",
      .kind = FIELD_OWN,
      .read = read_primary,
      .form = "name of a server",
      .otherwise = "the first of `on`",
      .schema = "{\"type\":\"string\"}",
      .example = "web-01",
      .help = "Server that takes the writes when the site is started for the first time; "
              "`trilith database switchover` moves them." },
    { .name = "reads",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_database, reads, int64_t),
      .preset = "primary",
      .choices = "primary replica",
      .help = "Where reads go that may." },
    { .name = "replication",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_database, replication, int64_t),
      .preset = "async",
      .choices = "async semi-sync",
      .help = "semi-sync: a write is acknowledged when a replica has it, too." },
    { .name = "lag",
      .kind = FIELD_TIME,
      .offset = AT(struct site_database, lag_ms, int64_t),
      .preset = "5s",
      .min = 100,
      .max = 3600000,
      .help = "A replica that is further behind gets no reads." },
    LATER_ROW("backup", "When and where backups are made."),
};
const struct fields database_fields = { rows, COUNT(rows) };
