/* See peer_line.h. Words are separated by one blank and hold printable ASCII only. */
#include "process/peer_line.h"

#include "metrics/metrics.h"

static const char *const services[] = {
    [PEER_STATUS] = "status", [PEER_DATABASE] = "database", [PEER_PRIMARY] = "primary",
    [PEER_ACME] = "acme",     [PEER_MONITOR] = "monitor",   [PEER_COMMANDS] = "commands",
    [PEER_LOGS] = "logs",     [PEER_FIREWALL] = "firewall",
};

enum { NAME_LIMIT = 253, EPOCH_LIMIT_BITS = 53 };

/* A word of at most limit bytes. */
static bool take_word(struct text *rest, size_t limit, struct text *word_out)
{
    *word_out = text_next(rest, ' ');
    return word_out->len > 0 && word_out->len <= limit;
}

static enum err parse_primary(struct text rest, struct peer_request *request)
{
    struct text epoch, hold;
    uint64_t hold_ms, drain_ms = 0;
    if (!take_word(&rest, 20, &epoch) ||
        !take_word(&rest, PRIMARY_NAME_SIZE - 1, &request->primary) ||
        !take_word(&rest, 20, &hold) ||
        !text_to_uint(epoch, (UINT64_C(1) << EPOCH_LIMIT_BITS) - 1, &request->epoch) ||
        !text_to_uint(hold, PEER_HOLD_LIMIT_MS, &hold_ms))
        return ERR_SYNTAX;
    if (rest.len > 0 && (!text_to_uint(rest, PEER_DRAIN_LIMIT_MS, &drain_ms) || drain_ms == 0))
        return ERR_SYNTAX;
    request->hold_ms = (int64_t)hold_ms;
    request->drain_ms = (int64_t)drain_ms;
    return OK;
}

static bool is_printable(struct text line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] < ' ' || line.data[i] > '~')
            return false;
    return line.len > 0 && line.data[line.len - 1] != ' ';
}

enum err peer_line_parse(struct text line, bool is_local, struct peer_request *request_out)
{
    struct peer_request request = { 0 };
    struct text word, rest = line;
    if (line.len >= PEER_LINE_LIMIT || !is_printable(line))
        return ERR_SYNTAX;
    if (!is_local) {
        if (!take_word(&rest, NAME_LIMIT, &word) || !text_equal(word, T("trilith-peer")))
            return ERR_SYNTAX;
        if (!take_word(&rest, NAME_LIMIT, &word) || !text_equal(word, T("1")))
            return ERR_UNSUPPORTED;
        if (!take_word(&rest, NAME_LIMIT, &request.site))
            return ERR_SYNTAX;
    }
    if (!take_word(&rest, NAME_LIMIT, &request.server) || !take_word(&rest, NAME_LIMIT, &word))
        return ERR_SYNTAX;
    size_t service = 0;
    while (service < COUNT(services) && !text_equal(word, text_of(services[service])))
        service++;
    if (service == COUNT(services))
        return ERR_UNKNOWN;
    request.service = (enum peer_service)service;
    enum err err = request.service == PEER_PRIMARY ? parse_primary(rest, &request)
                   : rest.len > 0                  ? ERR_SYNTAX
                                                   : OK;
    if (err == OK)
        *request_out = request;
    return err;
}

void peer_line_write(struct buffer *out, const struct peer_request *request, bool is_local)
{
    if (!is_local)
        buffer_print(out, "trilith-peer 1 %.*s ", FMT(request->site));
    buffer_print(out, "%.*s %s", FMT(request->server), services[request->service]);
    if (request->service == PEER_PRIMARY)
        buffer_print(out, " %llu %.*s %lld", (unsigned long long)request->epoch,
                     FMT(request->primary), (long long)request->hold_ms);
    if (request->service == PEER_PRIMARY && request->drain_ms > 0)
        buffer_print(out, " %lld", (long long)request->drain_ms);
    buffer_append_byte(out, '\n');
}

enum err peer_answer_parse(struct text line, struct text *reason_out)
{
    uint64_t open;
    if (text_equal(line, T("+")))
        return OK;
    if (text_starts_with(line, T("+ "))) {
        *reason_out = text_skip(line, 2);
        return text_to_uint(*reason_out, UINT32_MAX, &open) ? ERR_BUSY : ERR_PROTOCOL;
    }
    if (!text_starts_with(line, T("- ")) || !is_printable(line))
        return ERR_PROTOCOL;
    *reason_out = text_skip(line, 2);
    return ERR_DENIED;
}
