// States of tasks and runs, as matterstack/core/states.py has them: a test compares.

export const TASK_STATES = ["WAITING", "READY", "ACTIVE", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"];
export const RUN_STATES = ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"];
export const ENDED_TASKS = new Set(["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]);
export const ENDED_RUNS = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

/**
 * Whether a task has failed: then what its job said last is shown.
 * @param {string} status
 */
export function hasFailed(status) {
  return status === "FAILED";
}
