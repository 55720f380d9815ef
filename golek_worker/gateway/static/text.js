// How is a model's text shown? A little Markdown: paragraphs, headings, lists, bold, code. All of it is set as text, so
// that nothing a model writes can become part of the page.

const shown = new WeakMap();

// Show `text` in `into`, touching only the blocks that changed.
export function show(into, text) {
  const found = blocks(text);
  found.forEach((block, at) => {
    const now = into.children[at];
    if (now && shown.get(now) === block.source) return;
    const made = element(block);
    shown.set(made, block.source);
    if (now) now.replaceWith(made);
    else into.append(made);
  });
  while (into.children.length > found.length) into.lastChild.remove();
}

function blocks(text) {
  const found = [];
  let fence = null;
  let lines = [];
  const flush = () => {
    if (lines.length) found.push(kind(lines));
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = /^\s*(```+|~~~+)\s*([\w+#.-]*)/.exec(line);
    if (fence) {
      if (mark && mark[1].startsWith(fence.mark) && !mark[2]) {
        found.push(code(fence, true));
        fence = null;
      } else fence.lines.push(line);
    } else if (mark) {
      flush();
      fence = { mark: mark[1], language: mark[2], lines: [] };
    } else if (!line.trim()) flush();
    else {
      if (lines.length && isItem(line) !== isItem(lines.at(-1)) && !/^\s+/.test(line)) flush();
      lines.push(line);
      if (/^#{1,4} /.test(line)) flush();
    }
  }
  if (fence) found.push(code(fence, false));
  flush();
  return found;
}

function isItem(line) {
  return /^\s*([-*•]|\d+[.)]) /.test(line);
}

function code(fence, closed) {
  const text = fence.lines.join("\n");
  return { kind: "code", text, language: fence.language, source: `code ${closed} ${fence.language} ${text}` };
}

function kind(lines) {
  const source = lines.join("\n");
  const heading = /^(#{1,4}) (.*)$/.exec(lines[0]);
  if (heading) return { kind: "heading", text: heading[2], source };
  if (lines.every((line) => isItem(line) || /^\s+/.test(line))) return { kind: "list", lines, source: `list ${source}` };
  return { kind: "paragraph", text: source, source };
}

function element(block) {
  if (block.kind === "code") return codeBlock(block);
  if (block.kind === "list") return list(block.lines);
  const made = document.createElement(block.kind === "heading" ? "h3" : "p");
  inline(made, block.text);
  return made;
}

function codeBlock(block) {
  const around = document.createElement("div");
  around.className = "code-block";
  const head = document.createElement("div");
  head.className = "code-head";
  const language = document.createElement("span");
  language.textContent = block.language || "code";
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "quiet small";
  copy.textContent = "Copy";
  copy.addEventListener("click", () => copied(copy, block.text));
  head.append(language, copy);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.append(Object.assign(document.createElement("code"), { textContent: block.text }));
  around.append(head, pre);
  return around;
}

function list(lines) {
  const ordered = /^\s*\d/.test(lines[0]);
  const made = document.createElement(ordered ? "ol" : "ul");
  if (ordered) made.start = Number.parseInt(lines[0], 10) || 1;
  for (const line of lines) {
    const item = /^\s*(?:[-*•]|\d+[.)]) (.*)$/.exec(line);
    if (item || !made.lastChild) inline(made.appendChild(document.createElement("li")), item ? item[1] : line);
    else inline(made.lastChild, ` ${line.trim()}`);
  }
  return made;
}

// Put `text` into `into`, with its code and its bold letters.
export function inline(into, text) {
  for (const piece of text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)) {
    if (/^`.+`$/.test(piece)) into.append(Object.assign(document.createElement("code"), { textContent: piece.slice(1, -1) }));
    else if (/^\*\*.+\*\*$/.test(piece)) into.append(Object.assign(document.createElement("strong"), { textContent: piece.slice(2, -2) }));
    else if (piece) into.append(piece);
  }
}

// Copy `text`, and say so on the button for a moment.
export async function copied(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser does not allow it";
  }
  setTimeout(() => (button.textContent = before), 1200);
}
