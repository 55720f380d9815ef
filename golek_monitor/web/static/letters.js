// Which jobs were given up, because they crashed their engine each time? One can be run once more, or thrown away.

import { get, named, post, Refused } from "./ask.js";
import { el, say } from "./dom.js";
import { figure, moment } from "./format.js";
import { confirm } from "./orders.js";

/** Begin to show them in `into`; call `ask` of what comes back to renew them. */
export function begin(into) {
  const note = el("p.note", { role: "status" });
  const list = el("div.stack", { id: "letter-list" });
  into.append(el("div.head.second", {}, el("h2", {}, "Dead letters"), note), list);
  let drawn = "";
  const ask = async () => {
    try {
      const letters = await get("api/dead-letters");
      const now = JSON.stringify(letters);
      if (now === drawn) return;
      drawn = now;
      say(note, letters.length ? figure(letters.length) : "");
      list.replaceChildren(...(letters.length ? letters.map((one) => letter(one, ask)) : [el("p.empty", {}, "None. A job that crashes its engine each time it runs is put here instead of crashing the next one, and is kept for seven days.")]));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      drawn = "";
      list.replaceChildren(el("p.empty", {}, error.status === 404 ? "This monitor does not read dead letters." : error.message));
    }
  };
  return { ask };
}

function letter(one, again) {
  const name = one.req_id || one.job_id;
  const act = (what) => async () => {
    await post(`api/dead-letters/${named(one.job_id)}/${what}`);
    void again();
    return what === "retry" ? "It waits in its model's queue again." : "It is gone.";
  };
  const retry = () => confirm({ title: `Run ${name} once more?`, text: `The job goes back to the queue of ${one.model_name}. It crashed its engine ${figure(one.crashes)} times; if it does so again, it comes back here, and other requests of that worker are run again too.`, word: "Retry", act: act("retry") });
  const drop = () => confirm({ title: `Drop ${name}?`, text: "The job and what is known of its end are thrown away. This cannot be taken back.", word: "Drop", danger: true, act: act("drop") });
  const more = el("details", { ontoggle: () => more.open && void tell(one, more.lastChild) }, el("summary", {}, "What its engine said"), el("div.stack"));
  return el(
    "article.panel.letter", { "data-job": one.job_id },
    el("div.line", {}, el("h3", {}, name), el("span.note", {}, `${one.model_name}, ${moment(one.at)}, ${figure(one.crashes)} crashes, last on ${one.worker_id}`), el("span.grow"), one.can_retry ? el("button.small", { type: "button", onclick: retry }, "Retry") : null, el("button.small.danger", { type: "button", onclick: drop }, "Drop")),
    one.can_retry ? null : el("p.note", {}, `It cannot be run again: ${one.withheld || "its request was not kept."}`),
    more,
  );
}

async function tell(one, into) {
  try {
    const found = await get(`api/dead-letters/${named(one.job_id)}`);
    into.replaceChildren(el("pre", { tabIndex: 0, "aria-label": "The last lines of its engine" }, found.log_tail.join("\n") || "It said nothing."), ...(found.payload ? [el("h3", {}, "The request"), el("pre", { tabIndex: 0, "aria-label": "The request" }, found.payload)] : []));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    into.replaceChildren(el("p.note", {}, error.message));
  }
}
