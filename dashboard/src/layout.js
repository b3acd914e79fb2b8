/*
 * Where everything stands in the drawing of the topology. Pure: the site in, boxes out.
 *
 * The tiers are columns, from the internet to the databases. A server is one box from its first to
 * its last tier, with a node for each. Servers that share a column never share a row; groups that
 * share none are centred beside each other. On a narrow screen rows and columns change places.
 */

export const TIERS = ["internet", "balancer", "web", "app", "database"];

/* Parts that nothing passes through. */
export const SIDE = ["dns", "monitor"];

const TITLES = {
  internet: "Internet", balancer: "Balancer", web: "Web", app: "Application", database: "Database",
  dns: "DNS", monitor: "Monitor",
};
export const tierTitle = (tier) => TITLES[tier] ?? tier;

const WIDE = { node: [128, 46], gap: [66, 18], pad: 14, head: 28, margin: 6, side: 40 };
const NARROW = { node: [112, 44], gap: [14, 44], pad: 10, head: 40, margin: 4, side: 26 };

/* Lanes: for each box the row in its group, then the group's own offset. */
function lanes(boxes) {
  const rows = [];
  for (const box of boxes) {
    let row = rows.findIndex((taken) => taken.every((b) => b.last < box.first || b.first > box.last));
    if (row < 0) row = rows.push([]) - 1;
    rows[row].push(box);
    box.row = row;
  }
  const groups = [];
  for (const box of boxes) {
    const mine = groups.filter((g) => g.first <= box.last && g.last >= box.first);
    const merged = { first: box.first, last: box.last, boxes: [box] };
    for (const g of mine) {
      merged.first = Math.min(merged.first, g.first);
      merged.last = Math.max(merged.last, g.last);
      merged.boxes.push(...g.boxes);
      groups.splice(groups.indexOf(g), 1);
    }
    groups.push(merged);
  }
  for (const group of groups) {
    const count = 1 + Math.max(...group.boxes.map((b) => b.row));
    for (const box of group.boxes) box.row += (rows.length - count) / 2;
  }
  return rows.length;
}

function makeBoxes(servers, columns) {
  const boxes = [{ name: "internet", server: null, first: 0, last: 0, tiers: ["internet"] }];
  for (const server of servers) {
    const tiers = server.roles.filter((role) => columns.includes(role));
    const at = tiers.map((tier) => columns.indexOf(tier));
    /* one that is nothing else stands beside the internet */
    if (tiers.length === 0) tiers.push(...server.roles.slice(0, 1));
    boxes.push({
      name: server.name, server, tiers,
      first: at.length ? Math.min(...at) : 0, last: at.length ? Math.max(...at) : 0,
    });
  }
  return boxes;
}

function place(box, columns, size, isNarrow) {
  const [w, h] = size.node;
  const along = (isNarrow ? h : w) + size.gap[isNarrow ? 1 : 0] + (isNarrow ? size.head - 10 : 2 * size.pad);
  const across = (isNarrow ? w + 2 * size.pad : h + size.head + size.pad) + size.gap[isNarrow ? 0 : 1];
  const start = size.margin + box.first * along - size.skip;
  const side = size.margin + box.row * across;
  const length = (box.last - box.first) * along;
  if (isNarrow)
    Object.assign(box, { x: side, y: start, w: w + 2 * size.pad, h: length + h + size.head + size.pad });
  else
    Object.assign(box, { x: start, y: side, w: length + w + 2 * size.pad, h: h + size.head + size.pad });
  box.nodes = box.tiers.map((tier) => {
    const step = Math.max(0, columns.indexOf(tier) - box.first) * along;
    return {
      tier, box, w, h,
      x: box.x + size.pad + (isNarrow ? 0 : step),
      y: box.y + size.head + (isNarrow ? step : 0),
    };
  });
}

/* { width, height, isNarrow, boxes, node(server, tier), columns: [{ tier, at }] } */
export function layout(site, isNarrow) {
  const used = new Set(site.servers.flatMap((server) => server.roles));
  const columns = TIERS.filter((tier) => tier === "internet" || used.has(tier));
  const boxes = makeBoxes(site.servers, columns);
  /* a single node needs no room for a server's name */
  const skip = isNarrow && boxes.filter((box) => box.first === 0).length === 1 ? NARROW.head - 8 : 0;
  const size = { ...(isNarrow ? NARROW : WIDE), skip };
  lanes(boxes);
  for (const box of boxes) place(box, columns, size, isNarrow);
  const nodes = new Map(boxes.flatMap((box) => box.nodes.map((node) => [`${box.name}/${node.tier}`, node])));
  const hasTwins = site.servers.filter((server) => server.roles.includes("database")).length > 1;
  const side = hasTwins ? size.side : size.margin; /* for the lines of replication */
  return {
    isNarrow, boxes, columns,
    width: Math.max(...boxes.map((b) => b.x + b.w)) + (isNarrow ? size.margin : side),
    height: Math.max(...boxes.map((b) => b.y + b.h)) + (isNarrow ? side : size.margin),
    node: (server, tier) => nodes.get(`${server}/${tier}`),
  };
}

/* Where lines begin and end: at the border of the server when the node is its last or first one. */
function edges(node, isOwn) {
  const { box } = node;
  const isFirst = !isOwn && box.server && box.tiers[0] === node.tier;
  const isLast = !isOwn && box.server && box.tiers.at(-1) === node.tier;
  return {
    left: isFirst ? box.x : node.x, right: isLast ? box.x + box.w : node.x + node.w,
    top: isFirst ? box.y : node.y, bottom: isLast ? box.y + box.h : node.y + node.h,
    x: node.x + node.w / 2, y: node.y + node.h / 2,
  };
}

/* The way of an edge from node to node as an SVG path, and the place of its label. */
export function edgePath(from, to, isNarrow) {
  const isOwn = from.box === to.box;
  const [a, b] = [edges(from, isOwn), edges(to, isOwn)];
  if (isNarrow) {
    const [y1, y2] = [a.bottom, b.top];
    if (y2 <= y1) return aside(from, to, true);
    const bend = Math.max(14, (y2 - y1) * 0.55);
    return { d: `M${a.x},${y1} C${a.x},${y1 + bend} ${b.x},${y2 - bend} ${b.x},${y2}`, x: (a.x + b.x) / 2, y: (y1 + y2) / 2 + 4 };
  }
  const [x1, x2] = [a.right, b.left];
  if (x2 <= x1) return aside(from, to, false);
  const bend = Math.max(16, (x2 - x1) * 0.55);
  return { d: `M${x1},${a.y} C${x1 + bend},${a.y} ${x2 - bend},${b.y} ${x2},${b.y}`, x: (x1 + x2) / 2, y: (a.y + b.y) / 2 + 4 };
}

/* Between two nodes of one tier (replication): around the outside. */
function aside(a, b, isNarrow) {
  if (isNarrow) {
    const [x1, x2, y] = [a.x + a.w / 2, b.x + b.w / 2, Math.max(a.box.y + a.box.h, b.box.y + b.box.h)];
    return { d: `M${x1},${y} C${x1},${y + 24} ${x2},${y + 24} ${x2},${y}`, x: (x1 + x2) / 2, y: y + 22 };
  }
  const [y1, y2, x] = [a.y + a.h / 2, b.y + b.h / 2, Math.max(a.box.x + a.box.w, b.box.x + b.box.w)];
  return { d: `M${x},${y1} C${x + 36},${y1} ${x + 36},${y2} ${x},${y2}`, x: x + 28, y: (y1 + y2) / 2 };
}
