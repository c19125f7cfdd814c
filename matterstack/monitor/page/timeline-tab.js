// When which attempt waited and ran.

import { h } from "./dom.js";
import { duration, exactTimeElement, timeElement } from "./times.js";
import { WindowedGrid } from "./windowed.js";

const MARKS = 4;
const SHORT_MS = 10 * 60 * 1000;

/**
 * @typedef {import("./documents.js").Task} Task
 * @typedef {import("./documents.js").Attempt} Attempt
 */

export class TimelineTab {
  /** @type {import("./run-tasks.js").RunTasks | null} */
  #known = null;
  #from = 0;
  #to = 1;
  #axis = h("div", { class: "axis", "aria-hidden": "true" });
  #grid;

  /** @param {(taskId: string) => void} openTask */
  constructor(openTask) {
    /** @type {WindowedGrid<Task>} */
    this.#grid = new WindowedGrid({
      kind: "timeline",
      label: "Timeline of the attempts",
      columns: ["Task", "Attempts"],
      rowHeights: { wide: 28, narrow: 46 },
      key: (task) => task.task_id,
      // Bars of what is live grow with the time, and all of them when the time in sight does.
      version: (task) => `${task.version} ${this.#from} ${this.#to}`,
      cells: (task) => this.#cells(task),
      onOpen: (task) => openTask(task.task_id),
      whenEmpty: "No attempts yet.",
    });
    this.element = h("div", { class: "timeline-tab" }, this.#axis, this.#grid.element);
  }

  /** @param {import("./run-tasks.js").RunTasks} runTasks */
  update(runTasks) {
    this.#known = runTasks;
  }

  draw() {
    if (!this.#known || !this.element.isConnected) return;
    const tasks = this.#known.tasks.filter((task) => task.attempts.length);
    let [from, to] = [Infinity, -Infinity];
    for (const task of tasks) {
      from = Math.min(from, Date.parse(task.attempts[0].prepared_at));
      to = Math.max(to, endOf(task.attempts[task.attempts.length - 1]));
    }
    if (tasks.length) {
      this.#from = from;
      this.#to = Math.max(to, from + 1000);
    }
    const told = this.#to - this.#from < SHORT_MS ? exactTimeElement : timeElement;
    const marks = tasks.length ? Array.from({ length: MARKS + 1 }, (_, mark) => mark / MARKS) : [];
    this.#axis.replaceChildren(
      ...marks.map((share) => h("span", {}, told(new Date(this.#from + share * (this.#to - this.#from)).toISOString()))),
    );
    this.#grid.setRows(tasks.sort((a, b) => (a.attempts[0].prepared_at < b.attempts[0].prepared_at ? -1 : a.position - b.position)));
  }

  /** Let what is live grow. */
  tick() {
    if (this.#known?.live.size) this.draw();
  }

  /** @param {string | null} taskId */
  select(taskId) {
    this.#grid.select(taskId);
  }

  focusGrid() {
    this.#grid.focus();
  }

  /** @param {Task} task */
  #cells(task) {
    const bars = task.attempts.flatMap((attempt) => {
      const prepared = Date.parse(attempt.prepared_at);
      const started = attempt.started_at ? Date.parse(attempt.started_at) : null;
      const end = endOf(attempt);
      return [
        this.#bar("queued", prepared, started ?? end),
        started === null ? null : this.#bar(`ran j-${attempt.state ?? "NONE"}`, started, end),
      ];
    });
    const words = task.attempts.map(attemptWords).join("; ");
    return [
      h("span", { class: "task-id", title: task.task_id }, task.task_id),
      h("span", { class: "track", role: "img", "aria-label": words, title: words }, bars),
    ];
  }

  /**
   * @param {string} kind
   * @param {number} from
   * @param {number} to
   */
  #bar(kind, from, to) {
    const whole = this.#to - this.#from;
    const bar = h("span", { class: `span ${kind}` });
    bar.style.left = `${(100 * (from - this.#from)) / whole}%`;
    bar.style.width = `${(100 * Math.max(0, to - from)) / whole}%`;
    return bar;
  }
}

/** @param {Attempt} attempt */
const endOf = (attempt) => (attempt.ended_at ? Date.parse(attempt.ended_at) : Date.now());

/** @param {Attempt} attempt */
function attemptWords(attempt) {
  const started = attempt.started_at ? Date.parse(attempt.started_at) : null;
  const waited = duration((started ?? endOf(attempt)) - Date.parse(attempt.prepared_at));
  const ran = started === null ? "has not run" : `ran ${duration(endOf(attempt) - started)}`;
  return `attempt ${attempt.n} ${attempt.state ?? "PREPARED"}: waited ${waited}, ${ran}`;
}
