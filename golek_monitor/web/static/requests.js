// Which requests were answered lately, and how did they end? From the request logs of the monitor's machine.

import { get, Refused } from "./ask.js";
import { el, of, say } from "./dom.js";
import { clock, count, duration, figure, money, NONE } from "./format.js";
import { again, go, routes, to } from "./route.js";
import { badge } from "./status.js";
import { fleet } from "./store.js";
import { story } from "./story.js";

/** So many at a time; on a phone, where each is a card, fewer. */
const PAGE = matchMedia("(max-width: 760px)").matches ? 20 : 100;
const SPANS = [["", "Any time"], ["5", "Last 5 min"], ["60", "Last hour"], ["1440", "Last day"], ["10080", "Last week"]];
const EMPTY = "No request is in the logs yet. Workers on this machine write each one they answer to a SQLite file; ask a model something and it stands here a second later.";
const NO_FIT = "No request fits these filters.";
let asked = "";
let leave = new AbortController();

/** Begin: the address has the filters, or the request whose story is told. */
export function begin() {
  const list = el("div");
  const one = el("div");
  const form = filters();
  of("requests").append(list, one);
  list.append(form.node, el("div.results", { id: "request-results" }));
  routes(({ view, name, query }) => {
    if (view !== "requests") return void (asked = "");
    list.hidden = Boolean(name);
    one.hidden = !name;
    if (asked === location.hash) return;
    asked = location.hash;
    say(of("title-requests"), name ? "One request" : "Requests");
    say(of("requests-note"), "");
    if (name) return void story(one, name);
    form.read(query);
    void search(query, list.lastChild);
  });
}

function filters() {
  const search = (name, label, more = {}) => el("input", { type: "search", name, placeholder: label, "aria-label": label, autocomplete: "off", spellcheck: false, ...more });
  const model = el("select", { name: "model", "aria-label": "Model" });
  const status = el("select", { name: "status", "aria-label": "How it ended" }, ...[["", "However it ended"], ["ok", "Answered"], ["errors", "Not answered"], ["CANCELLED", "Cancelled"], ["DEADLINE_EXCEEDED", "Deadline passed"]].map(([value, label]) => el("option", { value }, label)));
  const span = el("select", { name: "minutes", "aria-label": "When" }, ...SPANS.map(([value, label]) => el("option", { value }, label)));
  const slower = el("input", { type: "number", name: "slower", min: "0", step: "100", placeholder: "Slower than, ms", "aria-label": "Slower than, in milliseconds" });
  const fields = [search("req_id", "Request id  /", { "data-focus": "/" }), model, status, search("principal", "Who asked"), slower, span];
  const everywhere = el("input", { type: "checkbox", name: "everywhere", value: "true" });
  const also = el("label.check", {}, everywhere, " Other machines, too");
  const node = el("form.filters", { role: "search", "aria-label": "Filter requests" }, ...fields, also, el("button.primary", { type: "submit" }, "Search"));
  const write = () => go(to("requests", "", Object.fromEntries([...new FormData(node)].map(([name, value]) => [name, value.trim()]))), true);
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    asked = "";
    write();
    if (!asked) again();
  });
  node.addEventListener("change", write);
  const read = (query) => {
    const names = [...new Set([...fleet.services.keys(), query.get("model") ?? ""])].filter(Boolean).sort();
    model.replaceChildren(el("option", { value: "" }, "All models"), ...names.map((name) => el("option", { value: name }, name)));
    for (const field of fields) field.value = query.get(field.name) ?? "";
    everywhere.checked = query.get("everywhere") === "true";
  };
  return { node, read };
}

/** What the monitor is asked, of what the address says. */
function question(query) {
  const given = { model: query.get("model"), req_id: query.get("req_id"), principal: query.get("principal"), slower_ms: query.get("slower"), everywhere: query.get("everywhere"), limit: PAGE };
  if (query.get("status") === "errors") given.errors_only = "true";
  else given.status = query.get("status");
  if (query.get("minutes")) given.since = `${query.get("minutes")}m`;
  return given;
}

async function search(query, into) {
  leave.abort();
  leave = new AbortController();
  const given = question(query);
  const filtered = Object.entries(given).some(([name, value]) => value && !["limit", "everywhere"].includes(name));
  try {
    const found = await ask(given, leave.signal);
    into.replaceChildren(...shown(found, filtered), problems(found.logs));
    note(found);
    if (found.next) into.append(further(given, found.next, into));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    into.replaceChildren(el("p.empty", {}, error.status === 404 ? "This monitor does not read request logs." : error.message));
  }
}

function ask(given, signal) {
  const known = Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return get(`api/requests?${new URLSearchParams(known)}`, signal);
}

function note(found) {
  const logs = (found.logs ?? []).filter((one) => !one.problem).length;
  say(of("requests-note"), `${count(found.requests.length, "request")}${found.next ? " and more" : ""}, from ${count(logs, "log")}${found.machine ? ` of ${found.machine}` : ""}`);
}

function problems(logs) {
  const wrong = (logs ?? []).filter((one) => one.problem);
  return el("div", {}, ...wrong.map((one) => el("p.problem", {}, `${one.model_name}: ${one.problem}`)));
}

function shown(found, filtered) {
  return found.requests.length ? [table(found.requests)] : [el("p.empty", {}, filtered ? NO_FIT : EMPTY)];
}

function further(given, next, into) {
  const button = el("button", { type: "button" }, "Older ones");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const found = await ask({ ...given, before: next });
      into.querySelector("tbody").append(...found.requests.map(row));
      button.remove();
      if (found.next) into.append(further(given, found.next, into));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      button.disabled = false;
      button.textContent = error.message;
    }
  });
  return button;
}

/** Rows for another part of the page: the newest that fit. */
export async function requestRows(given) {
  try {
    const found = await ask(given);
    return found.requests.length ? table(found.requests) : el("p.note", {}, "None in the logs of this machine.");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return el("p.note", {}, error.status === 404 ? "This monitor does not read request logs." : error.message);
  }
}

const HEADS = [["Ended", ""], ["Request", ""], ["Model", ""], ["Asked, answered by", ""], ["Cost", "number"], ["Status", ""], ["Who", ""], ["Took", "number"], ["First token", "number"], ["Queue", "number"], ["Tokens in", "number"], ["Tokens out", "number"], ["Worker", ""]];

/** A table of requests as the log has them. */
export function table(requests) {
  const head = el("tr", { role: "row" }, ...HEADS.map(([name, kind]) => el("th", { scope: "col", role: "columnheader", className: kind }, name)));
  return el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Requests, scrolls" }, el("table.plain.requests.folds", { role: "table" }, el("caption.unseen", {}, "Requests, the newest first"), el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, ...requests.map(row))));
}

function row(one) {
  const link = el("a", { href: to("requests", one.job_id || one.req_id) }, one.req_id || one.job_id);
  const cells = [
    el("time", { dateTime: one.timestamp }, clock(one.timestamp)), link, one.model_name, [one.asked, one.mode || one.target, one.step && `step ${one.step}`].filter(Boolean).join(" → ") || NONE, money(one.cost_usd) || NONE, ended(one), one.principal || NONE,
    duration(one.dur_ms), duration(one.ttft_ms), duration(one.queue_ms), figure(one.tokens_in ?? 0), figure(one.tokens_out ?? 0), one.worker_id,
  ];
  return el("tr.row", { role: "row" }, ...cells.map((cell, at) => el("td", { role: "cell", className: HEADS[at][1], "data-label": HEADS[at][0] }, cell)));
}

/** How it ended. */
export function ended(one) {
  const good = one.status === "ok";
  const made = badge(good ? "ready" : "failed");
  made.replaceChildren(el("span.sign", { "aria-hidden": "true" }, good ? "✓" : "✕"), good ? "answered" : one.status.toLowerCase().replaceAll("_", " "));
  return made;
}
