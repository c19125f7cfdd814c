// The events of a run as they come, the newest first.  A bounded number of them.

import { ask, messageOf, runPath } from "./api.js";
import { cut, h, setText } from "./dom.js";
import { timeElement } from "./times.js";

/** @typedef {HTMLElement & {seq?: number}} EventElement */

const MOST = 200;
const MOST_EVER = 2000;

export class EventsTab {
  #runId;
  /** @type {import("./run-tasks.js").RunTasks | null} */
  #known = null;
  #from = Infinity;
  #most = 0;
  #list = h("ol", { class: "events", reversed: true, "aria-label": "Events, the newest first", tabindex: 0 });
  #older = h("button", { type: "button", class: "plain", click: () => this.#loadOlder() }, "Show older ones");
  #note = h("p", { class: "small", role: "status" });
  /** @type {Set<number>} */
  #seqs = new Set();

  /** @param {string} runId */
  constructor(runId) {
    this.#runId = runId;
    this.element = h("div", { class: "events-tab" }, this.#list, h("p", {}, this.#older), this.#note);
  }

  /** @param {import("./run-tasks.js").RunTasks} runTasks */
  update(runTasks) {
    this.#known = runTasks;
  }

  /** Show what was before; call it once. */
  load() {
    return this.#loadOlder();
  }

  /**
   * Take the next events.
   *
   * @param {import("./documents.js").StoredEvent[]} events
   */
  add(events) {
    const fresh = events.filter((event) => event.run === this.#runId && !this.#seqs.has(event.seq));
    for (const event of fresh.slice(-MOST)) {
      this.#from = Math.min(this.#from, event.seq);
      this.#seqs.add(event.seq);
      this.#list.prepend(eventElement(event, this.#known));
    }
    while (this.#list.childElementCount > this.#most) {
      this.#drop(this.#list.lastElementChild);
      this.#from = seqOf(this.#list.lastElementChild);
      this.#older.hidden = false;
    }
  }

  /** @param {Element | null} element */
  #drop(element) {
    this.#seqs.delete(seqOf(element));
    element?.remove();
  }

  async #loadOlder() {
    // Who asks for more wants to see more, within bounds.
    this.#most = Math.min(this.#most + MOST, MOST_EVER);
    const query = Number.isFinite(this.#from) ? `?before=${this.#from}` : "";
    try {
      /** @type {{events: import("./documents.js").StoredEvent[], is_all: boolean}} */
      const { events, is_all: isAll } = await ask(runPath(this.#runId, "events") + query);
      const fresh = events.filter((event) => !this.#seqs.has(event.seq) && event.seq < this.#from);
      for (const event of fresh.reverse()) {
        this.#seqs.add(event.seq);
        this.#list.append(eventElement(event, this.#known));
        this.#from = event.seq;
      }
      while (this.#list.childElementCount > MOST_EVER) this.#drop(this.#list.firstElementChild);
      this.#older.hidden = isAll;
      setText(this.#note, isAll ? "This is where the run began." : "");
    } catch (error) {
      setText(this.#note, `Older events could not be read: ${messageOf(error)}`);
    }
  }
}

/** @param {Element | null} element */
const seqOf = (element) => /** @type {EventElement | null} */ (element)?.seq ?? Infinity;

/**
 * @param {import("./documents.js").StoredEvent} event
 * @param {import("./run-tasks.js").RunTasks | null} runTasks
 */
function eventElement(event, runTasks) {
  /** @type {EventElement} */
  const element = h(
    "li",
    { value: event.seq, "data-seq": event.seq },
    timeElement(event.at),
    " ",
    h("strong", {}, event.type),
    " ",
    h("span", {}, wordsOf(event, runTasks?.taskOf(event))),
  );
  element.seq = event.seq;
  return element;
}

/**
 * What an event says, in one line.
 *
 * @param {import("./documents.js").StoredEvent} event
 * @param {import("./documents.js").Task | undefined} task
 */
function wordsOf({ type, data }, task) {
  if (type === "RunCreated") return `from ${data.workspace}`;
  if (type === "TaskPlanned") return data.task.id;
  if (type === "AttemptPrepared") return `${data.task_id}, attempt ${data.n} on ${data.backend}`;
  const isToldOtherwise = new Set([...(task ? ["token", "task_id"] : []), ...(data.changes ? AFTER_CHANGES : []), ...(type === "RunPaused" ? ["alike"] : [])]);
  const parts = Object.entries(data)
    .filter(([name, value]) => !isToldOtherwise.has(name) && !isNothing(value))
    .map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`);
  return cut([task?.task_id, changesText(data.changes), ...parts].filter(Boolean).join(" "), 300);
}

/** What follows from the changes of the same event, or is too long for a line. */
const AFTER_CHANGES = ["changes", "config", "overrides", "planned", "task", "contents"];

/**
 * What an amendment has changed: of a task, by path, or of a config, as a list.
 *
 * @param {Record<string, {old?: unknown, new?: unknown}> | {path: string, old?: unknown, new?: unknown}[] | undefined} changes
 */
function changesText(changes) {
  if (!changes) return "";
  const all = Array.isArray(changes) ? changes : Object.entries(changes).map(([path, change]) => ({ path, ...change }));
  return all.map((change) => `${change.path}: ${JSON.stringify(change.old ?? null)} → ${JSON.stringify(change.new ?? null)}`).join("; ");
}

/** @param {unknown} value */
const isNothing = (value) => value === null || value === "" || value === false || (Array.isArray(value) && !value.length);
