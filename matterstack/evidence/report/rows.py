"""Tasks, attempts, failures, answers and outputs in words: the rows of the report's tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import attrs

from matterstack.core.operators import COMPUTE
from matterstack.core.run.state import AttemptState, TaskState
from matterstack.core.shown_text import shown
from matterstack.core.states import TaskStatus
from matterstack.evidence.durations import duration_text
from matterstack.evidence.presentation import View, attempt_word, operator_line
from matterstack.evidence.report.text import lines_text
from matterstack.evidence.report.version_rows import versions_told
from matterstack.evidence.survey import LogRecord, OutputRecord, UnclaimedRecord

MOST_SHOWN_BYTES: Final = 20_000
LAST_LINES: Final = 15
MOST_NAMES: Final = 5
MOST_ERRORS: Final = 20
"""Failed attempts of which the end of stderr is shown."""


@attrs.frozen(kw_only=True)
class AttemptRow:
    """One attempt as a row in words.

    Attributes:
        versions: numbers of those that it was made under: definition, config, campaign.
    """

    task_id: str
    n: int
    word: str
    where: str
    job_id: str
    prepared_at: str
    started_at: str
    ended_at: str
    waited: str
    ran: str
    exit_code: str
    outcome: str
    versions: str


@attrs.frozen(kw_only=True)
class TaskRow:
    """A task in words, with the row of its last attempt."""

    task_id: str
    iteration: int
    status: str
    reason: str
    attempts: int
    last: AttemptRow | None


@attrs.frozen(kw_only=True)
class Provenance:
    """Where the outputs of an attempt come from."""

    attempt: AttemptRow
    command: str
    versions: str
    superseded: bool
    outputs: list[OutputRecord]
    unclaimed: list[UnclaimedRecord]
    used: list[int]


@attrs.frozen(kw_only=True)
class AnswerRow:
    """What a person or an instrument answered."""

    task_id: str
    n: int
    operator: str
    question: str
    by: str
    at: str
    sha256: str
    state: str
    text: str


@attrs.frozen(kw_only=True)
class Failure:
    """A task that did not succeed, or an attempt that was not enough."""

    task_id: str
    n: int
    what: str
    reason: str
    last_lines: str
    printed: str


def task_row(view: View, task: TaskState) -> TaskRow:
    last = task.last_attempt
    return TaskRow(
        task_id=task.task.id,
        iteration=task.iteration,
        status=task.status.value,
        reason=shown(task.reason),
        attempts=len(task.attempts),
        last=_attempt_row(view, last) if last is not None else None,
    )


def _attempt_row(view: View, attempt: AttemptState) -> AttemptRow:
    lineage = view.history.lineage
    definition = lineage.definition_of(view.history.state, attempt)
    return AttemptRow(
        task_id=attempt.task_id,
        n=attempt.n,
        word=attempt.raw_state if attempt.raw_state and attempt.ended_at else attempt_word(attempt),
        where=shown(attempt.backend + (f" · {attempt.host}" if attempt.host else "")),
        job_id=attempt.job_id or "",
        prepared_at=attempt.prepared_at,
        started_at=attempt.started_at or "",
        ended_at=attempt.ended_at or "",
        waited=duration_text(view.waiting_s(attempt)),
        ran=duration_text(view.running_s(attempt)),
        exit_code="" if attempt.exit_code is None else str(attempt.exit_code),
        outcome=shown(view.outcome(attempt)),
        versions=sys.intern(f"{definition.number}, {lineage.config_of(attempt)}, {definition.campaign}"),
    )


def failures(view: View) -> Iterator[Failure]:
    """Every task that did not succeed, then every attempt of others that had to be tried again."""
    left = MOST_ERRORS
    for task in view.failures:
        last = task.last_attempt
        text = ""
        if last is not None and left and task.status is TaskStatus.FAILED:
            text = last.last_words or _end_of_stderr(view, last)
            left -= 1
        allowed = " (allowed to fail)" if task.status is TaskStatus.FAILED and task.task.allow_failure else ""
        reason = task.reason or (view.outcome(last) if last is not None else "")
        yield Failure(
            task_id=task.task.id,
            n=len(task.attempts),
            what=task.status.value + allowed,
            reason=shown(reason or "no reason was given"),
            last_lines=text,
            printed=_where(last),
        )
    for attempt in view.history.attempts():
        task = view.history.state.tasks[attempt.task_id]
        if attempt is not task.last_attempt and (outcome := view.outcome(attempt)):
            text = (attempt.last_words or _end_of_stderr(view, attempt)) if left else ""
            left -= bool(text)
            yield Failure(
                task_id=attempt.task_id,
                n=attempt.n,
                what=f"attempt {attempt.n}{_under(view, attempt)} was followed by another",
                reason=shown(outcome),
                last_lines=text,
                printed=_where(attempt),
            )


def _under(view: View, attempt: AttemptState) -> str:
    """Which definition, where its task has had more than one."""
    if not view.survey.tells_versions or attempt.task_id not in view.history.lineage.definitions:
        return ""
    return f" (definition {view.history.lineage.definition_of(view.history.state, attempt).number})"


def _where(attempt: AttemptState | None) -> str:
    """Where its last lines stood; histories from before there were last words have those of stderr."""
    return "printed" if attempt is not None and attempt.last_words else "wrote to stderr"


def _end_of_stderr(view: View, attempt: AttemptState) -> str:
    log = _log(view, attempt, "stderr.log")
    if log is not None and log.withheld:
        return f"(stderr.log is withheld: {log.withheld})"
    if log is None or log.place is None:
        return ""
    return "\n".join(lines_text(view.content(log.place)[-MOST_SHOWN_BYTES:]).split("\n")[-LAST_LINES:])


def _log(view: View, attempt: AttemptState, name: str) -> LogRecord | None:
    record = view.records.get((attempt.task_id, attempt.n))
    logs = record.logs if record is not None else ()
    return next((log for log in logs if log.name == name), None)


def answers(view: View) -> Iterator[AnswerRow]:
    for (task_id, n), answer in view.history.answers.items():
        task = view.history.state.tasks[task_id]
        found = view.answers.get((task_id, n))
        text = ""
        if found is not None and found.place is not None and (found.bytes or 0) <= MOST_SHOWN_BYTES:
            text = lines_text(view.content(found.place))
        question = task.task.params.get("question", "")
        yield AnswerRow(
            task_id=task_id,
            n=n,
            operator=task.task.operator,
            question=shown(str(question)),
            by=shown(answer.by),
            at=answer.at,
            sha256=answer.sha256,
            state=found.state.value if found is not None else "",
            text=text,
        )


def believed_by_id(view: View) -> Iterator[str]:
    """Whose end the id of the job alone vouches for, which whoever can write into the folder can know."""
    by_hand: list[str] = []
    older: list[str] = []
    for attempt in view.history.attempts():
        operator = view.history.state.tasks[attempt.task_id].task.operator
        if attempt.ended_at is None or attempt.job_id is None or operator not in {COMPUTE, "manual_hpc"}:
            continue
        if operator != COMPUTE:
            by_hand.append(f"{attempt.task_id}, attempt {attempt.n}")
        elif attempt.nonce_sha256 is None:
            older.append(f"{attempt.task_id}, attempt {attempt.n}")
    for names, why in ((by_hand, "of jobs by hand"), (older, "of jobs without a nonce, as 0.2.0 made them")):
        if names:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            yield f"{len(names)} {why}: {shown('; '.join(names[:MOST_NAMES]))}{more}"


def provenance(view: View) -> Iterator[Provenance]:
    for task in view.history.state.tasks.values():
        for attempt in task.attempts:
            key = (attempt.task_id, attempt.n)
            outputs, unclaimed = view.outputs.get(key, []), view.unclaimed.get(key, [])
            record = view.records.get(key)
            if outputs or unclaimed:
                yield Provenance(
                    attempt=_attempt_row(view, attempt),
                    command=shown(operator_line(view.made_with(attempt))),
                    versions=versions_told(view, attempt),
                    superseded=attempt is not task.last_attempt,
                    outputs=outputs,
                    unclaimed=unclaimed,
                    used=list(record.used) if record is not None else [],
                )
