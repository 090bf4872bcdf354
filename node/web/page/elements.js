// Elements and figures that every part of the page is made of.

// An element with attributes and children; strings among the children become text.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

export const shortPeer = (peer) => make("span", { title: peer }, peer.length > 9 ? `\u2026${peer.slice(-8)}` : peer); // as node.ui.short_names
export const figure = (value, digits = 3) => (value === null || value === undefined ? "\u2013" : value.toFixed(digits));
export const signed = (value) => (value === null ? "\u2013" : `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}`);
