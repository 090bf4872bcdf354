// Elements and figures that every part of the page is made of. Strings enter as text nodes alone.

const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
const READ = ["title", "alt", "aria-label"];

// A string whose every character is seen: what turns a line round or hides is written as its number. As swarm.visible_text.
export const visible = (text) => String(text).replace(UNSEEN, (one) => (one === "\n" ? one : `\\u{${one.codePointAt(0).toString(16)}}`));

// An element with attributes and children; strings among the children become text.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, READ.includes(key) ? visible(value) : value);
  element.append(...children.map((child) => (child instanceof Node ? child : visible(child))));
  return element;
}

export const byId = (id) => document.getElementById(id);
export const link = (path, words, attributes = {}) => make("a", { href: path, ...attributes }, words);
export const shortName = (peer) => (peer.length > 9 ? `\u2026${peer.slice(-8)}` : peer); // as node.ui.short_names
export const known = (value) => value !== null && value !== undefined;
export const figure = (value, digits = 3) => (known(value) ? value.toFixed(digits) : "\u2013");
export const signed = (value) => (known(value) ? `${Number(value.toFixed(3)) < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}` : "\u2013");
export const percent = (value) => (known(value) ? `${Math.round(100 * value)} %` : "\u2013");
const two = (count, parts, large, small) => [`${Math.floor(count / parts)} ${large}`, ...(count % parts ? [`${count % parts} ${small}`] : [])].join(" ");

// Every length of time, in one form: 340 ms, 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h. As node.web.figures.
export function span(seconds) {
  if (!known(seconds)) return "\u2013";
  if (seconds <= 0) return "0 s";
  if (seconds < 0.9995) return seconds >= 0.0005 ? `${Math.round(seconds * 1000)} ms` : "< 1 ms";
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), minutes = Math.round(seconds / 60);
  if (whole < 3600) return two(whole, 60, "min", "s");
  return minutes < 1440 ? two(minutes, 60, "h", "min") : two(Math.round(seconds / 3600), 24, "d", "h");
}

const EQUAL = new Map([["all_alike", "equal rewards"], ["all_wrong", "equal rewards (all wrong)"], ["all_right", "equal rewards (all right)"]]);
export const spoken = (reason) => EQUAL.get(reason) ?? reason.replaceAll("_", " "); // as node.storage.rollout_rows
export const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

export function reasons(counts) {
  const parts = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  return parts.map(([reason, count]) => `${spoken(reason)} ${count}`).join(", ");
}

// `cells` of a row are strings or elements; the first heads its row. Columns named in `wordy` hold words, not figures.
// `slim`: few enough columns to stay a table on a narrow screen.
export function table(caption, heads, rows, { wordy = ["why"], slim = heads.length < 3 } = {}) {
  const column = (place) => (place && !wordy.includes(heads[place]) ? "n" : "");
  const head = make("tr", {}, ...heads.map((text, place) => make("th", { scope: "col", class: column(place) }, text)));
  const body = rows.map((row) =>
    make("tr", {}, ...row.map((cell, place) => (place ? make("td", { class: column(place), "data-head": heads[place] }, cell) : make("th", { scope: "row" }, cell))))
  );
  return make("table", { class: slim ? "slim" : "wide" }, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

export function tile(name, value, hint = "") {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value), ...(hint ? [make("dd", { class: "quiet" }, hint)] : []));
}

// Shares of a whole as bars, each with its figures in words; `heads` name the parts and what is told of each.
export function shares(caption, heads, parts, unit) {
  const whole = total(Object.fromEntries(parts)) || 1;
  const bar = (name, value) => make("span", { class: "bar" }, make("meter", { min: 0, max: 1, value: value / whole, "aria-label": `share of ${spoken(name)}` }), make("span", { class: "part" }, percent(value / whole)));
  const rows = parts.map(([name, value]) => [spoken(name), bar(name, value), unit(value)]);
  return table(caption, [heads[0], "share", heads[1]], rows, { slim: true });
}

const seen = new WeakMap();

// Replaces what is in `host` where `facts` are others than at the last call; a link in it that has the focus keeps it.
export function renew(host, facts, build) {
  const told = JSON.stringify(facts);
  if (seen.get(host) === told) return;
  seen.set(host, told);
  const focused = host.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  host.replaceChildren(...build());
  if (focused) [...host.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
}

// Throws an Error whose message says why there is no answer.
export async function ask(path, parameters) {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(query ? `${path}?${query}` : path).catch(() => {
    throw new Error("murmur dashboard does not answer");
  });
  const data = await response.json().catch(() => ({ error: `the answer was ${response.status}` }));
  if (!response.ok) throw new Error(data.error);
  return data;
}
