// How is a model asked, and what does an error mean in words?
//
// A stream is read event by event; comments tell the place in the queue. Whoever aborts leaves, and that cancels the job.

import { headers } from "./key.js";

export class Refused extends Error {
  constructor(status, error, retryMs) {
    super(sentence(status, error, retryMs));
    this.status = status;
    this.body = error;
  }
}

// What the status and the `error` object of a response say to a person.
export function sentence(status, error, retryMs) {
  const said = error?.message ?? "";
  if (status === 401) return said && !said.includes("has none") ? "Nobody knows this key." : "A key is needed here. Enter yours below Settings.";
  if (status === 403) return `Your key is not for this: ${said}`;
  if (status === 404) return said || "There is nothing of this name.";
  if (status === 413) return `That is too large: ${said}`;
  if (status === 429) return `${error?.code === "QUEUE_FULL" ? "The queue is full." : "Your key's limit is reached for now."} Try again ${when(retryMs)}.`;
  if (status === 503) return `Nobody can answer at the moment${said ? `: ${lower(said)}` : ""}. Try again ${when(retryMs)}.`.replace("..", ".");
  if (status === 504) return "The answer was not ready in time.";
  if (status >= 500) return `Something went wrong here: ${said || `status ${status}`}`;
  return said || `The server answered with status ${status}.`;
}

function lower(text) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function when(ms) {
  if (!ms) return "in a moment";
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 90) return seconds === 1 ? "in a second" : `in ${seconds} seconds`;
  return `in ${Math.round(seconds / 60)} minutes`;
}

async function refused(response) {
  let error;
  try {
    error = (await response.json()).error;
  } catch {
    error = undefined;
  }
  const retry = Number(response.headers.get("retry-after-ms")) || Number(response.headers.get("retry-after")) * 1000;
  return new Refused(response.status, error, retry);
}

// The JSON behind `path`. Throws Refused.
export async function get(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers) });
  if (!response.ok) throw await refused(response);
  return response.status === 204 ? null : response.json();
}

// Send `body` to `path`; gives `{response, events}` of a stream and `{response, reply}` of a whole answer. Throws Refused.
export async function post(path, body, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: headers({ "content-type": "application/json" }),
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw await refused(response);
  const kind = response.headers.get("content-type") ?? "";
  if (kind.startsWith("text/event-stream")) return { response, events: events(response.body) };
  return { response, reply: await response.json() };
}

// What comes in a stream: `{data}` for an event, `{comment}` for a comment.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { data: data.join("\n") };
          data = [];
        } else if (line.startsWith(":")) {
          yield { comment: line.slice(1).trim() };
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// An answer that grows: what the chunks of a chat completion have said so far.
export class Answer {
  constructor() {
    this.text = "";
    this.thoughts = "";
    this.calls = [];
    this.finish = null;
    this.usage = null;
    this.together = null; // how several models came to it
    this.raw = [];
  }

  // Take in one chunk. Throws Refused for an error that ends the stream.
  add(chunk) {
    this.raw.push(chunk);
    if (chunk.error) throw new Refused(chunk.error.status ?? 500, chunk.error, chunk.error.details?.retry_after_ms);
    if (chunk.usage) this.usage = chunk.usage;
    this.together = chunk.orchestration ?? this.together;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const delta = choice.delta ?? choice.message ?? {};
    this.text += delta.content ?? "";
    this.thoughts += delta.reasoning_content ?? "";
    (delta.tool_calls ?? []).forEach((piece, at) => this.#call(piece, piece.index ?? at));
    this.finish = choice.finish_reason ?? this.finish;
  }

  #call(piece, index) {
    const call = (this.calls[index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
    if (piece.id) call.id = piece.id;
    if (piece.function?.name) call.function.name = piece.function.name;
    call.function.arguments += piece.function?.arguments ?? "";
  }

  get empty() {
    return !this.text && !this.thoughts && !this.calls.length;
  }

  // The turn of the assistant, as it goes back to the model.
  get message() {
    const message = { role: "assistant", content: this.text || null };
    if (this.calls.length) message.tool_calls = this.calls;
    else message.content ??= "";
    return message;
  }
}
