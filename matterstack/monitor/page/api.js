// Documents of the monitor.  Its errors become exceptions with words for people.

import { credentials } from "./session.js";

const TIMEOUT_MS = 30_000;

/**
 * What ends a request after so much time.
 *
 * @param {number} milliseconds
 * @returns {AbortSignal}
 */
const deadline = (milliseconds) => /** @type {any} */ (AbortSignal).timeout(milliseconds);

/** What the monitor answered instead of a document; `status` 0: it did not answer. */
export class AnswerError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message, hint = "") {
    super(hint ? `${message} (${hint})` : message);
    this.status = status;
  }
}

/**
 * What went wrong, in words.
 *
 * @param {unknown} error
 */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * Ask for a document.
 *
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function ask(path) {
  let response;
  try {
    response = await fetch(path, { signal: deadline(TIMEOUT_MS), headers: credentials(), credentials: "omit" });
  } catch {
    throw new AnswerError(0, "the monitor does not answer");
  }
  let document;
  try {
    document = await response.json();
  } catch {
    throw new AnswerError(response.ok ? 0 : response.status, "the monitor's answer was cut off");
  }
  if (!response.ok) throw new AnswerError(response.status, document.error.message, document.error.hint);
  return document;
}

/** Whether a monitor is there that knows this tab: "yes", "no", or "stranger". */
export async function isThere() {
  try {
    const response = await fetch("/api/session", { signal: deadline(5000), headers: credentials(), credentials: "omit" });
    return response.status === 401 ? "stranger" : response.ok ? "yes" : "no";
  } catch {
    return "no";
  }
}

/**
 * Path of a run's documents.
 *
 * @param {string} runId
 * @param {string[]} rest
 */
export const runPath = (runId, ...rest) =>
  ["/api/runs", ...[runId, ...rest].map(encodeURIComponent)].join("/");
