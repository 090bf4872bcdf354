// The page: three screens on one run, told by a stream of events what is new.
import { here, onMove, pathOf } from "/address.js";
import { byId } from "/elements.js";
import { showLearning } from "/learning.js";
import { showPeer } from "/peer.js";
import { showRollouts } from "/rollouts.js";
import { showRound } from "/round.js";
import { showSwarm } from "/swarm.js";

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const SILENCE_MS = 40_000; // longer than the server is ever silent
let seen = null; // { data, at }: the run as it was told last
let heardAt = Date.now();

function age(seconds) {
  if (seconds === null) return "no event yet";
  if (seconds < 5) return "last event just now";
  const [size, unit] = UNITS.find(([least]) => seconds >= least);
  return `last event ${Math.floor(seconds / size)} ${unit} ago`;
}

function showStanding() {
  if (!seen) return;
  const { node } = seen.data;
  const quiet = node.quiet_seconds === null ? null : node.quiet_seconds + (Date.now() - seen.at) / 1000;
  const rounds = `round ${node.round} of ${Math.max(node.round, node.rounds)}`;
  const words = [node.state, rounds, `policy version ${node.policy_version}`, age(quiet)].join(" \u00b7 ");
  if (byId("standing").textContent !== words) byId("standing").textContent = words;
}

function showScreen({ screen, chosen }, moved) {
  for (const each of document.querySelectorAll("[data-screen]")) each.hidden = each.dataset.screen !== screen;
  for (const each of document.querySelectorAll("nav a")) {
    if (each.getAttribute("href") === pathOf(screen)) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  const title = screen[0].toUpperCase() + screen.slice(1);
  document.title = seen ? `${title} \u00b7 ${seen.data.name} \u00b7 murmur` : `${title} \u00b7 murmur`;
  if (screen === "rollouts") showRollouts(chosen);
  const parts = { learning: () => showRound(chosen.round), swarm: () => showPeer(chosen.peer) };
  Promise.resolve(parts[screen]?.()).then(() => moved && document.querySelector(`[data-screen=${screen}] h2[tabindex]`)?.focus());
  showData();
}

// Only the screen that is looked at is drawn: a chart needs a width.
function showData() {
  if (!seen) return;
  const { screen } = here();
  if (screen === "learning") showLearning(seen.data);
  if (screen === "swarm") showSwarm(seen.data);
}

function show(data) {
  const first = seen === null;
  seen = { data, at: Date.now() };
  byId("main").hidden = false;
  byId("name").textContent = data.name;
  byId("note").textContent = data.node.note;
  document.querySelectorAll(".of-swarm").forEach((part) => { part.hidden = data.silo && !data.baseline; });
  byId("to-swarm").hidden = data.silo;
  document.querySelectorAll(".of-peers").forEach((part) => { part.hidden = data.silo; });
  byId("fresh").textContent = `Read at ${new Date().toLocaleTimeString()}.`;
  complain("");
  showStanding();
  if (first) showScreen(here(), false);
  else showData();
}

function complain(words) {
  byId("trouble").textContent = words && seen ? `${words} Shown is what was known at ${new Date(seen.at).toLocaleTimeString()}.` : words;
  byId("trouble").hidden = !words;
}

function listen() {
  const stream = new EventSource("/events");
  const heard = () => { heardAt = Date.now(); };
  stream.addEventListener("run", (event) => { heard(); show(JSON.parse(event.data)); });
  stream.addEventListener("trouble", (event) => { heard(); complain(`The run cannot be read: ${JSON.parse(event.data).error}.`); });
  stream.addEventListener("beat", heard);
  stream.addEventListener("error", () => complain("murmur dashboard does not answer: it may have ended."));
}

setInterval(() => {
  showStanding();
  if (Date.now() - heardAt > SILENCE_MS) complain("murmur dashboard does not answer: it may have ended.");
}, 5000);
document.querySelectorAll("input[name=across]").forEach((each) => each.addEventListener("change", showData));
onMove(showScreen);
showScreen(here(), false);
listen();
