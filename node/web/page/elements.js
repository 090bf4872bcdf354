// Elements and figures that every part of the page is made of. Strings enter as text nodes alone.

// An element with attributes and children; strings among the children become text.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

export const byId = (id) => document.getElementById(id);
export const link = (path, words, attributes = {}) => make("a", { href: path, ...attributes }, words);
export const shortName = (peer) => (peer.length > 9 ? `\u2026${peer.slice(-8)}` : peer); // as node.ui.short_names
export const known = (value) => value !== null && value !== undefined;
export const figure = (value, digits = 3) => (known(value) ? value.toFixed(digits) : "\u2013");
export const signed = (value) => (known(value) ? `${Number(value.toFixed(3)) < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}` : "\u2013");
export const percent = (value) => (known(value) ? `${Math.round(100 * value)} %` : "\u2013");
export const seconds = (value) => `${figure(value, 1)} s`;
const EQUAL = new Map([["all_alike", "equal rewards"], ["all_wrong", "equal rewards (all wrong)"], ["all_right", "equal rewards (all right)"]]);
export const spoken = (reason) => EQUAL.get(reason) ?? reason.replaceAll("_", " "); // as node.storage.rollout_rows
export const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

export function reasons(counts) {
  const parts = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  return parts.map(([reason, count]) => `${spoken(reason)} ${count}`).join(", ");
}

// `cells` of a row are strings or elements; the first heads its row. Columns named in `wordy` hold words, not figures.
export function table(caption, heads, rows, wordy = ["why"]) {
  const column = (place) => (place && !wordy.includes(heads[place]) ? "n" : "");
  const head = make("tr", {}, ...heads.map((text, place) => make("th", { scope: "col", class: column(place) }, text)));
  const body = rows.map((row) =>
    make("tr", {}, ...row.map((cell, place) => (place ? make("td", { class: column(place), "data-head": heads[place] }, cell) : make("th", { scope: "row" }, cell))))
  );
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

export function tile(name, value, hint = "") {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value), ...(hint ? [make("dd", { class: "quiet" }, hint)] : []));
}

// Shares of a whole as bars, each with its figures in words.
export function shares(caption, parts, unit) {
  const whole = total(Object.fromEntries(parts)) || 1;
  const rows = parts.map(([name, value]) => [spoken(name), make("meter", { min: 0, max: 1, value: value / whole, title: percent(value / whole) }), percent(value / whole), unit(value)]);
  return table(caption, ["", "share", "of the whole", "each"], rows);
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

export async function ask(path, parameters) {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(query ? `${path}?${query}` : path);
  const data = await response.json();
  if (!response.ok) throw new Error(data.error);
  return data;
}
