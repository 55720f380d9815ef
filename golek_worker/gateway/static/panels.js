// The panel at the side: which part of it is seen, and the JSON of the last request.

const $ = (id) => document.getElementById(id);
const NAMES = ["settings", "tools", "json"];
const SHOWN = 300; // chunks of a stream

export function open(name) {
  $("side").hidden = false;
  $("open-side").setAttribute("aria-expanded", "true");
  for (const each of NAMES) {
    $(`panel-${each}`).hidden = each !== name;
    $(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    $(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
}

export function close() {
  if ($("side").hidden) return;
  $("side").hidden = true;
  $("open-side").setAttribute("aria-expanded", "false");
  $("open-side").focus();
}

export function request(body) {
  $("json-request").textContent = JSON.stringify(body, null, 2);
  $("json-reply").textContent = "Nothing came yet.";
  $("json-head").textContent = "";
}

export function reply(answer, response) {
  const job = response?.headers.get("x-golek-job");
  $("json-head").textContent = response ? [response.status, job && `job ${job}`].filter(Boolean).join(" · ") : "";
  if (!answer.raw.length) return;
  if (answer.raw.length === 1) $("json-reply").textContent = JSON.stringify(answer.raw[0], null, 2);
  else {
    const more = answer.raw.length - SHOWN;
    const lines = answer.raw.slice(0, SHOWN).map((chunk) => JSON.stringify(chunk));
    $("json-reply").textContent = `${lines.join("\n\n")}${more > 0 ? `\n… and ${more} more` : ""}`;
  }
}

export function begin() {
  $("open-side").addEventListener("click", () => ($("side").hidden ? open("settings") : close()));
  $("close-side").addEventListener("click", close);
  NAMES.forEach((name, at) => {
    const tab = $(`tab-${name}`);
    tab.addEventListener("click", () => open(name));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = NAMES[(at + step + NAMES.length) % NAMES.length];
      open(next);
      $(`tab-${next}`).focus();
    });
  });
}
