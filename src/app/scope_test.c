/* The table of an ASGI scope. */
#include "app/scope.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>

/* "KEY=value" of every entry, one per line. */
static void table_text(const struct segment_slot *slot, char *out, size_t size)
{
    struct text rest = text_from((const char *)slot->request, slot->table_bytes);
    struct segment_entry entry;
    struct text name, value;
    size_t len = 0;
    uint32_t count = 0;
    out[0] = '\0';
    while (segment_table_next(&rest, &entry, &name, &value)) {
        if (entry.key != KEY_OTHER)
            name = segment_key_name((enum segment_key)entry.key);
        len += (size_t)snprintf(out + len, size - len, "%.*s=%.*s\n", FMT(name), FMT(value));
        count++;
    }
    CHECK(rest.len == 0 && count == slot->entry_count, "no byte is left over");
}

static struct http_header header_of(const char *name, const char *value)
{
    return (struct http_header){ .name = text_of(name),
                                 .value = text_of(value),
                                 .field = http_field_find(text_of(name)) };
}

static struct http_request request_for_test(struct http_header *items, size_t count)
{
    struct http_request request = { .method = HTTP_POST,
                                    .method_text = T("POST"),
                                    .target = T("/caf%C3%A9?q=%20"),
                                    .raw_path = T("/caf%C3%A9"),
                                    .path = T("/caf\xc3\xa9"),
                                    .query = T("q=%20"),
                                    .has_query = true,
                                    .scheme = T("https"),
                                    .minor_version = 1,
                                    .has_body = true,
                                    .content_length = -1,
                                    .headers = { items, count, count } };
    snprintf(request.id, sizeof(request.id), "0123456789abcdef0123456789abcdef");
    CHECK(address_parse(T("192.0.2.7:4444"), &request.client) == OK, "client");
    CHECK(address_parse(T("[2001:db8::1]:8080"), &request.server) == OK, "server");
    return request;
}

TEST(scope_keeps_headers_apart_and_drops_what_is_dangerous)
{
    struct http_header items[] = {
        header_of("Host", "x"),    header_of("X-A", "1"),
        header_of("x-B", "2"),     header_of("X-a", "3"),
        header_of("X_A", "no"),    header_of("Proxy", "no"),
        header_of("Expect", "no"), header_of("Transfer-Encoding", "chunked"),
    };
    struct http_request request = request_for_test(items, COUNT(items));
    struct segment_slot *slot = memory_new(sizeof(struct segment_slot));
    char text[4096];
    REQUIRE(app_scope_build(&request, 77, slot) == OK, "built");
    table_text(slot, text, sizeof(text));
    static const char want[] =
        "REQUEST_METHOD=POST\nPATH_INFO=/caf\xc3\xa9\nREQUEST_URI=/caf%C3%A9\nQUERY_STRING=q=%20\n"
        "SERVER_PROTOCOL=1.1\nwsgi.url_scheme=https\nREMOTE_ADDR=192.0.2.7\nREMOTE_PORT=4444\n"
        "SERVER_NAME=2001:db8::1\nSERVER_PORT=8080\nREQUEST_ID=0123456789abcdef0123456789abcdef\n"
        "host=x\nx-a=1\nx-b=2\nx-a=3\ncontent-length=77\n"
        "x-request-id=0123456789abcdef0123456789abcdef\n";
    CHECK(strcmp(text, want) == 0, "got\n%s", text);
    CHECK(slot->body_length == 77 && slot->body_offset == slot->table_bytes && !slot->is_head,
          "the rest of the slot");
    memory_free(slot);
}

TEST(scope_that_is_too_large_is_refused)
{
    char *large = memory_new(SEGMENT_REQUEST_BYTES);
    memset(large, 'a', SEGMENT_REQUEST_BYTES);
    struct segment_slot *slot = memory_new(sizeof(struct segment_slot));
    for (size_t less = 0; less < 2000; less += 7) {
        struct http_header items[] = { header_of("X-A", "") };
        items[0].value = text_from(large, SEGMENT_REQUEST_BYTES - less);
        struct http_request request = request_for_test(items, COUNT(items));
        enum err err = app_scope_build(&request, -1, slot);
        CHECK(err == ERR_LIMIT || (err == OK && slot->table_bytes <= SEGMENT_REQUEST_BYTES),
              "%zu less: %d", less, err);
        CHECK(less > 0 || err == ERR_LIMIT, "all of it does not fit");
        CHECK(less < 1000 || err == OK, "%zu less fit", less);
    }
    memory_free(slot);
    memory_free(large);
}
