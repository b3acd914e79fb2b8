/*
 * What the page knows: the site, the newest second of every server, and series over time.
 *
 * A line of a chart is asked for as "FUNCTION:SERVERS:SERIES", for example
 * "sum:web-01,web-02:http.requests" or "p99:lb-01:http.latency". The same words are worked out here
 * for the live seconds and by the monitor for history, so both ends of a chart agree.
 */

const STEPS = 16; /* buckets per power of two, as in src/metrics/histogram.h */

/* The microseconds that stand for a bucket: its middle. */
export function bucketValue(bucket) {
  if (bucket < STEPS) return bucket;
  const width = 2 ** (Math.floor(bucket / STEPS) - 1);
  return (STEPS + (bucket % STEPS)) * width + width / 2;
}

/* Rows of the heat map are four buckets each: where one begins, in microseconds. */
export const ROW_BUCKETS = 4;
export function rowStart(row) {
  const bucket = row * ROW_BUCKETS;
  return bucket < STEPS ? bucket : (STEPS + (bucket % STEPS)) * 2 ** (Math.floor(bucket / STEPS) - 1);
}

/* Buckets added up into rows: [[row, count], ...]. */
export function rowsOf(buckets) {
  const rows = new Map();
  for (const [bucket, count] of buckets) {
    const row = Math.floor(bucket / ROW_BUCKETS);
    rows.set(row, (rows.get(row) ?? 0) + count);
  }
  return [...rows];
}

/* buckets: [[bucket, count], ...] of any number of histograms. */
export function percentile(buckets, percent) {
  const sorted = [...buckets].sort((a, b) => a[0] - b[0]);
  const total = sorted.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return null;
  let left = Math.max(1, Math.ceil((total * percent) / 100));
  for (const [bucket, count] of sorted) {
    left -= count;
    if (left <= 0) return bucketValue(bucket);
  }
  return bucketValue(sorted.at(-1)[0]);
}

const PERCENTILES = { p50: 50, p90: 90, p99: 99, p999: 99.9 };

/* The newest frame of each server. */
export class Now {
  constructor() {
    this.time = 0;
    this.servers = new Map();
  }

  /* Whether it has series that it did not have before. */
  names(message) {
    const before = this.servers.get(message.server);
    if (before && before.names.join() === message.names.join()) return false;
    const index = new Map(message.names.map((name, i) => [name, i]));
    this.servers.set(message.server, { index, names: message.names, values: [], buckets: {}, age: null, isSilent: true });
    return true;
  }

  take(message) {
    this.time = message.time;
    for (const [name, frame] of Object.entries(message.servers)) {
      const server = this.servers.get(name);
      if (!server) continue;
      server.age = frame.age_ms;
      server.isSilent = frame.silent;
      server.values = frame.values ?? [];
      server.buckets = frame.buckets ?? {};
    }
  }

  /* A silent server has no values: what it said last is not what it is now. age: ms, null: never
   * heard of. */
  isSilent(name) {
    return this.servers.get(name)?.isSilent ?? true;
  }

  value(server, series) {
    const known = this.servers.get(server);
    const at = known?.index.get(series);
    return at === undefined || this.isSilent(server) ? null : known.values[at] ?? null;
  }

  buckets(server, series) {
    const known = this.servers.get(server);
    const at = known?.index.get(series);
    return at === undefined || this.isSilent(server) ? [] : known.buckets[at] ?? [];
  }

  has(server, series) {
    return this.servers.get(server)?.index.has(series) ?? false;
  }

  /* The names of a server's series that begin so. */
  matching(server, prefix) {
    return (this.servers.get(server)?.names ?? []).filter((name) => name.startsWith(prefix));
  }

  /* A line's value in this second, or null; "heat": [[row, count], ...]. */
  line(line) {
    if (line.fn === "heat") {
      const all = line.servers.flatMap((server) => this.buckets(server, line.series));
      return all.length > 0 ? rowsOf(all) : null;
    }
    if (line.fn in PERCENTILES) {
      const all = line.servers.flatMap((server) => this.buckets(server, line.series));
      return percentile(all, PERCENTILES[line.fn]);
    }
    const values = line.servers.map((server) => this.value(server, line.series)).filter((v) => v != null);
    if (values.length === 0) return null;
    if (line.fn === "max") return Math.max(...values);
    const sum = values.reduce((a, b) => a + b, 0);
    return line.fn === "avg" ? sum / values.length : sum;
  }
}

export const question = (line) => `${line.fn}:${line.servers.join(",")}:${line.series}`;

/* Raised when the login has run out: the page goes back to the door. */
export class LoggedOut extends Error {}

async function get(path) {
  const answer = await fetch(path, { credentials: "same-origin", headers: { Accept: "application/json" } });
  if (answer.status === 401) throw new LoggedOut();
  if (!answer.ok) throw new Error(`${path.split("?")[0]}: ${answer.status}`);
  return answer.json();
}

export const loadSite = () => get("api/site");
export const loadAlerts = () => get("api/alerts");
export const loadEvents = (from, to) => get(`api/events?from=${Math.floor(from)}&to=${Math.ceil(to)}`);

/* { from, step, lines: [[value or null, ...], ...] } in the order of `lines`. */
export function loadRange(from, to, points, lines) {
  const query = new URLSearchParams({ from: Math.floor(from), to: Math.ceil(to), points });
  for (const line of lines) query.append("q", question(line));
  return get(`api/range?${query}`);
}

/* The stream of live seconds. It opens itself again, as EventSource does; onState says how it is. */
export class Live {
  constructor(handlers) {
    this.handlers = handlers;
    this.source = null;
  }

  open() {
    this.close();
    const source = new EventSource("api/live");
    this.source = source;
    source.onopen = () => this.handlers.state(true);
    source.onerror = () => this.handlers.state(false);
    for (const kind of ["site", "names", "now", "alerts", "events"])
      source.addEventListener(kind, (event) => this.handlers[kind](JSON.parse(event.data)));
  }

  close() {
    this.source?.close();
    this.source = null;
  }
}
