// States of tasks and runs, as matterstack/core/states.py has them: a test compares.

export const TASK_STATES = ["WAITING", "READY", "ACTIVE", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"];
export const RUN_STATES = ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"];
export const ENDED_TASKS = new Set(["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]);
export const ENDED_RUNS = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

/** How an attempt may have failed. */
export const FAILURE_KINDS = ["error", "timeout", "out_of_memory", "node_fail", "preempted", "lost", "environment", "refused", "cancelled"];

/**
 * Whether a task may still be changed: what has succeeded has the result of its definition.
 * @param {string} status
 */
export function isChangeable(status) {
  return status !== "SUCCEEDED";
}

/**
 * Whether a task has failed: then what its job said last is shown.
 * @param {string} status
 */
export function hasFailed(status) {
  return status === "FAILED";
}
