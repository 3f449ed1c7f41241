// Which part of the run is seen: time to place and back, and where each lane lies.
//
// Idle stretches can be folded, so between time and place stands `u`: as long as the time outside of folds, and much
// shorter in them.

const LEFT = 128;
const AXIS = 28;

const S = {
  u0: 0,
  u1: 1,
  folding: false,
  scroll: 0,
  width: 0,
  height: 0,
  tall: 0,
  size: null,
  focus: null,
  chosen: null,
  off: new Set(),
  found: null,
  colors: {},
};

// Folds.

const { folds, foldedEnd } = (() => {
  const all = [0, END, ...violations.map((v) => v.at), ...phases.map((p) => p.at)];
  for (const table of TABLES) {
    if (table === spans || table === cuts) continue;
    every(table, (i) => {
      all.push(at(table, i), Math.min(end(table, i), END));
    });
  }
  const times = Float64Array.from(all).sort();
  const usual = Math.max(END / 500, 1000);
  const folds = [];
  let saved = 0;
  for (let i = 1; i < times.length; i++) {
    const gap = times[i] - times[i - 1];
    if (gap <= 4 * usual) continue;
    // Longer ones stay longer, and what stands at either end keeps room around it.
    const [from, to] = [times[i - 1] + usual, times[i] - usual];
    const shown = Math.min(usual * Math.log2(gap / usual), to - from);
    folds.push({ from, to, u: from - saved, shown });
    saved += to - from - shown;
  }
  return { folds, foldedEnd: END - saved };
})();

// The last of the folds that begins at or before `value` of `key`, or -1.
function foldBefore(value, key) {
  let [low, high] = [0, folds.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (folds[middle][key] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function toU(t) {
  if (!S.folding) return t;
  const index = foldBefore(t, "from");
  if (index < 0) return t;
  const fold = folds[index];
  if (t <= fold.to) return fold.u + ((t - fold.from) / (fold.to - fold.from)) * fold.shown;
  return fold.u + fold.shown + (t - fold.to);
}

function toTime(u) {
  if (!S.folding) return u;
  const index = foldBefore(u, "u");
  if (index < 0) return u;
  const fold = folds[index];
  if (u <= fold.u + fold.shown) return fold.from + ((u - fold.u) / fold.shown) * (fold.to - fold.from);
  return fold.to + (u - fold.u - fold.shown);
}

const endU = () => (S.folding ? foldedEnd : END);
const plot = () => Math.max(S.width - LEFT, 1);
const X = (t) => LEFT + ((toU(t) - S.u0) / (S.u1 - S.u0)) * plot();
const timeAt = (x) => toTime(S.u0 + ((x - LEFT) / plot()) * (S.u1 - S.u0));

// Shows `u0..u1`, as near as there is something to see.
function show(u0, u1) {
  const margin = endU() * 0.01;
  const wide = Math.min(Math.max(u1 - u0, 200), endU() + 2 * margin);
  const least = -margin,
    most = endU() + margin - wide;
  S.u0 = Math.min(Math.max((u0 + u1 - wide) / 2, least), Math.max(most, least));
  S.u1 = S.u0 + wide;
  changed();
}

const showAll = () => show(-endU() * 0.01, endU() * 1.01);
const showTimes = (from, to) => show(toU(from), toU(to));

function zoom(factor, x) {
  const u = S.u0 + ((x - LEFT) / plot()) * (S.u1 - S.u0);
  show(u - (u - S.u0) * factor, u + (S.u1 - u) * factor);
}

const pan = (pixels) => {
  const by = (pixels * (S.u1 - S.u0)) / plot();
  show(S.u0 + by, S.u1 + by);
};

// Shows a moment in the middle. Zooms in if the view is that of the whole run, in which nothing could be told apart.
function goTo(t) {
  const wide = Math.min(S.u1 - S.u0, Math.max(endU() / 40, 1e6));
  show(toU(t) - wide / 2, toU(t) + wide / 2);
}

function fold(on) {
  const [from, to] = [toTime(S.u0), toTime(S.u1)];
  S.folding = on;
  showTimes(from, to);
}

// Lanes.

const NAME = D.nodes;
// How tall rows of disks, of points on them and of requests are: with room for words, or as small as can be.
const SIZES = [
  { track: 14, tick: 8, request: 14, words: true },
  { track: 12, tick: 7, request: 11, words: true },
  { track: 9, tick: 6, request: 8, words: false },
];

// A lane from top to bottom. The first node and those with a disk have what they do above the line of their network, others
// below it, so that messages between servers above and clients below cross little. All places are from the top of the paper.
const lanes = NAME.map((name, node) => ({
  name,
  node,
  tracks: D.tracks[node] ?? [],
  rows: D.requestRows[node] ?? 0,
  notes: false,
  top: 0,
  bottom: 0,
  low: node === 0 || D.tracks[node]?.length > 0,
}));
every(notes, (i) => {
  const node = notes.cells[i + notes.node];
  if (node > 0) lanes[node - 1].notes = true;
});
const worldNotes = pick(notes, (i) => notes.cells[i + notes.node] === 0).length > 0;

function layOut() {
  const between = Math.max(lanes.length - 1, 1);
  let room = 0;
  for (const size of SIZES) {
    S.size = size;
    S.tall = placeLanes(0);
    room = S.height - AXIS - 14 - S.tall;
    if (room / between > 12) break;
  }
  if (room > 0) S.tall = placeLanes(Math.min(room / between, 120));
  S.scroll = Math.min(Math.max(S.scroll, 0), Math.max(S.tall - (S.height - AXIS - 14), 0));
}

// Places the lanes with `extra` room between two of them and returns how much they take.
function placeLanes(extra) {
  let y = worldNotes ? 18 : 4;
  for (const lane of lanes) {
    lane.top = y;
    if (!lane.low) {
      y += 12;
      lane.net = y;
      y += 6;
    }
    lane.life = y;
    y += 15;
    lane.flags = y;
    if (lane.notes) y += 15;
    lane.places = lane.tracks.map(([core, rows]) => {
      const place = { core, rows, y };
      y += rows * S.size.track + S.size.tick + 6;
      return place;
    });
    lane.requests = y;
    if (lane.rows) y += lane.rows * S.size.request + 5;
    if (lane.low) {
      y += 8;
      lane.net = y;
      y += 10;
    }
    lane.bottom = y;
    y += 6 + extra;
  }
  return y - extra;
}

const Y = (y) => AXIS + y - S.scroll;
const netY = (node) => Y(lanes[node].net);

function trackOf(node, core) {
  const places = lanes[node].places;
  return places.find((place) => place.core === core);
}

// Times as people read them.

// Milliseconds, with the digits that `step` nanoseconds need.
function ms(t, step) {
  const digits = step >= 1e6 ? 0 : Math.min(6, Math.ceil(-Math.log10(step / 1e6) - 1e-9));
  return (t / 1e6).toFixed(digits);
}

const exactly = (t) => `${(t / 1e6).toFixed(6)} ms`;

function lasting(ns) {
  const [unit, name] = ns >= 1e9 ? [1e9, "s"] : ns >= 1e6 ? [1e6, "ms"] : ns >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  return `${Number((ns / unit).toPrecision(3))} ${name}`;
}

function sized(bytes) {
  const [unit, name] = bytes >= 1048576 ? [1048576, "MiB"] : bytes >= 1024 ? [1024, "KiB"] : [1, "B"];
  return `${Number((bytes / unit).toPrecision(3))} ${name}`;
}

// The round step of at least `least`.
function step(least) {
  const ten = 10 ** Math.floor(Math.log10(least));
  return ten * [1, 2, 5, 10].find((factor) => ten * factor >= least * (1 - 1e-9));
}

// Moments with a name on the axis, and the folds that are seen.
function axis() {
  const [from, to] = [Math.max(timeAt(LEFT), 0), Math.min(timeAt(S.width), END)];
  const wide = step(((S.u1 - S.u0) / plot()) * 96);
  const moments = [];
  let begin = from;
  const seen = S.folding ? folds.filter((fold) => fold.to > from && fold.from < to) : [];
  for (const until of [...seen, { from: to, to }]) {
    for (let t = Math.ceil(begin / wide) * wide; t <= until.from; t += wide) moments.push(t);
    begin = Math.max(until.to, from);
  }
  return { moments, wide, folds: seen };
}
