// What is around the picture: the whole run in small, and a glass with what follows the pointer.

const SMALL_HEIGHT = 46;
let density = null;

function countDensity(width) {
  const columns = new Float64Array(Math.max(Math.ceil(width - LEFT), 1));
  const place = (t) => Math.min(Math.max(Math.floor((toU(t) / endU()) * columns.length), 0), columns.length - 1);
  for (const table of [messages, bars, ticks, requests])
    every(table, (i) => {
      columns[place(at(table, i))]++;
    });
  density = { columns, most: columns.reduce((a, b) => Math.max(a, b), 1), folding: S.folding };
}

function drawOverview() {
  const width = S.width;
  const keep = g;
  g = sizeTo(overview, width, SMALL_HEIGHT);
  const x = (t) => LEFT + Math.min(Math.max(toU(t) / endU(), 0), 1) * (width - LEFT);
  if (!density || density.columns.length !== Math.ceil(width - LEFT) || density.folding !== S.folding)
    countDensity(width);
  g.fillStyle = color("raised");
  g.fillRect(0, 0, LEFT, SMALL_HEIGHT);
  g.fillStyle = color("dim");
  g.fillText("whole run", 10, 16);
  g.font = SMALL;
  g.fillText(lasting(END), 10, 31);
  if (S.folding) {
    g.fillStyle = hatch("line", 6, 0.55);
    for (const { from, to } of folds) g.fillRect(x(from), 0, x(to) - x(from), SMALL_HEIGHT);
  }
  g.fillStyle = color("faint");
  density.columns.forEach((count, column) => {
    if (!count) return;
    const tall = 3 + ((SMALL_HEIGHT - 16) * Math.log1p(count)) / Math.log1p(density.most);
    g.fillRect(LEFT + column, SMALL_HEIGHT - tall, 1, tall);
  });
  every(life, (i) => {
    const symbol = symbolOf(life, i);
    if (!["boot", "kill", "power", "end", "wipe"].includes(symbol)) return;
    g.fillStyle = color(TINT[symbol]);
    g.fillRect(x(at(life, i)) - 0.6, 0, 1.4, symbol === "boot" || symbol === "end" ? 6 : 12);
  });
  every(faults, (i) => {
    if (faults.cells[i + faults.gravity] < 2) return;
    g.fillStyle = color("grave");
    g.fillRect(x(at(faults, i)) - 1, 13, 2, 4);
  });
  for (const phase of phases) dashed([2, 3], () => line(x(phase.at), 0, x(phase.at), SMALL_HEIGHT, color("phase"), 1));
  if (S.found) {
    g.fillStyle = color("found");
    for (const t of S.found.times) g.fillRect(x(t) - 0.7, SMALL_HEIGHT - 4, 1.4, 4);
  }
  for (const violation of violations) line(x(violation.at), 0, x(violation.at), SMALL_HEIGHT, color("violation"), 1.6);
  const inPlot = (u) => LEFT + Math.min(Math.max(u / endU(), 0), 1) * (width - LEFT);
  const [a, b] = [inPlot(S.u0), Math.max(inPlot(S.u1), inPlot(S.u0) + 2)];
  fade(0.62, () => {
    g.fillStyle = color("page");
    g.fillRect(LEFT, 0, a - LEFT, SMALL_HEIGHT);
    g.fillRect(b, 0, width - b, SMALL_HEIGHT);
  });
  g.strokeStyle = color("info");
  g.lineWidth = 1.5;
  g.strokeRect(a + 0.5, 0.75, b - a - 1, SMALL_HEIGHT - 1.5);
  g = keep;
}

// What follows the pointer.

const pointer = { x: -1, y: -1, hit: null, measure: null };

function drawGlass() {
  const keep = g;
  g = sizeTo(glass, S.width, S.height);
  const { x, hit, measure } = pointer;
  if (measure) {
    const [a, b] = [Math.min(measure, x), Math.max(measure, x)];
    fade(0.16, () => {
      g.fillStyle = color("info");
      g.fillRect(a, AXIS, b - a, S.height);
    });
    badge(lasting(timeAt(b) - timeAt(a)), (a + b) / 2, AXIS + 14, "info");
  }
  if (x >= LEFT) {
    fade(0.55, () => line(x, AXIS, x, S.height, color("dim"), 1));
    badge(ms(timeAt(x), (S.u1 - S.u0) / plot()), x, AXIS / 2, "ink");
  }
  if (hit) {
    g.beginPath();
    g.rect(LEFT, 0, plot(), S.height);
    g.clip();
    outline(hit);
  }
  g = keep;
}

function badge(text, x, y, tint) {
  const half = g.measureText(text).width / 2 + 5;
  const middle = Math.min(Math.max(x, LEFT + half), S.width - half);
  g.fillStyle = color(tint);
  g.beginPath();
  g.roundRect(middle - half, y - 9, half * 2, 18, 4);
  g.fill();
  g.fillStyle = color("page");
  g.fillText(text, middle - half + 5, y);
}

function outline([shape, x0, y0, x1, y1]) {
  if (shape === "back") return;
  g.lineWidth = 2;
  g.strokeStyle = color("ink");
  if (shape === "line") line(x0, y0, x1, y1, color("ink"), 2.2);
  else if (shape === "rect") g.strokeRect(x0 - 1, y0 - 1, x1 - x0 + 2, y1 - y0 + 2);
  else if (shape === "point") {
    g.beginPath();
    g.arc(x0, y0, 8, 0, 7);
    g.stroke();
  }
}
