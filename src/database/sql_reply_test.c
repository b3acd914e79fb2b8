/* Answers of servers, read whole, byte by byte and cut at every offset: the client gets the same.
 */
#include "core/test.h"
#include "database/sql_reply.h"
#include "database/sql_upload.h"

static void add(struct buffer *out, uint8_t sequence, struct text body)
{
    size_t begin = sql_packet_begin(out);
    buffer_append(out, body);
    sql_packet_end(out, begin, sequence);
}

#define CLASSIC (SQL_PROTOCOL_41 | SQL_SESSION_TRACK)
#define MODERN (CLASSIC | SQL_DEPRECATE_EOF)
#define EOF_(status) T("\xfe\x00\x00" status)
#define OK_(status) T("\x00\x01\x05" status "\x00\x00\x00")
/* schema `shop`, and a GTID */
#define TRACKED                                                                                    \
    T("\x00\x00\x00\x02\x40\x00\x00\x00\x1b\x01\x05\x04shop\x00\x12\x09last_gtid\x07"              \
      "0-1-345")
#define SHOWN T("\x00\x00\x00\x02\x00\x00\x00\x00")
#define ROWS_OK T("\xfe\x00\x00\x22\x00\x00\x00")

struct piece {
    struct text body;
    struct text shown; /* len 0: as it is */
};

struct answer {
    const char *name;
    enum sql_reply_kind kind;
    uint64_t capabilities, client;
    struct piece pieces[12];
    bool is_done, wants_file, is_bad, asks_cursor;
    uint16_t error, status;
    const char *schema;
    uint64_t sequence;
    uint32_t statement;
};

#define COLUMN                                                                                     \
    T("\x03"                                                                                       \
      "def\x00")
#define ROW                                                                                        \
    T("\x01"                                                                                       \
      "1\xfb")

static const struct answer answers[] = {
    { "OK",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { OK_("\x02\x00") } },
      .is_done = true,
      .status = 2 },
    { "OK with changes",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { TRACKED } },
      .is_done = true,
      .status = 0x4002,
      .schema = "shop",
      .sequence = 345 },
    { "changes that the client did not ask for",
      SQL_REPLY_QUERY,
      CLASSIC,
      SQL_PROTOCOL_41,
      { { TRACKED, SHOWN } },
      .is_done = true,
      .status = 0x4002,
      .schema = "shop",
      .sequence = 345 },
    { "error",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\xff\x0a\x05#HY000no") } },
      .is_done = true,
      .error = 1290 },
    { "rows",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\x02") },
        { COLUMN },
        { COLUMN },
        { EOF_("\x02\x00") },
        { ROW },
        { ROW },
        { EOF_("\x22\x00") } },
      .is_done = true,
      .status = 0x22 },
    { "rows without EOF",
      SQL_REPLY_QUERY,
      MODERN,
      MODERN,
      { { T("\x01") }, { COLUMN }, { ROW }, { ROWS_OK } },
      .is_done = true,
      .status = 0x22 },
    { "no rows, an error in their place",
      SQL_REPLY_QUERY,
      MODERN,
      MODERN,
      { { T("\x01") }, { COLUMN }, { T("\xff\x15\x04") } },
      .is_done = true,
      .error = 1045 },
    { "rows, then more results",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\x01") },
        { COLUMN },
        { EOF_("\x0a\x00") },
        { ROW },
        { EOF_("\x0a\x00") },
        { OK_("\x03\x00") } },
      .is_done = true,
      .status = 3 },
    { "more results to come",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { OK_("\x0a\x00") } },
      .status = 10 },
    { "a cursor: rows come later",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\x01") }, { COLUMN }, { EOF_("\x42\x00") } },
      .is_done = true,
      .asks_cursor = true,
      .status = 0x42 },
    { "a cursor of a loop inside: rows come now",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\x01") }, { COLUMN }, { EOF_("\x4a\x00") }, { ROW }, { EOF_("\x42\x00") } },
      .is_done = true,
      .status = 0x42 },
    { "columns that the client has already",
      SQL_REPLY_QUERY,
      MODERN | SQL_CACHE_METADATA,
      MODERN | SQL_CACHE_METADATA,
      { { T("\x03\x00") }, { ROW }, { ROWS_OK } },
      .is_done = true,
      .status = 0x22 },
    { "a report of progress",
      SQL_REPLY_QUERY,
      CLASSIC | SQL_PROGRESS,
      CLASSIC | SQL_PROGRESS,
      { { T("\xff\xff\xff\x01") }, { OK_("\x02\x00") } },
      .is_done = true,
      .status = 2 },
    { "a file is wanted",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\xfb/f") } },
      .wants_file = true },
    { "prepared, nothing in it",
      SQL_REPLY_PREPARE,
      CLASSIC,
      CLASSIC,
      { { T("\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
          T("\x00\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00") } },
      .is_done = true,
      .statement = 7 },
    { "prepared, a parameter and a column",
      SQL_REPLY_PREPARE,
      CLASSIC,
      CLASSIC,
      { { T("\x00\x07\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00"),
          T("\x00\x09\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00") },
        { COLUMN },
        { EOF_("\x02\x00") },
        { COLUMN },
        { EOF_("\x02\x00") } },
      .is_done = true,
      .status = 2,
      .statement = 7 },
    { "prepared, without EOF",
      SQL_REPLY_PREPARE,
      MODERN,
      MODERN,
      { { T("\x00\x07\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00"),
          T("\x00\x09\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00") },
        { COLUMN },
        { COLUMN } },
      .is_done = true,
      .statement = 7 },
    { "columns of a table",
      SQL_REPLY_FIELDS,
      CLASSIC,
      CLASSIC,
      { { COLUMN }, { COLUMN }, { EOF_("\x02\x00") } },
      .is_done = true,
      .status = 2 },
    { "rows of a cursor",
      SQL_REPLY_ROWS,
      CLASSIC,
      CLASSIC,
      { { ROW }, { EOF_("\x82\x00") } },
      .is_done = true,
      .status = 0x82 },
    { "a line", SQL_REPLY_LINE, CLASSIC, CLASSIC, { { T("Uptime: 1") } }, .is_done = true },
    { "an EOF alone",
      SQL_REPLY_SHORT,
      CLASSIC,
      CLASSIC,
      { { EOF_("\x02\x00") } },
      .is_done = true,
      .status = 2 },
    { "rows where none can be",
      SQL_REPLY_SHORT,
      CLASSIC,
      CLASSIC,
      { { T("\x01") } },
      .is_bad = true },
    { "an OK that is cut",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\x00\x00") } },
      .is_bad = true },
    { "changes that are cut",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\x00\x00\x00\x02\x40\x00\x00\x00\x09\x01") } },
      .is_bad = true },
    { "an error that is cut",
      SQL_REPLY_QUERY,
      CLASSIC,
      CLASSIC,
      { { T("\xff\x01") } },
      .is_bad = true },
};

static void build(const struct answer *answer, struct buffer *in, struct buffer *shown)
{
    for (size_t i = 0; i < COUNT(answer->pieces) && answer->pieces[i].body.data != NULL; i++) {
        const struct piece *piece = &answer->pieces[i];
        add(in, (uint8_t)(i + 1), piece->body);
        add(shown, (uint8_t)(i + 1), piece->shown.len > 0 ? piece->shown : piece->body);
    }
}

static void check_end(const struct answer *answer, const struct sql_reply *reply, const char *how)
{
    CHECK(reply->is_done == answer->is_done && reply->wants_file == answer->wants_file &&
              reply->is_bad == answer->is_bad,
          "%s, %s: done %d file %d bad %d", answer->name, how, reply->is_done, reply->wants_file,
          reply->is_bad);
    CHECK(reply->error == answer->error && reply->status == answer->status, "%s, %s: %u %x",
          answer->name, how, reply->error, reply->status);
    CHECK(reply->gtid.sequence == answer->sequence && reply->statement == answer->statement,
          "%s, %s: gtid %llu statement %u", answer->name, how,
          (unsigned long long)reply->gtid.sequence, reply->statement);
    CHECK(reply->has_schema == (answer->schema != NULL) &&
              (answer->schema == NULL || strcmp(reply->schema, answer->schema) == 0),
          "%s, %s: schema", answer->name, how);
}

/* In pieces of `step` bytes behind a first one of `first`. */
static void read_cut(const struct answer *answer, size_t first, size_t step, const char *how)
{
    struct buffer in AUTO(buffer_done) = buffer_of(65536);
    struct buffer shown AUTO(buffer_done) = buffer_of(65536);
    struct buffer out AUTO(buffer_done) = buffer_of(65536);
    struct sql_reply reply = { .is_done = false };
    build(answer, &in, &shown);
    sql_reply_begin(&reply, answer->kind, answer->capabilities, answer->client);
    reply.show_as = answer->kind == SQL_REPLY_PREPARE ? 9 : 0;
    reply.asks_cursor = answer->asks_cursor;
    size_t at = 0, want = first;
    while (at < in.len) {
        struct text part = text_part(buffer_text(&in), at, want);
        size_t used = sql_reply_read(&reply, part, &out);
        at += used;
        want = step;
        if (used < part.len || reply.is_done || reply.is_bad || reply.wants_file)
            break;
    }
    check_end(answer, &reply, how);
    if (!answer->is_bad) {
        CHECK(at == in.len, "%s, %s: %zu of %zu bytes used", answer->name, how, at, in.len);
        CHECK(text_equal(buffer_text(&out), buffer_text(&shown)),
              "%s, %s (%zu, %zu): the client gets %zu bytes, not %zu", answer->name, how, first,
              step, out.len, shown.len);
    }
    sql_reply_done(&reply);
}

TEST(sql_reply_however_it_is_cut)
{
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct buffer in AUTO(buffer_done) = buffer_of(65536);
        struct buffer shown AUTO(buffer_done) = buffer_of(65536);
        build(&answers[i], &in, &shown);
        read_cut(&answers[i], in.len, in.len, "whole");
        read_cut(&answers[i], 1, 1, "byte by byte");
        for (size_t at = 1; at < in.len; at++)
            read_cut(&answers[i], at, in.len, "cut once");
    }
}

TEST(sql_reply_stops_at_its_end)
{
    struct buffer in AUTO(buffer_done) = buffer_of(1024);
    struct sql_reply reply = { .is_done = false };
    add(&in, 1, OK_("\x02\x00"));
    size_t end = in.len;
    add(&in, 1, OK_("\x02\x00"));
    sql_reply_begin(&reply, SQL_REPLY_QUERY, CLASSIC, CLASSIC);
    CHECK(sql_reply_read(&reply, buffer_text(&in), NULL) == end && reply.is_done,
          "only one answer");
    sql_reply_done(&reply);
}

/* A row of more than 16 MiB: what begins its second packet is no end, whatever it looks like. */
TEST(sql_reply_rows_over_many_packets)
{
    struct buffer in AUTO(buffer_done) = buffer_of(SQL_PACKET_MOST + 1024);
    struct sql_reply reply = { .is_done = false };
    add(&in, 1, T("\x01"));
    add(&in, 2, COLUMN);
    char *row = NULL;
    size_t begin = sql_packet_begin(&in);
    row = buffer_reserve(&in, SQL_PACKET_MOST);
    REQUIRE(row != NULL, "memory");
    memset(row, 0xfe, SQL_PACKET_MOST);
    in.len += SQL_PACKET_MOST;
    sql_packet_end(&in, begin, 3);
    add(&in, 4, EOF_("\x02\x00"));
    size_t middle = in.len;
    add(&in, 5, ROWS_OK);
    sql_reply_begin(&reply, SQL_REPLY_QUERY, MODERN, MODERN);
    CHECK(sql_reply_read(&reply, text_part(buffer_text(&in), 0, middle), NULL) == middle, "passes");
    CHECK(!reply.is_done, "the end of a long row is no end of the rows");
    sql_reply_read(&reply, text_skip(buffer_text(&in), middle), NULL);
    CHECK(reply.is_done && !reply.is_bad, "but this is");
    sql_reply_done(&reply);
}

TEST(sql_reply_after_a_file)
{
    struct buffer in AUTO(buffer_done) = buffer_of(1024);
    struct sql_reply reply = { .is_done = false };
    sql_reply_begin(&reply, SQL_REPLY_QUERY, CLASSIC, CLASSIC);
    add(&in, 1, T("\xfb/f"));
    sql_reply_read(&reply, buffer_text(&in), NULL);
    REQUIRE(reply.wants_file, "it asks");
    sql_reply_go_on(&reply);
    buffer_clear(&in);
    add(&in, 4, OK_("\x02\x00"));
    sql_reply_read(&reply, buffer_text(&in), NULL);
    CHECK(reply.is_done && !reply.is_bad, "and thanks");
    sql_reply_done(&reply);
}

TEST(sql_upload_finds_the_end)
{
    static const struct {
        const char *name;
        bool is_file;
        struct text data;
        size_t used;
        bool is_done;
    } cases[] = {
        { "a command", false,
          T("\x02\x00\x00\x00"
            "ab"
            "\x01\x00"),
          6, true },
        { "an empty command", false, T("\x00\x00\x00\x00x"), 4, true },
        { "half a command", false,
          T("\x05\x00\x00\x00"
            "ab"),
          6, false },
        { "a file", true,
          T("\x01\x00\x00\x02"
            "a"
            "\x00\x00\x00\x03z"),
          9, true },
        { "an empty file", true, T("\x00\x00\x00\x02z"), 4, true },
        { "half a file", true,
          T("\x01\x00\x00\x02"
            "a"
            "\x00\x00"),
          7, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].data.len; cut++) {
            struct sql_upload upload = sql_upload_of(cases[i].is_file);
            size_t used = sql_upload_read(&upload, text_part(cases[i].data, 0, cut));
            if (used == cut)
                used += sql_upload_read(&upload, text_skip(cases[i].data, cut));
            CHECK(used == cases[i].used && upload.is_done == cases[i].is_done, "%s cut at %zu: %zu",
                  cases[i].name, cut, used);
        }
    }
}
