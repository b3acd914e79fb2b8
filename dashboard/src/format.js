/*
 * Numbers, times and names as people read them. Every figure on the page goes through here.
 */

const DASH = "–";

function digits(value) {
  const size = Math.abs(value);
  if (size >= 100 || size === 0) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1).replace(/\.0$/, "");
  if (size >= 0.095) return value.toFixed(2).replace(/0$/, "").replace(/\.0$/, "");
  return value.toPrecision(1);
}

function scaled(value, step, units) {
  let size = Math.abs(value);
  let unit = 0;
  while (size >= step * 0.9995 && unit < units.length - 1) {
    size /= step;
    value /= step;
    unit++;
  }
  return digits(value) + units[unit];
}

/* Each takes a finite number or null (not known). */
export const format = {
  count: (v) => (v == null ? DASH : scaled(v, 1000, ["", " k", " M", " G"])),
  rate: (v) => (v == null ? DASH : scaled(v, 1000, ["/s", " k/s", " M/s"])),
  percent: (v) => (v == null ? DASH : digits(v) + " %"),
  bytes: (v) => (v == null ? DASH : scaled(v, 1024, [" B", " KiB", " MiB", " GiB", " TiB"])),
  byteRate: (v) => (v == null ? DASH : scaled(v, 1024, [" B/s", " KiB/s", " MiB/s", " GiB/s"])),
  us: (v) => (v == null ? DASH : v === 0 ? "0 ms" : scaled(v, 1000, [" µs", " ms", " s"])),
  ms: (v) => (v == null ? DASH : format.us(v * 1000)),
  cores: (v) => (v == null ? DASH : digits(v) + (Math.abs(v) === 1 ? " core" : " cores")),
};

/* A length of time: "8 s", "4 min", "3 h", "2 days". */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

const pad = (n) => String(n).padStart(2, "0");

/* Wall seconds as a time of day, with the day when it is not today. */
export function clock(seconds, withSeconds = true) {
  const d = new Date(seconds * 1000);
  const time = `${pad(d.getHours())}:${pad(d.getMinutes())}` + (withSeconds ? `:${pad(d.getSeconds())}` : "");
  return d.toDateString() === new Date().toDateString() ? time : `${d.getMonth() + 1}/${d.getDate()} ${time}`;
}

/* For an axis with a label every `step` seconds: the time, at midnight the day. */
export function moment(seconds, step) {
  const d = new Date(seconds * 1000);
  const isDay = step >= 86400 || (step >= 1800 && d.getHours() === 0 && d.getMinutes() === 0);
  if (isDay) return `${d.getMonth() + 1}/${d.getDate()}`;
  return `${pad(d.getHours())}:${pad(d.getMinutes())}` + (step < 60 ? `:${pad(d.getSeconds())}` : "");
}
