/* Quoting for SQL. */
#include "database/quote.h"

static void write_name(struct buffer *out, struct text name, bool is_pattern)
{
    buffer_append_byte(out, '`');
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '`')
            buffer_append_byte(out, '`');
        if (is_pattern && (name.data[i] == '_' || name.data[i] == '%'))
            buffer_append_byte(out, '\\');
        buffer_append_byte(out, (uint8_t)name.data[i]);
    }
    buffer_append_byte(out, '`');
}

void quote_identifier(struct buffer *out, struct text name)
{
    write_name(out, name, false);
}

void quote_pattern(struct buffer *out, struct text name)
{
    write_name(out, name, true);
}

void quote_string(struct buffer *out, struct text text)
{
    buffer_append_byte(out, '\'');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\'' || text.data[i] == '\\')
            buffer_append_byte(out, '\\');
        buffer_append_byte(out, (uint8_t)text.data[i]);
    }
    buffer_append_byte(out, '\'');
}
