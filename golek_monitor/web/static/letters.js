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
      const found = await get("api/dead-letters");
      const letters = Array.isArray(found) ? found : (found.letters ?? []);
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
  const retry = () => confirm({ title: `Run ${name} once more?`, text: `The job goes back to the queue of ${one.model}. It crashed its engine ${figure(one.crashes)} times; if it does so again, it comes back here, and other requests of that worker are run again too.`, word: "Retry", act: act("retry") });
  const drop = () => confirm({ title: `Drop ${name}?`, text: "The job and what is known of its end are thrown away. This cannot be taken back.", word: "Drop", danger: true, act: act("drop") });
  return el(
    "article.panel.letter", { "data-job": one.job_id },
    el("div.line", {}, el("h3", {}, name), el("span.note", {}, `${one.model}, ${moment(one.at)}, ${figure(one.crashes)} crashes, last on ${one.worker_id}`), el("span.grow"), el("button.small", { type: "button", onclick: retry }, "Retry"), el("button.small.danger", { type: "button", onclick: drop }, "Drop")),
    (one.log_tail ?? []).length ? el("details", {}, el("summary", {}, "The last lines of its engine"), el("pre", { tabIndex: 0 }, one.log_tail.join("\n"))) : null,
    one.replay ? el("p.note", {}, "On the machine: ", el("code", {}, one.replay)) : null,
    one.payload ? el("details", {}, el("summary", {}, "The request"), el("pre", { tabIndex: 0 }, one.payload)) : one.withheld ? el("p.note", {}, one.withheld) : null,
  );
}
