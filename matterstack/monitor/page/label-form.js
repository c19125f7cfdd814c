// What people say of a run beside its history: labels, and a note.

import { messageOf } from "./api.js";
import { inDialog } from "./dialogs.js";
import { freshId, h, setText } from "./dom.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {{labels: string[], note: {note: string} | null}} Said What the monitor says of it: a note also has by whom and when.
 */

/**
 * Labels, one beside the other.
 *
 * @param {string[]} labels
 */
export const labelElements = (labels) => labels.map((label) => h("span", { class: "run-label" }, label));

/**
 * Let somebody write other ones.
 *
 * @param {App} app
 * @param {import("./documents.js").RunDocument} run
 */
export async function editLabels(app, run) {
  /** @type {Said | null} */
  const said = await inDialog("Labels and note", (leave) => labelForm(app, run, leave));
  if (!said) return;
  app.runs.setLabels(run.run_id, { labels: said.labels, note: said.note?.note ?? "" });
  app.say(`${run.workspace} has other labels, or another note.`);
  app.redraw();
}

/**
 * @param {App} app
 * @param {import("./documents.js").RunDocument} run
 * @param {(said: Said | null) => void} leave
 */
function labelForm(app, run, leave) {
  const labels = h("input", { type: "text", id: freshId("labels"), autocomplete: "off", spellcheck: "false", value: run.labels.join(" "), autofocus: true });
  const note = h("textarea", { id: freshId("note"), rows: 4, maxlength: 4000 });
  note.value = run.note;
  const problem = h("p", { role: "alert", class: "problem" });
  const send = async () => {
    const wanted = labels.value.split(/[\s,]+/).filter(Boolean);
    const change = {
      add: wanted.filter((label) => !run.labels.includes(label)),
      remove: run.labels.filter((label) => !wanted.includes(label)),
      // What is not changed here is left to others.
      ...(note.value === run.note ? {} : { note: note.value }),
    };
    setText(problem, "");
    try {
      const { result } = await app.live.command({ command: "label", run: run.run_id, ...change });
      leave(result);
    } catch (error) {
      setText(problem, messageOf(error));
    }
  };
  return h(
    "form",
    {
      class: "proposal",
      novalidate: true,
      submit: (/** @type {Event} */ event) => {
        event.preventDefault();
        send();
      },
    },
    h("p", { class: "field" }, h("label", { for: labels.id }, "Labels, with spaces between them"), labels),
    h("p", { class: "field" }, h("label", { for: note.id }, "Note"), note),
    problem,
    h("p", { class: "buttons" }, h("button", { type: "button", click: () => leave(null) }, "Leave it"), h("button", { type: "submit", class: "primary" }, "Keep it")),
  );
}
