// The page: three screens on one run, told by a stream of events what is new.
import { here, onMove, pathOf } from "/address.js";
import { byId, visible } from "/elements.js";
import { showLearning } from "/learning.js";
import { showPeer } from "/peer.js";
import { showRollouts, tellPlayed } from "/rollouts.js";
import { mayChange, showRound } from "/round.js";
import { showSwarm } from "/swarm.js";

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const SILENCE_MS = 40_000; // longer than the server is ever silent
let seen = null; // { data, at }: the run as it was told last
const AGAIN_MS = 10_000; // between two calls for a stream that was refused
let heardAt = Date.now();
let stream = null; // while somebody looks

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
  const alone = screen === "swarm" && Boolean(seen?.data.silo);
  byId("no-swarm").hidden = !alone;
  const one = { learning: chosen.round && `Round ${chosen.round.slice(0, 20)}`, swarm: chosen.peer && `Peer ${chosen.peer.slice(-8)}` }[screen];
  const title = visible(one || screen[0].toUpperCase() + screen.slice(1));
  document.title = seen ? `${title} \u00b7 ${seen.data.name} \u00b7 murmur` : `${title} \u00b7 murmur`;
  for (const each of document.querySelectorAll(`[data-screen=${screen}] > .overview`)) each.hidden = Boolean(one) || alone;
  if (screen === "rollouts") showRollouts(chosen);
  Promise.resolve(showOne(screen, chosen)).then(() => moved && arrive(screen, moved));
  showData();
}

// One round or one peer, where the address names it, stands alone: the overview is a link away.
const showOne = (screen, chosen) => ({ learning: () => showRound(chosen), swarm: () => showPeer(chosen) })[screen]?.();

// Whoever listens or tabs goes on from what was asked for, not from the page's beginning.
function arrive(screen, moved) {
  const list = moved === true ? null : document.querySelector(`[data-screen=${screen}] [data-pager="${moved}"]`);
  const heading = document.querySelector(`[data-screen=${screen}] h2[tabindex]`);
  if (list ?? heading) (list ?? heading).focus();
  else if (document.activeElement === document.body) byId("main").focus({ preventScroll: true });
}

// Only the screen that is looked at is drawn: a chart needs a width.
function showData() {
  if (!seen) return;
  const { screen, chosen } = here();
  if (screen === "learning" && !chosen.round) showLearning(seen.data);
  if (screen === "swarm" && !chosen.peer) showSwarm(seen.data);
  if (screen === "rollouts") tellPlayed(seen.data.node.round);
}

// A round or peer that is looked at is read again when a round ends, unless its reader is at something in it.
function readAgain(before) {
  const { screen, chosen } = here();
  const stale = (screen === "learning" && chosen.round && mayChange(chosen.round)) || (screen === "swarm" && chosen.peer);
  const busy = document.activeElement.closest("#round :is(a, nav), #peer :is(a, nav, button)") || !getSelection().isCollapsed;
  if (stale && !busy && before !== seen.data.node.round) showOne(screen, chosen);
}

function show(data) {
  const before = seen?.data.node.round;
  seen = { data, at: Date.now() };
  byId("main").hidden = false;
  byId("name").textContent = visible(data.name);
  byId("note").textContent = visible(data.node.note);
  document.querySelectorAll(".of-swarm").forEach((part) => { part.hidden = data.silo && !data.baseline; });
  byId("to-swarm").hidden = data.silo;
  document.querySelectorAll(".of-peers").forEach((part) => { part.hidden = data.silo; });
  byId("fresh").textContent = `Read at ${new Date().toLocaleTimeString()}.`;
  complain("");
  showStanding();
  if (before === undefined) return showScreen(here(), false);
  showData();
  readAgain(before);
}

function complain(words) {
  byId("trouble").textContent = words && seen ? `${words} Shown is what was known at ${new Date(seen.at).toLocaleTimeString()}.` : words;
  byId("trouble").hidden = !words;
}

const GONE = "murmur dashboard does not answer: it may have ended.";

function listen() {
  const own = new EventSource("/events");
  const heard = () => { heardAt = Date.now(); };
  stream = own;
  heard();
  own.addEventListener("run", (event) => { heard(); show(JSON.parse(event.data)); });
  own.addEventListener("trouble", (event) => { heard(); complain(`The run cannot be read: ${visible(JSON.parse(event.data).error)}.`); });
  own.addEventListener("beat", heard);
  own.addEventListener("error", () => {
    if (own !== stream) return;
    complain(GONE);
    if (own.readyState === EventSource.CLOSED) setTimeout(() => own === stream && listen(), AGAIN_MS); // it was refused, and gives up by itself
  });
}

// A browser has few lines to one server: a tab that nobody sees leaves its own to the others.
function listenWhileSeen() {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else if (!stream) listen();
}

setInterval(() => {
  showStanding();
  if (stream && Date.now() - heardAt > SILENCE_MS) complain(GONE);
}, 5000);
document.addEventListener("visibilitychange", listenWhileSeen);
document.querySelectorAll("input[name=across]").forEach((each) => each.addEventListener("change", showData));
onMove(showScreen);
showScreen(here(), false);
listenWhileSeen();
