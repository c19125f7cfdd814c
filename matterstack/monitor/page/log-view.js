// What a task prints, as it comes.  A bounded number of lines, each of bounded length.

import { ask, messageOf, runPath } from "./api.js";
import { piecesOf, plainStyle } from "./ansi.js";
import { h, label, number, setText } from "./dom.js";

const INTERVAL_MS = 1000;
const MOST_LINES = 2000;
const MOST_LENGTH = 2000;

export class LogView {
  #path;
  /** @type {number | null} */
  #attempt = null;
  #stream = "stdout";
  /** @type {number | null} */
  #end = null;
  #style = plainStyle();
  #rest = "";
  /** @type {HTMLElement | null} */
  #openLine = null;
  /** @type {import("./dom.js").Timer | 0} */
  #timer = 0;
  #turn = 0;
  #isOver;
  #lines = h("pre", { class: "log", tabindex: 0, role: "log", "aria-label": "Output", "aria-live": "off" });
  #note = h("p", { class: "small" });
  element = h("div", { class: "log-view" }, this.#note, this.#lines);

  /**
   * @param {string} runId
   * @param {string} taskId
   * @param {() => boolean} isOver tells whether the attempt shown has ended, so that nothing more is to come.
   */
  constructor(runId, taskId, isOver) {
    this.#path = runPath(runId, "tasks", taskId, "log");
    this.#isOver = isOver;
  }

  /**
   * Show another attempt or stream, from near its end on.
   *
   * @param {number} attempt
   * @param {string} stream
   */
  show(attempt, stream) {
    this.#attempt = attempt;
    this.#stream = stream;
    this.#end = null;
    this.#turn += 1;
    this.#style = plainStyle();
    this.#rest = "";
    this.#openLine = null;
    this.#lines.replaceChildren();
    setText(this.#note, "Reading…");
    label(this.#lines, `${stream} of attempt ${attempt}`);
    this.#look();
  }

  /** Read on, unless that is about to happen. */
  look() {
    if (!this.#timer && this.#attempt !== null) this.#timer = setTimeout(() => this.#look(), INTERVAL_MS);
  }

  stop() {
    if (this.#timer) clearTimeout(this.#timer);
    this.#turn += 1;
    this.#attempt = null;
  }

  async #look() {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = 0;
    const turn = this.#turn;
    const wasOver = this.#isOver();
    const offset = this.#end === null ? "" : `&offset=${this.#end}`;
    let isMore = false;
    try {
      /** @type {import("./documents.js").Piece} */
      const piece = await ask(`${this.#path}?attempt=${this.#attempt}&stream=${this.#stream}${offset}`);
      if (turn !== this.#turn) return;
      this.#take(piece);
      isMore = piece.end < piece.size && piece.text !== "";
    } catch (error) {
      if (turn !== this.#turn) return;
      setText(this.#note, `It cannot be read now: ${messageOf(error)}`);
    }
    if (document.hidden || (wasOver && !isMore && this.#end !== null)) return;
    this.#timer = setTimeout(() => this.#look(), isMore ? 0 : INTERVAL_MS);
  }

  /** @param {import("./documents.js").Piece} piece */
  #take({ text, start, end }) {
    if (this.#end !== null && start < this.#end) this.#lines.replaceChildren(h("em", {}, "(the file was written anew)\n"));
    const isAtEnd = this.#lines.scrollTop + this.#lines.clientHeight >= this.#lines.scrollHeight - 30;
    const isFirst = this.#end === null;
    this.#end = end;
    if (text) this.#append(text);
    const from = isFirst && start > 0 ? `from byte ${number(start)} on` : null;
    if (isFirst) setText(this.#note, from ?? (text ? "" : "Nothing was printed yet."));
    else if (text) setText(this.#note, (this.#note.textContent ?? "").replace("Nothing was printed yet.", ""));
    if (isAtEnd) this.#lines.scrollTop = this.#lines.scrollHeight;
  }

  /** @param {string} text */
  #append(text) {
    const lines = (this.#rest + text).split("\n");
    this.#openLine?.remove();
    this.#rest = lines.pop() ?? "";
    const elements = lines.slice(-MOST_LINES).map((line) => this.#line(line, this.#style));
    // A line that goes on is shown as far as it has come, and is not the last word on the colours.
    this.#openLine = this.#rest ? this.#line(this.#rest, { ...this.#style }) : null;
    // What is never ended must not grow for ever.
    if (this.#rest.length > 64 * MOST_LENGTH) this.#rest = this.#rest.slice(-MOST_LENGTH);
    this.#lines.append(...elements, ...(this.#openLine ? [this.#openLine] : []));
    while (this.#lines.childElementCount > MOST_LINES) this.#lines.firstElementChild?.remove();
  }

  /**
   * @param {string} line
   * @param {import("./ansi.js").Style} style
   */
  #line(line, style) {
    const shown = [];
    let left = MOST_LENGTH;
    let cutOff = 0;
    for (const { text, className } of piecesOf(line, style)) {
      if (left > 0) shown.push(className ? h("span", { class: className }, text.slice(0, left)) : text.slice(0, left));
      cutOff += Math.max(0, text.length - left);
      left = Math.max(0, left - text.length);
    }
    return h("span", { class: "line" }, shown, cutOff ? h("em", {}, ` … and ${number(cutOff)} characters`) : null, "\n");
  }
}
