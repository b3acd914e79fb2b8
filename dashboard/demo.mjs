/*
 * The page with invented figures, for who works on it: node demo.mjs [PORT] [small|large], then open
 * http://127.0.0.1:PORT/. "/break" takes web-02 away, "/mend" gives it back.
 */
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";

const port = Number(process.argv[2] ?? 5341);
const SMALL = [
  ["lb-01", ["balancer", "dns", "monitor"]],
  ["web-01", ["web", "app", "database"]],
  ["web-02", ["web", "app", "database"]],
];
const LARGE = [
  ["lb-01", ["balancer", "dns"]], ["lb-02", ["balancer", "dns"]], ["web-01", ["web"]], ["web-02", ["web"]],
  ["app-01", ["app"]], ["app-02", ["app"]], ["db-01", ["database"]], ["db-02", ["database"]], ["db-03", ["database"]],
  ["mon-01", ["monitor"]],
];
const servers = (process.argv[3] === "large" ? LARGE : SMALL)
  .map(([name, roles], i) => ({ name, roles, address: `198.51.100.${10 + i}` }));
const on = (role) => servers.filter((s) => s.roles.includes(role)).map((s) => s.name);
const site = {
  site: "www.foobar.com", version: "0.1.0", generation: 3, monitor: on("monitor")[0], servers,
  apps: [{ name: "app", servers: on("app") }], primary: on("database")[0],
};
const broken = new Set();

/* A wave that is the same at every look: value(t) around 1. */
const wave = (t, seed, swing = 0.25) =>
  1 + swing * Math.sin(t / 97 + seed) + 0.5 * swing * Math.sin(t / 13 + 2 * seed) + 0.35 * swing * Math.sin(t * 1.7 + seed * 3);

function seriesOf({ name, roles }, i) {
  const out = {
    "cpu.user": (t) => 14 * wave(t, i), "cpu.system": (t) => 6 * wave(t, i + 3), "cpu.iowait": (t) => Math.max(0, 3 * wave(t, i + 5, 1) - 2),
    "cpu.steal": () => 0, "memory.total": () => 4 * 2 ** 30, "memory.used": (t) => (1.4 + i * 0.2) * 2 ** 30 * wave(t, i, 0.04),
    "disk.total": () => 40 * 2 ** 30, "disk.free": () => 31 * 2 ** 30, "disk/vda/read": (t) => 40e3 * Math.max(0, wave(t, i, 1.2)),
    "disk/vda/write": (t) => 600e3 * wave(t, i + 9, 0.7), "net.rx": (t) => 1.1e6 * wave(t, i), "net.tx": (t) => 3.2e6 * wave(t, i + 1),
    "psi.cpu": (t) => 1.2 * wave(t, i, 0.9), "psi.io": (t) => 0.6 * wave(t, i, 0.9), "psi.memory": () => 0,
    "process/edge/0/cpu": (t) => 18 * wave(t, i), "process/edge/0/memory": () => 14e6, "process/edge/0/restarts": () => 0, "process/edge/0/up": () => 1,
    "process/agent/cpu": () => 0.1, "process/agent/memory": () => 6e6, "process/agent/restarts": () => 0, "process/agent/up": () => 1,
  };
  const http = (rate) => Object.assign(out, {
    "http.requests": (t) => rate * wave(t, i), "http.2xx": (t) => 0.93 * rate * wave(t, i), "http.3xx": (t) => 0.04 * rate * wave(t, i),
    "http.4xx": (t) => 0.03 * rate * wave(t, i + 2), "http.5xx": (t) => (Math.floor(t / 60) % 7 === 0 ? 3 * wave(t, 1, 1) : 0),
    "http.aborts": (t) => Math.max(0, wave(t, 3, 1.5) - 1), "http.latency": { mean: 2200 },
  });
  if (roles.includes("balancer")) {
    http(420);
    on("web").forEach((to, k) => Object.assign(out, {
      [`backend/web/${to}/state`]: () => (broken.has(to) ? 2 : 1), [`backend/web/${to}/requests`]: (t) => (broken.has(to) ? 0 : 210 * wave(t, k)),
      [`backend/web/${to}/errors`]: () => 0,
    }));
  }
  if (roles.includes("dns")) Object.assign(out, { "dns.queries": (t) => 35 * wave(t, i), "dns.refused": () => 0.2 });
  if (roles.includes("web")) {
    http(210);
    if (!roles.includes("app"))
      on("app").forEach((to, k) => Object.assign(out, { [`backend/app/app/${to}/state`]: () => 1, [`backend/app/app/${to}/requests`]: (t) => 90 * wave(t, k), [`backend/app/app/${to}/errors`]: () => 0 }));
  }
  if (roles.includes("app")) Object.assign(out, {
    "app/app/requests": (t) => 160 * wave(t, i), "app/app/exceptions": (t) => (wave(t, 4, 1) > 1.6 ? 1 : 0), "app/app/refused": () => 0,
    "app/app/queue": (t) => Math.max(0, Math.round(3 * wave(t, i, 1) - 2)), "app/app/busy": (t) => 1.5 * wave(t, i), "app/app/work": { mean: 6100 },
  });
  if (roles.includes("database")) {
    Object.assign(out, { "db.queries": (t) => (i === 1 ? 720 : 310) * wave(t, i), "db.threads": (t) => Math.round(14 * wave(t, i)) });
    on("database").forEach((to) => Object.assign(out, {
      [`backend/database/${to}/state`]: () => (broken.has(to) ? 2 : 1), [`backend/database/${to}/role`]: () => (to === site.primary ? 1 : 2),
      [`backend/database/${to}/lag_ms`]: (t) => (to === site.primary ? 0 : Math.max(0, 60 * wave(t, 2, 1.4))),
    }));
  }
  return out;
}
const all = new Map(servers.map((server, i) => [server.name, seriesOf(server, i)]));

function bucketOf(us) {
  if (us < 16) return Math.floor(us);
  const power = Math.floor(Math.log2(us));
  return (power - 3) * 16 + Math.floor(us / 2 ** (power - 4)) % 16;
}

/* A few dozen latencies of a second, some of them slow. */
function buckets(mean, t, seed) {
  const counts = new Map();
  for (let k = 0; k < 60; k++) {
    const noise = Math.sin(t * 12.9898 + k * 78.233 + seed) * 43758.5453;
    const u = noise - Math.floor(noise);
    const us = mean * Math.exp(1.1 * (u - 0.5) * 2) * (k % 30 === 0 ? 6 : 1) * wave(t, seed, 0.2);
    const bucket = bucketOf(us);
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

const started = Date.now() / 1000;
const isThere = (name, t) => !(broken.has(name) && t > brokenAt) && !(t < started - 5200 && t > started - 5500);
let brokenAt = 0;

function lineValue(fn, names, series, t, step) {
  const present = names.filter((name) => isThere(name, t) && all.get(name)?.[series]);
  if (present.length === 0) return null;
  if (/^(p\d+|heat)$/.test(fn)) {
    const merged = present.flatMap((name, i) => buckets(all.get(name)[series].mean, Math.floor(t), i));
    if (fn === "heat") {
      const rows = new Map();
      for (const [b, c] of merged) rows.set(b >> 2, (rows.get(b >> 2) ?? 0) + c);
      return [...rows];
    }
    merged.sort((a, b) => a[0] - b[0]);
    const percent = fn === "p999" ? 99.9 : Number(fn.slice(1));
    let left = (merged.reduce((a, [, c]) => a + c, 0) * percent) / 100;
    for (const [b, c] of merged) if ((left -= c) <= 0) return b < 16 ? b : (16 + (b % 16) + 0.5) * 2 ** (Math.floor(b / 16) - 1);
    return null;
  }
  const values = present.map((name) => all.get(name)[series](t));
  return fn === "max" ? Math.max(...values) : values.reduce((a, b) => a + b, 0) / (fn === "avg" ? values.length : 1);
}

function range(query) {
  const [from, to, points] = ["from", "to", "points"].map((name) => Number(query.get(name)));
  const step = (to - from) / points;
  const lines = query.getAll("q").map((q) => {
    const [, fn, names, series] = /^(\w+):([^:]*):(.*)$/.exec(q);
    return Array.from({ length: points }, (_, i) => lineValue(fn, names.split(","), series, from + (i + 0.5) * step, step));
  });
  return { from, step, lines };
}

function events(from, to) {
  const out = [];
  for (let t = Math.ceil(from / 140) * 140; t < to; t += Math.max(140, Math.ceil((to - from) / 12 / 140) * 140)) {
    const kinds = [["reload", "lb-01", "info", "generation 3 is live"], ["alert", "web-02", "warning", "web-02: 92 % of the disk is used"], ["switchover", "web-01", "info", "web-01 is the primary"]];
    const [kind, server, severity, text] = kinds[(t / 140) % 3];
    out.push({ time: t, kind, server, severity, text });
  }
  return { events: out };
}

function alerts() {
  if (broken.size === 0) return { alerts: [] };
  const since = brokenAt;
  return { alerts: [
    { id: "1", severity: "critical", state: "firing", server: "web-02", text: "web-02 is silent", since },
    { id: "2", severity: "error", state: "firing", server: "lb-01", text: "web/web-02 is down", since, cause: "1" },
    { id: "3", severity: "warning", state: "firing", server: "web-02", text: "database: the replica web-02 does not replicate", since, cause: "1" },
  ] };
}

function now() {
  const time = Math.floor(Date.now() / 1000);
  const frames = {};
  for (const [name, series] of all) {
    const silent = !isThere(name, time);
    const list = Object.values(series);
    frames[name] = { age_ms: silent ? (time - brokenAt) * 1000 : 400, silent };
    if (silent) continue;
    frames[name].values = list.map((f) => (typeof f === "function" ? Number(f(time).toPrecision(4)) : 60));
    frames[name].buckets = Object.fromEntries(list.flatMap((f, i) => (typeof f === "function" ? [] : [[i, buckets(f.mean, time, 0)]])));
  }
  return { time, servers: frames };
}

function live(answer) {
  answer.writeHead(200, { "Content-Type": "text/event-stream" });
  const send = (name, data) => answer.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  send("site", site);
  for (const [server, series] of all) send("names", { server, names: Object.keys(series) });
  send("alerts", alerts());
  send("now", now());
  const timer = setInterval(() => { send("alerts", alerts()); send("now", now()); }, 1000);
  answer.on("close", () => clearInterval(timer));
}

const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'";

createServer(async (request, answer) => {
  const url = new URL(request.url, "http://x");
  const name = url.pathname.slice(1) || "index.html";
  const json = (data) => answer.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(data));
  if (name === "break" || name === "mend") {
    broken.clear();
    if (name === "break") { broken.add("web-02"); brokenAt = Date.now() / 1000; }
    return json([...broken]);
  }
  if (name === "api/site") return json(site);
  if (name === "api/alerts") return json(alerts());
  if (name === "api/events") return json(events(Number(url.searchParams.get("from")), Number(url.searchParams.get("to"))));
  if (name === "api/range") return json(range(url.searchParams));
  if (name === "api/live") return live(answer);
  try {
    const data = await readFile(new URL(`dist/${name}`, import.meta.url));
    answer.writeHead(200, { "Content-Type": TYPES[name.split(".").pop()], "Content-Security-Policy": CSP }).end(data);
  } catch {
    answer.writeHead(404).end();
  }
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/`));
