// Which keys does the page know?

import { el, of } from "./dom.js";
import { go, to } from "./route.js";

const KEYS = [
  ["/", "to the filter"],
  ["↑ ↓", "through the rows of a table, also PageUp, PageDown, Home and End"],
  ["Enter", "opens the row"],
  ["Esc", "closes what is open, or empties the filter"],
  ["1 – 6", "Fleet, Models, Capabilities, Alerts, Requests, Queues"],
  ["t", "light or dark"],
  ["?", "these keys"],
];
const VIEWS = ["fleet", "models", "capabilities", "alerts", "requests", "queues"];

/** Begin to listen. */
export function begin() {
  of("show-keys").addEventListener("click", show);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const writes = event.target.closest?.("input, select, textarea");
    if (writes) return void (event.key === "Escape" && emptied(writes));
    press(event);
  });
}

function emptied(field) {
  if (field.type === "search" && field.value) {
    field.value = "";
    field.dispatchEvent(new Event("input", { bubbles: true }));
  } else field.blur();
}

function press(event) {
  if (event.key === "?") show();
  else if (event.key === "t") of("theme").click();
  else if (/^[1-6]$/.test(event.key)) go(to(VIEWS[Number(event.key) - 1]));
  else if (event.key === "/") {
    const field = [...document.querySelectorAll('[data-focus="/"]')].find((one) => one.offsetParent);
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  }
}

function show() {
  const rows = KEYS.map(([key, what]) => el("div", {}, el("dt", {}, ...key.split(" ").map((one) => (one === "–" ? " – " : el("kbd", {}, one)))), el("dd", {}, what)));
  const close = el("button", { type: "button", onclick: () => box.close() }, "Close");
  const box = el("dialog.question", { "aria-labelledby": "keys-title" }, el("h2", { id: "keys-title" }, "Keys"), el("dl.keys", {}, ...rows), el("div.buttons", {}, close));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}
