/* What a member of the tier does next: one row per situation. */
#include "database/member.h"

#include "core/test.h"
#include "database/tier.h"

#include <stdio.h>
#include <string.h>

static struct site_server servers[] = { { .name = T("a") }, { .name = T("b") } };

/* Positions are written with A and B for the numbers of the two servers. */
static struct gtid_list list_of(const char *text)
{
    char out[256];
    struct gtid_list list = { .count = 0 };
    size_t at = 0;
    for (; *text != '\0' && at < sizeof(out) - 16; text++) {
        if (*text == 'A' || *text == 'B')
            at += (size_t)snprintf(out + at, 16, "%u", database_server_id(&servers[*text - 'A']));
        else
            out[at++] = *text;
    }
    CHECK(gtid_parse(text_from(out, at), &list) == OK, "%.*s", (int)at, out);
    return list;
}

struct situation {
    const char *name;
    bool is_primary; /* the file or the record says so */
    bool is_recorded, is_open, is_locked, is_semi_wanted, is_semi_primary, is_semi_replica;
    bool is_configured, is_elsewhere, is_attached, is_rebuilt;
    enum member_threads io, sql;
    unsigned io_error, sql_error;
    const char *slave, *binlog, *state; /* own positions */
    int64_t tables;
    bool has_primary, has_origin; /* the primary's facts are known */
    const char *primary_state;
    enum member_step want;
    const char *reason; /* a part of it; NULL: none */
};

static const struct situation situations[] = {
    /* a primary */
    { "the very first start", true, .want = MEMBER_RECORD },
    { "closed after its start", true, .is_recorded = true, .want = MEMBER_OPEN },
    { "open", true, .is_recorded = true, .is_open = true, .want = MEMBER_REST },
    { "during a switchover", true, .is_recorded = true, .is_locked = true, .want = MEMBER_REST },
    { "was a replica", true, .is_recorded = true, .is_configured = true, .io = THREAD_RUNS,
      .want = MEMBER_DETACH },
    { "wants semi-sync first", true, .is_recorded = true, .is_semi_wanted = true,
      .want = MEMBER_SEMI_SYNC },
    { "semi-sync, no replica", true, .is_recorded = true, .is_open = true, .is_semi_wanted = true,
      .is_semi_primary = true, .want = MEMBER_REST, .reason = "writes wait" },
    /* a replica that runs */
    { "all is well", .is_configured = true, .is_attached = true, .io = THREAD_RUNS,
      .sql = THREAD_RUNS, .slave = "0-A-5", .binlog = "0-A-5", .want = MEMBER_REST },
    { "open by mistake", .is_open = true, .is_configured = true, .io = THREAD_RUNS,
      .sql = THREAD_RUNS, .want = MEMBER_CLOSE },
    { "waits for acknowledgements", .is_semi_primary = true, .is_configured = true,
      .io = THREAD_RUNS, .sql = THREAD_RUNS, .want = MEMBER_SEMI_SYNC },
    { "runs, set up by a process before", .is_configured = true, .io = THREAD_RUNS,
      .sql = THREAD_RUNS, .slave = "0-A-5", .want = MEMBER_REST },
    { "started again", .is_configured = true, .slave = "0-A-5", .want = MEMBER_ATTACH },
    { "the primary moved", .is_configured = true, .is_elsewhere = true, .is_attached = true,
      .io = THREAD_RUNS, .sql = THREAD_RUNS, .want = MEMBER_ATTACH },
    { "the primary is away", .is_configured = true, .is_attached = true, .io = THREAD_CONNECTING,
      .sql = THREAD_RUNS, .io_error = 2003, .want = MEMBER_REST, .reason = "cannot reach" },
    { "another key", .is_configured = true, .is_attached = true, .io = THREAD_CONNECTING,
      .sql = THREAD_RUNS, .io_error = 1045, .want = MEMBER_REST, .reason = "trilith init" },
    { "the log was thrown away", .is_configured = true, .is_attached = true, .sql = THREAD_RUNS,
      .io_error = 1236, .slave = "0-A-5", .want = MEMBER_ATTACH,
      .reason = "trilith database rebuild b" },
    { "a duplicate key", .is_configured = true, .is_attached = true, .io = THREAD_RUNS,
      .sql_error = 1062, .want = MEMBER_STUCK, .reason = "trilith database rebuild b" },
    { "out of order", .is_configured = true, .is_attached = true, .io = THREAD_RUNS,
      .sql_error = 1950, .want = MEMBER_STUCK, .reason = "trilith database rebuild b" },
    { "a full disk", .is_configured = true, .is_attached = true, .io = THREAD_RUNS,
      .sql_error = 1114, .want = MEMBER_ATTACH, .reason = "tried again" },
    { "written to beside the primary", .is_configured = true, .is_attached = true,
      .io = THREAD_RUNS, .sql = THREAD_RUNS, .state = "0-A-5,0-B-6", .has_primary = true,
      .primary_state = "0-A-9", .want = MEMBER_STUCK, .reason = "trilith database rebuild b" },
    /* a replica that begins */
    { "new: are there tables?", .tables = -1, .want = MEMBER_COUNT },
    { "new, with data of its own", .tables = 3, .want = MEMBER_STUCK,
      .reason = "trilith database rebuild b" },
    { "new: who is the primary?", .want = MEMBER_ASK, .reason = "waits for the primary a" },
    { "new, and the primary's log is whole", .has_primary = true, .has_origin = true,
      .want = MEMBER_ATTACH },
    { "new, and it is not", .has_primary = true, .want = MEMBER_STUCK,
      .reason = "trilith database rebuild b" },
    { "the same, with a way to be filled", .has_primary = true, .is_rebuilt = true,
      .want = MEMBER_SEED },
    { "new, its log was thrown away meanwhile", .is_configured = true, .is_attached = true,
      .is_rebuilt = true, .sql = THREAD_RUNS, .io_error = 1236, .want = MEMBER_SEED,
      .reason = "trilith database rebuild b" },
    { "seeded", .slave = "0-A-5", .has_primary = true, .want = MEMBER_ATTACH },
    { "was the primary: does the new one have all?", .slave = "0-A-5", .binlog = "0-B-9",
      .state = "0-A-5,0-B-9", .want = MEMBER_ASK, .reason = "waits" },
    { "it has", .slave = "0-A-5", .binlog = "0-B-9", .state = "0-A-5,0-B-9", .has_primary = true,
      .primary_state = "0-A-12,0-B-9", .want = MEMBER_ADOPT },
    { "it has not", .slave = "0-A-5", .binlog = "0-B-9", .state = "0-A-5,0-B-9",
      .has_primary = true, .primary_state = "0-A-12,0-B-8", .want = MEMBER_STUCK,
      .reason = "are not on the primary a" },
};

static struct member_facts facts_of(const struct situation *s)
{
    struct member_facts facts = { .is_read_only = !s->is_open,
                                  .is_locked = s->is_locked,
                                  .is_semi_primary = s->is_semi_primary,
                                  .is_semi_replica = s->is_semi_replica,
                                  .is_configured = s->is_configured,
                                  .port = 3306,
                                  .io = s->io,
                                  .sql = s->sql,
                                  .io_error = s->io_error,
                                  .sql_error = s->sql_error,
                                  .tables = s->tables,
                                  .record.epoch = s->is_recorded ? 1 : 0 };
    facts.slave_pos = list_of(s->slave != NULL ? s->slave : "");
    facts.binlog_pos = list_of(s->binlog != NULL ? s->binlog : "");
    facts.binlog_state = list_of(s->state != NULL ? s->state : "");
    snprintf(facts.host, sizeof(facts.host), "%s", s->is_elsewhere ? "192.0.2.9" : "192.0.2.1");
    snprintf(facts.io_text, sizeof(facts.io_text), "error %u", s->io_error);
    snprintf(facts.sql_text, sizeof(facts.sql_text), "error %u", s->sql_error);
    return facts;
}

TEST(member_knows_what_to_do_next)
{
    for (size_t i = 0; i < COUNT(situations); i++) {
        const struct situation *s = &situations[i];
        struct member_wish wish = { .self = &servers[1],
                                    .primary = &servers[s->is_primary ? 1 : 0],
                                    .is_semi_sync = s->is_semi_wanted,
                                    .is_attached = s->is_attached,
                                    .is_rebuilt = s->is_rebuilt,
                                    .host = "192.0.2.1",
                                    .port = 3306 };
        struct member_facts facts = facts_of(s), primary = { .has_origin = s->has_origin };
        struct why why;
        primary.binlog_state = list_of(s->primary_state != NULL ? s->primary_state : "");
        enum member_step step = member_next(&wish, &facts, s->has_primary ? &primary : NULL, &why);
        CHECK(step == s->want, "%s: %s, not %s", s->name, member_step_name(step),
              member_step_name(s->want));
        CHECK(s->reason != NULL ? strstr(why.text, s->reason) != NULL : why.text[0] == '\0',
              "%s: '%s'", s->name, why.text);
    }
}
