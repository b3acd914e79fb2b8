/* The HTTP around a responder's answer. */
#include "web/staple.h"

#include "core/test.h"

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n"

TEST(web_staple_reads_answers)
{
    static const struct {
        const char *bytes;
        const char *body; /* NULL: refused */
    } cases[] = {
        { HEAD "Content-Length: 5\r\n\r\nhello", "hello" },
        { HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello" },
        { HEAD "\r\nhello", "hello" },
        { "HTTP/1.0 200 OK\r\n\r\nhello", "hello" },
        { HEAD "Content-Length: 6\r\n\r\nhello", NULL },
        { "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", NULL },
        { "HTTP/1.1 301 Moved\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", NULL },
        { "220 mail.example.com ESMTP\r\n", NULL },
        { "", NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct why why = { "" };
        struct text bytes = text_of(cases[i].bytes);
        struct buffer body = buffer_of(1000);
        enum err err = web_staple_read(bytes, &body, &why);
        CHECK((err == OK) == (cases[i].body != NULL), "%zu: %s", i, why.text);
        CHECK(err != OK || text_equal(buffer_text(&body), text_of(cases[i].body)), "%zu", i);
        CHECK(err == OK || why.text[0] != '\0', "%zu says why", i);
        buffer_done(&body);
        for (size_t len = 0; len < bytes.len; len++) { /* each place where it may be cut off */
            body = buffer_of(1000);
            err = web_staple_read(text_part(bytes, 0, len), &body, &why);
            CHECK(err != OK || i == 2 || i == 3, "%zu cut at %zu", i, len);
            buffer_done(&body);
        }
    }
}
