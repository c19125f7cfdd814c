// One task: what it is, how it went, and what it prints.

import { h, reveal } from "./dom.js";
import { ENDED_TASKS, hasFailed, isChangeable } from "./states.js";
import { LogView } from "./log-view.js";
import { badge } from "./parts.js";
import { duration, timeElement } from "./times.js";

/** @typedef {[name: string, value: import("./dom.js").Child]} Fact */

export class TaskPanel {
  #task;
  #log;
  #version = -1;
  #attemptCount = -1;
  #facts = h("dl", { class: "facts" });
  #state = h("span", { class: "state" });
  #buttons;
  #attempt = h("select", { id: "attempt", change: () => this.#showLog() });
  #stream = h(
    "select",
    { id: "stream", change: () => this.#showLog() },
    h("option", { value: "stdout" }, "stdout"),
    h("option", { value: "stderr" }, "stderr"),
  );
  #logPart;
  #can;

  /**
   * @param {string} runId
   * @param {import("./documents.js").Task} task
   * @param {object} asked
   * @param {() => void} asked.onClose
   * @param {(taskId: string) => void} asked.onOpen
   * @param {Record<"amend" | "retry" | "cancel_tasks", (taskId: string) => void>} asked.actions
   * @param {(command: string) => boolean} asked.can whether the run can be told that now.
   */
  constructor(runId, task, { onClose, onOpen, actions, can }) {
    this.#task = task;
    this.onOpen = onOpen;
    this.taskId = task.task_id;
    this.#can = can;
    this.#log = new LogView(runId, task.task_id, () => this.#isOver());
    this.#buttons = {
      retry: h("button", { type: "button", click: () => actions.retry(task.task_id) }, "Retry task"),
      amend: h("button", { type: "button", click: () => actions.amend(task.task_id) }, "Amend task"),
      cancel_tasks: h("button", { type: "button", class: "danger", click: () => actions.cancel_tasks(task.task_id) }, "Cancel task"),
    };
    this.heading = h("h2", { id: "task-title", tabindex: "-1" }, task.task_id);
    this.#logPart = h(
      "div",
      { class: "log-part" },
      h(
        "div",
        { class: "filters" },
        h("label", { for: "attempt" }, "Attempt"),
        this.#attempt,
        h("label", { for: "stream" }, "Stream"),
        this.#stream,
      ),
      this.#log.element,
    );
    this.element = h(
      "aside",
      { class: "task-panel", "aria-labelledby": "task-title" },
      h("div", { class: "panel-head" }, this.heading, this.#state, Object.values(this.#buttons),
        h("button", { type: "button", class: "plain close", "aria-label": "Close the task", click: onClose }, "✕")),
      this.#facts,
      this.#logPart,
    );
  }

  draw() {
    const task = this.#task;
    const { retry, amend, cancel_tasks: cancel } = this.#buttons;
    const focusHeading = () => this.heading.focus();
    reveal(retry, task.retriable && this.#can("retry"), focusHeading);
    reveal(amend, isChangeable(task.status) && this.#can("amend"), focusHeading);
    reveal(cancel, !ENDED_TASKS.has(task.status) && this.#can("cancel_tasks"), focusHeading);
    if (task.version === this.#version) return;
    this.#version = task.version;
    this.#state.replaceChildren(badge(task.status));
    const attempt = task.attempts.at(-1);
    /** @type {Fact[]} */
    const facts = [
      ["Reason", task.reason],
      ["Last words", hasFailed(task.status) && attempt?.last_words ? h("pre", { class: "last-words" }, attempt.last_words) : ""],
      ["Depends on", task.depends_on.length ? this.#links(task.depends_on) : ""],
      ["Iteration", String(task.iteration)],
      ...(attempt ? attemptFacts(attempt) : [told("Operator", task.operator)]),
    ];
    const known = facts.filter(([, value]) => value !== "" && value !== null && value !== undefined);
    this.#facts.replaceChildren(...known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    this.#logPart.hidden = !task.attempts.length;
    if (task.attempts.length !== this.#attemptCount) this.#drawAttempts();
    else if (task.attempts.length) this.#log.look();
  }

  /** @param {string[]} ids */
  #links(ids) {
    const links = ids.slice(0, 20).map((id) => h("button", { type: "button", class: "link", click: () => this.onOpen(id) }, id));
    return [links.flatMap((link, index) => (index ? [", ", link] : [link])), ids.length > 20 ? ` and ${ids.length - 20} more` : null];
  }

  #drawAttempts() {
    const { attempts } = this.#task;
    this.#attemptCount = attempts.length;
    this.#attempt.replaceChildren(...attempts.map((attempt) => h("option", { value: attempt.n }, String(attempt.n))));
    if (attempts.length) {
      this.#attempt.value = String(attempts[attempts.length - 1].n);
      this.#showLog();
    }
  }

  #showLog() {
    this.#log.show(Number(this.#attempt.value), this.#stream.value);
  }

  #isOver() {
    const shown = this.#task.attempts.find((attempt) => attempt.n === Number(this.#attempt.value));
    return Boolean(shown?.ended_at) || ENDED_TASKS.has(this.#task.status);
  }

  /** The page was away, or is shown again. */
  wake() {
    if (this.#task.attempts.length) this.#log.look();
  }

  stop() {
    this.#log.stop();
  }
}

/**
 * @param {string} name
 * @param {string} value
 * @returns {Fact}
 */
const told = (name, value) => [name, value];

/**
 * @param {import("./documents.js").Attempt} attempt
 * @returns {Fact[]}
 */
function attemptFacts(attempt) {
  const ran = attempt.started_at && attempt.ended_at ? ` (${duration(Date.parse(attempt.ended_at) - Date.parse(attempt.started_at))})` : "";
  return [
    ["Attempt", `${attempt.n}: ${[attempt.state, attempt.raw_state].filter(Boolean).join(" / ") || "being submitted"}`],
    ["Job", [attempt.backend, attempt.job_id, attempt.host && `on ${attempt.host}`].filter(Boolean).join(" ")],
    ["Job says", attempt.reason],
    ["Exit code", attempt.exit_code === undefined || attempt.exit_code === null ? "" : String(attempt.exit_code)],
    ["Submitted", timeElement(attempt.submitted_at)],
    ["Started", timeElement(attempt.started_at)],
    ["Ended", attempt.ended_at ? [timeElement(attempt.ended_at), ran] : ""],
  ];
}
