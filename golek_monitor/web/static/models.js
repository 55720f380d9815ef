// How is each model? A card of figures on the first view, charts and all that is known of it on its own.

import { charts } from "./charts.js";
import { el, keep, of, say } from "./dom.js";
import { age, ago, bytes, clock, count, duration, figure, moment, money, NONE } from "./format.js";
import { orders } from "./orders.js";
import { route, routes, to } from "./route.js";
import { badge } from "./status.js";
import { draws, fleet, since } from "./store.js";

const FIGURES = [
  ["Tokens/s", (one) => figure(one.tokens_per_s)],
  ["Response", (one) => duration(one.response_ms)],
  ["TTFT", (one) => duration(one.ttft_ms)],
  ["Waiting", (one) => figure(one.queue_metrics.pending_messages)],
  ["Running", (one) => `${figure(one.queue_metrics.active_processing)} / ${figure(one.slots ?? 0)}`],
  ["Workers", workers],
];

/** Those in rotation, of all where there are others. */
function workers({ replicas_in_rotation: serving = 0, replicas = 0 }) {
  return serving === replicas ? figure(replicas) : `${figure(serving)} / ${figure(replicas)}`;
}

const CARD = ["Tokens/s", "Waiting", "TTFT", "Workers"];

/** Cards of the first view. */
export function begin() {
  draws(() => {
    const { view, name } = route();
    if (view === "fleet") keep(of("cards"), services(), (one) => one.model_name, card, changeCard);
    if (view === "models") panels(name);
  });
  routes(({ view, name }) => {
    if (view !== "models") return;
    say(of("title-models"), name ? "One model" : "Models");
    of("all-models").hidden = !name;
  });
}

function services() {
  return [...fleet.services.values()].sort((a, b) => a.model_name.localeCompare(b.model_name));
}

function card(one) {
  const figures = CARD.map((label) => el("div", {}, el("dt", {}, label), el("dd", { "data-figure": label }, NONE)));
  return el("li.card", {}, el("div.line", {}, el("a.title", { href: to("models", one.model_name) }, one.model_name), el("span.level")), el("dl.figures", {}, ...figures), el("p.problem", { hidden: true }));
}

function changeCard(node, one) {
  level(node.querySelector(".level"), one);
  for (const dd of node.querySelectorAll("dd[data-figure]")) say(dd, FIGURES.find(([label]) => label === dd.dataset.figure)[1](one));
  const problem = node.querySelector(".problem");
  problem.hidden = !one.problem;
  say(problem, one.problem ?? "");
}

/** Its state where it takes no requests, its level where it does. */
function level(into, one) {
  const word = one.in_rotation ? one.backpressure_status.level : one.status === "online" ? "critical" : one.status;
  if (into.dataset.word === word) return;
  into.dataset.word = word;
  into.replaceChildren(badge(word));
}

// -- one panel for each model, with its charts ---------------------------------------------------------------------

const drawn = new Map();
const seen = new Set();
const watch = new IntersectionObserver((found) => {
  for (const one of found) {
    if (one.isIntersecting) seen.add(one.target.dataset.key);
    else seen.delete(one.target.dataset.key);
  }
}, { rootMargin: "200px" });

function panels(name) {
  const all = services();
  const shown = name ? all.filter((one) => one.model_name === name) : all;
  const into = of("models");
  if (!shown.length) {
    drop(new Set());
    into.replaceChildren(el("p.empty", { "data-key": "" }, name ? `No model ${name} is known at the moment.` : "No model was seen yet. It shows up here as soon as a worker of it starts: `make start WORKER=echo`."));
    return;
  }
  drop(new Set(shown.map((one) => one.model_name)));
  keep(into, shown, (one) => one.model_name, panel, changePanel);
}

function drop(stay) {
  for (const [name, one] of drawn) {
    if (stay.has(name)) continue;
    watch.unobserve(one.node);
    one.charts?.end();
    drawn.delete(name);
    seen.delete(name);
  }
}

function panel(one) {
  const name = one.model_name;
  const figures = FIGURES.map(([label]) => el("div", {}, el("dt", {}, label), el("dd", { "data-figure": label }, NONE)));
  const place = el("div.charts");
  const node = el(
    "article.panel", { "aria-label": name },
    el("div.line", {}, el("h2", {}, el("a", { href: to("models", name) }, name)), el("span.level"), el("span.grow"), orders({ model: name })),
    el("p.problem", { hidden: true }), el("p.about.note"), el("p", {}, el("a", { href: to("fleet", "", { model: name }) }, "Its workers"), " · ", el("a", { href: to("requests", "", { model: name }) }, "its requests"), " · ", el("a", { href: to("queues", name) }, "who waits for it")), el("dl.figures.wide", {}, ...figures), place,
    el("details", { open: route().name === name }, el("summary", {}, "All that is known of it"), el("dl.facts")),
  );
  node.dataset.key = name;
  drawn.set(name, { node, place, charts: null });
  watch.observe(node);
  return node;
}

function changePanel(node, one) {
  changeCard(node, one);
  say(node.querySelector(".about"), about(one));
  facts(node.querySelector(".facts"), one);
  const mine = drawn.get(one.model_name);
  if (!seen.has(one.model_name)) return;
  mine.charts ??= charts(mine.place, one.model_name);
  mine.charts.draw();
}

function about(one) {
  const info = one.model_info;
  return [info.architecture, info.parameter_count && `${info.parameter_count} parameters`, info.quantization, info.context_size && `${figure(info.context_size)} tokens of context`, (one.capabilities ?? []).join(", ")].filter(Boolean).join(" · ");
}

function facts(into, one) {
  const info = one.model_info;
  const all = [
    ["Architecture", info.architecture], ["Family", info.model_family], ["Parameters", info.parameter_count], ["Quantization", info.quantization],
    ["Context", info.context_size ? `${figure(info.context_size)} tokens` : ""], ["Embedding", info.embedding_size ? count(info.embedding_size, "number") : ""],
    ["Vocabulary", info.vocab_size ? count(info.vocab_size, "token") : ""], ["File", info.size_bytes ? bytes(info.size_bytes) : ""], ["Modalities", (info.modalities ?? []).join(", ")],
    ["Engines", (one.engines ?? []).join(", ")], ["Adapters", (one.adapters ?? []).join(", ")], ["Ping", one.ping_ms === undefined ? "" : duration(one.ping_ms)],
    ["Errors", one.errors_per_s === undefined ? "" : `${figure(one.errors_per_s)}/s`], ["Refused", one.refused_per_s ? `${figure(one.refused_per_s)}/s` : ""], ["Dead letters", one.dead_letters ? figure(one.dead_letters) : ""],
    ["Clouds take", one.cost_usd_per_hour ? `${money(one.cost_usd_per_hour)} in an hour` : ""],
    ["First seen", moment(one.first_seen)], ["Known for", age(one.uptime_seconds)], ["Last seen", one.last_seen ? `${clock(one.last_seen)}, ${ago(since(one.last_seen))}` : ""],
  ].filter(([, value]) => value);
  keep(into, all, ([label]) => label, ([label]) => el("div", {}, el("dt", {}, label), el("dd")), (node, [, value]) => say(node.lastChild, value));
}
