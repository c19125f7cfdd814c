// All runs, as the store has them.  What an event is about is asked for anew, at most once a second.

import { ask } from "./api.js";
import { runStatusAfter } from "./fold.js";

const INTERVAL_MS = 1000;
const MOST_AT_ONCE = 200;

export class Runs {
  byId = new Map();
  /** Live jobs by backend, over all runs. */
  jobs = {};
  #onChange;
  #dirty = new Set();
  #timer = 0;

  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** All runs, the newest first. */
  get list() {
    return [...this.byId.values()].sort((a, b) => (a.run_id < b.run_id ? 1 : -1));
  }

  /** Read all of them; returns as of which event. */
  async load() {
    const view = await ask("/api/runs");
    this.byId = new Map(view.runs.map((run) => [run.run_id, versioned(run, undefined)]));
    this.jobs = view.jobs;
    this.#onChange();
    return view.seq;
  }

  /** Take the next events. */
  apply(events) {
    for (const event of events) {
      const run = this.byId.get(event.run);
      const after = runStatusAfter(event);
      if (run && after) {
        run.status = after.status ?? run.status;
        run.status_reason = after.reason;
      }
      if (run) {
        run.updated_at = event.at;
        run.version += 1;
      }
      this.#dirty.add(event.run);
    }
    this.#onChange();
    this.#timer ||= setTimeout(() => this.#refresh(), INTERVAL_MS);
  }

  async #refresh() {
    const named = [...this.#dirty].slice(0, MOST_AT_ONCE);
    for (const run of named) this.#dirty.delete(run);
    const began = performance.now();
    try {
      const view = await ask(`/api/runs?runs=${named.join(",")}`);
      for (const run of view.runs) this.byId.set(run.run_id, versioned(run, this.byId.get(run.run_id)));
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

const versioned = (run, known) => ({ ...run, version: (known?.version ?? 0) + 1 });
