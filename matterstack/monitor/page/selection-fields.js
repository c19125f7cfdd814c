// Which tasks are meant: those that were named, or by how they stand and failed.

import { count, cut, freshId, h } from "./dom.js";
import { FAILURE_KINDS } from "./states.js";

const MOST_NAMED = 20;
const MOST_LENGTH = 60;

/**
 * Tasks by name, and how many more there are.
 *
 * @param {string[]} ids
 */
export function named(ids, most = MOST_NAMED) {
  const more = ids.length > most ? ` and ${(ids.length - most).toLocaleString()} more` : "";
  return `${ids.slice(0, most).map((id) => cut(id, MOST_LENGTH)).join(", ")}${more}`;
}

/**
 * Tasks that are known before the form is opened, and how many were left out, as this cannot be done with them.
 *
 * @typedef {{ids: string[], leftOut: number}} Chosen
 */

export class NamedTasks {
  #ids;

  /** @param {Chosen} chosen */
  constructor({ ids, leftOut }) {
    this.#ids = ids;
    this.element = h(
      "p",
      { class: "meant" },
      h("strong", {}, `${count(ids.length, "task")}: `),
      named(ids),
      leftOut ? h("span", { class: "small" }, ` (left out: ${count(leftOut, "ticked task")} with which this cannot be done)`) : null,
    );
  }

  fields() {
    return { tasks: this.#ids };
  }
}

export class SelectionFields {
  #names = h("input", { type: "text", autocomplete: "off", spellcheck: "false", autofocus: true, placeholder: "any" });
  #failed = h("input", { type: "checkbox", id: freshId("failed") });
  #waiting = h("input", { type: "checkbox", id: freshId("waiting") });
  #kind = h("select", {}, h("option", { value: "" }, "any"), FAILURE_KINDS.map((kind) => h("option", { value: kind }, kind)));
  #codes = h("input", { type: "text", autocomplete: "off", inputmode: "numeric", placeholder: "any" });
  #words = h("input", { type: "text", autocomplete: "off", maxlength: 500, placeholder: "any" });
  #helpId = freshId("help");

  /** @param {string} help what is meant where nothing is said. */
  constructor(help) {
    this.#names.setAttribute("aria-describedby", this.#helpId);
    this.element = h(
      "fieldset",
      {},
      h("legend", {}, "Which tasks"),
      h("label", { class: "field" }, "Names or patterns, such as relax-* bands", this.#names),
      h(
        "p",
        { class: "choices" },
        h("span", {}, this.#failed, " ", h("label", { for: this.#failed.id }, "that failed")),
        h("span", {}, this.#waiting, " ", h("label", { for: this.#waiting.id }, "that have not begun")),
      ),
      h(
        "div",
        { class: "columns" },
        h("label", { class: "field" }, "Kind of failure", this.#kind),
        h("label", { class: "field" }, "Exit code", this.#codes),
        h("label", { class: "field" }, "Failed with the words", this.#words),
      ),
      h("p", { class: "small", id: this.#helpId }, `What is given must all hold. ${help}`),
    );
  }

  fields() {
    /** @type {Record<string, unknown>} */
    const which = {};
    if (this.#failed.checked) which.failed = true;
    if (this.#waiting.checked) which.waiting = true;
    if (this.#kind.value) which.kinds = [this.#kind.value];
    const codes = wordsOf(this.#codes.value).map(codeOf);
    if (codes.length) which.exit_codes = codes;
    if (this.#words.value.trim()) which.reason = this.#words.value.trim();
    return { tasks: wordsOf(this.#names.value), which };
  }
}

/** @param {string} text */
const wordsOf = (text) => text.split(/[\s,]+/).filter(Boolean);

/** @param {string} text */
function codeOf(text) {
  const code = Number(text);
  if (!Number.isSafeInteger(code)) throw new Error(`exit code: "${text}" is no whole number`);
  return code;
}
