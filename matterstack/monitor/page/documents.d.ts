// What the monitor says, as docs/event-stream.md has it.  Types alone: nothing loads this.

export type Counts = Partial<Record<string, number>>;

/** For each command true, or why not: "the run is" REASON. */
export type Allowed = Record<string, true | string>;

export interface Attempt {
  n: number;
  token: string;
  backend: string;
  job_id?: string;
  state?: string;
  raw_state?: string;
  reason?: string;
  exit_code?: number;
  host?: string;
  prepared_at: string;
  submitted_at?: string;
  started_at?: string;
  ended_at?: string;
  last_words?: string;
}

export interface TaskRow {
  task_id: string;
  position: number;
  iteration: number;
  status: string;
  reason: string;
  depends_on: string[];
  may_fail: boolean;
  operator: string;
  retriable: boolean;
}

export interface TaskDocument extends TaskRow {
  attempts: Attempt[];
}

/** A task as the page keeps it; `version` grows when anything of it changes. */
export interface Task extends TaskDocument {
  version: number;
}

/** What a commit changes of a run itself. */
export interface RunRow {
  run_id: string;
  workspace: string;
  status: string;
  status_reason: string;
  iteration: number;
  created_at: string;
  updated_at: string;
  ending: string | null;
  allowed: Allowed;
  head: string;
}

export interface Stage {
  iteration: number;
  name: string | null;
  jobs: number;
  tasks: Counts;
}

export interface RunDocument extends RunRow {
  tasks: Counts;
  stages: Stage[];
  questions: number;
  /** What people say of it, beside its history. */
  labels: string[];
  note: string;
  caps: { run: number | null; backends: Record<string, { max_jobs: number; jobs: number }> };
}

/** A run as the page keeps it: as of event `as_of`. */
export interface Run extends RunDocument {
  version: number;
  as_of: number;
}

export interface RunsView {
  seq: number;
  jobs: Record<string, number>;
  runs: RunDocument[];
}

export interface RunTasksView {
  seq: number;
  run: RunDocument;
  tasks: TaskDocument[];
  left_out: number;
}

export interface StoredEvent {
  seq: number;
  at: string;
  run: string;
  type: string;
  data: Record<string, any>;
}

/** Rows of one run, as of event `seq`. */
export interface Rows {
  type: "rows";
  seq: number;
  run: string;
  row: RunRow;
  tasks: TaskRow[];
  attempts: (Attempt & { task_id: string })[];
}

/** Events that came together, and all that they changed. */
export interface Change {
  seq: number;
  events: StoredEvent[];
  rows: Rows[];
}

export interface Piece {
  text: string;
  start: number;
  end: number;
  size: number;
}

export interface Cause {
  message: string;
  action: string;
  since: string | null;
  blocks: number;
  needs_person: boolean;
  last_words: string;
}

export interface Field {
  name: string;
  type: string;
  required: boolean;
  help?: string;
  unit?: string;
  min?: number;
  max?: number;
  choices?: string[];
}

export interface Question {
  task_id: string;
  attempt: number;
  operator: string;
  text: string;
  fields: Field[];
  manifest: { request?: unknown };
  again: string;
  results: { task_id: string; status: string; data: unknown; outputs: string[] }[];
  expires_at: string | null;
  rejected: string | null;
  problem: string;
}

/** What an amendment changes, or has changed, of tasks. */
export interface Amended {
  selected: string[];
  tasks: string[];
  differences: { path: string; old: unknown; new: unknown; tasks: string[] }[];
  queued: string[];
  resubmitted: string[];
  running: string[];
  warnings: string[];
}

/** A task as it was planned last time, and as it is now. */
export interface ReplannedTask {
  task_id: string;
  change: "new" | "changed" | "gone";
  status: string | null;
  step: string;
  differences: { path: string; old: unknown; new: unknown }[];
  clashes: { path: string; amended: unknown; planned: unknown; takes: "amended" | "planned" }[];
  files: { name: string; old: string | null; new: string | null }[];
}

/** What a plan that was asked for once more changes, or has changed. */
export interface Replanned {
  iteration: number;
  name: string | null;
  campaign: { path: string; old: string | null; new: string }[];
  tasks: ReplannedTask[];
  same: number;
  reopened: string[];
  skipped: string[];
  reopens_run: boolean;
  warnings: string[];
}
