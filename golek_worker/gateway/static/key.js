// Which key goes with a request? The one of this tab: it is kept until the tab closes, and nowhere else.

const STORED = "golek.key";

export function key() {
  return sessionStorage.getItem(STORED) ?? "";
}

export function remember(text) {
  if (text) sessionStorage.setItem(STORED, text);
  else sessionStorage.removeItem(STORED);
}

// The headers of a request, with `more`.
export function headers(more = {}) {
  const mine = key();
  return mine ? { ...more, authorization: `Bearer ${mine}` } : more;
}
