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

// `told`: true where the reader went somewhere else and is taken to its heading, or the list in which one page was left for another.
const tell = (told) => listeners.forEach((listener) => listener(here(), told));

export function go(path, { replace = false, stay = "" } = {}) {
  if (replace) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
  if (!replace && !stay) scrollTo(0, 0);
  tell(stay || !replace);
}

// Links of the page are followed within it, unless a new tab or window is asked for. Those to a place of it leave the
// address as it is, behind whose # stands the key.
document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[href^='/'], a[href^='#']");
  if (!anchor || anchor.target || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const path = anchor.getAttribute("href");
  if (!path.startsWith("#")) return go(path, { stay: anchor.dataset.stay });
  const place = document.getElementById(path.slice(1));
  place.scrollIntoView();
  place.focus({ preventScroll: true });
});
window.addEventListener("popstate", () => tell(true));
