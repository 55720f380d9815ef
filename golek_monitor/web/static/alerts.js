// What needs attention, what did lately, and what happened?

import { el, keep, mark, of, say } from "./dom.js";
import { age, clock } from "./format.js";
import { route, to } from "./route.js";
import { draws, firing, fleet, resolved, since } from "./store.js";

const EVENTS_SHOWN = 200;
/** Words that a sentence may begin with; names stay as they are written. */
const OURS = /^(the|worker|requests|no|new)\b/;
const SIGNS = { critical: "‼", warning: "!" };

/** One alert, as the first view and this one show it. */
export const callout = {
  make(alert) {
    const sign = el("span.sign", { "aria-hidden": "true" });
    const what = el("strong", {}, words(alert));
    const about = el("span.about");
    return el("article.callout", {}, sign, el("div.said", {}, el("div.line", {}, what, about), el("p.message"), el("p.since.note")));
  },
  change(node, alert) {
    mark(node, "kind", alert.kind);
    mark(node, "tone", alert.state === "resolved" ? "calm" : alert.severity === "critical" ? "bad" : "warn");
    say(node.querySelector(".sign"), alert.state === "resolved" ? "✓" : SIGNS[alert.severity]);
    say(node.querySelector("strong"), words(alert));
    say(node.querySelector(".message"), alert.message.replace(OURS, (word) => word[0].toUpperCase() + word.slice(1)));
    say(node.querySelector(".since"), times(alert));
    links(node.querySelector(".about"), alert);
  },
};

function words(alert) {
  const kind = alert.kind.replaceAll("_", " ");
  return alert.state === "resolved" ? `${kind}, resolved` : kind;
}

function times(alert) {
  const began = `since ${clock(alert.since)}`;
  if (alert.state === "resolved") return `${began} until ${clock(alert.resolved_at || alert.timestamp)}`;
  return `${began}, for ${age(since(alert.since))}`;
}

function links(into, alert) {
  const key = `${alert.worker_id} ${alert.model} ${alert.principal}`;
  if (into.dataset.shown === key) return;
  into.dataset.shown = key;
  into.replaceChildren();
  if (alert.worker_id) into.append(el("a", { href: to("fleet", "", { worker: alert.worker_id }) }, alert.worker_id));
  else if (alert.model) into.append(el("a", { href: to("models", alert.model) }, alert.model));
  if (alert.principal) into.append(el("span", {}, alert.principal));
}

/** Begin to show alerts and events. */
export function begin() {
  const now = el("div.stack", { id: "alerts-firing" });
  const before = el("div.stack", { id: "alerts-resolved" });
  const quiet = el("p.empty", {}, "Nothing needs attention. Alerts come when a worker is lost or stalled, a queue is nearly full, errors or dead letters grow; they also go out on the bus as monitoring.alerts.");
  const none = el("p.empty", {}, "None in the last while.");
  const log = el("ol.log", { id: "event-log", tabIndex: 0, "aria-label": "Events, the newest first" });
  const calm = el("p.empty", {}, "Nothing happened since the monitor started. Workers that join, leave, load or stall are told here.");
  of("alerts").append(
    el("div.two", {}, el("div", {}, el("h2", {}, "Firing"), now, quiet, el("h2", {}, "Resolved lately"), before, none), el("div", {}, el("h2", {}, "Events"), log, calm)),
  );
  draws(() => {
    if (route().view !== "alerts") return;
    const [fire, past] = [firing(), resolved()];
    keep(now, fire, (one) => one.id, callout.make, callout.change);
    keep(before, past, (one) => `${one.id} ${one.since}`, callout.make, callout.change);
    quiet.hidden = fire.length > 0;
    none.hidden = past.length > 0;
    calm.hidden = fleet.events.length > 0;
    log.hidden = !calm.hidden;
    keep(log, fleet.events.slice(0, EVENTS_SHOWN), (one) => one.seq, line, () => undefined);
  });
}

function line(event) {
  const sign = { error: "‼", warning: "!" }[event.level] ?? "·";
  const about = event.worker_id
    ? el("a", { href: to("fleet", "", { worker: event.worker_id }) }, event.worker_id)
    : event.model_name && el("a", { href: to("models", event.model_name) }, event.model_name);
  return el("li", { "data-level": event.level }, el("time", { dateTime: event.timestamp }, clock(event.timestamp)), el("span.sign", { title: event.level }, sign), el("code", {}, event.code), el("span.message", {}, event.message), about);
}
