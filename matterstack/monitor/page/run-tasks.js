// The tasks of one run as the monitor tells of them: rows are set, and nothing is concluded from events.

import { TASK_STATES } from "./states.js";

/**
 * @typedef {import("./documents.js").Task} Task
 * @typedef {import("./documents.js").Attempt} Attempt
 * @typedef {import("./documents.js").TaskRow} TaskRow
 */

export class RunTasks {
  /** @type {Task[]} In planned order. */
  tasks = [];
  /** @type {Map<string, Task>} */
  byId = new Map();
  /** @type {Record<string, number>} */
  counts = Object.fromEntries(TASK_STATES.map((state) => [state, 0]));
  /** @type {Map<string, Attempt>} Attempts that have not ended, by token. */
  live = new Map();
  /** Grows with each new task: what is drawn from the shape of the graph is drawn anew. */
  shape = 0;
  /** @type {Map<string, Task>} */
  #byToken = new Map();
  /** @type {Map<string, Attempt[]>} Attempts that came before their task, as they do where one catches up. */
  #early = new Map();
  #isWhole;

  /** @param {import("./documents.js").RunTasksView} view */
  constructor(view) {
    this.seq = view.seq;
    this.runId = view.run.run_id;
    this.#isWhole = view.left_out === 0;
    for (const { attempts, ...row } of view.tasks) {
      this.#insert(row);
      for (const attempt of attempts) this.#setAttempt(row.task_id, attempt);
    }
  }

  /**
   * Set what has changed; what the view had already, and what belongs to other runs, changes nothing.
   *
   * @param {import("./documents.js").Rows} rows
   */
  setRows(rows) {
    if (rows.seq <= this.seq || rows.run !== this.runId) return;
    for (const row of rows.tasks) this.#setTask(row);
    for (const { task_id: taskId, ...attempt } of rows.attempts) this.#setAttempt(taskId, attempt);
  }

  /**
   * Which task an event is about; undefined when it is about none that is known.
   *
   * @param {import("./documents.js").StoredEvent} event
   */
  taskOf({ data }) {
    return this.byId.get(data.task_id) ?? this.#byToken.get(data.token);
  }

  /** @param {TaskRow} row */
  #setTask(row) {
    const task = this.byId.get(row.task_id);
    if (task) {
      this.counts[task.status] -= 1;
      this.counts[row.status] += 1;
      Object.assign(task, row);
      task.version += 1;
    } else if (this.#isWhole) {
      // What the view has left out, for there was too much of it, is not taken in later.
      this.#insert(row);
    }
  }

  /** @param {TaskRow} row */
  #insert(row) {
    /** @type {Task} */
    const task = { ...row, attempts: [], version: 0 };
    let place = this.tasks.length;
    while (place > 0 && this.tasks[place - 1].position > task.position) place -= 1;
    this.tasks.splice(place, 0, task);
    this.byId.set(task.task_id, task);
    this.counts[task.status] += 1;
    this.shape += 1;
    for (const attempt of this.#early.get(task.task_id) ?? []) this.#setAttempt(task.task_id, attempt);
    this.#early.delete(task.task_id);
  }

  /**
   * @param {string} taskId
   * @param {Attempt} attempt
   */
  #setAttempt(taskId, attempt) {
    const task = this.byId.get(taskId);
    if (!task) {
      if (this.#isWhole) this.#early.set(taskId, [...(this.#early.get(taskId) ?? []), attempt]);
      return;
    }
    const place = task.attempts.findIndex((known) => known.n >= attempt.n);
    if (place < 0) task.attempts.push(attempt);
    else task.attempts.splice(place, task.attempts[place].n === attempt.n ? 1 : 0, attempt);
    task.version += 1;
    this.#byToken.set(attempt.token, task);
    if (attempt.ended_at) this.live.delete(attempt.token);
    else this.live.set(attempt.token, attempt);
  }
}
