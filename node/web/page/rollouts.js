// The rollouts of the run, by the filters in the page's own address. Texts enter the page as text nodes alone.
import { figure, make, shortPeer, signed } from "/elements.js";

const FILTERS = ["kind", "order", "round", "task", "peer"];
const byId = (id) => document.getElementById(id);
const field = (name) => byId(`rollouts-${name}`);
let asked = 0; // the newest question: answers to older ones are left

const words = (reason) => reason.replaceAll("_", " ");
const source = (origin) => (origin === null ? "own" : shortPeer(origin));
const fate = (rollout) => (rollout.advantage === null ? words(rollout.reason ?? "") : `advantage ${signed(rollout.advantage)}`);

function part(name, text) {
  return [make("dt", {}, name), make("dd", {}, make("pre", { dir: "auto" }, text))];
}

function entry(rollout) {
  const facts = [`round ${rollout.round}`, rollout.task, `reward ${figure(rollout.reward)}`, fate(rollout)];
  const head = make("summary", {}, `${rollout.id} `, source(rollout.origin), ` \u00b7 ${facts.join(" \u00b7 ")}`);
  head.append(make("span", { class: "excerpt" }, make("bdi", {}, rollout.image ? "image" : rollout.text.split("\n")[0].slice(0, 120))));
  const parts = make("dl", { class: "texts" }, ...part("prompt", rollout.prompt), ...part("right answer", rollout.answer || "(judged by its scorer)"));
  if (rollout.image) {
    const [width, height] = rollout.image;
    const picture = make("img", { src: `/rollout.png?id=${rollout.id}`, alt: `image of rollout ${rollout.id}, ${width} x ${height}`, loading: "lazy" });
    parts.append(make("dt", {}, "drew"), make("dd", {}, picture));
  } else {
    parts.append(...part("wrote", rollout.text));
  }
  const more = `seed ${rollout.seed}, ${rollout.tokens} tokens, finish ${rollout.finish}`;
  parts.append(make("dt", {}, "more"), make("dd", { class: "quiet" }, rollout.cut ? `${more}; the store keeps its beginning alone` : more));
  return make("li", {}, make("details", {}, head, parts));
}

function refusal(refused) {
  const task = refused.task ? `${refused.task} \u00b7 ` : "";
  const facts = ` \u00b7 round ${refused.round} \u00b7 ${task}${refused.rollouts} rollouts \u00b7 ${words(refused.reason)}: ${refused.detail}`;
  return make("li", {}, shortPeer(refused.peer), make("bdi", {}, facts));
}

function told({ rollouts, refused, holdings }) {
  const shown = rollouts.length + refused.length;
  const dropped = holdings.dropped ? `; ${holdings.dropped} of rounds up to ${holdings.thinned_to} were dropped for room` : "";
  if (!holdings.kept && !holdings.dropped) return "No rollouts are kept: the run is of before, or store.rollout_bytes is 0.";
  return `${shown} shown, ${holdings.kept} rollouts kept${dropped}.`;
}

// Only what is set: the page's address says what is looked at, and can be kept.
function query() {
  const chosen = new URLSearchParams();
  for (const name of FILTERS) {
    const value = field(name).value.trim();
    if (value && value !== "all" && value !== "newest") chosen.set(name, value);
  }
  return chosen.toString();
}

async function look() {
  const turn = ++asked;
  const chosen = query();
  history.replaceState(null, "", chosen ? `/?${chosen}#rollouts` : "/");
  try {
    const response = await fetch(`/rollouts.json${chosen ? `?${chosen}` : ""}`);
    const data = await response.json();
    if (turn !== asked) return;
    if (!response.ok) throw new Error(data.error);
    byId("rollouts-told").textContent = told(data);
    byId("rollouts-list").replaceChildren(...data.rollouts.map(entry), ...data.refused.map(refusal));
  } catch (error) {
    if (turn === asked) byId("rollouts-told").textContent = `The rollouts cannot be read: ${error.message}.`;
  }
}

const given = new URLSearchParams(location.search);
for (const name of FILTERS) {
  if (given.has(name)) field(name).value = given.get(name);
  field(name).addEventListener("change", look);
}
byId("rollouts-again").addEventListener("click", look);
look();
