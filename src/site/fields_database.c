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

static const struct field rows[] = {
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct site_database, on, struct site_on),
      .otherwise = "the site's only server",
      .help = "Server that runs it; one in this version." },
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
      .otherwise = "none: a Unix socket only",
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
    LATER_ROW("primary", "The server that takes the writes."),
    LATER_ROW("reads", "Where reads go."),
    LATER_ROW("replication", "How writes reach the replicas."),
    LATER_ROW("backup", "When and where backups are made."),
};
const struct fields database_fields = { rows, COUNT(rows) };
