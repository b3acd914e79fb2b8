/* Notes: the JSON that receivers get, and the mail that is made of it. */
#include "monitor/alerts.h"
#include "monitor/notify.h"
#include "monitor/scene_fixture.h"

#include <jansson.h>

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "(none)";
}

struct first {
    const struct alert *alert;
};

static void take_first(void *context, const struct alert *alert)
{
    struct first *first = context;
    if (first->alert == NULL && alert->is_told)
        first->alert = alert;
}

TEST(note_says_what_is_wrong_and_what_follows)
{
    struct scene *scene = scene_new("{}");
    struct buffer out = buffer_of(65536);
    struct first first = { NULL };
    scene->is_mute[1] = true;
    scene_say(scene, 0, "backend/web/web-01/state", 2);
    scene_seconds(scene, 10);
    alert_book_each(scene->book, take_first, &first);
    REQUIRE(first.alert != NULL, "one is told");
    alert_note_write(scene->book, scene->rules, scene->site, first.alert, false, scene->wall_ms,
                     &out);
    json_t *note = json_loadb(out.data, out.len, 0, NULL);
    REQUIRE(note != NULL, "JSON: %.*s", FMT(buffer_text(&out)));
    CHECK(strcmp(string_of(note, "site"), "www.foobar.com") == 0, "site");
    CHECK(strcmp(string_of(note, "status"), "firing") == 0, "status");
    CHECK(strcmp(string_of(note, "alert"), "server-silent") == 0, "alert");
    CHECK(strcmp(string_of(note, "server"), "web-01") == 0, "server");
    CHECK(strcmp(string_of(note, "severity"), "critical") == 0, "severity");
    CHECK(strcmp(string_of(note, "text"), "www.foobar.com: web-01 is silent: nothing was heard "
                                          "from it for 10 s") == 0,
          "%s", string_of(note, "text"));
    json_t *also = json_object_get(note, "also");
    REQUIRE(json_array_size(also) == 1, "one follows");
    CHECK(strcmp(string_of(json_array_get(also, 0), "element"), "web/web-01") == 0, "which");
    json_decref(note);
    buffer_clear(&out);
    alert_note_write(scene->book, scene->rules, scene->site, first.alert, true, scene->wall_ms,
                     &out);
    note = json_loadb(out.data, out.len, 0, NULL);
    CHECK(strcmp(string_of(note, "status"), "resolved") == 0, "over");
    CHECK(json_object_get(note, "until") != NULL, "until when");
    json_decref(note);
    buffer_done(&out);
    scene_free(scene);
}

static const char note_text[] =
    "{\"status\":\"firing\",\"summary\":\"back\\r\\nBcc: all@example.com\\u00e4 x\","
    "\"severity\":\"critical\",\"alert\":\"backend-down\",\"element\":\"web/web-01\","
    "\"server\":\"\",\"since\":\"2026-11-22T02:00:00.000Z\",\"id\":\"i\","
    "\"also\":[{\"summary\":\"one\"},{\"summary\":\"two\\n.\\n\"}]}";

TEST(note_becomes_a_mail)
{
    struct site site = { .name = T("www.foobar.com") };
    struct text to[] = { T("a@example.com"), T("b@example.com") };
    struct site_receiver receiver = { .kind = RECEIVER_MAIL, .to = to, .to_count = 2 };
    struct notify_task task = { .site = &site, .receiver = &receiver, .note = T(note_text) };
    struct buffer out = buffer_of(65536);
    REQUIRE(notify_mail_write(&task, 1795300000000, &out) == OK, "written");
    struct text mail = buffer_text(&out);
    CHECK(text_starts_with(mail, T("From: <trilith@www.foobar.com>\r\n"
                                   "To: <a@example.com>,\r\n <b@example.com>\r\n"
                                   "Date: Sat, 21 Nov 2026 ")),
          "%.*s", FMT(mail));
    CHECK(text_find_text(mail, T("\r\nSubject: [www.foobar.com] firing: back??Bcc: "
                                 "all@example.com?? x\r\n")) > 0,
          "no field can be smuggled in: %.*s", FMT(mail));
    CHECK(text_find_text(mail, T("\r\n  - one\r\n  - two . \r\n")) > 0, "what follows");
    CHECK(text_find_text(mail, T("\nserver")) < 0, "nothing that is empty");
    for (size_t i = 0; i < mail.len; i++)
        CHECK(mail.data[i] != '\n' || (i > 0 && mail.data[i - 1] == '\r'), "bare line feed");
    buffer_clear(&out);
    receiver.from = T("ops@example.com");
    REQUIRE(notify_mail_write(&task, 1795300000000, &out) == OK, "written");
    CHECK(text_starts_with(buffer_text(&out), T("From: <ops@example.com>\r\n")), "the sender");
    task.note = T("nothing");
    CHECK(notify_mail_write(&task, 1795300000000, &out) == ERR_SYNTAX, "no note");
    buffer_done(&out);
}
