// What does the page know of the fleet? Messages of the monitor go in; whoever shows something of it is told once a frame.

/** @typedef {{overview: object, services: Map<string, object>, replicas: Map<string, object>, gateways: Map<string, object>}} Fleet */

export const fleet = {
  /** @type {object|null} */ overview: null,
  services: new Map(),
  replicas: new Map(),
  gateways: new Map(),
  alerts: new Map(),
  events: [],
  /** Whether the monitor hears the bus. */ connected: true,
  monitorId: "",
  broker: "",
  /** Since when it does not, RFC 3339. */ unheardSince: "",
  /** `waiting` for the first message, `live`, or `lost`. */ link: "waiting",
  /** Since when the link is lost, milliseconds since 1970. */ since: 0,
  /** When the last message came, on the clock of `performance`. */ heardAt: 0,
};

const EVENTS_KEPT = 500;
const RESOLVED_KEPT = 50;
const KEYS = { services: "model_name", replicas: "worker_id", gateways: "gateway_id", alerts: "id" };
const drawers = new Set();
const listeners = new Set();
let waiting = 0;
let told = 0;

/** `draw` is called once a frame after something changed, and once a second for ages. */
export function draws(draw) {
  drawers.add(draw);
}

/** `hear(what)` is called with each message, also while the page is hidden. */
export function hears(hear) {
  listeners.add(hear);
}

/** Everything at once: what was known before is forgotten. */
export function snapshot(now) {
  for (const [part, key] of Object.entries(KEYS)) fleet[part] = new Map((now[part] ?? []).map((one) => [one[key], one]));
  fleet.events = (now.events ?? []).slice(0, EVENTS_KEPT);
  fleet.monitorId = now.monitor_id ?? "";
  fleet.broker = now.broker ?? "";
  heard(now);
}

/** What changed since the message before. */
export function update(changes) {
  for (const [part, key] of Object.entries(KEYS)) {
    for (const one of changes[part] ?? []) fleet[part].set(one[key], one);
    for (const gone of changes[`gone_${part}`] ?? []) fleet[part].delete(gone);
  }
  const newest = fleet.events[0]?.seq ?? -1;
  const more = (changes.events ?? []).filter((one) => one.seq > newest).sort((a, b) => b.seq - a.seq);
  if (more.length) fleet.events = [...more, ...fleet.events].slice(0, EVENTS_KEPT);
  heard(changes);
}

function heard(message) {
  fleet.overview = message.overview ?? fleet.overview;
  fleet.connected = message.connected ?? true;
  fleet.unheardSince = message.unheard_since ?? "";
  fleet.heardAt = performance.now();
  linked("live");
}

/** The connection to the monitor is so now. */
export function linked(link) {
  if (fleet.link !== link && link === "lost") fleet.since = Date.now();
  fleet.link = link;
  for (const hear of listeners) hear();
  ask();
}

/** Draw in the next frame. */
export function ask() {
  if (!waiting) waiting = requestAnimationFrame(draw);
}

function draw() {
  waiting = 0;
  told += 1;
  for (const one of drawers) one(told);
}

setInterval(ask, 1000);

/** The monitor's time of day, milliseconds since 1970: ages do not depend on this machine's clock. */
export function now() {
  const said = Date.parse(fleet.overview?.timestamp ?? "");
  return Number.isNaN(said) ? Date.now() : said + (performance.now() - fleet.heardAt);
}

/** Seconds since an RFC 3339 moment. */
export function since(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? null : (now() - at) / 1000;
}

/** Alerts that fire, the newest first. */
export function firing() {
  return [...fleet.alerts.values()].filter((one) => one.state === "firing").sort((a, b) => b.since.localeCompare(a.since));
}

/** Alerts that were resolved lately, the newest first. */
export function resolved() {
  return [...fleet.alerts.values()]
    .filter((one) => one.state === "resolved")
    .sort((a, b) => (b.resolved_at || b.timestamp).localeCompare(a.resolved_at || a.timestamp))
    .slice(0, RESOLVED_KEPT);
}
