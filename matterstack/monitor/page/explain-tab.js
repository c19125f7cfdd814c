// Why a run does not go on, in words.

import { AnswerError, ask, messageOf, runPath } from "./api.js";
import { count, h, setText } from "./dom.js";
import { duration, timeElement } from "./times.js";

const INTERVAL_MS = 1000;
const SHARE = 4;

export class ExplainTab {
  #runId;
  #list = h("ol", { class: "causes" });
  #note = h("p", { class: "small", role: "status" }, "Looking into it…");
  #notBefore = 0;
  #isStale = true;
  #isAsking = false;
  /** @type {import("./dom.js").Timer | 0} */
  #timer = 0;
  element = h("div", { class: "explain-tab" }, this.#note, this.#list);

  /** @param {string} runId */
  constructor(runId) {
    this.#runId = runId;
  }

  /** Something has changed: what was said may not hold any more. */
  update() {
    this.#isStale = true;
  }

  draw() {
    if (!this.#isStale || this.#isAsking || this.#timer || !this.element.isConnected) return;
    this.#timer = setTimeout(() => this.#ask(), Math.max(0, this.#notBefore - performance.now()));
  }

  async #ask() {
    this.#timer = 0;
    this.#isAsking = true;
    this.#isStale = false;
    const began = performance.now();
    try {
      this.#show(await ask(runPath(this.#runId, "explain")));
    } catch (error) {
      setText(this.#note, `This cannot be said now: ${messageOf(error)}`);
      this.#isStale = error instanceof AnswerError && error.status === 0;
    }
    // What is much work for the monitor is asked for less often.
    const now = performance.now();
    this.#notBefore = now + Math.max(INTERVAL_MS, SHARE * (now - began));
    this.#isAsking = false;
    this.draw();
  }

  /** @param {{as_of: string, causes: import("./documents.js").Cause[]}} said */
  #show({ as_of: asOf, causes }) {
    const scrolled = this.#list.scrollTop;
    this.#note.replaceChildren("As of ", timeElement(asOf), causes.length ? "" : ": nothing keeps it from going on.");
    this.#list.replaceChildren(...causes.map((cause) => causeElement(cause, asOf)));
    this.#list.scrollTop = scrolled;
  }
}

/**
 * @param {import("./documents.js").Cause} cause
 * @param {string} asOf
 */
function causeElement(cause, asOf) {
  const facts = [];
  if (cause.since) facts.push(["since ", timeElement(cause.since), ` (${duration(Date.parse(asOf) - Date.parse(cause.since))})`]);
  if (cause.blocks) facts.push([`${count(cause.blocks, "task")} ${cause.blocks === 1 ? "waits" : "wait"} for it`]);
  return h(
    "li",
    { class: cause.needs_person ? "needs-person" : "" },
    h("p", {}, cause.needs_person ? h("strong", {}, "Needs you: ") : null, cause.message),
    cause.last_words ? h("pre", { class: "last-words" }, cause.last_words) : null,
    facts.length ? h("p", { class: "small" }, facts.flatMap((fact, index) => (index ? ["; ", ...fact] : fact))) : null,
    cause.action ? h("pre", { class: "action", tabindex: 0, role: "region", "aria-label": "What can be done" }, cause.action) : null,
  );
}
