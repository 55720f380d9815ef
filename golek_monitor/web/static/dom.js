// How is an element made? Whatever a fleet says of itself is set as text, so that no name can become part of the page.

/**
 * An element with properties, attributes (`aria-…`, `data-…`, `role`), listeners (`onclick`) and children.
 * @param {string} tag its name, and after dots its classes: `span.note.wide`
 * @param {Record<string, unknown>} [given]
 * @param {...(Node|string|number|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function el(tag, given = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(given)) give(made, key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function give(made, key, value) {
  if (value === undefined || value === null) return;
  if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
  else if (key in made && !key.includes("-")) made[key] = value;
  else made.setAttribute(key, value);
}

/** Say `text` in `node`; tells whether that is new. Nothing is touched where it stands there already. */
export function say(node, text) {
  if (node.textContent === text) return false;
  node.textContent = text;
  return true;
}

/** Set `data-…` where it is another one: also the same value would have the browser look at all styles again. */
export function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

/** The element of the page with this id. */
export function of(id) {
  return document.getElementById(id);
}

/**
 * Keep one child of `into` for each of `rows`, in their order: made once by `make(row)`, then kept by `change(node, row)`.
 * @returns {void}
 */
export function keep(into, rows, key, make, change) {
  const names = rows.map((row) => String(key(row)));
  const known = new Map([...into.children].map((node) => [node.dataset.key, node]));
  const stay = new Set(names);
  for (const [name, node] of known) if (!stay.has(name)) node.remove();
  let at = into.firstElementChild;
  rows.forEach((row, place) => {
    let node = known.get(names[place]);
    if (!node) {
      node = make(row);
      node.dataset.key = names[place];
    }
    change(node, row);
    if (node === at) at = at.nextElementSibling;
    else into.insertBefore(node, at);
  });
}

/** Let `node` stand out for a moment: what it says is new. Not by an animation: of a hundred cells that costs half a core. */
export function freshen(node, ms = 700) {
  node.classList.add("fresh");
  const waiting = fresh.get(ms);
  if (waiting) return void waiting.push(node);
  const mine = [node];
  fresh.set(ms, mine);
  setTimeout(() => {
    fresh.delete(ms);
    for (const one of mine) one.classList.remove("fresh");
  }, ms);
}

const fresh = new Map();

/** Copy `text`, and say on the button for a moment whether that worked. */
export async function copy(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => (button.textContent = before), 1200);
}
