/*
 * The tables of fields as a page for people: docs/reference/site.md.
 */
#include "site/field.h"

static const char intro[] =
    "# The site file: reference\n"
    "\n"
    "<!-- Written by `trilith schema --markdown`. Change the tables in src/site/, not this page. "
    "-->\n"
    "\n"
    "Every key of the site file. The [guide](../guide/site-file.md) explains it by examples;\n"
    "`trilith check SITE` names every mistake in a file, and `trilith schema` prints a JSON Schema "
    "for editors.\n"
    "\n"
    "How values are written:\n"
    "\n"
    "| kind | looks like |\n"
    "|---|---|\n"
    "| duration | a number and a unit: `250ms`, `30s`, `5m`, `1h`, `1h30m`, `7d`, `1y` |\n"
    "| percentage | a whole number and a percent sign: `20%` |\n"
    "| size | bytes, or with a unit: `512`, `64k`, `64 KiB`, `128 MiB`, `1 GiB`; `kB`, `MB`, `GB` "
    "are powers of 1000 |\n"
    "| yes or no | `yes`, `no`, `true`, `false`, `on`, `off` |\n"
    "| folder, file | a path; a relative one starts at the folder of the site file |\n"
    "| servers | a name of `servers:`, or a list of names |\n"
    "\n"
    "Unknown keys are mistakes. A key that may be left out has its default beside it; **required** "
    "ones may not.\n";

/* Text inside a cell: '|' would end it. */
static void write_cell(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            buffer_append_byte(out, '\\');
        buffer_append_byte(out, (uint8_t)*text);
    }
}

static void write_kind(struct buffer *out, const struct field *field)
{
    static const char *const names[] = {
        [FIELD_TEXT] = "text",      [FIELD_FOLDER] = "folder", [FIELD_FILE] = "file",
        [FIELD_BOOL] = "yes or no", [FIELD_INT] = "number",    [FIELD_PORT] = "port",
        [FIELD_SIZE] = "size",      [FIELD_TIME] = "duration", [FIELD_SECONDS] = "duration",
        [FIELD_CHOICE] = "one of",  [FIELD_ON] = "servers",    [FIELD_MAP] = "map of keys",
        [FIELD_OWN] = "",           [FIELD_LATER] = "",        [FIELD_PERCENT] = "percentage",
    };
    char low[32], high[32];
    write_cell(out, field->form != NULL ? field->form : names[field->kind]);
    if (field->max != 0)
        buffer_print(out, ", %s to %s", format_number(field->kind, field->min, low),
                     format_number(field->kind, field->max, high));
    if (field->choices != NULL)
        buffer_print(out, " `%s`", field->choices);
}

static void write_default(struct buffer *out, const struct field *field)
{
    if (field->is_required)
        buffer_print(out, "**required**");
    else if (field->preset != NULL)
        buffer_print(out, "`%s`", field->preset);
    else if (field->otherwise != NULL)
        write_cell(out, field->otherwise);
}

static void write_row(struct buffer *out, const struct field *field)
{
    buffer_print(out, "| `%s` | ", field->name);
    write_kind(out, field);
    buffer_print(out, " | ");
    write_default(out, field);
    buffer_print(out, " | ");
    write_cell(out, field->help);
    if (field->example != NULL) {
        buffer_print(out, " Example: `");
        write_cell(out, field->example);
        buffer_print(out, "`");
    }
    buffer_print(out, " |\n");
}

/* Sections of one table after its rows; apps shares app's table, which is written once. */
static void write_section(struct buffer *out, const struct fields *fields, struct text name)
{
    buffer_print(out, "\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < fields->count; i++) {
        if (fields->rows[i].kind != FIELD_LATER)
            write_row(out, &fields->rows[i]);
    }
    for (size_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->rows[i];
        bool is_twin = i > 0 && field->fields == fields->rows[i - 1].fields;
        char inner[64];
        if (field->fields == NULL || is_twin)
            continue;
        size_t dot = name.len > 0 ? 1 : 0;
        struct text key = text_of(field->name);
        if (name.len + dot + key.len >= sizeof(inner))
            continue;
        memcpy(inner, name.data != NULL ? name.data : "", name.len);
        memcpy(inner + name.len, ".", dot);
        memcpy(inner + name.len + dot, key.data, key.len);
        buffer_print(out, "\n## `%.*s`\n\n%s\n", (int)(name.len + dot + key.len), inner,
                     field->help);
        write_section(out, field->fields, text_from(inner, name.len + dot + key.len));
    }
}

static void write_later(struct buffer *out, const struct fields *fields, const char *name)
{
    for (size_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->rows[i];
        if (field->kind == FIELD_LATER)
            buffer_print(out, "| `%s%s%s` | %s |\n", name, name[0] != '\0' ? "." : "", field->name,
                         field->help);
        else if (field->fields != NULL && (i == 0 || field->fields != fields->rows[i - 1].fields))
            write_later(out, field->fields, field->name);
    }
}

void site_write_reference(struct buffer *out)
{
    buffer_append(out, text_of(intro));
    buffer_print(out, "\n## The file\n");
    write_section(out, &site_fields, text_of(""));
    buffer_print(out, "\n## Not built yet\n\nThese keys belong to the plan (see the roadmap in the "
                      "README). They are refused by name.\n\n| key | meaning |\n|---|---|\n");
    write_later(out, &site_fields, "");
}
