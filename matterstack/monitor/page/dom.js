// Elements are made, never parsed: whatever a user or a job wrote stays text.

/**
 * @typedef {ReturnType<typeof setTimeout>} Timer
 * @typedef {Record<string, unknown>} Attributes
 * @typedef {Node | string | null | undefined | any[]} Child
 */

// As matterstack/core/shown_text.py: what controls, turns the direction of writing around, or is no character.
export const UNSEEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
/** Attributes that are read to people. */
const READ = new Set(["title", "aria-label", "placeholder"]);

/**
 * Text of whoever wrote it, in which nothing is done that is not seen.
 *
 * @param {string} text
 */
export const visible = (text) =>
  text.replace(UNSEEN, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16);
    const [sign, size] = code.length <= 2 ? ["x", 2] : code.length <= 4 ? ["u", 4] : ["U", 8];
    return `\\${sign}${code.padStart(size, "0")}`;
  });

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element; functions listen to events, `true` is an empty attribute, `null` and `false` are none.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} attributes
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/**
 * The same for drawings.
 *
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} attributes
 * @param {Child[]} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * @template {Element} E
 * @param {E} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 * @returns {E}
 */
function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? "" : READ.has(name) ? visible(String(value)) : String(value));
  }
  const given = /** @type {(Node | string | null | undefined)[]} */ (children.flat(Infinity));
  for (const child of given) if (child !== null && child !== undefined) element.append(typeof child === "string" ? visible(child) : child);
  return element;
}

/**
 * Say what an element is, to those who do not see it.
 *
 * @param {Element} element
 * @param {string} text
 */
export const label = (element, text) => element.setAttribute("aria-label", visible(text));

/**
 * Set text only where it differs, so that screen readers and selections are left alone.
 *
 * @param {Node} element
 * @param {string} text
 */
export function setText(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

/**
 * Show an element or not; where it is hidden and had the keyboard, another one has it.
 *
 * @param {HTMLElement} element
 * @param {boolean} isShown
 * @param {() => void} focusOther
 */
export function reveal(element, isShown, focusOther) {
  const hadFocus = !isShown && document.activeElement === element;
  element.hidden = !isShown;
  if (hadFocus) focusOther();
}

/**
 * Call `draw` soon, and once, however often this is asked for; also in a tab that is not shown.
 *
 * @param {() => void} draw
 */
export function coalesced(draw, waitMs = 50) {
  /** @type {Timer | 0} */
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      draw();
    }, waitMs);
  };
}

/**
 * A number as the reader writes it.
 *
 * @param {number} value
 */
export const number = (value) => value.toLocaleString();

/**
 * A number of things.
 *
 * @param {number} value
 * @param {string} what
 */
export const count = (value, what) => `${number(value)} ${what}${value === 1 ? "" : "s"}`;

/**
 * Text that is not longer than so many characters.
 *
 * @param {string} text
 * @param {number} most
 */
export const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

let ids = 0;
/**
 * An id that nothing else on the page has.
 *
 * @param {string} stem
 */
export const freshId = (stem) => `${stem}-${(ids += 1)}`;
