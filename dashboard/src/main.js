/*
 * The page: gets the site, opens the live stream, and keeps everything on the screen at the same
 * window of time.
 */
import "uplot/dist/uPlot.min.css";
import { setMarks } from "./charts.js";
import { Live, loadAlerts, loadEvents, loadSite, LoggedOut, Now } from "./data.js";
import { clock } from "./format.js";
import { ServerGroup, TierGroup } from "./groups.js";
import { showEvents, showProblems } from "./happenings.js";
import { tiers } from "./panels.js";
import { Topology } from "./topology.js";

const SPANS = [[300, "5 min"], [900, "15 min"], [3600, "1 h"], [6 * 3600, "6 h"], [86400, "24 h"], [7 * 86400, "7 d"], [30 * 86400, "30 d"]];
const OPEN_SERVERS = 4; /* with more of them their charts begin folded */

const $ = (selector) => document.querySelector(selector);

class Page {
  constructor() {
    this.now = new Now();
    this.span = 300;
    this.fixed = null; /* [from, to]: a window that stands still; null: it ends now */
    this.groups = [];
    this.alerts = [];
    this.events = [];
    this.isBuilt = false;
    this.topology = new Topology($("#topology"), (name) => this.goTo(name));
    this.live = new Live({
      state: (isOpen) => this.setOpen(isOpen),
      site: (site) => this.setSite(site),
      names: (names) => { if (this.now.names(names)) this.isBuilt = false; },
      now: (now) => this.tick(now),
      alerts: (alerts) => { this.alerts = alerts.alerts; },
      events: (news) => this.addEvents(news.events),
    });
  }

  async start() {
    this.makeBar();
    try {
      this.setSite(await loadSite());
      this.alerts = (await loadAlerts()).alerts;
    } catch (error) {
      this.failed(error);
      return;
    }
    this.live.open();
    new ResizeObserver(() => this.resized()).observe(document.body);
  }

  setSite(site) {
    if (JSON.stringify(site) === JSON.stringify(this.site)) return;
    this.site = site;
    document.title = `${site.site} · Trilith`;
    $("#site").textContent = site.site;
    $("#version").textContent = `Trilith ${site.version} on ${site.monitor}`;
    this.topology.draw(site);
    $("#legend-single").hidden = !$("#topology .single");
    this.isBuilt = false;
  }

  /* The charts: when the site or the series have changed. */
  build() {
    for (const group of this.groups) group.each((chart) => chart.remove());
    const page = this;
    const tierGroups = tiers(this.site).map((tier) => new TierGroup(page, tier)).filter((group) => group.charts.length > 0);
    const open = this.site.servers.length <= OPEN_SERVERS && innerWidth > 720;
    const wasOpen = (name) => $(`#server-${CSS.escape(name)}`)?.open ?? open;
    const serverGroups = this.site.servers.map((server) => new ServerGroup(page, server, wasOpen(server.name)));
    $("#tiers").replaceChildren(...tierGroups.map((group) => group.element));
    $("#servers").replaceChildren(...serverGroups.map((group) => group.element));
    this.groups = [...tierGroups, ...serverGroups];
    this.observer?.disconnect();
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const group = this.groups.find((g) => g.element === entry.target);
        group?.setVisible(entry.isIntersecting && entry.target.open !== false);
      }
    }, { rootMargin: "150px" });
    for (const group of this.groups) this.observer.observe(group.element);
    this.isBuilt = true;
  }

  /* A card was opened or folded. */
  look() {
    for (const group of this.groups) {
      this.observer.unobserve(group.element);
      this.observer.observe(group.element);
    }
  }

  tick(message) {
    this.now.take(message);
    if (!this.isBuilt) { this.build(); this.loadEvents(); }
    this.show();
    if (!this.fixed) for (const group of this.groups) group.tick();
  }

  show() {
    this.topology.update(this.now);
    for (const group of this.groups) group.show();
    const problems = showProblems($("#problems"), this.site, this.now, this.alerts);
    const pill = $("#pill");
    const worst = problems.some((p) => p.severity !== "warning") ? "bad" : problems.length > 0 ? "warn" : "good";
    if (!this.isLost) {
      pill.className = worst;
      pill.textContent = problems.length === 0 ? "All is well" : problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    }
    $("#time").textContent = this.fixed ? `${clock(this.fixed[0])} – ${clock(this.fixed[1])}` : clock(this.now.time);
  }

  setOpen(isOpen) {
    this.isLost = !isOpen;
    document.body.classList.toggle("is-lost", !isOpen);
    if (isOpen) return;
    $("#pill").className = "lost";
    $("#pill").textContent = "Not connected";
    this.checkLogin();
  }

  /* EventSource does not tell why it failed. */
  async checkLogin() {
    try { await loadAlerts(); } catch (error) { if (error instanceof LoggedOut) this.failed(error); }
  }

  failed(error) {
    if (error instanceof LoggedOut) { this.live.close(); location.replace("./"); return; }
    $("#pill").className = "lost";
    $("#pill").textContent = "Not connected";
  }

  window() {
    if (this.fixed) return this.fixed;
    const to = this.now.time || Math.floor(Date.now() / 1000);
    return [to - this.span, to];
  }

  setSpan(span) {
    this.span = span;
    this.fixed = null;
    this.reload();
  }

  zoom(from, to) {
    if (to - from < 10) { const middle = (from + to) / 2; from = middle - 5; to = middle + 5; }
    this.fixed = [Math.floor(from), Math.ceil(to)];
    this.reload();
  }

  /* By half a window back or forth; forth to the end is live again. */
  pan(direction) {
    const [from, to] = this.window();
    const by = Math.round((to - from) / 2) * direction;
    if (to + by >= this.now.time) { this.span = to - from; this.fixed = null; }
    else this.fixed = [from + by, to + by];
    this.reload();
  }

  scale(factor) {
    const [from, to] = this.window();
    const length = Math.max(60, Math.min(365 * 86400, (to - from) * factor));
    if (this.fixed) { const middle = (from + to) / 2; this.zoom(middle - length / 2, middle + length / 2); }
    else this.setSpan(Math.round(length));
  }

  reload() {
    this.showBar();
    this.show();
    for (const group of this.groups) { group.loaded = null; group.load(); }
    this.loadEvents();
  }

  async loadEvents() {
    const [from, to] = this.window();
    try {
      this.events = (await loadEvents(from, to)).events;
    } catch (error) {
      this.failed(error);
      return;
    }
    this.showEvents();
  }

  addEvents(events) {
    if (this.fixed) return;
    this.events.push(...events);
    this.showEvents();
  }

  showEvents() {
    setMarks(this.events);
    showEvents($("#events"), this.events);
    for (const group of this.groups) group.each((chart) => chart.repaint());
  }

  goTo(name) {
    const card = $(`#server-${CSS.escape(name)}`);
    if (!card) return;
    card.open = true;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    card.scrollIntoView({ behavior: isCalm ? "auto" : "smooth", block: "start" });
    card.querySelector("summary").focus({ preventScroll: true });
  }

  resized() {
    if (this.width === innerWidth) return;
    this.width = innerWidth;
    this.topology.draw(this.site);
    this.topology.update(this.now);
    for (const group of this.groups) group.each((chart) => chart.resize());
  }

  /* ---- the bar, keys, colours ---- */

  makeBar() {
    const spans = $("#spans");
    SPANS.forEach(([span, label], i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.dataset.span = span;
      button.title = `The last ${label} (key ${i + 1})`;
      button.addEventListener("click", () => this.setSpan(span));
      spans.append(button);
    });
    /* the end of the stream that follows is no news then, and nothing more is asked for */
    $("#logout").addEventListener("submit", () => this.live.close());
    $("#live").addEventListener("click", () => this.setSpan(this.span));
    $("#theme").addEventListener("click", () => this.nextTheme());
    $("#help").addEventListener("click", () => $("#keys").showModal());
    $("#keys").addEventListener("click", (event) => { if (event.target === $("#keys")) $("#keys").close(); });
    document.addEventListener("keydown", (event) => this.onKey(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    this.showBar();
  }

  showBar() {
    for (const button of $("#spans").children)
      button.setAttribute("aria-pressed", String(!this.fixed && Number(button.dataset.span) === this.span));
    $("#live").setAttribute("aria-pressed", String(!this.fixed));
    $("#live").textContent = this.fixed ? "Back to live" : "Live";
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const actions = {
      ArrowLeft: () => this.pan(-1), ArrowRight: () => this.pan(1),
      "+": () => this.scale(0.5), "=": () => this.scale(0.5), "-": () => this.scale(2),
      l: () => this.setSpan(this.span), t: () => this.nextTheme(), "?": () => $("#keys").showModal(),
    };
    const span = SPANS[Number(event.key) - 1];
    const action = span ? () => this.setSpan(span[0]) : actions[event.key];
    if (!action || $("#keys").open) return;
    event.preventDefault();
    action();
  }

  nextTheme() {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    this.repaint();
  }

  repaint() {
    for (const group of this.groups) group.each((chart) => chart.repaint());
  }
}

const theme = localStorage.getItem("theme");
if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
new Page().start();
