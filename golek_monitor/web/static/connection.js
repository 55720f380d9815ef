// Is what stands here true at this moment? The lamp says so, figures turn grey when not, and the tab's title counts alerts.

import { mark, of, say } from "./dom.js";
import { age, clock } from "./format.js";
import { draws, firing, fleet, hears } from "./store.js";

/** Older than this, the age of the last message is shown. */
const OLD_MS = 7000;
let known = null;

/** Begin to watch. */
export function begin() {
  hears(() => {
    title();
    announce();
    show();
  });
  draws(show);
}

function state() {
  if (fleet.link !== "live") return fleet.link;
  return fleet.connected ? "live" : "deaf";
}

function show() {
  const now = state();
  mark(document.body, "link", now);
  say(of("link-words"), words(now));
  const trouble = of("trouble");
  const text = now === "lost" ? `Connection to the monitor lost, trying again since ${clock(fleet.since)}.${known ? " The figures below are old." : ""}` : now === "deaf" ? unheard() : "";
  say(trouble, text);
  trouble.hidden = !text;
  if (fleet.monitorId) say(of("foot-monitor"), fleet.monitorId);
}

function unheard() {
  const where = fleet.broker ? ` at ${fleet.broker}` : "";
  const when = fleet.unheardSince ? ` since ${clock(fleet.unheardSince)}` : "";
  return `The monitor has not heard the bus${where}${when}. What stands here is as it was before; it goes on by itself when the bus is back.`;
}

function words(now) {
  if (now === "waiting") return "Connecting";
  if (now === "lost") return "Not connected";
  if (now === "deaf") return "Bus not heard";
  const old = performance.now() - fleet.heardAt;
  return old > OLD_MS ? `Live, last change ${age(old / 1000)} ago` : "Live";
}

function title() {
  const count = firing().length;
  const mark = state() === "live" ? (count ? `(${count}) ` : "") : state() === "waiting" ? "" : "(!) ";
  document.title = `${mark}Golek`;
  const badge = of("alert-count");
  say(badge, count ? String(count) : "");
  badge.hidden = !count;
  if (count) badge.setAttribute("aria-label", `${count} firing`);
}

/** Tell screen readers what began or ended since the last message, but not what they find on the page anyway. */
function announce() {
  if (fleet.link !== "live") return;
  const now = new Map(firing().map((one) => [one.id, one]));
  if (known) {
    const said = [
      ...[...now.values()].filter((one) => !known.has(one.id)).map((one) => `Alert: ${one.message}`),
      ...[...known.keys()].filter((id) => !now.has(id)).map((id) => `Resolved: ${fleet.alerts.get(id)?.message ?? id}`),
    ];
    if (said.length) of("announce").textContent = said.join(". ");
  }
  known = now;
}
