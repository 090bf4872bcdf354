// Reads /data.json every few seconds and shows it. Whatever came from elsewhere enters the page as text nodes alone.
import { drawCurves, drawInterval } from "/charts.js";
import { figure, make, shortPeer, signed } from "/elements.js";

const REFRESH_MS = 3000;
const REST = 20; // times as long as an answer took: on a long run the page leaves the processor to the training
const byId = (id) => document.getElementById(id);
let shown = null; // the data on the page
let shownText = ""; // the same without what changes by the clock alone
let readAt = null;

const seconds = (value) => `${figure(value, 1)} s`;

function age(value) {
  if (value === null) return "no event yet";
  if (value < 5) return "last event just now";
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, unit] = units.find(([least]) => value >= least);
  return `last event ${Math.floor(value / size)} ${unit} ago`;
}

function standing(track) {
  const rounds = `round ${track.round} of ${Math.max(track.round, track.rounds)}`;
  return [track.state, rounds, `policy version ${track.policy_version}`, age(track.quiet_seconds)].join(" \u00b7 ");
}

function table(caption, heads, rows) {
  const column = (place) => (place && heads[place] !== "why" ? "n" : "");
  const head = make("tr", {}, ...heads.map((text, place) => make("th", { scope: "col", class: column(place) }, text)));
  const body = rows.map((row) =>
    make("tr", {}, ...row.map((cell, place) => (place ? make("td", { class: column(place), "data-head": heads[place] }, cell) : make("th", { scope: "row" }, cell))))
  );
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

function tile(name, value, hint = "") {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value), ...(hint ? [make("dd", { class: "quiet" }, hint)] : []));
}

function reasons(refused) {
  const parts = Object.entries(refused).sort((one, other) => other[1] - one[1]);
  return parts.map(([reason, count]) => `${reason.replaceAll("_", " ")} ${count}`).join(", ");
}

const total = (refused) => Object.values(refused).reduce((sum, count) => sum + count, 0);

function showUplift({ comparison, node, baseline }) {
  const facts = comparison.figures;
  const parts = []; // on the left; the table of both sides is on the right
  if (facts) {
    const level = `${Math.round(comparison.level * 100)} % interval ${signed(facts.low)} to ${signed(facts.high)}`;
    const early = comparison.stage === "early";
    const headline = make("p", { class: "headline" }, make("strong", { class: early ? "early" : "" }, signed(facts.gain)));
    headline.append(make("span", {}, `held-out reward over the silo baseline\u2019s, ${early ? "so far, where their compute is nearest" : "at equal compute"}`));
    headline.append(make("span", { class: "quiet" }, level));
    parts.push(headline, drawInterval(facts, level));
  }
  parts.push(make("p", { class: "words" }, comparison.words));
  const sides = make("div", {});
  if (facts) {
    sides.append(
      table("Evaluations compared", ["", "held-out reward", "CPU seconds", "state"], [
        ["this node", figure(facts.own), seconds(facts.cpu_seconds), node.state],
        ["silo baseline", figure(facts.baseline), seconds(facts.baseline_cpu_seconds), baseline ? baseline.state : "\u2013"],
      ]),
      make("p", { class: "quiet" }, "The interval is that of the held-out answers. Chance in training is not in it: another seed may differ by more.")
    );
  } else if (baseline) {
    sides.append(
      table("So far", ["", "round", "CPU seconds", "state"], [
        ["this node", node.round, seconds(node.cpu_seconds), node.state],
        ["silo baseline", baseline.round, seconds(baseline.cpu_seconds), baseline.state],
      ])
    );
  }
  if (node.transport_cpu_seconds > 0) {
    const network = `Of this node\u2019s ${seconds(node.cpu_seconds)} of CPU time in all rounds, ${seconds(node.transport_cpu_seconds)} went to its network process and daemon.`;
    sides.append(make("p", { class: "quiet" }, network));
  }
  byId("uplift").replaceChildren(make("div", {}, ...parts), sides);
}

function showCurves({ node, baseline }) {
  const across = document.querySelector("input[name=across]:checked").value;
  const tracks = [["baseline", "silo baseline", baseline], ["node", "this node", node]].filter(([, , track]) => track);
  const lines = (key, style) => tracks.map(([kind, label, track]) => ({ kind, label, style, points: track[key] }));
  const right = Math.max(1, ...tracks.map(([, , track]) => track[across]));
  const axis = { key: across, name: across === "round" ? "round" : "CPU seconds", right };
  byId("held-out").replaceChildren(drawCurves("Held-out reward", axis, lines("held_out", "dotted")));
  byId("rewards").replaceChildren(drawCurves("Reward of own rollouts", axis, [...lines("rewards", "thin"), ...lines("recent", "plain")]));
  document.querySelector(".of-baseline").hidden = !baseline;
}

function showTasks({ node, baseline }) {
  const names = Object.keys(node.last_by_task).sort();
  byId("tasks").hidden = !names.length;
  const after = (track) => `after round ${track.evaluated}`;
  const heads = ["task", "before round 1", `this node ${after(node)}`, ...(baseline ? [`silo baseline ${after(baseline)}`] : [])];
  const rows = names.map((task) => [
    task,
    figure(node.first_by_task[task]),
    figure(node.last_by_task[task]),
    ...(baseline ? [figure(baseline.last_by_task[task])] : []),
  ]);
  byId("tasks").replaceChildren(table("Held-out reward by task", heads, rows));
}

function showSharing({ sharing, peers }) {
  const share = sharing.external_share;
  const trained = sharing.trained_local + sharing.trained_external;
  byId("sharing").replaceChildren(
    tile("trained on from peers", share === null ? "\u2013" : `${Math.round(share * 100)} %`, `${sharing.trained_external} of ${trained} groups`),
    tile("received", sharing.received, `groups that passed every check here; ${sharing.set_aside} of equal rewards, so nothing to learn from`),
    tile("refused", total(sharing.refused), reasons(sharing.refused)),
    tile("places left empty", sharing.missing_external, "in updates that wanted more groups of peers than there were"),
    tile("published", sharing.published, "own groups that peers could fetch")
  );
  const rows = peers.map((peer) => [
    shortPeer(peer.peer), peer.last_round, peer.received, peer.set_aside, peer.trained_on, total(peer.refused), reasons(peer.refused) || "\u2013",
  ]);
  const heads = ["peer", "last round", "received", "equal rewards", "trained on", "refused", "why"];
  byId("peers").replaceChildren(
    rows.length ? table("Groups by peer", heads, rows) : make("p", { class: "quiet" }, "No records of peers so far.")
  );
}

function show(data) {
  shown = data;
  byId("main").hidden = false;
  byId("name").textContent = data.name;
  document.title = `${data.name} \u00b7 murmur`;
  byId("standing").textContent = standing(data.node);
  // What only the clock moves is no reason to replace what a reader may have selected.
  const text = JSON.stringify(data, (key, value) => (key === "quiet_seconds" ? undefined : value));
  if (text === shownText) return;
  shownText = text;
  byId("note").textContent = data.node.note;
  document.querySelectorAll(".of-swarm").forEach((part) => { part.hidden = data.silo && !data.baseline; });
  for (const part of [showUplift, showCurves, showTasks, showSharing]) part(data);
}

function complain(words) {
  byId("trouble").textContent = words;
  byId("trouble").hidden = !words;
}

async function refresh() {
  const asked = performance.now();
  try {
    const response = await fetch("/data.json");
    const data = await response.json();
    if (!response.ok) throw new Error(data.error);
    show(data);
    readAt = new Date();
    byId("fresh").textContent = `Read at ${readAt.toLocaleTimeString()}.`;
    complain("");
  } catch (error) {
    const since = readAt ? ` Shown is what was known at ${readAt.toLocaleTimeString()}.` : "";
    const silent = error instanceof TypeError; // what fetch throws where nobody listens
    complain((silent ? "murmur dashboard does not answer: it may have ended." : `The run cannot be read: ${error.message}.`) + since);
  }
  setTimeout(refreshIfSeen, Math.max(REFRESH_MS, REST * (performance.now() - asked)));
}

// A page in the background asks for nothing until it is looked at again.
function refreshIfSeen() {
  if (document.hidden) document.addEventListener("visibilitychange", refreshIfSeen, { once: true });
  else refresh();
}

byId("across").addEventListener("change", () => shown && showCurves(shown));
refresh();
