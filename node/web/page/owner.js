// The owner's word on a peer. The key stands behind the # of the address at the terminal, which no server is told;
// without it the page only shows.
import { make } from "/elements.js";

const KEY = "murmur-key";
const WORDS = [["allow", "Count it as known"], ["deny", "Take nothing from it"], ["record", "Let its record decide"]];
const SAID = { allow: "You said: it counts as known.", deny: "You said: nothing is taken from it." };

// A key is taken from the address, and its place there emptied; a place of the page is none.
function takeKey() {
  const behind = location.hash.slice(1);
  if (!behind || document.getElementById(behind)) return;
  sessionStorage.setItem(KEY, behind);
  history.replaceState(null, "", location.pathname + location.search);
}

takeKey();
addEventListener("hashchange", takeKey); // pasted where the page is open already

async function say(peer, word) {
  const headers = { "Content-Type": "application/json", "X-Murmur-Key": sessionStorage.getItem(KEY) ?? "" };
  const response = await fetch("/trust", { method: "POST", headers, body: JSON.stringify({ peer, word }) });
  if (response.ok) return;
  const told = await response.text();
  throw new Error(told.startsWith("{") ? JSON.parse(told).error : told.trim());
}

// What the owner has said of a peer, and buttons to say otherwise; `after` is called when it was kept.
export function wordOn(peer, word, after) {
  const told = make("p", { role: "status" }, SAID[word] ?? "Its record decides what is taken from it.");
  if (!sessionStorage.getItem(KEY)) return [told];
  const buttons = WORDS.filter(([name]) => name !== (word ?? "record")).map(([name, label]) => {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", () => say(peer, name).then(after, (error) => { told.textContent = `Not kept: ${error.message}`; }));
    return button;
  });
  return [told, make("p", { class: "links" }, ...buttons), make("p", { class: "quiet" }, "It holds from the node's next round on, also where the run goes on later.")];
}
