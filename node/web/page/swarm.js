// The Swarm screen: who helps, who is refused and why, and what came of each peer.
import { pathOf } from "/address.js";
import { byId, figure, link, make, percent, reasons, renew, shortName, signed, table, tile, total } from "/elements.js";

const toPeer = (peer) => link(pathOf("swarm", { peer }), shortName(peer), { title: peer });

const WORDS = { allow: "allowed by you", deny: "denied by you" };
const standing = (peer, words) => WORDS[words[peer.peer]] ?? (peer.standing || "\u2013");

function mostRefused(peers) {
  return [...peers].sort((one, other) => total(other.refused) - total(one.refused)).find((peer) => total(peer.refused));
}

function showAnswers({ parts, peers }) {
  const best = parts.find((part) => part.updates);
  const worst = mostRefused(peers);
  renew(byId("who"), [parts, peers], () => [
    tile("helps most", best ? toPeer(best.peer) : "nobody yet", best ? best.words : "no group of a peer was in an update so far"),
    tile("refused most", worst ? toPeer(worst.peer) : "nobody", worst ? `${reasons(worst.refused)}, of ${worst.received + total(worst.refused)} groups and records` : "nothing of a peer was refused"),
  ]);
}

function showSharing({ sharing }) {
  const share = sharing.external_share;
  const trained = sharing.trained_local + sharing.trained_external;
  renew(byId("sharing"), sharing, () => [
    tile("trained on from peers", percent(share), `${sharing.trained_external} of ${trained} groups`),
    tile("received", sharing.received, `groups that passed every check here; ${sharing.set_aside} of equal rewards, so nothing to learn from`),
    tile("refused", link(pathOf("rollouts", { kind: "refused" }), total(sharing.refused)), reasons(sharing.refused)),
    tile("places left empty", sharing.missing_external, "in updates that wanted more groups of peers than there were"),
    tile("published", sharing.published, "own groups that peers could fetch"),
  ]);
}

function showPeers({ parts, peers, words }) {
  const part = Object.fromEntries(parts.map((each) => [each.peer, each]));
  const order = new Map(parts.map((each, place) => [each.peer, place]));
  const sorted = [...peers].sort((one, other) => (order.get(one.peer) ?? 1e9) - (order.get(other.peer) ?? 1e9));
  const rows = sorted.map((peer) => [
    toPeer(peer.peer), standing(peer, words), peer.address || "\u2013", peer.last_round, peer.last_good ?? "\u2013", peer.received, peer.set_aside, peer.trained_on, percent(part[peer.peer]?.share),
    peer.usefulness === null ? "\u2013" : signed(peer.usefulness),
    `${figure(part[peer.peer]?.reward_before)} \u2192 ${figure(part[peer.peer]?.reward_after)}`,
    total(peer.refused), reasons(peer.refused) || "\u2013",
  ]);
  const heads = ["peer", "standing", "address", "last round", "last good", "received", "equal rewards", "trained on", "of the updates", "useful", "own reward, before and after", "refused", "why"];
  renew(byId("peers"), rows.map((row) => row.map((cell) => cell.href ?? cell)), () => [
    rows.length ? table("Groups by peer, the most helpful first", heads, rows, ["standing", "address", "why"]) : make("p", { class: "quiet" }, "No records of peers so far."),
  ]);
}

export function showSwarm(data) {
  for (const part of [showAnswers, showSharing, showPeers]) part(data);
}
