// What a hand does: pointer, wheel, keys, and the controls around the picture.

const stage = document.getElementById("stage");
const tip = document.getElementById("tip");
const byId = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Tips.

// What is nearest to a point; among equals what is on top. What lies behind everything comes last.
function meet(x, y) {
  let best = null,
    least = 7;
  for (const hit of hits) {
    const [shape, x0, y0, x1, y1] = hit;
    let distance;
    if (shape === "back") distance = x >= x0 && x <= x1 && y >= y0 && y <= y1 ? 6.9 : 99;
    else if (shape === "rect") distance = Math.hypot(Math.max(x0 - x, 0, x - x1), Math.max(y0 - y, 0, y - y1)) - 1;
    else if (shape === "point") distance = Math.hypot(x - x0, y - y0) - 3;
    else distance = toLine(x, y, x0, y0, x1, y1) + (shape === "edge" ? 2 : 0);
    if (distance <= least) [best, least] = [hit, Math.max(distance, 0)];
  }
  return best;
}

function toLine(x, y, x0, y0, x1, y1) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const part = Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1), 0), 1);
  return Math.hypot(x - x0 - part * dx, y - y0 - part * dy);
}

function showTip(event) {
  const hit = pointer.hit;
  tip.hidden = !hit;
  stage.classList.toggle("hit", Boolean(hit && hit[0] !== "back"));
  if (!hit) return;
  const { at: when, title, rows } = describeHit(hit);
  const pairs = [when === undefined ? null : ["at", exactly(when)], ...rows].filter((row) => row && row[1]);
  const grid = element("div");
  for (const [name, value] of pairs)
    grid.append(element("span", { textContent: name }), element("i", { textContent: value }));
  tip.replaceChildren(element("b", { textContent: title }), grid);
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 16, window.innerWidth - box.width - 8)}px`;
  const below = event.clientY + 18;
  tip.style.top = `${below + box.height > window.innerHeight - 4 ? Math.max(event.clientY - box.height - 12, 4) : below}px`;
}

// Pointer and wheel.

let drag = null;

const inStage = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  const [x, y] = inStage(event);
  stage.setPointerCapture(event.pointerId);
  drag = { x, y, moved: false, measure: event.shiftKey };
  if (event.shiftKey) pointer.measure = x;
  tip.hidden = true;
});

stage.addEventListener("pointermove", (event) => {
  const [x, y] = inStage(event);
  [pointer.x, pointer.y] = [x, y];
  if (drag) {
    drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > 3;
    stage.classList.toggle("moving", drag.moved && !drag.measure);
    stage.classList.toggle("measuring", drag.measure);
    if (drag.moved && !drag.measure) {
      S.scroll -= y - drag.y;
      pan(drag.x - x);
      [drag.x, drag.y] = [x, y];
    }
    pointer.hit = null;
  } else {
    pointer.hit = y > AXIS - 20 && x > LEFT ? meet(x, y) : null;
    showTip(event);
  }
  drawGlass();
});

stage.addEventListener("pointerup", (event) => {
  const [x] = inStage(event);
  stage.classList.remove("moving", "measuring");
  if (drag?.measure && Math.abs(x - pointer.measure) > 4) {
    showTimes(timeAt(Math.min(x, pointer.measure)), timeAt(Math.max(x, pointer.measure)));
  } else if (drag && !drag.moved) {
    clicked(pointer.hit ?? meet(...inStage(event)));
  }
  pointer.measure = null;
  drag = null;
  drawGlass();
});

stage.addEventListener("pointerleave", () => {
  if (drag) return;
  Object.assign(pointer, { x: -1, y: -1, hit: null });
  tip.hidden = true;
  drawGlass();
});

stage.addEventListener("dblclick", (event) => zoom(event.altKey ? 4 : 0.25, inStage(event)[0]));

stage.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 30 : 1;
    const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
    if (event.altKey) {
      S.scroll += dy;
      changed();
    } else if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) pan(dx || dy);
    else zoom(Math.exp(Math.max(-240, Math.min(240, dy)) * 0.0022), Math.max(inStage(event)[0], LEFT));
    tip.hidden = true;
  },
  { passive: false },
);

// A click leaves only the connection or the file that was met; on nothing, everything again.
function clicked(hit) {
  const [, , , , , table, i] = hit ?? [];
  if (table === "violation") {
    choose(i);
    return;
  }
  const c = table?.cells;
  if (table === messages || table === links)
    setFocus({ connections: new Set([c[i + table.connection]]) }, `c${c[i + table.connection]}`);
  else if (table === bars || table === ticks)
    setFocus({ texts: new Set([c[i + table.path]]) }, text(c[i + table.path]));
  else if (!hit || hit[0] === "back") setFocus(null, "");
}

function setFocus(focus, name) {
  S.focus = focus;
  S.found = null;
  byId("find").value = name;
  byId("found").textContent = "";
  changed();
}

// The small picture of the whole.

let sliding = null;
const slide = (event) => {
  const x = event.clientX - overview.getBoundingClientRect().left;
  const u = ((x - LEFT) / Math.max(S.width - LEFT, 1)) * endU();
  if (sliding === null) sliding = u >= S.u0 && u <= S.u1 ? u - (S.u0 + S.u1) / 2 : 0;
  const half = (S.u1 - S.u0) / 2;
  show(u - sliding - half, u - sliding + half);
};
overview.addEventListener("pointerdown", (event) => {
  sliding = null;
  overview.setPointerCapture(event.pointerId);
  slide(event);
});
overview.addEventListener("pointermove", (event) => {
  if (event.buttons & 1) slide(event);
});
overview.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.0022), LEFT + plot() / 2);
  },
  { passive: false },
);

// Legend.

const LEGEND = [
  ["boot", "start"],
  ["kill", "kill"],
  ["power", "power loss"],
  ["end", "end in order"],
  ["wipe", "disk wiped"],
  ["pause", "pause"],
  ["clock", "clock jump"],
  ["sent", "message"],
  ["held", "held back"],
  ["lost", "lost"],
  ["link", "connection"],
  ["reset", "reset"],
  ["deaf", "nobody listens"],
  ["cut", "cut"],
  ["write", "write"],
  ["synced", "synced write"],
  ["sync", "sync"],
  ["failed", "failed"],
  ["read", "read"],
  ["call", "call on a name"],
  ["fault", "fault"],
  ["done", "request"],
  ["refused", "refused"],
  ["unknown", "unknown"],
  ["note", "note"],
  ["info", "information"],
  ["warn", "warning"],
  ["error", "error"],
  ["panic", "panic"],
];

function legend() {
  const keep = g;
  const buttons = LEGEND.filter(([symbol]) => counts[symbol]).map(([symbol, name]) => {
    const swatch = element("canvas");
    g = sizeTo(swatch, 18, 14);
    drawSymbol(symbol, 9, 7);
    const button = element(
      "button",
      { title: "Show or hide", className: S.off.has(symbol) ? "off" : "" },
      swatch,
      name,
      element("small", { textContent: counts[symbol].toLocaleString("en") }),
    );
    button.addEventListener("click", () => {
      if (!S.off.delete(symbol)) S.off.add(symbol);
      button.classList.toggle("off", S.off.has(symbol));
      changed();
    });
    return button;
  });
  g = keep;
  byId("legend").replaceChildren(...buttons);
}

// Violations.

function listViolations() {
  const section = byId("violations");
  section.hidden = violations.length === 0;
  const more = D.violationsInAll - violations.length;
  section.querySelector("h2").textContent =
    `${plural(D.violationsInAll, "violation")}${more > 0 ? `, the first ${violations.length} of them` : ""}`;
  section.querySelector("ol").replaceChildren(
    ...violations.map((violation) => {
      const button = element(
        "button",
        {},
        element("b", { textContent: violation.index + 1 }),
        element("time", { textContent: exactly(violation.at) }),
        element("span", { textContent: violation.text }),
      );
      button.addEventListener("click", () => choose(violation));
      const item = element("li", {}, button);
      if (violation.evidence.length) {
        item.append(
          element(
            "ul",
            { hidden: true },
            ...violation.evidence.map(([t, said]) => {
              const line = element(
                "button",
                {},
                element("time", { textContent: exactly(t) }),
                element("span", { textContent: said }),
              );
              line.addEventListener("click", () => goTo(t));
              return element("li", {}, line);
            }),
          ),
        );
      }
      violation.item = item;
      return item;
    }),
  );
}

// Shows a violation together with what shows it, if that fits into one view in which something can be told apart.
function choose(violation) {
  S.chosen = violation;
  for (const other of violations) {
    const chosen = other === violation;
    other.item.querySelector("button").classList.toggle("chosen", chosen);
    const evidence = other.item.querySelector("ul");
    if (evidence) evidence.hidden = !chosen;
  }
  if (!violation) {
    changed();
    return;
  }
  violation.item.scrollIntoView({ block: "nearest" });
  const places = [violation.at, ...violation.evidence.map(([t]) => t)].map(toU);
  const [least, most] = [Math.min(...places), Math.max(...places)];
  if (most - least < endU() / 4) {
    const room = Math.max((most - least) * 0.3, Math.min(endU() / 100, 5e6));
    show(least - room, most + room);
  } else goTo(violation.at);
}

// Finding.

function find(wanted) {
  S.found = null;
  S.focus = null;
  const word = wanted.trim().toLowerCase();
  byId("found").textContent = "";
  if (word) {
    const connection = /^c(\d+)$/.exec(word);
    const connections = new Set(connection ? [Number(connection[1])] : []);
    const texts = new Set(D.texts.map((_, index) => index).filter((index) => text(index).toLowerCase().includes(word)));
    S.focus = { connections, texts };
    const times = [];
    for (const table of [messages, bars, ticks, links, faults, notes, requests]) {
      every(table, (i) => {
        if (!dimmed(table, i)) times.push(at(table, i));
      });
    }
    times.sort((a, b) => a - b);
    S.found = { times };
    // Nothing is found: then nothing is hidden either.
    if (!times.length) S.focus = null;
    byId("found").textContent = times.length ? `${times.length.toLocaleString("en")} found` : "nothing";
  }
  changed();
}

const middle = () => toTime((S.u0 + S.u1) / 2);

// Goes to the next of `times`, or the one before.
function goNext(times, forward) {
  const here = middle(),
    slack = (S.u1 - S.u0) * 1e-6;
  const next = forward ? times.find((t) => t > here + slack) : times.findLast((t) => t < here - slack);
  if (next !== undefined) goTo(next);
}

byId("find").addEventListener("input", (event) => find(event.target.value));
byId("find").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && S.found) goNext(S.found.times, !event.shiftKey);
  if (event.key === "Escape") {
    setFocus(null, "");
    event.target.blur();
  }
  event.stopPropagation();
});

// The list of events, and what else follows the view.

let listTimer = 0,
  hashTimer = 0;

function seen() {
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    const [from, to] = [timeAt(LEFT), timeAt(S.width)];
    try {
      history.replaceState(null, "", `#${(from / 1e6).toFixed(6)}-${(to / 1e6).toFixed(6)}`);
    } catch {
      /* Some browsers have no addresses for files. */
    }
  }, 300);
  if (byId("list").hidden) return;
  clearTimeout(listTimer);
  listTimer = setTimeout(fillList, 60);
}

function fillList() {
  const { rows, more } = listed(timeAt(LEFT), timeAt(S.width));
  const lines = rows.map(([t, table, i]) => {
    const { node, title } = describe(table, i);
    const core = table.core ? coreWords(table.cells[i + table.core]) : "";
    const line = element(
      "tr",
      { className: BAD.has(symbolOf(table, i)) ? "bad" : "" },
      ...[(t / 1e6).toFixed(6), node, core, title].map((textContent) => element("td", { textContent })),
    );
    line.addEventListener("click", () => goTo(t));
    line.addEventListener("mouseenter", () => {
      pointer.x = X(t);
      pointer.hit = hits.find((hit) => hit[5] === table && hit[6] === i) ?? null;
      drawGlass();
    });
    return line;
  });
  if (more) {
    const cell = element("td", { textContent: `and ${more.toLocaleString("en")} more: zoom in`, colSpan: 4 });
    lines.push(element("tr", { className: "cut-short" }, cell));
  }
  byId("list")
    .querySelector("tbody")
    .replaceChildren(...lines);
}

// Buttons and keys.

function toggleList() {
  byId("list").hidden = !byId("list").hidden;
  byId("events").classList.toggle("on", !byId("list").hidden);
  changed();
}

function toggleFold() {
  fold(!S.folding);
  byId("fold").classList.toggle("on", S.folding);
}

function setDark(dark) {
  S.dark = dark;
  S.colors = {};
  document.documentElement.classList.toggle("dark", dark);
  legend();
  changed();
}

const ACTS = {
  0: showAll,
  Home: showAll,
  g: toggleFold,
  e: toggleList,
  d: () => setDark(!S.dark),
  "+": () => zoom(0.6, LEFT + plot() / 2),
  "=": () => zoom(0.6, LEFT + plot() / 2),
  "-": () => zoom(1 / 0.6, LEFT + plot() / 2),
  ArrowLeft: () => pan(-plot() / 6),
  ArrowRight: () => pan(plot() / 6),
  ArrowUp: () => {
    S.scroll -= 60;
    changed();
  },
  ArrowDown: () => {
    S.scroll += 60;
    changed();
  },
  n: () => goNext(stops, true),
  p: () => goNext(stops, false),
  f: () => {
    byId("find").focus();
    byId("find").select();
  },
  "?": () => byId("keys").showModal(),
  Escape: () => {
    choose(null);
    setFocus(null, "");
  },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const act = ACTS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
byId("out").addEventListener("click", showAll);
byId("fold").addEventListener("click", toggleFold);
byId("events").addEventListener("click", toggleList);
byId("theme").addEventListener("click", () => setDark(!S.dark));
byId("help").addEventListener("click", () => byId("keys").showModal());
new ResizeObserver(changed).observe(stage);

// The beginning: what the address says, or the whole run.

const scheme = window.matchMedia("(prefers-color-scheme: dark)");
scheme.addEventListener("change", () => setDark(scheme.matches));
byId("facts").textContent = facts();
listViolations();
setDark(scheme.matches);
byId("fold").hidden = folds.length === 0;
// Where most of the run is idle, that is not what somebody wants to look at first.
if (foldedEnd < END * 0.5) toggleFold();

function lookAtAddress() {
  const wanted = /^#([\d.]+)-([\d.]+)$/.exec(location.hash);
  if (wanted && Number(wanted[1]) < Number(wanted[2])) showTimes(Number(wanted[1]) * 1e6, Number(wanted[2]) * 1e6);
  else showAll();
}
window.addEventListener("hashchange", lookAtAddress);
lookAtAddress();
