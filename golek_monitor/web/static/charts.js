// How is a figure over time drawn? By uPlot, with a cursor that all charts of the page share.

import { el, mark, say } from "./dom.js";
import { duration, figure } from "./format.js";
import { history, range, ranges } from "./history.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";

const HEIGHT = 168;
/** Fewer steps without a figure are bridged. */
const GAP_STEPS = 3.5;
/** Steps of the time axis, in seconds. */
const STEPS = [10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const CURSORS = uPlot.sync("golek");
const still = new Set();

/** What is drawn of a model or of the fleet: a title, its unit, and the series. */
export const KINDS = [
  { title: "Throughput", unit: "tokens/s", write: figure, series: [["tokens_per_s", "tokens/s", "--series-1"], ["requests_per_s", "requests/s", "--series-2", "right"]] },
  { title: "Latency", unit: "ms", write: duration, series: [["response_ms", "response", "--series-1"], ["ttft_ms", "first token", "--series-2"]] },
  { title: "Queue", unit: "requests", write: figure, series: [["pending", "waiting", "--series-3"], ["active", "running", "--series-1"]] },
];

/** Charts of a model, or of the fleet without a name, in `into`; call `draw` of what comes back once a second. */
export function charts(into, model = "") {
  const made = KINDS.map((kind) => new Chart(kind, model));
  into.append(...made.map((one) => one.node));
  const draw = () => {
    const found = history(model, draw);
    if (found) for (const one of made) one.show(found);
  };
  return { draw, end: () => made.forEach((one) => one.end()) };
}

class Chart {
  constructor(kind, model) {
    this.kind = kind;
    this.plot = null;
    this.data = null;
    this.now = el("span.now");
    this.place = el("div.plot", { role: "img", "aria-label": `${kind.title} over time` });
    this.empty = el("p.none", {}, "No figures yet");
    this.node = el("figure.chart", { "data-model": model }, el("figcaption", {}, el("span.what", {}, kind.title), this.now), this.place, this.empty);
    this.sizes = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.sizes.observe(this.place);
    still.add(this);
  }

  show(found) {
    if (found === this.data) return;
    this.data = found;
    const lines = this.kind.series.map(([key]) => found.series[key] ?? found.at.map(() => null));
    const some = found.at.length > 1;
    this.empty.hidden = some;
    this.place.classList.toggle("hollow", !some);
    if (!some) return;
    const data = [found.at, ...lines];
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.options(), data, this.place);
    this.tell(lines);
  }

  /** The newest figures, in words: a picture says nothing to a screen reader. */
  tell(lines) {
    const parts = this.kind.series.map(([, label], at) => [label, this.kind.write(lines[at].findLast((one) => one !== null))]);
    this.now.replaceChildren(...parts.map(([label, value], at) => el("span.key", {}, el("i", { className: `dot ${this.kind.series[at][2].slice(2)}`, "aria-hidden": "true" }), `${label} `, el("b", {}, value))));
    const text = `${this.kind.title}, last ${range().name}: ${parts.map(([label, value]) => `${label} ${value}`).join(", ")}`;
    this.place.setAttribute("aria-label", text);
  }

  size() {
    return { width: Math.max(120, Math.floor(this.place.clientWidth)), height: HEIGHT };
  }

  options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = `11px ${colour("--sans")}`;
    const axis = { stroke: colour("--ink-soft"), font, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const write = this.kind.write;
    const right = this.kind.series.some((one) => one[3] === "right");
    return {
      ...this.size(),
      legend: { show: false },
      padding: [8, right ? 0 : 26, 0, 0],
      cursor: { sync: { key: CURSORS.key, setSeries: false }, points: { size: 6 }, drag: { x: false, y: false }, focus: { prox: -1 } },
      scales: { x: { time: true }, y: { range: roomy }, right: { range: roomy } },
      axes: [
        { ...axis, size: 26, space: 70, incrs: STEPS, values: (_, at) => at.map(time) },
        { ...axis, size: 54, space: 34, values: (_, at) => at.map((one) => write(one)) },
        ...(right ? [{ ...axis, scale: "right", side: 1, size: 40, space: 34, grid: { show: false }, values: (_, at) => at.map((one) => figure(one)) }] : []),
      ],
      series: [
        {},
        ...this.kind.series.map(([, label, name, scale], at) => ({
          label,
          scale: scale ?? "y",
          stroke: colour(name),
          width: 1.75,
          fill: at === 0 ? `${colour(name)}1f` : undefined,
          points: { show: false },
          gaps: large,
        })),
      ],
      hooks: { setCursor: [(plot) => this.hover(plot)], setLegend: [] },
    };
  }

  /** What stands under the cursor, in the caption; the newest figures without one. */
  hover(plot) {
    const at = plot.cursor.idx;
    const values = [...this.now.querySelectorAll("b")];
    const lines = plot.data.slice(1);
    values.forEach((node, line) => say(node, this.kind.write(at === null || at === undefined ? lines[line].findLast((one) => one !== null) : lines[line][at])));
    mark(this.node, "at", at === null || at === undefined ? "" : time(plot.data[0][at]));
  }

  again() {
    this.plot?.destroy();
    this.plot = null;
    const data = this.data;
    this.data = null;
    if (data) this.show(data);
  }

  end() {
    still.delete(this);
    this.sizes.disconnect();
    this.plot?.destroy();
  }
}

/** Gaps that are drawn: a second that no figure fell into is none. */
function large(plot, _series, _first, _last, gaps) {
  const [one, two] = plot.data[0];
  const step = plot.valToPos(two, "x", true) - plot.valToPos(one, "x", true);
  return gaps.filter(([from, to]) => to - from > GAP_STEPS * step);
}

/** From nothing to a bit above the highest, and never flat. */
function roomy(_plot, _low, high) {
  return [0, high > 0 ? high * 1.15 : 1];
}

function time(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", range().seconds > 600 ? { hour: "2-digit", minute: "2-digit" } : {});
}

/** Charts are painted, so other colours mean painting them again. */
new MutationObserver(() => {
  for (const one of still) one.again();
}).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });

ranges(() => {
  for (const one of still) one.data = null;
});

const PEN = "http://www.w3.org/2000/svg";

/** A line without axes, for a figure's tile. */
export function spark() {
  const line = document.createElementNS(PEN, "polyline");
  const node = document.createElementNS(PEN, "svg");
  node.setAttribute("class", "spark");
  node.setAttribute("viewBox", "0 0 100 24");
  node.setAttribute("preserveAspectRatio", "none");
  node.setAttribute("aria-hidden", "true");
  node.append(line);
  let drawn = null;
  const draw = (values) => {
    if (values === drawn || !values) return;
    drawn = values;
    const step = Math.max(1, Math.floor(values.length / 100));
    const seen = values.filter((one) => one !== null).filter((_, at) => at % step === 0);
    const top = Math.max(...seen, 1e-9);
    line.setAttribute("points", seen.map((one, at) => `${((at / Math.max(1, seen.length - 1)) * 100).toFixed(1)},${(22.5 - (one / top) * 20).toFixed(1)}`).join(" "));
  };
  return { node, draw };
}
