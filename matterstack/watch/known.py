"""What is known of a root's runs at this moment: documents of the monitor, and what has changed since."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import attrs

from matterstack.core.states import ENDED_RUNS, RunStatus, TaskStatus
from matterstack.watch.tasks import WatchedTask, WatchedTasks

Json = dict[str, Any]

MOST_EVENTS: Final = 500
LOG_BYTES: Final = 64 * 1024
_LOOKED_AT_FIRST: Final = {
    "amend": "amend tasks",
    "retry": "show first what a retry would change",
    "amend_config": "amend the config",
    "replan": "plan a run anew",
    "cancel_tasks": "cancel single tasks",
}
"""Commands that a monitor knows, in this form, if it knows how to amend; those of 0.2.0 do not."""
_OPEN_RUNS: Final = frozenset(status.value for status in RunStatus if status not in ENDED_RUNS)


def run_path(run_id: str, what: str = "") -> str:
    """Where the monitor has a document of a run."""
    return f"/api/runs/{quote(run_id)}" + (f"/{what}" if what else "")


def log_path(run_id: str, task_id: str, stream: str) -> str:
    """Where the monitor has the end of what the last attempt of a task printed."""
    task = quote(task_id, safe="")
    return run_path(run_id, f"tasks/{task}/log") + f"?stream={stream}&offset=-{LOG_BYTES}"


@attrs.frozen(kw_only=True)
class Stream:
    """How the connection is doing.

    Attributes:
        lost_at: when it was lost (UTC), or when this began to try; None while events come as they happen.
        problem: why.
    """

    lost_at: str | None = None
    problem: str = ""

    @property
    def is_live(self) -> bool:
        """Whether events come as they happen."""
        return self.lost_at is None


@attrs.define(eq=False)
class OpenRun:
    """The one run that is looked at closely.

    Attributes:
        tasks: None until its document has come.
        events: the last ones, the oldest first.
        left_out: tasks that the document did not hold.
    """

    run_id: str
    tasks: WatchedTasks | None = None
    left_out: int = 0
    events: deque[Json] = attrs.field(factory=lambda: deque(maxlen=MOST_EVENTS))
    _early: list[Json] = attrs.field(factory=list)

    def take(self, view: Json, past: Sequence[Json]) -> None:
        """Its document has come, and its last events; those that came in between are not lost."""
        tasks = WatchedTasks.of(view)
        for rows in self._early:
            tasks.set_rows(rows)
        self._early.clear()
        self.tasks, self.left_out = tasks, view["left_out"]
        newer = self.events.copy()
        last = past[-1]["seq"] if past else 0
        self.events.clear()
        self.events.extend([*past, *(event for event in newer if event["seq"] > last)])

    def set_rows(self, rows: Json) -> None:
        """Take what has changed of this run."""
        if self.tasks is None:
            self._early.append(rows)
        else:
            self.tasks.set_rows(rows)


@attrs.define(eq=False)
class Known:
    """All that is known.  Changed by what the monitor says alone.

    Attributes:
        seq: up to which event.
        runs: by id, as the monitor's list of runs has them.
        jobs: live jobs of each backend over all runs.
        changed: runs of which something has happened since their entry in ``runs`` was read.
        documents: others, by the path under which they were asked for; an error is ``{"error": TEXT}``.
        awaited: paths of documents that are on their way.
        stale: paths of documents that may not hold any more.
    """

    seq: int
    runs: dict[str, Json]
    jobs: Mapping[str, int]
    stream: Stream = Stream()
    open: OpenRun | None = None
    changed: set[str] = attrs.field(factory=set)
    documents: dict[str, Json] = attrs.field(factory=dict)
    awaited: set[str] = attrs.field(factory=set)
    stale: set[str] = attrs.field(factory=set)
    _as_of: dict[str, int] = attrs.field(factory=dict)

    @classmethod
    def of(cls, view: Json) -> Known:
        """As the monitor's list of runs has them: ``{"seq", "jobs", "runs"}``."""
        return cls(view["seq"], {run["run_id"]: run for run in view["runs"]}, view["jobs"])

    # ---- changes and documents ----

    def take(self, change: Json) -> None:
        """Take what has changed: the next ``events``, and the ``rows`` of each run as they are after them."""
        if change["seq"] <= self.seq:
            return
        self.seq = change["seq"]
        opened = self.open
        for event in change["events"]:
            self.changed.add(event["run"])
            if event["type"] == "RunDeleted":
                self.runs.pop(event["run"], None)
                self.changed.discard(event["run"])
            if opened is not None and opened.run_id == event["run"]:
                opened.events.append(event)
        for rows in change["rows"]:
            run = self.runs.get(rows["run"])
            if run is not None and rows["seq"] > self._as_of.get(rows["run"], 0):
                run.update(rows["row"])
            if opened is not None and opened.run_id == rows["run"]:
                opened.set_rows(rows)
        prefixes = tuple(run_path(run_id, "") for run_id in {event["run"] for event in change["events"]})
        paths = {*self.documents, *self.awaited}
        self.stale.update(path for path in paths if path.startswith(prefixes))

    def take_runs(self, view: Json) -> None:
        """Newer entries of some runs have come."""
        self.jobs = view["jobs"]
        for run in view["runs"]:
            self.runs[run["run_id"]] = run
            self._as_of[run["run_id"]] = view["seq"]

    def follow(self, run_id: str | None) -> None:
        """Look at another run closely, or at none."""
        if run_id != (None if self.open is None else self.open.run_id):
            self.open = None if run_id is None else OpenRun(run_id)

    def keep_documents(self, wanted: Iterable[str]) -> None:
        """Forget the documents that nobody looks at any more."""
        kept = set(wanted)
        self.documents = {path: document for path, document in self.documents.items() if path in kept}
        self.stale &= kept

    def wait_for(self, path: str) -> None:
        """A document is being read: what happens from here on may not be in it."""
        self.awaited.add(path)
        self.stale.discard(path)

    def take_document(self, path: str, document: Json | None) -> None:
        """It has come; None: it has not, and is wanted as before."""
        self.awaited.discard(path)
        if document is None:
            self.stale.add(path)
        else:
            self.documents[path] = document

    # ---- looking ----

    @property
    def newest_first(self) -> list[str]:
        """Ids of all runs: the newest first."""
        return sorted(self.runs, reverse=True)

    def tasks_of(self, run_id: str | None) -> WatchedTasks | None:
        """The tasks of the run that is looked at closely, once they are there."""
        return self.open.tasks if self.open is not None and self.open.run_id == run_id else None

    def task(self, run_id: str | None, task_id: str | None) -> WatchedTask | None:
        """One task of a run, where it is known."""
        tasks = self.tasks_of(run_id)
        return None if tasks is None or task_id is None else tasks.by_id.get(task_id)


def is_open(run: Json) -> bool:
    """Whether a run has not ended."""
    return run["status"] in _OPEN_RUNS


def is_ending(run: Json) -> bool:
    """Whether its jobs are being ended, and the run after them."""
    return run["ending"] is not None


def refusal(run: Json, command: str) -> str | None:
    """Why a run cannot be told this; None when it can."""
    name = f"{run['workspace']} {run['run_id']}"
    if command in _LOOKED_AT_FIRST and not {command, "amend"} <= run["allowed"].keys():
        what = _LOOKED_AT_FIRST[command]
        return (
            f"{name}: its monitor is of an older version, and cannot {what} (start it anew with this version)"
        )
    allowed: str | bool = run["allowed"].get(command, True)
    return None if allowed is True else f"{name} is {allowed}"


def live_jobs(run: Json) -> int:
    """How many jobs of a run hold a seat."""
    return sum(backend["jobs"] for backend in run["caps"]["backends"].values())


def why_not(run: Json, jobs: Mapping[str, int]) -> str:
    """Why a run does not go on, as far as its entry tells; empty when nothing is to be said."""
    if run["status_reason"]:
        return str(run["status_reason"])
    if run["status"] == "PENDING":
        return "no engine has taken it up yet"
    if run["status"] != "RUNNING":
        return ""
    if run["questions"]:
        return "a question waits for an answer" if run["questions"] == 1 else f"{run['questions']} questions"
    tasks = run["tasks"]
    if not any(tasks[status] for status in (TaskStatus.ACTIVE, TaskStatus.READY, TaskStatus.WAITING)):
        return "its next round is being planned"
    if not tasks["READY"]:
        return ""
    cap = run["caps"]["run"]
    if cap is not None and live_jobs(run) >= cap:
        return f"all {cap} jobs that it may have are there"
    full = [
        name
        for name, backend in run["caps"]["backends"].items()
        if backend["max_jobs"] is not None and jobs.get(name, 0) >= backend["max_jobs"]
    ]
    return f"no seat is free on {', '.join(full)}" if full else ""
