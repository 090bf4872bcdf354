// One round in full, where the address names it: /learning?round=5.
import { pathOf } from "/address.js";
import { pager } from "/pager.js";
import { tick } from "/charts.js";
import { ask, byId, figure, known, link, make, reasons, shares, shortName, span, spoken, table, total } from "/elements.js";

let asked = 0; // the newest question: answers to older ones are left
let newest = 0; // round of the run, when one was asked for last

function steps(round, last) {
  const near = [[round - 1, "the round before"], [round + 1, "the round after"]].filter(([number]) => number >= 1 && number <= last);
  const links = near.map(([number, words]) => link(pathOf("learning", { round: number }), words));
  links.push(link(pathOf("rollouts", { round }), "its rollouts"), link(pathOf("learning"), "the overview"));
  return make("p", { class: "links" }, ...links.flatMap((each) => [each, " "]));
}

function figures(event) {
  const silo = byId("to-swarm").hidden;
  const rows = [
    ["reward of own rollouts", figure(event.reward)],
    ...(silo ? [] : [["reward of peers\u2019 groups", figure(event.external_reward)]]),
    ["groups trained on", silo ? event.trained_local : `${event.trained_local} own, ${event.trained_external} of peers`],
    ["own groups not trained on", reasons(event.dropped) || "none"],
    ...(silo ? [] : [["refused of peers", reasons(event.refused) || "none"]]),
    ["loss", known(event.loss) ? tick(event.loss) : "\u2013"],
    ["gradient norm", figure(event.grad_norm)],
    ["entropy, nats a token", figure(event.entropy)],
    ["tokens sampled", event.tokens.toLocaleString()],
    ["time, and CPU time", `${span(event.seconds)}, ${span(event.cpu_seconds)} of CPU`],
    ["policy version after it", event.policy_version],
  ];
  for (const note of ["diverged", "disagreement", "shortage"]) if (event[note]) rows.push([note, event[note]]);
  return table("Figures", ["", "of this round"], rows);
}

function problems(data) {
  const rows = data.problems.map((each) => [
    link(pathOf("rollouts", { task: each.task, seed: each.seed }), `${each.task} ${each.seed}`),
    `${each.correct} of ${each.rollouts}`, each.sampled, figure(each.reward), each.dropped ? spoken(each.dropped) : "trained on",
  ]);
  return table("Problems: each leads to all that was written for it", ["task and seed", "right at first", "rollouts", "reward", "trained on, or why not"], rows, { wordy: ["trained on, or why not"] });
}

function peers(data) {
  const rows = data.peers.map((each) => [link(pathOf("swarm", { peer: each.peer }), shortName(each.peer)), each.received, each.set_aside, total(each.refused), reasons(each.refused) || "\u2013"]);
  return table("Peers", ["peer", "groups received", "equal rewards", "refused", "why"], rows);
}

const list = (data, chosen, name, build) => (data.counts[name] ? [...pager("learning", chosen, { name, count: data.counts[name], size: data.size, key: name, stay: true }), build(data)] : []);

// The newest round has no next one yet, and one that is to come none of its figures: both are asked for again.
export const mayChange = (number) => !(Number(number) < newest);

export async function showRound(chosen) {
  const host = byId("round"), number = chosen.round, turn = ++asked;
  host.hidden = !number;
  if (!number) return host.replaceChildren();
  try {
    if (!/^\d{1,10}$/.test(number)) throw new Error("a round is a number");
    const data = await ask("/round.json", { round: number, problems: chosen.problems ?? 1, peers: chosen.peers ?? 1 });
    if (turn !== asked) return;
    newest = data.last;
    const title = make("h2", { tabindex: "-1" }, `Round ${data.round}`);
    if (!data.known) return host.replaceChildren(title, make("p", {}, `This run has no round ${data.round} yet; its last is ${data.last}.`), steps(data.round, data.last));
    const time = shares("Time", ["part of the round", "time"], Object.entries(data.phases), span);
    const parts = [make("div", { class: "pair" }, figures(data.figures), time), ...list(data, chosen, "problems", problems), ...list(data, chosen, "peers", peers)];
    host.replaceChildren(title, steps(data.round, data.last), ...parts);
  } catch (error) {
    if (turn === asked) host.replaceChildren(make("h2", { tabindex: "-1" }, "A round that cannot be shown"), make("p", {}, `Round ${number.slice(0, 40)}: ${error.message}.`), steps(NaN, 0));
  }
}
