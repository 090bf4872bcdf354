// One peer in full, where the address names it: /swarm?peer=12D3Koo... or the end of it.
import { pathOf } from "/address.js";
import { ask, byId, figure, link, make, reasons, shortName, signed, spoken, table, total } from "/elements.js";
import { wordOn } from "/owner.js";

let asked = 0; // the newest question: answers to older ones are left

function rounds(data) {
  const rows = data.rounds.map((each) => [
    link(pathOf("learning", { round: each.round }), each.round), each.received, each.set_aside, each.usefulness === null ? "\u2013" : signed(each.usefulness),
    figure(each.habits, 0), total(each.refused), reasons({ ...each.refused, ...each.left_out }) || "\u2013", `${each.standing}${each.why ? `: ${each.why}` : ""}`,
  ]);
  return table("Rounds, newest first", ["round", "received", "equal rewards", "useful", "habits", "refused", "why", "standing"], rows, ["why", "standing"]);
}

function refused(data) {
  const rows = data.refused.map((each) => [each.round, each.task || "a whole body", each.rollouts, spoken(each.reason), each.detail]);
  return table("Refused, newest first", ["round", "task", "rollouts", "reason", "why"], rows, ["task", "reason", "why"]);
}

function trained(data) {
  const rows = data.trained_on.map((each) => [
    link(pathOf("learning", { round: each.round }), each.round), link(pathOf("rollouts", { task: each.task, seed: each.seed }), `${each.task} ${each.seed}`),
  ]);
  return table("Trained on, newest first", ["round", "problem"], rows, ["problem"]);
}

export async function showPeer(peer) {
  const host = byId("peer"), turn = ++asked;
  host.hidden = !peer;
  if (!peer) return host.replaceChildren();
  try {
    const data = await ask("/peer.json", { peer });
    if (turn !== asked) return;
    const name = data.peers.length === 1 ? data.peers[0] : peer;
    const links = make("p", { class: "links" }, link(pathOf("rollouts", { peer }), "its rollouts"), " ", link(pathOf("rollouts", { peer, kind: "refused" }), "what was refused"), " ", link(pathOf("swarm"), "close"));
    const several = data.peers.length > 1 ? [make("p", {}, `${data.peers.length} peers end so: ${data.peers.map(shortName).join(", ")}`)] : [];
    const word = data.peers.length === 1 ? wordOn(name, data.words[name], () => showPeer(peer)) : [];
    const parts = [rounds(data), ...(data.refused.length ? [refused(data)] : []), ...(data.trained_on.length ? [trained(data)] : [])];
    const none = make("p", {}, "This run has no record of such a peer.");
    host.replaceChildren(make("h2", { tabindex: "-1" }, `Peer ${name}`), links, ...word, ...several, ...(data.peers.length || data.refused.length ? parts : [none]));
  } catch (error) {
    if (turn === asked) host.replaceChildren(make("p", {}, `This peer cannot be read: ${error.message}.`));
  }
}
