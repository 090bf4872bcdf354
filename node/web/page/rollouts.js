// The Rollouts screen: what was written for which problem, a group's rollouts side by side.
import { go, here, pathOf } from "/address.js";
import { ask, byId, figure, link, make, shortName, signed, spoken, visible } from "/elements.js";
import { pager } from "/pager.js";

const FILTERS = ["kind", "order", "reward", "verdict", "round", "task", "seed", "peer"];
const PRESET = { kind: "all", order: "newest", reward: "any" };
const NARROW = matchMedia("(max-width: 40rem)");
const BESIDE = 3; // rollouts of a group that a narrow screen shows at once
const field = (name) => byId(`rollouts-${name}`);
let asked = 0; // the newest question: answers to older ones are left
let shown = "";
let played = null; // rounds that the run has played, and had when the list was read
let lookedAt = null;

const source = (origin) => (origin === null ? "own" : link(pathOf("swarm", { peer: origin }), shortName(origin), { title: origin }));
const fate = (rollout) => (rollout.advantage === null ? spoken(rollout.reason ?? "") : `advantage ${signed(rollout.advantage)}`);
const block = (text) => make("pre", { dir: "auto", tabindex: "0" }, text);

function entry(rollout, chosen) {
  const here = String(rollout.id) === chosen.id;
  const head = make("h3", {}, link(pathOf("rollouts", { id: rollout.id }), `rollout ${rollout.id}`, here ? { "aria-current": "true" } : {}), ` \u00b7 reward ${figure(rollout.reward)} \u00b7 ${fate(rollout)}`);
  const more = `${rollout.tokens} tokens, finish ${rollout.finish}${rollout.cut ? "; the store keeps its beginning alone" : ""}`;
  return make("article", { class: here ? "rollout chosen" : "rollout" }, head, wrote(rollout), make("p", { class: "quiet" }, more));
}

function wrote(rollout) {
  if (!rollout.image) return block(rollout.text);
  const [width, height] = rollout.image;
  return make("img", { src: `/rollout.png?id=${rollout.id}`, alt: `image of rollout ${rollout.id}, ${width} x ${height}`, loading: "lazy" });
}

function group(rollouts, chosen) {
  const [first] = rollouts;
  const problem = link(pathOf("rollouts", { task: first.task, seed: first.seed }), `${first.task}, seed ${first.seed}`, { title: "all that was written for this problem" });
  const head = make("h2", {}, source(first.origin), " \u00b7 ", problem, " \u00b7 ", link(pathOf("learning", { round: first.round }), `round ${first.round}`));
  const texts = make("dl", { class: "texts" }, make("dt", {}, "prompt"), make("dd", {}, block(first.prompt)), make("dt", {}, "right answer"), make("dd", {}, block(first.answer || "(judged by its scorer)")));
  return make("li", { class: "card group" }, head, texts, ...beside(rollouts, chosen));
}

// All side by side; on a narrow screen, where they are below one another, those after the first few are folded.
function beside(rollouts, chosen) {
  const row = (some) => make("div", { class: "side-by-side" }, ...some.map((rollout) => entry(rollout, chosen)));
  if (!NARROW.matches || rollouts.length <= BESIDE + 1) return [row(rollouts)];
  const rest = rollouts.slice(BESIDE);
  return [row(rollouts.slice(0, BESIDE)), make("details", {}, make("summary", {}, `${rest.length} more rollouts of this group`), row(rest))];
}

function grouped(rollouts) {
  const groups = new Map();
  for (const rollout of rollouts) groups.set(rollout.group, [...(groups.get(rollout.group) ?? []), rollout]);
  return [...groups.values()];
}

function refusal(refused) {
  const task = refused.task ? `${refused.task} \u00b7 ` : "";
  const facts = ` \u00b7 round ${refused.round} \u00b7 ${task}${refused.rollouts} rollouts \u00b7 ${spoken(refused.reason)}: ${refused.detail}`;
  return make("li", { class: "card" }, source(refused.peer), make("bdi", {}, facts));
}

function told({ holdings, why, fitting }) {
  const dropped = holdings.dropped ? `; ${holdings.dropped} of rounds up to ${holdings.thinned_to} were dropped for room` : "";
  const kept = holdings.kept || holdings.dropped ? `${holdings.kept} rollouts are kept in all${dropped}.` : "";
  return `${why || `${fitting} ${fitting === 1 ? "fits" : "fit"}.`} ${kept}`;
}

const hosts = () => [byId("rollouts-pages"), byId("rollouts-more-pages")];

async function look(chosen) {
  const turn = ++asked;
  const query = Object.fromEntries(Object.entries(chosen).filter(([name]) => name === "id" || name === "page" || FILTERS.includes(name)));
  try {
    const data = await ask("/rollouts.json", query);
    if (turn !== asked) return;
    lookedAt = played;
    byId("rollouts-told").textContent = visible(told(data));
    for (const host of hosts()) host.replaceChildren(...pager("rollouts", chosen, { name: "rollouts", count: data.fitting, size: data.size }));
    byId("rollouts-list").replaceChildren(...grouped(data.rollouts).map((each) => group(each, chosen)), ...data.refused.map(refusal));
  } catch (error) {
    if (turn !== asked) return;
    byId("rollouts-told").textContent = visible(`The rollouts cannot be read: ${error.message}.`);
    for (const host of [...hosts(), byId("rollouts-list")]) host.replaceChildren();
  }
  tellPlayed(played);
}

// The list stays as it was read, so that nothing moves under its reader; what has come since is told.
export function tellPlayed(rounds) {
  played = rounds;
  lookedAt ??= rounds;
  const since = rounds - lookedAt;
  byId("rollouts-newer").textContent = since > 0 ? `${since} ${since === 1 ? "round was" : "rounds were"} played since this list was read: \u201cLook again\u201d has them.` : "";
}

// What the address names is asked for, and stands in the filters.
export function showRollouts(chosen) {
  for (const name of FILTERS) if (document.activeElement !== field(name)) field(name).value = chosen[name] ?? PRESET[name] ?? "";
  const wanted = JSON.stringify(chosen);
  if (wanted === shown) return;
  shown = wanted;
  look(chosen);
}

// Only what is set: the page's address says what is looked at, and can be kept.
function choose() {
  const entries = FILTERS.map((name) => [name, field(name).value.trim()]).filter(([name, value]) => value !== PRESET[name]);
  go(pathOf("rollouts", Object.fromEntries(entries)), { replace: true });
}

for (const name of FILTERS) field(name).addEventListener("change", choose);
byId("rollouts-filters").addEventListener("submit", (event) => {
  event.preventDefault();
  shown = "";
  if (FILTERS.every((name) => field(name).value.trim() === (here().chosen[name] ?? PRESET[name] ?? ""))) showRollouts(here().chosen);
  else choose();
});
