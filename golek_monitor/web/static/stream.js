// How do messages of the monitor come in? As server-sent events, read here and not by EventSource: that tells neither why
// it failed nor that nothing comes any more, and a page that shows old figures as new ones is worse than none.

import { stream } from "./ask.js";
import { linked, snapshot, update } from "./store.js";

/** The monitor sends something at least every 5 s. */
const SILENT_MS = 12_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
const TAKEN = { snapshot, update };

/** Listen for ever: again and again after a lost connection. */
export async function listen() {
  let wait = FIRST_WAIT_MS;
  for (;;) {
    try {
      await hear(() => (wait = FIRST_WAIT_MS));
    } catch {
      // Whatever it was, the page says that it is not connected, and since when.
    }
    linked("lost");
    await pause(wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

async function hear(onMessage) {
  const leave = new AbortController();
  let guard = setTimeout(() => leave.abort(), SILENT_MS);
  const reader = new Reader((event, data) => {
    onMessage();
    take(event, data);
  });
  try {
    const body = (await stream("api/events", leave.signal)).body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await body.read();
      if (done) return;
      clearTimeout(guard);
      guard = setTimeout(() => leave.abort(), SILENT_MS);
      reader.take(value);
    }
  } finally {
    clearTimeout(guard);
    leave.abort();
  }
}

/** A message that cannot be taken is a mistake of ours to be seen, not a reason to connect again. */
function take(event, data) {
  try {
    TAKEN[event]?.(JSON.parse(data));
  } catch (error) {
    reportError(error);
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Puts together events of pieces of text. */
class Reader {
  constructor(tell) {
    this.tell = tell;
    this.rest = "";
    this.event = "message";
    this.data = [];
  }

  take(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  line(line) {
    if (!line) {
      if (this.data.length) this.tell(this.event, this.data.join("\n"));
      this.event = "message";
      this.data = [];
    } else if (line.startsWith("event:")) this.event = line.slice(6).trim();
    else if (line.startsWith("data:")) this.data.push(line.slice(line[5] === " " ? 6 : 5));
  }
}
