// What happens on the lanes: messages between them, and what each node does to its disk, is asked and says.

// Messages.

function dimmed(table, i) {
  const focus = S.focus;
  if (!focus) return false;
  const c = table.cells;
  switch (table) {
    case messages:
      return !focus.connections?.has(c[i + messages.connection]);
    case links:
      return !focus.connections?.has(c[i + links.connection]);
    case bars:
      return !focus.texts?.has(c[i + bars.path]);
    case ticks:
      return (
        !focus.texts?.has(c[i + ticks.path]) && !(c[i + ticks.kind] === 1 && focus.texts?.has(c[i + ticks.detail]))
      );
    case notes:
      return !focus.texts?.has(c[i + notes.text]);
    case requests:
      return !focus.texts?.has(c[i + requests.text]);
    case faults: {
      const detail = c[i + faults.detail];
      if (focus.texts?.has(c[i + faults.fault])) return false;
      return c[i + faults.device] ? !focus.connections?.has(detail - 1) : !focus.texts?.has(detail);
    }
    default:
      return false;
  }
}

function drawMessages(from, until) {
  const c = messages.cells;
  let count = 0;
  each(messages, from, until, () => {
    count++;
  });
  const crowded = count > S.width;
  const strips = new Map();
  const paths = new Map();
  const faint = new Set();
  const special = [];
  each(messages, from, until, (i) => {
    const symbol = MESSAGE[c[i + messages.fate]];
    if (!shown(symbol)) return;
    if (symbol !== "sent") {
      special.push(i);
      return;
    }
    const [a, b] = [c[i + messages.from], c[i + messages.to]];
    const x0 = X(at(messages, i)),
      x1 = X(end(messages, i));
    const dim = dimmed(messages, i);
    if (crowded && x1 - x0 < 8 && !(S.focus && !dim)) {
      const key = (Math.floor(x0 / 2) * NAME.length + a) * NAME.length + b;
      const strip = strips.get(key);
      if (strip) {
        strip.count++;
        strip.bytes += c[i + messages.bytes];
        strip.x1 = Math.max(strip.x1, x1);
      } else strips.set(key, { x0, x1, a, b, count: 1, bytes: c[i + messages.bytes], dim });
      return;
    }
    if (dim) {
      // Thin lines on each other would add up to a strong one.
      const place = `${Math.round(x0 / 2)} ${Math.round(x1 / 2)} ${a} ${b}`;
      if (faint.has(place)) return;
      faint.add(place);
    }
    const name = `${b >= a ? "down" : "up"}${dim ? "-dim" : ""}`;
    if (!paths.has(name)) paths.set(name, new Path2D());
    traceMessage(paths.get(name), x0, x1, a, b, count < 500);
    hits.push(["line", x0, netY(a), x1, netY(b), messages, i]);
  });
  for (const { x0, x1, a, b, count: many, bytes, dim } of strips.values()) {
    fade(dim ? 0.06 : Math.min(0.16 + 0.1 * Math.log2(many), 0.8), () =>
      line(x0, netY(a), x1, netY(b), color(b >= a ? "down" : "up"), 1.6),
    );
    hits.push(["line", x0, netY(a), x1, netY(b), "strip", { many, bytes, a, b }]);
  }
  for (const [name, path] of paths) {
    g.strokeStyle = color(name.replace("-dim", ""));
    g.lineWidth = count < 400 ? 1.4 : 1;
    fade(name.endsWith("-dim") ? 0.1 : count < 2000 ? 0.9 : 0.5, () => g.stroke(path));
  }
  drawSpecials(special);
  if (count < 80) each(messages, from, until, writeOnMessage);
}

// Adds a message to a path: a line, for one within a node a bow, with an arrow if there is room.
function traceMessage(path, x0, x1, a, b, arrow) {
  const [y0, y1] = [netY(a), netY(b)];
  path.moveTo(x0, y0);
  if (a === b) {
    path.quadraticCurveTo((x0 + x1) / 2, y0 - 18, x1, y1);
    return;
  }
  path.lineTo(x1, y1);
  if (!arrow) return;
  const angle = Math.atan2(y1 - y0, x1 - x0);
  for (const turn of [2.75, -2.75]) {
    path.moveTo(x1, y1);
    path.lineTo(x1 + 7 * Math.cos(angle + turn), y1 + 7 * Math.sin(angle + turn));
  }
}

// Messages that are drawn one by one; of many on the same pixels only one.
function drawSpecials(special) {
  const c = messages.cells;
  const there = new Set();
  for (const i of special) {
    if (special.length > 1000) {
      const place = [X(at(messages, i)), X(end(messages, i))].map((x) => Math.round(x / 3));
      const key = [
        ...place,
        c[i + messages.from],
        c[i + messages.to],
        c[i + messages.fate],
        dimmed(messages, i),
      ].join();
      if (there.has(key)) continue;
      there.add(key);
    }
    drawSpecial(i);
  }
}

// A message that was held or lost, or is under way at the end.
function drawSpecial(i) {
  const c = messages.cells;
  const lost = c[i + messages.fate] === 2;
  const [a, b] = [c[i + messages.from], c[i + messages.to]];
  const x0 = X(at(messages, i)),
    x1 = X(end(messages, i));
  const [y0, y1] = [netY(a), netY(b)];
  const held = c[i + messages.fate] === 1 || c[i + messages.expected] < 0;
  const tint = color(lost ? "lost" : held ? "held" : b >= a ? "down" : "up");
  // What is lost ends on its way: as far as it had come, if that is known.
  const [took, expected] = [c[i + messages.took], c[i + messages.expected]];
  const part = !lost ? 1 : expected > 0 ? Math.min(Math.max(took / expected, 0.15), 0.85) : 0.8;
  const [xe, ye] = [lost && took >= expected ? x0 + (x1 - x0) * part : x1, y0 + (y1 - y0) * part];
  fade(dimmed(messages, i) ? 0.1 : 0.9, () => {
    dashed(held ? [5, 3] : [], () => {
      g.strokeStyle = tint;
      g.lineWidth = 1.3;
      const path = new Path2D();
      if (lost) {
        path.moveTo(x0, y0);
        path.lineTo(xe, ye);
      } else traceMessage(path, x0, x1, a, b, true);
      g.stroke(path);
    });
    if (lost) cross(xe, ye, 3.5, tint);
  });
  hits.push(["line", x0, y0, xe, ye, messages, i]);
}

function writeOnMessage(i) {
  const c = messages.cells;
  const x0 = X(at(messages, i)),
    x1 = X(end(messages, i));
  if (x1 - x0 < 26 || dimmed(messages, i)) return;
  const [y0, y1] = [netY(c[i + messages.from]), netY(c[i + messages.to])];
  if (y0 === y1 || !shown(symbolOf(messages, i))) return;
  g.save();
  g.translate(x0 + (x1 - x0) * 0.3, y0 + (y1 - y0) * 0.3);
  g.rotate(Math.atan((y1 - y0) / (x1 - x0)));
  g.font = SMALL;
  label(`c${c[i + messages.connection]} ${sized(c[i + messages.bytes])}`, 2, -8, 200, color("dim"), true);
  g.restore();
}

function cross(x, y, size, style) {
  line(x - size, y - size, x + size, y + size, style, 1.7);
  line(x - size, y + size, x + size, y - size, style, 1.7);
}

// Disks.

function drawBars(from, until) {
  const c = bars.cells;
  const last = new Map();
  const failed = [];
  const named = [];
  const drawOne = (i) => {
    const symbol = symbolOf(bars, i);
    const place = trackOf(c[i + bars.node], c[i + bars.core]);
    if (!shown(symbol) || !place) return;
    if (symbol === "failed" && !failed.done) {
      failed.push(i);
      return;
    }
    const x0 = X(at(bars, i)),
      wide = Math.max(X(end(bars, i)) - x0, 1);
    const y = Y(place.y + c[i + bars.row] * S.size.track);
    const dim = dimmed(bars, i);
    if (wide <= 1.5 && (!S.focus || dim) && symbol !== "failed") {
      // One bar per column and row, unless a weightier one comes.
      const key = c[i + bars.node] * 1e6 + c[i + bars.core] * 1e3 + c[i + bars.row];
      const column = Math.floor(x0) * 4 + c[i + bars.kind];
      const before = last.get(key);
      if (before !== undefined && before >= column && before - column < 4) return;
      last.set(key, column);
    }
    fade(dim ? 0.15 : 1, () => {
      g.fillStyle = color(symbol);
      g.fillRect(x0, y, wide > 3 ? wide - 0.5 : wide, S.size.track - 1.5);
    });
    if (!dim) named.push([i, x0, wide, y, symbol === "write" ? "ink" : "page"]);
    hits.push(["rect", x0, y, x0 + wide, y + S.size.track - 1, bars, i]);
  };
  each(bars, from, until, drawOne);
  failed.done = true;
  failed.forEach(drawOne);
  nameRows(named, S.size.track, barWords);
}

// Words on bars, as long as the bar and what comes next in its row allow.
function nameRows(named, tall, words) {
  if (!S.size.words) return;
  g.font = SMALL;
  const next = new Map();
  named.sort((a, b) => b[1] - a[1]);
  for (const [i, x0, wide, y, tint] of named) {
    const until = Math.min(x0 + wide, next.get(y) ?? S.width, S.width) - 3;
    const from = Math.max(x0, LEFT) + 3;
    if (until - from > 24) label(words(i), from, y + tall / 2 - 0.5, until, color(tint));
    next.set(y, x0);
  }
  g.font = FONT;
}

function drawTicks(from, until) {
  const c = ticks.cells;
  const last = new Map();
  each(ticks, from, until, (i) => {
    const symbol = symbolOf(ticks, i);
    const place = trackOf(c[i + ticks.node], c[i + ticks.core]);
    if (!shown(symbol) || !place) return;
    const x = X(at(ticks, i));
    const call = c[i + ticks.kind];
    const key = c[i + ticks.node] * 1e6 + c[i + ticks.core] * 1e3 + call;
    const dim = dimmed(ticks, i);
    if ((!S.focus || dim) && symbol !== "failed" && last.get(key) === Math.floor(x)) return;
    last.set(key, Math.floor(x));
    const y = Y(place.y + place.rows * S.size.track);
    fade(dim ? 0.12 : 1, () => {
      g.fillStyle = color(symbol === "call" ? "file" : symbol);
      if (call) {
        g.beginPath();
        g.moveTo(x - 2.5, y + S.size.tick);
        g.lineTo(x + 2.5, y + S.size.tick);
        g.lineTo(x, y + 1);
        g.closePath();
        g.lineWidth = 1;
        g.strokeStyle = g.fillStyle;
        if (c[i + ticks.ok]) g.fill();
        else g.stroke();
      } else {
        g.fillRect(x - 0.6, y + 1, 1.4, S.size.tick - 1);
      }
    });
    hits.push(["point", x, y + 3, x, y + 3, ticks, i]);
  });
}

function drawRequests(from, until) {
  const c = requests.cells;
  const last = new Map();
  const named = [];
  each(requests, from, until, (i) => {
    const symbol = symbolOf(requests, i);
    if (!shown(symbol)) return;
    const lane = lanes[c[i + requests.node]];
    const row = c[i + requests.row];
    const x0 = X(at(requests, i)),
      wide = Math.max(X(end(requests, i)) - x0, 1.5);
    const key = c[i + requests.node] * 100 + row;
    const dim = dimmed(requests, i);
    if (wide <= 1.5 && symbol === "done" && (!S.focus || dim) && last.get(key) === Math.floor(x0)) return;
    last.set(key, Math.floor(x0));
    const y = Y(lane.requests + row * S.size.request);
    fade(dim ? 0.15 : 0.95, () => {
      g.fillStyle = color(symbol);
      g.fillRect(x0, y, wide > 3 ? wide - 0.5 : wide, S.size.request - 2);
    });
    if (!dim) named.push([i, x0, wide, y, "ink"]);
    hits.push(["rect", x0, y, x0 + wide, y + S.size.request - 1, requests, i]);
  });
  nameRows(named, S.size.request, (i) => text(c[i + requests.text]));
}

// Points.

function drawLinks(from, until) {
  const c = links.cells;
  const last = new Map();
  each(links, from, until, (i) => {
    const symbol = symbolOf(links, i);
    if (!shown(symbol)) return;
    const x = X(at(links, i)),
      y = netY(c[i + links.node]);
    const kind = c[i + links.kind];
    const key = c[i + links.node] * 4 + kind;
    const dim = dimmed(links, i);
    if ((!S.focus || dim) && last.has(key) && x - last.get(key) < 2) return;
    last.set(key, x);
    fade(dim ? 0.12 : 1, () => drawSymbol(kind === 1 ? "closed" : symbol, x, y));
    hits.push(["point", x, y, x, y, links, i]);
  });
}

function drawLife(from, until) {
  const c = life.cells;
  const free = new Map();
  const later = [];
  each(life, from, until, (i) => {
    const symbol = symbolOf(life, i);
    if (!symbol || !shown(symbol)) return;
    const lane = lanes[c[i + life.node]];
    const x = X(at(life, i));
    const strong = symbol === "kill" || symbol === "power" || symbol === "wipe";
    if (symbol !== "pause" && symbol !== "clock")
      fade(strong ? 1 : 0.7, () => line(x, Y(lane.top), x, Y(lane.bottom), color(TINT[symbol]), strong ? 1.8 : 1.2));
    later.push([i, symbol, lane, x]);
  });
  later.forEach(([i, symbol, lane, x], index) => {
    const y = Y(lane.life) + 7;
    if (x >= (free.get(lane) ?? -Infinity)) {
      drawSymbol(symbol, x, y);
      const next = later.slice(index + 1).find((other) => other[2] === lane);
      const wide = label(lifeWords(i), x + 8, y, next ? next[3] - 7 : S.width, color(TINT[symbol]), true);
      free.set(lane, x + (wide ? 4 : 7));
    }
    hits.push(["point", x, y, x, y, life, i]);
  });
}

function drawFaults(from, until) {
  if (!shown("fault")) return;
  const c = faults.cells;
  const last = new Map();
  // The gravest on top.
  for (const gravity of [0, 1, 2]) {
    each(faults, from, until, (i) => {
      if (c[i + faults.gravity] !== gravity) return;
      const node = c[i + faults.node] - 1;
      const x = X(at(faults, i));
      let y = AXIS + 8;
      if (node >= 0) {
        const place = c[i + faults.device] ? null : trackOf(node, c[i + faults.core]);
        const lane = lanes[node];
        y = place ? Y(place.y) + 4 : c[i + faults.device] ? netY(node) : Y(lane.places[0]?.y ?? lane.life) + 4;
      }
      const key = `${y} ${gravity}`;
      const dim = dimmed(faults, i);
      if ((!S.focus || dim) && x - (last.get(key) ?? -9) < (gravity === 2 ? 1 : 3)) return;
      last.set(key, x);
      const small = gravity === 0 ? 2.6 : gravity === 1 ? 3.4 : 4.6;
      fade(dim ? 0.12 : 1, () => {
        g.fillStyle = color(["mild", "serious", "grave"][gravity]);
        g.strokeStyle = color("page");
        g.lineWidth = 1;
        g.beginPath();
        if (c[i + faults.device]) {
          g.moveTo(x, y - small);
          g.lineTo(x + small, y + small * 0.8);
          g.lineTo(x - small, y + small * 0.8);
        } else {
          g.moveTo(x, y - small);
          g.lineTo(x + small, y);
          g.lineTo(x, y + small);
          g.lineTo(x - small, y);
        }
        g.closePath();
        g.fill();
        if (gravity) g.stroke();
      });
      hits.push(["point", x, y, x, y, faults, i]);
    });
  }
}

function drawNotes(from, until) {
  const c = notes.cells;
  const byLane = new Map();
  each(notes, from, until, (i) => {
    const symbol = symbolOf(notes, i);
    if (!shown(symbol)) return;
    const node = c[i + notes.node];
    if (!byLane.has(node)) byLane.set(node, []);
    byLane.get(node).push([i, symbol, X(at(notes, i))]);
  });
  for (const [node, flags] of byLane) {
    const y = node ? Y(lanes[node - 1].flags) : AXIS + 4 - S.scroll;
    const weight = (symbol) => NOTE.indexOf(symbol);
    let lastX = -Infinity,
      lastWeight = -1;
    flags.forEach(([i, symbol, x], index) => {
      const dim = dimmed(notes, i);
      if (x - lastX < 2.5 && weight(symbol) <= lastWeight && (!S.focus || dim)) return;
      [lastX, lastWeight] = [x, weight(symbol)];
      fade(dim ? 0.15 : 1, () => {
        g.fillStyle = color(symbol);
        g.fillRect(x - 0.5, y, 1.2, 13);
        g.beginPath();
        g.moveTo(x, y);
        g.lineTo(x + (weight(symbol) > 2 ? 9 : 7), y + 3.5);
        g.lineTo(x, y + 7);
        g.fill();
        const next = flags[index + 1]?.[2] ?? S.width;
        g.font = SMALL;
        label(
          text(c[i + notes.text]).split("\n")[0],
          x + 11,
          y + 5,
          Math.max(next, x) - 3,
          color(symbol === "note" ? "dim" : symbol),
          true,
        );
        g.font = FONT;
      });
      hits.push(["point", x + 2, y + 5, x + 2, y + 5, notes, i]);
    });
  }
}
