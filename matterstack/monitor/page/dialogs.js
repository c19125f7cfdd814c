// Dialogs: nothing is done to a run before it was confirmed.

import { freshId, h } from "./dom.js";

/**
 * @template T
 * @typedef {{label: string, kind: string, value: () => T | null}} Button
 */

/** @typedef {{title: string, text: string, action: string, isDangerous?: boolean, withReason?: boolean}} Asked */

/**
 * Open a dialog; resolves with what it was left with, null when nothing was chosen.
 *
 * @template T
 * @param {string} title
 * @param {(leave: (value: T | null) => void) => HTMLElement} fill makes what is in it, and calls what closes it.
 * @returns {Promise<T | null>}
 */
export function inDialog(title, fill) {
  const titleId = freshId("title");
  const dialog = h("dialog", { "aria-labelledby": titleId }, h("h2", { id: titleId }, title));
  const returnTo = /** @type {HTMLElement | null} */ (document.activeElement);
  return new Promise((resolve) => {
    /** @param {T | null} value */
    const leave = (value) => {
      dialog.close();
      dialog.remove();
      returnTo?.focus?.();
      resolve(value);
    };
    dialog.append(fill(leave));
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      leave(null);
    });
    document.body.append(dialog);
    dialog.showModal();
    /** @type {HTMLElement | null} */
    const first = dialog.querySelector("[autofocus]") ?? dialog.querySelector("button");
    first?.focus();
  });
}

/**
 * The same, with buttons below that leave it with what they give.
 *
 * @template T
 * @param {string} title
 * @param {HTMLElement} content
 * @param {Button<T>[]} buttons
 * @returns {Promise<T | null>}
 */
const open = (title, content, buttons) =>
  inDialog(title, (leave) => {
    const below = buttons.map(({ label, kind, value }) => h("button", { type: "button", class: kind, click: () => leave(value()) }, label));
    return h("div", {}, content, h("p", { class: "buttons" }, below));
  });

/**
 * Ask before something is done; resolves with {reason}, or null when it is not to be done.
 *
 * @param {Asked} question
 * @returns {Promise<{reason: string} | null>}
 */
export function confirmed({ title, text, action, isDangerous = false, withReason = false }) {
  const id = freshId("reason");
  const input = h("input", { id, type: "text", maxlength: 2000, autocomplete: "off" });
  const content = h(
    "div",
    {},
    h("p", {}, text),
    withReason ? h("p", { class: "field" }, h("label", { for: id }, "Reason (optional; stays in the history)"), input) : null,
  );
  const give = () => ({ reason: input.value.trim() });
  return open(title, content, [
    { label: "Leave it", kind: "plain", value: () => null },
    { label: action, kind: isDangerous ? "danger" : "primary", value: give },
  ]);
}

/**
 * Show the keys, and whether they are to work.
 *
 * @param {[key: string, what: string][]} keys
 * @param {boolean} isOn
 * @param {(isOn: boolean) => void} setOn
 */
export async function showShortcuts(keys, isOn, setOn) {
  const id = freshId("keys");
  const box = h("input", { type: "checkbox", id, checked: isOn });
  const rows = keys.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, what)));
  await open(
    "Keys",
    h("div", {}, h("table", { class: "keys" }, h("tbody", {}, rows)), h("p", {}, box, " ", h("label", { for: id }, "single keys work"))),
    [{ label: "Close", kind: "primary", value: () => null }],
  );
  setOn(box.checked);
}
