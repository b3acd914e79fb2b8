/* Any bytes as a DNS query, over UDP and over TCP: no crash, no answer to an answer, no answer that
 * is larger than its limit. */
#include "core/buffer.h"
#include "core/memory.h"
#include "dns/answer.h"
#include "dns/build.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char site_text[] = "site: www.foobar.com\n"
                                "servers: { web-01: 198.51.100.11, six: \"2001:db8::6\" }\n"
                                "web: { on: [web-01], static: { /: . } }\n"
                                "dns:\n"
                                "  records:\n"
                                "    - { name: shop, type: CNAME, value: www.foobar.com }\n"
                                "    - { name: \"@\", type: MX, value: \"10 six.foobar.com\" }\n"
                                "    - { name: sub, type: NS, value: ns.sub.foobar.com }\n"
                                "    - { name: ns.sub, type: A, value: 192.0.2.53 }\n"
                                "    - { name: \"*.wild\", type: A, value: 192.0.2.77 }\n";

static struct dns_zone *make_zone(void)
{
    struct site *site;
    struct site_mistakes mistakes = { .text = buffer_of(65536) };
    struct dns_zone *zone;
    if (site_parse(text_of(site_text), "/x/site.yaml", false, &site, &mistakes) != OK ||
        dns_zone_build(site, 1, &zone, NULL) != OK)
        abort();
    site_mistakes_done(&mistakes);
    site_free(site);
    return zone;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dns_zone *zone;
    if (zone == NULL)
        zone = make_zone();
    static const size_t limits[] = { DNS_UDP_LIMIT, DNS_TCP_LIMIT };
    for (size_t is_tcp = 0; is_tcp < 2; is_tcp++) {
        uint8_t *out = memory_new(limits[is_tcp]);
        struct dns_reply reply =
            dns_answer(zone, text_from((const char *)data, size), is_tcp == 1, out);
        bool is_answer = size > 2 && (data[2] & 0x80) != 0;
        if (reply.len > limits[is_tcp] || (is_answer && reply.outcome != DNS_SILENCE) ||
            (reply.outcome != DNS_SILENCE && reply.len < DNS_HEADER_SIZE))
            abort();
        memory_free(out);
    }
    return 0;
}
