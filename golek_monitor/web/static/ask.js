// How is the monitor asked, and what does an error mean in words?

export const LOGIN = "api/login";

/** A response that is not what was asked for; `status` 0 where the monitor did not answer at all. */
export class Refused extends Error {
  constructor(status, error) {
    super(sentence(status, error));
    this.status = status;
    this.body = error;
  }
}

function sentence(status, error) {
  const said = error?.message ?? "";
  if (status === 0) return "The monitor does not answer.";
  if (status === 401) return said || "A key is needed.";
  if (status === 404) return said || "There is nothing of this name.";
  if (status === 429) return said || "Too many tries; wait a little.";
  if (status >= 500) return `It did not work: ${said || `status ${status}`}`;
  return said || `The monitor answered with status ${status}.`;
}

let askKey = async () => false;

/** `ask()` asks a person for a key where the monitor wants one; it tells whether one was accepted. */
export function wantsKey(ask) {
  askKey = ask;
}

async function refused(response) {
  const body = await response.json().catch(() => undefined);
  return new Refused(response.status, body?.error ?? body);
}

async function asked(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
  if (response.status === 401 && path !== LOGIN && (await askKey())) return asked(path, options);
  if (!response.ok) throw await refused(response);
  return response;
}

/** The JSON behind `path`. Throws Refused. */
export async function get(path, signal) {
  return (await asked(path, { signal })).json();
}

/** Send `body`; gives the answer's JSON, null where it has none. Throws Refused. */
export async function post(path, body = {}) {
  const headers = { "content-type": "application/json" };
  const text = await (await asked(path, { method: "POST", headers, body: JSON.stringify(body) })).text();
  return text ? JSON.parse(text) : null;
}

/** The response itself, for who reads it as it comes. Throws Refused. */
export async function stream(path, signal) {
  return asked(path, { signal, headers: { accept: "text/event-stream" } });
}

/** A name with slashes as part of a path. */
export function named(name) {
  return name.split("/").map(encodeURIComponent).join("/");
}
