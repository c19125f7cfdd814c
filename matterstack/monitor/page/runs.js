// All runs, as the store has them.  Rows say at once how a run stands; what is to be counted is asked for anew, at most
// once a second.

import { ask } from "./api.js";

const INTERVAL_MS = 1000;
const MOST_AT_ONCE = 200;

export class Runs {
  /** @type {Map<string, import("./documents.js").Run>} */
  byId = new Map();
  /**
   * Live jobs by backend, over all runs.
   *
   * @type {Record<string, number>}
   */
  jobs = {};
  #onChange;
  /** @type {Set<string>} */
  #dirty = new Set();
  /** @type {Map<string, number>} By which event runs were deleted: what was read before that holds no more. */
  #deleted = new Map();
  /** @type {import("./dom.js").Timer | 0} */
  #timer = 0;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** All runs, the newest first. */
  get list() {
    return [...this.byId.values()].sort((a, b) => (a.run_id < b.run_id ? 1 : -1));
  }

  /** Read all of them; returns as of which event. */
  async load() {
    /** @type {import("./documents.js").RunsView} */
    const view = await ask("/api/runs");
    this.byId = new Map(view.runs.map((run) => [run.run_id, kept(run, view.seq, undefined)]));
    this.jobs = view.jobs;
    this.#onChange();
    return view.seq;
  }

  /**
   * Take what has changed.
   *
   * @param {import("./documents.js").Change} change
   */
  take({ events, rows }) {
    for (const { run: id, seq, row } of rows) {
      const run = this.byId.get(id);
      if (!run || seq <= run.as_of) continue;
      Object.assign(run, row);
      run.version += 1;
    }
    for (const event of events) {
      this.#dirty.add(event.run);
      if (!isDeletion(event)) continue;
      this.#deleted.set(event.run, event.seq);
      this.byId.delete(event.run);
    }
    this.#onChange();
    this.#timer ||= setTimeout(() => this.#refresh(), INTERVAL_MS);
  }

  /**
   * Other words of people, which are no events.
   *
   * @param {string} runId
   * @param {{labels: string[], note: string}} said
   */
  setLabels(runId, said) {
    const run = this.byId.get(runId);
    if (!run) return;
    Object.assign(run, said);
    run.version += 1;
  }

  async #refresh() {
    const named = [...this.#dirty].slice(0, MOST_AT_ONCE);
    for (const run of named) this.#dirty.delete(run);
    const began = performance.now();
    try {
      /** @type {import("./documents.js").RunsView} */
      const view = await ask(`/api/runs?runs=${named.join(",")}`);
      for (const run of view.runs) {
        if (view.seq < (this.#deleted.get(run.run_id) ?? 0)) continue;
        this.byId.set(run.run_id, kept(run, view.seq, this.byId.get(run.run_id)));
      }
      this.jobs = view.jobs;
    } catch {
      // The connection's state says that the monitor is away; these are asked for again when it is back.
      for (const run of named) this.#dirty.add(run);
    }
    // A monitor that is slow with this is asked less often.
    const took = performance.now() - began;
    this.#timer = 0;
    if (this.#dirty.size) this.#timer = setTimeout(() => this.#refresh(), Math.max(INTERVAL_MS, 4 * took));
    this.#onChange();
  }
}

/**
 * Whether an event says that its run is there no more.
 *
 * @param {import("./documents.js").StoredEvent} event
 */
export const isDeletion = ({ type }) => type === "RunDeleted";

/**
 * @param {import("./documents.js").RunDocument} run
 * @param {number} seq
 * @param {import("./documents.js").Run | undefined} known
 * @returns {import("./documents.js").Run}
 */
const kept = (run, seq, known) => ({ ...run, as_of: seq, version: (known?.version ?? 0) + 1 });
