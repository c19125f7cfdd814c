// The tasks of a run, in a table.

import { count, h, label, number, reveal, setText } from "./dom.js";
import { TASK_STATES } from "./states.js";
import { badge } from "./parts.js";
import { timeElement } from "./times.js";
import { WindowedGrid } from "./windowed.js";

/**
 * @typedef {import("./documents.js").Task} Task
 * @typedef {{name: string, ids: Set<string>}} Group
 * @typedef {import("./selection-fields.js").Chosen} Chosen
 */

/**
 * What can be done with tasks that are ticked: by which command, and with which of them.
 *
 * @typedef {{command: string, title: string, isDangerous?: boolean, fits: (task: Task) => boolean, act: (chosen: Chosen) => void}} Action
 */

export class TasksTab {
  /** @type {import("./run-tasks.js").RunTasks | null} */
  #known = null;
  /** @type {Group | null} */
  #only = null;
  /** @type {Task[]} */
  #shown = [];
  /** @type {Set<string>} */
  #ticked = new Set();
  #search = h("input", { type: "search", id: "search", placeholder: "id or reason", input: () => this.draw() });
  #status = h(
    "select",
    { id: "status", change: () => this.draw() },
    h("option", { value: "" }, "any state"),
    TASK_STATES.map((state) => h("option", { value: state }, state)),
  );
  #found = h("span", { class: "small found" });
  #group = h("button", { type: "button", class: "plain", hidden: true, click: () => this.showOnly(null) });
  #tickAll = h("button", { type: "button", class: "plain", click: () => this.#tickOrUntick() });
  #tickedText = h("span", { role: "status" });
  /** @type {{action: Action, button: HTMLButtonElement}[]} */
  #actions;
  /** @type {(command: string) => boolean} */
  #can = () => false;
  #tickedBar;
  #grid;

  /**
   * @param {(taskId: string) => void} openTask
   * @param {Action[]} actions
   */
  constructor(openTask, actions) {
    this.#actions = actions.map((action) => ({
      action,
      button: h("button", { type: "button", class: action.isDangerous ? "danger" : "", click: () => action.act(this.#chosen(action)) }, action.title),
    }));
    this.#tickedBar = h(
      "div",
      { class: "ticked", role: "group", "aria-label": "Ticked tasks" },
      this.#tickedText,
      this.#actions.map(({ button }) => button),
      h("button", { type: "button", class: "plain", click: () => this.#untick() }, "Tick none"),
    );
    /** @type {WindowedGrid<Task>} */
    this.#grid = new WindowedGrid({
      kind: "tasks",
      label: "Tasks",
      columns: ["Task", "State", "Tries", "Job", "Changed", "Reason"],
      rowHeights: { wide: 34, narrow: 64 },
      key: (task) => task.task_id,
      version: (task) => `${task.version} ${this.#ticked.has(task.task_id)}`,
      cells: (task) => cellsOf(task, this.#ticked.has(task.task_id)),
      onOpen: (task) => openTask(task.task_id),
      onTick: (task) => this.#tick(task.task_id),
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
        this.#tickAll,
        this.#found,
      ),
      this.#tickedBar,
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
    this.#shown = shown;
    this.#drawTicks();
    setText(this.#found, isPlain ? count(tasks.length, "task") : `${number(shown.length)} of ${count(tasks.length, "task")}`);
    this.#grid.setRows(shown);
  }

  /**
   * Say which commands the run can be told now.
   *
   * @param {(command: string) => boolean} can
   */
  offer(can) {
    this.#can = can;
  }

  #drawTicks() {
    this.#tickedBar.hidden = !this.#ticked.size;
    setText(this.#tickedText, this.#ticked.size ? `${count(this.#ticked.size, "task")} ticked` : "");
    const ticked = this.#tickedTasks();
    for (const { action, button } of this.#actions) {
      reveal(button, this.#can(action.command) && ticked.some(action.fits), () => this.focusGrid());
    }
    this.#tickAll.hidden = !this.#shown.length;
    setText(this.#tickAll, this.#areAllTicked() ? "Untick these" : "Tick these");
    label(this.#tickAll, `${this.#areAllTicked() ? "Untick" : "Tick"} the ${count(this.#shown.length, "task")} that are shown`);
  }

  #areAllTicked() {
    return this.#shown.length > 0 && this.#shown.every((task) => this.#ticked.has(task.task_id));
  }

  #tickedTasks() {
    return this.#ticked.size ? (this.#known?.tasks ?? []).filter((task) => this.#ticked.has(task.task_id)) : [];
  }

  /** @param {Action} action */
  #chosen({ fits }) {
    const ticked = this.#tickedTasks();
    const ids = ticked.filter(fits).map((task) => task.task_id);
    return { ids, leftOut: ticked.length - ids.length };
  }

  /** @param {string} taskId */
  #tick(taskId) {
    if (!this.#ticked.delete(taskId)) this.#ticked.add(taskId);
    this.#drawTicks();
    this.#grid.draw();
  }

  #tickOrUntick() {
    const isOn = !this.#areAllTicked();
    for (const task of this.#shown) {
      if (isOn) this.#ticked.add(task.task_id);
      else this.#ticked.delete(task.task_id);
    }
    this.#drawTicks();
    this.#grid.draw();
  }

  #untick() {
    this.#ticked.clear();
    this.#drawTicks();
    this.#grid.draw();
    this.#tickAll.focus();
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

/**
 * @param {Task} task
 * @param {boolean} isTicked
 */
function cellsOf(task, isTicked) {
  const attempt = task.attempts.at(-1);
  const job = attempt ? [attempt.backend, attempt.job_id, attempt.state].filter(Boolean).join(" ") : task.operator === "compute" ? "" : task.operator;
  const reason = task.reason || attempt?.reason || "";
  return [
    [
      // Not in the tab order: on a row, the space bar does the same.
      h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Tick ${task.task_id}`, checked: isTicked }),
      " ",
      h("span", { class: "task-id", title: task.task_id }, task.task_id),
    ],
    badge(task.status),
    h("span", { class: "small" }, task.attempts.length ? number(task.attempts.length) : ""),
    h("span", { class: "small", title: job }, job),
    h("span", { class: "small" }, timeElement(attempt?.ended_at ?? attempt?.started_at ?? attempt?.submitted_at ?? attempt?.prepared_at)),
    h("span", { class: "small reason", title: reason }, reason),
  ];
}
