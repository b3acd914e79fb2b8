/* What `trilith top` makes of two answers of the parent. */
#include "cli/top.h"

#include "core/test.h"

static const char first[] =
    "{\"site\":\"www.foobar.com\",\"state\":\"serving\",\"metrics\":{\"requests\":1000},"
    "\"routes\":[{\"route\":\"/ app\",\"requests\":900,\"5xx\":3,"
    "\"latency\":{\"buckets\":[[15,800],[400,100]]}}],"
    "\"backends\":[{\"name\":\"web/web-01\",\"good\":10,\"bad\":1,\"time_us\":500}]}";

static const char second[] =
    "{\"site\":\"www.foobar.com\",\"state\":\"serving\",\"generation\":2,\"now_ms\":1795270150930,"
    "\"metrics\":{\"requests\":1500,\"connections_open\":4},"
    "\"routes\":[{\"route\":\"/ app\",\"requests\":1100,\"5xx\":3,"
    "\"latency\":{\"buckets\":[[10,99],[12,1],[15,800],[400,100]]}},"
    "{\"route\":\"/new\",\"requests\":5,\"latency\":{\"buckets\":[[3,5]]}}],"
    "\"processes\":[{\"name\":\"dns\",\"state\":\"backoff\"},{\"name\":\"log\",\"state\":\"ready\"}"
    "],"
    "\"backends\":[{\"name\":\"web/web-01\",\"state\":\"up\",\"good\":20,\"bad\":1,"
    "\"time_us\":1500,\"weight\":1,\"reason\":\"HTTP 200\"}]}";

static double number_at(const json_t *list, size_t index, const char *key)
{
    return json_number_value(json_object_get(json_array_get(list, index), key));
}

static bool has(struct buffer *page, const char *words)
{
    return text_find_text(buffer_text(page), text_of(words)) >= 0;
}

TEST(top_measures_what_happened_in_between)
{
    json_t *before = json_loads(first, 0, NULL), *after = json_loads(second, 0, NULL);
    REQUIRE(before != NULL && after != NULL, "JSON");
    json_t *top = top_measure(before, after, 500000);
    const json_t *routes = json_object_get(top, "routes");
    const json_t *latency = json_object_get(json_array_get(routes, 0), "latency");
    CHECK(number_at(routes, 0, "per_s") == 400, "200 in half a second");
    CHECK(number_at(routes, 0, "5xx_per_s") == 0, "none in between");
    CHECK(json_integer_value(json_object_get(latency, "p50_us")) == 10, "only the new ones");
    CHECK(json_integer_value(json_object_get(latency, "p99_us")) == 10, "only the new ones");
    CHECK(number_at(routes, 1, "per_s") == 10, "a new route");
    const json_t *backends = json_object_get(top, "backends");
    CHECK(number_at(backends, 0, "good_per_s") == 20 && number_at(backends, 0, "mean_us") == 100,
          "10 that took 1000 us");
    struct buffer page = buffer_of(65536);
    top_page(&page, top, false);
    CHECK(has(&page, "www.foobar.com  serving  generation 2"), "head");
    CHECK(has(&page, "  1000 requests/s"), "rate");
    CHECK(has(&page, "dns backoff") && !has(&page, "log ready"), "trouble");
    CHECK(has(&page, "/ app                                     400"), "route: %.*s",
          FMT(buffer_text(&page)));
    CHECK(has(&page, "web/web-01") && has(&page, "HTTP 200"), "backend");
    buffer_done(&page);
    json_decref(top);
    /* a parent that started again in between, and answers without anything */
    top = top_measure(after, before, 500000);
    CHECK(number_at(json_object_get(top, "routes"), 0, "per_s") == 0, "never below zero");
    json_decref(top);
    json_t *nothing = json_object();
    top = top_measure(nothing, nothing, 0);
    CHECK(json_array_size(json_object_get(top, "routes")) == 0, "nothing");
    json_decref(top);
    json_decref(nothing);
    json_decref(before);
    json_decref(after);
}
