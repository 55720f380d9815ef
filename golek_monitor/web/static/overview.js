// How is the fleet as a whole? Six figures, a sentence, and what needs attention.

import { charts, spark } from "./charts.js";
import { el, keep, mark, of, say } from "./dom.js";
import { clock, count, figure, share } from "./format.js";
import { history } from "./history.js";
import { route, to } from "./route.js";
import { draws, firing, fleet } from "./store.js";
import { callout } from "./alerts.js";

/** Callouts on the first view; the rest is one click away. */
const CALLOUTS = 3;
const TILES = [
  { name: "Requests", unit: "/s", value: (o) => figure(o.requests_per_s), note: troubles, series: "requests_per_s", tone: (o) => (o.errors_per_s + o.refused_per_s > 0.02 * o.requests_per_s ? "warn" : "") },
  { name: "Tokens", unit: "/s", value: (o) => figure(o.tokens_per_s), note: () => "by all workers", series: "tokens_per_s" },
  { name: "Slots busy", value: (o) => figure(o.active_processing), of: (o) => figure(o.slots), note: (o) => (o.slots ? `${share(o.active_processing / o.slots)} in use` : "no slots"), series: "active" },
  { name: "Waiting", value: (o) => figure(o.pending_messages), note: (o) => (o.queue_capacity ? `${share(o.utilization)} of queues full` : "no queues"), series: "pending", tone: (o) => ({ warning: "warn", critical: "bad" })[level(o)] ?? "" },
  { name: "Workers", value: (o) => figure(o.workers_online), of: (o) => figure(o.workers), note: (o) => `${figure(o.models_online)} of ${count(o.models, "model")} served`, tone: (o) => (o.workers_online < o.workers ? "warn" : "") },
  { name: "Alerts", value: (o) => figure(o.alerts), note: (o) => (o.dead_letters ? count(o.dead_letters, "dead letter") : "no dead letters"), tone: (o) => (o.alerts ? "bad" : "good"), to: to("alerts") },
];

function troubles(overview) {
  const refused = overview.refused_per_s > 0 ? `${figure(overview.refused_per_s)} refused/s` : "";
  const errors = overview.errors_per_s > 0 ? `${figure(overview.errors_per_s)} errors/s` : "";
  return [errors, refused].filter(Boolean).join(", ") || "no errors";
}

function level(overview) {
  return overview.pending_messages > 0 ? (overview.utilization >= 0.8 ? "critical" : "warning") : "healthy";
}

/** Begin to show it. */
export function begin() {
  const tiles = TILES.map(tile);
  of("tiles").append(...tiles.map((one) => one.node));
  const drawn = charts(of("fleet-charts"));
  draws(() => {
    if (route().view !== "fleet") return;
    const data = history("", () => undefined);
    for (const one of tiles) one.show(fleet.overview, data);
    drawn.draw();
    verdict();
    const shown = firing().sort((a, b) => Number(b.severity === "critical") - Number(a.severity === "critical"));
    keep(of("callouts"), shown.slice(0, CALLOUTS), (one) => one.id, callout.make, callout.change);
    more(shown.length - CALLOUTS);
  });
}

function tile({ name, unit, value, note, series, tone, to: address, ...rest }) {
  const number = el("span.number", {}, "–");
  const whole = el("span.of");
  const under = el("span.under");
  const line = series ? spark() : null;
  const label = address ? el("a", { href: address }, name) : name;
  const node = el("div.tile", { "data-tile": name }, el("dt", {}, label), el("dd", {}, el("span.figure", {}, number, whole), under), line?.node);
  const show = (overview, data) => {
    if (overview) {
      say(number, value(overview));
      say(whole, rest.of ? ` / ${rest.of(overview)}` : unit ? ` ${unit}` : "");
      say(under, note(overview));
      mark(node, "tone", tone?.(overview) ?? "");
    }
    line?.draw(data?.series[series]);
  };
  return { node, show };
}

function verdict() {
  const [text, tone] = sentence();
  say(of("verdict"), text);
  mark(of("verdict"), "tone", tone);
}

function sentence() {
  const overview = fleet.overview;
  if (!overview) return ["Waiting for the monitor", ""];
  if (fleet.link === "lost") return [`As it was at ${clock(fleet.since)}`, ""];
  if (!fleet.connected) return [fleet.unheardSince ? `As it was at ${clock(fleet.unheardSince)}` : "Nothing is heard", "bad"];
  if (!overview.workers && !overview.models) return ["No worker was heard yet. `make start WORKER=echo` starts one", ""];
  const down = overview.models - overview.models_online;
  if (down) return [`${count(down, "model")} of ${overview.models} ${down === 1 ? "takes" : "take"} no requests`, "bad"];
  if (overview.alerts) return [`${count(overview.alerts, "alert")} ${overview.alerts === 1 ? "needs" : "need"} attention`, "warn"];
  if (overview.workers_online < overview.workers) return [`${count(overview.workers - overview.workers_online, "worker")} out of rotation, all models are served`, "warn"];
  if (overview.pending_messages) return [`All models are served, ${count(overview.pending_messages, "request")} wait${overview.pending_messages === 1 ? "s" : ""}`, "good"];
  return ["All models are served, nobody waits", "good"];
}

function more(hidden) {
  const place = of("callouts");
  mark(place, "more", hidden > 0 ? `and ${count(hidden, "more alert")}` : "");
}
