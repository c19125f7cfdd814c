// What of a run can be changed while it lives, each shown before it is sent.

import { ChangeFields } from "./change-fields.js";
import { count, freshId, h } from "./dom.js";
import { differencesTable, notes, tasksElement } from "./differences.js";
import { propose } from "./proposal.js";
import { NamedTasks, SelectionFields, named } from "./selection-fields.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./documents.js").RunDocument} RunDocument
 * @typedef {import("./documents.js").Amended} Amended
 * @typedef {import("./proposal.js").Shown} Shown
 * @typedef {import("./selection-fields.js").Chosen} Chosen
 */

/** What most amendments are about; whatever else a task has can be typed. */
export const TASK_PATHS = [
  "resources.walltime_s", "resources.memory_mib", "resources.cpus", "resources.gpus", "resources.nodes", "resources.partition",
  "resources.account", "resources.extra.exclude", "command", "env.NAME", "params.NAME", "backend", "retries", "retry_on",
  "allow_failure", "priority", "outputs", "files.NAME", "inputs.NAME",
];
const RUN_PATHS = ["max_hpc_jobs_per_run", "priority", "default_backend", "hold_after_alike", "params.NAME"];
const BACKEND_PATHS = ["max_jobs", "prologue", "partition", "account", "poll_interval_s"];

/**
 * Which tasks: those that are named already, or as somebody says.
 *
 * @param {Chosen | null} chosen
 * @param {string} help
 */
const tasksPart = (chosen, help) => (chosen === null ? new SelectionFields(help) : new NamedTasks(chosen));

/**
 * @param {Chosen | null} chosen
 * @param {string} legend
 */
const changesPart = (chosen, legend) =>
  new ChangeFields({
    legend,
    help: "As behind --set: numbers, true and lists are JSON; null takes a value away.",
    paths: TASK_PATHS,
    isFirst: chosen !== null,
  });

/** A choice that is a field of the command. */
class Choice {
  #field;
  #box;

  /**
   * @param {string} field
   * @param {string} text
   */
  constructor(field, text) {
    this.#field = field;
    this.#box = h("input", { type: "checkbox", id: freshId(field) });
    this.element = h("p", {}, this.#box, " ", h("label", { for: this.#box.id }, text));
  }

  get isChosen() {
    return this.#box.checked;
  }

  fields() {
    return { [this.#field]: this.isChosen };
  }
}

/**
 * Change tasks that have not succeeded.
 *
 * @param {App} app
 * @param {RunDocument} run
 * @param {Chosen | null} chosen null: those that somebody says in the form.
 */
export async function amendTasks(app, run, chosen) {
  const resubmit = new Choice("resubmit", "Cancel jobs that still wait, and submit them anew");
  const changes = changesPart(chosen, "What changes");
  const what = {
    element: h("div", { class: "parts" }, changes.element, resubmit.element),
    fields: () => {
      const fields = { ...changes.fields(), ...resubmit.fields() };
      if (!("set" in fields) && !resubmit.isChosen) throw new Error("say what is to change");
      return fields;
    },
  };
  /** @type {Amended | null} */
  const done = await propose(app, run.run_id, {
    command: "amend",
    title: chosen?.ids.length === 1 ? "Amend this task" : "Amend tasks",
    text: "Their next attempts are as it says then. What has succeeded stays as it is, and so does what runs.",
    parts: [tasksPart(chosen, "At least one is needed."), what],
    show: (/** @type {Amended} */ result) => ({
      heading: result.tasks.length
        ? `This changes for ${count(result.tasks.length, "task")}`
        : `${count(result.resubmitted.length, "job")} ${result.resubmitted.length === 1 ? "is" : "are"} submitted anew`,
      content: amendedContent(result),
      action: result.tasks.length ? `Amend ${count(result.tasks.length, "task")}` : `Resubmit ${count(result.resubmitted.length, "job")}`,
    }),
  });
  if (!done) return;
  const anew = done.resubmitted.length ? `${count(done.resubmitted.length, "job")} of ${run.workspace} ${done.resubmitted.length === 1 ? "is" : "are"} submitted anew.` : "";
  const amended = done.tasks.length ? `${count(done.tasks.length, "task")} of ${run.workspace} ${done.tasks.length === 1 ? "was" : "were"} amended.` : "";
  app.say([amended, anew].filter(Boolean).join(" "));
}

/**
 * Give tasks that failed new attempts, perhaps with other values.
 *
 * @param {App} app
 * @param {RunDocument} run
 * @param {Chosen | null} chosen null: those that somebody says in the form.
 */
export async function retryTasks(app, run, chosen) {
  /** @type {Amended | null} */
  const done = await propose(app, run.run_id, {
    command: "retry",
    title: "Try again?",
    text: "New attempts are made, and what was skipped because of these tasks is done after all.",
    parts: [
      tasksPart(chosen, "Where nothing is given: all tasks that keep the run from completing."),
      changesPart(chosen, "What changes before (may be nothing)"),
    ],
    atOnce: true,
    show: (/** @type {Amended} */ result) => ({
      heading: `${count(result.selected.length, "task")} ${result.selected.length === 1 ? "is" : "are"} tried again`,
      content: [h("p", {}, named(result.selected)), result.differences.length ? amendedContent(result) : notes(result.warnings)],
      action: `Retry ${count(result.selected.length, "task")}`,
    }),
  });
  if (done) app.say(`${count(done.selected.length, "task")} of ${run.workspace} ${done.selected.length === 1 ? "was" : "were"} given new attempts.`);
}

/** @param {Amended} amended */
const amendedContent = (amended) => [
  amended.differences.length ? differencesTable(amended.differences) : null,
  notes([...jobsTold(amended), ...amended.warnings]),
];

/**
 * What becomes of jobs that are there.
 *
 * @param {{running: string[], queued: string[], resubmitted: string[]}} jobs
 */
const jobsTold = ({ running, queued, resubmitted }) => [
  resubmitted.length > 0 && `Waiting: cancelled, and submitted anew: ${named(resubmitted)}.`,
  running.length > 0 && `At work now, and not touched: ${named(running)}. A next attempt is as it says.`,
  queued.length > 0 && `Submitted already, and left as it is: ${named(queued)}. A next attempt is as it says.`,
];

/**
 * End tasks, and what depends on them; the run goes on.
 *
 * @param {App} app
 * @param {RunDocument} run
 * @param {Chosen} chosen
 */
export async function cancelTasks(app, run, chosen) {
  const done = await propose(app, run.run_id, {
    command: "cancel_tasks",
    title: chosen.ids.length === 1 ? "Cancel this task?" : "Cancel these tasks?",
    text:
      chosen.ids.length === 1
        ? "Its job is ended first, and what depends on it ends with it. The run goes on. It stays cancelled until it is named in a retry."
        : "Their jobs are ended first, and what depends on them ends with them. The run goes on. They stay cancelled until they are named in a retry.",
    parts: [new NamedTasks(chosen)],
    atOnce: true,
    isDangerous: true,
    show: cancellation,
  });
  if (done) app.say(`${count(done.tasks.length, "task")} of ${run.workspace} ${done.tasks.length === 1 ? "ends" : "end"}.`);
}

/**
 * @param {{tasks: {task_id: string, is_live: boolean, because: string | null}[]}} result
 * @returns {Shown}
 */
function cancellation({ tasks }) {
  const live = tasks.filter((task) => task.is_live).map((task) => task.task_id);
  /** @type {Map<string, string[]>} */
  const dependent = new Map();
  for (const { task_id: id, because } of tasks) {
    if (because !== null) dependent.set(because, [...(dependent.get(because) ?? []), id]);
  }
  return {
    heading: tasks.length ? `${count(tasks.length, "task")} ${tasks.length === 1 ? "ends" : "end"}` : "Nothing would change: these tasks are cancelled already",
    content: [
      notes([
        live.length > 0 && `At work or asked, and ended first: ${named(live)}`,
        ...[...dependent].map(([because, ids]) => `With ${because}, on which they depend: ${named(ids)}`),
      ]),
    ],
    action: tasks.length ? `Cancel ${count(tasks.length, "task")}` : null,
  };
}

/**
 * Go on with another config.
 *
 * @param {App} app
 * @param {RunDocument} run
 */
export async function amendConfig(app, run) {
  const fromFiles = new Choice("from_workspace", "Take the config files as they are now, with what was set for this run alone on top");
  const resubmit = new Choice("resubmit", "Cancel jobs that still wait on a backend that changes, and submit them anew");
  const backends = Object.keys(run.caps.backends);
  const changes = new ChangeFields({
    legend: "What changes",
    help: 'Numbers, true and lists are JSON, such as ["module load vasp/6.5"]; all else is text.',
    paths: [...RUN_PATHS, ...backends.flatMap((name) => BACKEND_PATHS.map((path) => `backends.${name}.${path}`))],
    isFirst: true,
  });
  const what = {
    element: h("div", { class: "parts" }, changes.element, fromFiles.element, resubmit.element),
    fields: () => {
      const fields = { ...changes.fields(), ...fromFiles.fields(), ...resubmit.fields() };
      if (!("set" in fields) && !fromFiles.isChosen) throw new Error("say what is to change");
      return fields;
    },
  };
  const done = await propose(app, run.run_id, {
    command: "amend_config",
    title: "Change the config of this run",
    text: "Jobs that are there go on as they were submitted. What is submitted from then on goes by it.",
    parts: [what],
    show: ({ config, notes: told, ...jobs }) => ({
      heading: config.length ? `This changes, for ${run.workspace} ${run.run_id}` : "Nothing would change: the config is like that already",
      content: [config.length ? differencesTable(config) : null, notes([...jobsTold(jobs), ...told])],
      action: config.length ? "Change the config" : null,
    }),
  });
  if (done) app.say(`The config of ${run.workspace} was changed.`);
}
