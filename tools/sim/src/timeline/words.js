// What is said about it: tips, labels, and the list of events.

const text = (index) => D.texts[index];
const nodeName = (counted) => (counted > 0 ? NAME[counted - 1] : "the world");
// The end of a path, which tells files apart. Names that are numbers are mostly zeros.
const tail = (path) => path.split("/").slice(-3).join("/").replace(/0{6,}/, "0…");
const coreWords = (core) => (core > 0 ? `core ${core - 1}` : "");
const plural = (count, name) => `${count.toLocaleString("en")} ${name}${count === 1 ? "" : "s"}`;

const BAR_WORDS = ["write", "write, synced", "sync"];

function barWords(i) {
  const c = bars.cells;
  const bytes = c[i + bars.kind] < 2 ? ` ${sized(c[i + bars.bytes])} at ${c[i + bars.position]}` : "";
  return `${c[i + bars.ok] ? "" : "FAILED: "}${BAR_WORDS[c[i + bars.kind]]}${bytes} ${tail(text(c[i + bars.path]))}`;
}

function lifeWords(i) {
  const value = life.cells[i + life.value];
  switch (LIFE[life.cells[i + life.kind]]) {
    case "boot":
      return `boot, ${plural(value, "core")}`;
    case "kill":
      return "killed";
    case "power":
      return "power lost";
    case "end":
      return "ended";
    case "wipe":
      return "disk wiped";
    case "clock":
      return `clock ${value < 0 ? "−" : "+"}${lasting(Math.abs(value) * 1000)}`;
    case "pause":
      return `paused ${lasting(value)}`;
    default:
      return "goes on";
  }
}

const LINK_WORDS = ["asks for connection", "closes connection", "connection broken:", "connection not made:"];
const ANSWER_WORDS = ["done", "refused", "outcome unknown"];
const LEVEL_WORDS = ["note", "information", "warning", "error", "panic"];
const FATE_WORDS = ["arrived", "arrived late, the network held it", "lost", "under way when the run ended"];

// A row as node, sentence, and pairs of names and values.
function describe(table, i) {
  const cell = (column) => table.cells[i + table[column]];
  const core = table.core ? [["core", coreWords(cell("core"))]] : [];
  switch (table) {
    case messages:
      return describeMessage(i, core);
    case bars:
      return {
        node: NAME[cell("node")],
        title: barWords(i),
        rows: [
          ...core,
          ["file", text(cell("path"))],
          ["took", lasting(cell("took"))],
          ["ended", exactly(end(bars, i))],
          [
            "outcome",
            cell("ok") ? (cell("kind") ? "on stable storage, says the disk" : "in the page cache") : "failed",
          ],
        ],
      };
    case ticks: {
      const call = cell("kind") === 1;
      const what = call ? text(cell("detail")) : `read ${sized(cell("bytes"))} at ${cell("detail")}`;
      return {
        node: NAME[cell("node")],
        title: `${cell("ok") ? "" : "FAILED: "}${what} ${tail(text(cell("path")))}`,
        rows: [...core, ["file", text(cell("path"))]],
      };
    }
    case links:
      return {
        node: NAME[cell("node")],
        title: `${LINK_WORDS[cell("kind")]} c${cell("connection")}${cell("other") ? ` to ${nodeName(cell("other"))}` : ""}`,
        rows: core,
      };
    case life:
      return { node: NAME[cell("node")], title: lifeWords(i), rows: [] };
    case spans:
      return {
        node: NAME[cell("node")],
        title: SPAN[cell("kind")],
        rows: [
          ["until", exactly(end(spans, i))],
          ["for", lasting(cell("took"))],
        ],
      };
    case cuts:
      return {
        node: NAME[cell("from")],
        title: `nothing is carried from ${NAME[cell("from")]} to ${NAME[cell("to")]}`,
        rows: [
          ["until", exactly(end(cuts, i))],
          ["for", lasting(cell("took"))],
        ],
      };
    case faults:
      return {
        node: nodeName(cell("node")),
        title: `${cell("device") ? "network" : "disk"}: ${text(cell("fault"))}`,
        rows: [
          ...core,
          cell("device")
            ? ["connection", cell("detail") ? `c${cell("detail") - 1}` : ""]
            : ["file", text(cell("detail"))],
        ],
      };
    case notes:
      return {
        node: nodeName(cell("node")),
        title: text(cell("text")),
        rows: [["kind", LEVEL_WORDS[cell("level")]], ...core],
      };
    default:
      return {
        node: NAME[cell("node")],
        title: text(cell("text")),
        rows: [
          ["took", lasting(cell("took"))],
          ["ended", exactly(end(requests, i))],
          ["answer", ANSWER_WORDS[cell("answer")]],
        ],
      };
  }
}

function describeMessage(i, core) {
  const cell = (column) => messages.cells[i + messages[column]];
  const fate = cell("fate");
  const rows = [...core, ["sent", exactly(at(messages, i))]];
  if (fate < 3)
    rows.push([fate === 2 ? "lost" : "arrived", `${exactly(end(messages, i))}, after ${lasting(cell("took"))}`]);
  if (fate === 1 && cell("expected") >= 0) rows.push(["expected", `after ${lasting(cell("expected"))}`]);
  rows.push(["fate", FATE_WORDS[fate]]);
  return {
    node: NAME[cell("from")],
    rows,
    title: `${sized(cell("bytes"))} to ${NAME[cell("to")]} over c${cell("connection")}${fate === 0 ? "" : `, ${FATE_WORDS[fate]}`}`,
  };
}

// What the pointer is told about something it met.
function describeHit([, , , , , what, i]) {
  switch (what) {
    case "strip":
      return {
        title: `${plural(i.many, "message")} from ${NAME[i.a]} to ${NAME[i.b]}`,
        rows: [
          ["bytes", sized(i.bytes)],
          ["", "zoom in to tell them apart"],
        ],
      };
    case "violation":
      return { at: i.at, title: `${i.index + 1}: ${i.text}`, rows: [] };
    case "evidence":
      return { at: i.t, title: i.text, rows: [["", `shows violation ${S.chosen.index + 1}`]] };
    default: {
      const said = describe(what, i);
      return { at: at(what, i), title: said.title, rows: [["node", said.node], ...said.rows] };
    }
  }
}

// Counts for the head of the page.
function facts() {
  const parts = [`${plural(D.events, "event")} in ${lasting(END)}`];
  if (D.thinned) parts.push(`${plural(D.thinned, "event")} left out, evenly, away from violations`);
  return parts.join(" · ");
}

// The list of what is in view.

const LIST_MAX = 600;

function listed(from, until) {
  const rows = [];
  let more = 0;
  for (const table of [messages, bars, ticks, links, life, cuts, faults, notes, requests]) {
    each(table, from, until, (i) => {
      if (at(table, i) < from) return;
      const symbol = symbolOf(table, i);
      if ((symbol && !shown(symbol)) || (S.focus && dimmed(table, i))) return;
      if (rows.length < 40 * LIST_MAX) rows.push([at(table, i), table, i]);
      else more++;
    });
  }
  rows.sort((a, b) => a[0] - b[0]);
  return { rows: rows.slice(0, LIST_MAX), more: more + Math.max(rows.length - LIST_MAX, 0) };
}

const BAD = new Set(["failed", "reset", "lost", "kill", "power", "wipe", "fault", "error", "panic"]);
