// The tasks of a run, in a table.

import { count, h, label, number, setText } from "./dom.js";
import { TASK_STATES } from "./states.js";
import { badge } from "./parts.js";
import { timeElement } from "./times.js";
import { WindowedGrid } from "./windowed.js";

/**
 * @typedef {import("./documents.js").Task} Task
 * @typedef {{name: string, ids: Set<string>}} Group
 */

export class TasksTab {
  /** @type {import("./run-tasks.js").RunTasks | null} */
  #known = null;
  /** @type {Group | null} */
  #only = null;
  #search = h("input", { type: "search", id: "search", placeholder: "id or reason", input: () => this.draw() });
  #status = h(
    "select",
    { id: "status", change: () => this.draw() },
    h("option", { value: "" }, "any state"),
    TASK_STATES.map((state) => h("option", { value: state }, state)),
  );
  #found = h("span", { class: "small found" });
  #group = h("button", { type: "button", class: "plain", hidden: true, click: () => this.showOnly(null) });
  #grid;

  /** @param {(taskId: string) => void} openTask */
  constructor(openTask) {
    /** @type {WindowedGrid<Task>} */
    this.#grid = new WindowedGrid({
      kind: "tasks",
      label: "Tasks",
      columns: ["Task", "State", "Tries", "Job", "Changed", "Reason"],
      rowHeights: { wide: 34, narrow: 64 },
      key: (task) => task.task_id,
      version: (task) => task.version,
      cells: cellsOf,
      onOpen: (task) => openTask(task.task_id),
      whenEmpty: "No tasks.",
    });
    this.element = h(
      "div",
      { class: "tasks-tab" },
      h(
        "div",
        { class: "filters", role: "search" },
        h("label", { for: "search" }, "Find"),
        this.#search,
        h("label", { for: "status" }, "State"),
        this.#status,
        this.#group,
        this.#found,
      ),
      this.#grid.element,
    );
  }

  /**
   * Show the tasks of a group of the graph alone; null: all of them.
   *
   * @param {Group | null} group
   */
  showOnly(group) {
    this.#only = group;
    this.#group.hidden = group === null;
    setText(this.#group, group ? `Only ${group.name} ✕` : "");
    label(this.#group, group ? `Showing only ${group.name}; show all tasks` : "");
    this.draw();
  }

  /** @param {import("./run-tasks.js").RunTasks} runTasks */
  update(runTasks) {
    this.#known = runTasks;
  }

  draw() {
    if (!this.#known) return;
    const { tasks } = this.#known;
    const words = this.#search.value.trim().toLowerCase();
    const state = this.#status.value;
    const isPlain = !words && !state && !this.#only;
    const shown = isPlain
      ? tasks
      : tasks.filter(
          (task) =>
            (!state || task.status === state) &&
            (!this.#only || this.#only.ids.has(task.task_id)) &&
            (!words || task.task_id.toLowerCase().includes(words) || task.reason.toLowerCase().includes(words)),
        );
    setText(this.#found, isPlain ? count(tasks.length, "task") : `${number(shown.length)} of ${count(tasks.length, "task")}`);
    this.#grid.setRows(shown);
  }

  /** @param {string | null} taskId */
  select(taskId) {
    this.#grid.select(taskId);
  }

  focusSearch() {
    this.#search.focus();
  }

  focusGrid() {
    this.#grid.focus();
  }
}

/** @param {Task} task */
function cellsOf(task) {
  const attempt = task.attempts.at(-1);
  const job = attempt ? [attempt.backend, attempt.job_id, attempt.state].filter(Boolean).join(" ") : task.operator === "compute" ? "" : task.operator;
  const reason = task.reason || attempt?.reason || "";
  return [
    h("span", { class: "task-id", title: task.task_id }, task.task_id),
    badge(task.status),
    h("span", { class: "small" }, task.attempts.length ? number(task.attempts.length) : ""),
    h("span", { class: "small", title: job }, job),
    h("span", { class: "small" }, timeElement(attempt?.ended_at ?? attempt?.started_at ?? attempt?.submitted_at ?? attempt?.prepared_at)),
    h("span", { class: "small reason", title: reason }, reason),
  ];
}
