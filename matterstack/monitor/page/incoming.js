// What comes over a connection, put together: events, the rows that they changed, and that this is all.

/**
 * @typedef {import("./documents.js").StoredEvent} StoredEvent
 * @typedef {import("./documents.js").Rows} Rows
 * @typedef {import("./documents.js").Change} Change
 */

export class Incoming {
  /** @type {StoredEvent[]} */
  #events = [];
  /** @type {Rows[]} */
  #rows = [];

  /** Up to where it is the past, as the store has it: what is missing there has gone with a run that was deleted. */
  past = 0;

  /** @param {number} seq up to which event everything was taken. */
  constructor(seq) {
    this.seq = seq;
  }

  /**
   * Take what came next.
   *
   * @param {StoredEvent | Rows | {type: "as_of", seq: number}} document
   * @returns {Change | number | null} what has changed, once all of it is there; or, as sequence numbers have no
   *   gaps but those of deleted runs, that of an event that is missing.
   */
  take(document) {
    if (document.type === "as_of") return this.#finish(document.seq);
    if (document.type === "rows") {
      this.#rows.push(/** @type {Rows} */ (document));
      return null;
    }
    const event = /** @type {StoredEvent} */ (document);
    const last = this.#events.at(-1)?.seq ?? this.seq;
    if (event.seq > last + 1 && event.seq > this.past) return last + 1;
    if (event.seq > last) this.#events.push(event);
    return null;
  }

  /**
   * @param {number} seq
   * @returns {Change | null}
   */
  #finish(seq) {
    const [events, rows] = [this.#events, this.#rows];
    this.#events = [];
    this.#rows = [];
    if (!events.length) return null;
    this.seq = seq;
    return { seq, events, rows };
  }
}
