// What does the page begin with?

import * as alerts from "./alerts.js";
import * as connection from "./connection.js";
import { el, mark, of } from "./dom.js";
import * as fleet from "./fleet.js";
import { choose, range, RANGES, ranges } from "./history.js";
import * as keys from "./keys.js";
import * as login from "./login.js";
import * as matrix from "./matrix.js";
import * as models from "./models.js";
import * as overview from "./overview.js";
import * as queues from "./queues.js";
import * as requests from "./requests.js";
import { routes } from "./route.js";
import { ask } from "./store.js";
import { listen } from "./stream.js";
import * as worker from "./worker.js";

const NAMES = { fleet: "Fleet", models: "Models", capabilities: "Capabilities", alerts: "Alerts", requests: "Requests", queues: "Queues" };
let view = "";

/** Show the view of the address, and move to its beginning when it is another one. */
function show(route) {
  for (const name of Object.keys(NAMES)) of(`view-${name}`).hidden = name !== route.view;
  for (const link of of("views").querySelectorAll("a")) {
    if (link.dataset.view === route.view) {
      link.setAttribute("aria-current", "page");
      of("views").scrollLeft = link.offsetLeft - (of("views").clientWidth - link.offsetWidth) / 2;
    } else link.removeAttribute("aria-current");
  }
  if (view && view !== route.view) {
    scrollTo(0, 0);
    of("main").focus({ preventScroll: true });
  }
  view = route.view;
  ask();
}

/** On a phone the views have no room side by side: say on which sides there are more. */
function hint() {
  const { scrollLeft, scrollWidth, clientWidth } = of("views");
  mark(of("views"), "more", [scrollLeft > 2 && "left", scrollLeft + clientWidth < scrollWidth - 2 && "right"].filter(Boolean).join(" "));
}

/** The switch of what charts show. */
function switches() {
  for (const place of document.querySelectorAll("[data-ranges]")) {
    place.append(...RANGES.map((one) => el("button.small", { type: "button", "data-range": one.name, onclick: () => choose(one) }, one.name)));
  }
  const press = () => {
    for (const button of document.querySelectorAll("[data-range]")) button.setAttribute("aria-pressed", String(button.dataset.range === range().name));
  };
  ranges(() => {
    press();
    ask();
  });
  press();
}

of("skip").addEventListener("click", (event) => {
  event.preventDefault();
  of("main").focus();
});
of("views").addEventListener("scroll", hint);
new ResizeObserver(hint).observe(of("views"));
routes(show);
switches();
for (const part of [connection, overview, models, fleet, matrix, alerts, requests, queues, worker, keys, login]) part.begin();
void listen();
