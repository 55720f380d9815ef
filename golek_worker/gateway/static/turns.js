// How does one turn of a conversation look?

import { copied, show } from "./text.js";

const log = document.getElementById("log");

function made(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

function put(turn) {
  document.getElementById("welcome").hidden = true;
  log.append(turn);
  log.scrollTop = log.scrollHeight;
  return turn;
}

// The reader's own words.
export function user(text) {
  const turn = made("article", "turn user");
  turn.append(made("h2", "unseen", "You"), made("div", "said", text));
  put(turn);
}

// A message of a conversation that was kept; what tools gave is not shown.
export function past(message) {
  if (message.role === "user") user(message.content ?? "");
  if (message.role !== "assistant") return;
  const text = message.content ?? "";
  const called = message.tool_calls?.map((call) => `called ${call.function.name}`) ?? [];
  new Growing("earlier").end({ text, thoughts: message.reasoning_content, empty: !text }, called);
}

// Whether nothing was said yet.
export function none() {
  return !log.querySelector(".turn");
}

// The answer of `model`, while it grows.
export class Growing {
  #drawn = 0;
  #steps = new Map();

  constructor(model) {
    this.turn = made("article", "turn assistant growing");
    this.turn.setAttribute("aria-busy", "true");
    this.place = made("p", "queued");
    this.place.hidden = true;
    this.thoughts = made("details", "thoughts");
    this.thoughts.open = true;
    this.thoughts.hidden = true;
    this.thought = made("div");
    this.thoughts.append(made("summary", "", "Thoughts"), this.thought);
    this.body = made("div", "body");
    this.steps = made("p", "steps");
    this.steps.hidden = true;
    this.turn.append(made("h2", "who", model), this.place, this.steps, this.thoughts, this.body);
    put(this.turn);
  }

  queued(position, eta) {
    this.place.hidden = false;
    const before = position === 1 ? "1 request is" : `${position} requests are`;
    this.place.textContent = position ? `${before} before yours${eta ? `, about ${Number(eta).toFixed(0)} s` : ""}` : "Yours is next";
  }

  // A step of several models that answer together began or ended.
  step(step) {
    this.place.hidden = true;
    this.#steps.set(step.number, step);
    const shown = [...this.#steps.values()].map((one) => {
      const ended = one.outcome && one.outcome !== "answered" ? ` ${one.outcome}` : " ✓";
      return `${one.name}${one.round > 1 ? ` ${one.round}` : ""} ${one.model}${one.state === "ended" ? ended : " …"}`;
    });
    this.steps.hidden = false;
    this.steps.textContent = shown.join(" · ");
    log.scrollTop = log.scrollHeight;
  }

  // Draw `answer`, at most once a frame.
  draw(answer) {
    if (this.#drawn) return;
    this.#drawn = requestAnimationFrame(() => {
      this.#drawn = 0;
      this.#show(answer);
    });
  }

  #show(answer) {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    if (!answer.empty) this.place.hidden = true;
    if (answer.thoughts) {
      this.thoughts.hidden = false;
      this.thought.textContent = answer.thoughts;
      if (answer.text) this.thoughts.open = this.thoughts.dataset.touched === "yes" && this.thoughts.open;
    }
    show(this.body, answer.text);
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  // No more comes. `facts` are told below; `problem` is `{sentence, again}`.
  end(answer, facts, problem) {
    cancelAnimationFrame(this.#drawn);
    this.#show(answer);
    this.place.hidden = true;
    this.steps.hidden = true;
    this.turn.classList.remove("growing");
    this.turn.setAttribute("aria-busy", "false");
    if (answer.text || facts.length) this.turn.append(this.#facts(answer, facts));
    if (problem) this.turn.append(this.#problem(problem));
    log.scrollTop = log.scrollHeight;
  }

  #facts(answer, facts) {
    const row = made("div", "facts");
    if (answer.text) {
      const copy = made("button", "quiet small", "Copy");
      copy.type = "button";
      copy.addEventListener("click", () => copied(copy, answer.text));
      row.append(copy);
    }
    row.append(...facts.map((fact) => made("span", "", fact)));
    return row;
  }

  #problem({ sentence, again }) {
    const box = made("div", "problem");
    box.setAttribute("role", "alert");
    const button = made("button", "small", "Try again");
    button.type = "button";
    button.addEventListener("click", () => {
      this.turn.remove();
      again();
    });
    box.append(made("span", "", sentence), button);
    return box;
  }

  // Show the calls of tools; `onResults` gets their results, in their order.
  calls(calls, onResults) {
    const form = made("form");
    const results = calls.map((call, at) => {
      const card = made("div", "call");
      const head = made("h3", "", "The model calls ");
      head.append(made("code", "", call.function.name));
      const given = made("pre", "", pretty(call.function.arguments));
      given.tabIndex = 0;
      const field = made("div", "field");
      const label = made("label", "", "What the tool gives");
      const result = made("textarea", "code");
      result.rows = 2;
      result.id = label.htmlFor = `result-${call.id}-${at}`;
      result.required = true;
      result.placeholder = '{"temperature": 21}';
      field.append(label, result);
      card.append(head, given, field);
      form.append(card);
      return result;
    });
    const send = made("button", "primary", calls.length > 1 ? "Send the results" : "Send the result");
    const row = made("div", "facts");
    row.append(send);
    form.append(row);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (onResults(results.map((result) => result.value))) {
        row.remove();
        for (const result of results) result.readOnly = true;
      }
    });
    this.turn.append(form);
    log.scrollTop = log.scrollHeight;
    results[0].focus();
  }
}

export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// Begin anew.
export function clear() {
  for (const turn of [...log.querySelectorAll(".turn")]) turn.remove();
  document.getElementById("welcome").hidden = false;
}
