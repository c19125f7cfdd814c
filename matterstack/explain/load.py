"""Read a situation: one consistent snapshot of the store, and what is around it on this machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import attrs

from matterstack.core.errors import DiskFullError
from matterstack.core.ids import BackendName, RunId, TaskId, UtcTime
from matterstack.core.model.resources import Resources
from matterstack.core.run.decide_resubmission import RULES
from matterstack.core.run.facts import AlikeFailures
from matterstack.core.scheduler_words import PLAIN, SchedulerWords
from matterstack.core.states import JobState, Phase, RunStatus, TaskStatus
from matterstack.explain.situation import (
    UNFINISHED,
    AttemptView,
    BackendView,
    Condition,
    Context,
    EngineView,
    Health,
    OpenCommand,
    RunView,
    SeatHolder,
    Situation,
    TaskView,
)
from matterstack.storage.backend_reports import BackendReport, definition_of, read_reports
from matterstack.storage.codec import CONVERTER
from matterstack.storage.finishing_reports import read_finishing
from matterstack.storage.layout import Root
from matterstack.storage.leases import Holder, intruders, is_held, this_process
from matterstack.storage.read.events import last_event_of, last_pause
from matterstack.storage.read.transactions import one_moment
from matterstack.storage.read.unfinished import (
    hosts_that_worked,
    newest_attempts,
    oldest_open_command,
    run_row,
    seat_holders,
    task_counts,
    unsucceeded_tasks,
)
from matterstack.storage.schema import SCHEMA_VERSION, readable_rows, schema_version, translated_errors
from matterstack.storage.secret_reports import missing_secrets

ROOM_BYTES: Final = 256 << 10
"""With less room than this, the next commit may fail."""

_END_OF: Final[Mapping[str, tuple[str, ...]]] = {
    RunStatus.PAUSED: ("RunPaused",),
    RunStatus.COMPLETED: ("RunCompleted",),
    RunStatus.FAILED: ("RunFailed",),
    RunStatus.CANCELLED: ("RunCancelled",),
}
_ASKED: Final = ("RunCancelRequested", "RunFailureRequested")


WordsOf: TypeAlias = Callable[[Mapping[str, Any]], SchedulerWords]


def _plain(_config: Mapping[str, Any]) -> SchedulerWords:
    return PLAIN


@attrs.frozen
class _Seats:
    """Live attempts of one run on one backend."""

    backend: BackendName
    run_id: RunId
    seats: int
    last_at: UtcTime
    holder: Holder | None


@attrs.frozen
class _Stored:
    """What the store says, all of it at one moment."""

    run: RunView
    config: Mapping[str, Any]
    tasks: Sequence[TaskView]
    seats: Sequence[_Seats]
    holder: Holder | None
    command: OpenCommand | None


def load_situation(
    connection: sqlite3.Connection, root: Root, run_id: RunId, now: UtcTime, words_of: WordsOf = _plain
) -> Situation:
    """Read all that an explanation needs.  Blocking; writes nothing.

    Args:
        words_of: what to say of the jobs of a backend, from its part of the run's config.

    Raises:
        NotFoundError: there is no such run.
    """
    stored = _read(connection, root, run_id)
    reports = read_reports(root)
    engine = engine_of(root, run_id, stored.holder, reports)
    lacking = missing_secrets(root, run_id)
    context = Context(
        now=now,
        root=str(root.path),
        engine=engine,
        backends=_backends(root, stored, reports, {run_id: engine}, words_of),
        full_disk=full_disk((root.private, root.workspaces / stored.run.workspace)),
        command=stored.command,
        finishing=read_finishing(root, run_id),
        missing_secrets={} if lacking is None else lacking.missing,
        missing_since=None if lacking is None else lacking.since,
    )
    return Situation(stored.run, stored.tasks, context)


def load_on_full_disk(
    root: Root, run_id: RunId, now: UtcTime, error: DiskFullError, words_of: WordsOf = _plain
) -> Situation:
    """The same where the store cannot be opened, for want of room for what SQLite needs beside it.

    The file is read as it lies there.  That is all of the store when its write-ahead log is empty, as an
    engine leaves it that was stopped in order; and while the disk is full nobody adds anything.

    Raises:
        DiskFullError: ``error``, when the file alone does not tell all.
    """
    log = root.database.with_name(f"{root.database.name}-wal")
    if not root.database.is_file() or (log.exists() and log.stat().st_size):
        raise error
    uri = f"file:{quote(str(root.database))}?immutable=1"
    with translated_errors(root.database), closing(sqlite3.connect(uri, uri=True)) as connection:
        if schema_version(connection) != SCHEMA_VERSION:
            raise error
        with readable_rows(connection, "what was asked"):
            return load_situation(connection, root, run_id, now, words_of)


# ---- the store ----


def _read(connection: sqlite3.Connection, root: Root, run_id: RunId) -> _Stored:
    with one_moment(connection):
        row = run_row(connection, run_id)
        return _Stored(
            run=_run(connection, root, run_id, row),
            config=row["config"],
            tasks=_tasks(connection, run_id, row["config"]["default_backend"]),
            seats=_seats(connection),
            holder=_holder(row),
            command=_command(connection, run_id),
        )


def _holder(row: Mapping[str, Any]) -> Holder | None:
    if row["lease_host"] is None:
        return None
    return Holder(row["lease_host"], row["lease_boot_id"], row["lease_pid"])


def _run(connection: sqlite3.Connection, root: Root, run_id: RunId, r: Mapping[str, Any]) -> RunView:
    status = RunStatus(r["status"])
    config = r["config"]
    counts = task_counts(connection, run_id)
    total = sum(counts.values())
    types = _ASKED if r["ending"] else _END_OF.get(status, ())
    return RunView(
        run_id=run_id,
        workspace=r["workspace"],
        status=status,
        status_reason=r["status_reason"],
        phase=Phase(r["phase"]),
        iteration=r["iteration"],
        ending=RunStatus(r["ending"]) if r["ending"] else None,
        ending_reason=r["ending_reason"],
        created_at=r["created_at"],
        updated_at=last_event_of(connection, run_id)[0] or r["created_at"],
        since=last_event_of(connection, run_id, types)[0] if types else None,
        was_given_up=status is RunStatus.FAILED and _was_given_up(connection, run_id),
        tasks=total,
        done=total - sum(counts.get(open_status, 0) for open_status in UNFINISHED),
        job_cap=config["max_hpc_jobs_per_run"],
        planning_timeout_s=config["planning_timeout_s"],
        planning_log=str(root.run_folder(r["workspace"], run_id).planning_log),
        campaign_class=config.get("campaign_object", {}).get("class", ""),
        is_pinned=config.get("pin_campaign", False),
        held=_held(connection, run_id) if status is RunStatus.PAUSED else None,
        worked_on=hosts_that_worked(connection, run_id) if counts.get(TaskStatus.FAILED) else frozenset(),
    )


def _held(connection: sqlite3.Connection, run_id: RunId) -> AlikeFailures | None:
    paused = last_pause(connection, run_id)
    return None if paused is None else paused.alike


def _was_given_up(connection: sqlite3.Connection, run_id: RunId) -> bool:
    last = last_event_of(connection, run_id, ("RunFailureRequested", "RunReopened"))
    return last[1] == "RunFailureRequested"


def _tasks(connection: sqlite3.Connection, run_id: RunId, default_backend: BackendName) -> list[TaskView]:
    attempts = newest_attempts(connection, run_id)
    return [
        _task(row, default_backend, attempts.get(row["task_id"]))
        for row in unsucceeded_tasks(connection, run_id)
    ]


def _task(row: Mapping[str, Any], default_backend: BackendName, attempt: dict[str, Any] | None) -> TaskView:
    task = row["task"]
    sources = (source.partition("/")[0] for source in task["inputs"].values())
    why = row["cancellation"] or {}
    return TaskView(
        task_id=TaskId(row["task_id"]),
        status=TaskStatus(row["status"]),
        backend=task["backend"] or default_backend,
        operator=task["operator"],
        needs=tuple(dict.fromkeys((*task["depends_on"], *sources))),
        reason=row["reason"],
        tries=row["tries"],
        retries=task["retries"],
        allow_failure=task["allow_failure"],
        is_cancelled=bool(why) and not why.get("lets_job_end"),
        is_withdrawn=bool(why) and bool(why.get("is_gone")),
        attempt=_attempt(attempt, task) if attempt is not None else None,
    )


def _attempt(row: dict[str, Any], task: Mapping[str, Any]) -> AttemptView:
    definition = row.pop("definition") or task
    is_outdated = any(definition.get(name) != task[name] for name in task if name not in RULES)
    is_resubmitted = row.pop("resubmission") is not None
    asked: Resources = CONVERTER.structure(row.pop("resources"), Resources)
    state = JobState(row.pop("state")) if row["state"] else row.pop("state")
    walltime_s = asked.walltime_s if state is JobState.RUNNING else None
    return AttemptView(
        state=state,
        walltime_s=walltime_s,
        asked=asked,
        is_outdated=is_outdated,
        is_resubmitted=is_resubmitted,
        **row,
    )


def _seats(connection: sqlite3.Connection) -> list[_Seats]:
    return [
        _Seats(row["backend"], row["run_id"], row["seats"], row["last_at"], _holder(row))
        for row in seat_holders(connection)
    ]


def _command(connection: sqlite3.Connection, run_id: RunId) -> OpenCommand | None:
    row = oldest_open_command(connection, run_id)
    return OpenCommand(row[0], row[1], UtcTime(row[2])) if row is not None else None


# ---- around it ----


def engine_of(
    root: Root, run_id: RunId, holder: Holder | None, reports: Iterable[BackendReport] = ()
) -> EngineView:
    """Who serves a run, and whether it lives, as far as can be seen from this machine."""
    if seized := intruders(root, run_id, holder):
        return EngineView(Condition.SEIZED, pid=seized[0].pid, intruder=str(seized[0]))
    if holder is None:
        return EngineView(Condition.ALIVE if is_held(root, run_id) else Condition.NONE)
    condition = Condition.ELSEWHERE
    if is_held(root, run_id):
        condition = Condition.ALIVE
        if holder.boot_id == this_process().boot_id and _is_stopped(holder.pid):
            condition = Condition.STOPPED
    elif holder.is_on(this_process()):
        condition = Condition.DEAD
    elif any(_is_by(report, holder) for report in reports):
        condition = Condition.ALIVE
    return EngineView(condition, holder.host, holder.pid)


def _is_by(report: BackendReport, holder: Holder) -> bool:
    return (report.host, report.boot_id, report.pid) == (holder.host, holder.boot_id, holder.pid)


def _is_stopped(pid: int) -> bool:
    """Whether a process of this machine was stopped by a signal: proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return False
    return fields.split()[:1] == ["T"]


def _backends(
    root: Root,
    stored: _Stored,
    reports: Sequence[BackendReport],
    known: dict[RunId, EngineView],
    words_of: WordsOf,
) -> dict[BackendName, BackendView]:
    for seats in stored.seats:
        if seats.run_id not in known:
            known[seats.run_id] = engine_of(root, seats.run_id, seats.holder, reports)
    views: dict[BackendName, BackendView] = {}
    for name, config in stored.config["backends"].items():
        taken = [seats for seats in stored.seats if seats.backend == name]
        views[name] = BackendView(
            name=name,
            type=config["type"],
            max_jobs=config["max_jobs"],
            config=config,
            words=words_of(config),
            holders=[SeatHolder(s.run_id, s.seats, s.last_at, known[s.run_id]) for s in taken],
            health=health_of(name, stored.holder, reports, definition_of(name, config)),
        )
    return views


def health_of(
    backend: BackendName, holder: Holder | None, reports: Iterable[BackendReport], definition: str = ""
) -> Health:
    """What the engine that serves the run says of a backend; where it says nothing, what others say.

    Runs may have frozen different definitions of a backend, such as other partitions: what is said of the
    run's own counts, where anybody speaks of that.
    """
    told = [report for report in reports if report.backend == backend]
    told = [report for report in told if report.definition == definition] or told
    told = [report for report in told if holder is not None and _is_by(report, holder)] or told
    out = _first(told, "out_since")
    accounting = _first(told, "accounting_out_since")
    limited = _first(told, "limited_since")
    return Health(
        out_since=out.out_since if out else None,
        problem=out.problem if out else "",
        accounting_out_since=accounting.accounting_out_since if accounting else None,
        accounting_problem=accounting.accounting_problem if accounting else "",
        limited_since=limited.limited_since if limited else None,
        limit=limited.limit if limited else "",
    )


def _first(reports: Iterable[BackendReport], field: str) -> BackendReport | None:
    """The report that has known of a trouble for the longest."""
    troubled = [report for report in reports if getattr(report, field) is not None]
    return min(troubled, key=lambda report: str(getattr(report, field)), default=None)


def full_disk(folders: Iterable[Path]) -> str:
    """Which of these folders lies on a disk that has no room for what comes next; empty when none does.

    A quota that is used up cannot be seen in this way.
    """
    is_root = os.geteuid() == 0  # some room is often kept for root, and shown as taken to others
    for folder in folders:
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        free = (disk.f_bfree if is_root else disk.f_bavail) * disk.f_frsize
        if free < ROOM_BYTES:
            return f"{free // 1024} KiB are free at {folder}"
        if disk.f_files and not (disk.f_ffree if is_root else disk.f_favail):
            return f"no file can be made any more at {folder}"
    return ""
