// How that is drawn: two canvases, one with the picture and a glass over it with what follows the pointer.
//
// A picture of the whole run would have many symbols on each pixel, so what falls on one place is drawn once: bars by
// column and row, messages as strips whose strength says how many they stand for. What went wrong is never left out.

const canvas = document.getElementById("lanes");
const glass = document.getElementById("glass");
const overview = document.querySelector("#overview canvas");
let g = canvas.getContext("2d");
const FONT = '11px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
const SMALL = '10px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';

// What a pointer can meet, in the order in which it was drawn: shape, its two corners, table and row or a text.
let hits = [];

const color = (name) =>
  S.colors[name] ?? (S.colors[name] = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
const shown = (symbol) => !S.off.has(symbol);

let asked = false;
function changed() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
    drawOverview();
    drawGlass();
    seen();
  });
}

// Gives a canvas the size it has on the screen, and a context that counts in the pixels of the page.
function sizeTo(element, width, height) {
  const dots = window.devicePixelRatio || 1;
  if (element.width !== Math.round(width * dots) || element.height !== Math.round(height * dots)) {
    element.width = Math.round(width * dots);
    element.height = Math.round(height * dots);
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
  }
  const context = element.getContext("2d");
  context.reset?.();
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  context.textBaseline = "middle";
  return context;
}

function draw() {
  const box = document.getElementById("stage").getBoundingClientRect();
  [S.width, S.height] = [box.width, box.height];
  layOut();
  g = sizeTo(canvas, S.width, S.height);
  hits = [];
  const from = timeAt(LEFT - 20),
    until = timeAt(S.width + 20);
  g.save();
  g.beginPath();
  g.rect(0, AXIS, S.width, S.height - AXIS);
  g.clip();
  const grid = axis();
  drawGround(grid);
  drawSpans(from, until);
  drawCuts(from, until);
  drawMessages(from, until);
  drawBars(from, until);
  drawTicks(from, until);
  drawRequests(from, until);
  drawLinks(from, until);
  drawLife(from, until);
  drawFaults(from, until);
  drawNotes(from, until);
  drawEvidence();
  drawNames();
  g.restore();
  drawAxis(grid);
  drawViolations();
}

// Ground.

function drawGround({ moments, folds }) {
  for (const lane of lanes) {
    g.fillStyle = color(lane.node % 2 ? "lane-other" : "lane");
    g.fillRect(LEFT, Y(lane.top), plot(), lane.bottom - lane.top);
  }
  g.strokeStyle = color("grid");
  g.lineWidth = 1;
  g.beginPath();
  for (const t of moments) {
    const x = Math.round(X(t)) + 0.5;
    g.moveTo(x, AXIS);
    g.lineTo(x, S.height);
  }
  g.stroke();
  g.fillStyle = hatch("line", 6, 0.55);
  for (const { from, to } of folds) {
    const [x0, x1] = [Math.max(X(from), LEFT), Math.min(X(to), S.width)];
    g.fillRect(x0, AXIS, x1 - x0, S.height);
  }
  for (const lane of lanes) {
    g.fillStyle = color("line");
    g.fillRect(0, Math.round(Y(lane.bottom)), S.width, 1);
    for (const place of lane.places) {
      g.fillStyle = color("grid");
      g.fillRect(LEFT, Math.round(Y(place.y + place.rows * S.size.track + S.size.tick + 2)), plot(), 1);
    }
  }
  if (S.off.has("phase")) return;
  for (const phase of phases) {
    const x = X(phase.at);
    if (x < LEFT || x > S.width) continue;
    dashed([2, 4], () => line(x, AXIS, x, S.height, color("phase"), 1));
  }
}

function line(x0, y0, x1, y1, style, width) {
  g.strokeStyle = style;
  g.lineWidth = width;
  g.beginPath();
  g.moveTo(x0, y0);
  g.lineTo(x1, y1);
  g.stroke();
}

function dashed(pattern, draws) {
  g.setLineDash(pattern);
  draws();
  g.setLineDash([]);
}

const patterns = new Map();
function hatch(name, size, strength) {
  const key = `${name} ${size} ${strength} ${S.dark}`;
  if (!patterns.has(key)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = size * 2;
    const p = tile.getContext("2d");
    p.strokeStyle = color(name);
    p.globalAlpha = strength;
    p.lineWidth = 1.6;
    for (const shift of [-size * 2, 0, size * 2]) {
      p.moveTo(shift, size * 2);
      p.lineTo(shift + size * 2, 0);
    }
    p.stroke();
    const pattern = g.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(0.5));
    patterns.set(key, pattern);
  }
  return patterns.get(key);
}

function fade(strength, draws) {
  const before = g.globalAlpha;
  g.globalAlpha = before * strength;
  draws();
  g.globalAlpha = before;
}

// A text that ends before `until`; nothing if there is no room for it. Returns how wide it is. One that stands on lines
// gets a rim.
function label(words, x, y, until, style, rim) {
  const room = until - x;
  if (room < 14) return 0;
  let fits = words;
  for (let wide = g.measureText(fits).width; wide > room; wide = g.measureText(fits).width) {
    const most = Math.min(Math.floor((fits.length * room) / wide), fits.length - 2);
    if (most < 3) return 0;
    fits = `${words.slice(0, most)}…`;
  }
  if (rim) {
    g.strokeStyle = color("page");
    g.lineWidth = 3;
    g.lineJoin = "round";
    fade(0.85, () => g.strokeText(fits, x, y));
  }
  g.fillStyle = style;
  g.fillText(fits, x, y);
  return g.measureText(fits).width;
}

// Spans of nodes.

const SPAN = ["not started", "killed", "without power", "ended", "paused"];

function drawSpans(from, until) {
  const c = spans.cells;
  each(spans, from, until, (i) => {
    const lane = lanes[c[i + spans.node]];
    const kind = c[i + spans.kind];
    const x0 = Math.max(X(at(spans, i)), LEFT - 2),
      x1 = Math.min(X(end(spans, i)), S.width + 2);
    const [y, tall] = [Y(lane.top), lane.bottom - lane.top];
    if (kind === 4) {
      if (!shown("pause")) return;
      fade(0.3, () => {
        g.fillStyle = color("pause");
        g.fillRect(x0, y, x1 - x0, tall);
      });
    } else {
      const tint = ["faint", "crash", "power", "faint"][kind];
      if (kind === 1 || kind === 2)
        fade(0.05, () => {
          g.fillStyle = color(tint);
          g.fillRect(x0, y, x1 - x0, tall);
        });
      g.fillStyle = hatch(tint, 5, kind === 1 || kind === 2 ? 0.34 : 0.3);
      g.fillRect(x0, y, Math.max(x1 - x0, 1), tall);
    }
    hits.push(["back", x0, y, x1, y + tall, spans, i]);
  });
  // The line of life: where the node runs.
  const begin = Math.max(X(0), LEFT),
    stop = Math.min(X(END), S.width);
  for (const lane of lanes) line(begin, Y(lane.net), stop, Y(lane.net), color("ink"), 1.5);
  each(spans, from, until, (i) => {
    if (c[i + spans.kind] === 4) return;
    const y = netY(c[i + spans.node]);
    const x0 = Math.max(X(at(spans, i)), LEFT),
      x1 = X(end(spans, i));
    line(x0, y, Math.max(x1, x0 + 1), y, color("page"), 2.5);
    dashed([1, 3], () => line(x0, y, x1, y, color("faint"), 1));
  });
}

function drawCuts(from, until) {
  if (!shown("cut")) return;
  const c = cuts.cells;
  each(cuts, from, until, (i) => {
    const [a, b] = [c[i + cuts.from], c[i + cuts.to]];
    const x0 = Math.max(X(at(cuts, i)), LEFT - 2),
      x1 = Math.max(Math.min(X(end(cuts, i)), S.width + 2), x0 + 1);
    const [y0, y1] = [netY(a), netY(b)];
    const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
    fade(0.09, () => {
      g.fillStyle = color("cut");
      g.fillRect(x0, top, x1 - x0, bottom - top);
    });
    // A wall before the receiver, for the direction.
    const wall = b > a ? y1 - 5 : y1 + 2;
    fade(0.75, () => {
      g.fillStyle = color("cut");
      g.fillRect(x0, wall, x1 - x0, 3);
    });
    fade(0.4, () =>
      dashed([3, 3], () => {
        line(x0, y0, x0, y1, color("cut"), 1);
        line(x1, y0, x1, y1, color("cut"), 1);
      }),
    );
    if (x1 - x0 > 60) {
      g.font = SMALL;
      // One direction says so at a third of the way, the other at two thirds.
      label(`cut: ${NAME[a]} → ${NAME[b]}`, Math.max(x0, LEFT) + 5, y0 + (y1 - y0) * 0.66, x1 - 4, color("cut"), true);
      g.font = FONT;
    }
    hits.push(["back", x0, top, x1, bottom, cuts, i]);
  });
}

// What lies over everything.

function drawNames() {
  g.fillStyle = color("raised");
  g.fillRect(0, AXIS, LEFT, S.height - AXIS);
  g.fillStyle = color("line");
  g.fillRect(LEFT - 1, 0, 1, S.height);
  for (const lane of lanes) {
    g.fillRect(0, Math.round(Y(lane.bottom)), LEFT, 1);
    g.font = `650 ${FONT.replace("11px", "12px")}`;
    label(lane.name, 10, Y(lane.low ? lane.life + 7 : lane.net), LEFT - 6, color("ink"));
    g.font = SMALL;
    const aside = (text, y) => {
      g.fillStyle = color("dim");
      g.textAlign = "right";
      g.fillText(text, LEFT - 8, y);
      g.textAlign = "left";
    };
    for (const place of lane.places)
      aside(
        place.core ? `disk, core ${place.core - 1}` : "disk",
        Y(place.y) + (place.rows ? place.rows * S.size.track : S.size.tick) / 2,
      );
    if (lane.rows) aside("requests", Y(lane.requests) + (lane.rows * S.size.request) / 2 - 1);
    if (lane.low) aside("network", Y(lane.net));
    g.font = FONT;
    g.fillStyle = color("line");
  }
}

function drawAxis({ moments, wide, folds }) {
  g.fillStyle = color("raised");
  g.fillRect(0, 0, S.width, AXIS);
  g.fillStyle = color("line");
  g.fillRect(0, AXIS - 1, S.width, 1);
  g.fillStyle = color("dim");
  g.textAlign = "right";
  g.fillText("ms", LEFT - 8, AXIS / 2);
  g.textAlign = "left";
  g.save();
  g.beginPath();
  g.rect(LEFT, 0, plot(), AXIS);
  g.clip();
  for (const { from, to } of folds) {
    const x0 = X(from),
      x1 = X(to);
    g.fillStyle = hatch("faint", 6, 0.6);
    g.fillRect(x0, 0, x1 - x0, AXIS - 1);
    g.font = SMALL;
    const text = lasting(to - from);
    if (x1 - x0 > g.measureText(text).width + 8) {
      const middle = (Math.max(x0, LEFT) + Math.min(x1, S.width)) / 2;
      const half = g.measureText(text).width / 2;
      g.fillStyle = color("raised");
      g.fillRect(middle - half - 3, 6, half * 2 + 6, AXIS - 13);
      g.fillStyle = color("dim");
      g.fillText(text, middle - half, AXIS / 2);
    }
    g.font = FONT;
  }
  let free = LEFT;
  for (const t of moments) {
    const x = X(t);
    g.fillStyle = color("faint");
    g.fillRect(Math.round(x), AXIS - 7, 1, 6);
    const text = ms(t, wide);
    const half = g.measureText(text).width / 2;
    if (x - half < free + 6) continue;
    g.fillStyle = color("dim");
    g.fillText(text, x - half, AXIS / 2 - 2);
    free = x + half;
  }
  if (S.found) {
    g.fillStyle = color("found");
    for (const t of S.found.times) g.fillRect(X(t) - 1, AXIS - 6, 2, 5);
  }
  g.restore();
  if (!S.off.has("phase")) drawPhases();
}

// The names of phases, at the foot of the picture, where there is mostly room.
function drawPhases() {
  phases.forEach((phase, index) => {
    const x = X(phase.at),
      next = index + 1 < phases.length ? X(phases[index + 1].at) : S.width;
    if (x > S.width || next < LEFT) return;
    g.font = SMALL;
    const wide = g.measureText(phase.text).width;
    const from = x + 5 + wide > S.width ? Math.max(S.width - wide - 5, LEFT) : Math.max(x, LEFT) + 5;
    label(phase.text, from, S.height - 8, Math.min(next, S.width) - 4, color("phase"), true);
    g.font = FONT;
  });
}

function drawEvidence() {
  const chosen = S.chosen;
  if (!chosen) return;
  chosen.evidence.forEach(([t, text]) => {
    const x = X(t);
    if (x < LEFT || x > S.width) return;
    dashed([4, 4], () => line(x, AXIS, x, S.height, color("violation"), 1));
    hits.push(["edge", x, AXIS, x, S.height, "evidence", { t, text }]);
  });
}

function drawViolations() {
  for (const violation of violations) {
    const x = X(violation.at);
    if (x < LEFT || x > S.width) continue;
    const chosen = S.chosen === violation;
    fade(chosen ? 1 : 0.8, () => line(x, AXIS - 4, x, S.height, color("violation"), chosen ? 2.4 : 1.4));
    const text = String(violation.index + 1);
    g.font = `bold ${SMALL}`;
    const half = g.measureText(text).width / 2 + 5;
    g.fillStyle = color("violation");
    g.beginPath();
    g.roundRect(x - half, AXIS - 18, half * 2, 15, 7);
    g.fill();
    g.fillStyle = color("page");
    g.fillText(text, x - half + 5, AXIS - 10);
    g.font = FONT;
    hits.push(["edge", x, AXIS - 18, x, S.height, "violation", violation]);
  }
}
