/*
 * The tables of fields as a JSON Schema, so that editors complete and check a site file.
 */
#include "site/field.h"

#include <inttypes.h>

#define TIME_PATTERN "^([0-9]+ ?(ms|s|sec|m|min|h|d|w|y))+$|^0$"
#define SIZE_PATTERN "^[0-9]+ ?([bB]|[kKmMgGtT]([iI]?[bB])?)?$"

static void write_fields(struct buffer *out, const struct fields *fields);

/* A FIELD_OWN's schema; '%' stands for the schema of its fields. */
static void write_own(struct buffer *out, const struct field *field)
{
    for (const char *at = field->schema; *at != '\0'; at++) {
        if (*at == '%')
            write_fields(out, field->fields);
        else
            buffer_append_byte(out, (uint8_t)*at);
    }
}

static void write_choices(struct buffer *out, const char *choices)
{
    struct text rest = text_of(choices);
    const char *gap = "";
    buffer_print(out, "{\"enum\":[");
    while (rest.data != NULL && !text_is_empty(rest)) {
        buffer_print(out, "%s\"", gap);
        buffer_append_json(out, text_next(&rest, ' '));
        buffer_print(out, "\"");
        gap = ",";
    }
    buffer_print(out, "]}");
}

static void write_value(struct buffer *out, const struct field *field)
{
    switch (field->kind) {
    case FIELD_TEXT:
    case FIELD_FOLDER:
    case FIELD_FILE:
        buffer_print(out, "{\"type\":\"string\",\"minLength\":1}");
        return;
    case FIELD_BOOL:
        buffer_print(out, "{\"enum\":[true,false,\"yes\",\"no\",\"on\",\"off\"]}");
        return;
    case FIELD_INT:
    case FIELD_PORT:
        buffer_print(out, "{\"type\":\"integer\",\"minimum\":%" PRId64 ",\"maximum\":%" PRId64 "}",
                     field->min, field->max);
        return;
    case FIELD_SIZE:
        buffer_print(out, "{\"type\":[\"string\",\"integer\"],\"pattern\":\"" SIZE_PATTERN "\"}");
        return;
    case FIELD_TIME:
    case FIELD_SECONDS:
        buffer_print(out, "{\"type\":[\"string\",\"integer\"],\"pattern\":\"" TIME_PATTERN
                          "\",\"maximum\":0}");
        return;
    case FIELD_PERCENT:
        buffer_print(out, "{\"type\":\"string\",\"pattern\":\"^[0-9]+%%$\"}");
        return;
    case FIELD_CHOICE:
        write_choices(out, field->choices);
        return;
    case FIELD_ON:
        buffer_print(out, "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,"
                          "\"items\":{\"type\":\"string\"}}]}");
        return;
    case FIELD_MAP:
        write_fields(out, field->fields);
        return;
    case FIELD_OWN:
        write_own(out, field);
        return;
    case FIELD_LATER:
        return;
    }
}

static void write_member(struct buffer *out, const char *name, const char *value)
{
    buffer_print(out, ",\"%s\":\"", name);
    buffer_append_json(out, text_of(value));
    buffer_print(out, "\"");
}

/* The value's schema with its description and default put in front of its closing brace. */
static void write_field(struct buffer *out, const struct field *field)
{
    buffer_print(out, "\"%s\":", field->name);
    write_value(out, field);
    if (out->failed || out->len == 0)
        return;
    out->len--;
    write_member(out, "description", field->help);
    if (field->preset != NULL)
        write_member(out, "default", field->preset);
    buffer_append_byte(out, '}');
}

static void write_required(struct buffer *out, const struct fields *fields)
{
    const char *gap = "";
    buffer_print(out, "\"required\":[");
    for (size_t i = 0; i < fields->count; i++) {
        if (!fields->rows[i].is_required)
            continue;
        buffer_print(out, "%s\"%s\"", gap, fields->rows[i].name);
        gap = ",";
    }
    buffer_print(out, "]");
}

static void write_fields(struct buffer *out, const struct fields *fields)
{
    const char *gap = "";
    bool may_be_empty = true;
    buffer_print(out, "{\"properties\":{");
    for (size_t i = 0; i < fields->count; i++) {
        may_be_empty = may_be_empty && !fields->rows[i].is_required;
        if (fields->rows[i].kind == FIELD_LATER)
            continue;
        buffer_print(out, "%s", gap);
        write_field(out, &fields->rows[i]);
        gap = ",";
    }
    buffer_print(out, "},");
    write_required(out, fields);
    if (fields->schema != NULL)
        buffer_print(out, ",%s", fields->schema);
    buffer_print(out, ",\"type\":%s,\"additionalProperties\":false}",
                 may_be_empty && fields->schema == NULL ? "[\"object\",\"null\"]" : "\"object\"");
}

void site_write_schema(struct buffer *out)
{
    buffer_print(out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
                      "\"title\":\"Trilith site file\",");
    size_t start = out->len;
    write_fields(out, &site_fields);
    if (!out->failed) /* the braces of both become one */
        memmove(out->data + start, out->data + start + 1, --out->len - start);
    buffer_append_byte(out, '\n');
}
