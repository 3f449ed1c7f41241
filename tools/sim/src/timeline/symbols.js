// Symbols by themselves, for the lanes and for the legend.

// The tints of symbols that are not called by their own name.
const TINT = {
  boot: "boot",
  kill: "crash",
  power: "power",
  end: "ended",
  wipe: "wiped",
  clock: "clock",
  pause: "held",
};

// A symbol by itself, also for the legend.
function drawSymbol(symbol, x, y) {
  const tint = color(TINT[symbol] ?? symbol);
  g.fillStyle = g.strokeStyle = tint;
  g.lineWidth = 1.4;
  const shape = (...points) => {
    g.beginPath();
    points.forEach(([dx, dy], index) => (index ? g.lineTo(x + dx, y + dy) : g.moveTo(x + dx, y + dy)));
    g.closePath();
    g.fill();
  };
  switch (symbol) {
    case "boot":
      shape([-4, -5], [5, 0], [-4, 5]);
      break;
    case "kill":
      cross(x, y, 4, tint);
      break;
    case "power":
      shape([1, -6], [-4, 1], [-0.5, 1], [-1.5, 6], [4, -1.5], [0.5, -1.5], [2.5, -6]);
      break;
    case "end":
      g.fillRect(x - 4, y - 4, 8, 8);
      break;
    case "wipe":
      g.strokeRect(x - 4, y - 4, 8, 8);
      line(x - 4, y + 4, x + 4, y - 4, tint, 1.4);
      break;
    case "clock":
      g.beginPath();
      g.arc(x, y, 4.5, 0, 7);
      g.stroke();
      line(x, y, x, y - 3.5, tint, 1.2);
      line(x, y, x + 2.5, y + 1, tint, 1.2);
      break;
    case "pause":
      g.fillRect(x - 3.5, y - 4.5, 2.6, 9);
      g.fillRect(x + 1, y - 4.5, 2.6, 9);
      break;
    case "reset":
      cross(x, y, 3.4, color("lost"));
      break;
    case "deaf":
      fade(0.8, () => cross(x, y, 2, color("faint")));
      break;
    case "link":
      g.fillStyle = color("page");
      g.strokeStyle = color("dim");
      g.beginPath();
      g.arc(x, y, 2.6, 0, 7);
      g.fill();
      g.stroke();
      break;
    case "closed":
      g.fillStyle = color("dim");
      g.beginPath();
      g.arc(x, y, 2.2, 0, 7);
      g.fill();
      break;
    case "fault":
      g.fillStyle = color("grave");
      shape([-5, 0], [0, -5], [5, 0], [0, 5]);
      break;
    case "sent":
      line(x - 7, y - 5, x, y + 5, color("down"), 1.5);
      line(x, y + 5, x + 7, y - 5, color("up"), 1.5);
      break;
    case "held":
      dashed([4, 2], () => line(x - 6, y - 5, x + 6, y + 5, color("held"), 1.5));
      break;
    case "lost":
      line(x - 6, y - 5, x + 2, y + 2, color("lost"), 1.5);
      cross(x + 3, y + 3, 3, color("lost"));
      break;
    case "cut":
      fade(0.18, () => g.fillRect(x - 7, y - 5, 14, 10));
      g.fillRect(x - 7, y + 3, 14, 2.5);
      break;
    case "call":
      g.fillStyle = color("file");
      shape([-3, 4], [3, 4], [0, -3]);
      break;
    case "read":
      g.fillRect(x - 0.8, y - 4, 1.8, 8);
      break;
    case "phase":
      dashed([2, 3], () => line(x, y - 6, x, y + 6, tint, 1.5));
      break;
    case "dead":
      g.fillStyle = hatch("crash", 5, 0.5);
      g.fillRect(x - 7, y - 5, 14, 10);
      break;
    case "note":
    case "info":
    case "warn":
    case "error":
    case "panic":
      g.fillRect(x - 4, y - 6, 1.4, 12);
      shape([-4, -6], [5, -2.5], [-4, 1]);
      break;
    default:
      g.fillRect(x - 7, y - 3.5, 14, 7);
  }
}
