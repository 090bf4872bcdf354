// A list of several pages: what is shown of how much, and the way to the rest. The page's number stands in the address.
import { pathOf } from "/address.js";
import { link, make } from "/elements.js";

// `key` names the page's number in the address; `size` rows are on a page. Nothing where all is on one.
export function pager(screen, chosen, { name, count, size, key = "page", stay = false }) {
  const pages = Math.max(1, Math.ceil(count / size));
  const page = /^\d{1,7}$/.test(chosen[key] ?? "") ? Number(chosen[key]) : 1;
  if (pages === 1 && page === 1) return [];
  const to = (number, words) => link(pathOf(screen, { ...chosen, [key]: number === 1 ? null : number }), words, stay ? { "data-stay": key } : {});
  const links = [
    ...(page > 2 ? [to(1, "first page")] : []),
    ...(page > 1 ? [to(Math.min(page - 1, pages), "page before")] : []),
    ...(page < pages ? [to(page + 1, "page after")] : []),
    ...(page < pages - 1 ? [to(pages, "last page")] : []),
  ];
  const from = size * (page - 1) + 1;
  const told = page > pages ? `There is no page ${page}: ${pages} hold all ${count}.` : `${from} to ${Math.min(count, from + size - 1)} of ${count}`;
  const attributes = { class: "pager", tabindex: "-1", "aria-label": `pages: ${name}`, "data-pager": key };
  return [make("nav", attributes, make("span", {}, told), ...links.flatMap((each) => [" ", each]))];
}
