// Curves and intervals as inline SVG, built by DOM calls. Colours and strokes are the style sheet's.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 460, HEIGHT = 250, LEFT = 44, RIGHT = 14, TOP = 12, BOTTOM = 40;
const STEPS = [1, 2, 5];

function draw(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function picture(width, height, label, ...children) {
  return draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...children);
}

// The least of 1, 2, 5 times a power of ten that cuts `span` into at most `parts`.
function step(span, parts) {
  const size = 10 ** Math.floor(Math.log10(span / parts));
  return [...STEPS, 10].map((factor) => factor * size).find((width) => span / width <= parts + 1e-9);
}

function ticks(low, high, parts) {
  const width = step(high - low, parts);
  const first = Math.ceil(low / width - 1e-9);
  const count = Math.floor(high / width + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, place) => (first + place) * width);
}

// A figure that was not finite arrives as null: the curve has no point there.
const isKnown = (point) => point.reward !== null && point.cpu_seconds !== null;

const decimals = (values) => (values.length > 1 ? Math.max(0, -Math.floor(Math.log10(values[1] - values[0]) + 1e-9)) : 2);

// `across`: {key: round | cpu_seconds, name, right}, the last the end of the axis.
// `lines`: {kind: node | baseline, label, style: thin | plain | dotted, points: [{round, cpu_seconds, reward}]}.
export function drawCurves(title, across, lines) {
  const points = lines.flatMap((line) => line.points).filter(isKnown);
  if (!points.length) return document.createTextNode("Nothing yet.");
  const { key, name, right } = across;
  const rewards = points.map((point) => point.reward);
  const low = Math.min(0, ...rewards), high = Math.max(0.1, ...rewards) * 1.05;
  const x = (value) => LEFT + (value / right) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const parts = [...grid(x, y, right, low, high), axisName(name)];
  for (const line of lines) parts.push(...curve(line, key, x, y));
  return picture(WIDTH, HEIGHT, `${title} by ${name}. ${inWords(lines)}`, ...parts);
}

function grid(x, y, right, low, high) {
  const up = ticks(low, high, 5), over = ticks(0, right, 6);
  return [
    ...up.map((value) => draw("line", { class: value === 0 ? "axis" : "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) })),
    ...up.map((value) => draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(decimals(up)))),
    ...over.map((value) => draw("text", { x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, value.toFixed(decimals(over)))),
  ];
}

const axisName = (name) => draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, name);

function curve({ kind, label, style, points }, key, x, y) {
  const known = points.filter(isKnown);
  const places = known.map((point) => `${x(point[key]).toFixed(1)},${y(point.reward).toFixed(1)}`);
  const parts = [draw("polyline", { class: `curve ${kind} ${style}`, points: places.join(" ") })];
  if (style !== "dotted") return parts;
  for (const point of known) {
    const words = `${label}, round ${point.round}, ${point.cpu_seconds.toFixed(1)} CPU s: ${point.reward.toFixed(3)}`;
    parts.push(draw("circle", { class: kind, cx: x(point[key]), cy: y(point.reward), r: 3.5 }, draw("title", {}, words)));
  }
  return parts;
}

function inWords(lines) {
  const told = lines.filter((line) => line.style !== "thin" && line.points.length);
  const shown = (point) => (point.reward === null ? "unknown" : point.reward.toFixed(3));
  return told.map(({ label, points }) => `${label}: from ${shown(points[0])} to ${shown(points.at(-1))}.`).join(" ");
}

// The gain as a dot on its interval, with 0 marked.
export function drawInterval({ gain, low, high }, label) {
  const reach = 1.15 * Math.max(Math.abs(low), Math.abs(high), 0.05);
  const width = 460, middle = 26, x = (value) => width / 2 + (value / reach) * (width / 2 - 24);
  const ends = [low, high].map((value) => draw("line", { class: "bound", x1: x(value), x2: x(value), y1: middle - 7, y2: middle + 7 }));
  const marks = ticks(-reach, reach, 6);
  const names = marks.map((value) =>
    draw("text", { x: x(value), y: 56, "text-anchor": "middle" }, value > 1e-9 ? `+${value.toFixed(decimals(marks))}` : value.toFixed(decimals(marks)).replace("-", "\u2212"))
  );
  return picture(width, 62, label,
    draw("line", { class: "grid", x1: 8, x2: width - 8, y1: middle, y2: middle }),
    draw("line", { class: "axis", x1: x(0), x2: x(0), y1: 8, y2: 42 }),
    draw("line", { class: "interval", x1: x(low), x2: x(high), y1: middle, y2: middle }),
    ...ends, draw("circle", { class: "node", cx: x(gain), cy: middle, r: 6 }), ...names);
}
