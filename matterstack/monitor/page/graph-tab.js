// The tasks of a run as a graph.

import { count, cut, h, label, number, setText, svg } from "./dom.js";
import { TASK_STATES } from "./states.js";
import { graphOf } from "./layers.js";
import { countsText } from "./parts.js";

/** @typedef {import("./layers.js").GraphNode & {x: number, y: number}} DrawnNode */

const NODE = { width: 150, height: 34, acrossGap: 46, downGap: 10 };
const MOST_EDGES = 3000;
const STEP = 1.3;

export class GraphTab {
  /** @type {import("./run-tasks.js").RunTasks | null} */
  #known = null;
  #shape = -1;
  /** @type {DrawnNode[][]} */
  #layers = [];
  #zoom = 1;
  #open;
  /** @type {Map<DrawnNode, SVGGElement>} */
  #shown = new Map();
  /** @type {DrawnNode | null} */
  #active = null;
  #width = 0;
  #height = 0;
  #words = h("p", { class: "small" });
  #frame = h("div", { class: "graph-frame", tabindex: "-1" });
  /** @type {SVGSVGElement | null} */
  #drawing = null;

  /** @param {(node: DrawnNode) => void} open is called with a node that was chosen. */
  constructor(open) {
    this.#open = open;
    /**
     * @param {string} text
     * @param {string} label
     * @param {() => void} click
     */
    const button = (text, label, click) => h("button", { type: "button", class: "plain", "aria-label": label, click }, text);
    this.element = h(
      "div",
      { class: "graph-tab" },
      h(
        "div",
        { class: "filters" },
        button("−", "Smaller", () => this.#scale(this.#zoom / STEP)),
        button("+", "Larger", () => this.#scale(this.#zoom * STEP)),
        button("Fit", "Fit into the frame", () => this.#fit()),
        this.#words,
      ),
      this.#frame,
    );
    this.#frame.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** @param {import("./run-tasks.js").RunTasks} runTasks */
  update(runTasks) {
    if (runTasks !== this.#known) this.#shape = -1;
    this.#known = runTasks;
  }

  draw() {
    if (!this.#known || !this.element.isConnected) return;
    if (this.#shape !== this.#known.shape) this.#drawShape(this.#known);
    for (const [node, element] of this.#shown) paint(node, element);
  }

  /** @param {import("./run-tasks.js").RunTasks} known */
  #drawShape(known) {
    this.#shape = known.shape;
    const { edges, columns, rows, layers, ...graph } = graphOf(known);
    const nodes = graph.nodes.map((node) => placedIn(node, rows, layers));
    this.#layers = /** @type {DrawnNode[][]} */ (layers);
    const isGrouped = nodes.length < known.tasks.length;
    setText(
      this.#words,
      nodes.length
        ? `${count(known.tasks.length, "task")} in ${count(columns, "layer")}` +
            (isGrouped ? `; tasks that are alike are one box (${number(nodes.length)}): open it to see its tasks` : "")
        : "Nothing is planned yet.",
    );
    this.#width = columns * (NODE.width + NODE.acrossGap) + NODE.acrossGap / 2;
    this.#height = rows * (NODE.height + NODE.downGap) + NODE.downGap;
    this.#active = nodes.find((node) => node.key === this.#active?.key) ?? nodes[0] ?? null;
    this.#shown = new Map(nodes.map((node) => [node, this.#nodeElement(node)]));
    this.#drawing = svg(
      "svg",
      { viewBox: `0 0 ${this.#width} ${this.#height}`, role: "group", "aria-label": "Graph of the tasks" },
      svg("g", { class: "edges", "aria-hidden": "true" }, edges.slice(0, MOST_EDGES).map((edge) => edgeElement(/** @type {any} */ (edge)))),
      svg("g", {}, [...this.#shown.values()]),
    );
    this.#frame.replaceChildren(this.#drawing);
    this.#fit(true);
  }

  /** @param {DrawnNode} node */
  #nodeElement(node) {
    const element = svg(
      "g",
      { role: "button", tabindex: node === this.#active ? 0 : -1, transform: `translate(${node.x} ${node.y})`, click: () => this.#open(node) },
      svg("title"),
      svg("rect", { width: NODE.width, height: NODE.height, rx: 6 }),
      svg("text", { x: 10, y: node.tasks.length > 1 ? 15 : 21 }, cut(node.name, 21)),
    );
    if (node.tasks.length > 1) {
      element.append(svg("text", { x: 10, y: 29, class: "counts" }));
      element.append(...TASK_STATES.map((state) => svg("rect", { class: `fill s-${state}`, y: NODE.height - 3, height: 3 })));
    }
    element.addEventListener("focus", () => this.#activate(node, false));
    return element;
  }

  /** @param {DrawnNode | undefined} node */
  #activate(node, isToFocus = true) {
    const element = node && this.#shown.get(node);
    if (!element) return;
    if (this.#active) this.#shown.get(this.#active)?.setAttribute("tabindex", "-1");
    this.#active = node;
    element.setAttribute("tabindex", "0");
    if (isToFocus) {
      element.focus();
      element.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const node = this.#active;
    const element = /** @type {Element} */ (event.target);
    if (!node || event.ctrlKey || event.altKey || event.metaKey || element.getAttribute("role") !== "button") return;
    const layers = this.#layers;
    /** @param {DrawnNode[] | undefined} column */
    const near = (column) => column?.[Math.min(node.row, column.length - 1)];
    /** @param {Set<import("./layers.js").GraphNode>} others */
    const first = (others) => /** @type {DrawnNode | undefined} */ ([...others][0]);
    /** @type {Record<string, () => DrawnNode | undefined>} */
    const targets = {
      ArrowDown: () => layers[node.column][node.row + 1],
      ArrowUp: () => layers[node.column][node.row - 1],
      ArrowRight: () => first(node.after) ?? near(layers[node.column + 1]),
      ArrowLeft: () => first(node.before) ?? near(layers[node.column - 1]),
      Home: () => layers[0][0],
      End: () => layers.at(-1)?.[0],
    };
    if (targets[event.key]) {
      event.preventDefault();
      this.#activate(targets[event.key]());
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#open(node);
    }
  }

  /** @param {number} zoom */
  #scale(zoom) {
    this.#zoom = Math.min(Math.max(zoom, 0.05), 4);
    this.#drawing?.setAttribute("width", String(this.#width * this.#zoom));
    this.#drawing?.setAttribute("height", String(this.#height * this.#zoom));
  }

  /** All of it at once; `isReadable`: no smaller than can be read, the rest is a matter of scrolling. */
  #fit(isReadable = false) {
    const { clientWidth, clientHeight } = this.#frame;
    if (!clientWidth || !this.#width) return;
    const across = (clientWidth - 4) / this.#width;
    const down = Math.max(clientHeight, 300) / this.#height;
    this.#scale(isReadable ? Math.min(1.1, Math.max(0.8, across)) : Math.min(1.2, across, down));
  }
}

/**
 * Give a node its place in the drawing.
 *
 * @param {import("./layers.js").GraphNode} node
 * @param {number} rows of the longest column.
 * @param {import("./layers.js").GraphNode[][]} layers
 */
function placedIn(node, rows, layers) {
  return Object.assign(node, {
    x: NODE.acrossGap / 2 + node.column * (NODE.width + NODE.acrossGap),
    y: NODE.downGap + (node.row + (rows - layers[node.column].length) / 2) * (NODE.height + NODE.downGap),
  });
}

/** @param {{from: DrawnNode, to: DrawnNode}} edge */
function edgeElement({ from, to }) {
  const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x2, y2] = [to.x, to.y + NODE.height / 2];
  const middle = (x1 + x2) / 2;
  return svg("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` });
}

/**
 * @param {DrawnNode} node
 * @param {SVGGElement} element
 */
function paint(node, element) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const task of node.tasks) counts[task.status] = (counts[task.status] ?? 0) + 1;
  const words = node.tasks.length > 1 ? `${count(node.tasks.length, "task")}: ${countsText(counts)}` : node.tasks[0].status;
  if (element.dataset.words === words) return;
  element.dataset.words = words;
  label(element, `${node.name}, ${words}`);
  element.setAttribute("class", `node s-${overall(counts)}`);
  setText(part(element, "title"), `${node.name}\n${words}`);
  if (node.tasks.length === 1) return;
  const ended = node.tasks.length - (counts.WAITING ?? 0) - (counts.READY ?? 0) - (counts.ACTIVE ?? 0);
  setText(part(element, ".counts"), `${number(ended)} of ${number(node.tasks.length)} ended`);
  let x = 0;
  for (const state of ["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED", "ACTIVE", "READY", "WAITING"]) {
    const width = (NODE.width * (counts[state] ?? 0)) / node.tasks.length;
    const bar = part(element, `.fill.s-${state}`);
    bar.setAttribute("x", String(x));
    bar.setAttribute("width", String(width));
    x += width;
  }
}

/**
 * A part of a node's element that is always there.
 *
 * @param {Element} element
 * @param {string} selector
 */
const part = (element, selector) => /** @type {Element} */ (element.querySelector(selector));

/**
 * The state that says most of a group.
 *
 * @param {Record<string, number>} counts
 */
const overall = (counts) =>
  ["FAILED", "ACTIVE", "READY", "WAITING", "CANCELLED", "SKIPPED", "SUCCEEDED"].find((state) => counts[state]);
