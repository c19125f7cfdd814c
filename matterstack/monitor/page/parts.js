// Small parts that several views show.

/** @typedef {import("./documents.js").Counts} Counts */

import { count, h, number } from "./dom.js";
import { ENDED_TASKS, TASK_STATES } from "./states.js";

/**
 * A status, in words and in its colour.
 *
 * @param {string} status
 */
export const badge = (status) => h("span", { class: `badge s-${status}` }, status);

/**
 * How many tasks have ended, of how many.
 *
 * @param {Counts} counts
 */
export function progressOf(counts) {
  const total = TASK_STATES.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
  const done = TASK_STATES.reduce((sum, state) => sum + (ENDED_TASKS.has(state) ? counts[state] ?? 0 : 0), 0);
  return { total, done };
}

/**
 * Counts that are not zero, in words.
 *
 * @param {Counts} counts
 */
export const countsText = (counts) =>
  TASK_STATES.filter((state) => counts[state])
    .map((state) => `${number(counts[state] ?? 0)} ${state.toLowerCase()}`)
    .join(", ");

/**
 * A bar with a part for each state.
 *
 * @param {Counts} counts
 */
export function progressBar(counts) {
  const { total, done } = progressOf(counts);
  const parts = ["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED", "ACTIVE", "READY", "WAITING"]
    .filter((state) => counts[state])
    .map((state) => {
      const part = h("span", { class: `part s-${state}` });
      part.style.flexGrow = String(counts[state]);
      return part;
    });
  const label = total ? `${number(done)} of ${count(total, "task")} ended: ${countsText(counts)}` : "no tasks yet";
  return h("span", { class: "bar", role: "img", "aria-label": label, title: label }, parts);
}

/**
 * What may run at once, and what does: of a run, as the list has it.
 *
 * @param {import("./documents.js").RunDocument} run
 */
export function capsText(run) {
  const jobs = Object.values(run.caps.backends).reduce((sum, backend) => sum + backend.jobs, 0);
  return `${number(jobs)} of ${run.caps.run ?? "any number of"} jobs`;
}
