// What can each model do, what is it, and where is it reached?

import { copy, el, of } from "./dom.js";
import { ago, duration, moment, NONE } from "./format.js";
import { route, to } from "./route.js";
import { badge } from "./status.js";
import { draws, fleet, since } from "./store.js";

let drawn = "";

/** Begin to show it. */
export function begin() {
  const capabilities = el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Capabilities, scrolls" });
  const addresses = el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Addresses, scrolls" });
  const none = el("p.empty", {}, "No model was seen yet. What a worker finds its model able to do stands here.");
  of("capabilities").append(none, el("div.stack", { id: "capability-parts" }, el("h2", {}, "What each model can do"), capabilities, el("h2", {}, "Where each is reached"), addresses));
  draws((told) => {
    if (route().view !== "capabilities") return;
    const all = [...fleet.services.values()].sort((a, b) => a.model_name.localeCompare(b.model_name));
    none.hidden = all.length > 0;
    of("capability-parts").hidden = !none.hidden;
    // Times go on by themselves; the tables are made again when something else of them changed.
    const now = JSON.stringify(all.map((one) => [one.model_name, one.status, one.capabilities, one.model_info, one.endpoints, one.nats_topic, one.first_seen, Math.round(one.ping_ms ?? -1), Math.round((one.response_ms ?? -10) / 10)]));
    if (now === drawn) return void times(addresses, all);
    drawn = now;
    capabilities.replaceChildren(matrix(all));
    addresses.replaceChildren(map(all));
    times(addresses, all, told);
  });
}

function matrix(all) {
  const names = [...new Set(all.flatMap((one) => one.capabilities ?? []))].sort();
  const head = el("tr", {}, th("Model"), th("Architecture"), th("Parameters"), th("Context", "number"), ...names.map((name) => th(name, "mark")));
  const rows = all.map((one) =>
    el(
      "tr", {}, el("th", { scope: "row" }, el("a", { href: to("models", one.model_name) }, one.model_name)),
      el("td", {}, one.model_info.architecture || NONE), el("td", {}, one.model_info.parameter_count || NONE),
      el("td.number", {}, one.model_info.context_size ? one.model_info.context_size.toLocaleString("en") : NONE),
      ...names.map((name) => mark((one.capabilities ?? []).includes(name), name)),
    ),
  );
  return el("table.plain.matrix", { id: "matrix" }, el("caption.unseen", {}, "Models and their capabilities"), el("thead", {}, head), el("tbody", {}, ...rows));
}

function th(text, more = "") {
  return el("th", { scope: "col", className: more }, text);
}

function mark(can, name) {
  return el("td.mark", { "data-can": String(can) }, el("span", { "aria-hidden": "true" }, can ? "✓" : "·"), el("span.unseen", {}, can ? name : `no ${name}`));
}

function map(all) {
  const head = el("tr", {}, ...["Model", "Status", "HTTP", "NATS topic"].map((name) => th(name)), ...["Response", "Ping", "First seen", "Last seen"].map((name) => th(name, "number")));
  const rows = all.map((one) =>
    el(
      "tr", { "data-model": one.model_name }, el("th", { scope: "row" }, one.model_name), el("td", {}, badge(one.status)),
      el("td", {}, el("ul.addresses", {}, ...(one.endpoints ?? []).map((address) => el("li", {}, addressed(address, one.model_name))), (one.endpoints ?? []).length ? null : el("li", {}, NONE))),
      el("td", {}, one.nats_topic ? addressed(one.nats_topic, one.model_name) : NONE),
      el("td.number", {}, duration(one.response_ms)), el("td.number", {}, duration(one.ping_ms)), el("td.number", {}, moment(one.first_seen)), el("td.number.seen"),
    ),
  );
  return el("table.plain", { id: "addresses" }, el("caption.unseen", {}, "Addresses of models"), el("thead", {}, head), el("tbody", {}, ...rows));
}

function addressed(text, model) {
  const button = el("button.small.quiet", { type: "button", "aria-label": `Copy ${text} of ${model}`, onclick: () => copy(button, text) }, "Copy");
  return el("span.address", {}, el("code", {}, text), button);
}

function times(into, all) {
  const byName = new Map(all.map((one) => [one.model_name, one]));
  for (const row of into.querySelectorAll("tr[data-model]")) {
    const one = byName.get(row.dataset.model);
    row.querySelector(".seen").textContent = one?.last_seen ? ago(since(one.last_seen)) : NONE;
  }
}
