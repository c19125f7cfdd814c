// All runs at a glance.

import { count, h, number, setText } from "./dom.js";
import { labelElements } from "./label-form.js";
import { badge, capsText, countsText, progressBar, progressOf } from "./parts.js";
import { ENDED_RUNS, RUN_STATES } from "./states.js";
import { timeElement } from "./times.js";
import { WindowedGrid } from "./windowed.js";

/** @typedef {import("./documents.js").Run} Run */

export class RunsView {
  title = "Runs";
  #runs;
  #search = h("input", { type: "search", id: "search", placeholder: "workspace, id or label", input: () => this.draw() });
  #status = h(
    "select",
    { id: "status", change: () => this.draw() },
    h("option", { value: "" }, "any status"),
    h("option", { value: "open" }, "not ended"),
    RUN_STATES.map((status) => h("option", { value: status }, status)),
  );
  #summary = h("p", { class: "summary" });
  #seats = h("ul", { class: "seats", "aria-label": "Seats of the backends" });
  #grid;

  /**
   * @param {import("./runs.js").Runs} runs
   * @param {(runId: string) => void} open
   */
  constructor(runs, open) {
    this.#runs = runs;
    /** @type {WindowedGrid<Run>} */
    this.#grid = new WindowedGrid({
      kind: "runs",
      label: "Runs",
      columns: ["Run", "Status", "Progress", "Jobs", "Last change"],
      rowHeights: { wide: 52, narrow: 106 },
      key: (run) => run.run_id,
      version: (run) => run.version,
      cells: cellsOf,
      onOpen: (run) => open(run.run_id),
      whenEmpty: "No runs.",
    });
    this.element = h(
      "section",
      { class: "view", "aria-labelledby": "view-title" },
      h("h1", { id: "view-title", tabindex: "-1" }, "Runs"),
      this.#summary,
      this.#seats,
      h(
        "div",
        { class: "filters", role: "search" },
        h("label", { for: "search" }, "Find"),
        this.#search,
        h("label", { for: "status" }, "Status"),
        this.#status,
      ),
      this.#grid.element,
    );
  }

  /** Show how things stand now. */
  draw() {
    const all = this.#runs.list;
    const wanted = this.#search.value.trim().toLowerCase();
    const status = this.#status.value;
    const shown = all.filter(
      (run) =>
        (!wanted || `${run.workspace} ${run.run_id} ${run.labels.join(" ")} ${run.note}`.toLowerCase().includes(wanted)) &&
        (!status || run.status === status || (status === "open" && isOpen(run))),
    );
    const parts = RUN_STATES.map((name) => ({ name, n: all.filter((run) => run.status === name).length }));
    const words = parts.filter(({ n }) => n).map(({ name, n }) => `${number(n)} ${name.toLowerCase()}`);
    setText(this.#summary, [count(all.length, "run"), ...words].join(" · "));
    this.#drawSeats(all);
    this.#grid.setRows(shown);
  }

  /** @param {Run[]} all */
  #drawSeats(all) {
    /** @type {Map<string, number>} */
    const seats = new Map();
    for (const run of all.filter(isOpen)) {
      for (const [name, { max_jobs: most }] of Object.entries(run.caps.backends)) {
        seats.set(name, Math.max(most, seats.get(name) ?? 0));
      }
    }
    const texts = [...seats].map(
      ([name, most]) => `${name}: ${number(this.#runs.jobs[name] ?? 0)} of ${number(most)} seats taken`,
    );
    if (this.#seats.dataset.shown === texts.join("\n")) return;
    this.#seats.dataset.shown = texts.join("\n");
    this.#seats.replaceChildren(...texts.map((text) => h("li", {}, text)));
  }

  /** Where the keyboard goes to search. */
  focusSearch() {
    this.#search.focus();
  }

  focusGrid() {
    this.#grid.focus();
  }
}

/** @param {Run} run */
const isOpen = (run) => !ENDED_RUNS.has(run.status);

/** @param {Run} run */
function cellsOf(run) {
  const { done, total } = progressOf(run.tasks);
  const stage = run.stages.at(-1);
  return [
    [h("div", { class: "run-name", title: run.note || null }, h("strong", {}, run.workspace), labelElements(run.labels)), h("span", { class: "id" }, run.run_id)],
    [badge(run.status), run.questions ? h("span", { class: "asks" }, count(run.questions, "question")) : null, run.status_reason ? h("span", { class: "reason below", title: run.status_reason }, run.status_reason) : null],
    [
      progressBar(run.tasks),
      h("span", { class: "small", title: countsText(run.tasks) }, total ? `${number(done)} of ${number(total)}` : "nothing planned yet",
        stage ? ` · ${stage.name ?? `iteration ${stage.iteration}`}` : ""),
    ],
    [h("span", { class: "small" }, capsText(run))],
    [h("span", { class: "small" }, timeElement(run.updated_at))],
  ];
}
