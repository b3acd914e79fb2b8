/* Arena and buffer: limits, reuse, deferred calls. */
#include "core/arena.h"
#include "core/buffer.h"
#include "core/reader.h"
#include "core/test.h"

static void note(void *argument)
{
    char **at = argument;
    *(*at)++ = 'x';
}

TEST(arena_keeps_its_limit)
{
    struct arena *arena = arena_new(1000, 128);
    CHECK(arena_alloc(arena, 900) != NULL, "a block larger than the usual");
    CHECK(arena_alloc(arena, 200) == NULL, "over the limit");
    CHECK(arena_alloc(arena, SIZE_MAX) == NULL, "no overflow");
    CHECK(arena_copy(arena, T("abc")).len == 3, "what still fits is given");
    arena_reset(arena);
    CHECK(arena_used(arena) == 0 && arena_alloc(arena, 1000) != NULL, "reset gives all back");
    arena_free(arena);
}

TEST(arena_zeroes_again_after_reset)
{
    struct arena *arena = arena_new(4096, 256);
    memset(arena_bytes(arena, 200), 'x', 200);
    arena_reset(arena);
    const char *again = arena_alloc(arena, 200);
    REQUIRE(again != NULL, "fits");
    for (size_t i = 0; i < 200; i++)
        REQUIRE(again[i] == 0, "byte %zu", i);
    arena_free(arena);
}

TEST(arena_runs_deferred_calls_once)
{
    char seen[4] = "", *at = seen;
    struct arena *arena = arena_new(4096, 0);
    CHECK(arena_defer(arena, note, &at) && arena_defer(arena, note, &at), "room");
    arena_reset(arena);
    CHECK(at == seen + 2, "at reset");
    arena_free(arena);
    CHECK(at == seen + 2, "not again at free");
    CHECK(text_equal(text_of(seen), T("xx")), "both");
}

TEST(arena_prints)
{
    struct arena *arena = arena_new(64, 0);
    CHECK(text_equal(arena_print(arena, "%s-%d", "web", 1), T("web-1")), "formats");
    CHECK(arena_print(arena, "%0100d", 1).data == NULL, "over the limit");
    arena_free(arena);
}

TEST(buffer_fails_for_good_at_its_limit)
{
    struct buffer buffer = buffer_of(10);
    buffer_append(&buffer, T("12345"));
    buffer_print(&buffer, "%s", "123456");
    CHECK(buffer.failed && buffer.len == 5, "too much is refused whole");
    buffer_append_byte(&buffer, 'x');
    CHECK(buffer.len == 5, "nothing more after a failure");
    buffer_clear(&buffer);
    buffer_append_uint(&buffer, 1234567890);
    CHECK(!buffer.failed && text_equal(buffer_text(&buffer), T("1234567890")), "clear begins anew");
    buffer_consume(&buffer, 4);
    CHECK(text_equal(buffer_text(&buffer), T("567890")), "consume");
    buffer_consume(&buffer, 99);
    CHECK(buffer.len == 0, "consume is clamped");
    buffer_done(&buffer);
}

TEST(buffer_escapes_json)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "a\"b\\c\n", "a\\\"b\\\\c\\n" },
        { "\x01\x7f", "\\u0001\\u007f" },
        { "\xc3\xa9", "\xc3\xa9" },
        { "\xff\xc3", "\\u00ff\\u00c3" },
        { "\xc0\xaf", "\\u00c0\\u00af" },
        { "\xed\xa0\x80", "\\u00ed\\u00a0\\u0080" },
        { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer buffer = buffer_of(256);
        buffer_append_json(&buffer, text_of(cases[i].in));
        CHECK(text_equal(buffer_text(&buffer), text_of(cases[i].out)), "case %zu: %.*s", i,
              FMT(buffer_text(&buffer)));
        buffer_done(&buffer);
    }
}

TEST(buffer_writes_network_order_and_reader_reads_it)
{
    struct buffer buffer = buffer_of(64);
    buffer_append_u16(&buffer, 0x1234);
    buffer_append_u32(&buffer, 0xdeadbeef);
    struct reader reader = reader_of(buffer_text(&buffer));
    CHECK(read_u16(&reader) == 0x1234 && read_u32(&reader) == 0xdeadbeef && !reader.bad, "same");
    CHECK(read_u8(&reader) == 0 && reader.bad, "past the end is bad");
    reader = reader_of(buffer_text(&buffer));
    CHECK(reader_take(&reader, 7).data == NULL && reader.bad && reader_left(&reader) == 6,
          "a failed take moves nothing");
    CHECK(read_u8(&reader) == 0, "bad is sticky");
    buffer_done(&buffer);
}
