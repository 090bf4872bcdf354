// The Learning screen: is it still learning, what a round spends its time on, where the weights are.
import { go, pathOf } from "/address.js";
import { plot } from "/charts.js";
import { byId, figure, known, make, percent, renew, shares, span, table, tile } from "/elements.js";
import { showUplift } from "/uplift.js";

// Title of a chart -> its curves: [name in the data, label].
const CHARTS = {
  Loss: [["loss", "loss"]],
  Entropy: [["entropy", "nats a token"]],
  "KL divergence": [["kl", "nats a token, to the model without its adapter"]],
  "Gradient norm": [["grad_norm", "gradient norm"]],
  "Sampler against trainer": [["divergence", "mean difference of log-probabilities, nats"]],
  "Length of answers": [["length", "tokens"]],
  "Answers cut at the limit": [["cut_share", "share of the own rollouts"]],
  Speed: [["tokens_per_second", "tokens a second"]],
  "Groups without a lesson": [["equal_rewards", "share of own groups not trained on"]],
  "Part of peers in updates": [["external_share", "share of the groups"]],
};
const SHARES = ["Answers cut at the limit", "Groups without a lesson", "Part of peers in updates"];
const OF_PEERS = ["Part of peers in updates"]; // a silo has none
const column = (points, key) => points.map((point) => point[key]);

function rewards({ node, baseline, learning, silo }) {
  const key = document.querySelector("input[name=across]:checked").value;
  const across = key === "round" ? "round" : "CPU seconds";
  const pick = key === "round" ? (round) => go(pathOf("learning", { round })) : undefined;
  const line = (track, part, label, style, colour) => ({ label, x: column(track[part], key), y: column(track[part], "reward"), style, colour });
  const held = [line(node, "held_out", "this node", "dotted", "--node")];
  const own = [line(node, "rewards", "each round", "thin", "--node"), line(node, "recent", "mean of 5", "plain", "--node")];
  if (baseline) {
    held.push(line(baseline, "held_out", "silo baseline", "dotted", "--baseline"));
    own.push(line(baseline, "recent", "silo baseline, mean of 5", "dashed", "--baseline"));
  }
  if (key === "round" && !silo) own.push({ label: "groups of peers", x: learning.rounds, y: learning.curves.external_reward, style: "dashdot", colour: "--third" });
  plot(byId("held-out"), { title: "Held-out reward", across, lines: held, pick });
  plot(byId("rewards"), { title: "Reward of own rollouts", across, lines: own, pick });
}

function others({ learning, silo }) {
  const host = byId("charts");
  const values = { ...learning.curves, length: learning.tokens };
  const kept = Object.entries(CHARTS).filter(([title, lines]) => lines.some(([name]) => values[name].some(known)) && !(silo && OF_PEERS.includes(title)));
  const wanted = [...kept.map(([title]) => title), ...(Object.keys(learning.by_task).length > 1 ? ["Reward by task"] : [])];
  byId("training").hidden = !wanted.length;
  renew(host, wanted, () => wanted.map((title) => make("figure", { class: "card" }, make("figcaption", {}, title), make("div", { class: "plot" }))));
  const hosts = [...host.querySelectorAll(".plot")];
  wanted.forEach((title, place) => {
    const lines = CHARTS[title] ? CHARTS[title].map(([name, label]) => ({ label, y: values[name] })) : Object.entries(learning.by_task).map(([label, y]) => ({ label, y }));
    plot(hosts[place], { title, share: SHARES.includes(title), across: "round", lines: lines.map((line) => ({ ...line, x: learning.rounds })), pick: (round) => go(pathOf("learning", { round })) });
  });
}

function showTasks({ node, baseline }) {
  const names = Object.keys(node.last_by_task).sort();
  byId("tasks").hidden = !names.length;
  const after = (track) => `after round ${track.evaluated}`;
  const heads = ["task", "before round 1", `this node ${after(node)}`, ...(baseline ? [`silo baseline ${after(baseline)}`] : [])];
  const rows = names.map((task) => [task, figure(node.first_by_task[task]), figure(node.last_by_task[task]), ...(baseline ? [figure(baseline.last_by_task[task])] : [])]);
  renew(byId("tasks"), [heads, rows], () => [table("Held-out reward by task", heads, rows)]);
}

function showTime({ node, learning }) {
  const parts = Object.entries(learning.phases);
  const rounds = Math.max(1, node.round);
  renew(byId("time"), [parts, rounds], () => [
    parts.length ? shares("Of all rounds", ["part of a round", "mean time"], parts, (value) => span(value / rounds)) : make("p", { class: "quiet" }, "No round has ended yet."),
  ]);
}

function showDifficulty({ learning: { difficulty, problems } }) {
  const width = 100 / difficulty.length;
  const parts = difficulty.map((count, place) => [`${place * width} to ${(place + 1) * width} % right`, count]);
  renew(byId("difficulty"), difficulty, () => [
    problems ? shares(`The newest ${problems} problems, by the share of first tries that was right`, ["first tries", "problems"], parts, (value) => value) : make("p", { class: "quiet" }, "No problem was decided on yet."),
  ]);
}

function showAnswers({ trend, weights, learning, node }) {
  const phases = Object.entries(learning.phases).sort((one, other) => other[1] - one[1]);
  const whole = phases.reduce((sum, [, value]) => sum + value, 0) || 1;
  const time = phases.slice(0, 3).map(([name, value]) => `${name} ${percent(value / whole)}`).join(", ");
  renew(byId("answers"), [trend, weights, time, node.policy_version], () => [
    tile("is it still learning", make("span", { class: `trend ${trend.state}` }, { rising: "yes", level: "level of late", falling: "no: it is falling", unknown: "too early to say" }[trend.state]), trend.words),
    tile("a round's time", time || "\u2013"),
    tile("the weights", weights?.newest ? make("code", {}, weights.newest) : "none saved yet", weights?.newest ? `after round ${weights.round}${weights.export ? `; take them away: ${weights.export}` : ""}` : "a checkpoint is written every few rounds (checkpoint.every of the config), and at the end"),
    ...(weights?.best ? [tile("the best weights", make("code", {}, weights.best), `after round ${weights.best_round}, by held-out reward`)] : []),
  ]);
}

// Ten charts are long on a narrow screen: there they are opened by who wants them.
byId("training").open = matchMedia("(min-width: 40.01rem)").matches;

byId("to-round").addEventListener("submit", (event) => {
  event.preventDefault();
  go(pathOf("learning", { round: byId("round-number").value }));
});

export function showLearning(data) {
  for (const part of [showAnswers, showUplift, rewards, others, showTasks, showTime, showDifficulty]) part(data);
  document.querySelectorAll(".of-baseline").forEach((part) => { part.hidden = !data.baseline; });
}
