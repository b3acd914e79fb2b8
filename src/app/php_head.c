/* See php_head.h. Lines may end with LF alone, as CGI allows; folded lines are refused. */
#include "app/php_head.h"

#include "http/http.h"

ssize_t php_head_end(struct text data, size_t *from)
{
    size_t at = *from;
    while (at < data.len) {
        ssize_t feed = text_find(text_skip(data, at), '\n');
        if (feed < 0)
            break;
        size_t line = at;
        at += (size_t)feed + 1;
        bool is_empty = feed == 0 || (feed == 1 && data.data[line] == '\r');
        if (is_empty)
            return (ssize_t)at;
    }
    *from = at; /* the start of a line */
    return -1;
}

static struct text next_line(struct text *rest)
{
    struct text line = text_next(rest, '\n');
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool split(struct text line, struct text *name, struct text *value)
{
    ssize_t colon = text_find(line, ':');
    if (colon <= 0)
        return false;
    *name = text_part(line, 0, (size_t)colon);
    *value = text_trim(text_skip(line, (size_t)colon + 1));
    return http_is_token(*name) && http_is_field_value(*value);
}

/* "404" or "404 Not Found" */
static bool read_status(struct text value, int *status)
{
    uint64_t number;
    if (!text_to_uint(text_part(value, 0, 3), 599, &number) || number < 200 ||
        (value.len > 3 && value.data[3] != ' '))
        return false;
    *status = (int)number;
    return true;
}

static const char *read_field(struct php_head *head, struct text name, struct text value)
{
    if (text_equal_fold(name, T("Status"))) {
        if (head->status != 0)
            return "its head has two statuses";
        return read_status(value, &head->status) ? NULL : "the status in its head is none";
    }
    if (!text_equal_fold(name, T("Content-Length")))
        return NULL;
    uint64_t length;
    if (!text_to_uint(value, INT64_MAX, &length) ||
        (head->content_length >= 0 && head->content_length != (int64_t)length))
        return "the length in its head is none";
    head->content_length = (int64_t)length;
    return NULL;
}

const char *php_head_parse(struct text text, struct php_head *head)
{
    struct text name, value, rest = text;
    size_t lines = 0;
    bool has_location = false;
    *head = (struct php_head){ .content_length = -1, .rest = text };
    for (struct text line = next_line(&rest); line.len > 0; line = next_line(&rest)) {
        if (++lines > PHP_HEAD_LINES)
            return "its head has too many lines";
        if (!split(line, &name, &value))
            return "its head has a line that is no header";
        const char *problem = read_field(head, name, value);
        if (problem != NULL)
            return problem;
        has_location = has_location || text_equal_fold(name, T("Location"));
    }
    if (lines == 0)
        return "its head is empty";
    if (head->status == 0)
        head->status = has_location ? 302 : 200;
    return NULL;
}

bool php_head_next(struct php_head *head, struct text *name, struct text *value)
{
    for (struct text line = next_line(&head->rest); line.len > 0; line = next_line(&head->rest)) {
        if (!split(line, name, value))
            return false;
        if (!text_equal_fold(*name, T("Status")) && !text_equal_fold(*name, T("Content-Length")))
            return true;
    }
    return false;
}
