// Where the nodes of a graph go: in layers, each after all that it depends on; many alike tasks as one node.

export const MOST_NODES = 300;

/** The layer of each task: the length of the longest way to it. */
function layersOf(fold) {
  const layer = new Map();
  const missing = new Map();
  const after = new Map();
  const ready = [];
  for (const task of fold.tasks) {
    const known = task.depends_on.filter((id) => fold.byId.has(id));
    missing.set(task.task_id, known.length);
    for (const id of known) after.set(id, [...(after.get(id) ?? []), task.task_id]);
    if (!known.length) ready.push(task.task_id);
  }
  for (const id of ready) layer.set(id, 0);
  for (let next = 0; next < ready.length; next += 1) {
    const id = ready[next];
    for (const dependent of after.get(id) ?? []) {
      layer.set(dependent, Math.max(layer.get(dependent) ?? 0, layer.get(id) + 1));
      missing.set(dependent, missing.get(dependent) - 1);
      if (missing.get(dependent) === 0) ready.push(dependent);
    }
  }
  return layer;
}

/** Nodes {key, name, layer, tasks}, and edges between them {from, to}; tasks that are alike share one where there are many. */
export function graphOf(fold) {
  const layer = layersOf(fold);
  const stem = (id) => id.replace(/\d+/g, "*");
  const namings = [
    (task) => [task.task_id, task.task_id],
    (task) => [`${task.iteration} ${layer.get(task.task_id)} ${stem(task.task_id)}`, stem(task.task_id)],
    (task) => [`${layer.get(task.task_id)} ${stem(task.task_id)}`, stem(task.task_id)],
    (task) => [`${layer.get(task.task_id)}`, `layer ${layer.get(task.task_id) + 1}`],
    (task) => [`${Math.floor(layer.get(task.task_id) / 50)}`, `layers from ${50 * Math.floor(layer.get(task.task_id) / 50) + 1} on`],
  ];
  for (const naming of namings) {
    const graph = grouped(fold, layer, naming);
    if (graph.nodes.length <= MOST_NODES || naming === namings.at(-1)) return graph;
  }
  return null;
}

function grouped(fold, layer, naming) {
  const nodes = new Map();
  const nodeOf = new Map();
  for (const task of fold.tasks) {
    const [key, name] = naming(task);
    if (!nodes.has(key)) nodes.set(key, { key, name, layer: layer.get(task.task_id) ?? 0, tasks: [], before: new Set(), after: new Set() });
    const node = nodes.get(key);
    node.tasks.push(task);
    nodeOf.set(task.task_id, node);
    if (nodes.size > MOST_NODES && naming.length === 1 && fold.tasks.length > 4 * MOST_NODES) {
      // Far too many: the next naming will do.
      return { nodes: { length: Infinity }, edges: [] };
    }
  }
  for (const node of nodes.values()) if (node.tasks.length === 1) node.name = node.tasks[0].task_id;
  const edges = new Map();
  for (const task of fold.tasks) {
    const to = nodeOf.get(task.task_id);
    for (const id of task.depends_on) {
      const from = nodeOf.get(id);
      if (!from || from === to) continue;
      edges.set(`${from.key}\n${to.key}`, { from, to });
      from.after.add(to);
      to.before.add(from);
    }
  }
  return placed([...nodes.values()], [...edges.values()]);
}

/** Give each node its place in its layer: near those that it depends on. */
function placed(nodes, edges) {
  const layers = [];
  // Layers of groups may leave numbers out.
  const numbers = [...new Set(nodes.map((node) => node.layer))].sort((a, b) => a - b);
  const position = new Map(numbers.map((number, index) => [number, index]));
  for (const node of nodes) {
    node.column = position.get(node.layer);
    layers[node.column] ??= [];
    node.row = layers[node.column].push(node) - 1;
  }
  const mean = (others) => [...others].reduce((sum, other) => sum + other.row, 0) / others.size;
  for (const side of ["before", "after", "before"]) {
    for (const column of side === "after" ? [...layers].reverse() : layers) {
      const wish = new Map(column.map((node) => [node, node[side].size ? mean(node[side]) : node.row]));
      column.sort((a, b) => wish.get(a) - wish.get(b));
      column.forEach((node, row) => (node.row = row));
    }
  }
  return { nodes, edges, columns: layers.length, rows: Math.max(0, ...layers.map((column) => column.length)), layers };
}
