// Which part of the page is shown? The one that the address names behind `#`, with its filters: an address can be kept.

const VIEWS = ["fleet", "models", "capabilities", "alerts", "requests", "queues"];
const listeners = new Set();

/** @returns {{view: string, name: string, query: URLSearchParams}} */
export function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/");
  const name = rest.map(decoded).join("/");
  return { view: VIEWS.includes(view) ? view : "fleet", name, query: new URLSearchParams(query ?? "") };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a view. */
export function to(view, name = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const asked = new URLSearchParams(given).toString();
  return `#/${view}${name ? `/${encodeURIComponent(name)}` : ""}${asked ? `?${asked}` : ""}`;
}

/** Show a view; `replace` does not make a step that "back" goes over. */
export function go(address, replace = false) {
  if (location.hash === address) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  again();
}

/** `show(route)` is called now and whenever the address changes. */
export function routes(show) {
  listeners.add(show);
  show(route());
}

/** Show what the address says once more. */
export function again() {
  for (const show of listeners) show(route());
}

addEventListener("hashchange", again);
