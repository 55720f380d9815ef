// What can each model do, what is it, and where is it reached?

import { copy, el, of } from "./dom.js";
import { ago, duration, moment, NONE } from "./format.js";
import { route, to } from "./route.js";
import { badge } from "./status.js";
import { draws, fleet, since } from "./store.js";

/** Of one model that are listed; its workers have the others. */
const ADDRESSES = 5;
let drawn = "";

/** Begin to show it. */
export function begin() {
  const capabilities = el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Capabilities, scrolls" });
  const addresses = el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Addresses, scrolls" });
  const none = el("p.empty", {}, "No model was seen yet. What a worker finds its model able to do stands here.");
  of("capabilities").append(none, el("div.stack", { id: "capability-parts" }, el("h2", {}, "What each model can do"), capabilities, el("h2", {}, "Where each is reached"), addresses));
  draws(() => {
    if (route().view !== "capabilities") return;
    const all = [...fleet.services.values()].sort((a, b) => a.model_name.localeCompare(b.model_name));
    none.hidden = all.length > 0;
    of("capability-parts").hidden = !none.hidden;
    // Times go on by themselves; the tables are made again when something else of them changed.
    const now = JSON.stringify(all.map((one) => [one.model_name, one.status, one.capabilities, one.model_info, one.endpoints, gateways(), one.nats_topic, one.first_seen, Math.round(one.ping_ms ?? -1), Math.round((one.response_ms ?? -10) / 10)]));
    if (now === drawn) return void times(addresses, all);
    drawn = now;
    capabilities.replaceChildren(matrix(all));
    addresses.replaceChildren(map(all));
    times(addresses, all);
  });
}

function matrix(all) {
  const names = [...new Set(all.flatMap((one) => one.capabilities ?? []))].sort();
  const heads = [["Model", ""], ["Architecture", ""], ["Parameters", ""], ["Context", "number"], ...names.map((name) => [name, "mark"])];
  const rows = all.map((one) => [
    el("a", { href: to("models", one.model_name) }, one.model_name), one.model_info.architecture || NONE, one.model_info.parameter_count || NONE,
    one.model_info.context_size ? one.model_info.context_size.toLocaleString("en") : NONE, ...names.map((name) => mark((one.capabilities ?? []).includes(name), name)),
  ]);
  return table("matrix", "Models and their capabilities", heads, rows, all);
}

function map(all) {
  const heads = [["Model", ""], ["Status", ""], ["HTTP", ""], ["NATS topic", ""], ["Response", "number"], ["Ping", "number"], ["First seen", "number"], ["Last seen", "number"]];
  const rows = all.map((one) => [
    one.model_name, badge(one.status), endpoints(one),
    one.nats_topic ? addressed(one.nats_topic, one.model_name) : NONE, duration(one.response_ms), duration(one.ping_ms), moment(one.first_seen), el("span.seen"),
  ]);
  return table("addresses", "Addresses of models", heads, rows, all);
}

/** Its workers' own addresses; where they have none, those of the gateways, which reach every model. */
function endpoints(one) {
  const all = one.endpoints?.length ? one.endpoints : one.in_rotation ? gateways() : [];
  const shown = all.slice(0, ADDRESSES).map((address) => el("li", {}, addressed(address, one.model_name)));
  const more = all.length - shown.length;
  const rest = more > 0 && el("li", {}, el("a", { href: to("fleet", "", { model: one.model_name }) }, `and ${more} more`));
  const how = all.length > 0 && !one.endpoints?.length && el("li.note", {}, "by the gateway");
  return all.length ? el("ul", {}, ...shown, rest, how) : NONE;
}

function gateways() {
  return [...fleet.gateways.values()].filter((one) => one.status === "ready").map((one) => one.endpoint).sort();
}

/** A table whose first cells are the heads of its rows. */
function table(id, caption, heads, rows, all) {
  const head = el("tr", { role: "row" }, ...heads.map(([name, kind]) => el("th", { scope: "col", role: "columnheader", className: kind }, name)));
  const body = rows.map((cells, at) => el("tr.row", { role: "row", "data-model": all[at].model_name }, ...cells.map((cell, place) => el(place ? "td" : "th", { role: place ? "cell" : "rowheader", scope: place ? null : "row", className: heads[place][1], "data-label": heads[place][0] }, cell))));
  return el("table.plain.folds", { id, role: "table" }, el("caption.unseen", {}, caption), el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, ...body));
}

function mark(can, name) {
  return el("span", { "data-can": String(can) }, el("span", { "aria-hidden": "true" }, can ? "✓" : "·"), el("span.unseen", {}, can ? name : `no ${name}`));
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
