// One run: how it stands, what can be done about it, and its tasks in several forms.

import { AnswerError, ask, messageOf, runPath } from "./api.js";
import { confirmed } from "./dialogs.js";
import { count, h, number, setText } from "./dom.js";
import { EventsTab } from "./events-tab.js";
import { ExplainTab } from "./explain-tab.js";
import { GraphTab } from "./graph-tab.js";
import { editLabels, labelElements } from "./label-form.js";
import { badge, capsText, countsText, progressBar, progressOf } from "./parts.js";
import { amendConfig, amendTasks, cancelTasks, retryTasks } from "./proposals.js";
import { Questions } from "./questions.js";
import { replan } from "./replan-form.js";
import { RunTasks } from "./run-tasks.js";
import { isDeletion } from "./runs.js";
import { ENDED_TASKS, isChangeable } from "./states.js";
import { TaskPanel } from "./task-panel.js";
import { TasksTab } from "./tasks-tab.js";
import { timeElement } from "./times.js";
import { TimelineTab } from "./timeline-tab.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./documents.js").Change} Change
 * @typedef {"tasks" | "graph" | "timeline" | "explain" | "events"} Tab
 * @typedef {{run: import("./documents.js").RunDocument, tasks: RunTasks, leftOut: number}} Loaded
 * @typedef {import("./dialogs.js").Asked} Asked
 * @typedef {import("./selection-fields.js").Chosen} Chosen
 */

/** @type {Tab[]} */
export const TABS = ["tasks", "graph", "timeline", "explain", "events"];

export class RunView {
  #app;
  #runId;
  /** @type {Loaded | null} */
  #loaded = null;
  /** @type {Change[]} */
  #early = [];
  #isThere = true;
  /** @type {Tab} */
  #tab = "tasks";
  /** @type {TaskPanel | null} */
  #panel = null;
  /** @type {string | null} */
  #taskId = null;
  #drawnHead = "";
  #heading = h("h1", { id: "view-title", tabindex: "-1" });
  #state = h("div", { class: "run-state" });
  #bar = h("div", { class: "run-progress" });
  #labels = h("span", { class: "run-name" });
  #note = h("span", { class: "note" });
  #label = h("button", { type: "button", class: "link", click: () => this.editLabels() });
  #actions;
  #questions;
  #tabs;
  #buttons;
  #panes;
  #body;
  #parts;
  #actionBar;

  /**
   * @param {App} app
   * @param {string} runId
   */
  constructor(app, runId) {
    this.#app = app;
    this.#runId = runId;
    this.#questions = new Questions(app, runId);
    setText(this.#heading, runId);
    /** @param {string} taskId */
    const openTask = (taskId) => app.goTo(runId, this.#tab, taskId);
    const tasks = new TasksTab(openTask, [
      { command: "amend", title: "Amend", fits: (task) => isChangeable(task.status), act: (chosen) => this.amend(chosen) },
      { command: "retry", title: "Retry", fits: (task) => task.retriable, act: (chosen) => this.retry(chosen) },
      { command: "cancel_tasks", title: "Cancel", isDangerous: true, fits: (task) => !ENDED_TASKS.has(task.status), act: (chosen) => this.cancelTasks(chosen) },
    ]);
    this.#tabs = {
      tasks,
      graph: new GraphTab((node) => {
        if (node.tasks.length === 1) openTask(node.tasks[0].task_id);
        else {
          tasks.showOnly({ name: node.name, ids: new Set(node.tasks.map((task) => task.task_id)) });
          app.goTo(runId, "tasks");
        }
      }),
      timeline: new TimelineTab(openTask),
      explain: new ExplainTab(runId),
      events: new EventsTab(runId),
    };
    /** @type {Record<string, HTMLButtonElement>} */
    this.#actions = {
      pause: this.#action("Pause", "p", () => this.pause()),
      resume: this.#action("Resume", "p", () => this.resume()),
      retry: this.#action("Retry failed tasks", "y", () => this.retry()),
      amend: this.#action("Amend tasks", "m", () => this.amend()),
      amend_config: this.#action("Change config", "c", () => this.amendConfig()),
      replan: this.#action("Replan", "n", () => this.replan()),
      cancel: this.#action("Cancel run", "x", () => this.cancel()),
    };
    /** @type {Record<string, HTMLButtonElement>} */
    this.#buttons = Object.fromEntries(TABS.map((name) => [name, this.#tabButton(name)]));
    /** @type {Record<string, HTMLElement>} */
    this.#panes = Object.fromEntries(
      TABS.map((name) => [
        name,
        h("div", { role: "tabpanel", id: `pane-${name}`, "aria-labelledby": `tab-${name}`, hidden: true }, this.#tabs[name].element),
      ]),
    );
    this.#body = h("div", { class: "run-body" }, h("div", { class: "panes" }, Object.values(this.#panes)));
    this.#actionBar = h("div", { class: "actions", role: "group", "aria-label": "Actions" }, Object.values(this.#actions));
    this.#parts = h(
      "div",
      { class: "view" },
      h("p", { class: "small said" }, this.#labels, this.#label, this.#note),
      this.#bar,
      this.#questions.element,
      h("div", { class: "tabs", role: "tablist", "aria-label": "Views of the run", keydown: (/** @type {KeyboardEvent} */ event) => this.#onTabKey(event) }, Object.values(this.#buttons)),
      this.#body,
    );
    this.element = h(
      "section",
      { class: "view", "aria-labelledby": "view-title" },
      h("div", { class: "run-head" }, this.#heading, this.#actionBar),
      this.#state,
      this.#parts,
    );
  }

  get title() {
    return this.#loaded ? `${this.#name} ${this.#loaded.run.status}` : this.#runId;
  }

  get #name() {
    return this.#loaded?.run.workspace ?? this.#runId;
  }

  /**
   * @param {string} label
   * @param {string} key
   * @param {() => void} click
   */
  #action(label, key, click) {
    return h("button", { type: "button", click, "aria-keyshortcuts": key, hidden: true, class: label === "Cancel run" ? "danger" : "" }, label);
  }

  /** @param {Tab} name */
  #tabButton(name) {
    const label = name[0].toUpperCase() + name.slice(1);
    return h(
      "button",
      { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `pane-${name}`, click: () => this.#app.goTo(this.#runId, name, this.#taskId) },
      label,
    );
  }

  /** @param {KeyboardEvent} event */
  #onTabKey(event) {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const next = TABS[(TABS.indexOf(this.#tab) + step + TABS.length) % TABS.length];
    this.#app.goTo(this.#runId, next, this.#taskId);
    this.#buttons[next].focus();
  }

  /** Read the run; events that come meanwhile are not lost. */
  async load() {
    /** @type {import("./documents.js").RunTasksView} */
    let view;
    try {
      view = await ask(runPath(this.#runId));
    } catch (error) {
      if (error instanceof AnswerError && error.status === 404) {
        this.#showAbsence(error.message);
        return;
      }
      this.#state.replaceChildren(h("p", { class: "problem" }, `The run cannot be read: ${messageOf(error)}. Trying again.`));
      setTimeout(() => this.load(), 2000);
      return;
    }
    this.#setThere(true);
    const loaded = { run: view.run, tasks: new RunTasks(view), leftOut: view.left_out };
    this.#loaded = loaded;
    const early = this.#early;
    this.#early = [];
    this.#state.replaceChildren();
    for (const tab of Object.values(this.#tabs)) tab.update(loaded.tasks);
    for (const change of early) this.#set(loaded, change);
    this.draw();
    this.#showTask(loaded);
    await this.#tabs.events.load();
  }

  /**
   * There is no such run, or no longer: say so, and nothing else.
   *
   * @param {string} why
   */
  #showAbsence(why) {
    const hadFocus = this.element.contains(document.activeElement);
    this.#setThere(false);
    this.closePanel();
    this.#state.replaceChildren(
      h("p", { class: "problem", role: "alert" }, why),
      h("p", {}, h("a", { href: "#/" }, "All runs")),
    );
    if (hadFocus) this.#heading.focus();
    this.#app.redraw();
  }

  /** @param {boolean} isThere */
  #setThere(isThere) {
    this.#isThere = isThere;
    this.#parts.hidden = !isThere;
    this.#actionBar.hidden = !isThere;
  }

  /** Read it again, since what was known of it holds no more. */
  #loadAgain() {
    this.#loaded = null;
    this.#drawnHead = "";
    return this.load();
  }

  /**
   * Take what has changed.
   *
   * @param {Change} change
   */
  take({ seq, events, rows }) {
    const ours = {
      seq,
      events: events.filter((event) => event.run === this.#runId),
      rows: rows.filter((row) => row.run === this.#runId),
    };
    if (!ours.events.length) return;
    if (ours.events.some(isDeletion) || !this.#isThere) this.#loadAgain();
    else if (this.#loaded === null) this.#early.push(ours);
    else this.#set(this.#loaded, ours);
  }

  /**
   * @param {Loaded} loaded
   * @param {Change} change
   */
  #set({ run, tasks }, { events, rows }) {
    const { seq } = tasks;
    for (const changed of rows) {
      tasks.setRows(changed);
      if (changed.seq > seq) Object.assign(run, changed.row);
    }
    this.#tabs.events.add(events.filter((event) => event.seq > seq));
    this.#tabs.explain.update();
  }

  /**
   * Show another tab, or another task.
   *
   * @param {string} [tab]
   * @param {string} [taskId]
   */
  show(tab, taskId) {
    this.#tab = TABS.find((name) => name === tab) ?? "tasks";
    this.#taskId = taskId ?? null;
    for (const name of TABS) {
      const isChosen = name === this.#tab;
      this.#panes[name].hidden = !isChosen;
      this.#buttons[name].setAttribute("aria-selected", String(isChosen));
      this.#buttons[name].tabIndex = isChosen ? 0 : -1;
    }
    this.#buttons[this.#tab].scrollIntoView({ block: "nearest", inline: "nearest" });
    this.draw();
    if (this.#loaded) this.#showTask(this.#loaded);
  }

  /** @param {Loaded} loaded */
  #showTask({ run, tasks }) {
    const task = this.#taskId === null ? null : tasks.byId.get(this.#taskId);
    if (this.#panel && this.#panel.taskId === task?.task_id) return;
    const hadPanel = this.#panel !== null;
    this.closePanel();
    for (const tab of [this.#tabs.tasks, this.#tabs.timeline]) tab.select(task?.task_id ?? null);
    if (!task) {
      if (hadPanel) this.#focusTab();
      return;
    }
    const panel = new TaskPanel(this.#runId, task, {
      onClose: () => this.#app.goTo(this.#runId, this.#tab),
      onOpen: (taskId) => this.#app.goTo(this.#runId, this.#tab, taskId),
      actions: {
        amend: (taskId) => this.amend({ ids: [taskId], leftOut: 0 }),
        retry: (taskId) => this.retry({ ids: [taskId], leftOut: 0 }),
        cancel_tasks: (taskId) => this.cancelTasks({ ids: [taskId], leftOut: 0 }),
      },
      can: (command) => run.allowed[command] === true && this.#app.live.isLive,
    });
    this.#panel = panel;
    this.#body.append(panel.element);
    this.#body.classList.add("with-panel");
    panel.draw();
    panel.heading.focus({ preventScroll: true });
    if (this.#isBelow(panel)) panel.element.scrollIntoView({ block: "start" });
    this.#app.redraw();
  }

  /**
   * Whether the task is shown below the rest, for want of room beside it.
   *
   * @param {TaskPanel} panel
   */
  #isBelow(panel) {
    return panel.element.offsetTop > this.#body.offsetTop + 20;
  }

  #focusTab() {
    const tab = this.#tabs[this.#tab];
    if ("focusGrid" in tab) tab.focusGrid();
    else this.#buttons[this.#tab].focus();
  }

  /** Take the task away; true when one was shown. */
  closePanel() {
    if (!this.#panel) return false;
    this.#panel.stop();
    this.#panel.element.remove();
    this.#body.classList.remove("with-panel");
    this.#panel = null;
    return true;
  }

  get taskId() {
    return this.#taskId;
  }

  /** Show how things stand now. */
  draw() {
    if (!this.#loaded) return;
    this.#drawHead(this.#loaded);
    this.#drawSaid();
    this.#drawActions(this.#loaded);
    this.#questions.update(this.#loaded.tasks);
    const tab = this.#tabs[this.#tab];
    if ("draw" in tab) tab.draw();
    this.#panel?.draw();
  }

  /** @param {Loaded} loaded */
  #drawHead({ run, tasks, leftOut }) {
    const known = this.#app.runs.byId.get(this.#runId) ?? run;
    const counts = leftOut ? known.tasks : tasks.counts;
    const { done, total } = progressOf(counts);
    const caps = Object.entries(known.caps.backends)
      .filter(([, backend]) => backend.jobs)
      .map(([name, backend]) => `${name}: ${number(backend.jobs)} of ${number(backend.max_jobs)} seats`);
    const drawn = JSON.stringify([run.status, run.status_reason, counts, capsText(known), caps, known.updated_at]);
    if (drawn === this.#drawnHead) return;
    this.#drawnHead = drawn;
    setText(this.#heading, run.workspace);
    const stage = known.stages.at(-1);
    this.#state.replaceChildren(
      h("p", {}, badge(run.status), " ", h("span", { class: "id" }, run.run_id), run.status_reason ? [" ", h("span", { class: "run-reason" }, run.status_reason)] : null),
      h(
        "p",
        { class: "small" },
        [capsText(known), ...caps].join(" · "),
        stage ? ` · iteration ${stage.iteration}${stage.name ? ` (${stage.name})` : ""}` : "",
        " · changed ",
        timeElement(known.updated_at),
      ),
    );
    this.#bar.replaceChildren(
      progressBar(counts),
      h("span", { class: "small" }, total ? `${number(done)} of ${count(total, "task")} ended: ${countsText(counts)}` : "Nothing is planned yet."),
      leftOut ? h("p", { class: "small" }, `${number(leftOut)} more tasks are not listed here.`) : "",
    );
  }

  /** Beside its history: no event tells of it. */
  #drawSaid() {
    const known = this.#app.runs.byId.get(this.#runId);
    const labels = known?.labels ?? [];
    const note = known?.note ?? "";
    setText(this.#label, labels.length || note ? "Change labels and note" : "Add labels or a note");
    setText(this.#note, note);
    this.#labels.hidden = !labels.length;
    if (this.#labels.dataset.shown === labels.join(" ")) return;
    this.#labels.dataset.shown = labels.join(" ");
    this.#labels.replaceChildren(...labelElements(labels));
  }

  /** @param {Loaded} loaded */
  #drawActions({ run: { allowed } }) {
    this.#tabs.tasks.offer((command) => allowed[command] === true && this.#app.live.isLive);
    const focused = Object.values(this.#actions).find((button) => button === document.activeElement);
    for (const [name, button] of Object.entries(this.#actions)) {
      button.hidden = allowed[name] !== true;
      button.disabled = !this.#app.live.isLive;
      button.title = button.disabled ? "not connected" : "";
    }
    // The keyboard stays where it was, also when a button makes room for another.
    if (focused && (focused.hidden || focused.disabled)) {
      (Object.values(this.#actions).find((button) => !button.hidden && !button.disabled) ?? this.#heading).focus();
    }
  }

  /** Let what grows with the time grow. */
  tick() {
    if (this.#tab === "timeline") this.#tabs.timeline.tick();
  }

  /** The connection is back, or the page is shown again. */
  wake() {
    this.#panel?.wake();
    this.#tabs.explain.update();
    this.draw();
  }

  leave() {
    this.closePanel();
  }

  focusSearch() {
    if (this.#tab !== "tasks") this.#app.goTo(this.#runId, "tasks", this.#taskId);
    this.#tabs.tasks.focusSearch();
  }

  // ---- what can be done ----

  /** @param {"pause" | "resume" | "retry" | "amend" | "amend_config" | "replan" | "cancel"} name */
  can(name) {
    const button = this.#actions[name];
    return this.#loaded !== null && !button.hidden && !button.disabled;
  }

  pause() {
    return this.#do("pause", "paused", {
      title: "Pause this run?",
      text: `No new job of ${this.#name} is submitted until it is resumed; jobs that run are followed to their end.`,
      action: "Pause",
      withReason: true,
    });
  }

  resume() {
    return this.#do("resume", "resumed", {
      title: "Resume this run?",
      text: `It is ${this.#loaded?.run.status_reason || "paused"}. From now on, jobs of ${this.#name} are submitted again.`,
      action: "Resume",
    });
  }

  cancel() {
    return this.#do("cancel", "cancelled", {
      title: "Cancel this run for ever?",
      text: `All jobs of ${this.#name} (${this.#runId}) are ended, and then the run. This cannot be undone.`,
      action: "Cancel the run",
      isDangerous: true,
      withReason: true,
    });
  }

  /** @param {Chosen | null} chosen null: the tasks that are said in the form. */
  retry(chosen = null) {
    if (this.#loaded) retryTasks(this.#app, this.#loaded.run, chosen);
  }

  /** @param {Chosen | null} chosen null: the tasks that are said in the form. */
  amend(chosen = null) {
    if (this.#loaded) amendTasks(this.#app, this.#loaded.run, chosen);
  }

  /** @param {Chosen} chosen */
  cancelTasks(chosen) {
    if (this.#loaded) cancelTasks(this.#app, this.#loaded.run, chosen);
  }

  amendConfig() {
    if (this.#loaded) amendConfig(this.#app, this.#loaded.run);
  }

  editLabels() {
    const run = this.#app.runs.byId.get(this.#runId);
    if (run) editLabels(this.#app, run);
  }

  replan() {
    if (this.#loaded) replan(this.#app, this.#loaded.run);
  }

  /**
   * @param {string} command
   * @param {string} done
   * @param {Asked} question
   */
  async #do(command, done, question) {
    const answer = await confirmed(question);
    if (answer === null) return;
    this.#app.say(`Asking the run to ${command}…`);
    try {
      const reason = question.withReason && answer.reason ? { reason: answer.reason } : {};
      await this.#app.live.command({ command, run: this.#runId, ...reason });
      this.#app.say(`${this.#name} was ${done}.`);
    } catch (error) {
      this.#app.say("");
      this.#app.warn(`It was not ${done}: ${messageOf(error)}`);
    }
  }
}
