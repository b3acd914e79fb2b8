/*
 * Maps of an application's section whose keys are free: environment (of any) and settings (of PHP).
 */
#include "site/field.h"

#include <ctype.h>

/* ---- environment ---- */

static const char *variable_problem(struct text name, bool has_database)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c != '_' && !isalpha(c) && (i == 0 || !isdigit(c)))
            return "is not a variable's name; use letters, digits and '_'";
    }
    if (text_is_empty(name))
        return "is not a variable's name; use letters, digits and '_'";
    if (text_starts_with(name, T("TRILITH_")) || text_equal(name, T("NOTIFY_SOCKET")))
        return "is reserved for Trilith; use another name";
    if (has_database && text_equal(name, T("DATABASE_URL")))
        return "is set by Trilith from database:; remove one of them";
    return NULL;
}

static const struct field variable_file_rows[] = {
    { .name = "file",
      .kind = FIELD_FILE,
      .offset = AT(struct site_variable, file, struct text),
      .is_required = true,
      .example = "secret.txt",
      .help = "File that holds the value." },
};
static const struct fields variable_file_fields = { variable_file_rows, 1 };

void read_environment(struct reading *reading, const struct node *node, const struct path *path,
                      void *section)
{
    struct site_app *app = section;
    bool has_database = node_find(reading->root, T("database")) != NULL;
    if (!expect_kind(reading, node, path, NODE_MAP, "a map, like NAME: value"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_variable *variable = append_item(reading->arena, &app->environment,
                                                     &app->environment_count, sizeof(*variable));
        *variable = (struct site_variable){ .name = entry->key->value };
        const char *problem = variable_problem(variable->name, has_database);
        if (problem != NULL)
            mistakes_add(reading->mistakes, entry->key->place, &at, "%s", problem);
        if (entry->value->kind == NODE_MAP)
            fields_read(reading, entry->value, &at, &variable_file_fields, variable);
        else if (expect_kind(reading, entry->value, &at, NODE_SCALAR, "a text or { file: PATH }"))
            variable->value = entry->value->value;
    }
}

/* memory_limit, session.save_path */
static bool is_directive(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (!isalnum(c) && c != '_' && c != '.' && c != '-')
            return false;
    }
    return name.len > 0;
}

static bool is_one_line(struct text value)
{
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == '"')
            return false;
    }
    return true;
}

void read_settings(struct reading *reading, const struct node *node, const struct path *path,
                   void *section)
{
    struct site_app *app = section;
    if (!expect_kind(reading, node, path, NODE_MAP, "a map, like memory_limit: 256M"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_variable *setting =
            append_item(reading->arena, &app->settings, &app->setting_count, sizeof(*setting));
        *setting = (struct site_variable){ .name = entry->key->value };
        if (!is_directive(setting->name))
            mistakes_add(reading->mistakes, entry->key->place, &at,
                         "is not the name of a php.ini directive, like memory_limit");
        if (!expect_kind(reading, entry->value, &at, NODE_SCALAR, "a text or a number"))
            continue;
        setting->value = entry->value->value;
        if (!is_one_line(setting->value))
            mistakes_add(reading->mistakes, entry->value->place, &at,
                         "a value is one line without '\"'");
    }
}

/* ---- lists of texts ---- */

static void append_text(struct reading *reading, struct text **items, size_t *count,
                        struct text text)
{
    struct text *item = append_item(reading->arena, items, count, sizeof(*item));
    *item = text;
}

/* One word of a command line: up to the next space outside quotes; the quotes are not part of it.
 * False: a quote is not closed. */
static bool next_word(struct arena *arena, struct text line, size_t *at, struct text *word)
{
    char *out = arena_alloc(arena, line.len + 1);
    size_t len = 0;
    char quote = 0;
    for (; *at < line.len && (quote != 0 || line.data[*at] != ' '); *at += 1) {
        char c = line.data[*at];
        if (quote == 0 && (c == '"' || c == '\''))
            quote = c;
        else if (c == quote)
            quote = 0;
        else if (out != NULL)
            out[len++] = c;
    }
    if (out != NULL)
        out[len] = '\0';
    *word = text_from(out, len);
    return quote == 0;
}

static bool split_words(struct reading *reading, struct text line, struct text **words,
                        size_t *count)
{
    for (size_t at = 0; at < line.len;) {
        struct text word;
        if (line.data[at] == ' ') {
            at++;
            continue;
        }
        if (!next_word(reading->arena, line, &at, &word))
            return false;
        append_text(reading, words, count, word);
    }
    return true;
}

bool read_words(struct reading *reading, const struct node *node, const struct path *path,
                struct text **words, size_t *count)
{
    size_t index = 0;
    if (node->kind == NODE_SCALAR && !split_words(reading, node->value, words, count)) {
        mistakes_add(reading->mistakes, node->place, path, "a quote is not closed");
        return false;
    }
    for (const struct node_entry *entry = node->first; node->kind == NODE_LIST && entry != NULL;
         entry = entry->next) {
        struct path at = { path, { NULL, 0 }, index++ };
        if (expect_kind(reading, entry->value, &at, NODE_SCALAR, "a text"))
            append_text(reading, words, count, entry->value->value);
    }
    return true;
}

void read_command(struct reading *reading, const struct node *node, const struct path *path,
                  void *section)
{
    struct site_app *app = section;
    (void)read_words(reading, node, path, &app->arguments, &app->argument_count);
    if (app->argument_count == 0 || text_is_empty(app->arguments[0]))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be a command, like \"node server.js\" or [node, server.js]");
}

static void add_warm(struct reading *reading, const struct node *node, const struct path *path,
                     struct site_app *app)
{
    struct text value;
    if (!value_text(reading, node, path, &value))
        return;
    check_absolute(reading, node, path, value);
    append_text(reading, &app->warm, &app->warm_count, value);
}

void read_warm(struct reading *reading, const struct node *node, const struct path *path,
               void *section)
{
    size_t index = 0;
    if (node->kind != NODE_LIST) {
        add_warm(reading, node, path, section);
        return;
    }
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path at = { path, { NULL, 0 }, index++ };
        add_warm(reading, entry->value, &at, section);
    }
}
