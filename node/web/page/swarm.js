// The Swarm screen: who helps, who is refused and why, and what came of each peer.
import { here, pathOf } from "/address.js";
import { byId, figure, link, make, percent, reasons, renew, shortName, signed, spoken, table, tile, total } from "/elements.js";
import { pager } from "/pager.js";

const SHOWN = 20; // peers of a page

const toPeer = (peer) => link(pathOf("swarm", { peer }), shortName(peer), { title: peer });

const WORDS = { allow: "allowed by you", deny: "denied by you" };
const standing = (peer, words) => WORDS[words[peer.peer]] ?? (peer.standing || "\u2013");

const toRound = (round) => (round === null ? "\u2013" : link(pathOf("learning", { round }), round));

// A count leads to what it counts.
const toRows = (peer, count, chosen) => (count ? link(pathOf("rollouts", { peer: peer.peer, ...chosen }), count) : 0);

function why(peer) {
  const parts = Object.entries(peer.refused).sort((one, other) => other[1] - one[1]);
  const links = parts.map(([reason, count]) => link(pathOf("rollouts", { peer: peer.peer, kind: "refused", verdict: reason }), `${spoken(reason)} ${count}`));
  return parts.length ? make("span", {}, ...links.flatMap((each) => [each, " "])) : "\u2013";
}

function mostRefused(peers) {
  return [...peers].sort((one, other) => total(other.refused) - total(one.refused)).find((peer) => total(peer.refused));
}

function showAnswers({ parts, peers, refusals }) {
  const best = parts.find((part) => part.updates);
  const worst = mostRefused(peers);
  renew(byId("who"), [parts, peers, refusals], () => [
    tile("helps most", best ? toPeer(best.peer) : "nobody yet", best ? best.words : "no group of a peer was in an update so far"),
    tile("refused most", worst ? toPeer(worst.peer) : "nobody", worst ? `${reasons(worst.refused)}, of ${worst.received + total(worst.refused)} groups and records${refusals[worst.peer] ? `; last: ${refusals[worst.peer]}` : ""}` : "nothing of a peer was refused"),
  ]);
}

function showSharing({ sharing }) {
  const share = sharing.external_share;
  const trained = sharing.trained_local + sharing.trained_external;
  renew(byId("sharing"), sharing, () => [
    tile("trained on from peers", percent(share), `${sharing.trained_external} of ${trained} groups`),
    tile("received", sharing.received, `groups that passed every check here; ${sharing.set_aside} of equal rewards, so nothing to learn from`),
    tile("refused", total(sharing.refused) ? link(pathOf("rollouts", { kind: "refused" }), total(sharing.refused)) : 0, reasons(sharing.refused) || "groups and records of peers that failed a check"),
    tile("places left empty", sharing.missing_external, "in updates that wanted more groups of peers than there were"),
    tile("published", sharing.published, "own groups that peers could fetch"),
  ]);
}

function showPeers({ parts, peers, words }) {
  const part = Object.fromEntries(parts.map((each) => [each.peer, each]));
  const order = new Map(parts.map((each, place) => [each.peer, place]));
  const sorted = [...peers].sort((one, other) => (order.get(one.peer) ?? 1e9) - (order.get(other.peer) ?? 1e9));
  const { chosen } = here();
  const begin = SHOWN * ((/^[1-9]\d{0,6}$/.test(chosen.page ?? "") ? Number(chosen.page) : 1) - 1);
  const page = sorted.slice(begin, begin + SHOWN);
  const facts = page.map((peer) => [peer, words[peer.peer], part[peer.peer]]);
  const row = (peer) => [
    toPeer(peer.peer), standing(peer, words), peer.address || "\u2013", toRound(peer.last_round), toRound(peer.last_good),
    toRows(peer, peer.received, { kind: "external" }), toRows(peer, peer.set_aside, { verdict: "all_alike" }),
    toRows(peer, peer.trained_on, { kind: "external", verdict: "trained" }), percent(part[peer.peer]?.share),
    peer.usefulness === null ? "\u2013" : signed(peer.usefulness),
    `${figure(part[peer.peer]?.reward_before)} \u2192 ${figure(part[peer.peer]?.reward_after)}`,
    toRows(peer, total(peer.refused), { kind: "refused" }), why(peer),
  ];
  const heads = ["peer", "standing", "address", "last round", "last good", "received", "equal rewards", "trained on", "of the updates", "useful", "own reward, before and after", "refused", "why"];
  renew(byId("peers"), [facts, sorted.length, chosen], () => [
    ...pager("swarm", chosen, { name: "peers", count: sorted.length, size: SHOWN, stay: true }),
    sorted.length ? table("Groups by peer, the most helpful first", heads, page.map(row), { wordy: ["standing", "address", "why"] }) : make("p", { class: "quiet" }, "No records of peers so far."),
  ]);
}

export function showSwarm(data) {
  for (const part of [showAnswers, showSharing, showPeers]) part(data);
}
