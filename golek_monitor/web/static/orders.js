// How is an order given to workers? After a question that says what will happen, with the outcome told in the same place.

import { named, post, Refused } from "./ask.js";
import { el } from "./dom.js";
import { duration } from "./format.js";

const ORDERS = {
  load: {
    word: "Load",
    will: (whom) => `${whom} will take the model into memory, which may take minutes and needs its room. Requests that wait are answered once it is there.`,
  },
  unload: {
    word: "Unload",
    will: (whom) => `${whom} will let the model go from memory. Jobs that run there are finished first; where they take too long, that is told and the model stays. At once means that they go back to the queue. The next request loads the model again.`,
    force: "At once, also while jobs run",
  },
  drain: {
    word: "Drain",
    will: (whom) => `${whom} will take no new requests, finish the running ones and then end. Nothing is lost; to have it back, start it again.`,
    danger: true,
  },
};

/** Buttons for the orders that a model, or one worker of it, takes. */
export function orders({ model, worker = "" }) {
  const make = ([order, { word }]) => el("button.small", { type: "button", "data-order": order, onclick: () => ask(order, model, worker) }, word);
  return el("div.orders", { role: "group", "aria-label": `Orders to ${worker || model}` }, ...Object.entries(ORDERS).map(make));
}

function ask(order, model, worker) {
  const what = ORDERS[order];
  const force = what.force ? el("input", { type: "checkbox" }) : null;
  confirm({
    title: `${what.word} ${worker || model}?`,
    text: what.will(worker ? `Worker ${worker}` : `Every worker of ${model}`),
    more: force && el("label.check", {}, force, ` ${what.force}`),
    word: what.word,
    danger: what.danger,
    act: async () => {
      const body = { ...(worker ? { worker_id: worker } : {}), ...(force?.checked ? { force: true } : {}) };
      return residences(await post(`api/models/${named(model)}/${order}`, body));
    },
  });
}

function residences(found) {
  const list = Array.isArray(found) ? found : found ? [found] : [];
  if (!list.length) return "Nobody answered the order.";
  return list.map((one) => `${one.worker_id}: ${one.problem || one.status}, after ${duration((one.seconds ?? 0) * 1000)}`).join("\n");
}

/**
 * Ask before something is done, do it, and say how it went.
 * @param {{title: string, text: string, word: string, back?: string, more?: Node|null, danger?: boolean, act: () => Promise<string>}} given
 */
export function confirm({ title, text, word, back = "Cancel", more, danger, act }) {
  const said = el("p.outcome", { role: "status" });
  const go = el("button", { type: "submit", className: danger ? "danger" : "primary" }, word);
  const leave = el("button", { type: "button", onclick: () => box.close() }, back);
  const form = el("form", { method: "dialog" }, el("h2", { id: "question" }, title), el("p", {}, text), more, said, el("div.buttons", {}, leave, go));
  const box = el("dialog.question", { "aria-labelledby": "question" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    said.dataset.tone = "";
    said.textContent = "Working…";
    try {
      said.textContent = await act();
      said.dataset.tone = "good";
      go.remove();
      leave.textContent = "Close";
      leave.focus();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      said.textContent = error.message;
      said.dataset.tone = "bad";
      go.disabled = false;
    }
  });
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  leave.focus();
}
