/* See question.h. */
#include "monitor/question.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum question_function function;
    double percent;
} functions[] = {
    { "sum", QUESTION_SUM, 0 },
    { "avg", QUESTION_AVERAGE, 0 },
    { "max", QUESTION_MOST, 0 },
    { "p50", QUESTION_PERCENTILE, 50 },
    { "p90", QUESTION_PERCENTILE, 90 },
    { "p99", QUESTION_PERCENTILE, 99 },
    { "p999", QUESTION_PERCENTILE, 99.9 },
    { "heat", QUESTION_HEAT, 0 },
};

/* application/x-www-form-urlencoded (WHATWG URL 5.1), strict. */
static bool decode(struct text from, struct arena *arena, struct text *out)
{
    char *data = arena_bytes(arena, from.len + 1);
    size_t len = 0;
    if (data == NULL)
        return false;
    for (size_t i = 0; i < from.len; i++) {
        uint64_t byte = (uint8_t)from.data[i];
        if (byte == '+')
            byte = ' ';
        if (byte == '%') {
            if (!text_hex_to_uint(text_part(from, i + 1, 2), 255, &byte) || from.len - i < 3)
                return false;
            i += 2;
        }
        if (byte == 0)
            return false;
        data[len++] = (char)byte;
    }
    *out = text_from(data, len);
    return true;
}

bool question_value(struct text query, const char *name, struct arena *arena,
                    struct text *value_out)
{
    while (query.data != NULL) {
        struct text pair = text_next(&query, '&');
        struct text key = text_next(&pair, '=');
        if (text_equal(key, text_of(name)))
            return decode(pair.data != NULL ? pair : T(""), arena, value_out);
    }
    return false;
}

static enum err read_number(struct text query, const char *name, int64_t least, int64_t most,
                            struct arena *arena, int64_t *out, struct why *why)
{
    struct text value;
    uint64_t number;
    if (!question_value(query, name, arena, &value) || !text_to_uint(value, INT64_MAX, &number))
        return fail(why, ERR_SYNTAX, "%s: must be a number", name);
    if ((int64_t)number < least || (int64_t)number > most)
        return fail(why, ERR_RANGE, "%s: must be %lld to %lld", name, (long long)least,
                    (long long)most);
    *out = (int64_t)number;
    return OK;
}

static enum err read_servers(struct text list, struct arena *arena, struct question_line *line,
                             struct why *why)
{
    size_t count = 1;
    for (size_t i = 0; i < list.len; i++)
        count += list.data[i] == ',' ? 1 : 0;
    if (count > QUESTION_SERVERS)
        return fail(why, ERR_LIMIT, "q: at most %d servers", QUESTION_SERVERS);
    line->servers = arena_alloc(arena, count * sizeof(*line->servers));
    if (line->servers == NULL)
        return fail(why, ERR_LIMIT, "too long");
    while (list.data != NULL) {
        struct text server = text_next(&list, ',');
        if (text_is_empty(server))
            return fail(why, ERR_SYNTAX, "q: a server without a name");
        line->servers[line->server_count++] = server;
    }
    return line->server_count > 0 ? OK : fail(why, ERR_SYNTAX, "q: no server");
}

static enum err read_line(struct text encoded, struct arena *arena, struct question_line *line,
                          struct why *why)
{
    struct text text;
    if (!decode(encoded, arena, &text))
        return fail(why, ERR_SYNTAX, "q: is not encoded as a query must be");
    struct text name = text_next(&text, ':');
    struct text servers = text.data != NULL ? text_next(&text, ':') : T("");
    if (text_is_empty(servers) || text_is_empty(text))
        return fail(why, ERR_SYNTAX, "q: must be FUNCTION:SERVERS:SERIES");
    line->series = text;
    for (size_t i = 0; i < COUNT(functions); i++) {
        if (!text_equal(name, text_of(functions[i].name)))
            continue;
        line->function = functions[i].function;
        line->percent = functions[i].percent;
        return read_servers(servers, arena, line, why);
    }
    return fail(why, ERR_SYNTAX, "q: the function must be sum avg max p50 p90 p99 p999 or heat");
}

static enum err read_lines(struct text query, struct arena *arena, struct question *question,
                           struct why *why)
{
    question->lines = arena_alloc(arena, QUESTION_LINES * sizeof(*question->lines));
    if (question->lines == NULL)
        return fail(why, ERR_LIMIT, "too long");
    while (query.data != NULL) {
        struct text pair = text_next(&query, '&');
        if (!text_equal(text_next(&pair, '='), T("q")))
            continue;
        if (question->line_count == QUESTION_LINES)
            return fail(why, ERR_LIMIT, "q: at most %d", QUESTION_LINES);
        enum err err = read_line(pair.data != NULL ? pair : T(""), arena,
                                 &question->lines[question->line_count], why);
        if (err != OK)
            return err;
        question->line_count++;
    }
    return question->line_count > 0 ? OK : fail(why, ERR_SYNTAX, "q: what is asked for?");
}

enum err question_parse(struct text query, struct arena *arena, struct question *question_out,
                        struct why *why)
{
    struct question question = { 0 };
    int64_t points = 0;
    enum err err = read_number(query, "from", 0, INT32_MAX * 100LL, arena, &question.from_s, why);
    if (err == OK)
        err = read_number(query, "to", question.from_s + 1, question.from_s + QUESTION_MOST_S,
                          arena, &question.to_s, why);
    if (err == OK)
        err = read_number(query, "points", 1, QUESTION_POINTS, arena, &points, why);
    question.points = (size_t)points;
    if (err == OK)
        err = read_lines(query, arena, &question, why);
    if (err == OK)
        *question_out = question;
    return err;
}
