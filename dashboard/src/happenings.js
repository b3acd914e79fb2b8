/*
 * What is wrong now, and what has happened: alerts with what they cause under them, and events.
 */
import { clock, duration } from "./format.js";
import { element } from "./groups.js";

/* Servers that say nothing and backends that are down, as long as no alert tells of them. */
function observed(site, now, alerts) {
  const told = (name) => alerts.some((alert) => alert.server === name || alert.text.includes(name));
  const out = [];
  for (const { name } of site.servers) {
    if (!now.isSilent(name) || told(name)) continue;
    const age = now.servers.get(name)?.age;
    out.push({ severity: "critical", server: name, text: age == null ? `${name} has not been heard of yet` : `${name} is silent for ${duration(age / 1000)}` });
  }
  const seen = new Set();
  for (const { name } of site.servers)
    for (const series of now.matching(name, "backend/")) {
      const board = series.slice(8, series.lastIndexOf("/"));
      const server = board.slice(board.lastIndexOf("/") + 1);
      if (!series.endsWith("/state") || now.value(name, series) !== 2 || seen.has(board)) continue;
      seen.add(board);
      if (told(server) || now.isSilent(server) && site.servers.some((s) => s.name === server)) continue;
      out.push({ severity: "error", server, text: `${board} is down, says ${name}` });
    }
  return out;
}

function row(problem, time) {
  const item = element("li", `problem ${problem.severity}`);
  item.append(element("i", "dot"), element("span", "text", problem.text));
  if (problem.since) item.append(element("span", "since", `for ${duration(time - problem.since)}`));
  if (problem.silenced) item.append(element("span", "tag", "silenced"));
  return item;
}

/* Shows them; returns how many there are that nobody silenced. */
export function showProblems(target, site, now, alerts) {
  const firing = alerts.filter((alert) => alert.state !== "resolved");
  const roots = [...firing.filter((alert) => !alert.cause), ...observed(site, now, firing)];
  const list = element("ul");
  for (const problem of roots) {
    const item = row(problem, now.time);
    const under = firing.filter((alert) => alert.cause && alert.cause === problem.id);
    if (under.length > 0) {
      const inner = element("ul", "under");
      for (const alert of under) inner.append(row(alert, now.time));
      item.append(inner);
    }
    list.append(item);
  }
  const text = list.innerHTML;
  if (target.dataset.shown !== text) {
    target.dataset.shown = text;
    target.replaceChildren(list);
  }
  target.hidden = roots.length === 0;
  return roots.filter((problem) => !problem.silenced);
}

/* events: newest last. */
export function showEvents(target, events) {
  const list = element("ol");
  for (const event of [...events].reverse().slice(0, 200)) {
    const item = element("li", event.severity);
    const time = element("time", "", clock(event.time));
    time.dateTime = new Date(event.time * 1000).toISOString();
    item.append(element("i", "dot"), time, element("span", "kind", event.kind),
      element("span", "server", event.server ?? ""), element("span", "text", event.text));
    list.append(item);
  }
  target.replaceChildren(events.length > 0 ? list : element("p", "empty", "Nothing has happened in this time."));
}
