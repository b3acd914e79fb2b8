/*
 * The page of `trilith status`, from answers of the parent.
 */
#include "cli/status.h"

#include "core/test.h"

static const char before[] = "{\"metrics\":{\"requests\":1000,\"app_requests\":10}}";

static const char after[] =
    "{\"ok\":true,\"site\":\"www.foobar.com\",\"state\":\"degraded\",\"generation\":3,"
    "\"since\":\"2026-11-21T11:54:40.283Z\",\"urls\":[\"http://127.0.0.1:8080/\"],"
    "\"processes\":["
    "{\"name\":\"parent\",\"state\":\"ready\",\"pid\":10,\"uptime_ms\":90061000,\"restarts\":0,"
    "\"note\":\"\",\"workers\":[],\"tail\":[\"not shown\"]},"
    "{\"name\":\"app/app\",\"state\":\"ready\",\"pid\":11,\"uptime_ms\":2500,\"restarts\":1,"
    "\"note\":\"guestbook:app\",\"ended\":\"killed\",\"tail\":[],\"workers\":["
    "{\"state\":\"busy\",\"pid\":12,\"requests\":7,\"busy_ms\":3200,\"restarts\":2,"
    "\"started\":940000,\"memory\":45678901}],\"least\":2,\"most\":8,\"now\":3,"
    "\"trouble\":\"\"},"
    "{\"name\":\"dns\",\"state\":\"backoff\",\"pid\":null,\"uptime_ms\":0,\"restarts\":5,"
    "\"note\":\"\",\"ended\":\"exit status 1\",\"workers\":[],\"tail\":[\"one\",\"two\"]}],"
    "\"metrics\":{\"requests\":1500,\"responses_4xx\":2,\"responses_5xx\":1,\"app_requests\":20,"
    "\"app_work_us\":50000,\"app_busy\":1,\"app_queue\":4,\"app_failures\":1,"
    "\"connections_open\":3,\"connections_accepted\":9,\"dns_queries\":0},\"now_ms\":1000000,"
    "\"apps\":[{\"name\":\"app\",\"queue\":4,\"busy\":3,\"requests\":20,\"exceptions\":5,"
    "\"failures\":1,\"refused\":"
    "2,"
    "\"wait\":{\"p50_us\":85,\"p99_us\":1234},\"work\":{\"p50_us\":25000,\"p99_us\":12000000}},"
    "{\"name\":\"idle\",\"wait\":{\"p50_us\":null}}],"
    "\"routes\":[{\"route\":\"GET www.foobar.com/ app app\",\"requests\":17,\"2xx\":14,\"3xx\":1,"
    "\"4xx\":1,\"5xx\":1,\"latency\":{\"p50_us\":999,\"p99_us\":9999}}]}";

static const char want[] =
    "www.foobar.com  degraded  generation 3  since 2026-11-21T11:54:40Z\n"
    "  http://127.0.0.1:8080/\n"
    "\n"
    "  PROCESS     STATE         PID  UPTIME RESTARTS  NOTE\n"
    "  parent      ready          10     25h        0\n"
    "  app/app     ready          11      2s        1  guestbook:app\n"
    "    worker 0  busy           12     60s        2  7 requests, 44 MiB, busy for 3s\n"
    "  dns         backoff         -       -        5  exit status 1\n"
    "\n"
    "last lines of dns:\n"
    "  one\n"
    "  two\n"
    "\n"
    "  requests     1000/s now, 1500 in all (2 4xx, 1 5xx)\n"
    "  connections  3 open, 9 accepted\n"
    "  app          20/s now, 1 busy, 4 waiting, 2.5 ms each, 1 lost\n"
    "\n"
    "  APPLICATION      WORKERS     BUSY  QUEUE  WAIT p50/p99     WORK p50/p99       REQUESTS "
    "RAISED "
    "  LOST "
    "REFUSED\n"
    "  app              3 of 2..8      3      4  85us / 1.2ms     25ms / 12s               20      "
    "5 "
    "     1"
    "       2\n"
    "  idle             -              0      0  - / -            - / -                     0      "
    "0 "
    "     0"
    "       0\n"
    "\n"
    "  ROUTE                                          REQUESTS        2xx      3xx      4xx      "
    "5xx  "
    "LATENCY p50/p99\n"
    "  GET www.foobar.com/ app app                          17         14        1        1        "
    "1  "
    "999us / 10.0ms\n";

TEST(cli_status_page)
{
    struct buffer out = buffer_of(65536);
    json_t *first = json_loads(before, 0, NULL), *second = json_loads(after, 0, NULL);
    status_page(&out, first, second, 500000, false);
    CHECK(text_equal(buffer_text(&out), text_of(want)), "%.*s", FMT(buffer_text(&out)));
    buffer_clear(&out);
    status_page(&out, first, second, 500000, true);
    CHECK(text_find_text(buffer_text(&out), T("\033[31mdegraded\033[0m")) > 0, "red");
    CHECK(text_find_text(buffer_text(&out), T("\033[32mready")) > 0, "green");
    buffer_done(&out);
    json_decref(first);
    json_decref(second);
}

/* An answer of another version must not end the command. */
TEST(cli_status_page_of_anything)
{
    static const char *const answers[] = {
        "{}",
        "[]",
        "{\"processes\":[1,null,{}],\"urls\":[1],\"metrics\":[]}",
        "{\"apps\":[1,{},null],\"routes\":[{\"route\":1,\"latency\":[]},[]],\"now_ms\":\"x\"}",
        "{\"processes\":[{\"workers\":[1,{}],\"tail\":[1,2]}],\"site\":5,\"since\":{}}",
    };
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct buffer out = buffer_of(65536);
        json_t *answer = json_loads(answers[i], 0, NULL);
        status_page(&out, answer, answer, 0, false);
        CHECK(out.len > 0, "%s", answers[i]);
        buffer_done(&out);
        json_decref(answer);
    }
}

TEST(cli_status_of_all_servers)
{
    static const char servers[] =
        "{\"lb-01\":{\"ok\":true,\"state\":\"serving\",\"generation\":2,"
        "\"metrics\":{\"requests\":12},\"processes\":[{\"name\":\"parent\",\"state\":\"ready\","
        "\"uptime_ms\":90000}],\"backends\":[{\"name\":\"web/web-01\",\"state\":\"down\","
        "\"reason\":\"connection refused\"},{\"name\":\"web/web-02\",\"state\":\"up\"},"
        "{\"name\":\"web/web-03\",\"state\":\"unknown\"}]},"
        "\"web-01\":{\"ok\":false,\"error\":\"web-01: cannot be reached\"},"
        "\"web-02\":{\"ok\":true,\"state\":\"degraded\",\"generation\":1,\"processes\":["
        "{\"name\":\"parent\",\"state\":\"ready\",\"uptime_ms\":1000},"
        "{\"name\":\"sql\",\"state\":\"backoff\",\"ended\":\"killed\"},"
        "{\"name\":\"app/app\",\"state\":\"starting\",\"ended\":null}],"
        "\"databases\":[{\"name\":\"database/web-02\",\"state\":\"up\",\"role\":\"primary\","
        "\"gtid\":\"0-1-2\",\"for_ms\":3000}]}}";
    static const char page[] =
        "www.foobar.com\n\n"
        "  SERVER  STATE     GENERATION  UPTIME   REQUESTS  NOTE\n"
        "  lb-01   serving            2     90s         12  web/web-01 down (connection refused)\n"
        "  web-01  no answer          0       -          -  web-01: cannot be reached\n"
        "  web-02  degraded           1      1s          0  sql backoff (killed); app/app "
        "starting\n"
        "\n"
        "  DATABASE                           STATE      SINCE ROLE         LAG  GTID              "
        "                        NOTE\n"
        "  database/web-02                    up            3s primary        -  0-1-2             "
        "                        \n";
    struct buffer out = buffer_of(65536);
    json_t *answers = json_loads(servers, 0, NULL);
    status_all_page(&out, "www.foobar.com", answers, false);
    CHECK(text_equal(buffer_text(&out), text_of(page)), "%.*s", FMT(buffer_text(&out)));
    json_decref(answers);
    buffer_clear(&out);
    answers = json_loads("{\"a\":1,\"b\":{\"ok\":true,\"processes\":1,\"backends\":[1]}}", 0, NULL);
    status_all_page(&out, "www.foobar.com", answers, false);
    CHECK(text_find_text(buffer_text(&out), T("no answer")) > 0, "an answer of another version");
    json_decref(answers);
    buffer_done(&out);
}
