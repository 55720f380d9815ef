// Which routes are there? The OpenAPI document of this server, to read, to search and to try.

import { get, sentence } from "./ask.js";
import { headers, key, remember } from "./key.js";
import { example, fields, resolved, type } from "./schema.js";
import { copied, inline } from "./text.js";

const $ = (id) => document.getElementById(id);
const METHODS = ["get", "post", "put", "patch", "delete"];
const SHOWN = 200_000; // characters of an answer
let routes = [];

function made(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

function worded(text) {
  const element = made("span", "note");
  inline(element, text ?? "");
  return element;
}

function button(text, classes, act) {
  const element = made("button", classes, text);
  element.type = "button";
  element.addEventListener("click", () => act(element));
  return element;
}

function show(document_) {
  const all = document_.components?.schemas ?? {};
  $("about").textContent = `${document_.info.description} Version ${document_.info.version}.`;
  const groups = new Map();
  const also = {};
  for (const [path, item] of Object.entries(document_.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const operation = item[method];
      const same = operation["x-same-as"];
      if (same) {
        (also[same] ??= []).push(path);
        continue;
      }
      const group = operation.tags?.[0] ?? "Others";
      groups.set(group, [...(groups.get(group) ?? []), { path, method, operation }]);
    }
  }
  for (const [group, found] of groups) {
    const heading = made("h2", "", group);
    const short = made("h2", "", group);
    $("routes").append(heading);
    $("contents").append(short);
    const shown = found.map((one) => put({ ...one, also: also[one.operation.operationId] ?? [] }, all));
    routes.push({ headings: [heading, short], shown });
  }
}

function put({ path, method, operation, also }, all) {
  const id = operation.operationId;
  const link = made("a");
  link.href = `#${id}`;
  link.append(made("span", `method ${method}`, method.toUpperCase()), path);
  const box = made("details", "route");
  box.id = id;
  const head = made("summary");
  head.append(made("span", `method ${method}`, method.toUpperCase()), made("code", "", path), worded(operation.summary));
  if (!operation.security?.length) head.append(made("span", "badge", "no key needed"));
  box.append(head);
  const fill = () => box.open && box.childElementCount === 1 && box.append(inside({ path, method, operation, also }, all));
  box.addEventListener("toggle", fill);
  link.addEventListener("click", () => {
    box.open = true;
  });
  $("routes").append(box);
  $("contents").append(link);
  return { text: `${method} ${path} ${also.join(" ")} ${operation.summary ?? ""}`.toLowerCase(), elements: [box, link] };
}

function inside({ path, method, operation, also }, all) {
  const found = made("div", "inside");
  const body = operation.requestBody?.content?.["application/json"];
  if (also.length) found.append(made("p", "note", `Also at ${also.join(", ")}.`));
  if (operation.parameters?.length) found.append(part("Parameters", parameters(operation.parameters, all)));
  if (body) found.append(part("Body", schemaOf(body.schema, all)));
  found.append(part("Answers", answers(operation.responses, all)));
  found.append(trial({ path, method, operation }, body, all));
  return found;
}

function part(title, element) {
  const found = made("section");
  found.append(made("h3", "", title), element);
  return found;
}

function schemaOf(schema, all) {
  const of = resolved(schema, all);
  const objects = of.anyOf ? of.anyOf.map((one) => resolved(one, all)).filter((one) => one.properties) : of.properties ? [of] : [];
  if (!objects.length) return made("p", "note", type(schema, all));
  const found = made("div");
  objects.forEach((one, at) => {
    if (at) found.append(made("p", "note", "or"));
    found.append(fields(one, all));
  });
  return found;
}

function parameters(list, all) {
  const found = made("ul", "fields");
  for (const one of list) {
    const item = made("li");
    item.append(made("code", "", one.name), made("span", "type", `${type(one.schema, all)}, in the ${one.in}`));
    if (one.required) item.append(made("span", "must", "required"));
    if (one.description) {
      const note = made("p", "note");
      inline(note, one.description);
      item.append(note);
    }
    found.append(item);
  }
  return found;
}

function answers(responses, all) {
  const found = made("dl", "answers");
  for (const [status, one] of Object.entries(responses)) {
    const detail = made("dd");
    inline(detail, one.description);
    for (const [media, content] of Object.entries(one.content ?? {})) {
      if (Number(status) >= 300) continue;
      if (media === "application/json") {
        const more = made("details");
        more.append(made("summary", "note", `JSON: ${type(content.schema, all)}`), schemaOf(content.schema, all));
        detail.append(more);
      } else detail.append(made("p", "note", media));
    }
    found.append(made("dt", "", status), detail);
  }
  return found;
}

function trial({ path, method, operation }, body, all) {
  const form = made("form", "try");
  const inputs = (operation.parameters ?? []).map((one) => field(form, `${operation.operationId}-${one.name}`, one.name, "input", one));
  let text = null;
  if (body) {
    text = field(form, `${operation.operationId}-body`, "Body", "textarea", {});
    text.className = "code";
    text.value = JSON.stringify(body.example ?? example(body.schema, all), null, 2);
    text.rows = Math.min(14, text.value.split("\n").length + 1);
  }
  const asked = () => ({ url: address(path, operation.parameters ?? [], inputs), body: text?.value });
  const result = made("pre");
  result.tabIndex = 0;
  result.hidden = true;
  const said = made("span", "note");
  said.setAttribute("role", "status");
  const row = made("div", "row");
  const go = made("button", "primary", "Send");
  let running = null;
  const halt = button("Stop", "", () => running?.abort());
  halt.hidden = true;
  row.append(go, halt, button("Copy as curl", "quiet", (self) => copied(self, curl(method, asked(), operation))), said);
  form.append(row, result);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    halt.hidden = false;
    go.disabled = true;
    await tried(method, asked(), running.signal, said, result);
    running = null;
    halt.hidden = true;
    go.disabled = false;
  });
  return form;
}

function field(form, id, name, tag, parameter) {
  const label = made("label", "", name);
  const control = made(tag);
  if (tag === "input") control.type = "text";
  control.id = label.htmlFor = id;
  control.required = Boolean(parameter.required);
  if (parameter.example) control.placeholder = parameter.example;
  control.spellcheck = false;
  form.append(label, control);
  return control;
}

function address(path, list, inputs) {
  let url = path.slice(1) || "./";
  const query = new URLSearchParams();
  list.forEach((one, at) => {
    const value = inputs[at].value;
    if (one.in === "path") url = url.replace(`{${one.name}}`, value.split("/").map(encodeURIComponent).join("/"));
    else if (value !== "") query.set(one.name, value);
  });
  return query.size ? `${url}?${query}` : url;
}

async function tried(method, { url, body }, signal, said, result) {
  const began = performance.now();
  said.textContent = "Asked…";
  result.hidden = false;
  result.textContent = "";
  try {
    const more = body === undefined ? {} : { "content-type": "application/json" };
    const response = await fetch(url, { method: method.toUpperCase(), headers: headers(more), body, signal });
    const status = `${response.status} ${response.statusText}`.trim();
    said.textContent = status;
    let text = "";
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    for (let read = await reader?.read(); read && !read.done && text.length < SHOWN; read = await reader.read()) {
      text += read.value;
      result.textContent = text;
    }
    reader?.cancel().catch(() => {});
    said.textContent = `${status}, ${Math.round(performance.now() - began)} ms${problem(response, text)}`;
    result.textContent = pretty(text) || "(nothing)";
  } catch (error) {
    said.textContent = error.name === "AbortError" ? "Stopped." : "The server cannot be reached.";
  }
}

function problem(response, text) {
  if (response.ok || response.status < 400) return "";
  try {
    return `: ${sentence(response.status, JSON.parse(text).error, Number(response.headers.get("retry-after-ms")))}`;
  } catch {
    return "";
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function curl(method, { url, body }, operation) {
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${new URL(url, location.href)}'`];
  if (operation.security?.length && key()) lines.push('  -H "authorization: Bearer $GOLEK_KEY"');
  if (body !== undefined) lines.push("  -H 'content-type: application/json'", `  -d '${body.replaceAll("'", String.raw`'\''`)}'`);
  return lines.join(" \\\n");
}

function search() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { headings, shown } of routes) {
    let any = false;
    for (const { text, elements } of shown) {
      const fits = words.every((word) => text.includes(word));
      any ||= fits;
      for (const element of elements) element.hidden = !fits;
    }
    for (const heading of headings) heading.hidden = !any;
  }
}

function follow() {
  const box = $(decodeURIComponent(location.hash.slice(1)));
  if (box?.classList.contains("route")) {
    box.open = true;
    box.scrollIntoView();
  }
}

$("key").value = key();
$("key").addEventListener("change", () => remember($("key").value.trim()));
$("search").addEventListener("input", search);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    $("search").focus();
  }
});
try {
  show(await get("openapi.json"));
  search(); // what was typed meanwhile
  follow();
} catch {
  $("about").textContent = "The document of this server could not be read.";
}
addEventListener("hashchange", follow);
