// What the campaign plans now, beside what it planned last time.

import { count, freshId, h } from "./dom.js";
import { differencesTable, notes } from "./differences.js";
import { propose } from "./proposal.js";
import { named } from "./selection-fields.js";

/**
 * @typedef {import("./documents.js").Replanned} Replanned
 * @typedef {import("./documents.js").ReplannedTask} ReplannedTask
 */

/** What becomes of a task, by its step. */
const STEPS = {
  planned: "new",
  changed: "changed",
  next_attempt: "changed; at work now, and not touched: a next attempt is as it says",
  tried_again: "changed; failed, and tried again",
  redone: "changed; succeeded, and done again",
  stale: "changed; succeeded, and stays as it is, stale",
  back: "planned again, after it was withdrawn",
  stays_cancelled: "changed; cancelled by name, and stays so",
  withdrawn: "gone: withdrawn",
  job_ended: "gone: its job is ended",
  job_left: "gone: its job goes on, and no other follows",
  result_kept: "gone: succeeded, and its result stays",
};

/** @type {[field: string, text: string][]} */
const CHOICES = [
  ["redo_changed", "Do what succeeded again where it is planned otherwise now"],
  ["cancel_gone", "End the jobs of tasks that are planned no more"],
  ["yes_plan", "Where a person amended what the plan changes too, take the plan's"],
];

/** The choices, ticked or not. */
class ReplanChoices {
  #boxes = CHOICES.map(([field, text]) => ({ field, text, box: h("input", { type: "checkbox", id: freshId(field) }) }));
  element = h(
    "fieldset",
    {},
    h("legend", {}, "What else may be done"),
    this.#boxes.map(({ text, box }) => h("p", {}, box, " ", h("label", { for: box.id }, text))),
  );

  fields() {
    return Object.fromEntries(this.#boxes.map(({ field, box }) => [field, box.checked]));
  }
}

/**
 * Ask the campaign once more for the iteration in hand.
 *
 * @param {import("./main.js").App} app
 * @param {import("./documents.js").RunDocument} run
 */
export async function replan(app, run) {
  const done = await propose(app, run.run_id, {
    command: "replan",
    title: "Plan this iteration once more",
    text: "campaign.py is asked again as it is now, with the same state and the same earlier results. That may take as long as it plans.",
    parts: [new ReplanChoices()],
    atOnce: true,
    show: shown,
  });
  if (done) app.say(`${run.workspace} goes by its new plan.`);
}

/**
 * @param {Replanned} plan
 * @returns {import("./proposal.js").Shown}
 */
function shown(plan) {
  /** @type {Map<string, ReplannedTask[]>} */
  const alike = new Map();
  for (const task of plan.tasks) {
    const key = JSON.stringify([task.step, task.differences, task.clashes, task.files]);
    alike.set(key, [...(alike.get(key) ?? []), task]);
  }
  const others = new Set(plan.tasks.map((task) => task.task_id));
  const again = plan.reopened.filter((id) => !others.has(id));
  /** @param {string} change */
  const ofKind = (change) => plan.tasks.filter((task) => task.change === change).length;
  return {
    heading: `Iteration ${plan.iteration}: ${ofKind("new")} new, ${ofKind("changed")} changed, ${ofKind("gone")} gone, ${count(plan.same, "task")} as before`,
    content: [
      [...alike.values()].map(groupElement),
      notes([
        plan.campaign.length > 0 && `Changed since it was planned last: ${plan.campaign.map(({ path }) => path).join(", ")}`,
        again.length > 0 && `As planned before, and to be done after all: ${named(again)}`,
        plan.skipped.length > 0 && `Skipped, since what they depend on did not succeed: ${named(plan.skipped)}`,
        plan.reopens_run && "The run goes on.",
        ...plan.warnings,
      ]),
    ],
    action: "Take this plan",
  };
}

/** @param {ReplannedTask[]} tasks to which the same happens. */
function groupElement(tasks) {
  const [first] = tasks;
  const words = /** @type {Record<string, string>} */ (STEPS)[first.step] ?? first.step;
  const files = first.files.map(({ name, old, new: now }) => ({ path: `files.${name}`, old: digest(old), new: digest(now) }));
  const differences = [...first.differences, ...files];
  return h(
    "div",
    {},
    h("p", {}, h("strong", {}, words), `: ${named(tasks.map((task) => task.task_id))}`),
    differences.length ? differencesTable(differences) : null,
    notes(first.clashes.map(clashText)),
  );
}

/** @param {string | null} sha */
const digest = (sha) => (sha === null ? null : `content ${sha.slice(0, 8)}`);

/** @param {ReplannedTask["clashes"][number]} clash */
const clashText = ({ path, amended, planned, takes }) =>
  `${path}: somebody amended it to ${JSON.stringify(amended)}, and it is planned as ${JSON.stringify(planned)} now: ${takes === "planned" ? "the plan's is taken" : "the amendment stays"}`;
