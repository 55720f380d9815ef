// How is a status shown? By a sign and a word; colour only repeats them.

import { el } from "./dom.js";

/** Sign, tone and order (the worst first) of each status that a worker, gateway or request has. */
const STATES = {
  lost: ["✕", "bad", 0],
  failed: ["✕", "bad", 1],
  stalled: ["▲", "bad", 2],
  silent: ["?", "warn", 3],
  "not ready": ["▲", "warn", 3],
  loading: ["◔", "busy", 4],
  starting: ["◔", "busy", 5],
  draining: ["▽", "warn", 6],
  online: ["●", "good", 7],
  ready: ["●", "good", 7],
  unloaded: ["○", "calm", 8],
  offline: ["–", "calm", 9],
};
const LEVELS = { healthy: ["✓", "good", 2], warning: ["!", "warn", 1], critical: ["‼", "bad", 0] };

/** A badge for `word`; of a level of backpressure, or of a state. */
export function badge(word, detail = "") {
  const [sign, tone] = STATES[word] ?? LEVELS[word] ?? ["·", "calm"];
  return el("span.badge", { "data-tone": tone }, el("span.sign", { "aria-hidden": "true" }, sign), detail ? `${word} ${detail}` : word);
}

/** Where it stands among states, the worst first. */
export function rank(word) {
  return (STATES[word] ?? LEVELS[word] ?? ["", "", 99])[2];
}

/** All states that a worker can have, as a filter lists them. */
export const WORKER_STATES = ["online", "unloaded", "loading", "starting", "draining", "stalled", "silent", "lost", "failed", "offline"];
