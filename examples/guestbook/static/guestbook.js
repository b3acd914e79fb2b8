// Times in the reader's own time zone, and the live view: one small request after the other, each a
// bar as high as it took and coloured by the worker that answered.
'use strict';

for (const time of document.querySelectorAll('time')) {
  const date = new Date(time.dateTime);
  time.title = date.toISOString();
  time.textContent = date.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}

const button = document.getElementById('watch');
const bars = document.getElementById('bars');
const legend = document.getElementById('legend');
const summary = document.getElementById('summary');
const BARS = 60;
const PAUSE_MS = 250;
const workers = new Map();
let asked = 0, failed = 0, timer = null;

function colour(key) {
  if (!workers.has(key)) {
    const item = document.createElement('li');
    const mark = document.createElement('i');
    const count = document.createElement('b');
    const hue = (205 + workers.size * 137) % 360;
    mark.style.background = `hsl(${hue} 55% 52%)`;
    item.append(mark, key, count);
    legend.append(item);
    workers.set(key, { hue, count, item, seen: 0, last: 0 });
  }
  return workers.get(key);
}

function draw(ms, worker, text) {
  const bar = document.createElement('i');
  bar.title = text;
  if (worker) {
    bar.style.height = Math.min(100, 12 + Math.sqrt(ms) * 7) + '%';
    bar.style.background = `hsl(${worker.hue} 55% 52%)`;
  } else {
    bar.className = 'bad';
  }
  bars.append(bar);
  while (bars.childElementCount > BARS) bars.firstChild.remove();
}

function show(answer) {
  document.getElementById('server').textContent = answer.server;
  document.getElementById('worker').textContent = 'pid ' + answer.worker;
  const found = answer.database;
  document.getElementById('database').textContent = found ? found.host : 'not reached';
  document.getElementById('database').closest('li').classList.toggle('bad', !found);
  const connection = document.getElementById('connection');
  if (connection && found) {
    connection.textContent = 'connection ' + found.connection + (found.read_only ? ', read only' : '');
  }
}

async function ask() {
  const start = performance.now();
  let why = '';
  asked++;
  try {
    const response = await fetch(button.dataset.url, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    const answer = await response.json();
    const ms = performance.now() - start;
    show(answer);
    if (response.ok) {
      const key = answer.server + ' · pid ' + answer.worker;
      const worker = colour(key);
      worker.count.textContent = ++worker.seen;
      worker.last = asked;
      draw(ms, worker, `${key}: ${ms.toFixed(1)} ms`);
    } else {
      why = answer.error || 'status ' + response.status;
    }
  } catch (error) {
    why = String(error.message || error);
  }
  if (why) {
    failed++;
    draw(0, null, why);
  }
  for (const [key, worker] of workers) { // a worker that no longer answers leaves the list
    if (asked - worker.last > BARS * 2) { worker.item.remove(); workers.delete(key); }
  }
  summary.textContent = `${asked} requests, ${failed} failed${why ? ': ' + why : ''}`;
  if (timer !== null) timer = setTimeout(ask, PAUSE_MS);
}

button.hidden = false;
button.addEventListener('click', () => {
  const starts = timer === null;
  button.textContent = starts ? 'Stop watching' : 'Watch live';
  document.getElementById('live').hidden = false;
  if (starts) {
    timer = setTimeout(ask, 0);
  } else {
    clearTimeout(timer);
    timer = null;
  }
});
if (location.hash === '#watching') button.click();
