// Which models are there, and which one is asked?

import { get, post } from "./ask.js";

const STORED = "golek.model";
const ORDER = ["loaded", "loading", "available"];
const TOGETHER = "several models";
const WORDS = { loaded: "ready", loading: "being loaded", available: "not in memory", stalled: "stalled" };
const select = document.getElementById("model");
const load = document.getElementById("load");
let known = [];
let usual = "single"; // how several models answer for auto

// Read the list again, keeping the choice. Throws Refused.
export async function refresh() {
  const before = select.value || sessionStorage.getItem(STORED);
  const found = await get("v1/models");
  usual = found.orchestration_mode ?? "single";
  known = found.data.filter(talks).sort((a, b) => rank(a) - rank(b) || a.id.localeCompare(b.id));
  select.replaceChildren(...groups());
  if (!known.length) select.append(new Option("no model is here", ""));
  const ready = known.find((one) => one.id === before) ?? known[0];
  if (ready) select.value = ready.id;
  chosen();
}

function talks(model) {
  return !model.kinds?.length || model.kinds.includes("inference");
}

function rank(model) {
  if (model.orchestration_mode) return ORDER.length + 1;
  const at = ORDER.indexOf(model.status ?? "loaded");
  return at < 0 ? ORDER.length : at;
}

function groups() {
  const found = Map.groupBy ? Map.groupBy(known, status) : grouped();
  return [...found].map(([name, models]) => {
    const group = document.createElement("optgroup");
    group.label = WORDS[name] ?? name;
    group.append(...models.map((model) => new Option(shown(model, name, group.label), model.id)));
    return group;
  });
}

function shown(model, name, label) {
  if (name === TOGETHER) return `${model.id} (${model.orchestration_mode}${model.models?.length ? ` of ${model.models.join(", ")}` : ""})`;
  return name === "loaded" ? model.id : `${model.id} (${label})`;
}

function status(model) {
  return model.orchestration_mode ? TOGETHER : (model.status ?? "loaded");
}

function grouped() {
  const found = new Map();
  for (const model of known) found.set(status(model), [...(found.get(status(model)) ?? []), model]);
  return found;
}

function chosen() {
  const model = known.find((one) => one.id === select.value);
  if (model) sessionStorage.setItem(STORED, model.id);
  load.hidden = model?.status !== "available" || Boolean(model.orchestration_mode);
}

// Say what the list of models does. `onProblem` gets what went wrong while one is loaded.
export function begin(onProblem) {
  select.addEventListener("change", chosen);
  load.addEventListener("click", async () => {
    load.disabled = true;
    load.textContent = "Loading…";
    try {
      await post(`v1/models/${select.value.split("/").map(encodeURIComponent).join("/")}/load`, {});
      await refresh();
    } catch (error) {
      onProblem(error);
    } finally {
      load.disabled = false;
      load.textContent = "Load";
    }
  });
}

export function model() {
  return select.value;
}

// Whether several models answer for the one that is chosen.
export function isTogether() {
  return (select.value === "auto" && usual !== "single") || Boolean(known.find((one) => one.id === select.value)?.orchestration_mode);
}
