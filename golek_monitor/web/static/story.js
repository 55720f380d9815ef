// What became of one request? Its attempts with their times as bars, its texts where they may be shown, what happened around it.

import { get, named, Refused } from "./ask.js";
import { el } from "./dom.js";
import { clock, duration, figure, moment, money, share } from "./format.js";
import { ended, table } from "./requests.js";
import { to } from "./route.js";

/** The parts of a request's time, in words. */
const PHASES = {
  queue: "in the queue",
  prepare: "prepared",
  slot: "waited for a slot",
  prefill: "read the prompt",
  steps: "steps before the answer",
  decode: "wrote",
  run: "ran",
  finish: "finished",
};

/** Tell it in `into`. */
export async function story(into, id) {
  into.replaceChildren(el("p.note", {}, "Looking through the logs…"));
  try {
    const found = await get(`api/requests/${named(id)}`);
    into.replaceChildren(el("div.stack", {}, back(), ...(found.story ? told(found.story) : several(id, found.requests ?? []))));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    into.replaceChildren(back(), el("p.empty", {}, error.message));
  }
}

function back() {
  return el("p", {}, el("a", { href: to("requests") }, "← All requests"));
}

function several(id, requests) {
  return [el("p.note", {}, `${requests.length} requests are called ${id}: callers may use a name again.`), table(requests)];
}

function told(one) {
  const asked = (one.visits ?? []).map((visit) => el("li", {}, el("time", {}, clock(visit.time)), el("code", {}, `${visit.method} ${visit.path}`), `status ${visit.status} after ${duration(visit.ms)}`, visit.key_id && ` for ${visit.key_id}`));
  return [
    el("div.line", {}, el("h2", {}, one.req_id || one.job_id), ended(one)),
    el("p.note", {}, `Job ${one.job_id} for `, el("a", { href: to("models", one.model_name) }, one.model_name)),
    ...one.attempts.map((attempt, at) => attempted(attempt, at, one.attempts.length)),
    (one.steps ?? []).length ? el("h3", {}, "Steps") : null,
    (one.steps ?? []).length ? el("ol.log.steps", {}, ...one.steps.map(step)) : null,
    asked.length ? el("h3", {}, "Over HTTP") : null,
    asked.length ? el("ol.log", {}, ...asked) : null,
    (one.events ?? []).length ? el("h3", {}, "Around that time") : null,
    (one.events ?? []).length ? el("ol.log", {}, ...one.events.map(happened)) : null,
    ...(one.problems ?? []).map((log) => el("p.problem", {}, `${log.model_name}: ${log.problem}`)),
  ].filter(Boolean);
}

/** One job of those that answered it: what it was for, where several models did, by whom, and how it ended. */
function step(one) {
  const name = el("a", { href: to("requests", one.job_id) }, one.step || one.job_id);
  return el("li", {}, name, el("code", {}, one.model_name), duration(one.dur_ms), ended(one), one.worker_id && el("span.note", {}, one.worker_id));
}

function happened(event) {
  const before = event.offset_ms < 0;
  const when = `${duration(Math.abs(event.offset_ms))} ${before ? "before" : "after"} it came`;
  return el("li", { "data-level": event.level }, el("time", { title: moment(event.timestamp) }, when), el("code", {}, event.code), el("span.message", {}, event.message), el("span.note", {}, event.worker_id));
}

function attempted(attempt, at, all) {
  const one = attempt.request;
  const facts = [
    ["Worker", one.worker_id], ["Accepted", moment(attempt.accepted)], ["Ended", moment(one.timestamp)], ["Who asked", one.principal], ["Kind", one.kind + (one.stream ? ", streamed" : "")],
    ["Tokens in", one.tokens_in === undefined ? "" : figure(one.tokens_in) + (one.tokens_cached ? `, ${share(one.tokens_cached / one.tokens_in)} of them cached` : "")],
    ["Tokens out", one.tokens_out === undefined ? "" : figure(one.tokens_out)], ["Tokens/s", one.tokens_per_s === undefined ? "" : figure(one.tokens_per_s)],
    ["First token", one.ttft_ms === undefined ? "" : `${duration(one.ttft_ms)} after the lease`], ["Asked", one.asked], ["Together", one.mode], ["Answered by", one.target], ["Cost", money(one.cost_usd)], ["Cache", one.cache], ["Step", one.step], ["Step of", one.parent], ["Ended by", one.finish_reason], ["Adapter", one.adapter], ["Seed", one.seed === undefined ? "" : String(one.seed)], ["Log", one.log],
  ].filter(([, value]) => value);
  return el(
    "article.panel", { "aria-label": `Attempt ${at + 1}` }, all > 1 ? el("h3", {}, `Attempt ${at + 1} of ${all}`) : null, one.error ? el("p.problem", {}, one.error) : null,
    timeline(attempt), el("dl.facts", {}, ...facts.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))), ...texts(attempt),
  );
}

/** A bar from acceptance to end, and the same as a list: a picture alone tells nothing to a screen reader. */
function timeline(attempt) {
  const total = Math.max(attempt.total_ms, 1e-6);
  const parts = attempt.phases.filter((phase) => phase.ms > 0);
  const bar = el("div.timeline", { "aria-hidden": "true" }, ...parts.map((phase) => {
    const part = el("span", { title: `${PHASES[phase.name] ?? phase.name}: ${duration(phase.ms)}`, "data-phase": phase.name });
    part.style.left = `${(100 * phase.start_ms) / total}%`;
    part.style.width = `${(100 * phase.ms) / total}%`;
    return part;
  }));
  const legend = el("ul.legend", { "aria-label": "Where the time went" }, ...parts.map((phase) => el("li", {}, el("i", { "data-phase": phase.name, "aria-hidden": "true" }), `${PHASES[phase.name] ?? phase.name} `, el("b", {}, duration(phase.ms)))));
  return el("div", {}, el("p.total", {}, duration(attempt.total_ms), el("span.note", {}, " from acceptance to end")), bar, legend);
}

function texts(attempt) {
  const found = Object.entries({ "Asked, as it came": attempt.texts?.input, "Prompt, as the model read it": attempt.texts?.prompt, "Answer": attempt.texts?.output }).filter(([, text]) => text);
  if (found.length) return found.flatMap(([name, text], at) => [el("h3", {}, name), el("pre", { tabIndex: 0, "aria-label": name, id: `text-${at}` }, text)]);
  return [el("p.note", {}, "What was asked and answered is not shown: MONITOR_SHOW_PROMPTS=1 allows it, where the request log keeps texts.")];
}
