// What happens when the reader asks?

import { Answer, get, post, Refused } from "./ask.js";
import { headers, key } from "./key.js";
import * as models from "./models.js";
import * as panels from "./panels.js";
import * as settings from "./settings.js";
import { copied } from "./text.js";
import * as turns from "./turns.js";

const $ = (id) => document.getElementById(id);
const question = $("question");
const BURST_MS = 100; // an answer that takes less came at once: its speed is that of the whole
const ASKED = "golek.asked"; // the session that this tab asked in
let messages = []; // the conversation, as the model is sent it
let running = null; // the AbortController of what is being answered
let last = null; // the last request

function busy(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
  $("log").setAttribute("aria-busy", String(on));
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

// A problem with no turn to stand in: in words, and where the key is asked for, there.
function complain(error) {
  if (error.status === 401) askForKey(error.message);
  else say(error instanceof Refused ? error.message : "The server cannot be reached.", true);
}

function askForKey(words) {
  say(words);
  panels.open("settings");
  $("key").setAttribute("aria-invalid", "true");
  $("key").focus();
}

// Whether all that was typed into the panel can be sent; opens it where something cannot.
function isReady() {
  if (settings.check()) return true;
  panels.open($("tools-wrong").textContent ? "tools" : "settings");
  say("Nothing was sent: the JSON in the panel is wrong.", true);
  return false;
}

// Send `added`, the newest turns, and show the answer.
async function ask(added) {
  if (running || !isReady()) return;
  const body = settings.request(models.model(), outgoing(added), models.isTogether());
  const growing = new turns.Growing(models.model() || "no model");
  const answer = new Answer();
  const clock = { asked: performance.now() };
  running = new AbortController();
  busy(true);
  say("The model answers");
  panels.request((last = body));
  if (body.session_id) sessionStorage.setItem(ASKED, body.session_id);
  let problem = null;
  try {
    await follow(body, growing, answer, clock);
    messages.push(...added, answer.message);
    say("Done");
  } catch (error) {
    problem = told(error, () => ask(added));
    if (!problem && answer.text) messages.push(...added, { role: "assistant", content: answer.text });
  } finally {
    running = null;
    busy(false);
  }
  growing.end(answer, facts(answer, clock, problem), problem);
  panels.reply(answer, clock.response);
  if (!problem && answer.finish === "tool_calls" && answer.calls.length) growing.calls(answer.calls, (results) => give(answer.calls, results));
  else if (!problem) question.focus();
}

// What the model is sent: all of it, or what is new where the fleet keeps the conversation.
function outgoing(added) {
  const system = settings.systemPrompt();
  const before = settings.session() ? [] : messages;
  return [...(system ? [{ role: "system", content: system }] : []), ...before, ...added];
}

async function follow(body, growing, answer, clock) {
  const { response, events, reply } = await post("v1/chat/completions", body, running.signal);
  clock.response = response;
  if (reply) {
    clock.ended = performance.now();
    answer.add(reply);
    return;
  }
  for await (const { data, comment } of events) {
    if (comment !== undefined) {
      const place = /position=(\d+)(?: eta_s=([\d.]+))?/.exec(comment);
      if (place) growing.queued(Number(place[1]), place[2]);
    } else if (data !== "[DONE]") {
      const chunk = JSON.parse(data);
      answer.add(chunk);
      if (chunk.orchestration_step) growing.step(chunk.orchestration_step);
      clock.ended = performance.now();
      if (!answer.empty) {
        clock.first ??= clock.ended;
        growing.draw(answer);
      }
    }
  }
  if (!answer.finish && !answer.raw.length) throw new TypeError("the stream ended early");
}

// What to show of `error`; null for the reader's own stop.
function told(error, again) {
  if (error.name === "AbortError") {
    say("Stopped");
    return null;
  }
  if (error.status === 401) askForKey(error.message);
  else say("");
  const words = error instanceof Refused ? error.message : "The connection to the server was lost.";
  return { sentence: words, again };
}

function facts(answer, clock, problem) {
  if (problem && answer.empty) return [];
  const found = [];
  const tokens = answer.usage?.completion_tokens;
  if (tokens !== undefined) found.push(`${tokens} ${tokens === 1 ? "token" : "tokens"}`);
  const late = answer.calls.length || clock.ended - clock.first < BURST_MS; // calls come in one piece
  const seen = late ? undefined : clock.first;
  const seconds = (clock.ended - (seen ?? clock.asked)) / 1000;
  const counted = seen === undefined ? tokens : tokens - 1;
  const one = !answer.together; // of several models these are the tokens of all steps
  if (one && tokens > 1 && seconds > 0.002) found.push(`${Math.round(counted / seconds).toLocaleString("en")} tokens/s`);
  if (clock.first !== undefined && !answer.calls.length) found.push(`first token ${Math.round(clock.first - clock.asked)} ms`);
  if (answer.usage?.prompt_tokens) found.push(`prompt ${answer.usage.prompt_tokens} tokens`);
  if (answer.finish === "length") found.push("cut at the most tokens");
  if (answer.together) found.push(...together(answer.together));
  if (!answer.finish && !problem) found.push("stopped");
  return found;
}

// How several models came to an answer.
function together(how) {
  const found = [`${how.mode} of ${how.models_used.join(", ")}`, how.rounds === 1 ? "1 round" : `${how.rounds} rounds`];
  if (how.agreement !== undefined) found.push(`agreement ${how.agreement.toFixed(2)}${how.method ? ` (${how.method})` : ""}`);
  else if (how.confidence !== null) found.push(`confidence ${how.confidence.toFixed(2)}`);
  for (const [name, said] of [["in doubt", how.flagged], ["in conflict", how.conflicts]]) {
    if (said?.length) found.push(`${name}: ${said.join("; ").slice(0, 200)}`);
  }
  if (how.partial) found.push(`partial, after ${how.completed_steps} of ${how.total_steps} steps${how.error ? `: ${how.error}` : ""}`);
  return found;
}

// Give the results of tools back to the model; whether they went off.
function give(calls, results) {
  if (running || !isReady()) return false;
  ask(calls.map((call, at) => ({ role: "tool", tool_call_id: call.id, content: results[at] })));
  return true;
}

function send() {
  const text = question.value.trim();
  if (!text || running) return;
  if (!models.model()) {
    say("There is no model to ask.", true);
    return;
  }
  if (!isReady()) return;
  question.value = "";
  fit();
  turns.user(text);
  ask([{ role: "user", content: text }]);
}

function fit() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

function stop() {
  running?.abort();
}

function anew() {
  stop();
  messages = [];
  turns.clear();
  if (settings.session()) settings.renew();
  say("");
  question.focus();
}

async function refresh() {
  $("key").removeAttribute("aria-invalid");
  try {
    await models.refresh();
    say("");
    await recall();
  } catch (error) {
    complain(error);
  }
}

// Show what the fleet keeps of this conversation, where the page shows none of it: it was loaded anew.
async function recall() {
  if (!settings.session() || sessionStorage.getItem(ASKED) !== settings.session() || running || !turns.none()) return;
  const found = await fetch(kept(), { headers: headers() });
  if (!found.ok || !turns.none()) return; // nothing is kept yet, or something was asked meanwhile
  const messages = (await found.json()).turns?.flatMap((turn) => turn.messages) ?? [];
  for (const message of messages) turns.past(message);
}

function kept() {
  return `v1/sessions/${encodeURIComponent(settings.session() ?? "")}`;
}

function curl() {
  const lines = [`curl ${new URL("v1/chat/completions", location.href)}`, "  -H 'content-type: application/json'"];
  if (key()) lines.push('  -H "authorization: Bearer $GOLEK_KEY"');
  lines.push(`  -d '${JSON.stringify(last ?? {}).replaceAll("'", String.raw`'\''`)}'`);
  return lines.join(" \\\n");
}

async function session(method) {
  const said = $("session-said");
  said.textContent = "";
  try {
    const found = await fetch(kept(), { method, headers: headers() });
    if (found.status === 404) said.textContent = "Nothing is kept yet.";
    else if (!found.ok) said.textContent = `The server answered with status ${found.status}.`;
    else if (method === "DELETE") {
      said.textContent = "Deleted.";
      messages = [];
      turns.clear();
    } else download(await found.blob());
  } catch {
    said.textContent = "The server cannot be reached.";
  }
}

function download(blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([blob], { type: "application/json" }));
  link.download = `${settings.session()}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
question.addEventListener("input", fit);
question.addEventListener("keydown", (event) => {
  const plain = !event.shiftKey && !event.altKey && matchMedia("(pointer: fine)").matches;
  if (event.key === "Enter" && !event.isComposing && (event.ctrlKey || event.metaKey || plain)) {
    event.preventDefault();
    send();
  }
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (running) stop();
  else panels.close();
});
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", anew);
for (const starter of $("starters").children) {
  starter.addEventListener("click", () => {
    question.value = starter.textContent;
    send();
  });
}
$("copy-curl").addEventListener("click", () => copied($("copy-curl"), curl()));
$("session-export").addEventListener("click", () => session("GET"));
$("session-delete").addEventListener("click", () => session("DELETE"));
settings.begin(refresh);
models.begin(complain);
panels.begin();
refresh();
setInterval(() => {
  if (!document.hidden && !running && document.activeElement !== $("model")) models.refresh().catch(() => {});
}, 30_000);
question.focus();
