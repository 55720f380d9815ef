// How were the figures over time? Asked for what is looked at, again every few seconds, never twice at once.

import { get, named } from "./ask.js";
import { fleet } from "./store.js";

/** What can be chosen: seconds that charts reach back, and how often they are renewed. */
export const RANGES = [
  { name: "5 min", seconds: 300, every: 5 },
  { name: "3 h", seconds: 10_800, every: 30 },
];
const STORED = "golek.monitor.range";
const listeners = new Set();
const kept = new Map();
let chosen = RANGES.find((one) => one.name === localStorage.getItem(STORED)) ?? RANGES[0];

export function range() {
  return chosen;
}

/** Let all charts reach so far back. */
export function choose(one) {
  chosen = one;
  localStorage.setItem(STORED, one.name);
  for (const listener of listeners) listener(one);
}

/** `tell(range)` is called when another range is chosen. */
export function ranges(tell) {
  listeners.add(tell);
}

/**
 * The figures of a model, or of the fleet without a name; null while nothing came.
 * They are asked for when they are too old, and `come` is called when they are here.
 */
export function history(model, come) {
  const key = `${model} ${chosen.seconds}`;
  const one = kept.get(key) ?? { data: null, at: -Infinity, asked: false };
  kept.set(key, one);
  const old = performance.now() - one.at > chosen.every * 1000;
  if (old && !one.asked && fleet.link === "live" && !document.hidden) renew(model, one, come);
  return one.data;
}

async function renew(model, one, come) {
  one.asked = true;
  try {
    one.data = await get(`api/history${model ? `/${named(model)}` : ""}?seconds=${chosen.seconds}`);
    come();
  } catch {
    // The chart stays as it was; the lamp tells whether the monitor is there at all.
  } finally {
    one.at = performance.now();
    one.asked = false;
  }
}
