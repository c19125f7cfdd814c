// The tasks of a run as a graph.

import { count, cut, h, number, setText, svg } from "./dom.js";
import { TASK_STATES } from "./fold.js";
import { graphOf } from "./layers.js";
import { countsText } from "./parts.js";

const NODE = { width: 150, height: 34, acrossGap: 46, downGap: 10 };
const MOST_EDGES = 3000;
const STEP = 1.3;

export class GraphTab {
  #fold = null;
  #shape = -1;
  #graph = null;
  #zoom = 1;
  #open;
  #shown = new Map();
  #active = null;
  #words = h("p", { class: "small" });
  #frame = h("div", { class: "graph-frame", tabindex: "-1" });
  #drawing = null;

  /** @param open is called with a node {name, tasks}. */
  constructor(open) {
    this.#open = open;
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

  update(fold) {
    if (fold !== this.#fold) this.#shape = -1;
    this.#fold = fold;
  }

  draw() {
    if (!this.#fold || !this.element.isConnected) return;
    if (this.#shape !== this.#fold.shape) this.#drawShape();
    for (const [node, element] of this.#shown) paint(node, element);
  }

  #drawShape() {
    this.#shape = this.#fold.shape;
    this.#graph = graphOf(this.#fold);
    const { nodes, edges, columns, rows } = this.#graph;
    const isGrouped = nodes.length < this.#fold.tasks.length;
    setText(
      this.#words,
      nodes.length
        ? `${count(this.#fold.tasks.length, "task")} in ${count(columns, "layer")}` +
            (isGrouped ? `; tasks that are alike are one box (${number(nodes.length)}): open it to see its tasks` : "")
        : "Nothing is planned yet.",
    );
    this.width = columns * (NODE.width + NODE.acrossGap) + NODE.acrossGap / 2;
    this.height = rows * (NODE.height + NODE.downGap) + NODE.downGap;
    for (const node of nodes) {
      node.x = NODE.acrossGap / 2 + node.column * (NODE.width + NODE.acrossGap);
      const inColumn = this.#graph.layers[node.column].length;
      node.y = NODE.downGap + (node.row + (rows - inColumn) / 2) * (NODE.height + NODE.downGap);
    }
    this.#active = nodes.find((node) => node.key === this.#active?.key) ?? nodes[0] ?? null;
    this.#shown = new Map(nodes.map((node) => [node, this.#nodeElement(node)]));
    this.#drawing = svg(
      "svg",
      { viewBox: `0 0 ${this.width} ${this.height}`, role: "group", "aria-label": "Graph of the tasks" },
      svg("g", { class: "edges", "aria-hidden": "true" }, edges.slice(0, MOST_EDGES).map(edgeElement)),
      svg("g", {}, [...this.#shown.values()]),
    );
    this.#frame.replaceChildren(this.#drawing);
    this.#fit(true);
  }

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

  #activate(node, isToFocus = true) {
    if (!node) return;
    this.#shown.get(this.#active)?.setAttribute("tabindex", -1);
    this.#active = node;
    const element = this.#shown.get(node);
    element.setAttribute("tabindex", 0);
    if (isToFocus) {
      element.focus();
      element.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  #onKey(event) {
    const node = this.#active;
    if (!node || event.ctrlKey || event.altKey || event.metaKey || event.target.getAttribute("role") !== "button") return;
    const { layers } = this.#graph;
    const near = (column) => column?.[Math.min(node.row, column.length - 1)];
    const first = (others) => [...others][0];
    const targets = {
      ArrowDown: () => layers[node.column][node.row + 1],
      ArrowUp: () => layers[node.column][node.row - 1],
      ArrowRight: () => first(node.after) ?? near(layers[node.column + 1]),
      ArrowLeft: () => first(node.before) ?? near(layers[node.column - 1]),
      Home: () => layers[0][0],
      End: () => layers.at(-1)[0],
    };
    if (targets[event.key]) {
      event.preventDefault();
      this.#activate(targets[event.key]());
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#open(node);
    }
  }

  #scale(zoom) {
    this.#zoom = Math.min(Math.max(zoom, 0.05), 4);
    this.#drawing?.setAttribute("width", this.width * this.#zoom);
    this.#drawing?.setAttribute("height", this.height * this.#zoom);
  }

  /** All of it at once; `isReadable`: no smaller than can be read, the rest is a matter of scrolling. */
  #fit(isReadable = false) {
    const { clientWidth, clientHeight } = this.#frame;
    if (!clientWidth || !this.width) return;
    const across = (clientWidth - 4) / this.width;
    const down = Math.max(clientHeight, 300) / this.height;
    this.#scale(isReadable ? Math.min(1.1, Math.max(0.8, across)) : Math.min(1.2, across, down));
  }
}

function edgeElement({ from, to }) {
  const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x2, y2] = [to.x, to.y + NODE.height / 2];
  const middle = (x1 + x2) / 2;
  return svg("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` });
}

function paint(node, element) {
  const counts = {};
  for (const task of node.tasks) counts[task.status] = (counts[task.status] ?? 0) + 1;
  const words = node.tasks.length > 1 ? `${count(node.tasks.length, "task")}: ${countsText(counts)}` : node.tasks[0].status;
  if (element.dataset.words === words) return;
  element.dataset.words = words;
  element.setAttribute("aria-label", `${node.name}, ${words}`);
  element.setAttribute("class", `node s-${overall(counts)}`);
  element.querySelector("title").textContent = `${node.name}\n${words}`;
  if (node.tasks.length === 1) return;
  const ended = node.tasks.length - (counts.WAITING ?? 0) - (counts.READY ?? 0) - (counts.ACTIVE ?? 0);
  element.querySelector(".counts").textContent = `${number(ended)} of ${number(node.tasks.length)} ended`;
  let x = 0;
  for (const state of ["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED", "ACTIVE", "READY", "WAITING"]) {
    const width = (NODE.width * (counts[state] ?? 0)) / node.tasks.length;
    const part = element.querySelector(`.fill.s-${state}`);
    part.setAttribute("x", x);
    part.setAttribute("width", width);
    x += width;
  }
}

/** The state that says most of a group. */
const overall = (counts) =>
  ["FAILED", "ACTIVE", "READY", "WAITING", "CANCELLED", "SKIPPED", "SUCCEEDED"].find((state) => counts[state]);
