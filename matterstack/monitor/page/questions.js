// Forms for what a run asks.  What is typed stays when questions come and go.

import { ask, messageOf, runPath } from "./api.js";
import { freshId, h, setText } from "./dom.js";
import { timeElement } from "./times.js";

const INTERVAL_MS = 1000;
/** More than these are folded away at first. */
const OPEN_RESULTS = 5;

/**
 * @typedef {import("./documents.js").Question} Question
 * @typedef {import("./documents.js").Field} Field
 */

/** @type {Field[]} */
const GATE_FIELDS = [
  { name: "decision", type: "choice", choices: ["approve", "reject", "send_back"], required: true,
    help: "send_back has what it depends on done again, and needs a comment" },
  { name: "comment", type: "string", required: false },
];
/** @type {Field[]} */
const JOB_FIELDS = [
  { name: "job_id", type: "string", required: false, help: "of the job that you submitted by hand" },
  { name: "exit_code", type: "integer", required: false, help: "instead, of a job that is over: 0 when it went well" },
];

export class Questions {
  #app;
  #runId;
  /** @type {Map<string, HTMLFormElement>} */
  #forms = new Map();
  /** @type {string | null} */
  #shown = null;
  /** @type {import("./dom.js").Timer | 0} */
  #timer = 0;
  #heading = h("h2", { id: "questions-title" });
  #list = h("div", { class: "question-list" });
  element = h("section", { class: "questions", "aria-labelledby": "questions-title", hidden: true }, this.#heading, this.#list);

  /**
   * @param {import("./main.js").App} app
   * @param {string} runId
   */
  constructor(app, runId) {
    this.#app = app;
    this.#runId = runId;
  }

  /**
   * Look at which attempts wait for an answer; what they ask is read when others do than before.
   *
   * @param {import("./run-tasks.js").RunTasks} runTasks
   */
  update(runTasks) {
    const asking = [...runTasks.live.values()].filter((attempt) => attempt.backend === "operators").map((attempt) => attempt.token);
    const key = asking.join();
    if (key === this.#shown) return;
    this.#shown = key;
    if (!asking.length) this.#show([], 0);
    else this.#timer ||= setTimeout(() => this.#ask(), this.#forms.size ? INTERVAL_MS : 0);
  }

  async #ask() {
    this.#timer = 0;
    try {
      const { questions, count } = await ask(runPath(this.#runId, "questions"));
      this.#show(questions, count);
    } catch {
      // Asked again with the next change, or when the connection is back.
      this.#shown = null;
    }
  }

  /**
   * @param {Question[]} questions
   * @param {number} count
   */
  #show(questions, count) {
    const keys = new Set(questions.map(keyOf));
    for (const [key, form] of this.#forms) {
      if (keys.has(key)) continue;
      form.remove();
      this.#forms.delete(key);
    }
    for (const question of questions) {
      if (this.#forms.has(keyOf(question))) continue;
      const form = this.#form(question);
      this.#forms.set(keyOf(question), form);
      this.#list.append(form);
    }
    this.element.hidden = !questions.length;
    setText(this.#heading, count === 1 ? "A question to you" : `${count.toLocaleString()} questions to you`);
  }

  /** @param {Question} question */
  #form(question) {
    const { operator } = question;
    const fields = operator === "gate" ? GATE_FIELDS : operator === "manual_hpc" ? JOB_FIELDS : question.fields;
    const inputs = fields.map((field) => new FieldInput(field));
    const failure = operator === "experiment" ? new FieldInput({ name: "failure", type: "string", required: false, help: "instead of values: why it did not work" }) : null;
    const titleId = freshId("question");
    const problem = h("p", { role: "alert", class: "problem" });
    const send = h("button", { type: "submit", class: "primary" }, "Answer");
    const form = h(
      "form",
      {
        class: "question",
        "aria-labelledby": titleId,
        novalidate: true,
        submit: async (/** @type {Event} */ event) => {
          event.preventDefault();
          send.disabled = true;
          setText(problem, "");
          try {
            const answer = documentOf(inputs, failure);
            const { task_id: task, attempt } = question;
            await this.#app.live.command({ command: "respond", run: this.#runId, task, attempt, answer });
            this.#app.say(`The answer to ${task} is handed over; whoever serves the run takes it.`);
          } catch (error) {
            setText(problem, messageOf(error));
          }
          send.disabled = false;
        },
      },
      h("h3", { id: titleId }, question.task_id),
      h("p", { class: "question-text" }, question.text),
      operator === "experiment" ? h("pre", { class: "action", tabindex: 0, role: "region", "aria-label": "What is asked for" }, JSON.stringify(question.manifest.request, null, 2)) : null,
      question.again ? h("p", { class: "question-text" }, `Asked again: ${question.again}`) : null,
      question.results.length ? resultsElement(question.results) : null,
      question.expires_at ? h("p", { class: "small" }, "To be answered before ", timeElement(question.expires_at)) : null,
      question.rejected ? h("p", { class: "problem" }, `The last answer was not taken: ${question.rejected}`) : null,
      question.problem ? h("p", { class: "problem" }, question.problem) : null,
      [...inputs, ...(failure ? [failure] : [])].map((input) => input.element),
      problem,
      h("p", { class: "buttons" }, send),
    );
    return form;
  }
}

/** @param {Question} question */
const keyOf = ({ task_id: task, attempt, rejected, problem }) => JSON.stringify([task, attempt, rejected, problem]);

/**
 * What came of the tasks that it depends on: what a gate is asked to approve.
 *
 * @param {Question["results"]} results
 */
function resultsElement(results) {
  return h(
    "details",
    { class: "question-results", open: results.length <= OPEN_RESULTS },
    h("summary", {}, results.length === 1 ? "The result it is about" : `The ${results.length} results it is about`),
    h(
      "dl",
      { class: "facts" },
      results.flatMap(({ task_id: task, status, data, outputs }) => [
        h("dt", {}, `${task}: ${status}`),
        data === null ? null : h("dd", {}, JSON.stringify(data)),
        outputs.length ? h("dd", {}, outputs.join(", ")) : null,
      ]).filter(Boolean),
    ),
  );
}

/**
 * The answer in the form that the operator takes.
 *
 * @param {FieldInput[]} inputs
 * @param {FieldInput | null} failure
 * @returns {Record<string, unknown>}
 */
function documentOf(inputs, failure) {
  /** @type {Record<string, unknown>} */
  const values = {};
  for (const input of inputs) {
    const value = input.value();
    if (value !== undefined) values[input.field.name] = value;
  }
  if (!failure) return values;
  const why = failure.value();
  return why === undefined ? { result: values } : { failure: why };
}

class FieldInput {
  #input;

  /** @param {Field} field */
  constructor(field) {
    this.field = field;
    const id = freshId("field");
    const helpId = freshId("help");
    const help = [rangeOf(field), field.help].filter(Boolean).join("; ");
    this.#input = inputOf(field, { id, "aria-describedby": help ? helpId : null, "aria-required": field.required ? "true" : null });
    this.element = h(
      "p",
      { class: "field" },
      h("label", { for: id }, field.name, field.unit ? ` (${field.unit})` : "", field.required ? "" : " — may be left open"),
      this.#input,
      help ? h("span", { class: "small", id: helpId }, help) : null,
    );
  }

  /** What was given; undefined when it was left open.  Throws where it is no value of this kind. */
  value() {
    const text = this.#input.value;
    const { name, type } = this.field;
    if (!text.trim()) return undefined;
    if (type === "boolean") return text === "true";
    if (type === "integer" || type === "number") {
      const value = Number(text.trim().replace(",", "."));
      if (!Number.isFinite(value) || (type === "integer" && !Number.isSafeInteger(value))) {
        throw new Error(`${name}: "${text}" is no ${type === "integer" ? "whole number" : "number"}`);
      }
      return value;
    }
    return type === "choice" ? text : text.trim();
  }
}

/**
 * @param {Field} field
 * @param {import("./dom.js").Attributes} attributes
 */
function inputOf({ type, choices }, attributes) {
  if (type === "boolean" || type === "choice") {
    const options = type === "boolean" ? [["true", "yes"], ["false", "no"]] : (choices ?? []).map((choice) => [choice, choice]);
    return h("select", attributes, h("option", { value: "" }, "—"), options.map(([value, text]) => h("option", { value }, text)));
  }
  if (type === "string") return h("textarea", { ...attributes, rows: 2 });
  return h("input", { ...attributes, type: "text", autocomplete: "off", inputmode: type === "integer" ? "numeric" : "decimal" });
}

/** @param {Field} field */
function rangeOf({ min, max }) {
  if (min !== undefined && max !== undefined) return `from ${min} to ${max}`;
  return min !== undefined ? `at least ${min}` : max !== undefined ? `at most ${max}` : "";
}
