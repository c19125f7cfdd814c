// Documents of the monitor.  Its errors become exceptions with words for people.

const TIMEOUT_MS = 30_000;

/** What the monitor answered instead of a document; `status` 0: it did not answer. */
export class AnswerError extends Error {
  constructor(status, message, hint = "") {
    super(hint ? `${message} (${hint})` : message);
    this.status = status;
  }
}

/** Ask for a document. */
export async function ask(path) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), credentials: "same-origin" });
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

/** Whether a monitor is there that knows this browser: "yes", "no", or "stranger". */
export async function isThere() {
  try {
    const response = await fetch("/page/icon.svg", { method: "HEAD", signal: AbortSignal.timeout(5000) });
    return response.status === 401 ? "stranger" : response.ok ? "yes" : "no";
  } catch {
    return "no";
  }
}

/** Path of a run's documents. */
export const runPath = (runId, ...rest) =>
  ["/api/runs", ...[runId, ...rest].map(encodeURIComponent)].join("/");
