// One round in full, where the address names it: /learning?round=5.
import { pathOf } from "/address.js";
import { ask, byId, figure, link, make, reasons, seconds, shares, shortName, spoken, table, total } from "/elements.js";

let asked = 0; // the newest question: answers to older ones are left

function steps(round, last) {
  const near = [[round - 1, "the round before"], [round + 1, "the round after"]].filter(([number]) => number >= 1 && number <= last);
  const links = near.map(([number, words]) => link(pathOf("learning", { round: number }), words));
  links.push(link(pathOf("rollouts", { round }), "its rollouts"), link(pathOf("learning"), "close"));
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
    ["loss", figure(event.loss, 5)],
    ["gradient norm", figure(event.grad_norm)],
    ["entropy", figure(event.entropy)],
    ["tokens", event.tokens],
    ["time", `${seconds(event.seconds)}, ${seconds(event.cpu_seconds)} of CPU`],
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
  return table("Problems: each leads to all that was written for it", ["task and seed", "right at first", "rollouts", "reward", "why"], rows);
}

function peers(data) {
  const rows = data.peers.map((each) => [link(pathOf("swarm", { peer: each.peer }), shortName(each.peer)), each.received, each.set_aside, total(each.refused), reasons(each.refused) || "\u2013"]);
  return table("Peers", ["peer", "received", "equal rewards", "refused", "why"], rows);
}

export async function showRound(number) {
  const host = byId("round"), turn = ++asked;
  host.hidden = !number;
  if (!number) return host.replaceChildren();
  try {
    const data = await ask("/round.json", { round: number });
    if (turn !== asked) return;
    const title = make("h2", { tabindex: "-1" }, `Round ${data.round}`);
    if (!data.known) return host.replaceChildren(title, make("p", {}, `This run has no round ${data.round} yet; its last is ${data.last}.`), steps(data.round, data.last));
    const time = shares("Time", Object.entries(data.phases), seconds);
    const parts = [make("div", { class: "pair" }, figures(data.figures), time), problems(data), ...(data.peers.length ? [peers(data)] : [])];
    host.replaceChildren(title, steps(data.round, data.last), ...parts);
  } catch (error) {
    if (turn === asked) host.replaceChildren(make("p", {}, `Round ${number} cannot be read: ${error.message}.`));
  }
}
