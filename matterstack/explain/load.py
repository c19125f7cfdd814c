"""Read a situation: one consistent snapshot of the store, and what is around it on this machine."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import attrs

from matterstack.core.errors import DiskFullError, NotFoundError
from matterstack.core.ids import BackendName, RunId, TaskId, UtcTime
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
from matterstack.storage.layout import Root
from matterstack.storage.leases import Holder, is_held, this_process
from matterstack.storage.schema import SCHEMA_VERSION, readable_rows, translated_errors

ROOM_BYTES: Final = 256 << 10
"""With less room than this, the next commit may fail."""

_END_OF: Final[Mapping[str, tuple[str, ...]]] = {
    RunStatus.PAUSED: ("RunPaused",),
    RunStatus.COMPLETED: ("RunCompleted",),
    RunStatus.FAILED: ("RunFailed",),
    RunStatus.CANCELLED: ("RunCancelled",),
}
_ASKED: Final = ("RunCancelRequested", "RunFailureRequested")
_RUN_COLUMNS: Final = (
    "workspace", "config", "status", "status_reason", "phase", "iteration", "ending", "ending_reason",
    "created_at", "lease_host", "lease_boot_id", "lease_pid",
)  # fmt: skip
_ATTEMPT_COLUMNS: Final = (
    "backend", "prepared_at", "job_id", "state", "raw_state", "reason",
    "submitted_at", "started_at", "ended_at", "resources",
)  # fmt: skip


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


def load_situation(connection: sqlite3.Connection, root: Root, run_id: RunId, now: UtcTime) -> Situation:
    """Read all that an explanation needs.  Blocking; writes nothing.

    Raises:
        NotFoundError: there is no such run.
    """
    stored = _read(connection, root, run_id)
    reports = read_reports(root)
    engine = engine_of(root, run_id, stored.holder, reports)
    context = Context(
        now=now,
        root=str(root.path),
        engine=engine,
        backends=_backends(root, stored, reports, {run_id: engine}),
        full_disk=full_disk((root.private, root.workspaces / stored.run.workspace)),
        command=stored.command,
    )
    return Situation(stored.run, stored.tasks, context)


def load_on_full_disk(root: Root, run_id: RunId, now: UtcTime, error: DiskFullError) -> Situation:
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
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise error
        with readable_rows(connection, "what was asked"):
            return load_situation(connection, root, run_id, now)


# ---- the store ----


def _read(connection: sqlite3.Connection, root: Root, run_id: RunId) -> _Stored:
    connection.execute("BEGIN")
    try:
        row = connection.execute(
            f"SELECT {', '.join(_RUN_COLUMNS)} FROM runs WHERE run_id = ?",  # noqa: S608  only our own names
            (run_id,),
        ).fetchone()
        if row is None:
            raise NotFoundError(f"no run {run_id}", hint="list them with: matterstack run list")
        r = dict(zip(_RUN_COLUMNS, row, strict=True))
        config = json.loads(r["config"])
        return _Stored(
            run=_run(connection, root, run_id, r, config),
            config=config,
            tasks=_tasks(connection, run_id, config["default_backend"]),
            seats=_seats(connection),
            holder=_holder(r["lease_host"], r["lease_boot_id"], r["lease_pid"]),
            command=_command(connection, run_id),
        )
    finally:
        connection.execute("COMMIT")


def _holder(host: str | None, boot_id: str, pid: int) -> Holder | None:
    return Holder(host, boot_id, pid) if host is not None else None


def _run(
    connection: sqlite3.Connection, root: Root, run_id: RunId, r: Mapping[str, Any], config: Mapping[str, Any]
) -> RunView:
    status = RunStatus(r["status"])
    counts = dict(
        connection.execute("SELECT status, count(*) FROM tasks WHERE run_id = ? GROUP BY status", (run_id,))
    )
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
        updated_at=_last(connection, run_id)[0] or r["created_at"],
        since=_last(connection, run_id, types)[0] if types else None,
        was_given_up=status is RunStatus.FAILED and _was_given_up(connection, run_id),
        tasks=total,
        done=total - sum(counts.get(open_status, 0) for open_status in UNFINISHED),
        job_cap=config["max_hpc_jobs_per_run"],
        planning_timeout_s=config["planning_timeout_s"],
        planning_log=str(root.run_folder(r["workspace"], run_id).planning_log),
        campaign_class=config.get("campaign_object", {}).get("class", ""),
    )


def _last(
    connection: sqlite3.Connection, run_id: RunId, types: Sequence[str] = ()
) -> tuple[UtcTime | None, str]:
    """When the last event (of these types) was, and its type.  Looks back from the end."""
    where = f"AND type IN ({', '.join('?' * len(types))})" if types else ""
    row = connection.execute(
        f"SELECT at, type FROM events WHERE run_id = ? {where} ORDER BY seq DESC LIMIT 1",  # noqa: S608
        (run_id, *types),
    ).fetchone()
    return (UtcTime(row[0]), row[1]) if row is not None else (None, "")


def _was_given_up(connection: sqlite3.Connection, run_id: RunId) -> bool:
    return _last(connection, run_id, ("RunFailureRequested", "RunReopened"))[1] == "RunFailureRequested"


def _tasks(connection: sqlite3.Connection, run_id: RunId, default_backend: BackendName) -> list[TaskView]:
    attempts = _newest_attempts(connection, run_id)
    rows = connection.execute(
        "SELECT task_id, status, reason, tries, task FROM tasks "
        "WHERE run_id = ? AND status != 'SUCCEEDED' ORDER BY position",
        (run_id,),
    )
    return [
        _task(TaskId(task_id), TaskStatus(status), reason, tries, json.loads(task), default_backend, attempts)
        for task_id, status, reason, tries, task in rows
    ]


def _task(
    task_id: TaskId,
    status: TaskStatus,
    reason: str,
    tries: int,
    task: Mapping[str, Any],
    default_backend: BackendName,
    attempts: Mapping[TaskId, AttemptView],
) -> TaskView:
    sources = (source.partition("/")[0] for source in task["inputs"].values())
    return TaskView(
        task_id=task_id,
        status=status,
        backend=task["backend"] or default_backend,
        operator=task["operator"],
        needs=tuple(dict.fromkeys((*task["depends_on"], *sources))),
        reason=reason,
        tries=tries,
        retries=task["retries"],
        allow_failure=task["allow_failure"],
        attempt=attempts.get(task_id),
    )


def _newest_attempts(connection: sqlite3.Connection, run_id: RunId) -> dict[TaskId, AttemptView]:
    # SQLite takes the other columns from the row that has the maximum: sqlite.org/lang_select.html
    rows = connection.execute(
        f"SELECT a.task_id, max(a.n), {', '.join('a.' + c for c in _ATTEMPT_COLUMNS)} "  # noqa: S608
        "FROM attempts a JOIN tasks t ON t.run_id = a.run_id AND t.task_id = a.task_id "
        "WHERE a.run_id = ? AND t.status != 'SUCCEEDED' GROUP BY a.task_id",
        (run_id,),
    )
    return {task_id: _attempt(n, dict(zip(_ATTEMPT_COLUMNS, row, strict=True))) for task_id, n, *row in rows}


def _attempt(n: int, a: dict[str, Any]) -> AttemptView:
    resources = a.pop("resources")
    a["state"] = JobState(a["state"]) if a["state"] else None
    walltime_s = json.loads(resources)["walltime_s"] if a["state"] is JobState.RUNNING else None
    return AttemptView(n=n, walltime_s=walltime_s, **a)


def _seats(connection: sqlite3.Connection) -> list[_Seats]:
    rows = connection.execute(
        "SELECT a.backend, a.run_id, count(*), max(a.prepared_at), "
        "r.lease_host, r.lease_boot_id, r.lease_pid "
        "FROM attempts a JOIN runs r USING (run_id) WHERE a.ended_at IS NULL GROUP BY a.backend, a.run_id"
    )
    return [
        _Seats(backend, run_id, seats, last_at, _holder(*lease))
        for backend, run_id, seats, last_at, *lease in rows
    ]


def _command(connection: sqlite3.Connection, run_id: RunId) -> OpenCommand | None:
    row = connection.execute(
        "SELECT type, by, created_at FROM commands WHERE run_id = ? AND outcome IS NULL "
        "ORDER BY created_at, rowid LIMIT 1",
        (run_id,),
    ).fetchone()
    return OpenCommand(*row) if row is not None else None


# ---- around it ----


def engine_of(
    root: Root, run_id: RunId, holder: Holder | None, reports: Iterable[BackendReport] = ()
) -> EngineView:
    """Who serves a run, and whether it lives, as far as can be seen from this machine."""
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
    root: Root, stored: _Stored, reports: Sequence[BackendReport], known: dict[RunId, EngineView]
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
            ssh_host=(config.get("ssh") or {}).get("host", ""),
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
