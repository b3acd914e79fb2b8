/*
 * Broken site files and exactly what is said about them: values, and what does not fit
 * together.
 */
#include "site/site_fixture.h"

static const struct broken_site cases[] = {
    { "no site", T("dns: {}\n"),
      "site.yaml:1:1: site: missing; add it, for example: site: www.example.com\n" },
    { "nothing to run", T("site: a.example.com\n"),
      "site.yaml:1:7: this site runs nothing; add at least one of: web, app, routes, tcp, "
      "database, dns\n" },
    { "nothing served",
      T("site: a.example.com\n"
        "web: {}\n"),
      "site.yaml:2:6: web: nothing is served; add `static: { /: FOLDER }` here, or app: or "
      "routes:\n" },
    { "an empty name",
      T("site: \"\"\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: the value is empty; write one, or remove the key if it is not "
      "needed\n" },
    { "a URL as name",
      T("site: https://a.b/\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: 'https://a.b/' is a URL; write only the name, like www.example.com\n" },
    { "an address as name",
      T("site: 192.0.2.1\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: '192.0.2.1' looks like an address; a name like www.example.com is "
      "needed\n" },
    { "an underscore in the name",
      T("site: a_b.c\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: 'a_b.c' may hold only letters, digits, '-' and '.'\n" },
    { "two dots in the name",
      T("site: a..b\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: 'a..b' has an empty part between two dots\n" },
    { "a dot at the end",
      T("site: a.b.\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: 'a.b.' must not end with '.'\n" },
    { "a dash at the edge",
      T("site: -a.b\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: '-a.b' has a part that starts or ends with '-'\n" },
    { "a list for a text",
      T("site: [a.b]\n"
        "dns: {}\n"),
      "site.yaml:1:7: site: a list is not allowed here; must be one text\n" },
    { "a text for a map",
      T("site: a.example.com\n"
        "dns: yes\n"),
      "site.yaml:2:6: dns: 'yes' is not allowed here; must be a map of keys (`key: value` "
      "lines)\n" },
    { "a list for a map",
      T("site: a.example.com\n"
        "dns: []\n"),
      "site.yaml:2:6: dns: a list is not allowed here; must be a map of keys (`key: value` "
      "lines)\n" },
    { "a text for a list",
      T("site: a.example.com\n"
        "routes: x\n"),
      "site.yaml:2:9: routes: 'x' is not allowed here; must be a list, like - { path: /api, app: "
      "app }\n" },
    { "a map for a number",
      T("site: a.example.com\n"
        "listen: { http: {} }\n"
        "dns: {}\n"),
      "site.yaml:2:17: listen.http: a map of keys is not allowed here; must be a number\n" },
    { "a word for a number",
      T("site: a.example.com\n"
        "listen: { http: many }\n"
        "dns: {}\n"),
      "site.yaml:2:17: listen.http: 'many' is not a whole number; allowed: 1 to 65535\n" },
    { "a negative number",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, workers: -2 }\n"),
      "site.yaml:2:39: app.workers: '-2' is not a number of workers; write 4, or 2..8 for as many "
      "as the queue needs; allowed: 1 to 512\n" },
    { "a range of workers that falls",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, workers: 8..2 }\n"),
      "site.yaml:2:39: app.workers: '8..2' is not a number of workers; write 4, or 2..8 for as "
      "many as the queue needs; allowed: 1 to 512\n" },
    { "a port too large",
      T("site: a.example.com\n"
        "listen: { http: 65536 }\n"
        "dns: {}\n"),
      "site.yaml:2:17: listen.http: '65536' is too large; allowed: 1 to 65535\n" },
    { "a number of 30 digits",
      T("site: a.example.com\n"
        "listen: { http: 999999999999999999999999999999 }\n"
        "dns: {}\n"),
      "site.yaml:2:17: listen.http: '999999999999999999999999999999' is too large; allowed: 1 to "
      "65535\n" },
    { "no number at all",
      T("site: a.example.com\n"
        "listen: { http: }\n"
        "dns: {}\n"),
      "site.yaml:2:17: listen.http: the value is empty; write one, or remove the key if it is not "
      "needed\n" },
    { "one port for two",
      T("site: a.example.com\n"
        "listen: { http: 80, dns: 80 }\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "dns: {}\n"),
      "site.yaml:2:26: listen.dns: port 80 is the port of http already; they need two ports\n" },
    { "the database on the web's port",
      T("site: a.example.com\n"
        "listen: { http: 3306 }\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "database: { name: a, port: 3306 }\n"),
      "site.yaml:4:28: database.port: port 3306 is the port of http already; they need two "
      "ports\n" },
    { "a name to listen on",
      T("site: a.example.com\n"
        "listen: { address: localhost }\n"
        "dns: {}\n"),
      "site.yaml:2:20: listen.address: 'localhost' is not an IP address; write one like 127.0.0.1, "
      "or 0.0.0.0 for every address of this machine\n" },
    { "a duration without unit",
      T("site: a.example.com\n"
        "dns: { ttl: 60 }\n"),
      "site.yaml:2:13: dns.ttl: '60' is not a duration in whole seconds; write a number with a "
      "unit, like 60s or 1h; allowed: 1s to 7d\n" },
    { "a duration with a bad unit",
      T("site: a.example.com\n"
        "web: { timeouts: { head: 3 years } }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:2:26: web.timeouts.head: '3 years' is not a duration; write a number with a unit, "
      "like 250ms, 30s or 1h; allowed: 100ms to 1h\n" },
    { "a duration out of range",
      T("site: a.example.com\n"
        "web: { timeouts: { head: 1ms } }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:2:26: web.timeouts.head: '1ms' is too small; allowed: 100ms to 1h\n" },
    { "half a second of TTL",
      T("site: a.example.com\n"
        "dns: { ttl: 500ms }\n"),
      "site.yaml:2:13: dns.ttl: '500ms' is not a duration in whole seconds; write a number with a "
      "unit, like 60s or 1h; allowed: 1s to 7d\n" },
    { "a size without sense",
      T("site: a.example.com\n"
        "web: { limits: { body: much } }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:2:24: web.limits.body: 'much' is not a size; write a number with a unit, like 64 "
      "KiB or 128 MiB; allowed: 0 bytes to 1024 TiB\n" },
    { "a size too large",
      T("site: a.example.com\n"
        "database: { name: a, memory: 100 TiB }\n"),
      "site.yaml:2:30: database.memory: '100 TiB' is too large; allowed: 8 MiB to 4 TiB\n" },
    { "a bad choice",
      T("site: a.example.com\n"
        "web: { access-log: jsn }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:2:20: web.access-log: 'jsn' is not known, did you mean 'json'? allowed: combined "
      "json off\n" },
    { "another bad choice",
      T("site: a.example.com\n"
        "web: { access-log: everything }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:2:20: web.access-log: 'everything' is not known; allowed: combined json off\n" },
    { "a bad yes or no",
      T("site: a.example.com\n"
        "routes: [ { static: x, listing: maybe } ]\n"),
      "site.yaml:2:33: routes[0].listing: 'maybe' is not allowed; write yes or no\n" },
    { "an app without anything",
      T("site: a.example.com\n"
        "app:\n"),
      "site.yaml:2:5: app: what it runs is missing; add one of: wsgi, asgi, php, command, like "
      "wsgi: \"guestbook:app\"\n"
      "site.yaml:2:5: app.root: missing; add it, for example: root: guestbook\n" },
    { "an app without root, of another kind",
      T("site: a.example.com\n"
        "app: { command: node server.js }\n"),
      "site.yaml:2:6: app.root: missing; add it, for example: root: guestbook\n" },
    { "an app without root",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\" }\n"),
      "site.yaml:2:6: app.root: missing; add it, for example: root: guestbook\n" },
    { "a file as WSGI",
      T("site: a.example.com\n"
        "app: { wsgi: app.py, root: r }\n"),
      "site.yaml:2:14: app.wsgi: 'app.py' names a file; write \"MODULE:CALLABLE\", like "
      "\"guestbook:app\" for `app` in guestbook.py\n" },
    { "no callable",
      T("site: a.example.com\n"
        "app: { wsgi: guestbook, root: r }\n"),
      "site.yaml:2:14: app.wsgi: 'guestbook' is not MODULE:CALLABLE; write it like "
      "\"guestbook:app\" for `app` in guestbook.py\n" },
    { "an empty callable",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:\", root: r }\n"),
      "site.yaml:2:14: app.wsgi: 'a:' is not MODULE:CALLABLE; write it like \"guestbook:app\" for "
      "`app` in guestbook.py\n" },
    { "two kinds of app in one",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", asgi: \"a:b\", root: r }\n"),
      "site.yaml:2:21: app: wsgi and asgi exclude each other; write two apps (apps:) or remove "
      "one\n" },
    { "a key of another kind of app",
      T("site: a.example.com\n"
        "app: { asgi: \"a:b\", root: r, threads: 4 }\n"),
      "site.yaml:2:30: app.threads: says nothing to an application of kind asgi; remove it\n" },
    { "a command with an open quote",
      T("site: a.example.com\n"
        "app: { command: \"node 'a b\", root: r }\n"),
      "site.yaml:2:17: app.command: a quote is not closed\n" },
    { "PHP settings",
      T("site: a.example.com\n"
        "app: { php: p, settings: { a b: 1, memory_limit: 1M } }\n"),
      "site.yaml:2:28: app.settings.a b: is not the name of a php.ini directive, like "
      "memory_limit\n" },
    { "a mount without slash",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, mount: blog/ }\n"),
      "site.yaml:2:37: app.mount: 'blog/' must start with '/' and not end with it, like /blog; "
      "remove the key for the root\n" },
    { "a ready path without slash",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, ready: healthz }\n"),
      "site.yaml:2:37: app.ready: 'healthz' must start with '/'\n" },
    { "a reserved variable",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, environment: { TRILITH_X: 1 } }\n"),
      "site.yaml:2:45: app.environment.TRILITH_X: is reserved for Trilith; use another name\n" },
    { "a bad variable",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, environment: { \"A B\": 1 } }\n"),
      "site.yaml:2:45: app.environment.A B: is not a variable's name; use letters, digits and "
      "'_'\n" },
    { "DATABASE_URL twice",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, environment: { DATABASE_URL: x } }\n"
        "database: { name: a }\n"),
      "site.yaml:2:45: app.environment.DATABASE_URL: is set by Trilith from database:; remove one "
      "of them\n" },
    { "a list as a variable",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, environment: { A: [1] } }\n"),
      "site.yaml:2:48: app.environment.A: a list is not allowed here; must be a text or { file: "
      "PATH }\n" },
    { "a variable's file misspelt",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r, environment: { A: { fiel: x } } }\n"),
      "site.yaml:2:48: app.environment.A.file: missing; add it, for example: file: secret.txt\n"
      "site.yaml:2:50: app.environment.A.fiel: unknown key, did you mean 'file'?\n" },
    { "two apps without routes",
      T("site: a.example.com\n"
        "apps: { one: { wsgi: \"a:b\", root: r }, two: { wsgi: \"a:b\", root: r } }\n"),
      "site.yaml:2:14: apps.one: nothing leads to this app; add a route: - { path: /PATH, app: one "
      "}\n"
      "site.yaml:2:45: apps.two: nothing leads to this app; add a route: - { path: /PATH, app: two "
      "}\n" },
    { "an app's bad name",
      T("site: a.example.com\n"
        "apps: { \"a b\": { wsgi: \"a:b\", root: r } }\n"),
      "site.yaml:2:9: apps.a b: an app's name may hold only letters, digits, '-' and '_'\n" },
    { "the name app twice",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "apps: { app: { wsgi: \"a:b\", root: r } }\n"),
      "site.yaml:3:9: apps.app: the name 'app' is taken by the section app:; use another name\n" },
    { "an app behind a folder",
      T("site: a.example.com\n"
        "web: { static: { /: files } }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:3:6: app: nothing leads to this app: line 2 answers '/'; add a route for the "
      "app\n" },
    { "a route to no app",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "routes: [ { path: /x, app: ap } ]\n"),
      "site.yaml:3:28: routes[0].app: there is no app 'ap', did you mean 'app'?\n" },
    { "a route without apps",
      T("site: a.example.com\n"
        "routes: [ { path: /x, app: shop } ]\n"),
      "site.yaml:2:28: routes[0].app: there is no app 'shop'; this file has no app: and no "
      "apps:\n" },
    { "a route that does nothing",
      T("site: a.example.com\n"
        "routes: [ { path: /x } ]\n"),
      "site.yaml:2:11: routes[0]: this route does nothing; add one of: app, static, redirect, "
      "upstream, respond\n" },
    { "a route that does two things",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "routes: [ { path: /x, app: app, redirect: /y } ]\n"),
      "site.yaml:3:43: routes[0].redirect: this route has 'app' already; one route does one "
      "thing\n" },
    { "a route's path without slash",
      T("site: a.example.com\n"
        "routes: [ { path: x, respond: y } ]\n"),
      "site.yaml:2:19: routes[0].path: 'x' must start with '/'\n" },
    { "a route's path with a star",
      T("site: a.example.com\n"
        "routes: [ { path: \"/x/*\", respond: y } ]\n"),
      "site.yaml:2:19: routes[0].path: '/x/*' holds '*'; a path matches all that is below it "
      "already\n" },
    { "an option of another action",
      T("site: a.example.com\n"
        "routes: [ { path: /x, respond: y, listing: yes } ]\n"),
      "site.yaml:2:44: routes[0].listing: has no effect here; it belongs to static\n" },
    { "a bad method",
      T("site: a.example.com\n"
        "routes: [ { method: get, respond: y } ]\n"),
      "site.yaml:2:21: routes[0].method: 'get' is not a method, did you mean 'GET'?\n" },
    { "a bad status of a redirect",
      T("site: a.example.com\n"
        "routes: [ { redirect: https://b.c/, status: 200 } ]\n"),
      "site.yaml:2:45: routes[0].status: 200 is not a redirect; allowed: 301, 302, 303, 307, "
      "308\n" },
    { "a redirect to nowhere",
      T("site: a.example.com\n"
        "routes: [ { path: /x, redirect: b.c } ]\n"),
      "site.yaml:2:33: routes[0].redirect: 'b.c' is not a target; write a path (/new/) or a URL "
      "(https://example.com/)\n" },
    { "a redirect to itself",
      T("site: a.example.com\n"
        "routes: [ { path: /old, redirect: /old/new } ]\n"),
      "site.yaml:2:11: routes: '/old' redirects to itself: '/old/new' is matched by the same route "
      "again; name a target outside of it\n" },
    { "a redirect of all to itself",
      T("site: a.example.com\n"
        "routes: [ { redirect: http://A.example.com/x } ]\n"),
      "site.yaml:2:11: routes: '/' redirects to itself: 'http://A.example.com/x' is matched by the "
      "same route again; name a target outside of it\n" },
    { "a dead route",
      T("site: a.example.com\n"
        "routes:\n"
        "  - { path: /a, respond: x }\n"
        "  - { path: /a/, method: GET, respond: y }\n"),
      "site.yaml:4:5: routes: '/a/' is never reached: line 3 takes all of its requests; remove one "
      "of them\n" },
    { "protocols of upstreams with mistakes",
      T("site: a.example.com\n"
        "upstreams:\n"
        "  clear: { to: 'http://192.0.2.1', protocol: h2 }\n"
        "  secret: { to: 'https://192.0.2.1', protocol: h2c }\n"
        "  proxied: { to: 'http://192.0.2.2', protocol: h2c, proxy-protocol: v1 }\n"
        "  other: { to: 'http://192.0.2.2', protocol: h3 }\n"
        "  fine: { to: 'http://192.0.2.2', protocol: h2c }\n"
        "routes: [ { upstream: clear } ]\n"),
      "site.yaml:3:46: upstreams.clear.protocol: h2 needs TLS: https:// in `to:`, or for the "
      "site's own servers `tls: { inside: mutual }`; without TLS write h2c\n"
      "site.yaml:4:48: upstreams.secret.protocol: these servers are spoken to by TLS; write h2\n"
      "site.yaml:5:48: upstreams.proxied.protocol: many clients share a connection of HTTP/2, "
      "which a PROXY header cannot tell of; leave out `proxy-protocol`\n"
      "site.yaml:6:46: upstreams.other.protocol: 'h3' is not known, did you mean 'h2'? "
      "allowed: http1 h2c h2\n" },
    { "upstreams with TLS with mistakes",
      T("site: a.example.com\n"
        "upstreams:\n"
        "  mixed: { to: ['https://192.0.2.1', 'http://192.0.2.2'] }\n"
        "  plain: { to: 'http://192.0.2.1', authorities: ca.pem }\n"
        "  local: { to: 'https://unix:/run/other.sock' }\n"
        "routes: [ { upstream: mixed } ]\n"),
      "site.yaml:3:38: upstreams.mixed.to[1]: 'http://192.0.2.2' and the first one differ: all of "
      "a "
      "list are https://, or none is\n"
      "site.yaml:4:49: upstreams.plain.authorities: there is nobody to show a certificate: write "
      "`to:` with https://\n"
      "site.yaml:5:16: upstreams.local.to: 'https://unix:/run/other.sock' has no name that a "
      "certificate could be for; example: http://127.0.0.1:9000 or http://unix:/run/other.sock\n" },
    { "an upstream's name that is none",
      T("site: a.example.com\n"
        "routes: [ { upstream: 'http://back end:80' } ]\n"),
      "site.yaml:2:23: routes[0].upstream: 'http://back end:80' may hold only letters, digits, '-' "
      "and '.'; example: http://127.0.0.1:9000 or http://unix:/run/other.sock\n" },
    { "an upstream with a path",
      T("site: a.example.com\n"
        "routes: [ { upstream: 'http://192.0.2.1/x' } ]\n"),
      "site.yaml:2:23: routes[0].upstream: 'http://192.0.2.1/x' has a path; write only "
      "http://HOST:PORT, the request's path is passed on; example: http://127.0.0.1:9000 or "
      "http://unix:/run/other.sock\n" },
    { "a header that is ours",
      T("site: a.example.com\n"
        "routes: [ { respond: x, headers: { Content-Length: 1 } } ]\n"),
      "site.yaml:2:36: routes[0].headers.Content-Length: this header is set by the server itself; "
      "remove it\n" },
    { "a bad cache",
      T("site: a.example.com\n"
        "routes: [ { respond: x, cache: forever } ]\n"),
      "site.yaml:2:32: routes[0].cache: 'forever' is not allowed; write a duration like 1h, `no`, "
      "or a Cache-Control value like \"private, max-age=60\"\n" },
    { "an error page for 200",
      T("site: a.example.com\n"
        "web: { errors: { 200: ok.html } }\n"
        "app: { wsgi: \"a:b\", root: r }\n"),
      "site.yaml:2:18: web.errors.200: '200' is not the status of an error; allowed: 400 to "
      "599\n" },
    { "a bad database name",
      T("site: a.example.com\n"
        "database: { name: a-b }\n"),
      "site.yaml:2:19: database.name: 'a-b' cannot name a database; use up to 64 letters, digits "
      "and '_', a letter first\n" },
    { "MariaDB's own database",
      T("site: a.example.com\n"
        "database: { name: mysql }\n"),
      "site.yaml:2:19: database.name: 'mysql' is MariaDB's own database; use another name\n" },
    { "a database without name",
      T("site: a.example.com\n"
        "database:\n"),
      "site.yaml:2:10: database.name: missing; add it, for example: name: guestbook\n" },
    { "on without servers",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "database: { name: a, on: db-01 }\n"),
      "site.yaml:3:26: database.on: this file has no servers:, so everything runs here; remove "
      "`on`, or add servers: with names and addresses\n" },
    { "an unknown server",
      T("site: a.b\n"
        "servers: { web-01: 192.0.2.1 }\n"
        "dns: { on: web-1 }\n"),
      "site.yaml:3:12: dns.on: there is no server 'web-1' in servers:, did you mean 'web-01'?\n" },
    { "a server twice in on",
      T("site: a.b\n"
        "servers: { a: 192.0.2.1, b: 192.0.2.2 }\n"
        "dns: { on: [a, a] }\n"),
      "site.yaml:3:16: dns.on[1]: 'a' is in this list already\n" },
    { "a server without address",
      T("site: a.b\n"
        "servers: { a: }\n"
        "dns: {}\n"),
      "site.yaml:2:15: servers.a: the value is empty; write one, or remove the key if it is not "
      "needed\n" },
    { "a server's name as address",
      T("site: a.b\n"
        "servers: { a: b.c }\n"
        "dns: {}\n"),
      "site.yaml:2:15: servers.a: 'b.c' is not an IP address; write one like 192.0.2.1 or "
      "2001:db8::1\n" },
    { "two servers with one address",
      T("site: a.b\n"
        "servers: { a: 192.0.2.1, b: 192.0.2.1 }\n"
        "dns: {}\n"),
      "site.yaml:2:29: servers.b: '192.0.2.1' is the address of server 'a' already; each server "
      "needs its own\n" },
    { "a server's bad name",
      T("site: a.b\n"
        "servers: { a.b: 192.0.2.1 }\n"
        "dns: {}\n"),
      "site.yaml:2:12: servers.a.b: a server's name is one word of letters, digits and '-', like "
      "web-01\n" },
    { "no servers",
      T("site: a.b\n"
        "servers: {}\n"
        "dns: {}\n"),
      "site.yaml:2:10: servers: no server is named; add one like web-01: 192.0.2.1, or remove "
      "servers: to run on this machine\n" },
    { "an A record that is none",
      T("site: a.example.com\n"
        "dns: { records: [ { name: x, type: A, value: 1.2.3 } ] }\n"),
      "site.yaml:2:46: dns.records[0].value: '1.2.3' is not an IPv4 address; write one like "
      "192.0.2.1\n" },
    { "a small type",
      T("site: a.example.com\n"
        "dns: { records: [ { name: x, type: a, value: 192.0.2.1 } ] }\n"),
      "site.yaml:2:36: dns.records[0].type: 'a' is not a record type, did you mean 'A'?\n" },
    { "an MX without priority",
      T("site: a.example.com\n"
        "dns: { records: [ { name: \"@\", type: MX, value: mail.b.c } ] }\n"),
      "site.yaml:2:49: dns.records[0].value: 'mail.b.c' is not PRIORITY HOST; write it like \"10 "
      "mail.example.com\"\n" },
    { "a CNAME beside the site's own",
      T("site: a.example.com\n"
        "dns: { records: [ { name: a, type: CNAME, value: b.c } ] }\n"),
      "site.yaml:2:19: dns.records[0]: 'a' has other records; a CNAME must be the only record of "
      "its name\n" },
    { "a record twice",
      T("site: a.example.com\n"
        "dns:\n"
        "  records:\n"
        "    - { name: x, type: TXT, value: y }\n"
        "    - { name: x, type: TXT, value: y }\n"),
      "site.yaml:5:7: dns.records[1]: the same record stands on line 4 already; remove one\n" },
    { "a record without value",
      T("site: a.example.com\n"
        "dns: { records: [ { name: x, type: TXT } ] }\n"),
      "site.yaml:2:19: dns.records[0].value: missing; add it, for example: value: \"v=spf1 "
      "-all\"\n" },
    { "a firewall that could lock out its owner",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "firewall: {}\n"),
      "site.yaml:3:11: firewall.admin: is missing: say from where ssh may come, like admin: "
      "[192.0.2.0/24], or any, or none; without it the firewall could lock you out\n" },
    { "a firewall with mistakes",
      T("site: a.example.com\n"
        "app: { wsgi: \"a:b\", root: r }\n"
        "firewall: { admin: home, mode: on, incoming: { port: 1 }, outgoing: [{ port: 1 }], "
        "limits: { new: 0 } }\n"),
      "site.yaml:3:20: firewall.admin: 'home' is not a network; write one like 192.0.2.0/24 or "
      "2001:db8::/32\n"
      "site.yaml:3:32: firewall.mode: 'on' is not known; allowed: enforce audit\n"
      "site.yaml:3:46: firewall.incoming: a map of keys is not allowed here; must be a list of "
      "ways, like [{ from: 192.0.2.0/24, port: 9100 }]\n"
      "site.yaml:3:70: firewall.outgoing[0].to: missing; add it, for example: to: 192.0.2.0/24\n"
      "site.yaml:3:99: firewall.limits.new: '0' is too small; allowed: 1 to 1000000\n" },
    { "TLS with mistakes",
      T("site: www.foobar.com\n"
        "listen: { http: 8443, https: 8443 }\n"
        "web: {}\n"
        "routes: [ { path: /, respond: 200 } ]\n"
        "tls: { certificate: [ {} ], redirect: no, hsts: 1y }\n"),
      "site.yaml:2:30: listen.https: port 8443 is the port of http already; they need two ports\n"
      "site.yaml:5:23: tls.certificate[0].chain: missing; add it, for example: chain: "
      "tls/fullchain.pem\n"
      "site.yaml:5:23: tls.certificate[0].key: missing; add it, for example: key: tls/privkey.pem\n"
      "site.yaml:5:49: tls.hsts: needs `redirect: yes`: browsers that were told so never come "
      "without encryption, others should not either\n" },
    { "HTTPS without TLS",
      T("site: www.foobar.com\n"
        "listen: { https: 8443 }\n"
        "web: { static: { /: a } }\n"),
      "site.yaml:2:18: listen.https: needs `tls:`, which says what certificate to use\n" },
    { "encryption between servers with mistakes",
      T("site: www.foobar.com\n"
        "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11 }\n"
        "listen: { https: 5310 }\n"
        "balancer: { on: lb-01, proxy-protocol: v2 }\n"
        "web: { on: web-01, static: { /: a } }\n"
        "tls: { certificate: local, inside: tls }\n"),
      "site.yaml:3:9: listen.inside: port 5310 is the port of https already; they need two ports\n"
      "site.yaml:6:36: tls.inside: 'tls' is not known; allowed: off mutual\n" },
    { "a PROXY header in front of encryption",
      T("site: www.foobar.com\n"
        "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11 }\n"
        "balancer: { on: lb-01, proxy-protocol: v2 }\n"
        "web: { on: web-01, static: { /: a } }\n"
        "tls: { certificate: local, inside: mutual }\n"),
      "site.yaml:3:40: balancer.proxy-protocol: does not go with `tls: { inside: mutual }`: leave "
      "it out, the web servers learn the client's address from the request\n" },
    { "TLS of nothing",
      T("site: www.foobar.com\n"
        "dns: {}\n"
        "tls: { certificate: yes }\n"),
      "site.yaml:3:6: tls: there is nothing to encrypt: add web: or balancer:\n"
      "site.yaml:3:21: tls.certificate: 'yes' is not allowed here; must be local, acme, or the "
      "files of one, like { chain: site.pem, key: site.key }, or a list of these\n" },
    { "ACME with mistakes",
      T("site: www.foobar.com\n"
        "web: { static: { /: a } }\n"
        "tls: { certificate: acme, acme: { directory: \"http://ca\", email: me, challenge: dns-01, "
        "ca-file: nowhere.pem } }\n"),
      "site.yaml:3:46: tls.acme.directory: must be the URL of an ACME directory, like "
      "https://acme-v02.api.letsencrypt.org/directory\n"
      "site.yaml:3:66: tls.acme.email: must be a mail address, like admin@example.com\n"
      "site.yaml:3:81: tls.acme.challenge: 'dns-01' is not known; allowed: http-01 "
      "tls-alpn-01\n" },
    { "ACME that is not used",
      T("site: www.foobar.com\n"
        "web: { static: { /: a } }\n"
        "tls: { certificate: local, acme: {} }\n"),
      "site.yaml:3:34: tls.acme: is used with `certificate: acme` only\n" },
    { "the secured site",
      T("site: www.foobar.com\n"
        "servers: { web-01: 198.51.100.11 }\n"
        "app:      { wsgi: \"guestbook:app\", root: guestbook }\n"
        "tls:      { certificate: local, inside: mutual, hsts: 1y }\n"
        "firewall: { admin: [192.0.2.0/24] }\n"
        "monitor:  { on: web-01, scrape: 192.0.2.1/24 }\n"),
      "site.yaml:6:33: monitor.scrape: '192.0.2.1/24' has bits behind its prefix that are not "
      "zero; "
      "write one like 192.0.2.0/24 or 2001:db8::/32\n" },
};

TEST(site_mistakes_of_values)
{
    check_broken_sites(cases, COUNT(cases));
}
