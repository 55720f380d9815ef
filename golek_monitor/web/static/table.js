// How are many rows shown that change all the time? Only those in sight are in the page, and of them only cells that say
// something else are touched.

import { el, freshen, mark, say } from "./dom.js";

/** Rows above and below those in sight. */
const SPARE = 8;
/** Up to so many, all rows are in the page. */
const FEW = 60;
/** Rows trade places at most this often, so that one can be read. */
const RESORT_MS = 2000;
/** So long a row stands out whose state changed. */
const LOUD_MS = 3000;

/**
 * @typedef {object} Column
 * @property {string} key
 * @property {string} label
 * @property {(row: object) => string} text what the cell says; when it changes the cell is drawn again
 * @property {(row: object) => string|number|null|undefined} [value] what it is sorted by; `text` without it
 * @property {(row: object, text: string) => Node} [draw] how the cell looks; as its text without it
 * @property {boolean} [number] whether it stands at the right, and the highest come first
 * @property {boolean} [quiet] whether its changes are not shown
 * @property {boolean} [loud] whether the whole row stands out when it changes
 * @property {string} [title] what the column means, for its head
 */

/** A table of rows that are sorted, gone through by keys and opened. */
export class Table {
  /** @param {{name: string, caption: string, columns: Column[], id: (row: object) => string, open: (row: object) => void, sort?: string}} given */
  constructor(given) {
    this.given = given;
    this.rows = [];
    this.made = new Map();
    this.sorted = this.remembered();
    this.sortedAt = 0;
    this.current = "";
    this.space = [spacer(), spacer()];
    this.body = el("tbody", { role: "rowgroup" });
    this.heads = given.columns.map((column) => this.head(column));
    const caption = el("caption.unseen", {}, given.caption);
    const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row", "aria-rowindex": "1" }, ...this.heads));
    this.table = el("table.grid.folds", { role: "table", id: given.name }, caption, head, this.body);
    this.box = el("div.scroll", { tabIndex: 0, role: "region", "aria-label": `${given.caption}, scrolls` }, this.table);
    this.picker = this.sortPicker();
    this.none = el("p.empty", { hidden: true });
    this.node = el("div.table", {}, this.picker, this.box, this.none);
    this.box.addEventListener("keydown", (event) => this.press(event));
    document.addEventListener("scroll", () => this.window(), { capture: true, passive: true });
    addEventListener("resize", () => this.window());
    this.mark();
  }

  /** Show these rows; `none` is said where there are none. */
  show(rows, none = "") {
    const late = performance.now() - this.sortedAt > RESORT_MS;
    if (late || rows.length !== this.rows.length) this.order(rows);
    else {
      const byId = new Map(rows.map((row) => [this.given.id(row), row]));
      const kept = this.rows.map((row) => byId.get(this.given.id(row)));
      if (kept.includes(undefined)) this.order(rows);
      else this.rows = kept;
    }
    this.table.setAttribute("aria-rowcount", String(this.rows.length + 1));
    this.box.hidden = this.picker.hidden = !rows.length;
    this.none.hidden = rows.length > 0;
    say(this.none, none);
    this.window();
  }

  order(rows) {
    this.rows = ordered(rows, this.column(), this.sorted.down, this.given.id);
    this.sortedAt = performance.now();
  }

  column() {
    return this.given.columns.find((one) => one.key === this.sorted.key) ?? this.given.columns[0];
  }

  // -- what is in sight ------------------------------------------------------------------------------------------

  window() {
    if (!this.box.offsetParent) return;
    const [first, end] = this.sight();
    const shown = this.rows.slice(first, end);
    const ids = new Set(shown.map(this.given.id));
    for (const [id, row] of this.made) if (!ids.has(id)) this.drop(id, row);
    this.body.prepend(this.space[0]);
    let before = this.space[0];
    shown.forEach((row, at) => {
      const one = this.row(row, first + at);
      if (before.nextSibling !== one.node) before.after(one.node);
      before = one.node;
    });
    if (before.nextSibling !== this.space[1]) before.after(this.space[1]);
    const height = this.height();
    space(this.space[0], first * height);
    space(this.space[1], (this.rows.length - end) * height);
  }

  height() {
    const row = this.body.querySelector("tr.row");
    return row?.offsetHeight || 40;
  }

  sight() {
    if (this.rows.length <= FEW) return [0, this.rows.length];
    const height = this.height();
    const box = this.box.getBoundingClientRect();
    const top = Math.max(box.top, 0) - this.body.getBoundingClientRect().top;
    const seen = Math.max(0, Math.min(box.bottom, innerHeight) - Math.max(box.top, 0));
    const first = Math.max(0, Math.floor(top / height) - SPARE);
    return [Math.min(first, this.rows.length), Math.min(this.rows.length, first + Math.ceil(seen / height) + 2 * SPARE)];
  }

  drop(id, row) {
    if (row.node.contains(document.activeElement)) this.box.focus({ preventScroll: true });
    row.node.remove();
    this.made.delete(id);
  }

  // -- one row ---------------------------------------------------------------------------------------------------

  row(row, at) {
    const id = this.given.id(row);
    let one = this.made.get(id);
    if (!one) {
      one = this.make(row, id);
      this.made.set(id, one);
    }
    this.given.columns.forEach((column, place) => this.cell(one, column, place, row));
    one.fresh = false;
    if (one.at !== at) one.node.setAttribute("aria-rowindex", String(at + 2));
    one.at = at;
    if (this.given.state) mark(one.node, "state", this.given.state(row));
    return one;
  }

  make(row, id) {
    const cells = this.given.columns.map((column, place) =>
      el(place ? "td" : "th", { role: place ? "cell" : "rowheader", scope: place ? undefined : "row", className: column.number ? "number" : "", "data-label": column.label, "data-column": column.key }),
    );
    const node = el("tr.row", { role: "row", "data-id": id, onclick: (event) => event.target.closest("a, button:not(.opens)") || this.given.open(this.find(id) ?? row) }, ...cells);
    return { node, cells, texts: [], fresh: true, at: -1 };
  }

  find(id) {
    return this.rows.find((row) => this.given.id(row) === id);
  }

  cell(one, column, place, row) {
    const text = column.text(row);
    if (one.texts[place] === text) return;
    one.texts[place] = text;
    const cell = one.cells[place];
    if (!place) cell.replaceChildren(this.opener(row, text));
    else if (column.draw) cell.replaceChildren(column.draw(row, text));
    else cell.textContent = text;
    cell.title = text;
    if (one.fresh || column.quiet) return;
    if (column.loud) freshen(one.node, LOUD_MS);
    else freshen(cell);
  }

  opener(row, text) {
    const id = this.given.id(row);
    return el("button.opens", { type: "button", tabIndex: -1, onfocus: () => (this.current = id), "aria-haspopup": "dialog" }, text);
  }

  // -- order -----------------------------------------------------------------------------------------------------

  head(column) {
    const button = el("button", { type: "button", title: column.title ?? "", onclick: () => this.turn(column) }, column.label, el("span.arrow", { "aria-hidden": "true" }));
    return el("th", { scope: "col", role: "columnheader", className: column.number ? "number" : "", "data-column": column.key }, button);
  }

  turn(column, down) {
    const again = this.sorted.key === column.key;
    this.sorted = { key: column.key, down: down ?? (again ? !this.sorted.down : Boolean(column.number)) };
    sessionStorage.setItem(`golek.sort.${this.given.name}`, JSON.stringify(this.sorted));
    this.order(this.rows);
    this.mark();
    this.window();
  }

  remembered() {
    const first = { key: this.given.sort ?? this.given.columns[0].key, down: false };
    try {
      const found = JSON.parse(sessionStorage.getItem(`golek.sort.${this.given.name}`)) ?? first;
      return this.given.columns.some((one) => one.key === found.key) ? found : first;
    } catch {
      return first;
    }
  }

  mark() {
    this.given.columns.forEach((column, at) => {
      const mine = column.key === this.sorted.key;
      this.heads[at].setAttribute("aria-sort", mine ? (this.sorted.down ? "descending" : "ascending") : "none");
      say(this.heads[at].querySelector(".arrow"), mine ? (this.sorted.down ? "▾" : "▴") : "");
    });
    this.picker.querySelector("select").value = this.sorted.key;
  }

  /** Where rows are cards there is no head to press. */
  sortPicker() {
    const options = this.given.columns.map((one) => el("option", { value: one.key }, one.label));
    const select = el("select", { onchange: () => this.turn(this.given.columns.find((one) => one.key === select.value)) }, ...options);
    const around = el("button.small", { type: "button", "aria-label": "The other way round", onclick: () => this.turn(this.column()) }, "⇅");
    return el("div.sorting", {}, el("label", {}, "Sort by ", select), around);
  }

  // -- keys ------------------------------------------------------------------------------------------------------

  press(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || event.target.closest("thead") || !this.rows.length) return;
    event.preventDefault();
    const at = this.rows.findIndex((row) => this.given.id(row) === this.current);
    const next = at < 0 ? 0 : Math.min(this.rows.length - 1, Math.max(0, at + step));
    this.reach(next);
  }

  /** Go to the row at this place, wherever it is. */
  reach(at) {
    const id = this.given.id(this.rows[at]);
    this.current = id;
    if (!this.made.has(id)) {
      this.box.scrollTop = Math.max(0, at * this.height() - this.box.clientHeight / 2);
      this.window();
    }
    const row = this.made.get(id);
    row?.node.scrollIntoView({ block: "nearest" });
    row?.node.querySelector("button.opens").focus({ preventScroll: true });
  }
}

/** Rows by a column; what is not known comes last, equals by their id. */
export function ordered(rows, column, down, id) {
  const value = column.value ?? column.text;
  const sign = down ? -1 : 1;
  return rows
    .map((row) => [value(row), id(row), row])
    .sort(([a, first], [b, second]) => {
      const known = Number(unknown(a)) - Number(unknown(b));
      return known || (unknown(a) ? 0 : sign * compare(a, b)) || compare(first, second);
    })
    .map(([, , row]) => row);
}

function unknown(value) {
  return value === null || value === undefined || value === "";
}

const words = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  return typeof a === "string" ? words.compare(a, b) : a - b;
}

function spacer() {
  return el("tr.space", { "aria-hidden": "true", role: "presentation" }, el("td", { role: "presentation" }));
}

function space(row, height) {
  const text = `${Math.max(0, height)}px`;
  if (row.firstChild.style.height !== text) row.firstChild.style.height = text;
}
