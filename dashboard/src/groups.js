/*
 * Groups of charts that are asked for together: a tier, or a server with its processes. What is not
 * on the screen is neither asked for nor drawn.
 */
import { Chart } from "./charts.js";
import { loadRange } from "./data.js";
import { duration, format } from "./format.js";
import { processes, serverCharts, serverFigures, tierFigures } from "./panels.js";

const POINTS = 480;

export function element(name, className = "", text = null) {
  const out = document.createElement(name);
  if (className) out.className = className;
  if (text !== null) out.textContent = text;
  return out;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

class Group {
  /* page: { now, window(), isLive(), zoom(from, to), failed(error) } */
  constructor(page) {
    this.page = page;
    this.charts = [];
    this.isVisible = false;
    this.loaded = null; /* the window that the charts show */
    this.loading = 0;
  }

  /* Takes the charts whose series somebody has. */
  addCharts(specs, into) {
    const now = this.page.now;
    const isKnown = (line) => line.servers.some((server) => now.has(server, line.series));
    for (const spec of specs) {
      const lines = spec.lines.filter(isKnown);
      if (lines.length === 0) continue;
      const chart = new Chart({ ...spec, lines }, (from, to) => this.page.zoom(from, to));
      this.charts.push(chart);
      into.append(chart.element);
    }
  }

  questions() {
    return this.charts.flatMap((chart) => [...chart.spec.lines, ...(chart.spec.heat ? [chart.spec.heat] : [])]);
  }

  /* Asks for the page's window and shows it. What comes too late for it is dropped. */
  async load() {
    if (!this.isVisible || this.charts.length === 0) return;
    const [from, to] = this.page.window();
    const number = ++this.loading;
    const points = Math.min(to - from, POINTS);
    let answer;
    try {
      answer = await loadRange(from, to, Math.max(2, Math.round(points)), this.questions());
    } catch (error) {
      this.page.failed(error);
      return;
    }
    if (number !== this.loading) return;
    const lines = answer.lines;
    const times = lines[0].map((_, i) => answer.from + (i + 0.5) * answer.step);
    for (const chart of this.charts) {
      const columns = lines.splice(0, chart.spec.lines.length);
      const cells = chart.spec.heat ? lines.shift() : null;
      chart.set(times.slice(), columns, cells, answer.step, [from, to]);
    }
    this.loaded = [from, to];
    this.step = answer.step;
  }

  /* One more second of a live window. */
  tick() {
    if (!this.isVisible || !this.loaded) return;
    const { now } = this.page;
    const window = this.page.window();
    if (this.step > 1.5) {
      if (window[1] - this.loaded[1] >= Math.max(5, this.step)) this.load();
      return;
    }
    for (const chart of this.charts)
      chart.append(now.time, chart.spec.lines.map((line) => now.line(line)), chart.spec.heat ? now.line(chart.spec.heat) : null, window);
  }

  setVisible(isVisible) {
    if (this.isVisible === isVisible) return;
    this.isVisible = isVisible;
    for (const chart of this.charts) chart.setVisible(isVisible);
    if (isVisible) this.load();
  }

  each(action) {
    this.charts.forEach(action);
  }
}

function figure(into, label) {
  const item = element("div", "figure");
  const value = element("b", "", "–");
  item.append(value, element("span", "", label));
  into.append(item);
  return value;
}

export class TierGroup extends Group {
  constructor(page, tier) {
    super(page);
    this.tier = tier;
    this.element = element("section", "tier");
    const head = element("header");
    head.append(element("h3", "", tier.title), element("span", "who", tier.servers.join(", ")));
    const figures = element("div", "figures");
    this.rate = figure(figures, tier.id === "database" || tier.id === "dns" ? "queries" : "requests");
    this.errors = figure(figures, "errors");
    this.slow = figure(figures, "p99");
    head.append(figures);
    const charts = element("div", "charts");
    this.addCharts(tier.charts, charts);
    this.element.append(head, charts);
  }

  show() {
    const { rate, errors, slow } = tierFigures(this.page.now, this.tier);
    setText(this.rate, format.rate(rate));
    setText(this.errors, format.percent(errors));
    setText(this.slow, format.us(slow));
    this.errors.parentElement.hidden = errors === null;
    this.slow.parentElement.hidden = slow === null;
    this.errors.classList.toggle("is-bad", errors > 1);
  }
}

const METERS = [["cpu", "processor"], ["memory", "memory"], ["disk", "disk"]];

export class ServerGroup extends Group {
  constructor(page, server, isOpen) {
    super(page);
    this.server = server;
    this.element = element("details", "server-card");
    this.element.id = `server-${server.name}`;
    this.element.open = isOpen;
    const head = element("summary");
    const name = element("h3", "", server.name);
    name.prepend(element("i", "dot"));
    this.note = element("span", "who", "");
    head.append(name, this.note, this.makeMeters());
    this.body = element("div", "charts");
    this.element.append(head, this.body, this.makeTable());
    this.addCharts(serverCharts(page.now, server.name), this.body);
    this.element.addEventListener("toggle", () => page.look());
  }

  makeMeters() {
    const figures = element("div", "figures");
    this.meters = METERS.map(([key, label]) => {
      const value = figure(figures, label);
      const meter = element("i", "meter");
      value.parentElement.append(meter);
      return { key, value, meter };
    });
    this.traffic = figure(figures, "network");
    return figures;
  }

  makeTable() {
    this.table = element("table", "processes");
    const head = element("tr");
    for (const title of ["Process", "Processor", "Memory", "Restarts"]) head.append(element("th", "", title));
    this.rows = element("tbody");
    const thead = element("thead");
    thead.append(head);
    this.table.append(thead, this.rows);
    return this.table;
  }

  show() {
    const { now } = this.page;
    const name = this.server.name;
    const isSilent = now.isSilent(name);
    const age = now.servers.get(name)?.age;
    this.element.classList.toggle("is-down", isSilent);
    const silence = age == null ? "not heard of yet" : `silent for ${duration(age / 1000)}`;
    setText(this.note, isSilent ? silence : `${this.server.address} · ${this.server.roles.join(", ")}`);
    const figures = serverFigures(now, name);
    for (const { key, value, meter } of this.meters) {
      setText(value, format.percent(figures[key]));
      meter.style.setProperty("--part", `${Math.min(100, figures[key] ?? 0)}%`);
      meter.classList.toggle("is-high", figures[key] > 90);
    }
    setText(this.traffic, format.byteRate(figures.traffic));
    if (this.isVisible && this.element.open) this.showProcesses();
  }

  showProcesses() {
    const list = processes(this.page.now, this.server.name);
    this.table.hidden = list.length === 0;
    while (this.rows.children.length > list.length) this.rows.lastChild.remove();
    list.forEach((process, i) => {
      let row = this.rows.children[i];
      if (!row) {
        row = element("tr");
        for (let k = 0; k < 4; k++) row.append(element("td"));
        this.rows.append(row);
      }
      row.classList.toggle("is-down", !process.isUp);
      const cells = [process.name, format.percent(process.cpu), format.bytes(process.memory), format.count(process.restarts)];
      cells.forEach((text, k) => setText(row.children[k], text));
    });
  }
}
