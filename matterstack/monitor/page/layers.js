// Where the nodes of a graph go: in layers, each after all that it depends on; many alike tasks as one node.

/**
 * @typedef {import("./documents.js").Task} Task
 * @typedef {{tasks: Task[], byId: Map<string, Task>}} Tasks
 * @typedef {object} GraphNode
 * @property {string} key
 * @property {string} name
 * @property {number} layer
 * @property {Task[]} tasks
 * @property {Set<GraphNode>} before
 * @property {Set<GraphNode>} after
 * @property {number} column
 * @property {number} row
 * @typedef {{from: GraphNode, to: GraphNode}} Edge
 * @typedef {{nodes: GraphNode[], edges: Edge[], columns: number, rows: number, layers: GraphNode[][]}} Graph
 * @typedef {(task: Task) => [key: string, name: string]} Naming
 */

export const MOST_NODES = 300;

/**
 * The layer of each task: the length of the longest way to it.
 *
 * @param {Tasks} runTasks
 */
function layersOf(runTasks) {
  /** @type {Map<string, number>} */
  const layer = new Map();
  /** @type {Map<string, number>} */
  const missing = new Map();
  /** @type {Map<string, string[]>} */
  const after = new Map();
  /** @type {string[]} */
  const ready = [];
  for (const task of runTasks.tasks) {
    const known = task.depends_on.filter((id) => runTasks.byId.has(id));
    missing.set(task.task_id, known.length);
    for (const id of known) after.set(id, [...(after.get(id) ?? []), task.task_id]);
    if (!known.length) ready.push(task.task_id);
  }
  for (const id of ready) layer.set(id, 0);
  for (const id of ready) {
    // It grows while it is gone through: each task follows when the last one that it depends on has a layer.
    for (const dependent of after.get(id) ?? []) {
      layer.set(dependent, Math.max(layer.get(dependent) ?? 0, (layer.get(id) ?? 0) + 1));
      const left = (missing.get(dependent) ?? 0) - 1;
      missing.set(dependent, left);
      if (left === 0) ready.push(dependent);
    }
  }
  return layer;
}

/**
 * Nodes {key, name, layer, tasks}, and edges between them {from, to}; tasks that are alike share one where there are many.
 *
 * @param {Tasks} runTasks
 * @returns {Graph}
 */
export function graphOf(runTasks) {
  const layers = layersOf(runTasks);
  /** @param {Task} task */
  const layer = (task) => layers.get(task.task_id) ?? 0;
  /** @param {Task} task */
  const stem = (task) => task.task_id.replace(/\d+/g, "*");
  /** @type {Naming[]} */
  const namings = [
    (task) => [task.task_id, task.task_id],
    (task) => [`${task.iteration} ${layer(task)} ${stem(task)}`, stem(task)],
    (task) => [`${layer(task)} ${stem(task)}`, stem(task)],
    (task) => [`${layer(task)}`, `layer ${layer(task) + 1}`],
    (task) => [`${Math.floor(layer(task) / 50)}`, `layers from ${50 * Math.floor(layer(task) / 50) + 1} on`],
  ];
  for (const naming of namings) {
    const isLast = naming === namings.at(-1);
    const graph = grouped(runTasks, layer, naming, isLast ? Infinity : MOST_NODES);
    if (graph && (isLast || graph.nodes.length <= MOST_NODES)) return graph;
  }
  throw new Error("the last naming gives a graph of any size");
}

/**
 * Tasks with the same key as one node; null where there are far too many of them.
 *
 * @param {Tasks} runTasks
 * @param {(task: Task) => number} layer
 * @param {Naming} naming
 * @param {number} most
 */
function grouped(runTasks, layer, naming, most) {
  /** @type {Map<string, GraphNode>} */
  const nodes = new Map();
  /** @type {Map<string, GraphNode>} */
  const nodeOf = new Map();
  for (const task of runTasks.tasks) {
    const [key, name] = naming(task);
    let node = nodes.get(key);
    if (!node) {
      if (nodes.size >= most && runTasks.tasks.length > 4 * most) return null;
      node = { key, name, layer: layer(task), tasks: [], before: new Set(), after: new Set(), column: 0, row: 0 };
      nodes.set(key, node);
    }
    node.tasks.push(task);
    nodeOf.set(task.task_id, node);
  }
  for (const node of nodes.values()) if (node.tasks.length === 1) node.name = node.tasks[0].task_id;
  /** @type {Map<string, Edge>} */
  const edges = new Map();
  for (const task of runTasks.tasks) {
    const to = nodeOf.get(task.task_id);
    for (const id of task.depends_on) {
      const from = nodeOf.get(id);
      if (!from || !to || from === to) continue;
      edges.set(`${from.key}\n${to.key}`, { from, to });
      from.after.add(to);
      to.before.add(from);
    }
  }
  return placed([...nodes.values()], [...edges.values()]);
}

/**
 * Give each node its place in its layer: near those that it depends on.
 *
 * @param {GraphNode[]} nodes
 * @param {Edge[]} edges
 * @returns {Graph}
 */
function placed(nodes, edges) {
  /** @type {GraphNode[][]} */
  const layers = [];
  // Layers of groups may leave numbers out.
  const numbers = [...new Set(nodes.map((node) => node.layer))].sort((a, b) => a - b);
  const position = new Map(numbers.map((number, index) => [number, index]));
  for (const node of nodes) {
    node.column = position.get(node.layer) ?? 0;
    layers[node.column] ??= [];
    node.row = layers[node.column].push(node) - 1;
  }
  /** @param {Set<GraphNode>} others */
  const mean = (others) => [...others].reduce((sum, other) => sum + other.row, 0) / others.size;
  for (const side of /** @type {const} */ (["before", "after", "before"])) {
    for (const column of side === "after" ? [...layers].reverse() : layers) {
      const wish = new Map(column.map((node) => [node, node[side].size ? mean(node[side]) : node.row]));
      column.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
      column.forEach((node, row) => (node.row = row));
    }
  }
  return { nodes, edges, columns: layers.length, rows: Math.max(0, ...layers.map((column) => column.length)), layers };
}
