/*
 * Charts: uPlot with our colours, one cursor for all of them, marks of events, and a heat map of
 * latencies. A chart knows its lines; the page gives it columns of values.
 */
import uPlot from "uplot";
import { rowStart } from "./data.js";
import { clock, moment } from "./format.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const cursor = uPlot.sync("time");

/* What happened, on every chart: a line from top to bottom. */
const marks = { list: [] };
export const setMarks = (list) => { marks.list = list; };

const MARK_COLOURS = { critical: "--bad", error: "--bad", warning: "--warn", info: "--accent" };

function drawMarks(u) {
  const { ctx, bbox } = u;
  ctx.save();
  for (const mark of marks.list) {
    if (mark.time < u.scales.x.min || mark.time > u.scales.x.max) continue;
    const x = Math.round(u.valToPos(mark.time, "x", true)) + 0.5;
    ctx.strokeStyle = ctx.fillStyle = css(MARK_COLOURS[mark.severity] ?? "--accent");
    ctx.globalAlpha = 0.55;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const size = 4 * devicePixelRatio;
    ctx.globalAlpha = 0.9;
    ctx.beginPath();
    ctx.moveTo(x - size, bbox.top);
    ctx.lineTo(x + size, bbox.top);
    ctx.lineTo(x, bbox.top + size * 1.5);
    ctx.fill();
  }
  ctx.restore();
}

/* The mark under the cursor, within a few pixels. */
function markAt(u, left) {
  let best = null;
  for (const mark of marks.list) {
    const away = Math.abs(u.valToPos(mark.time, "x") - left);
    if (away <= 5 && (best === null || away < best.away)) best = { mark, away };
  }
  return best?.mark ?? null;
}

/* One cell per second and row of buckets: the more requests, the stronger the colour. */
function drawHeat(u, heat) {
  if (!heat || heat.cells.length === 0) return;
  const { ctx, bbox } = u;
  const most = heat.cells.reduce((a, cell) => Math.max(a, ...(cell ?? []).map(([, count]) => count)), 1);
  const [r, g, b] = css("--heat").split(" ").map(Number);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  heat.cells.forEach((cell, i) => {
    const time = heat.times[i];
    if (!cell || time < u.scales.x.min - heat.step || time > u.scales.x.max + heat.step) return;
    const x0 = Math.round(u.valToPos(time - heat.step / 2, "x", true));
    const x1 = Math.max(x0 + 1, Math.round(u.valToPos(time + heat.step / 2, "x", true)));
    for (const [row, count] of cell) {
      const y0 = Math.round(u.valToPos(rowStart(row + 1), "y", true));
      const y1 = Math.max(y0 + 1, Math.round(u.valToPos(rowStart(row), "y", true)));
      const strength = 0.06 + 0.64 * Math.sqrt(count / most);
      ctx.fillStyle = `rgba(${r}, ${g}, ${b}, ${strength.toFixed(3)})`;
      ctx.fillRect(x0, y0, x1 - x0, y1 - y0);
    }
  });
  ctx.restore();
}

function axes(chart) {
  const common = {
    stroke: () => css("--faint"), font: "11px system-ui, sans-serif",
    grid: { stroke: () => css("--grid"), width: 1 }, ticks: { show: false },
  };
  return [
    { ...common, size: 24, gap: 4, space: 48, values: (u, splits, axis, space, incr) => splits.map((s) => moment(s, incr)) },
    {
      ...common, size: 62, gap: 6, space: 28, values: (u, splits) => splits.map((v) => (v == null ? "" : chart.format(v))),
      ...(chart.heat ? { splits: (u) => decades(u.scales.y) } : {}),
      ...(chart.isBinary ? { incrs: POWERS } : {}),
    },
  ];
}

const POWERS = Array.from({ length: 50 }, (_, i) => 2 ** i); /* steps of bytes */

function decades(scale) {
  const out = [];
  for (let v = 1; v <= scale.max; v *= 10) if (v >= scale.min) out.push(v);
  return out;
}

function range(chart) {
  if (chart.heat) return (u, min, max) => [100, Math.max(1e5, (max ?? 0) * 2)];
  return (u, min, max) => {
    const most = max == null ? 0 : max;
    if (chart.top !== undefined) return [0, Math.max(chart.top, most)];
    return [0, most > 0 ? most * 1.12 : chart.least ?? 1];
  };
}

function series(chart) {
  return chart.lines.map((line) => ({
    label: line.label, scale: "y", spanGaps: false, points: { show: false },
    stroke: () => css(line.colour), width: line.width ?? 1.5,
    fill: fillOf(chart, line),
  }));
}

/* Stacked: the last line fills down to zero, the others down to the next one. */
function fillOf(chart, line) {
  if (chart.isStacked) return chart.lines.at(-1) === line ? () => css(line.colour) + "66" : undefined;
  return line.isFilled ? () => css(line.colour) + "22" : undefined;
}

function bands(chart) {
  if (!chart.isStacked) return [];
  return chart.lines.slice(0, -1).map((line, i) => ({ series: [i + 1, i + 2], fill: () => css(line.colour) + "66" }));
}

/* Stacked: each line drawn on top of those after it; gaps stay gaps. */
function stack(columns) {
  const out = columns.map((column) => column.slice());
  for (let line = out.length - 2; line >= 0; line--)
    for (let i = 0; i < out[line].length; i++)
      if (out[line + 1][i] != null) out[line][i] = (out[line][i] ?? 0) + out[line + 1][i];
  return out;
}

export class Chart {
  /* spec: { title, lines: [{ label, colour, fn, servers, series }], format, isStacked, top, heat } */
  constructor(spec, onZoom) {
    this.spec = spec;
    this.onZoom = onZoom;
    this.times = [];
    this.columns = spec.lines.map(() => []);
    this.heat = null;
    this.isDirty = true;
    this.isVisible = false;
    this.element = document.createElement("figure");
    this.element.className = "chart";
    this.element.innerHTML = `<figcaption><h4></h4><span class="legend"></span></figcaption><div class="plot"></div>`;
    this.element.querySelector("h4").textContent = spec.title;
    this.plot = this.element.querySelector(".plot");
    this.makeLegend();
  }

  makeLegend() {
    const legend = this.element.querySelector(".legend");
    this.values = this.spec.lines.map((line) => {
      const item = document.createElement("span");
      const name = document.createElement("i");
      const value = document.createElement("b");
      name.textContent = line.label;
      item.style.setProperty("--swatch", `var(${line.colour})`);
      item.append(name, value);
      legend.append(item);
      return value;
    });
    this.note = document.createElement("em");
    legend.append(this.note);
  }

  /* Made when it is first seen, at the size that it has then. */
  make() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    const chart = this.spec;
    this.u = new uPlot({
      width, height, padding: [8, 10, 0, 0], legend: { show: false },
      cursor: {
        sync: { key: cursor.key, setSeries: false }, points: { size: 6 }, y: false,
        drag: { x: true, y: false, setScale: false },
      },
      scales: {
        x: { time: true, range: (u, min, max) => this.window ?? [min, max] },
        y: chart.heat ? { distr: 3, range: range(chart) } : { range: range(chart) },
      },
      axes: axes(chart),
      series: [{}, ...series(chart)],
      bands: bands(chart),
      hooks: {
        drawClear: chart.heat ? [(u) => drawHeat(u, this.heat)] : [],
        draw: [drawMarks],
        setCursor: [(u) => this.showValues(u)],
        setSelect: [(u) => this.zoom(u)],
      },
    }, this.data(), this.plot);
  }

  zoom(u) {
    const { left, width } = u.select;
    if (width < 6) return;
    const from = u.posToVal(left, "x");
    const to = u.posToVal(left + width, "x");
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.onZoom(from, to);
  }

  showValues(u) {
    const at = u.cursor.idx;
    const isHeld = at != null && u.cursor.left >= 0;
    const row = isHeld ? at : this.times.length - 1;
    this.values.forEach((value, i) => {
      const text = this.spec.format(this.columns[i][row] ?? null);
      if (value.textContent !== text) value.textContent = text;
    });
    const mark = isHeld ? markAt(u, u.cursor.left) : null;
    this.note.textContent = mark ? `${clock(mark.time)} ${mark.text}` : "";
    this.element.classList.toggle("is-held", isHeld);
  }

  data() {
    return [this.times, ...(this.spec.isStacked ? stack(this.columns) : this.columns)];
  }

  /* window: [from, to] in wall seconds, which the x axis shows whether there are values or not. */
  set(times, columns, cells, step, window) {
    Object.assign(this, { times, columns, window, isDirty: true });
    this.heat = cells ? { times, cells, step } : null;
    this.draw();
  }

  append(time, values, cells, window) {
    const keep = this.times.findIndex((t) => t >= window[0]);
    if (keep > 0) {
      this.times.splice(0, keep);
      for (const column of this.columns) column.splice(0, keep);
      this.heat?.cells.splice(0, keep);
    }
    if (this.times.at(-1) >= time) return;
    this.times.push(time);
    this.columns.forEach((column, i) => column.push(values[i]));
    this.heat?.cells.push(cells);
    this.window = window;
    this.isDirty = true;
    this.draw();
  }

  draw() {
    if (!this.isDirty || !this.isVisible || this.plot.clientWidth === 0) return;
    this.isDirty = false;
    if (!this.u) this.make();
    else this.u.setData(this.data());
    this.showValues(this.u);
  }

  setVisible(isVisible) {
    this.isVisible = isVisible;
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (this.u && width > 0 && (this.u.width !== width || this.u.height !== height)) this.u.setSize({ width, height });
  }

  /* Colours have changed. */
  repaint() {
    this.u?.redraw(false);
  }

  remove() {
    this.u?.destroy();
    this.element.remove();
  }
}
