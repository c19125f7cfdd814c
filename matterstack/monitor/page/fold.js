// The tasks of one run, kept up to date by its events alone: an event costs what its own edges cost.
// It says of every task what matterstack/core/run/apply.py says.

export const TASK_STATES = ["WAITING", "READY", "ACTIVE", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"];
export const ENDED_TASKS = new Set(["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]);
export const ENDED_RUNS = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

const satisfies = (task) => task.status === "SUCCEEDED" || (task.status === "FAILED" && task.may_fail);

/** What an event makes of the status of its run; null when it is not about that. */
export function runStatusAfter({ type, data }) {
  const because = data.reason ? `: ${data.reason}` : "";
  switch (type) {
    case "RunCreated": return { status: "PENDING", reason: "" };
    case "RunStarted":
    case "RunResumed":
    case "RunReopened": return { status: "RUNNING", reason: "" };
    case "RunPaused": return { status: "PAUSED", reason: `paused by ${data.by}${because}` };
    case "RunCancelRequested": return { status: null, reason: `being cancelled by ${data.by}${because}` };
    case "RunFailureRequested": return { status: null, reason: `ending its jobs, because${because}` };
    case "RunCancelled": return { status: "CANCELLED", reason: data.reason };
    case "RunFailed": return { status: "FAILED", reason: data.reason };
    case "RunCompleted": return { status: "COMPLETED", reason: "" };
    default: return null;
  }
}

export class RunFold {
  tasks = [];
  byId = new Map();
  counts = Object.fromEntries(TASK_STATES.map((state) => [state, 0]));
  live = new Map();
  #tasksByToken = new Map();
  /** Grows with each new task: what is drawn from the shape of the graph is drawn anew. */
  shape = 0;
  #dependents = new Map();
  #iteration;

  constructor(view) {
    this.seq = view.seq;
    this.runId = view.run.run_id;
    this.#iteration = view.run.iteration;
    for (const task of view.tasks) this.#insert(task);
  }

  #insert(task) {
    task.index = this.tasks.length;
    task.version = 0;
    task.unmet = 0;
    this.tasks.push(task);
    this.byId.set(task.task_id, task);
    this.counts[task.status] += 1;
    for (const attempt of task.attempts) this.#index(task, attempt);
    for (const id of task.depends_on) {
      if (!this.#dependents.has(id)) this.#dependents.set(id, []);
      this.#dependents.get(id).push(task);
      const known = this.byId.get(id);
      if (!known || !satisfies(known)) task.unmet += 1;
    }
    if (satisfies(task)) {
      // Tasks that were planned before the one they depend on counted it as missing.
      for (const dependent of this.#dependents.get(task.task_id) ?? []) dependent.unmet -= 1;
    }
    this.shape += 1;
  }

  #index(task, attempt) {
    this.#tasksByToken.set(attempt.token, task);
    if (!attempt.ended_at) this.live.set(attempt.token, { task, attempt });
  }

  /** Take the next event; those of other runs, and those that the view had already, change nothing. */
  apply(event) {
    if (event.seq <= this.seq || event.run !== this.runId) return;
    this.seq = event.seq;
    const { type, data, at } = event;
    const task = this.byId.get(data.task_id);
    switch (type) {
      case "IterationPlanned":
        this.#iteration = data.iteration;
        break;
      case "TaskPlanned":
        this.#plan(data.task);
        break;
      case "TaskReopened":
        this.#set(task, "WAITING", data.reason ?? "");
        if (task.unmet === 0) this.#set(task, "READY");
        break;
      case "TaskSucceeded":
        this.#set(task, "SUCCEEDED", "");
        break;
      case "TaskFailed":
      case "TaskCancelled":
      case "TaskSkipped":
        this.#set(task, type.slice(4).toUpperCase(), data.reason);
        break;
      case "TaskRetried":
        this.#set(task, "READY", `tried again after ${data.kind}: ${data.reason}`);
        if (task.unmet) this.#set(task, "WAITING");
        break;
      case "AttemptPrepared":
        this.#prepare(task, data, at);
        break;
      default:
        this.#applyToAttempt(type, data, at);
    }
  }

  /** Which task an event is about; undefined when it is about none that is known. */
  taskOf({ data }) {
    return this.byId.get(data.task_id) ?? this.#tasksByToken.get(data.token);
  }

  #plan(planned) {
    const sources = Object.values(planned.inputs ?? {}).map((source) => source.split("/")[0]);
    const task = {
      task_id: planned.id,
      iteration: this.#iteration,
      status: "WAITING",
      reason: "",
      depends_on: [...new Set([...(planned.depends_on ?? []), ...sources])],
      may_fail: Boolean(planned.allow_failure) && planned.operator !== "gate",
      operator: planned.operator,
      attempts: [],
    };
    this.#insert(task);
    if (task.unmet === 0) this.#set(task, "READY");
  }

  #prepare(task, data, at) {
    if (!task) return;
    const attempt = { n: data.n, token: data.token, backend: data.backend, prepared_at: at };
    task.attempts.push(attempt);
    this.#index(task, attempt);
    this.#set(task, "ACTIVE", "");
  }

  #applyToAttempt(type, data, at) {
    const found = this.live.get(data.token);
    if (!found) return;
    const { task, attempt } = found;
    if (type === "SubmissionRefused" || type === "SubmissionWithdrawn") {
      attempt.state = type === "SubmissionRefused" ? "COMPLETED_ERROR" : "CANCELLED";
      attempt.reason = data.reason;
      attempt.ended_at = at;
    } else if (type === "JobAccepted") {
      Object.assign(attempt, { job_id: data.job_id, state: data.state ?? "QUEUED", submitted_at: at });
      if (attempt.state === "RUNNING") attempt.started_at = at;
    } else if (type === "JobStateChanged" || type === "JobEnded") {
      Object.assign(attempt, { state: data.state, raw_state: data.raw_state, reason: data.reason });
      if (type === "JobEnded") {
        attempt.ended_at = data.ended_at ?? at;
        attempt.started_at = data.started_at ?? attempt.started_at;
        attempt.exit_code = data.exit_code;
        attempt.host = data.host;
      } else if (data.state === "RUNNING") attempt.started_at ??= at;
    } else return;
    if (attempt.ended_at) this.live.delete(data.token);
    task.version += 1;
  }

  #set(task, status, reason = task?.reason) {
    if (!task) return;
    const before = satisfies(task);
    this.counts[task.status] -= 1;
    task.status = status;
    task.reason = reason;
    task.version += 1;
    this.counts[status] += 1;
    if (satisfies(task) === before) return;
    for (const dependent of this.#dependents.get(task.task_id) ?? []) {
      dependent.unmet += before ? 1 : -1;
      if (dependent.unmet === 0 && dependent.status === "WAITING") this.#set(dependent, "READY");
      else if (dependent.unmet && dependent.status === "READY") this.#set(dependent, "WAITING");
    }
  }
}
