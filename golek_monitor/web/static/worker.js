// What is known of one worker? All of its row, what it said last, its settings and its last requests; and orders to it.

import { get, named, Refused } from "./ask.js";
import { el, keep, say } from "./dom.js";
import { ago, bytes, clock, duration, figure, moment, share, NONE } from "./format.js";
import { orders } from "./orders.js";
import { requestRows } from "./requests.js";
import { go, route, routes, to } from "./route.js";
import { badge } from "./status.js";
import { draws, fleet, since } from "./store.js";

const ROW = [
  ["Engine", (row) => row.engine], ["Device", (row) => row.device], ["Address", (row) => row.endpoint], ["Version", (row) => row.version],
  ["Active / slots", (row) => `${row.active ?? 0} / ${row.slots ?? 0}`], ["Waiting for the model", (row) => figure(row.pending ?? 0)],
  ["Requests/s", (row) => figure(row.requests_per_s)], ["Errors/s", (row) => figure(row.errors_per_s)], ["Refused/s", (row) => figure(row.refused_per_s)], ["Tokens/s", (row) => figure(row.tokens_per_s)],
  ["First token", (row) => duration(row.ttft_ms)], ["Between tokens", (row) => duration(row.itl_ms)], ["Response", (row) => duration(row.response_ms)],
  ["KV use", (row) => share(row.kv_use)], ["Prefix hits", (row) => share(row.prefix_hit_rate)], ["Last token", (row) => (row.last_token_age_ms === undefined ? NONE : `${duration(row.last_token_age_ms)} ago`)],
  ["Ping", (row) => duration(row.ping_ms)], ["Log behind", (row) => (row.log_lag_s === undefined ? NONE : duration(row.log_lag_s * 1000))], ["Clock off", (row) => (row.clock_skew_s === undefined ? NONE : duration(Math.abs(row.clock_skew_s) * 1000))],
  ["Started", (row) => (row.started_at ? `${moment(row.started_at)}, ${ago(since(row.started_at))}` : NONE)], ["Incarnation", (row) => row.incarnation], ["Last seen", (row) => `${clock(row.last_seen)}, ${ago(since(row.last_seen))}`],
];
const INFO = [
  ["Architecture", (info) => info.architecture], ["Family", (info) => info.model_family], ["Parameters", (info) => info.parameter_count], ["Quantization", (info) => info.quantization],
  ["Context", (info) => info.context_size && `${figure(info.context_size)} tokens`], ["Embedding", (info) => info.embedding_size && figure(info.embedding_size)], ["Vocabulary", (info) => info.vocab_size && figure(info.vocab_size)],
  ["File", (info) => info.size_bytes && bytes(info.size_bytes)], ["Modalities", (info) => (info.modalities ?? []).join(", ")],
];
let shown = null;

/** Begin: the address says which worker is open. */
export function begin() {
  routes(({ view, query }) => {
    const id = view === "fleet" ? query.get("worker") : null;
    if (id === (shown?.id ?? null)) return;
    shown?.box.close();
    if (id) open(id);
  });
  draws(() => shown?.draw());
}

function open(id) {
  const title = el("h2", { id: "worker-title", tabIndex: -1 }, id);
  const status = el("span.level");
  const problem = el("p.problem", { hidden: true });
  const facts = el("dl.facts");
  const more = el("div.stack", {}, el("p.note", {}, "Asking the worker…"));
  const act = el("div");
  const close = el("button.quiet.round.close", { type: "button", "aria-label": "Close", onclick: () => box.close() }, "✕");
  const box = el("dialog.drawer", { "aria-labelledby": "worker-title", onclick: (event) => event.target === box && box.close() }, el("div.inside", {}, close, el("div.line", {}, title, status), problem, act, facts, more));
  const mine = { id, box, draw: () => draw(id, { status, problem, facts, act }) };
  box.addEventListener("close", () => {
    box.remove();
    if (shown === mine) left();
  });
  shown = mine;
  document.body.append(box);
  mine.draw();
  box.showModal();
  title.focus();
  tell(id, more);
}

function left() {
  shown = null;
  const { query } = route();
  query.delete("worker");
  go(to("fleet", "", Object.fromEntries(query)), true);
}

function draw(id, { status, problem, facts, act }) {
  const row = fleet.replicas.get(id);
  if (!row) {
    problem.hidden = false;
    return void say(problem, "This worker is not known at the moment: it left a while ago, or never was.");
  }
  if (status.dataset.word !== row.status) {
    status.dataset.word = row.status;
    status.replaceChildren(badge(row.status), el("span.note", {}, row.in_rotation ? " in rotation" : " takes no requests"));
  }
  problem.hidden = !row.problem;
  say(problem, row.problem ?? "");
  if (!act.firstChild) act.append(el("p.note", {}, "Model ", el("a", { href: to("models", row.model_name) }, row.model_name)), orders({ model: row.model_name, worker: id }));
  const known = ROW.map(([label, value]) => [label, value(row)]).filter(([, value]) => value && value !== NONE);
  keep(facts, known, ([label]) => label, fact, (node, [, value]) => say(node.lastChild, value));
}

function fact([label]) {
  return el("div", {}, el("dt", {}, label), el("dd"));
}

/** What the row does not say; asked for once, when the worker is opened. */
async function tell(id, into) {
  const parts = [];
  try {
    const found = await get(`api/replicas/${named(id)}`);
    const health = found.health ?? {};
    const info = INFO.map(([label, value]) => [label, value(health.model_info ?? {})]).filter(([, value]) => value);
    if (info.length) parts.push(el("h3", {}, "Model"), list(info));
    const capabilities = [...(health.capabilities ?? []), ...(health.adapters ?? []).map((name) => `adapter ${name}`)];
    if (capabilities.length) parts.push(el("p.chips", {}, ...capabilities.map((name) => el("span.chip", {}, name))));
    parts.push(...settings(found.settings));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    parts.push(el("p.note", {}, error.message));
  }
  parts.push(el("h3", {}, "Its last requests"), await requestRows({ worker_id: id, limit: 10 }));
  into.replaceChildren(...parts);
}

function settings(found) {
  if (!found) return [];
  const all = Object.entries(found).sort(([a], [b]) => a.localeCompare(b));
  const said = all.length ? list(all.map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)])) : el("p.note", {}, "None.");
  said.classList.add("code");
  return [el("h3", {}, "Settings that differ from the defaults"), said];
}

function list(pairs) {
  return el("dl.facts", {}, ...pairs.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, String(value)))));
}
