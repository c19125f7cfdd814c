"""What people and instruments were asked, and what they answered."""

from __future__ import annotations

import os

import attrs

from matterstack.core.ids import TaskId
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.gathering.attempts import Ended, FoundAttempt
from matterstack.evidence.gathering.copying import Gathering, copy, failure, take_back
from matterstack.evidence.gathering.log_files import take_logs
from matterstack.evidence.gathering.withholding import HoldsSecretError
from matterstack.evidence.history import Answer
from matterstack.evidence.survey import AnswerRecord, FileState
from matterstack.storage.confine import Confined, confined
from matterstack.storage.layout import operator_folder
from matterstack.storage.question_files import answer_names, asked_files


def answer_place(task_id: TaskId, n: int) -> str:
    """Where the answer to an attempt is in a bundle."""
    return f"answers/{task_id}.{n}/response.json"


def look_at_question(gathering: Gathering, ended: Ended, found: FoundAttempt) -> FoundAttempt:
    """Take the question, and the answer that ended the attempt.

    Raises:
        BundleWriteError: a copy cannot be written.
    """
    attempt, answer = ended.attempt, ended.answer
    place = f"answers/{attempt.task_id}.{attempt.n}"
    folder = operator_folder(gathering.folder.attempt(attempt.task_id, attempt.n).path)
    try:
        with confined(folder) as source:
            beside = list(asked_files(source, attempt.n, is_last=ended.is_last))
            logs = tuple(take_logs(gathering, source, place, beside, ended.bound_logs, attempt))
            taken = None if answer is None else _take_answer(gathering, source, ended, answer)
    except OSError as error:
        if answer is None:
            return found
        taken, logs = _record(ended, answer, *failure(error, "its folder ")), ()
    record = attrs.evolve(found.record, logs=(*found.record.logs, *logs))
    return attrs.evolve(found, record=record, answer=taken)


def _take_answer(gathering: Gathering, source: Confined, ended: Ended, answer: Answer) -> AnswerRecord:
    state, detail = FileState.MISSING, "it is not there"
    for name in answer_names(ended.attempt.n):
        place = answer_place(ended.attempt.task_id, ended.attempt.n)
        try:
            with opened(source, name) as reading:
                size = os.fstat(reading).st_size
                digest = copy(gathering, reading, place)
        except FileNotFoundError:
            continue
        except HoldsSecretError as error:
            if error.digest == answer.sha256:
                return _record(ended, answer, FileState.WITHHELD, str(error))
            state, detail = FileState.CHANGED, f"its SHA-256 is {error.digest} now"
            continue
        except OSError as error:
            state, detail = failure(error)
            continue
        if digest == answer.sha256:
            return _record(ended, answer, FileState.COPIED, "", place, size)
        take_back(gathering, place)
        state, detail = FileState.CHANGED, f"its SHA-256 is {digest} now"
    return _record(ended, answer, state, detail)


def _record(
    ended: Ended,
    answer: Answer,
    state: FileState,
    detail: str,
    place: str | None = None,
    size: int | None = None,
) -> AnswerRecord:
    return AnswerRecord(
        task_id=ended.attempt.task_id,
        n=ended.attempt.n,
        by=answer.by,
        sha256=answer.sha256,
        state=state,
        bytes=size,
        place=place,
        detail=detail,
    )
