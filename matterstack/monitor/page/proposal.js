// What would be changed, shown before it is changed: nothing is sent that nobody has seen.

import { messageOf } from "./api.js";
import { inDialog } from "./dialogs.js";
import { freshId, h, setText } from "./dom.js";
import { CommandError } from "./live.js";

/**
 * Fields of the form, and what of the command they give; `fields` throws where they make no sense.
 *
 * @typedef {{element: HTMLElement, fields: () => Record<string, unknown>}} Part
 */

/**
 * What a result of the monitor looks like; without `action`, nothing would change.
 *
 * @typedef {{heading: string, content: import("./dom.js").Child[], action: string | null}} Shown
 */

/**
 * @typedef {object} Proposal
 * @property {string} command
 * @property {string} title
 * @property {string} text
 * @property {Part[]} parts
 * @property {boolean} [atOnce] whether it is looked at as it is opened, for nothing has to be filled in.
 * @property {boolean} [isDangerous]
 * @property {(result: any) => Shown} show
 */

/**
 * Let somebody fill it in, look at what it would change, and send it; resolves with what was done, null: nothing.
 *
 * @param {import("./main.js").App} app
 * @param {string} runId
 * @param {Proposal} proposal
 * @returns {Promise<any>}
 */
export const propose = (app, runId, proposal) =>
  inDialog(proposal.title, (leave) => new ProposalForm(app, runId, proposal, leave).element);

class ProposalForm {
  #app;
  #runId;
  #proposal;
  #leave;
  /**
   * What was shown, and under which name the monitor knows it; null where that is not what the fields say.
   *
   * @type {{basis: string, result: any, reason: string} | null}
   */
  #seen = null;
  /** Grows whenever what was asked for holds no more. */
  #turn = 0;
  #isBusy = false;
  #problem = h("p", { role: "alert", class: "problem" });
  #status = h("p", { role: "status", class: "small" });
  #heading = h("h3", { id: freshId("preview"), tabindex: "-1" });
  #preview = h("section", { class: "preview", "aria-labelledby": this.#heading.id, "aria-live": "polite", hidden: true });
  #reason = h("input", { id: freshId("reason"), type: "text", maxlength: 2000, autocomplete: "off" });
  #look = h("button", { type: "submit", class: "primary" }, "Show what changes");
  #send;

  /**
   * @param {import("./main.js").App} app
   * @param {string} runId
   * @param {Proposal} proposal
   * @param {(result: any) => void} leave
   */
  constructor(app, runId, proposal, leave) {
    this.#app = app;
    this.#runId = runId;
    this.#proposal = proposal;
    this.#leave = leave;
    this.#send = h("button", { type: "button", class: proposal.isDangerous ? "danger" : "primary", hidden: true, click: () => this.#change() });
    const fields = h("div", { class: "parts", input: () => this.#forget() }, proposal.parts.map((part) => part.element));
    this.element = h(
      "form",
      {
        class: "proposal",
        novalidate: true,
        submit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.#lookAt("", true);
        },
      },
      h("p", {}, proposal.text),
      fields,
      h("p", { class: "field" }, h("label", { for: this.#reason.id }, "Reason (optional; stays in the history)"), this.#reason),
      this.#problem,
      this.#preview,
      this.#status,
      h("p", { class: "buttons" }, h("button", { type: "button", click: () => leave(null) }, "Leave it"), this.#look, this.#send),
    );
    // Whoever has begun to read or to type meanwhile is not disturbed.
    if (proposal.atOnce) this.#lookAt("", false);
  }

  /** The fields say something else now. */
  #forget() {
    this.#turn += 1;
    this.#seen = null;
    this.#preview.hidden = true;
    this.#send.hidden = true;
    this.#look.hidden = false;
    setText(this.#problem, "");
  }

  /**
   * Ask what would change, and show it.
   *
   * @param {string} before what is to be read with it.
   * @param {boolean} takesFocus
   */
  async #lookAt(before, takesFocus) {
    if (this.#isBusy) return;
    this.#forget();
    setText(this.#problem, before);
    const turn = this.#turn;
    await this.#busy("Looking at what would change…", async () => {
      try {
        const seen = await this.#ask();
        if (turn === this.#turn) this.#show(seen, takesFocus);
      } catch (error) {
        if (turn === this.#turn) this.#tell([before, messageOf(error)].filter(Boolean).join("\n"));
      }
    });
  }

  async #ask() {
    const reason = this.#reason.value.trim();
    const fields = Object.assign({}, ...this.#proposal.parts.map((part) => part.fields()));
    const why = reason ? { reason } : {};
    const { basis = "", result } = await this.#app.live.command({
      command: this.#proposal.command, run: this.#runId, ...fields, ...why, preview: true,
    });
    return { basis, result, reason };
  }

  /**
   * @param {{basis: string, result: any, reason: string}} seen
   * @param {boolean} takesFocus
   */
  #show(seen, takesFocus) {
    const { heading, content, action } = this.#proposal.show(seen.result);
    this.#seen = seen;
    setText(this.#heading, heading);
    const body = h("div", {}, content);
    this.#preview.replaceChildren(this.#heading, body);
    this.#preview.hidden = false;
    setText(this.#send, action ?? "");
    this.#send.hidden = action === null;
    this.#look.hidden = action !== null;
    // The keyboard goes where there is something to read; what is behind it is the button that does it.
    if (!takesFocus) return;
    this.#heading.focus({ preventScroll: true });
    // What is long is read from its beginning, and so is what is said before it.
    const isLong = this.#preview.offsetHeight > innerHeight / 2;
    if (isLong && this.#problem.textContent) this.#problem.scrollIntoView({ block: "start" });
    else this.#preview.scrollIntoView({ block: isLong ? "start" : "nearest" });
  }

  /** @param {string} problem */
  #tell(problem) {
    setText(this.#problem, problem);
    this.#problem.scrollIntoView({ block: "nearest" });
  }

  /** Do what was shown. */
  async #change() {
    if (this.#isBusy || this.#seen === null) return;
    setText(this.#problem, "");
    let meanwhile = "";
    await this.#busy("Sending it…", async () => {
      try {
        const basis = await this.#basis();
        if (basis === null) return;
        const { result } = await this.#app.live.command({ command: "apply", run: this.#runId, basis });
        this.#leave(result);
      } catch (error) {
        if (error instanceof CommandError && error.code === "changed") meanwhile = error.reason;
        else this.#tell(messageOf(error));
      }
    });
    if (meanwhile) await this.#lookAt(`Nothing was changed yet: ${meanwhile}. This is what it would change now:`, true);
  }

  /** Of what was shown, with the reason that stands there now; null where another thing has to be shown first. */
  async #basis() {
    const seen = this.#seen;
    if (seen === null || seen.reason === this.#reason.value.trim()) return seen?.basis ?? null;
    const turn = this.#turn;
    const again = await this.#ask();
    if (turn !== this.#turn) return null;
    if (JSON.stringify(again.result) === JSON.stringify(seen.result)) return again.basis;
    setText(this.#problem, "Nothing was changed yet: somebody else changed it meanwhile. This is what it would change now:");
    this.#show(again, true);
    return null;
  }

  /**
   * @param {string} text what is done.
   * @param {() => Promise<void>} work
   */
  async #busy(text, work) {
    this.#isBusy = true;
    setText(this.#status, text);
    // Not disabled: the keyboard would be lost.
    for (const button of [this.#look, this.#send]) button.setAttribute("aria-disabled", "true");
    await work();
    for (const button of [this.#look, this.#send]) button.removeAttribute("aria-disabled");
    setText(this.#status, "");
    this.#isBusy = false;
  }
}
