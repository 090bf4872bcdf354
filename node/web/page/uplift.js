// What sharing brought: the held-out reward over the silo baseline's, with its interval.
import { byId, figure, make, renew, signed, span, table } from "/elements.js";

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// The gain as a dot on its interval, with 0 marked.
function interval({ gain, low, high }, label) {
  const reach = 1.15 * Math.max(Math.abs(low), Math.abs(high), 0.05);
  const width = 460, middle = 26, x = (value) => width / 2 + (value / reach) * (width / 2 - 24);
  const ends = [low, high].map((value) => draw("line", { class: "bound", x1: x(value), x2: x(value), y1: middle - 7, y2: middle + 7 }));
  const names = [low, 0, high].map((value) => draw("text", { x: x(value), y: 56, "text-anchor": "middle" }, value ? signed(value) : "0"));
  return draw("svg", { viewBox: `0 0 ${width} 62`, role: "img", "aria-label": label },
    draw("line", { class: "grid", x1: 8, x2: width - 8, y1: middle, y2: middle }),
    draw("line", { class: "axis", x1: x(0), x2: x(0), y1: 8, y2: 42 }),
    draw("line", { class: "interval", x1: x(low), x2: x(high), y1: middle, y2: middle }),
    ...ends, draw("circle", { class: "node", cx: x(gain), cy: middle, r: 6 }), ...names);
}

function headline(comparison, facts) {
  const level = `${Math.round(comparison.level * 100)} % interval ${signed(facts.low)} to ${signed(facts.high)}`;
  const early = comparison.stage === "early";
  const line = make("p", { class: "headline" }, make("strong", { class: early ? "early" : "" }, signed(facts.gain)));
  line.append(make("span", {}, `held-out reward over the silo baseline\u2019s, ${early ? "so far, where their compute is nearest" : "at equal compute"}`));
  line.append(make("span", { class: "quiet" }, level));
  return [line, interval(facts, level)];
}

function sides(facts, node, baseline) {
  if (facts) {
    return [
      table("Evaluations compared", ["", "held-out reward", "CPU time", "state"], [
        ["this node", figure(facts.own), span(facts.cpu_seconds), node.state],
        ["silo baseline", figure(facts.baseline), span(facts.baseline_cpu_seconds), baseline ? baseline.state : "\u2013"],
      ], { wordy: ["state"] }),
      make("p", { class: "quiet" }, "The interval is that of the held-out answers. Chance in training is not in it: another seed may differ by more."),
    ];
  }
  if (!baseline) return [];
  return [table("So far", ["", "round", "CPU time", "state"], [
    ["this node", node.round, span(node.cpu_seconds), node.state],
    ["silo baseline", baseline.round, span(baseline.cpu_seconds), baseline.state],
  ], { wordy: ["state"] })];
}

function network({ cpu_seconds, transport_cpu_seconds }) {
  if (!(transport_cpu_seconds > 0)) return [];
  return [make("p", { class: "quiet" }, `Of this node\u2019s ${span(cpu_seconds)} of CPU time in all rounds, ${span(transport_cpu_seconds)} went to its network process and daemon.`)];
}

export function showUplift({ comparison, node, baseline }) {
  const facts = comparison.figures;
  renew(byId("uplift"), [comparison, node, baseline], () => [
    make("div", {}, ...(facts ? headline(comparison, facts) : []), make("p", { class: "words" }, comparison.words)),
    make("div", {}, ...sides(facts, node, baseline), ...network(node)),
  ]);
}
