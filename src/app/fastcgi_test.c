/* FastCGI records and CGI heads: what is written, and what is read whole, byte by byte, cut at each
 * place, and refused. */
#include "app/fastcgi.h"
#include "app/php_config.h"
#include "app/php_head.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>

#define RECORD(type, len, padding) "\1" type "\0\1\0" len padding "\0"

/* "O<data>" and "E<data>" per piece joined per kind, "END" with its status; in *out. */
static enum fastcgi_item read_all(struct text input, size_t step, struct buffer *out)
{
    struct fastcgi_reader reader = { 0 };
    char last = 0;
    enum fastcgi_item item = FASTCGI_MORE;
    for (size_t at = 0; at < input.len; at += step) {
        struct text part = text_part(input, at, step), data;
        while ((item = fastcgi_read(&reader, &part, &data)) != FASTCGI_MORE) {
            if (item == FASTCGI_BAD)
                return item;
            char kind = item == FASTCGI_STDOUT ? 'O' : 'E';
            if (item == FASTCGI_END) {
                buffer_print(out, "END %u %u", reader.app_status, reader.protocol_status);
                continue;
            }
            if (kind != last)
                buffer_append_byte(out, (uint8_t)kind);
            last = kind;
            buffer_append(out, data);
        }
    }
    return reader.has_ended ? FASTCGI_END : item;
}

TEST(fastcgi_reads_an_answer_in_any_pieces)
{
    struct text whole = T(RECORD(
        "\6", "\5", "\3") "hello"
                          "xyz" RECORD("\7", "\3", "\0") "oh!" RECORD("\6", "\2", "\0") "ab" RECORD(
                              "\3", "\10", "\1") "\0\0\1\2\0\0\0\0p");
    for (size_t step = 1; step <= whole.len; step++) {
        AUTO(buffer_done) struct buffer out = buffer_of(1024);
        enum fastcgi_item item = read_all(whole, step, &out);
        CHECK(item == FASTCGI_END, "step %zu", step);
        CHECK(text_equal(buffer_text(&out), T("OhelloEoh!OabEND 258 0")), "step %zu: %.*s", step,
              FMT(buffer_text(&out)));
    }
    for (size_t len = 0; len + 1 < whole.len; len++) { /* the last byte is padding */
        AUTO(buffer_done) struct buffer out = buffer_of(1024);
        CHECK(read_all(text_part(whole, 0, len), 7, &out) == FASTCGI_MORE, "cut at %zu", len);
    }
}

TEST(fastcgi_refuses_what_is_no_answer)
{
    static const struct {
        const char *what;
        struct text bytes;
    } cases[] = {
        { "another version", T("\2\6\0\1\0\1\0\0x") },
        { "another request", T("\1\6\0\2\0\1\0\0x") },
        { "a high request id", T("\1\6\1\1\0\1\0\0x") },
        { "a record of the client's", T(RECORD("\5", "\1", "\0") "x") },
        { "an unknown record", T(RECORD("\14", "\1", "\0") "x") },
        { "a short end", T(RECORD("\3", "\7", "\0") "1234567") },
        { "a long end", T(RECORD("\3", "\11", "\0") "123456789") },
        { "HTTP", T("HTTP/1.1 200 OK\r\n\r\n") },
        { "more behind the end",
          T(RECORD("\3", "\10", "\0") "\0\0\0\0\0\0\0\0" RECORD("\6", "\1", "\0") "x") },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t step = 1; step < 40; step += 6) {
            AUTO(buffer_done) struct buffer out = buffer_of(1024);
            CHECK(read_all(cases[i].bytes, step, &out) == FASTCGI_BAD, "%s", cases[i].what);
        }
}

TEST(fastcgi_writes_parameters_in_whole_records)
{
    AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
    AUTO(memory_drop) char *large = memory_new(60000);
    struct fastcgi_params params;
    memset(large, 'v', 60000);
    fastcgi_write_begin(&out, true);
    CHECK(text_equal(buffer_text(&out), T("\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0")), "begin");
    buffer_clear(&out);
    fastcgi_params_begin(&params, &out);
    fastcgi_params_add(&params, T("A"), T("b"));
    fastcgi_params_add(&params, T("NAME"), text_from(large, 200));
    CHECK(fastcgi_params_end(&params), "fits");
    CHECK(text_starts_with(buffer_text(&out), T("\1\4\0\1\0\325\0\0\1\1Ab\4\200\0\0\310NAME")),
          "lengths");
    CHECK(text_ends_with(buffer_text(&out), T("vvv\1\4\0\1\0\0\0\0")), "its end");
    buffer_clear(&out);
    fastcgi_params_begin(&params, &out);
    for (int i = 0; i < 3; i++)
        fastcgi_params_add(&params, T("LARGE"), text_from(large, 60000));
    CHECK(fastcgi_params_end(&params), "fits");
    CHECK(out.len == 3 * (8 + 1 + 4 + 5 + 60000) + 8, "a record for each: %zu", out.len);
    fastcgi_params_begin(&params, &out);
    fastcgi_params_add(&params, text_from(large, 6000), text_from(large, 60000));
    CHECK(!fastcgi_params_end(&params), "a pair that fits into no record");
}

TEST(php_head_is_read_strictly)
{
    static const struct {
        const char *text;
        int status; /* 0: refused */
        int64_t length;
        const char *headers;
    } cases[] = {
        { "A: b\r\n\r\n", 200, -1, "A=b;" },
        { "A: b\n\n", 200, -1, "A=b;" },
        { "Status: 404 Not Found\r\nX:\r\n\r\n", 404, -1, "X=;" },
        { "Status: 204\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n", 204, -1,
          "Set-Cookie=a;Set-Cookie=b;" },
        { "Location: /x\r\n\r\n", 302, -1, "Location=/x;" },
        { "Status: 201 Created\r\nlocation: /x\r\n\r\n", 201, -1, "location=/x;" },
        { "Content-Length: 12\r\nA: b\r\n\r\n", 200, 12, "A=b;" },
        { "\r\n", 0, -1, "" },
        { "no header\r\n\r\n", 0, -1, "" },
        { ": b\r\n\r\n", 0, -1, "" },
        { "A b: c\r\n\r\n", 0, -1, "" },
        { "A: b\r\n folded\r\n\r\n", 0, -1, "" },
        { "A: b\rc\r\n\r\n", 0, -1, "" },
        { "Status: 99\r\n\r\n", 0, -1, "" },
        { "Status: 600\r\n\r\n", 0, -1, "" },
        { "Status: 100 Continue\r\n\r\n", 0, -1, "" },
        { "Status: 2000\r\n\r\n", 0, -1, "" },
        { "Status: abc\r\n\r\n", 0, -1, "" },
        { "Status: 200\r\nStatus: 200\r\n\r\n", 0, -1, "" },
        { "Content-Length: -1\r\n\r\n", 0, -1, "" },
        { "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 0, -1, "" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct php_head head;
        struct text name, value, all = text_of(cases[i].text);
        AUTO(buffer_done) struct buffer headers = buffer_of(1024);
        size_t from = 0;
        for (size_t len = 0; len < all.len; len++)
            CHECK(php_head_end(text_part(all, 0, len), &from) < 0, "%s cut at %zu", all.data, len);
        CHECK(php_head_end(all, &from) == (ssize_t)all.len, "%s", all.data);
        bool is_good = php_head_parse(all, &head) == NULL;
        CHECK(is_good == (cases[i].status != 0), "%s", all.data);
        if (!is_good)
            continue;
        CHECK(head.status == cases[i].status, "%s: %d", all.data, head.status);
        CHECK(head.content_length == cases[i].length, "%s", all.data);
        while (php_head_next(&head, &name, &value))
            buffer_print(&headers, "%.*s=%.*s;", FMT(name), FMT(value));
        CHECK(text_equal(buffer_text(&headers), text_of(cases[i].headers)), "%s", all.data);
    }
}

TEST(php_config_says_what_the_site_file_says)
{
    struct site_variable settings[] = {
        { .name = T("memory_limit"), .value = T("256M") },
        { .name = T("display_errors"), .value = T("off") },
        { .name = T("open_basedir"), .value = T("{root}:/tmp/{root}") },
    };
    struct site_app app = { .name = T("blog"),
                            .root = T("/srv/blog"),
                            .workers = 4,
                            .workers_most = 4,
                            .request_ms = 1500,
                            .grace_ms = 1000,
                            .max_requests = 500,
                            .settings = settings,
                            .setting_count = COUNT(settings) };
    static const char *const lines[] = {
        "[blog]\n",
        "pm = static\npm.max_children = 4\npm.max_requests = 500\n",
        "request_terminate_timeout = 5s\n",
        "security.limit_extensions = .php\n",
        "clear_env = no\n",
        "php_admin_value[memory_limit] = \"256M\"\n",
        "php_admin_flag[display_errors] = \"off\"\n",
        "php_admin_value[open_basedir] = \"/srv/blog:/tmp//srv/blog\"\n",
    };
    struct why why;
    AUTO(buffer_done) struct buffer out = buffer_of(4096);
    REQUIRE(php_config_write(&app, &out, &why) == OK, "%s", why.text);
    for (size_t i = 0; i < COUNT(lines); i++)
        CHECK(text_find_text(buffer_text(&out), text_of(lines[i])) >= 0, "%s in:\n%.*s", lines[i],
              FMT(buffer_text(&out)));
    app.workers = 2;
    buffer_clear(&out);
    REQUIRE(php_config_write(&app, &out, &why) == OK, "%s", why.text);
    CHECK(text_find_text(buffer_text(&out), T("pm = dynamic\npm.max_children = 4\n"
                                              "pm.start_servers = 2\n")) >= 0,
          "a range");
    static const char *const bad[] = { "a\"b", "a\\b", "${HOME}", "a\nb", "a\1b" };
    for (size_t i = 0; i < COUNT(bad); i++) {
        settings[0].value = text_of(bad[i]);
        CHECK(php_config_write(&app, &out, &why) == ERR_RANGE, "%s", bad[i]);
    }
    settings[0] = (struct site_variable){ .name = T("x]\ny["), .value = T("1") };
    CHECK(php_config_write(&app, &out, &why) == ERR_RANGE, "a name");
}
