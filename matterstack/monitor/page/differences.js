// Old and new side by side, before it is done.

import { count, cut, h } from "./dom.js";
import { named } from "./selection-fields.js";

const MOST_SHOWN = 2000;
const MOST_UNFOLDED = 500;

/** @typedef {{path: string, old: unknown, new: unknown, tasks?: string[], is_new?: boolean, is_gone?: boolean}} Difference */

/**
 * A value as people write it; text of several lines as it is.
 *
 * @param {unknown} value
 */
function shown(value) {
  if (value === null || value === undefined) return "nothing";
  return cut(typeof value === "string" && value.includes("\n") ? value : JSON.stringify(value), MOST_SHOWN);
}

/** @param {Difference} change */
const before = (change) => (change.is_new ? "not set" : shown(change.old));
/** @param {Difference} change */
const after = (change) => (change.is_gone ? "not set" : shown(change.new));

/**
 * What changes, a line each.
 *
 * @param {Difference[]} differences
 */
export function differencesTable(differences) {
  const ofTasks = differences.some((difference) => difference.tasks !== undefined);
  return h(
    "table",
    { class: "differences" },
    h("thead", {}, h("tr", {}, ["Field", "Now", "Then", ...(ofTasks ? ["For"] : [])].map((title) => h("th", { scope: "col" }, title)))),
    h(
      "tbody",
      {},
      differences.map((difference) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, difference.path),
          h("td", { class: "old", "data-title": "now " }, before(difference)),
          h("td", { class: "new", "data-title": "then " }, after(difference)),
          difference.tasks ? h("td", { "data-title": "for " }, tasksElement(difference.tasks)) : null,
        ),
      ),
    ),
  );
}

/**
 * How many tasks; which, where somebody wants to know.
 *
 * @param {string[]} ids
 */
export function tasksElement(ids) {
  if (ids.length === 1) return ids[0];
  return h("details", {}, h("summary", {}, count(ids.length, "task")), named(ids, MOST_UNFOLDED));
}

/**
 * Sentences, one below the other; those that are empty are none.
 *
 * @param {(string | false)[]} sentences
 */
export function notes(sentences) {
  const told = sentences.flatMap((sentence) => (sentence ? [sentence] : []));
  return told.length ? h("ul", { class: "notes" }, told.map((sentence) => h("li", {}, sentence))) : null;
}
