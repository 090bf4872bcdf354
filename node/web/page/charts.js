// Curves by uPlot, which draws on a canvas: colours are read from the style sheet, and the words say what is drawn.
import { figure, known, make, span } from "/elements.js";

const HEIGHT = 220;
const PALETTE = ["--node", "--baseline", "--third", "--fourth", "--fifth", "--sixth"];
const drawn = new Map(); // host -> { chart, options }
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) drawn.get(target)?.chart.setSize({ width: target.clientWidth, height: HEIGHT });
});
const DASHES = { dashed: [6, 4], dashdot: [8, 3, 2, 3] };
const tiny = (value) => value !== 0 && Math.abs(value) < 0.001;
// What stands at an axis: 0.0005 is not told as 0.
export const tick = (value) => (tiny(value) ? Number(value.toPrecision(3)).toExponential() : value.toLocaleString(undefined, { maximumFractionDigits: 6 }));
const told = (value) => (known(value) && tiny(value) ? value.toExponential(2) : figure(value));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// `lines`: {label, x, y, style: plain | thin | dotted | dashed | dashdot, colour}, x rising; null in y where nothing is known.
// `share`: the values are shares of a whole, and the axis runs from 0 to 1.
// `pick(x)` is called for a click on a place of the curve.
export function plot(host, { title, across, lines, pick, share = false }) {
  const drawable = lines.filter((line) => line.y.some(known));
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", `${title} by ${across}. ${drawable.map(inWords).join(" ")}`);
  if (!drawable.length) {
    forget(host);
    host.replaceChildren(make("p", { class: "quiet" }, "Nothing yet."));
    return;
  }
  const data = uPlot.join(drawable.map((line) => [line.x, line.y]));
  const shape = JSON.stringify([title, across, drawable.map((line) => [line.label, line.style, line.colour])]);
  const before = drawn.get(host);
  if (before?.shape === shape) {
    before.pick = pick;
    before.chart.setData(data);
    return;
  }
  forget(host);
  host.replaceChildren();
  const kept = { shape, pick, again: () => { drawn.delete(host); plot(host, { title, across, lines, pick, share }); } };
  kept.chart = new uPlot(options(host, across, drawable, kept, share), data, host);
  drawn.set(host, kept);
  resized.observe(host);
}

function forget(host) {
  drawn.get(host)?.chart.destroy();
  drawn.delete(host);
}

function options(host, across, lines, kept, share) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  return {
    width: host.clientWidth || 300,
    height: HEIGHT,
    scales: { x: { time: false }, ...(share ? { y: { range: [0, 1] } } : {}) },
    axes: [{ ...axis, label: across, labelFont: axis.font, labelSize: 20 }, { ...axis, size: 56, values: (chart, places) => places.map(tick) }],
    series: [{ label: across, value: (chart, value) => (known(value) ? (across === "round" ? value : span(value)) : "--") }, ...lines.map(series)],
    cursor: { y: false },
    hooks: { ready: [(chart) => chart.over.addEventListener("click", () => {
      const place = chart.cursor.idx;
      if (known(place)) kept.pick?.(chart.data[0][place]);
    })] },
  };
}

function series(line, place) {
  const stroke = colour(line.colour ?? PALETTE[place % PALETTE.length]);
  const dash = DASHES[line.style];
  const points = line.style === "dotted" ? { show: true, size: 6, stroke, fill: stroke } : { show: undefined };
  return { label: line.label, stroke, dash, points, width: line.style === "thin" ? 1 : 2, alpha: line.style === "thin" ? 0.6 : 1, spanGaps: true, value: (chart, value) => told(value) };
}

function inWords({ label, y, style }) {
  const values = y.filter(known);
  return style === "thin" || !values.length ? "" : `${label}: from ${told(values[0])} to ${told(values.at(-1))}.`;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [host, kept] of [...drawn]) {
    forget(host);
    kept.again();
  }
});
