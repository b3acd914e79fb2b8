/* The environ table of requests, and what the reader of answers refuses. */
#include "app/environ.h"
#include "app/response.h"
#include "app/role_private.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>

/* "KEY=value" of every entry, one per line. */
static struct text table_text(const struct segment_slot *slot, char *out, size_t size)
{
    struct text rest = text_from((const char *)slot->request, slot->table_bytes);
    size_t len = 0;
    for (uint32_t i = 0; i < slot->entry_count; i++) {
        struct segment_entry entry;
        memcpy(&entry, rest.data, sizeof(entry));
        rest = text_skip(rest, sizeof(entry));
        struct text name = entry.key != KEY_OTHER ? segment_key_name((enum segment_key)entry.key)
                                                  : text_part(rest, 0, entry.name_bytes);
        struct text value = text_part(rest, entry.name_bytes, entry.value_bytes);
        len += (size_t)snprintf(out + len, size - len, "%.*s=%.*s\n", FMT(name), FMT(value));
        rest = text_skip(rest, (size_t)entry.name_bytes + entry.value_bytes);
    }
    CHECK(rest.len == 0, "no byte is left over");
    return text_from(out, len);
}

static struct http_header header_of(const char *name, const char *value)
{
    return (struct http_header){ .name = text_of(name),
                                 .value = text_of(value),
                                 .field = http_field_find(text_of(name)) };
}

static struct http_request request_for_test(void)
{
    struct http_request request = { .method = HTTP_GET,
                                    .method_text = T("GET"),
                                    .target = T("/shop/caf%C3%A9?q=1"),
                                    .path = T("/shop/caf\xc3\xa9"),
                                    .query = T("q=1"),
                                    .has_query = true,
                                    .host = T("www.example.com"),
                                    .scheme = T("http"),
                                    .minor_version = 1,
                                    .content_length = -1 };
    snprintf(request.id, sizeof(request.id), "0123456789abcdef0123456789abcdef");
    CHECK(address_parse(T("192.0.2.7:4444"), &request.client) == OK, "client");
    CHECK(address_parse(T("[2001:db8::1]:8080"), &request.server) == OK, "server");
    return request;
}

TEST(environ_has_what_pep_3333_asks_for)
{
    static const struct {
        const char *mount;
        int64_t body;
        const char *scheme;
        const char *want[6];
        const char *not_wanted;
    } cases[] = {
        { "",
          -1,
          "http",
          { "SCRIPT_NAME=\n", "PATH_INFO=/shop/caf\xc3\xa9\n", "QUERY_STRING=q=1\n",
            "REQUEST_METHOD=GET\n", "SERVER_PROTOCOL=HTTP/1.1\n", "wsgi.url_scheme=http\n" },
          "CONTENT_LENGTH" },
        { "/shop",
          0,
          "http",
          { "SCRIPT_NAME=/shop\n", "PATH_INFO=/caf\xc3\xa9\n", "CONTENT_LENGTH=0\n",
            "REMOTE_ADDR=192.0.2.7\n", "REMOTE_PORT=4444\n", "SERVER_PORT=8080\n" },
          "HTTPS" },
        { "/shop/caf\xc3\xa9",
          77,
          "https",
          { "PATH_INFO=\n", "CONTENT_LENGTH=77\n", "HTTPS=on\n",
            "REQUEST_ID=0123456789abcdef0123456789abcdef\n", "REQUEST_URI=/shop/caf%C3%A9?q=1\n",
            "SERVER_NAME=www.example.com\n" },
          "CONTENT_TYPE" },
    };
    struct segment_slot *slot = NEW(struct segment_slot);
    static char out[16384];
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_request request = request_for_test();
        request.scheme = text_of(cases[i].scheme);
        CHECK(app_environ_build(&request, text_of(cases[i].mount), cases[i].body, slot) == OK,
              "case %zu", i);
        table_text(slot, out, sizeof(out));
        for (size_t j = 0; j < COUNT(cases[i].want); j++)
            CHECK(strstr(out, cases[i].want[j]) != NULL, "%s in %s", cases[i].want[j], out);
        CHECK(strstr(out, cases[i].not_wanted) == NULL, "%s in %s", cases[i].not_wanted, out);
    }
    memory_free(slot);
}

TEST(environ_headers_are_joined_and_filtered)
{
    struct http_header items[] = {
        header_of("Host", "www.example.com:8080"),
        header_of("X-Custom-Name", "1"),
        header_of("cookie", "a=1"),
        header_of("x-custom-name", "2"),
        header_of("Cookie", "b=2"),
        header_of("Proxy", "http://evil/"),
        header_of("X_Under", "no"),
        header_of("Content-Type", "text/plain"),
        header_of("Content-Length", "9"),
        header_of("Transfer-Encoding", "chunked"),
        header_of("X-CUSTOM-NAME", "3"),
        header_of("X-Request-Id", "theirs"),
    };
    struct http_request request = request_for_test();
    struct segment_slot *slot = NEW(struct segment_slot);
    static char out[16384];
    request.headers = (struct http_headers){ items, COUNT(items), COUNT(items) };
    CHECK(app_environ_build(&request, T(""), 9, slot) == OK, "built");
    table_text(slot, out, sizeof(out));
    static const char *const want[] = {
        "HTTP_HOST=www.example.com:8080\n",
        "HTTP_X_CUSTOM_NAME=1, 2, 3\n",
        "HTTP_COOKIE=a=1; b=2\n",
        "\nCONTENT_TYPE=text/plain\n",
        "\nCONTENT_LENGTH=9\n",
        "HTTP_X_REQUEST_ID=theirs\n",
    };
    static const char *const not_wanted[] = { "HTTP_PROXY", "UNDER", "HTTP_CONTENT",
                                              "TRANSFER_ENCODING" };
    for (size_t i = 0; i < COUNT(want); i++)
        CHECK(strstr(out, want[i]) != NULL, "%s in %s", want[i], out);
    for (size_t i = 0; i < COUNT(not_wanted); i++)
        CHECK(strstr(out, not_wanted[i]) == NULL, "%s in %s", not_wanted[i], out);
    memory_free(slot);
}

TEST(environ_that_does_not_fit_is_refused)
{
    struct http_request request = request_for_test();
    struct segment_slot *slot = NEW(struct segment_slot);
    char *value = memory_new(SEGMENT_REQUEST_BYTES);
    struct http_header item = { .name = T("X-Long"), .value = { value, SEGMENT_REQUEST_BYTES } };
    request.headers = (struct http_headers){ &item, 1, 1 };
    CHECK(app_environ_build(&request, T(""), -1, slot) == ERR_LIMIT, "too long");
    item.value.len = SEGMENT_REQUEST_BYTES - 4096;
    CHECK(app_environ_build(&request, T(""), 5, slot) == OK, "this fits");
    CHECK(app_environ_add_body(slot, T("12345")), "a small body behind it");
    CHECK(memcmp(slot->request + slot->body_offset, "12345", 5) == 0, "is there");
    CHECK(!app_environ_add_body(slot, text_from(value, 8192)), "a larger one is not");
    memory_free(value);
    memory_free(slot);
}

/* ---- the environment of the process ---- */

static bool has_variable(char *const *array, const char *wanted)
{
    for (; *array != NULL; array++) {
        if (strcmp(*array, wanted) == 0)
            return true;
    }
    return false;
}

TEST(environment_of_an_application_is_built)
{
    struct site_variable variables[] = {
        { .name = T("MODE"), .value = T("test") },
        { .name = T("DATABASE_URL"), .value = T("mysql://mine") },
        { .name = T("EMPTY") },
    };
    struct site_app app = { .name = T("shop"),
                            .root = T("/srv/shop"),
                            .python = T("/srv/shop/venv/bin/python3"),
                            .environment = variables,
                            .environment_count = COUNT(variables) };
    struct buffer pairs;
    struct why why;
    REQUIRE(app_environment_build(&app, T("mysql://ours"), &pairs, &why) == OK, "%s", why.text);
    char **array = app_environment_array(buffer_text(&pairs));
    CHECK(has_variable(array, "PATH=/srv/shop/venv/bin:/usr/local/bin:/usr/bin:/bin"), "the venv");
    CHECK(has_variable(array, "HOME=/srv/shop") && has_variable(array, "LANG=C.UTF-8"), "base");
    CHECK(has_variable(array, "MODE=test") && has_variable(array, "EMPTY="), "the site's");
    CHECK(has_variable(array, "DATABASE_URL=mysql://mine"), "the site file's word counts");
    CHECK(!has_variable(array, "DATABASE_URL=mysql://ours"), "and only that");
    memory_free(array);
    buffer_done(&pairs);
    variables[0] = (struct site_variable){ .name = T("KEY"), .file = T("/nonexistent/key") };
    CHECK(app_environment_build(&app, T(""), &pairs, &why) == ERR_NOT_FOUND, "no file");
    CHECK(strstr(why.text, "environment KEY") != NULL, "says which: %s", why.text);
}

/* ---- answers ---- */

TEST(response_reader_refuses_what_no_worker_writes)
{
    struct segment_head head = { .status = 200, .content_length = -1 };
    static const struct {
        const char *what;
        uint32_t kind, bytes;
        uint64_t written;
    } cases[] = {
        { "a body before the head", RECORD_BODY, 4, 16 },
        { "an end before the head", RECORD_END, 0, 8 },
        { "a kind that is none", 99, 0, 8 },
        { "longer than what is there", RECORD_HEAD, 1000, 64 },
        { "longer than any ring", RECORD_HEAD, UINT32_MAX, 64 },
        { "a head that is too short", RECORD_HEAD, 4, 64 },
        { "a position that is not aligned", RECORD_HEAD, 16, 25 },
        { "a position before the start", RECORD_HEAD, 16, (uint64_t)-8 },
        { "more than the ring holds", RECORD_HEAD, 16, SEGMENT_RESPONSE_BYTES + 8 },
    };
    struct segment_slot *slot = NEW(struct segment_slot);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct segment_record record = { cases[i].kind, cases[i].bytes };
        struct response_reader reader = response_reader_of(slot);
        struct text data;
        memcpy(slot->response, &record, sizeof(record));
        memcpy(slot->response + sizeof(record), &head, sizeof(head));
        atomic_store(&slot->written, cases[i].written);
        CHECK(response_next(&reader, &data) == RESPONSE_BAD, "%s", cases[i].what);
        CHECK(response_next(&reader, &data) == RESPONSE_BAD, "%s: for good", cases[i].what);
    }
    memory_free(slot);
}

TEST(response_head_is_read_within_its_bounds)
{
    char bytes[64];
    struct segment_head head = { .status = 200, .content_length = 5, .header_count = 1 };
    uint32_t sizes[2] = { 4, 3 };
    struct text name, value;
    memcpy(bytes, &head, sizeof(head));
    memcpy(bytes + sizeof(head), sizes, sizeof(sizes));
    memcpy(bytes + sizeof(head) + sizeof(sizes), "Nameval", 7);
    size_t whole = sizeof(head) + sizeof(sizes) + 7;
    for (size_t len = 0; len <= whole; len++) {
        struct response_head reader = response_head_of(text_from(bytes, len));
        bool is_there = response_head_next(&reader, &name, &value);
        CHECK(is_there == (len == whole) && reader.is_bad == (len < whole), "cut at %zu", len);
    }
    CHECK(text_equal(name, T("Name")) && text_equal(value, T("val")), "the header");
    static const uint32_t bad[] = { 0, 100, 199, 600, 65536 + 200 };
    for (size_t i = 0; i < COUNT(bad); i++) {
        head.status = bad[i];
        memcpy(bytes, &head, sizeof(head));
        CHECK(response_head_of(text_from(bytes, whole)).is_bad, "status %u", bad[i]);
    }
}
