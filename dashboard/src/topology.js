/*
 * The drawing of the site, live: who passes what on to whom, how much, and who is well. Drawn once
 * per layout, then only what has changed is touched.
 */
import { duration, format } from "./format.js";
import { edgePath, layout, SIDE, tierTitle } from "./layout.js";
import { serverFigures } from "./panels.js";

const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, parent = null, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/* States on the health board, as src/metrics/health.h has them. */
const STATE = ["unknown", "up", "down", "draining"];
const ROLE = [null, "primary", "replica"];

/* From whom requests come in, to whom they go: edges between nodes, with the series of their flow. */
function edgesOf(site) {
  const on = (role) => site.servers.filter((server) => server.roles.includes(role)).map((s) => s.name);
  const balancers = on("balancer");
  const web = on("web");
  const edges = [];
  for (const name of balancers.length > 0 ? balancers : web)
    edges.push({ from: ["internet", "internet"], to: [name, balancers.length > 0 ? "balancer" : "web"], flow: [[name, "http.requests"]] });
  for (const from of balancers)
    for (const to of web)
      edges.push({ from: [from, "balancer"], to: [to, "web"], board: `web/${to}`, flow: [[from, `backend/web/${to}/requests`]] });
  for (const app of site.apps ?? []) edges.push(...appEdges(app, web));
  edges.push(...databaseEdges(on("app").length > 0 ? on("app") : web, on("database"), site.primary));
  return edges;
}

function appEdges(app, web) {
  const edges = [];
  for (const from of web)
    for (const to of app.servers) {
      const isNear = from === to;
      const others = app.servers.includes(from);
      edges.push({
        from: [from, "web"], to: [to, "app"], app: app.name, board: isNear ? null : `app/${app.name}/${to}`,
        isSpare: others && !isNear,
        flow: isNear ? [[to, `app/${app.name}/requests`]] : [[from, `backend/app/${app.name}/${to}/requests`]],
      });
    }
  return edges;
}

function databaseEdges(users, databases, primary) {
  const edges = [];
  for (const from of users)
    for (const to of databases)
      edges.push({ from: [from, "app"], to: [to, "database"], isQuiet: true, board: `database/${to}` });
  for (const to of databases)
    if (primary && to !== primary)
      edges.push({ from: [primary, "database"], to: [to, "database"], isReplication: true, board: `database/${to}` });
  return edges;
}

/* What trilith draw knows of the site: single points of failure, and how an edge speaks. */
class Picture {
  constructor(picture) {
    const nodes = picture?.nodes ?? [];
    const name = (i) => `${nodes[i].server}/${nodes[i].part}`;
    this.singles = new Set(nodes.filter((node) => node.single).map((node) => `${node.server}/${node.part}`));
    this.links = new Map((picture?.links ?? []).map((link) => [`${name(link.from)} ${name(link.to)}`, picture.edges[link.edge]]));
  }

  isSingle(server, tier) {
    return this.singles.has(`${server}/${tier}`);
  }

  /* "https 443", "mysql 3306, not encrypted", or nothing. */
  speech(from, to) {
    const edge = from[1] === "internet" ? null : this.links.get(`${from.join("/")} ${to.join("/")}`);
    if (!edge) return "";
    return ` by ${edge.speaks || edge.protocol} ${edge.port}${edge.cleartext ? ", not encrypted" : ""}`;
  }
}

export class Topology {
  /* onPick: called with the name of a server that was chosen. */
  constructor(element, onPick) {
    this.element = element;
    this.onPick = onPick;
  }

  draw(site) {
    const isNarrow = this.element.clientWidth < 720;
    this.site = site;
    this.picture = new Picture(site.picture);
    this.plan = layout(site, isNarrow);
    const { width, height } = this.plan;
    const svg = make("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `The servers of ${site.site} and what flows between them`,
    });
    svg.style.maxWidth = `${width * (isNarrow ? 1.25 : 1.15)}px`;
    svg.classList.toggle("is-narrow", isNarrow);
    this.boxes = this.plan.boxes.map((box) => this.drawBox(svg, box));
    const lines = make("g", { class: "edges" }, svg);
    const labels = make("g", { class: "labels" }, svg);
    this.edges = edgesOf(site).map((edge) => this.drawEdge(lines, labels, edge)).filter(Boolean);
    this.nodes = this.plan.boxes.flatMap((box) => box.nodes.map((node) => this.drawNode(svg, node)));
    this.element.replaceChildren(svg);
  }

  drawBox(svg, box) {
    if (!box.server) return { box };
    const group = make("g", { class: "server", tabindex: 0, role: "button" }, svg);
    make("rect", { x: box.x, y: box.y, width: box.w, height: box.h, rx: 12, class: "frame" }, group);
    const hint = make("title", {}, group);
    const bar = make("rect", { x: box.x + 14, y: box.y + box.h - 6, width: 0, height: 2, rx: 1, class: "load" }, group);
    make("circle", { cx: box.x + 16, cy: box.y + 15, r: 4, class: "dot" }, group);
    make("text", { x: box.x + 26, y: box.y + 19, class: "name" }, group, box.name);
    const isNarrow = this.plan.isNarrow;
    const side = box.server.roles.filter((role) => SIDE.includes(role) && !box.tiers.includes(role)).join(" · ");
    const note = make("text", isNarrow ? { x: box.x + 12, y: box.y + 34, class: "side" }
      : { x: box.x + box.w - 12, y: box.y + 19, class: "side", "text-anchor": "end" }, group, side);
    const pick = () => this.onPick(box.name);
    group.addEventListener("click", pick);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); }
    });
    return { box, group, note, side, bar, hint };
  }

  drawNode(svg, node) {
    const group = make("g", { class: `node ${node.tier}` }, svg);
    if (this.picture.isSingle(node.box.name, node.tier))
      make("rect", { x: node.x - 3, y: node.y - 3, width: node.w + 6, height: node.h + 6, rx: 10, class: "single" }, group);
    make("rect", { x: node.x, y: node.y, width: node.w, height: node.h, rx: 8, class: "face" }, group);
    const title = make("text", { x: node.x + 11, y: node.y + 19, class: "role" }, group, tierTitle(node.tier));
    const figure = make("text", { x: node.x + 11, y: node.y + 36, class: "figure" }, group, "");
    return { node, group, title, figure };
  }

  drawEdge(lines, labels, edge) {
    const from = this.plan.node(...edge.from);
    const to = this.plan.node(...edge.to);
    if (!from || !to) return null;
    const way = edgePath(from, to, this.plan.isNarrow);
    const path = make("path", { d: way.d, class: "edge" }, lines);
    const label = make("text", { x: way.x, y: way.y, class: "flow", "text-anchor": "middle" }, labels);
    const title = make("title", {}, path);
    return { ...edge, path, label, title };
  }

  update(now) {
    if (!this.plan) return;
    for (const entry of this.boxes) if (entry.group) this.updateBox(entry, now);
    for (const entry of this.nodes) this.updateNode(entry, now);
    for (const edge of this.edges) this.updateEdge(edge, now);
  }

  updateBox({ box, group, note, side, bar, hint }, now) {
    const isSilent = now.isSilent(box.name);
    const age = now.servers.get(box.name)?.age;
    group.classList.toggle("is-down", isSilent);
    setText(note, isSilent && age != null ? duration(age / 1000) : side);
    const { cpu } = serverFigures(now, box.name);
    bar.setAttribute("width", Math.max(0, Math.min(100, cpu ?? 0)) / 100 * (box.w - 28));
    const singles = box.tiers.filter((tier) => this.picture.isSingle(box.name, tier)).map(tierTitle);
    const warning = singles.length > 0 ? `; single point of failure: ${singles.join(", ")}` : "";
    const state = `${box.name}: ${isSilent ? "silent" : `processor ${format.percent(cpu)}`}${warning}`;
    setText(hint, state);
    group.setAttribute("aria-label", state);
  }

  /* What the others know of a server's part: the worst that anybody says. */
  health(board, now) {
    let state = 0;
    for (const { name } of this.site.servers) {
      const value = now.value(name, `backend/${board}/state`);
      if (value === 2) return "down";
      if (value != null && value > state) state = value;
    }
    return STATE[state] ?? "unknown";
  }

  updateNode({ node, group, title, figure }, now) {
    const { tier, box } = node;
    const name = box.name;
    let text = "";
    let isDown = false;
    if (tier === "internet") {
      const entrances = this.edges.filter((edge) => edge.from[0] === "internet");
      const sum = entrances.map((edge) => now.value(...edge.flow[0])).filter((v) => v != null);
      text = sum.length > 0 ? format.rate(sum.reduce((a, b) => a + b, 0)) : "";
    } else if (tier === "app") {
      const app = this.site.apps.find((a) => a.servers.includes(name));
      const slow = now.line({ fn: "p99", servers: [name], series: `app/${app?.name}/work` });
      text = slow == null ? format.rate(now.value(name, `app/${app?.name}/requests`)) : `p99 ${format.us(slow)}`;
      isDown = this.health(`app/${app?.name}/${name}`, now) === "down";
    } else if (tier === "database") {
      const role = ROLE[this.databaseRole(name, now)] ?? "database";
      setText(title, role === "database" ? "Database" : role === "primary" ? "Primary" : "Replica");
      const lag = now.value(name, `backend/database/${name}/lag_ms`);
      text = role === "replica" && lag != null && lag >= 0 ? `lag ${format.ms(lag)}` : format.rate(now.value(name, "db.queries"));
      isDown = this.health(`database/${name}`, now) === "down";
    } else if (tier === "dns") {
      text = format.rate(now.value(name, "dns.queries"));
    } else if (tier === "monitor") {
      const { length } = this.site.servers;
      text = `${this.site.servers.filter((server) => !now.isSilent(server.name)).length} of ${length}`;
    } else {
      text = format.rate(now.value(name, "http.requests"));
      isDown = tier === "web" && this.health(`web/${name}`, now) === "down";
    }
    const isSilent = tier !== "internet" && now.isSilent(name);
    group.classList.toggle("is-down", isDown || isSilent);
    setText(figure, isSilent ? "silent" : isDown ? "down" : text);
  }

  databaseRole(name, now) {
    for (const server of this.site.servers) {
      const role = now.value(server.name, `backend/database/${name}/role`);
      if (role) return role;
    }
    return 0;
  }

  updateEdge(edge, now) {
    const flows = (edge.flow ?? []).map(([server, series]) => now.value(server, series)).filter((v) => v != null);
    const flow = flows.length > 0 ? flows.reduce((a, b) => a + b, 0) : null;
    const isDown = now.isSilent(edge.to[0]) || (edge.board != null && this.health(edge.board, now) === "down");
    const errors = edge.board ? now.value(edge.from[0], `backend/${edge.board}/errors`) : null;
    const isBad = !isDown && flow > 0 && errors > flow * 0.01;
    const state = isDown ? "is-down" : isBad ? "is-bad" : flow > 0 ? "is-busy" : "is-idle";
    const kind = edge.isReplication ? "replication" : edge.isSpare || edge.isQuiet ? "spare" : "";
    const name = `edge ${kind} ${state}`;
    if (edge.path.getAttribute("class") !== name) edge.path.setAttribute("class", name);
    const speed = flow > 0 ? `${(4 / Math.log10(flow + 2)).toFixed(1)}s` : "0s";
    if (edge.path.style.animationDuration !== speed) edge.path.style.animationDuration = speed;
    edge.path.style.strokeWidth = String(1.25 + (flow > 0 ? Math.min(1.75, 0.5 * Math.log10(flow + 1)) : 0));
    const isInside = edge.from[0] === edge.to[0];
    setText(edge.label, flow > 0 && !isInside && edge.from[0] !== "internet" ? format.rate(flow) : "");
    setText(edge.title, `${edge.from.join(" ")} → ${edge.to.join(" ")}${this.picture.speech(edge.from, edge.to)}: ${isDown ? "down" : format.rate(flow)}`);
  }
}
