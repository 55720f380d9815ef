// Who waits for which model, and which jobs were given up? Queues are read from the broker, at most a hundred of each.

import { get, named, post, Refused } from "./ask.js";
import { el, of, say } from "./dom.js";
import { age, bytes, figure, share, NONE } from "./format.js";
import { begin as beginLetters } from "./letters.js";
import { confirm } from "./orders.js";
import { go, route, routes, to } from "./route.js";
import { draws, fleet } from "./store.js";

const AGAIN_MS = 3000;
let askedAt = -Infinity;
let asked = "";
let busy = false;

/** Begin to show queues, and dead letters below them. */
export function begin() {
  const bars = el("ul.queues", { "aria-label": "Models by queue" });
  const title = el("h2");
  const note = el("p.note", { role: "status" });
  const waiting = el("div.results", { id: "queue-rows" });
  const letters = el("div", { id: "letters" });
  of("queues").append(bars, el("div.head.second", {}, title, note), waiting, letters);
  const dead = beginLetters(letters);
  routes(({ view }) => view === "queues" && (askedAt = -Infinity));
  draws(() => {
    if (route().view !== "queues") return;
    const models = [...fleet.services.values()].sort((a, b) => b.queue_metrics.pending_messages - a.queue_metrics.pending_messages || a.model_name.localeCompare(b.model_name));
    const chosen = route().name || models[0]?.model_name || "";
    names(bars, models, chosen);
    say(title, chosen ? `Waiting for ${chosen}` : "Nobody waits");
    if (performance.now() - askedAt > AGAIN_MS || asked !== chosen) {
      void ask(chosen, waiting, note);
      dead.ask();
    }
  });
}

function names(into, models, chosen) {
  const key = JSON.stringify(models.map((one) => [one.model_name, one.queue_metrics, chosen]));
  if (into.dataset.shown === key) return;
  into.dataset.shown = key;
  const held = document.activeElement?.closest?.(".queues button")?.dataset.model;
  into.replaceChildren(...models.map((one) => bar(one, one.model_name === chosen)));
  if (held) [...into.querySelectorAll("button")].find((one) => one.dataset.model === held)?.focus();
}

function bar(one, mine) {
  const { pending_messages: pending, active_processing: active, queue_capacity: capacity } = one.queue_metrics;
  const fill = el("span.bar", { "aria-hidden": "true", "data-level": one.backpressure_status.level });
  fill.style.setProperty("--part", String(capacity ? Math.min(1, (pending + active) / capacity) : 0));
  const text = `${figure(pending)} wait${pending === 1 ? "s" : ""}, ${figure(active)} run${active === 1 ? "s" : ""}`;
  const button = el("button.quiet", { type: "button", "data-model": one.model_name, "aria-pressed": String(mine), onclick: () => go(to("queues", one.model_name)) }, el("span.title", {}, one.model_name), el("span.note", {}, `${text}, ${share(one.backpressure_status.utilization)} full`), fill);
  return el("li", {}, button);
}

async function ask(model, into, note) {
  if (busy || !model || fleet.link !== "live") return;
  busy = true;
  asked = model;
  try {
    const found = await get(`api/queues/${named(model)}`);
    if (asked !== model) return;
    const rows = found.jobs ?? [];
    say(note, summary(found));
    into.replaceChildren(rows.length ? table(rows) : el("p.empty", {}, `Nobody waits for ${model}. Requests that find no free slot stand here, in the order in which they are answered.`));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    into.replaceChildren(el("p.empty", {}, error.status === 404 ? "This monitor does not read queues." : error.message));
  } finally {
    busy = false;
    askedAt = performance.now();
  }
}

function summary(found) {
  const parts = [`${figure(found.waiting)} waiting, ${figure(found.running)} running, room for ${figure(found.capacity)}`, { priority: "the most urgent first" }[found.strategy]];
  if (found.oldest_s !== undefined) parts.push(`the oldest for ${age(found.oldest_s)}`);
  if (found.complete === false) parts.push(`the first ${found.jobs.length} are shown`);
  return parts.filter(Boolean).join(", ");
}

const HEADS = [["Place", "number"], ["Age", "number"], ["Time left", "number"], ["Request", ""], ["Who", ""], ["Kind", ""], ["Priority", ""], ["Size", "number"], ["Job", ""], ["", ""]];
const PRIORITIES = { 3: "high", 2: "normal", 1: "low" };

function table(rows) {
  const head = el("tr", { role: "row" }, ...HEADS.map(([name, kind]) => el("th", { scope: "col", role: "columnheader", className: kind }, name || el("span.unseen", {}, "Order"))));
  const body = el("tbody", { role: "rowgroup" }, ...rows.map(row));
  return el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Queue, scrolls" }, el("table.plain.folds", { role: "table", id: "queue-table" }, el("caption.unseen", {}, "Who runs and who waits, the next one first"), el("thead", { role: "rowgroup" }, head), body));
}

function row(one) {
  const late = one.left_s !== undefined && one.left_s < 0;
  const cells = [
    one.state === "running" ? "runs" : figure(one.position), age(one.age_s), late ? "passed" : age(one.left_s), one.req_id || NONE, one.principal || NONE,
    one.kind + (one.stream ? ", streamed" : ""), PRIORITIES[one.priority] ?? NONE, bytes(one.bytes), el("code", {}, one.job_id), el("button.small", { type: "button", "aria-label": `Cancel ${one.req_id || one.job_id}`, onclick: () => cancel(one) }, "Cancel"),
  ];
  return el("tr.row", { role: "row" }, ...cells.map((cell, at) => el("td", { role: "cell", className: HEADS[at][1], "data-label": HEADS[at][0] }, cell)));
}

function cancel(one) {
  confirm({
    title: `Cancel ${one.req_id || one.job_id}?`,
    text: one.state === "running" ? "The worker stops writing; the caller is told that the request was cancelled." : "It is taken out of the queue; the caller is told that the request was cancelled.",
    word: "Cancel it",
    back: "Leave it",
    danger: true,
    act: async () => {
      await post(`api/jobs/${named(one.job_id)}/cancel`);
      askedAt = -Infinity;
      return "The order to cancel it went out.";
    },
  });
}
