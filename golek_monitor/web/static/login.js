// Who may look? Where the monitor wants a key, it is asked for once; the browser keeps a cookie that no script reads.

import { LOGIN, post, Refused, wantsKey } from "./ask.js";
import { el } from "./dom.js";

let open = null;

/** Ask for a key as soon as the monitor wants one. */
export function begin() {
  wantsKey(key);
}

/** Resolves with whether a key was accepted. */
function key() {
  open ??= show().finally(() => (open = null));
  return open;
}

function show() {
  const field = el("input", { type: "password", id: "monitor-key", autocomplete: "current-password", required: true, "aria-describedby": "key-wrong" });
  const wrong = el("p.wrong", { id: "key-wrong", role: "alert" });
  const form = el(
    "form", { id: "login" }, el("img", { src: "static/icon.svg", alt: "", width: 40, height: 40 }), el("h2", { id: "login-title" }, "The monitor wants a key"),
    el("p.note", {}, "It is MONITOR_KEY of envs/monitor.env on the monitor's machine."), el("label", { htmlFor: "monitor-key" }, "Key"), field, wrong,
    el("div.buttons", {}, el("button.primary", { type: "submit" }, "Let me in")),
  );
  const box = el("dialog.question.login", { "aria-labelledby": "login-title" }, form);
  document.body.append(box);
  box.showModal();
  field.focus();
  return new Promise((resolve) => {
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue === "in");
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      try {
        await post(LOGIN, { key: field.value });
        box.close("in");
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        wrong.textContent = error.status === 401 ? "This is not the key." : error.message;
        field.select();
      }
    });
  });
}
