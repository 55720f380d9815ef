// What did the reader set, and which fields of a request is that?

import { key, remember } from "./key.js";

const STORED = "golek.settings";
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const KEPT = ["system", ...NUMBERS, "stop-strings", "effort", "mode", "partners", "schema", "streaming", "session", "session-id", "tools", "tool-choice"];
const EXAMPLE = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Get the current weather of a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

const $ = (id) => document.getElementById(id);

// Fill in what this tab remembers, and remember what changes.
export function begin(onKey) {
  let stored = {};
  try {
    stored = JSON.parse(sessionStorage.getItem(STORED) ?? "{}");
  } catch {
    stored = {};
  }
  for (const id of KEPT) {
    const control = $(id);
    if (id in stored) control[control.type === "checkbox" ? "checked" : "value"] = stored[id];
    control.addEventListener("input", keep);
  }
  $("key").value = key();
  $("key").addEventListener("change", () => {
    remember($("key").value.trim());
    onKey();
  });
  $("tools-example").addEventListener("click", () => put("tools", JSON.stringify(EXAMPLE, null, 2)));
  $("tools-clear").addEventListener("click", () => put("tools", ""));
  if (!$("session-id").value) $("session-id").value = fresh();
  showSession();
  check();
}

export function fresh() {
  return `chat-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

export function renew() {
  put("session-id", fresh());
}

function put(id, value) {
  $(id).value = value;
  keep();
}

function keep() {
  const values = KEPT.map((id) => [id, $(id).type === "checkbox" ? $(id).checked : $(id).value]);
  sessionStorage.setItem(STORED, JSON.stringify(Object.fromEntries(values)));
  showSession();
  check();
}

function showSession() {
  $("session-parts").hidden = !$("session").checked;
}

// Whether the JSON that was typed is JSON; says below the field what is not.
export function check() {
  return [json("schema", isObject, "a schema is an object"), json("tools", Array.isArray, "tools are a list")].every((one) => !one.wrong);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function json(id, fits, words) {
  const text = $(id).value.trim();
  let found = { value: undefined, wrong: "" };
  if (text) {
    try {
      found.value = JSON.parse(text);
      if (!fits(found.value)) found.wrong = words;
    } catch (error) {
      found.wrong = `This is not JSON: ${error.message}`;
    }
  }
  $(`${id}-wrong`).textContent = found.wrong;
  $(id).setAttribute("aria-invalid", String(Boolean(found.wrong)));
  return found;
}

// The session that keeps this conversation; null when the page does.
export function session() {
  return $("session").checked ? $("session-id").value.trim() || null : null;
}

export function systemPrompt() {
  return $("system").value.trim();
}

// The request of `messages` to `model`, for which several answer where that `isTogether`.
export function request(model, messages, isTogether = false) {
  const body = { model, messages };
  for (const name of NUMBERS) {
    if ($(name).value !== "") body[name] = Number($(name).value);
  }
  const stops = $("stop-strings").value.split("\n").filter(Boolean);
  if (stops.length) body.stop = stops;
  if ($("effort").value) body.reasoning_effort = $("effort").value;
  const partners = $("partners").value.split(",").map((name) => name.trim()).filter(Boolean);
  if ($("mode").value) body.orchestration_mode = $("mode").value;
  const steps = $("streaming").checked && (isTogether || ($("mode").value && $("mode").value !== "single"));
  const wish = { ...(partners.length && { models: partners }), ...(steps && { progress: "steps" }) };
  if (Object.keys(wish).length) body.orchestration = wish;
  const schema = json("schema", isObject, "").value;
  if (schema) body.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
  const tools = json("tools", Array.isArray, "").value;
  if (tools?.length) {
    body.tools = tools;
    const answered = messages.at(-1)?.role === "tool"; // else a model that must call would do so for ever
    body.tool_choice = answered && $("tool-choice").value === "required" ? "auto" : $("tool-choice").value;
  }
  if (session()) body.session_id = session();
  if ($("streaming").checked) {
    body.stream = true;
    body.stream_options = { include_usage: true };
  }
  return body;
}
