/* Any bytes of a server, cut anywhere, give the same answer as in one piece, and never more bytes
 * than came. The first three bytes choose the kind, the capabilities and where to cut. */
#include "database/sql_reply.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void begin(struct sql_reply *reply, const uint8_t *choice)
{
    uint64_t capabilities = SQL_PROTOCOL_41 | (choice[1] & 1 ? SQL_DEPRECATE_EOF : 0) |
                            (choice[1] & 2 ? SQL_SESSION_TRACK : 0) |
                            (choice[1] & 4 ? SQL_PROGRESS : 0) |
                            (choice[1] & 8 ? SQL_CACHE_METADATA : 0);
    sql_reply_begin(reply, (enum sql_reply_kind)(choice[0] % (SQL_REPLY_SHORT + 1)), capabilities,
                    choice[1] & 16 ? capabilities : capabilities & ~SQL_SESSION_TRACK);
    reply->show_as = choice[1] & 32 ? 5 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct text input = text_from((const char *)data + 3, size - 3);
    struct buffer whole = buffer_of(1 << 20), cut = buffer_of(1 << 20);
    struct sql_reply a = { .is_done = false }, b = { .is_done = false };
    begin(&a, data);
    begin(&b, data);
    size_t used = sql_reply_read(&a, input, &whole);
    size_t step = 1u + data[2] % 16u, at = 0;
    while (at < input.len && !b.is_done && !b.is_bad && !b.wants_file)
        at += sql_reply_read(&b, text_part(input, at, step), &cut);
    assert(used <= input.len && whole.len <= input.len);
    assert(a.is_done == b.is_done && a.is_bad == b.is_bad && a.wants_file == b.wants_file);
    if (!a.is_bad) {
        assert(used == at && a.status == b.status && a.error == b.error);
        assert(a.statement == b.statement && a.packets == b.packets);
        assert(text_equal(buffer_text(&whole), buffer_text(&cut)) || a.skip > 0);
    }
    sql_reply_done(&a);
    sql_reply_done(&b);
    buffer_done(&whole);
    buffer_done(&cut);
    return 0;
}
