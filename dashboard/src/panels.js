/*
 * Which charts there are: rate, errors and duration for each tier, then use, saturation and errors
 * of each server. The only place of the page that knows the names of series (docs/guide/monitoring).
 * A chart whose series nobody has is left out.
 */
import { format } from "./format.js";

const BLUE = "--c1", TEAL = "--c2", AMBER = "--c3", RED = "--c4", VIOLET = "--c5", GREY = "--c6";

/* fn: as data.js has them; servers: whose values are put together. */
const line = (label, colour, fn, servers, series, more = {}) => ({ label, colour, fn, servers, series, ...more });

function httpCharts(servers) {
  return [
    {
      title: "Rate", format: format.rate, isStacked: true,
      lines: [
        line("5xx", RED, "sum", servers, "http.5xx"), line("4xx", AMBER, "sum", servers, "http.4xx"),
        line("3xx", VIOLET, "sum", servers, "http.3xx"), line("2xx", BLUE, "sum", servers, "http.2xx"),
      ],
    },
    {
      title: "Errors", format: format.rate, least: 1,
      lines: [
        line("5xx", RED, "sum", servers, "http.5xx", { isFilled: true }),
        line("gone", GREY, "sum", servers, "http.aborts"),
        line("limited", AMBER, "sum", servers, "http.rate_limited"),
      ],
    },
    latencyChart(servers, "http.latency"),
  ];
}

function latencyChart(servers, series, title = "Duration") {
  return {
    title, format: format.us, heat: line("heat", BLUE, "heat", servers, series),
    lines: [
      line("p50", BLUE, "p50", servers, series),
      line("p99", VIOLET, "p99", servers, series),
      line("p99.9", RED, "p999", servers, series, { width: 1 }),
    ],
  };
}

function appCharts(servers, app) {
  const name = (what) => `app/${app}/${what}`;
  return [
    {
      title: `Rate`, format: format.rate, least: 1,
      lines: [line("requests", BLUE, "sum", servers, name("requests"), { isFilled: true })],
    },
    {
      title: `Errors and queue`, format: format.count, least: 1,
      lines: [
        line("exceptions/s", RED, "sum", servers, name("exceptions"), { isFilled: true }),
        line("refused/s", AMBER, "sum", servers, name("refused")),
        line("waiting", GREY, "sum", servers, name("queue")),
        line("busy", TEAL, "sum", servers, name("busy")),
      ],
    },
    latencyChart(servers, name("work"), "Duration"),
  ];
}

function databaseCharts(servers) {
  return [
    {
      title: "Queries", format: format.rate, least: 1,
      lines: servers.map((server, i) => line(server, [BLUE, TEAL, VIOLET, AMBER][i % 4], "sum", [server], "db.queries")),
    },
    {
      title: "Replication lag", format: format.ms, least: 1000,
      lines: servers.map((server, i) => line(server, [BLUE, TEAL, VIOLET, AMBER][i % 4], "max", [server], `backend/database/${server}/lag_ms`)),
    },
    {
      title: "Connections", format: format.count, least: 4,
      lines: servers.map((server, i) => line(server, [BLUE, TEAL, VIOLET, AMBER][i % 4], "sum", [server], "db.threads")),
    },
  ];
}

function dnsCharts(servers) {
  return [{
    title: "Queries", format: format.rate, least: 1,
    lines: [
      line("answered", BLUE, "sum", servers, "dns.queries", { isFilled: true }),
      line("refused", RED, "sum", servers, "dns.refused"),
    ],
  }];
}

/* Of each device: what is read and written. */
function diskLines(now, server) {
  const devices = now.matching(server, "disk/").filter((name) => name.endsWith("/read")).map((name) => name.slice(5, -5));
  const colours = [[TEAL, VIOLET], [BLUE, RED], [AMBER, GREY]];
  return devices.slice(0, colours.length).flatMap((device, i) => [
    line(devices.length > 1 ? `${device} read` : "read", colours[i][0], "sum", [server], `disk/${device}/read`),
    line(devices.length > 1 ? `${device} written` : "written", colours[i][1], "sum", [server], `disk/${device}/write`),
  ]);
}

export function serverCharts(now, server) {
  const on = [server];
  return [
    {
      title: "Processor", format: format.percent, isStacked: true, top: 100,
      lines: [
        line("steal", RED, "sum", on, "cpu.steal"), line("io wait", AMBER, "sum", on, "cpu.iowait"),
        line("system", VIOLET, "sum", on, "cpu.system"), line("user", BLUE, "sum", on, "cpu.user"),
      ],
    },
    {
      title: "Memory", format: format.bytes, isBinary: true,
      lines: [
        line("used", BLUE, "sum", on, "memory.used", { isFilled: true }),
        line("total", GREY, "sum", on, "memory.total", { width: 1 }),
      ],
    },
    {
      title: "Disk", format: format.byteRate, isBinary: true, least: 4096,
      lines: diskLines(now, server),
    },
    {
      title: "Network", format: format.byteRate, isBinary: true, least: 4096,
      lines: [line("sent", BLUE, "sum", on, "net.tx"), line("received", TEAL, "sum", on, "net.rx")],
    },
    {
      title: "Pressure", format: format.percent, top: 10,
      lines: [
        line("processor", BLUE, "sum", on, "psi.cpu"), line("disk", AMBER, "sum", on, "psi.io"),
        line("memory", RED, "sum", on, "psi.memory"),
      ],
    },
  ];
}

const TIER_TITLES = { balancer: "Balancer", web: "Web", app: "Application", database: "Database", dns: "DNS" };

/* [{ id, title, servers, charts }] of the tiers that the site has, in the order of a request. */
export function tiers(site) {
  const out = [];
  const on = (role) => site.servers.filter((server) => server.roles.includes(role)).map((server) => server.name);
  for (const tier of ["balancer", "web"]) {
    const servers = on(tier);
    if (servers.length > 0) out.push({ id: tier, title: TIER_TITLES[tier], servers, charts: httpCharts(servers) });
  }
  for (const app of site.apps ?? []) {
    const title = site.apps.length > 1 ? `Application ${app.name}` : TIER_TITLES.app;
    out.push({ id: `app/${app.name}`, title, servers: app.servers, charts: appCharts(app.servers, app.name) });
  }
  const databases = on("database");
  if (databases.length > 0)
    out.push({ id: "database", title: TIER_TITLES.database, servers: databases, charts: databaseCharts(databases) });
  const names = on("dns");
  if (names.length > 0) out.push({ id: "dns", title: TIER_TITLES.dns, servers: names, charts: dnsCharts(names) });
  return out;
}

/* The few figures of a server's head, worked out from the newest second. */
export function serverFigures(now, server) {
  const value = (series) => now.value(server, series);
  const part = (used, total) => (used == null || !total ? null : (100 * used) / total);
  const sum = (...names) => {
    const known = names.map(value).filter((v) => v != null);
    return known.length > 0 ? known.reduce((a, b) => a + b, 0) : null;
  };
  const free = value("disk.free"), total = value("disk.total");
  return {
    cpu: sum("cpu.user", "cpu.system", "cpu.steal"),
    memory: part(value("memory.used"), value("memory.total")),
    disk: free == null ? null : part(total - free, total),
    traffic: sum("net.tx", "net.rx"),
  };
}

/* Rate, share of errors and slowest percent of a tier in the newest second. */
export function tierFigures(now, tier) {
  const ask = (fn, series) => now.line({ fn, servers: tier.servers, series });
  if (tier.id === "database")
    return { rate: ask("sum", "db.queries"), errors: null, slow: null };
  if (tier.id === "dns") return { rate: ask("sum", "dns.queries"), errors: share(ask("sum", "dns.refused"), ask("sum", "dns.queries")), slow: null };
  const [requests, failures, latency] = tier.id.startsWith("app/")
    ? [`${tier.id}/requests`, `${tier.id}/exceptions`, `${tier.id}/work`]
    : ["http.requests", "http.5xx", "http.latency"];
  const rate = ask("sum", requests);
  return { rate, errors: share(ask("sum", failures), rate), slow: ask("p99", latency) };
}

function share(part, whole) {
  if (part == null || whole == null) return null;
  return whole > 0 ? (100 * part) / whole : 0;
}

/* The processes of a server in the newest second, busiest first. */
export function processes(now, server) {
  const names = new Set(now.matching(server, "process/").map((name) => name.slice(8, name.lastIndexOf("/"))));
  const rows = [...names].map((name) => ({
    name,
    cpu: now.value(server, `process/${name}/cpu`),
    memory: now.value(server, `process/${name}/memory`),
    restarts: now.value(server, `process/${name}/restarts`),
    isUp: now.value(server, `process/${name}/up`) !== 0,
  }));
  return rows.sort((a, b) => (b.cpu ?? 0) - (a.cpu ?? 0) || a.name.localeCompare(b.name));
}

