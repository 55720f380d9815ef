// How is a JSON schema shown to a person?

import { inline } from "./text.js";

const DEEP = 4;

function made(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

// The schema that `schema` refers to.
export function resolved(schema, all) {
  let found = schema;
  for (let step = 0; found?.$ref && step < 20; step++) found = all[found.$ref.split("/").at(-1)];
  return found ?? {};
}

// In a few words, which values there may be.
export function type(schema, all) {
  if (schema.$ref) {
    const to = resolved(schema, all);
    return to.type === "object" || !to.type ? schema.$ref.split("/").at(-1) : type(to, all);
  }
  if (schema.anyOf) return [...new Set(schema.anyOf.map((one) => type(one, all)))].join(" | ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `${schema.items ? type(schema.items, all) : "anything"}[]`;
  const limits = [];
  if (schema.minimum !== undefined) limits.push(`≥ ${schema.minimum}`);
  if (schema.maximum !== undefined) limits.push(`≤ ${schema.maximum}`);
  if (schema.maxLength !== undefined) limits.push(`at most ${schema.maxLength} characters`);
  return [schema.type ?? "anything", limits.length && `(${limits.join(", ")})`].filter(Boolean).join(" ");
}

// The objects that a value of `schema` may hold.
function inner(schema, all) {
  if (schema.anyOf) return schema.anyOf.flatMap((one) => inner(one, all));
  if (schema.type === "array") return schema.items ? inner(schema.items, all) : [];
  if (schema.$ref) return inner(resolved(schema, all), all);
  return schema.properties ? [schema] : [];
}

// The fields of an object, as a list.
export function fields(schema, all, depth = 0) {
  const list = made("ul", "fields");
  const required = new Set(schema.required ?? []);
  const names = Object.keys(schema.properties ?? {}).sort((a, b) => required.has(b) - required.has(a));
  for (const name of names) {
    const one = schema.properties[name];
    const item = made("li");
    item.append(made("code", "", name), made("span", "type", type(one, all)));
    if (required.has(name)) item.append(made("span", "must", "required"));
    if (one.description) inline(item.appendChild(made("p", "note")), one.description);
    if (depth < DEEP) {
      for (const each of inner(one, all)) {
        const more = made("details");
        more.append(made("summary", "", each.title ?? "its fields"));
        more.addEventListener("toggle", () => more.open && more.childElementCount === 1 && more.append(fields(each, all, depth + 1)));
        item.append(more);
      }
    }
    list.append(item);
  }
  return list;
}

// A body to start from.
export function example(schema, all) {
  const of = resolved(schema, all);
  const found = {};
  for (const name of of.required ?? []) found[name] = value(of.properties[name], all);
  return found;
}

function value(schema, all) {
  const of = resolved(schema, all);
  if ("default" in of) return of.default;
  if (of.enum) return of.enum[0];
  if (of.anyOf) return value(of.anyOf[0], all);
  if (of.type === "array") return of.items && of.minItems ? [value(of.items, all)] : [];
  if (of.type === "object" || of.properties) return example(of, all);
  return { string: "", integer: of.minimum ?? 0, number: of.minimum ?? 0, boolean: false }[of.type] ?? null;
}
