// Which workers and gateways are there, and how is each?

import { el, of, say } from "./dom.js";
import { age, count, duration, figure, share, NONE } from "./format.js";
import { go, route, to } from "./route.js";
import { badge, rank, WORKER_STATES } from "./status.js";
import { ask, draws, fleet, since } from "./store.js";
import { Table } from "./table.js";

const COLUMNS = [
  { key: "worker", label: "Worker", text: (row) => row.worker_id, quiet: true },
  { key: "model", label: "Model", text: (row) => row.model_name, quiet: true },
  { key: "engine", label: "Engine", text: (row) => [row.engine, row.device].filter(Boolean).join(" · ") || NONE, quiet: true },
  { key: "status", label: "Status", text: state, value: (row) => rank(row.status), draw: (row) => badge(row.status, detail(row)), loud: true, title: "As the worker says; silent: it does not answer; lost: its connection is gone" },
  { key: "slots", label: "Slots", number: true, text: (row) => `${row.active ?? 0} / ${row.slots ?? 0}`, value: (row) => row.active ?? 0, draw: slots, title: "Requests that run, of those that can run at once" },
  { key: "queue", label: "Queue", number: true, text: (row) => figure(row.pending ?? 0), value: (row) => row.pending ?? 0, title: "Requests that wait for this model" },
  { key: "tokens", label: "Tokens/s", number: true, text: (row) => figure(row.tokens_per_s), value: (row) => row.tokens_per_s },
  { key: "ttft", label: "TTFT", number: true, text: (row) => duration(row.ttft_ms), value: (row) => row.ttft_ms, title: "From taking a request to its first token: the median of the last minute" },
  { key: "response", label: "Response", number: true, text: (row) => duration(row.response_ms), value: (row) => row.response_ms, title: "From taking a request to its last token, on average over the last ten seconds" },
  { key: "kv", label: "KV use", number: true, text: (row) => share(row.kv_use), value: (row) => row.kv_use, draw: (row, text) => meter(row.kv_use, text), title: "How much of the KV cache running requests hold" },
  { key: "level", label: "Level", text: (row) => row.level ?? NONE, value: (row) => (row.level ? rank(row.level) : null), draw: (row, text) => (row.level ? badge(row.level) : el("span", {}, text)), title: "Backpressure: warning when anything waits, critical when nearly full" },
  { key: "token", label: "Last token", number: true, text: (row) => (row.last_token_age_ms === undefined ? NONE : duration(row.last_token_age_ms)), value: (row) => row.last_token_age_ms, quiet: true, title: "Since the engine last wrote a token" },
  { key: "seen", label: "Last seen", number: true, text: (row) => age(since(row.last_seen)), value: (row) => since(row.last_seen), quiet: true },
];

const GATEWAYS = [
  { key: "gateway", label: "Gateway", text: (row) => row.gateway_id, quiet: true },
  { key: "status", label: "Status", text: (row) => row.status, value: (row) => rank(row.status), draw: (row) => badge(row.status), loud: true },
  { key: "endpoint", label: "Address", text: (row) => row.endpoint, quiet: true },
  { key: "version", label: "Version", text: (row) => row.version ?? NONE, quiet: true },
  { key: "requests", label: "Requests/s", number: true, text: (row) => figure(row.requests_per_s), value: (row) => row.requests_per_s },
  { key: "open", label: "Open", number: true, text: (row) => figure(row.open_requests ?? 0), value: (row) => row.open_requests ?? 0, title: "Being answered now" },
  { key: "streams", label: "Streams", number: true, text: (row) => figure(row.open_streams ?? 0), value: (row) => row.open_streams ?? 0 },
  { key: "response", label: "Response", number: true, text: (row) => duration(row.response_ms), value: (row) => row.response_ms },
  { key: "seen", label: "Last seen", number: true, text: (row) => age(since(row.last_seen)), value: (row) => since(row.last_seen), quiet: true },
];

function detail(row) {
  return row.status === "loading" && row.progress !== undefined ? share(row.progress) : "";
}

function state(row) {
  return `${row.status} ${detail(row)}`.trim();
}

function slots(row, text) {
  return meter(row.slots ? (row.active ?? 0) / row.slots : 0, text);
}

/** A figure with a thin bar beneath it. */
function meter(part, text) {
  if (part === null || part === undefined) return el("span", {}, text);
  const bar = el("span.bar", { "aria-hidden": "true" });
  bar.style.setProperty("--part", String(Math.min(1, part)));
  return el("span.meter", {}, text, bar);
}

/** Begin to show them. */
export function begin() {
  const filter = filters();
  const workers = new Table({
    name: "workers-table",
    caption: "Workers",
    columns: COLUMNS,
    id: (row) => row.worker_id,
    state: (row) => row.status,
    sort: "model",
    open: (row) => go(to("fleet", "", { ...Object.fromEntries(route().query), worker: row.worker_id })),
  });
  const gateways = new Table({ name: "gateways-table", caption: "Gateways", columns: GATEWAYS, id: (row) => row.gateway_id, state: (row) => row.status, open: () => undefined });
  of("workers").append(workers.node);
  of("gateways").append(gateways.node);
  draws(() => {
    if (route().view !== "fleet") return;
    filter.offer([...new Set([...fleet.replicas.values()].map((row) => row.model_name))].sort());
    const all = [...fleet.replicas.values()];
    const fit = all.filter(filter.fits);
    workers.show(fit, all.length ? "No worker fits these filters." : "No worker was heard yet. `make start WORKER=echo` starts one without a GPU; it shows up here by itself.");
    say(of("worker-count"), fit.length === all.length ? count(all.length, "worker") : `${figure(fit.length)} of ${count(all.length, "worker")}`);
    gateways.show([...fleet.gateways.values()], "No gateway was heard. `golek serve` and `make gateway` start one.");
  });
}

/** The three filters; what they say stands in the address. */
function filters() {
  const text = el("input", { type: "search", placeholder: "Filter  /", "aria-label": "Filter by text", autocomplete: "off", spellcheck: false, "data-focus": "/" });
  const model = el("select", { "aria-label": "Model" }, el("option", { value: "" }, "All models"));
  const status = el("select", { "aria-label": "Status" }, el("option", { value: "" }, "Every status"), ...WORKER_STATES.map((one) => el("option", {}, one)));
  const fields = { text, model, status };
  let offered = "";
  const read = () => {
    const { view, query } = route();
    if (view !== "fleet") return;
    for (const [name, field] of Object.entries(fields)) {
      if (name === "model" && query.get("model") && !offered.includes(query.get("model"))) model.append(el("option", {}, query.get("model")));
      field.value = query.get(name) ?? "";
    }
  };
  const write = () => {
    go(to("fleet", "", { text: text.value.trim(), model: model.value, status: status.value }), true);
    ask();
  };
  of("worker-filters").append(text, model, status);
  of("worker-filters").addEventListener("input", write);
  of("worker-filters").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", read);
  read();
  return {
    fits: (row) => (!model.value || row.model_name === model.value) && (!status.value || row.status === status.value) && fitsText(row, text.value),
    offer(models) {
      const now = models.join("\n");
      if (now === offered) return;
      offered = now;
      const chosen = model.value;
      model.replaceChildren(el("option", { value: "" }, "All models"), ...models.map((one) => el("option", { value: one }, one)));
      if (chosen && !models.includes(chosen)) model.append(el("option", {}, chosen));
      model.value = chosen;
    },
  };
}

function fitsText(row, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const all = [row.worker_id, row.model_name, row.engine, row.device, row.endpoint, row.status, row.level, row.version].join(" ").toLowerCase();
  return words.every((word) => all.includes(word));
}
