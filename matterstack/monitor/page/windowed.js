// A table of any length, of which only the rows in sight are in the document.

import { h } from "./dom.js";
import { rowAfterKey, rowsInSight, scrolledTo } from "./sight.js";

const PHONE = matchMedia("(max-width: 40rem)");

/**
 * @template Row
 * @typedef {object} Options
 * @property {string} kind
 * @property {string} label names it.
 * @property {string[]} columns titles of its columns.
 * @property {{wide: number, narrow: number}} rowHeights in pixels.
 * @property {(row: Row) => import("./dom.js").Child[]} cells gives the cells of a row.
 * @property {(row: Row) => string} key gives what a row is recognized by when rows move.
 * @property {(row: Row) => number | string} version gives what differs when a row is to be drawn anew.
 * @property {(row: Row) => void} onOpen is called with the row that was chosen.
 * @property {(row: Row) => void} [onTick] is called with the row whose checkbox was used, or on which the space bar was.
 * @property {string} [whenEmpty]
 */

/**
 * @typedef {HTMLElement & {key?: string}} RowElement
 * @typedef {{element: RowElement, version: number | string | null, index?: number, height?: number}} Shown
 */

/**
 * A grid for eyes, keyboard and screen reader: one row at a time takes part in the tab order.
 *
 * @template Row
 */
export class WindowedGrid {
  #options;
  /** @type {Row[]} */
  #rows = [];
  /** @type {Map<string, Shown>} */
  #shown = new Map();
  /** @type {string | null} */
  #activeKey = null;
  /** Where that row was: when it goes, the one that takes its place has the keyboard. */
  #activeAt = 0;
  /** @type {string | null} */
  #selectedKey = null;
  #space = h("div", { class: "grid-space", role: "presentation" });
  #body = h("div", { class: "grid-body", role: "rowgroup", tabindex: "-1" }, this.#space);

  /** @param {Options<Row>} options */
  constructor(options) {
    this.#options = options;
    const head = h(
      "div",
      { role: "row", class: "grid-row", "aria-rowindex": 1 },
      options.columns.map((title) => h("div", { role: "columnheader" }, title)),
    );
    this.empty = h("p", { class: "empty", hidden: true }, options.whenEmpty ?? "Nothing to show.");
    this.grid = h(
      "div",
      { role: "grid", class: `grid ${options.kind}`, "aria-label": options.label, "aria-colcount": options.columns.length },
      h("div", { role: "rowgroup", class: "grid-head" }, head),
      this.#body,
    );
    this.element = h("div", { class: "grid-frame" }, this.grid, this.empty);
    this.#body.addEventListener("scroll", () => this.draw(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.#onKey(event));
    this.#body.addEventListener("click", (event) => this.#onClick(event));
    this.#body.addEventListener("focusin", (event) => this.#onFocus(event));
    this.#sizes = new ResizeObserver(() => this.draw());
    this.#sizes.observe(this.#body);
  }

  #sizes;

  get #height() {
    const { rowHeights } = this.#options;
    return PHONE.matches ? rowHeights.narrow : rowHeights.wide;
  }

  get #activeIndex() {
    const index = this.#rows.findIndex((row) => this.#options.key(row) === this.#activeKey);
    if (index >= 0) this.#activeAt = index;
    return Math.max(0, index);
  }

  /**
   * Show other rows, or the same in another order.
   *
   * @param {Row[]} rows
   */
  setRows(rows) {
    this.#rows = rows;
    this.grid.setAttribute("aria-rowcount", String(rows.length + 1));
    this.empty.hidden = rows.length > 0;
    this.grid.hidden = rows.length === 0;
    this.draw();
  }

  /**
   * Mark a row as chosen.
   *
   * @param {string | null} key
   */
  select(key) {
    this.#selectedKey = key;
    if (key !== null) this.#activeKey = key;
    this.draw();
  }

  /** Put the keyboard into the grid. */
  focus() {
    this.#goTo(this.#activeIndex);
  }

  /** Draw the rows in sight; those that have not changed stay as they are. */
  draw() {
    if (!this.element.isConnected) return;
    const height = this.#height;
    this.#space.style.height = `${this.#rows.length * height}px`;
    const { first, last } = rowsInSight(this.#body, height, this.#rows.length);
    const wanted = new Set();
    for (let index = first; index < last; index += 1) wanted.add(index);
    // The row in the tab order stays, wherever it is: else the keyboard would lose its place.
    if (this.#rows.length) wanted.add(this.#activeIndex);
    const keys = new Set();
    /** @type {RowElement | null} */
    let before = null;
    for (const index of [...wanted].sort((a, b) => a - b)) {
      const row = this.#drawRow(index, height);
      keys.add(this.#options.key(this.#rows[index]));
      /** @type {ChildNode | null} */
      const place = before === null ? this.#space.firstChild : before.nextSibling;
      if (place !== row) this.#space.insertBefore(row, place);
      before = row;
    }
    let hadFocus = false;
    for (const [key, { element }] of this.#shown) {
      if (keys.has(key)) continue;
      hadFocus ||= element.contains(document.activeElement);
      element.remove();
      this.#shown.delete(key);
    }
    if (hadFocus) this.#goTo(this.#activeAt);
  }

  /**
   * @param {number} index
   * @param {number} height
   */
  #drawRow(index, height) {
    const { key: keyOf, version, cells } = this.#options;
    const row = this.#rows[index];
    const key = keyOf(row);
    let shown = this.#shown.get(key);
    if (!shown) {
      shown = { element: h("div", { role: "row", class: "grid-row" }), version: null };
      shown.element.key = key;
      this.#shown.set(key, shown);
    }
    const { element } = shown;
    const now = version(row);
    if (shown.version !== now) {
      shown.version = now;
      element.replaceChildren(...cells(row).map((cell) => h("div", { role: "gridcell" }, cell ?? "")));
    }
    if (shown.index !== index || shown.height !== height) {
      Object.assign(shown, { index, height });
      element.setAttribute("aria-rowindex", String(index + 2));
      element.style.transform = `translateY(${index * height}px)`;
      element.style.height = `${height}px`;
    }
    element.tabIndex = index === this.#activeIndex ? 0 : -1;
    element.setAttribute("aria-selected", String(key === this.#selectedKey));
    return element;
  }

  /** @param {number} index */
  #goTo(index) {
    if (!this.#rows.length) return;
    const bounded = Math.min(Math.max(index, 0), this.#rows.length - 1);
    this.#activeKey = this.#options.key(this.#rows[bounded]);
    const scrollTop = scrolledTo(this.#body, this.#height, bounded);
    if (scrollTop !== this.#body.scrollTop) this.#body.scrollTop = scrollTop;
    this.draw();
    this.#shown.get(this.#activeKey)?.element.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !isRow(event.target)) return;
    const index = this.#activeIndex;
    const target = rowAfterKey(event.key, index, this.#body, this.#height, this.#rows.length);
    if (target !== undefined) {
      event.preventDefault();
      this.#goTo(target);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      const { onOpen, onTick } = this.#options;
      (event.key === " " && onTick ? onTick : onOpen)(this.#rows[index]);
    }
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const target = /** @type {Element} */ (event.target);
    /** @type {RowElement | null} */
    const element = target.closest("[role=row]");
    const isTick = target.closest("input") !== null;
    if (!element || (!isTick && getSelection()?.toString())) return;
    const row = this.#rows.find((candidate) => this.#options.key(candidate) === element.key);
    if (row) (isTick ? this.#options.onTick : this.#options.onOpen)?.(row);
  }

  /** @param {FocusEvent} event */
  #onFocus(event) {
    const { key } = /** @type {RowElement} */ (event.target);
    if (key === undefined || key === this.#activeKey) return;
    this.#activeKey = key;
    this.draw();
  }
}

/** @param {EventTarget | null} target */
const isRow = (target) => target instanceof Element && target.getAttribute("role") === "row";
