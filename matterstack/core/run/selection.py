"""Which tasks of a run are meant: by name or pattern, and by how they stand or failed."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import attrs

from matterstack.core.errors import NotFoundError, RefusedError, UsageError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.run.retry_rules import failure_kind
from matterstack.core.run.state import TaskState
from matterstack.core.states import FailureKind, JobState, TaskStatus

REFUSED: Final = "refused"
CANCELLED: Final = "cancelled"
KINDS: Final = (*(kind.value for kind in FailureKind), REFUSED, CANCELLED)
"""What an end of an attempt may be called; ``exit:N`` is one more."""
_EXIT: Final = "exit:"
_NOT_BEGUN: Final = frozenset({TaskStatus.WAITING, TaskStatus.READY})
_MOST_NAMED: Final = 5


@attrs.frozen(kw_only=True)
class Selection:
    """Tasks as people name them; what is given of it must all hold.

    Attributes:
        names: ids, or patterns such as ``relax-*``; a task is meant that fits one of them.
        failed: those that FAILED, also in spite of ``allow_failure``.
        waiting: those that have not begun; with ``failed``: both.
        kinds: how their last attempt failed, one of `KINDS` or ``exit:N``.
        exit_codes: what their last attempt ended with.
        reason: a part of why they, or their last attempt, failed, or of the last words that its job printed;
            large and small letters are alike.
    """

    names: Sequence[str] = ()
    failed: bool = False
    waiting: bool = False
    kinds: Sequence[str] = ()
    exit_codes: Sequence[int] = ()
    reason: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was said."""
        return self == Selection()

    @property
    def exact(self) -> tuple[TaskId, ...]:
        """Names that are no patterns: who writes them means these tasks and no others."""
        return tuple(TaskId(name) for name in dict.fromkeys(self.names) if not _is_pattern(name))

    def __str__(self) -> str:
        """Write it as on the command line.

        >>> print(Selection(names=["relax-*"], kinds=["timeout"], reason="no licence"))
        'relax-*' --kind timeout --reason 'no licence'
        """
        return " ".join(
            (
                *(shlex.quote(name) for name in self.names),
                *(("--failed",) if self.failed else ()),
                *(("--waiting",) if self.waiting else ()),
                *(f"--kind {shlex.quote(kind)}" for kind in self.kinds),
                *(f"--exit-code {code}" for code in self.exit_codes),
                *((f"--reason {shlex.quote(self.reason)}",) if self.reason else ()),
            )
        )

    def takes(self, task: Selectable) -> bool:
        """Whether a task is meant, apart from its name.

        Raises:
            UsageError: there is no such kind of failure.
        """
        statuses, (kinds, codes) = _statuses(self), _kinds(self)
        wanted = self.reason.casefold()
        return (
            (statuses is None or task.status in statuses)
            and (not self.kinds or task.kind in kinds or _exited(task, codes))
            and (not self.exit_codes or _exited(task, self.exit_codes))
            and (not wanted or _mentions(task, wanted))
        )


@attrs.frozen(kw_only=True)
class Selectable:
    """As much of a task as it is selected by.

    Attributes:
        kind: how its last attempt that has ended failed; empty where none did, or the task has succeeded.
        reasons: why it, or that attempt, failed, and the last words of its job.
    """

    task_id: TaskId
    status: TaskStatus
    kind: str = ""
    exit_code: int | None = None
    reasons: Sequence[str] = ()

    @classmethod
    def of(cls, task: TaskState) -> Selectable:
        """What a task in memory is selected by."""
        task_id, status = task.task.id, task.status
        if status is TaskStatus.SUCCEEDED:
            return cls(task_id=task_id, status=status)
        last = next((a for a in reversed(task.attempts) if a.ended_at is not None), None)
        if last is None:
            return cls(task_id=task_id, status=status, reasons=(task.reason,))
        return cls(
            task_id=task_id,
            status=status,
            kind=end_kind(last.state, last.raw_state, has_job=last.job_id is not None),
            exit_code=last.exit_code,
            reasons=(task.reason, last.reason, last.last_words),
        )


def end_kind(state: JobState | None, raw_state: str, *, has_job: bool) -> str:
    """What the end of an attempt that did not make its task succeed is called: one of `KINDS`.

    A job that ended well has an error then: what it should have left is not there.

    >>> end_kind(JobState.COMPLETED_ERROR, "TIMEOUT", has_job=True)
    'timeout'
    """
    if state is None:
        return ""
    if state is JobState.CANCELLED:
        return CANCELLED
    if not has_job and state is not JobState.LOST:
        return REFUSED
    return failure_kind(state, raw_state).value


def select(run_id: RunId, tasks: Iterable[Selectable], selection: Selection) -> list[Selectable]:
    """Find the tasks that are meant, in the order in which they were given.

    Raises:
        UsageError: there is no such kind of failure.
        NotFoundError: a name is none of the run's, a pattern fits none, or no task is as was said.
    """
    _kinds(selection)
    known = {task.task_id: task for task in tasks}
    named = _named(run_id, known, selection.names) if selection.names else set(known)
    found = [task for task in known.values() if task.task_id in named and selection.takes(task)]
    if not found:
        raise NotFoundError(
            f"run {run_id} has no task that is meant by: {selection}", hint=_there_are(known.values())
        )
    return found


def _exited(task: Selectable, codes: Container[int]) -> bool:
    return bool(task.kind) and task.exit_code in codes


def _mentions(task: Selectable, wanted: str) -> bool:
    return task.status is not TaskStatus.SUCCEEDED and any(wanted in r.casefold() for r in task.reasons)


def _statuses(selection: Selection) -> frozenset[TaskStatus] | None:
    if not selection.failed and not selection.waiting:
        return None
    failed = frozenset({TaskStatus.FAILED}) if selection.failed else frozenset()
    return failed | (_NOT_BEGUN if selection.waiting else frozenset())


def _kinds(selection: Selection) -> tuple[set[str], set[int]]:
    """The kinds by name, and the exit codes of those that are ``exit:N``."""
    names: set[str] = set()
    codes: set[int] = set()
    for kind in selection.kinds:
        number = kind.removeprefix(_EXIT)
        if kind in KINDS:
            names.add(kind)
        elif kind.startswith(_EXIT) and number.isdecimal() and number.isascii():
            codes.add(int(number[:10]))
        else:
            raise UsageError(f"{kind!r} is no kind of failure", hint=did_you_mean(kind, (*KINDS, "exit:N")))
    return names, codes


def _named(run_id: RunId, known: Iterable[TaskId], names: Sequence[str]) -> set[TaskId]:
    ids = set(known)
    found: set[TaskId] = set()
    for name in names:
        fitting = {t for t in ids if fnmatchcase(t, name)} if _is_pattern(name) else {TaskId(name)} & ids
        if not fitting:
            what = f"that fits {name!r}" if _is_pattern(name) else repr(name)
            raise NotFoundError(f"run {run_id} has no task {what}", hint=did_you_mean(name, sorted(ids)))
        found |= fitting
    return found


def _is_pattern(name: str) -> bool:
    """Whether it cannot be the id of a task: none of these signs is ever in one."""
    return any(sign in name for sign in "*?[")


def did_you_mean(wrong: str, known: Sequence[str]) -> str:
    """What a word that is not known may have been meant to be, as a hint.

    >>> did_you_mean("timeuot", ["timeout", "lost"])
    "did you mean 'timeout'?"
    """
    near = difflib.get_close_matches(wrong[:200], known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED * 2 else ""
    shown = known[:_MOST_NAMED] if more else known
    return f"there are: {', '.join(shown)}{more}" if shown else "there is none"


def _there_are(tasks: Iterable[Selectable]) -> str:
    """How the tasks of a run stand, and what their failures are called: what could be said instead."""
    tasks = list(tasks)
    statuses = _counted(task.status.value for task in tasks)
    kinds = _counted(task.kind for task in tasks if task.kind)
    failures = f"; their failures: {', '.join(kinds)}" if kinds else ""
    return f"its tasks: {', '.join(statuses) or 'none'}{failures}"


def _counted(words: Iterable[str]) -> list[str]:
    return [f"{count} {word}" for word, count in Counter(words).items()]


def require_fitting(
    selected: Sequence[Selectable], selection: Selection, why_not: Callable[[Selectable], str | None]
) -> list[Selectable]:
    """Leave out what a command cannot be told of, but refuse it where a person named it.

    Args:
        why_not: why a task cannot be meant, to be read after "task t1"; None: it can.

    Raises:
        RefusedError: one that was named cannot be meant, or none of them can.
    """
    exact = set(selection.exact)
    fitting: list[Selectable] = []
    first = ""
    for task in selected:
        problem = why_not(task)
        if problem is None:
            fitting.append(task)
            continue
        first = first or f"task {task.task_id} {problem}"
        if task.task_id in exact:
            raise RefusedError(f"task {task.task_id} {problem}")
    if not fitting:
        of_all = f"none of {len(selected)} tasks can be meant; the first: " if len(selected) > 1 else ""
        raise RefusedError(f"{of_all}{first}")
    return fitting
