// The page's own address holds all that a reader chose: the screen is its path, everything else its query.
const SCREENS = ["learning", "swarm", "rollouts"];
const listeners = [];

export function here() {
  const screen = location.pathname.slice(1);
  return { screen: SCREENS.includes(screen) ? screen : "learning", chosen: Object.fromEntries(new URLSearchParams(location.search)) };
}

export function pathOf(screen, chosen = {}) {
  const kept = Object.entries(chosen).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return query ? `/${screen}?${query}` : `/${screen}`;
}

export function onMove(listener) {
  listeners.push(listener);
}

// `told`: the reader went somewhere else, and is taken to its heading.
const tell = (told) => listeners.forEach((listener) => listener(here(), told));

export function go(path, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
  tell(!replace);
}

// Links of the page are followed within it, unless a new tab or window is asked for.
document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[href^='/']");
  if (!anchor || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(anchor.getAttribute("href"));
});
window.addEventListener("popstate", () => tell(true));
