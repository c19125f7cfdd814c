"""What a run's events say, up to one of them: the folded state, and what the state itself forgets.

The same values come from the store and from the ``events.jsonl`` of a bundle, so that whatever is made from
them can be made again, and compared, without the store.
"""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.errors import InvariantError
from matterstack.core.ids import RunId, TaskId, UtcTime
from matterstack.core.model.amending import change_in_words
from matterstack.core.model.workflow import Task
from matterstack.core.run import facts as f
from matterstack.core.run.apply import Touched, apply, new_run
from matterstack.core.run.campaign_code import changes_in_words
from matterstack.core.run.chain import UNCHAINED, chained
from matterstack.core.run.config_changes import all_changes_told
from matterstack.core.run.facts import BoundFile, OutputFile
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.shown_text import brief
from matterstack.evidence.lineage import Definition, Lineage
from matterstack.evidence.run_changes import RunChanges, is_told
from matterstack.storage.codec import dumps
from matterstack.storage.fact_codec import decode_fact
from matterstack.storage.heads import require_head
from matterstack.storage.read.events import EventRow, event_rows, require_events
from matterstack.storage.read.transactions import one_moment
from matterstack.storage.schema import readable_rows

AttemptKey = tuple[TaskId, int]
CREATED: Final = "created"


@attrs.define(kw_only=True)
class Iteration:
    """One round of planning, as the events tell it.

    Attributes:
        planned_by: number of the campaign's version that planned it, see `Version`, and of those that
            planned it anew.
        analyzed_by: that of the one which analyzed it last.
    """

    number: int
    name: str | None
    planned_at: UtcTime
    task_count: int
    analyzed_at: UtcTime | None = None
    planned_by: list[int] = attrs.field(factory=list)
    analyzed_by: int | None = None


@attrs.frozen(kw_only=True)
class Version:
    """A campaign that is another one than that before; the one that made the run is number 1.

    Attributes:
        at: when it was seen to have changed.
        files: SHA-256 of what changed or was new, by path.
        before: SHA-256 that it had; new ones are not in it.
    """

    number: int
    at: UtcTime
    files: Mapping[str, str]
    before: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Note:
    """Something that happened to the run as a whole; ``by`` is the person who did it, if it was one.

    Attributes:
        change: number of the change that it is, or is a part of; see `matterstack.evidence.run_changes`.
    """

    at: UtcTime
    what: str
    by: str = ""
    reason: str = ""
    change: int | None = None


@attrs.frozen(kw_only=True)
class Answer:
    """What a person or an instrument answered: who wrote it, and the hash of what was written."""

    by: str
    sha256: str
    at: UtcTime


@attrs.frozen(kw_only=True)
class End:
    """What the end of a job is bound to; fields as in `matterstack.core.run.facts.JobEnded`."""

    logs: tuple[BoundFile, ...] | None = None
    given: tuple[BoundFile, ...] | None = None


@attrs.define(kw_only=True)
class History:
    """A run as of one event.

    Attributes:
        seq: number of the last event that was taken into account.
        head: its hash, which no history has that differs in any event up to it.
        created: what the run was made from.
        started_at: when an engine took the run up for the first time.
        outputs: what each attempt left behind, those of attempts included that were replaced since.
        claimed: attempts with which a task ended, and with what they had left; others may have left more.
        outcomes: why an attempt was not enough, in words; of attempts that ended well there is none.
        sought: by attempt, which of its files hold values of secrets; of those that were looked through.
        answers: by attempt; of tasks that ask a person, a laboratory or an instrument.
        ends: what the end of each attempt's job is bound to; of attempts that had one.
        most_live: the largest number of jobs that held a seat at the same time.
        about: what was last said of what the run is about.
        environments: by attempt, the hash of what was found of the software that its job ran in.
        versions: of the campaign, after the one that made the run.
        kept_code: path and SHA-256 of all files of the workspace that calls of the campaign used and that
            the run's folder keeps, in the order in which they were used first.
        ended_at: when the run came to its end; None while it has not.
        is_amended: whether its config is another one by now than it was made with.
        lineage: versions of definitions and of the config, and which attempt was made under which.
        changes: what was changed of the run while it lived.
    """

    state: RunState
    seq: int
    head: str
    created: f.RunCreated
    lineage: Lineage
    started_at: UtcTime | None = None
    iterations: list[Iteration] = attrs.field(factory=list)
    notes: list[Note] = attrs.field(factory=list)
    outputs: dict[AttemptKey, tuple[OutputFile, ...]] = attrs.field(factory=dict)
    claimed: set[AttemptKey] = attrs.field(factory=set)
    outcomes: dict[AttemptKey, str] = attrs.field(factory=dict)
    sought: dict[AttemptKey, Mapping[str, tuple[str, ...]]] = attrs.field(factory=dict)
    answers: dict[AttemptKey, Answer] = attrs.field(factory=dict)
    ends: dict[AttemptKey, End] = attrs.field(factory=dict)
    most_live: int = 0
    about: Mapping[str, Any] = attrs.field(factory=dict)
    environments: dict[AttemptKey, str] = attrs.field(factory=dict)
    versions: list[Version] = attrs.field(factory=list)
    kept_code: dict[tuple[str, str], None] = attrs.field(factory=dict)
    ended_at: UtcTime | None = None
    is_amended: bool = False
    changes: RunChanges = attrs.field(factory=RunChanges)

    @property
    def as_of(self) -> UtcTime:
        """When the last event happened."""
        return self.state.updated_at

    @property
    def run_id(self) -> RunId:
        """Id of the run whose history it is."""
        return self.state.run_id

    @property
    def version(self) -> int:
        """Number of the newest version of the campaign."""
        return self.versions[-1].number if self.versions else 1

    def later_code(self) -> Iterator[tuple[str, str]]:
        """Path and SHA-256 of files that the run keeps, and that were not so when it was made."""
        made_from = self.created.sources
        yield from ((path, digest) for path, digest in self.kept_code if made_from.get(path) != digest)

    def definitions(self) -> Iterator[tuple[TaskId, Sequence[Definition]]]:
        """All definitions of tasks that have had more than one, in the order in which they were planned."""
        known = self.lineage.definitions
        yield from ((task_id, known[task_id]) for task_id in self.state.tasks if task_id in known)

    def attempts(self) -> Iterator[AttemptState]:
        """All attempts, in the order in which their tasks were planned."""
        return self.state.attempts()


def read_history(
    connection: sqlite3.Connection, run_id: RunId, up_to: int | None = None
) -> tuple[History, bytes]:
    """Read all events of a run (or those up to a number) in one transaction, and fold them.

    The last of them is what everything is as of.  Returns as well the content of ``events.jsonl``.

    Raises:
        NotFoundError: there is no such run.
        DatabaseCorruptError: a row holds what was never written into it, or the events are not those that
            were stored.
    """
    lines = bytearray()

    def rows() -> Iterator[EventRow]:
        for row in event_rows(connection, run_id, up_to):
            lines.extend(row.line())
            yield row

    with one_moment(connection):
        require_events(connection, run_id)
        with readable_rows(connection, f"the history of run {run_id}"):
            history = fold_events(rows())
        if up_to is None:
            # What was changed in the store by hand must not become evidence that fits itself.
            require_head(connection, run_id, history.seq, history.head)
    return history, bytes(lines)


class LineError(ValueError):
    """A line of ``events.jsonl`` is none that was written there."""


def parse_lines(text: bytes) -> Iterator[EventRow]:
    """Read the events of ``events.jsonl``, line by line.

    Raises:
        LineError: naming the first line that is not as `EventRow.line` makes it.
    """
    for number, line in enumerate(io.BytesIO(text), start=1):
        try:
            yield _parse_line(line)
        except (ValueError, TypeError, RecursionError) as error:
            raise LineError(f"line {number} cannot be read: {brief(error)}") from None


def _parse_line(line: bytes) -> EventRow:
    event: Any = json.loads(line)
    if not isinstance(event, dict) or list(event) != ["seq", "at", "run", "type", "data"]:
        raise ValueError("it is no event with seq, at, run, type and data")
    row = EventRow(event["seq"], event["run"], event["at"], event["type"], dumps(event["data"]))
    if row.line() != line:
        raise ValueError("it is not written as MatterStack writes events")
    return row


def fold_events(rows: Iterable[EventRow]) -> History:
    """Fold events into a history, the oldest first.

    Raises:
        InvariantError: the first one does not create a run, or one does not follow from those before it.
        Exception: whatever decoding makes of what nobody encoded.
    """
    history: History | None = None
    touched = Touched()
    for row in rows:
        fact = decode_fact(row.type, row.data)
        if history is None:
            if not isinstance(fact, f.RunCreated):
                raise InvariantError(f"the first event of a run must be RunCreated, not {row.type}")
            history = History(
                state=new_run(row.run_id, fact, row.at),
                seq=row.seq,
                head=chained(UNCHAINED, row.line()),
                created=fact,
                lineage=Lineage.begun(fact, row.at),
                about=fact.about,
            )
            history.notes.append(Note(at=row.at, what=CREATED, by=fact.by))
            continue
        if row.seq <= history.seq or row.run_id != history.run_id:
            raise InvariantError(f"event {row.seq} of run {row.run_id} does not follow event {history.seq}")
        before = _definition_of(history.state, fact)
        _remember(history, fact, row.at)
        apply(history.state, fact, row.at, touched)
        history.lineage.take(history.state, fact, row.at, before, history.version)
        history.seq, history.head = row.seq, chained(history.head, row.line())
        history.most_live = max(history.most_live, len(history.state.live))
        touched = Touched()
    if history is None:
        raise InvariantError("there is no event at all")
    return history


def _definition_of(state: RunState, fact: f.Fact) -> Task | None:
    """Definition of the task that a fact is about, as it is now."""
    task = state.tasks.get(getattr(fact, "task_id", TaskId("")))
    return None if task is None else task.task


def _remember(history: History, fact: f.Fact, at: UtcTime) -> None:
    """Keep what the state does not."""
    told = len(history.notes)
    _remember_what_happened(history, fact, at)
    version = history.lineage.config + 1 if isinstance(fact, f.ConfigAmended) else history.version
    change = history.changes.take(history.state, fact, at, version=version)
    if change is not None:
        for place in range(told, len(history.notes)):
            history.notes[place] = attrs.evolve(history.notes[place], change=change)


def _remember_what_happened(history: History, fact: f.Fact, at: UtcTime) -> None:
    match fact:
        case f.AboutChanged():
            history.about = fact.about
            what = "said anew what the run is about"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.ConfigAmended():
            history.is_amended = True
            what = f"amended the config: {all_changes_told(fact.changes)}"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.RunStarted():
            history.started_at = history.started_at or at
            history.notes.append(Note(at=at, what="started"))
        case f.IterationPlanned():
            history.iterations.append(
                Iteration(
                    number=fact.iteration,
                    name=fact.name,
                    planned_at=at,
                    task_count=fact.task_count,
                    planned_by=[history.version],
                )
            )
            _remember_code(history, fact.code, fact.unkept)
        case f.Replanned():
            for iteration in history.iterations[-1:]:
                iteration.name, iteration.task_count = fact.name, fact.task_count
                iteration.planned_by.append(history.version)
            _remember_code(history, fact.code, fact.unkept)
            what = f"planned round {fact.iteration} anew"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.TaskReplanned():
            words = [change_in_words(path, change.old, change.new) for path, change in fact.changes.items()]
            words += [f"files.{name} has another content" for name in fact.contents]
            what = f"planned {fact.task_id} in another way"
            history.notes.append(Note(at=at, what=what, reason="; ".join(words)))
        case f.TaskWithdrawn():
            what = f"withdrew {fact.task_id}, which the plan has no more"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.CampaignChanged():
            _remember_version(history, fact, at)
        case f.PlanWarned():
            what = f"planned round {fact.iteration} with warnings"
            history.notes.append(Note(at=at, what=what, reason="; ".join(fact.warnings)))
        case f.EventsLost():
            what = f"lost what had happened until {fact.until}"
            reason = f"the store was put back from a backup; the head had been {fact.head}"
            history.notes.append(Note(at=at, what=what, reason=reason))
        case f.IterationAnalyzed():
            for iteration in history.iterations[-1:]:
                iteration.analyzed_at, iteration.analyzed_by = at, history.version
            _remember_code(history, fact.code, fact.unkept)
        case f.TaskSucceeded() | f.TaskFailed():
            _remember_end(history, fact)
        case f.JobAccepted() if fact.set_aside:
            attempt = history.state.live.get(fact.token)
            task_id = attempt.task_id if attempt is not None else fact.token
            what = f"set aside what lay in the place of the folder of {task_id}"
            history.notes.append(Note(at=at, what=what, reason=f"kept as {', '.join(fact.set_aside)}"))
        case f.JobEnded():
            _remember_job(history, fact, at)
        case f.SecretsSought():
            _remember_sought(history, fact)
        case f.TaskRetried():
            history.outcomes[_last_key(history, fact.task_id)] = f"{fact.kind}: {fact.reason}"
        case f.TaskReopened():
            what = f"asked for more attempts of {fact.task_id}"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.TaskCancelled() | f.TaskCancelRequested() if fact.by and not is_told(history.state, fact):
            behind = f" with {fact.because}, which it depends on" if fact.because else ""
            what = f"cancelled {fact.task_id}{behind}"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.TaskAmended():
            changes = (change_in_words(path, change.old, change.new) for path, change in fact.changes.items())
            what = f"amended {fact.task_id} ({'; '.join(changes)})"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.TaskResubmitRequested():
            what = f"asked for the job of {fact.task_id} to be submitted anew, if it had not begun"
            history.notes.append(Note(at=at, what=what, by=fact.by, reason=fact.reason))
        case f.TaskResubmitted():
            history.outcomes[_last_key(history, fact.task_id)] = (
                "given up before it began, to be submitted anew"
            )
        case f.TaskResubmitMissed():
            what = f"left the job of {fact.task_id} alone: it had begun before it could be cancelled"
            history.notes.append(Note(at=at, what=what))
        case f.RunReopened():
            history.ended_at = None
            history.notes.append(Note(at=at, what="reopened", by=fact.by))
        case f.RunPaused() | f.RunResumed() | f.RunCancelRequested():
            history.notes.append(
                Note(at=at, what=_NOTED[type(fact)], by=fact.by, reason=getattr(fact, "reason", ""))
            )
        case f.RunCompleted() | f.RunFailed() | f.RunCancelled():
            if isinstance(fact, f.RunCompleted):
                _remember_code(history, fact.code, fact.unkept)
            history.ended_at = at
            history.notes.append(Note(at=at, what=_NOTED[type(fact)], reason=getattr(fact, "reason", "")))
        case _:
            pass


def _remember_version(history: History, fact: f.CampaignChanged, at: UtcTime) -> None:
    number = history.version + 1
    history.versions.append(Version(number=number, at=at, files=fact.files, before=fact.before))
    _remember_code(history, fact.files, fact.unkept)
    what = f"was given version {number} of the campaign, to {fact.action} round {fact.iteration}"
    history.notes.append(Note(at=at, what=what, reason=changes_in_words(fact.files, fact.before)))


def _remember_code(history: History, code: Mapping[str, str], unkept: Collection[str]) -> None:
    for path, digest in code.items():
        if path not in unkept:
            history.kept_code[path, digest] = None


def _remember_job(history: History, fact: f.JobEnded, at: UtcTime) -> None:
    attempt = history.state.live.get(fact.token)
    if attempt is None:
        return
    key = attempt.task_id, attempt.n
    history.ends[key] = End(logs=_shared(fact.logs), given=_shared(fact.given))
    if fact.sha256:
        history.answers[key] = Answer(by=fact.by, sha256=fact.sha256, at=at)
    if fact.environment:
        history.environments[key] = fact.environment


def _remember_sought(history: History, fact: f.SecretsSought) -> None:
    for task_id in history.state.collecting:
        attempt = history.state.tasks[task_id].last_attempt
        if attempt is not None and attempt.token == fact.token:
            history.sought[attempt.task_id, attempt.n] = fact.found
            return


def _shared(files: tuple[BoundFile, ...] | None) -> tuple[BoundFile, ...] | None:
    """The same names and hashes stand in very many events: each is kept once."""
    if files is None:
        return None
    return tuple(BoundFile(sys.intern(f.path), f.size_bytes, sys.intern(f.sha256)) for f in files)


def _remember_end(history: History, fact: f.TaskSucceeded | f.TaskFailed) -> None:
    key = _last_key(history, fact.task_id)
    if fact.outputs:
        history.outputs[key] = fact.outputs
    if isinstance(fact, f.TaskSucceeded) or fact.outputs or fact.data is not None:
        history.claimed.add(key)
    if isinstance(fact, f.TaskFailed):
        history.outcomes[key] = fact.reason


def _last_key(history: History, task_id: TaskId) -> AttemptKey:
    task = history.state.tasks.get(task_id)
    return task_id, len(task.attempts) if task is not None else 0


_NOTED: dict[type[f.Fact], str] = {
    f.RunPaused: "paused",
    f.RunResumed: "resumed",
    f.RunCancelRequested: "asked to cancel",
    f.RunCompleted: "completed",
    f.RunFailed: "failed",
    f.RunCancelled: "cancelled",
}
