// What there is: the tables that `gather.rs` writes, as typed arrays, and what follows from them once and for all.

const D = JSON.parse(document.getElementById("data").textContent);

// Rows that are looked at or skipped together.
const CHUNK = 256;

// Reads a table: rows of a time and the named columns. `table.column` is the place of a column within a row;
// `lasts` names the one that says how long a row lasts. A row is called by the place of its time in `cells`.
function table(name, columns, lasts) {
  const width = columns.length + 1;
  const cells = Float64Array.from(D[name]);
  const it = { name, cells, width, count: cells.length / width, ends: [] };
  columns.forEach((column, index) => {
    it[column] = index + 1;
  });
  it.lasts = lasts ? it[lasts] : 0;
  let at = 0;
  for (let i = 0; i < cells.length; i += width) {
    at += cells[i];
    cells[i] = at;
    const chunk = Math.floor(i / width / CHUNK);
    it.ends[chunk] = Math.max(it.ends[chunk] ?? 0, end(it, i));
  }
  return it;
}

const at = (table, i) => table.cells[i];
const end = (table, i) => table.cells[i] + (table.lasts ? table.cells[i + table.lasts] : 0);

// Calls `visit` with each row that has a moment between two times.
function each(table, from, until, visit) {
  const { cells, width } = table;
  for (let chunk = 0; chunk < table.ends.length; chunk++) {
    const first = chunk * CHUNK * width;
    if (cells[first] > until) break;
    if (table.ends[chunk] < from) continue;
    const stop = Math.min(first + CHUNK * width, cells.length);
    for (let i = first; i < stop && cells[i] <= until; i += width) {
      if (end(table, i) >= from) visit(i);
    }
  }
}

const every = (table, visit) => each(table, -Infinity, Infinity, visit);

const messages = table("messages", ["from", "to", "core", "connection", "bytes", "took", "fate", "expected"], "took");
const bars = table("bars", ["node", "core", "row", "kind", "took", "ok", "path", "position", "bytes"], "took");
const ticks = table("ticks", ["node", "core", "kind", "ok", "path", "detail", "bytes"]);
const links = table("links", ["node", "core", "kind", "connection", "other"]);
const life = table("life", ["node", "kind", "value"]);
const spans = table("spans", ["node", "kind", "took"], "took");
const cuts = table("cuts", ["from", "to", "took"], "took");
const faults = table("faults", ["node", "core", "device", "fault", "gravity", "detail"]);
const notes = table("notes", ["node", "core", "level", "text"]);
const requests = table("requests", ["node", "row", "took", "answer", "text"], "took");
const TABLES = [messages, bars, ticks, links, life, spans, cuts, faults, notes, requests];

const violations = D.violations.map(([at, text, evidence], index) => ({ at, text, evidence, index }));
const phases = D.phases.map(([at, text]) => ({ at, text }));
const END = Math.max(D.end, 1);

const MESSAGE = ["sent", "held", "lost", "sent"];
const BAR = ["write", "synced", "sync"];
const LINK = ["link", "link", "reset", "deaf"];
const LIFE = ["boot", "kill", "power", "end", "wipe", "clock", "pause", null];
const REQUEST = ["done", "refused", "unknown"];
const NOTE = ["note", "info", "warn", "error", "panic"];

// The name of the symbol of a row, or null if it has none of its own: also what the legend switches on and off.
function symbolOf(table, i) {
  const cell = (column) => table.cells[i + table[column]];
  switch (table) {
    case messages:
      return MESSAGE[cell("fate")];
    case bars:
      return cell("ok") ? BAR[cell("kind")] : "failed";
    // A call that says no is usual: many only ask whether a name is there.
    case ticks:
      return cell("kind") ? "call" : cell("ok") ? "read" : "failed";
    case links:
      return LINK[cell("kind")];
    case life:
      return LIFE[cell("kind")];
    case cuts:
      return "cut";
    case faults:
      return "fault";
    case notes:
      return NOTE[cell("level")];
    case requests:
      return REQUEST[cell("answer")];
    default:
      return null;
  }
}

// How many rows there are of each symbol.
const counts = {};
for (const table of TABLES) {
  every(table, (i) => {
    const symbol = symbolOf(table, i);
    if (symbol) counts[symbol] = (counts[symbol] ?? 0) + 1;
  });
}

// The times that a person may want to go to one after the other.
const stops = [
  ...violations.map((violation) => violation.at),
  ...pick(life, (i) => life.cells[i + life.kind] < 5),
  ...pick(faults, (i) => faults.cells[i + faults.gravity] === 2),
  ...pick(notes, (i) => notes.cells[i + notes.level] === 4),
].sort((a, b) => a - b);

function pick(table, wanted) {
  const times = [];
  every(table, (i) => {
    if (wanted(i)) times.push(at(table, i));
  });
  return times;
}
