// One peer in full, where the address names it: /swarm?peer=12D3Koo... or the end of it.
import { pathOf } from "/address.js";
import { ask, byId, figure, link, make, reasons, shortName, signed, spoken, table, total } from "/elements.js";
import { wordOn } from "/owner.js";
import { pager } from "/pager.js";

const TITLES = { rounds: "Rounds with it", refused: "What was refused of it", trained_on: "What was trained on" };
let asked = 0; // the newest question: answers to older ones are left

function rounds(data) {
  const rows = data.rounds.map((each) => [
    link(pathOf("learning", { round: each.round }), each.round), each.received, each.set_aside, each.usefulness === null ? "\u2013" : signed(each.usefulness),
    figure(each.habits, 0), total(each.refused), reasons({ ...each.refused, ...each.left_out }) || "\u2013", `${each.standing}${each.why ? `: ${each.why}` : ""}`,
  ]);
  return table("Rounds, newest first", ["round", "received", "equal rewards", "useful", "habits", "refused", "why", "standing"], rows, { wordy: ["why", "standing"] });
}

function refused(data) {
  const rows = data.refused.map((each) => [each.round, each.task || "a whole body", each.rollouts, spoken(each.reason), each.detail]);
  return table("Refused, newest first", ["round", "task", "rollouts", "reason", "why"], rows, { wordy: ["task", "reason", "why"] });
}

function trained(data) {
  const rows = data.trained_on.map((each) => [
    link(pathOf("learning", { round: each.round }), each.round), link(pathOf("rollouts", { task: each.task, seed: each.seed }), `${each.task} ${each.seed}`),
  ]);
  return table("Trained on, newest first", ["round", "problem"], rows, { wordy: ["problem"], slim: true });
}

// Each list can be folded, and is on a narrow screen until its reader opens it or goes to another page of it.
function list(data, chosen, name, build) {
  const count = data.counts[name];
  if (!count) return [];
  const pages = pager("swarm", chosen, { name: spoken(name), count, size: data.size, key: name, stay: true });
  const folded = matchMedia("(max-width: 40rem)").matches && !chosen[name];
  return [make("details", folded ? {} : { open: "" }, make("summary", {}, `${TITLES[name]} (${count})`), ...pages, build(data))];
}

// Where an end is that of several PeerIDs, each is a click away.
function several({ peers, counts }) {
  if (counts.peers < 2) return [];
  const more = counts.peers > peers.length ? ` and ${counts.peers - peers.length} more: give more of the end` : "";
  return [make("p", { class: "links" }, `${counts.peers} peers end so: `, ...peers.flatMap((peer) => [link(pathOf("swarm", { peer }), peer), " "]), more)];
}

export async function showPeer(chosen) {
  const host = byId("peer"), peer = chosen.peer, turn = ++asked;
  host.hidden = !peer;
  if (!peer) return host.replaceChildren();
  const away = link(pathOf("swarm"), "the overview");
  try {
    const data = await ask("/peer.json", { peer, rounds: chosen.rounds ?? 1, trained_on: chosen.trained_on ?? 1, refused: chosen.refused ?? 1 });
    if (turn !== asked) return;
    const name = data.peers.length === 1 ? data.peers[0] : peer;
    const title = make("h2", { tabindex: "-1" }, `Peer ${name.slice(0, 200)}`);
    if (!data.peers.length && !data.refused.length) return host.replaceChildren(title, make("p", {}, "This run has no record of such a peer."), make("p", { class: "links" }, away));
    const links = make("p", { class: "links" }, link(pathOf("rollouts", { peer }), "its rollouts"), " ", link(pathOf("rollouts", { peer, kind: "refused" }), "what was refused"), " ", away);
    const word = data.peers.length === 1 ? wordOn(name, data.words[name], () => showPeer(chosen)) : [];
    const parts = [...list(data, chosen, "rounds", rounds), ...list(data, chosen, "refused", refused), ...list(data, chosen, "trained_on", trained)];
    host.replaceChildren(title, links, ...word, ...several(data), ...parts);
  } catch (error) {
    if (turn === asked) host.replaceChildren(make("h2", { tabindex: "-1" }, "A peer that cannot be shown"), make("p", {}, `${error.message}.`), make("p", { class: "links" }, away));
  }
}
