"""Delete runs that have ended, or forget those whose folder has gone, from any face.

First it is looked whether all of them can go (`look_at`), so that somebody can be asked; then they go, one
hundred after the other (`delete`): of each the store keeps one event that tells of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.errors import MatterStackError, RefusedError
from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run.facts import RunDeleted
from matterstack.core.states import ENDED_RUNS, RunStatus
from matterstack.evidence.proof import kept_beside, require_proof
from matterstack.storage.deletion import Unfinished, deletion_of, finish, finish_all, relaxed, shrink
from matterstack.storage.journal import Append, commit
from matterstack.storage.layout import Root, is_folder
from matterstack.storage.leases import Lease, acquire_lease
from matterstack.storage.openness import require_owner
from matterstack.storage.read.references import references_to
from matterstack.storage.read.runs import RunSummary, require_run, runs_with_jobs
from matterstack.storage.schema import open_database, reading, translated_errors

AT_ONCE: Final = 100
"""How many go in one transaction: while it lasts nobody else writes."""
_ANSWER_HINT: Final = "cancel it, or let it come to its end"


@attrs.frozen(kw_only=True)
class Candidate:
    """A run that can go.

    Attributes:
        proof: what is left of it: its evidence, or an archive; None where nothing is.
        keeps_evidence: whether that lies in the run's folder, and stays there.
    """

    run_id: RunId
    workspace: str
    status: RunStatus
    head: str
    proof: Path | None
    keeps_evidence: bool
    forgotten: bool


@contextmanager
def opened_store(root: Root, warn: Callable[[str], None]) -> Iterator[sqlite3.Connection]:
    """The store, for the functions below; what a crash has left of earlier deletions is finished first.

    Args:
        warn: told what of that is still left, and why.

    Raises:
        RefusedError: the root belongs to somebody else.
        StoreError: it cannot be opened.
    """
    require_owner(root)
    with closing(open_database(root.database)) as connection:
        for problem in finish_all(connection, root):
            warn(problem)
        yield connection


def look_at(
    connection: sqlite3.Connection,
    root: Root,
    run_ids: Sequence[RunId],
    *,
    with_evidence: bool = True,
    elsewhere: Sequence[Path] = (),
    forget: bool = False,
) -> list[Candidate]:
    """Look whether these runs can go; nothing is changed.

    Args:
        with_evidence: refuse those of which no evidence would be left.
        elsewhere: bundles and archives of them outside of their folders.
        forget: those whose folder has gone; else those that have ended.

    Raises:
        NotFoundError: there is no such run.
        RefusedError: one cannot go, and why; then none goes.
    """
    wanted = list(dict.fromkeys(run_ids))
    with reading(root.database, connection):
        summaries = [require_run(connection, run_id) for run_id in wanted]
        with_jobs = set(runs_with_jobs(connection))
        named = references_to(connection, set(wanted))
    for summary in summaries:
        run_id = summary.run_id
        if run_id in with_jobs:
            raise RefusedError(f"run {run_id} has jobs that are not known to have ended", hint=_ANSWER_HINT)
        _require_folder(root, summary, forget=forget)
        if not forget and run_id in named:
            by, where = named[run_id]
            raise RefusedError(
                f"run {run_id} is needed: {where} of run {by} names its folder",
                hint="delete that one as well, or first",
            )
    return [_candidate(root, s, elsewhere, with_evidence=with_evidence, forget=forget) for s in summaries]


def _require_folder(root: Root, summary: RunSummary, *, forget: bool) -> None:
    run_id, folder = summary.run_id, root.run_folder(summary.workspace, summary.run_id)
    has_folder = is_folder(folder.path)
    if forget and has_folder:
        raise RefusedError(
            f"the folder of run {run_id} is there: {folder.path}",
            hint=f"delete it with its folder: matterstack run delete {run_id}",
        )
    if not forget and summary.status not in ENDED_RUNS:
        raise RefusedError(
            f"run {run_id} is {summary.status}: only runs that have ended go", hint=_ANSWER_HINT
        )
    if not forget and not has_folder:
        raise RefusedError(
            f"the folder of run {run_id} has gone: {folder.path}",
            hint=f"put it back, or forget the run: matterstack run forget {run_id}",
        )


def _candidate(
    root: Root, summary: RunSummary, elsewhere: Sequence[Path], *, with_evidence: bool, forget: bool
) -> Candidate:
    run_id, beside, proof = summary.run_id, [], None
    if with_evidence and not forget:
        beside = kept_beside(root.run_folder(summary.workspace, run_id), run_id)
        proof = require_proof([*elsewhere, *beside], run_id, summary.head)
    return Candidate(
        run_id=run_id,
        workspace=summary.workspace,
        status=summary.status,
        head=summary.head,
        proof=proof,
        keeps_evidence=proof in beside,
        forgotten=forget,
    )


def delete(
    connection: sqlite3.Connection,
    root: Root,
    candidates: Sequence[Candidate],
    by: str,
    now: Callable[[], UtcTime],
) -> list[RunDeleted]:
    """Delete runs that were looked at: first from the store, all or none of them, then their folders.

    What a crash leaves in between is finished later.

    Raises:
        NotFoundError: one has gone meanwhile.
        RefusedError: an engine serves one, or it went on meanwhile.
        StoreError: the store cannot be written, or files cannot be removed.
    """
    leases: list[Lease] = []
    with translated_errors(root.database):
        try:
            with relaxed(connection):
                for candidate in candidates:
                    leases.append(_leased(connection, root, candidate))  # noqa: PERF401  kept if the next fails
            made = [
                _deletion(connection, root, lease, candidate, by, now())
                for lease, candidate in zip(leases, candidates, strict=True)
            ]
            for outcome in commit(connection, root.database, [append for _, append in made]):
                if isinstance(outcome, MatterStackError):
                    raise outcome
        finally:
            with relaxed(connection):
                for lease in leases:
                    lease.release(connection)
    left = [
        Unfinished(run_id=one.run_id, workspace=one.workspace, keeps_evidence=one.keeps_evidence)
        for one in candidates
    ]
    for problem in finish(connection, root, left):
        raise problem
    return [fact for fact, _ in made]


def _leased(connection: sqlite3.Connection, root: Root, candidate: Candidate) -> Lease:
    lease = acquire_lease(connection, root, candidate.run_id)
    if lease is None:
        raise RefusedError(
            f"run {candidate.run_id} is served by an engine", hint="wait until that has stopped"
        )
    return lease


def _deletion(
    connection: sqlite3.Connection, root: Root, lease: Lease, candidate: Candidate, by: str, now: UtcTime
) -> tuple[RunDeleted, Append]:
    # Its lease is held, so that nobody reopens it between this look and the end of it.
    summary = require_run(connection, candidate.run_id)
    if summary.head != candidate.head:
        raise RefusedError(f"run {candidate.run_id} went on meanwhile", hint="look at it, and try again")
    return deletion_of(
        connection,
        root,
        lease,
        candidate.workspace,
        by=by,
        at=max(now, summary.updated_at),
        keeps_evidence=candidate.keeps_evidence,
        forgotten=candidate.forgotten,
    )


def shrink_store(connection: sqlite3.Connection, root: Root) -> None:
    """Give the room of what was deleted back: see `matterstack.storage.deletion.shrink`."""
    shrink(connection, root)
