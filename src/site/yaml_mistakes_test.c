/*
 * Broken site files and exactly what is said about them: YAML and keys.
 */
#include "site/site_fixture.h"

static const struct broken_site cases[] = {
    { "empty", T(""), "site.yaml:1:1: the file is empty; start with `site: www.example.com`\n" },
    { "only a comment", T("# nothing\n"),
      "site.yaml:1:1: the file is empty; start with `site: www.example.com`\n" },
    { "a list at the top", T("- site: a.b\n"),
      "site.yaml:1:1: a site file is a map of keys; start with `site: www.example.com`\n" },
    { "a text at the top", T("hello\n"),
      "site.yaml:1:1: a site file is a map of keys; start with `site: www.example.com`\n" },
    { "a tab",
      T("site: a.b\n"
        "web:\n"
        "\011static: x\n"),
      "site.yaml:3:1: a tab stands here; indent with spaces only\n" },
    { "indented too far",
      T("site: a.b\n"
        "  web: {}\n"),
      "site.yaml:2:6: a ': ' cannot stand here: is this line indented too far, or does a value "
      "need quotes?\n" },
    { "indented too little",
      T("site: a.b\n"
        "app:\n"
        "    wsgi: 'a:b'\n"
        "  root: r\n"),
      "site.yaml:4:3: this does not fit here: is the line indented like the keys above it, are "
      "quotes closed?\n" },
    { "an open quote",
      T("site: \"a.b\n"
        "web: {}\n"),
      "site.yaml:1:7: the quote that starts here is never closed; add the closing one\n" },
    { "an open brace",
      T("site: a.b\n"
        "listen: { http: 80\n"
        "dns: {}\n"),
      "site.yaml:3:4: a ',' or '}' was expected: is the '{' of line 2 closed?\n" },
    { "an open bracket",
      T("site: a.b\n"
        "routes: [ {path: /, respond: x}\n"
        "dns: {}\n"),
      "site.yaml:3:1: a ',' or ']' was expected: is the '[' of line 2 closed?\n" },
    { "a key without colon",
      T("site: a.b\n"
        "web\n"
        "dns: {}\n"),
      "site.yaml:2:1: a key without ':' behind it; write `key: value`\n" },
    { "a strange first character", T("site: @home\n"),
      "site.yaml:1:7: a value cannot start with this character; put it in quotes (\"...\")\n" },
    { "a star without quotes",
      T("site: a.example.com\n"
        "routes:\n"
        "  - { host: *.example.com, respond: x }\n"),
      "site.yaml:3:13: a value that starts with '*' or '&' needs quotes, like "
      "\"*.example.com\"\n" },
    { "an unknown alias",
      T("site: a.example.com\n"
        "dns: *nothing\n"),
      "site.yaml:2:6: alias '*nothing' has no anchor '&nothing' before it; if it is text, put it "
      "in quotes\n" },
    { "a tag",
      T("site: !!str a.b\n"
        "web: {}\n"),
      "site.yaml:1:7: tags (words that start with '!') are not used in site files\n" },
    { "a merge key",
      T("site: a.example.com\n"
        "dns: { <<: { ttl: 1s } }\n"),
      "site.yaml:2:8: merge keys (<<) are not supported; repeat the keys\n" },
    { "a second document",
      T("site: a.b\n"
        "---\n"
        "site: c.d\n"),
      "site.yaml:2:1: a second document (---) starts here; a site is one document\n" },
    { "a list as a key",
      T("site: a.example.com\n"
        "? [a]\n"
        ": b\n"),
      "site.yaml:2:3: a key must be one word, not a list or a map\n" },
    { "a byte that is not UTF-8",
      T("site: a.b\n"
        "# caf\351\n"),
      "site.yaml:2:6: this byte is not UTF-8; save the file as UTF-8 text\n" },
    { "a control character",
      T("site: a.b\n"
        "# \001\n"),
      "site.yaml:2:3: a control character stands here; a site file is plain text\n" },
    { "UTF-16", T("\377\376s\000"), "site.yaml:1:1: the file is UTF-16; save it as UTF-8\n" },
    { "a NUL escape",
      T("site: a.example.com\n"
        "web: { static: { /a: \"x\\0y\" } }\n"),
      "site.yaml:2:22: a NUL character (\\0) is not allowed in a value\n" },
    { "a bad escape",
      T("site: a.example.com\n"
        "web: { static: { /a: \"x\\y\" } }\n"),
      "site.yaml:2:24: an unknown \\ escape inside double quotes; use single quotes or write "
      "\\\\\n" },
    { "a misspelt section",
      T("site: a.example.com\n"
        "wbe: {}\n"),
      "site.yaml:2:1: wbe: unknown key, did you mean 'web'?\n" },
    { "an unknown section",
      T("site: a.example.com\n"
        "colour: blue\n"),
      "site.yaml:2:1: colour: unknown key; allowed: site, servers, listen, web, app, apps, "
      "upstreams, routes, balancer, tcp, database, dns, vip, tls, firewall, monitor, objectives, "
      "audit\n" },
    { "a misspelt key",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, wokers: 2 }\n"),
      "site.yaml:2:30: app.wokers: unknown key, did you mean 'workers'?\n" },
    { "an unknown key",
      T("site: a.example.com\n"
        "web: { colour: blue }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:2:8: web.colour: unknown key; allowed: on, static, workers, errors, trusted, "
      "access-log, limits, timeouts\n" },
    { "a section twice",
      T("site: a.example.com\n"
        "dns: {}\n"
        "dns: {}\n"),
      "site.yaml:3:1: dns: this key is there twice, first on line 2; remove one\n" },
    { "a key twice",
      T("site: a.example.com\n"
        "dns: { ttl: 1s, ttl: 2s }\n"),
      "site.yaml:2:17: dns.ttl: this key is there twice, first on line 2; remove one\n" },
    { "a free key twice",
      T("site: a.example.com\n"
        "web: { static: { /a: x, /a: y } }\n"),
      "site.yaml:2:25: web.static./a: this key is there twice, first on line 2; remove one\n" },
};

TEST(site_mistakes_of_yaml_and_keys)
{
    check_broken_sites(cases, COUNT(cases));
}
