/* The outbox: who gets what, in which order, how often it is tried; what outlives the process. */
#include "core/test.h"
#include "monitor/outbox.h"

#include "core/memory.h"

#include <stdio.h>

enum { HOOK, MAIL, RECEIVERS };

static struct site_receiver receivers[] = {
    [HOOK] = { .kind = RECEIVER_WEBHOOK,
               .url = { "https://a.example/x", 19 },
               .host = { "a.example", 9 },
               .port = 443 },
    [MAIL] = { .kind = RECEIVER_COMMAND,
               .arguments = &(struct text){ "/bin/page", 9 },
               .argument_count = 1 },
};
static struct site_alerts both = { .receivers = receivers, .receiver_count = RECEIVERS };

/* The next job's receiver and note: "0:one"; "-": none. */
static const char *next(struct outbox *outbox, int64_t now_ms, struct outbox_job *job)
{
    static char text[64];
    if (!outbox_next(outbox, now_ms, now_ms, job))
        return "-";
    int which = job->receiver == receiver_identity(&receivers[HOOK]) ? HOOK : MAIL;
    snprintf(text, sizeof(text), "%d:%.*s", which, FMT(job->note));
    return text;
}

#define EXPECT(outbox_, now_, job_, want_)                                                         \
    do {                                                                                           \
        const char *got = next(outbox_, now_, job_);                                               \
        CHECK(strcmp(got, want_) == 0, "want %s, got %s", want_, got);                             \
    } while (0)

TEST(outbox_gives_each_note_once_and_in_order)
{
    struct outbox *outbox = NEW(struct outbox);
    struct outbox_job hook, mail, none;
    outbox_use(outbox, &both);
    outbox_add(outbox, T("one"), 0);
    outbox_add(outbox, T("two"), 0);
    EXPECT(outbox, 0, &hook, "0:one");
    EXPECT(outbox, 0, &mail, "1:one");
    EXPECT(outbox, 0, &none, "-");
    CHECK(outbox_result(outbox, hook.number, T(""), 1) != NULL, "known");
    CHECK(outbox_result(outbox, hook.number, T(""), 1) == NULL, "not any more");
    EXPECT(outbox, 1, &hook, "0:two");
    outbox_result(outbox, hook.number, T(""), 2);
    EXPECT(outbox, 2, &none, "-");
    CHECK(outbox->count == 2, "the other receiver still has to get both");
    outbox_result(outbox, mail.number, T(""), 3);
    EXPECT(outbox, 3, &mail, "1:two");
    outbox_result(outbox, mail.number, T(""), 4);
    CHECK(outbox->count == 0, "all is delivered");
    outbox_done(outbox);
    memory_free(outbox);
}

TEST(outbox_tries_again_with_growing_pauses)
{
    static const int64_t pauses_ms[] = { 1000,  2000,   4000,   8000,   16000, 32000,
                                         64000, 128000, 256000, 300000, 300000 };
    struct outbox *outbox = NEW(struct outbox);
    struct outbox_job job;
    struct site_alerts one = { .receivers = receivers, .receiver_count = 1 };
    int64_t now_ms = 0;
    outbox_use(outbox, &one);
    outbox_add(outbox, T("one"), 0);
    for (size_t i = 0; i < COUNT(pauses_ms); i++) {
        EXPECT(outbox, now_ms, &job, "0:one");
        const struct outbox_receiver *receiver = outbox_result(outbox, job.number, T("no"), now_ms);
        CHECK(receiver != NULL && receiver->failures == i + 1 &&
                  strcmp(receiver->trouble, "no") == 0,
              "%zu", i);
        EXPECT(outbox, now_ms + pauses_ms[i] - 1, &job, "-");
        now_ms += pauses_ms[i];
    }
    EXPECT(outbox, now_ms, &job, "0:one");
    outbox_result(outbox, job.number, T(""), now_ms);
    CHECK(outbox->count == 0 && outbox->receivers[0].failures == 0, "delivered at last");
    outbox_done(outbox);
    memory_free(outbox);
}

TEST(outbox_goes_on_without_an_answer)
{
    struct outbox *outbox = NEW(struct outbox);
    struct outbox_job job, again;
    struct site_alerts one = { .receivers = receivers, .receiver_count = 1 };
    outbox_use(outbox, &one);
    outbox_add(outbox, T("one"), 0);
    EXPECT(outbox, 0, &job, "0:one");
    EXPECT(outbox, OUTBOX_PATIENCE_MS - 1, &again, "-");
    EXPECT(outbox, OUTBOX_PATIENCE_MS, &again, "-"); /* failed now */
    EXPECT(outbox, OUTBOX_PATIENCE_MS + 1000, &again, "0:one");
    CHECK(outbox_result(outbox, job.number, T(""), 0) == NULL, "the late answer is of no job");
    outbox_restart(outbox, 100000);
    EXPECT(outbox, 100000, &again, "-");
    EXPECT(outbox, 102000, &again, "0:one");
    outbox_done(outbox);
    memory_free(outbox);
}

TEST(outbox_gives_up_what_is_too_old_or_too_much)
{
    struct outbox *outbox = NEW(struct outbox);
    struct outbox_job job, none;
    struct site_alerts one = { .receivers = receivers, .receiver_count = 1 };
    outbox_use(outbox, &one);
    outbox_add(outbox, T("first"), 0);
    EXPECT(outbox, 0, &job, "0:first");
    for (int i = 0; i < OUTBOX_NOTES; i++)
        outbox_add(outbox, T("more"), 1);
    CHECK(outbox->count == OUTBOX_NOTES && outbox->given_up == 1, "the oldest went");
    outbox_result(outbox, job.number, T(""), 1);
    CHECK(outbox->count == OUTBOX_NOTES, "its answer takes no other note away");
    EXPECT(outbox, OUTBOX_DAY_MS + 2, &none, "-");
    CHECK(outbox->count == 0, "a day later");
    outbox_done(outbox);
    memory_free(outbox);
}

TEST(outbox_follows_the_site_file)
{
    struct outbox *outbox = NEW(struct outbox);
    struct outbox_job job;
    struct site_alerts mail = { .receivers = &receivers[MAIL], .receiver_count = 1 };
    struct site_alerts none = { 0 };
    outbox_add(outbox, T("nobody"), 0);
    CHECK(outbox->count == 0, "no receiver, no note");
    outbox_use(outbox, &both);
    outbox_add(outbox, T("one"), 0);
    EXPECT(outbox, 0, &job, "0:one");
    outbox_use(outbox, &mail);
    CHECK(outbox->count == 1 && outbox->receiver_count == 1, "one is gone");
    EXPECT(outbox, 0, &job, "1:one");
    outbox_use(outbox, &both);
    EXPECT(outbox, 0, &job, "-"); /* a new receiver gets no old news */
    outbox_use(outbox, &none);
    CHECK(outbox->count == 0, "nobody");
    outbox_done(outbox);
    memory_free(outbox);
}

TEST(outbox_outlives_the_process)
{
    struct outbox *outbox = NEW(struct outbox);
    struct buffer saved = buffer_of(65536);
    struct outbox_job job;
    outbox_use(outbox, &both);
    outbox_add(outbox, T("{\"a\":1}"), 5);
    outbox_add(outbox, T("{\"b\":2}"), 6);
    EXPECT(outbox, 0, &job, "0:{\"a\":1}");
    outbox_result(outbox, job.number, T(""), 0);
    CHECK(outbox->has_changed, "worth saving");
    outbox_save(outbox, &saved);
    CHECK(!outbox->has_changed, "saved");
    outbox_done(outbox);
    outbox_use(outbox, &both);
    outbox_load(outbox, buffer_text(&saved));
    EXPECT(outbox, 0, &job, "0:{\"b\":2}");
    EXPECT(outbox, 0, &job, "1:{\"a\":1}");
    outbox_done(outbox);
    outbox_load(outbox, T("{\"version\":1,\"notes\":[{},1,{\"note\":\"x\"}]}"));
    CHECK(outbox->count == 0, "broken ones are left out");
    buffer_done(&saved);
    outbox_done(outbox);
    memory_free(outbox);
}

TEST(outbox_packets_are_read_as_they_were_written)
{
    static const char *const broken[] = { "",         "1",        "1 2",     "1 2 ",  "x 2 note",
                                          "1 x note", "0 2 note", "1  note", "-1 2 n" };
    struct buffer packet = buffer_of(1024);
    struct outbox_job job = { .number = 7, .receiver = 4000000000U, .note = T("{ \"a b\" }") };
    struct outbox_job read;
    uint64_t number;
    struct text trouble;
    outbox_job_write(&job, &packet);
    REQUIRE(outbox_job_read(buffer_text(&packet), &read) == OK, "job");
    CHECK(read.number == 7 && read.receiver == 4000000000U && text_equal(read.note, job.note),
          "as it was");
    for (size_t i = 0; i < COUNT(broken); i++)
        CHECK(outbox_job_read(text_of(broken[i]), &read) == ERR_SYNTAX, "'%s'", broken[i]);
    buffer_clear(&packet);
    outbox_result_write(9, T("it is late"), &packet);
    REQUIRE(outbox_result_read(buffer_text(&packet), &number, &trouble) == OK, "result");
    CHECK(number == 9 && text_equal(trouble, T("it is late")), "as it was");
    REQUIRE(outbox_result_read(T("12"), &number, &trouble) == OK, "good");
    CHECK(number == 12 && trouble.len == 0, "no trouble");
    CHECK(outbox_result_read(T("hello"), &number, &trouble) == ERR_SYNTAX, "no number");
    buffer_done(&packet);
}

TEST(outbox_says_nothing_secret_of_a_receiver)
{
    struct site_receiver hook = receivers[HOOK];
    char said[128];
    hook.url = T("https://a.example/secret");
    receiver_say(&hook, said, sizeof(said));
    CHECK(strcmp(said, "webhook at a.example port 443") == 0, "%s", said);
    CHECK(receiver_identity(&hook) != receiver_identity(&receivers[HOOK]), "another one");
}
