// How do messages of the monitor come in? As server-sent events, read here and not by EventSource: that tells neither why
// it failed nor that nothing comes any more, and a page that shows old figures as new ones is worse than none.

import { Refused, stream } from "./ask.js";
import { linked, snapshot, update } from "./store.js";

/** The monitor sends at least a comment every 15 s. */
const SILENT_MS = 20_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
const TAKEN = { snapshot, update };

/** Listen for ever: again and again after a lost connection. `onKey` waits for a person to give a key. */
export async function listen(onKey) {
  let wait = FIRST_WAIT_MS;
  for (;;) {
    try {
      await hear(() => (wait = FIRST_WAIT_MS));
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        linked("waiting");
        await onKey();
        continue;
      }
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
    TAKEN[event]?.(JSON.parse(data));
    onMessage();
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
