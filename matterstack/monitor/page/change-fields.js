// What is to be another value: paths, each with what is to stand there.

import { freshId, h } from "./dom.js";

/**
 * @typedef {object} Wanted
 * @property {string} legend
 * @property {string} help
 * @property {string[]} paths that are proposed while one is typed.
 * @property {boolean} [isFirst] whether the keyboard begins there.
 */

export class ChangeFields {
  /** @type {{path: HTMLInputElement, value: HTMLInputElement}[]} */
  #rows = [];
  #list;
  #listId = freshId("paths");
  #body = h("div", { class: "changes" });

  /** @param {Wanted} wanted */
  constructor({ legend, help, paths, isFirst = false }) {
    this.#list = h("datalist", { id: this.#listId }, paths.map((path) => h("option", { value: path })));
    const add = h("button", { type: "button", click: () => this.#add().focus() }, "Add another");
    this.element = h("fieldset", {}, h("legend", {}, legend), this.#body, h("p", {}, add), h("p", { class: "small" }, help), this.#list);
    const first = this.#add();
    if (isFirst) first.setAttribute("autofocus", "");
  }

  #add() {
    const attributes = { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 20_000 };
    const row = { path: h("input", { ...attributes, list: this.#listId }), value: h("input", attributes) };
    const element = h(
      "div",
      { class: "change" },
      h("label", { class: "field" }, "Field", row.path),
      h("label", { class: "field" }, "New value", row.value),
      h("button", { type: "button", "aria-label": "Take this change away", click: () => this.#drop(row, element) }, "✕"),
    );
    this.#rows.push(row);
    this.#body.append(element);
    return row.path;
  }

  /**
   * @param {{path: HTMLInputElement, value: HTMLInputElement}} row
   * @param {HTMLElement} element
   */
  #drop(row, element) {
    const at = this.#rows.indexOf(row);
    this.#rows.splice(at, 1);
    // Nobody has typed, but what was shown is not what the fields say any more.
    element.dispatchEvent(new Event("input", { bubbles: true }));
    element.remove();
    if (!this.#rows.length) this.#add();
    this.#rows[Math.min(at, this.#rows.length - 1)].path.focus();
  }

  fields() {
    const set = this.#rows.flatMap(({ path, value }) => {
      const name = path.value.trim();
      if (!name && !value.value) return [];
      if (!name) throw new Error(`say of which field "${value.value}" is to be the value`);
      return [`${name}=${value.value}`];
    });
    return set.length ? { set } : {};
  }
}
