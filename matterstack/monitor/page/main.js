// The page: which view is shown, the connection, and the keys.

import { AnswerError, messageOf } from "./api.js";
import { coalesced, h, setText, visible } from "./dom.js";
import { showShortcuts } from "./dialogs.js";
import { Live } from "./live.js";
import { RunView, TABS } from "./run-view.js";
import { Runs } from "./runs.js";
import { RunsView } from "./runs-view.js";
import { askOtherTabs, forget, hasCode, session, shareSession, useLink } from "./session.js";

/**
 * What views are given.
 *
 * @typedef {object} App
 * @property {Live} live
 * @property {Runs} runs
 * @property {() => void} redraw
 * @property {(runId: string, tab?: string, taskId?: string | null) => void} goTo
 * @property {(text: string) => void} say
 * @property {(text: string) => void} warn
 */

const TICK_MS = 5000;
const NOTICE_MS = 8000;
const KEYS_OFF = "matterstack-keys-off";

/**
 * An element of index.html.
 *
 * @param {string} id
 */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const content = byId("content");
const connection = byId("connection");
const notice = byId("notice");
const alarm = byId("alert");

/** @type {RunView | RunsView | null} */
let view = null;
/** @type {string | null | undefined} */
let viewKey = null;
/** @type {import("./dom.js").Timer | 0} */
let noticeTimer = 0;

const redraw = coalesced(() => {
  view?.draw();
  if (view) document.title = visible(`${view.title} – MatterStack`);
});

const runs = new Runs(redraw);
const live = new Live({
  onChange: (change) => {
    runs.take(change);
    if (view instanceof RunView) view.take(change);
    redraw();
  },
  onState: ({ isLive, text }) => {
    setText(connection, text);
    connection.classList.toggle("live", isLive);
    document.body.classList.toggle("stale", !isLive);
    if (isLive) wake();
    redraw();
  },
  onOtherStore: () => begin(),
});

const wake = () => {
  if (view instanceof RunView) view.wake();
};

/** @type {App} */
const app = {
  live,
  runs,
  redraw,
  goTo: (runId, tab, taskId) => {
    const parts = [runId, tab, taskId].flatMap((part) => (part === undefined || part === null ? [] : [encodeURIComponent(part)]));
    const hash = `#/runs/${parts.join("/")}`;
    if (location.hash === hash) return;
    location.hash = hash;
    // At once, and not with the event: whoever asked may want to put the keyboard there.
    show();
  },
  say: (text) => {
    if (noticeTimer) clearTimeout(noticeTimer);
    setText(alarm, "");
    setText(notice, text);
    noticeTimer = setTimeout(() => setText(notice, ""), NOTICE_MS);
  },
  warn: (text) => {
    setText(alarm, text);
  },
};

/** @returns {{runId?: string, tab?: string, taskId?: string}} */
function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/");
  try {
    const [kind, runId, tab, taskId] = parts.map(decodeURIComponent);
    return kind === "runs" && runId ? { runId, tab, taskId } : {};
  } catch {
    return {};
  }
}

function show() {
  const { runId, tab, taskId } = route();
  const key = runId ?? "";
  if (key !== viewKey) {
    const isFirst = viewKey === null;
    if (view instanceof RunView) view.leave();
    viewKey = key;
    view = runId ? new RunView(app, runId) : new RunsView(runs, (id) => app.goTo(id, "tasks"));
    content.replaceChildren(view.element);
    if (!isFirst) byId("view-title").focus();
    scrollTo(0, 0);
    if (view instanceof RunView) view.load();
  }
  if (view instanceof RunView) view.show(tab, taskId);
  redraw();
}

// ---- who is let in ----

/** Where the address leads, apart from links that let in. */
let where = "#/";
let hasBegun = false;

/**
 * Say how one gets in; nothing else can be shown.
 *
 * @param {string} why
 */
function showDoor(why) {
  setText(connection, "Not let in");
  content.replaceChildren(
    h(
      "section",
      { class: "door", "aria-labelledby": "view-title" },
      h("h1", { id: "view-title", tabindex: "-1" }, "This page needs a new link"),
      h("p", { role: "alert" }, why),
      h("p", {}, "A link lets one browser in, once, for as long as the monitor runs. For a new one, on the machine of the monitor and in the root's folder:"),
      h("pre", {}, "matterstack monitor --new-link"),
    ),
  );
}

/** @param {string} problem why a link was not taken, or that there was none. */
function goIn(problem) {
  if (!session()) showDoor(problem);
  else if (!hasBegun) begin();
  else live.hurry();
  if (session() && problem) app.warn(problem);
}

async function start() {
  shareSession(() => goIn(""));
  if (hasCode()) goIn(await useLink(where));
  else {
    where = location.hash || where;
    if (!session()) await askOtherTabs();
    if (!hasBegun) goIn(session() ? "" : "No link was opened in this tab.");
  }
}

/** Read everything, then listen from there on. */
async function begin() {
  hasBegun = true;
  for (;;) {
    try {
      const seq = await runs.load();
      viewKey = viewKey === null ? null : undefined;
      show();
      live.start(seq);
      return;
    } catch (error) {
      if (error instanceof AnswerError && error.status === 401) {
        hasBegun = false;
        forget();
        showDoor(error.message);
        return;
      }
      setText(connection, `Not live: ${messageOf(error)}; trying again`);
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

// ---- keys ----

/** @type {[key: string, what: string][]} */
const KEYS = [
  ["?", "these keys"],
  ["/", "find"],
  ["g", "all runs"],
  ["1 … 5", `${TABS.join(", ")} of a run`],
  ["p", "pause or resume the run"],
  ["y", "retry its failed tasks"],
  ["m", "amend tasks"],
  ["c", "change its config"],
  ["n", "plan its iteration once more"],
  ["x", "cancel it"],
  ["Esc", "close the task, then the run"],
  ["↑ ↓ PgUp PgDn Home End", "move in a table or graph"],
  ["Enter", "open the row"],
  ["Space", "tick a task"],
];

function keysAreOn() {
  try {
    return localStorage.getItem(KEYS_OFF) === null;
  } catch {
    return true;
  }
}

/** @param {boolean} areOn */
function setKeys(areOn) {
  try {
    if (areOn) localStorage.removeItem(KEYS_OFF);
    else localStorage.setItem(KEYS_OFF, "1");
  } catch {
    // Without storage they are on again the next time.
  }
}

const help = () => showShortcuts(KEYS, keysAreOn(), setKeys);

byId("show-shortcuts").addEventListener("click", help);
addEventListener("hashchange", async () => {
  if (hasCode()) goIn(await useLink(where));
  else {
    where = location.hash || "#/";
    if (hasBegun) show();
  }
});
document.addEventListener("visibilitychange", () => document.hidden || wake());
setInterval(() => {
  if (!document.hidden && view instanceof RunView) view.tick();
}, TICK_MS);

/** @param {EventTarget | null} target */
const isTyping = (target) => target instanceof Element && target.closest("input, select, textarea") !== null;

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
  if (event.key === "Escape") leave();
  else if (keysAreOn() && press(event.key)) event.preventDefault();
});

function leave() {
  const { runId, tab } = route();
  if (!runId || !(view instanceof RunView)) return;
  if (view.taskId) app.goTo(runId, tab);
  else location.hash = "#/";
}

/**
 * @param {string} key
 * @returns {boolean} whether it is one that does something.
 */
function press(key) {
  const { runId, taskId } = route();
  if (key === "?") help();
  else if (key === "/") view?.focusSearch();
  else if (key === "g") location.hash = "#/";
  else if (!runId || !(view instanceof RunView)) return false;
  else if (TABS[Number(key) - 1]) app.goTo(runId, TABS[Number(key) - 1], taskId);
  else if (key === "p" && view.can("pause")) view.pause();
  else if (key === "p" && view.can("resume")) view.resume();
  else if (key === "y" && view.can("retry")) view.retry();
  else if (key === "m" && view.can("amend")) view.amend();
  else if (key === "c" && view.can("amend_config")) view.amendConfig();
  else if (key === "n" && view.can("replan")) view.replan();
  else if (key === "x" && view.can("cancel")) view.cancel();
  else return false;
  return true;
}

start();
