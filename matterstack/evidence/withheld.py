"""What a bundle withholds for the sake of secrets, next to what the events say was found of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import attrs

from matterstack.evidence.gathering.withholding import holds, is_reason
from matterstack.evidence.history import AttemptKey, History
from matterstack.evidence.survey import FileState, Survey
from matterstack.storage.secret_traces import ENVIRONMENT

_HERE: Final = frozenset({FileState.COPIED, FileState.REFERENCED})


@attrs.frozen
class _Shown:
    """A file as a survey has it.

    Attributes:
        why: it is withheld, or empty where there is no reason; None where it is not withheld.
        is_here: it is said to be in order, and not to be withheld.
        copies: attempts in whose folders it lay, each with its path there.
    """

    what: str
    why: str | None
    is_here: bool
    copies: Sequence[tuple[AttemptKey, str]] = ()


def withheld_contradictions(history: History, survey: Survey) -> Iterator[str]:
    """What a survey says of withheld files against the events, in words."""
    secrets = history.state.secrets
    files = _files(history, survey)  # of which a long run has very many
    if not secrets:
        if any(file.why is not None for file in files):
            yield "withholds files for the sake of secrets, and the run has none"
        return
    for file in files:
        told = {
            holds(history.sought[key][path])
            for key, path in file.copies
            if path in history.sought.get(key, ())
        }
        if told and file.is_here:
            yield f"{file.what} is not withheld, and by the events {min(told)}"
        elif file.why is not None and not _is_right(file, told, history):
            reason = f"since {file.why}" if file.why else "without a reason"
            yield f"{file.what} is withheld {reason}, which is not what the events say"


def _is_right(file: _Shown, told: Collection[str], history: History) -> bool:
    if told and len(file.copies) == 1:
        return file.why in told
    # Of several copies one may have been looked through, and another not.
    was_sought = bool(file.copies) and all(key in history.sought for key, _ in file.copies)
    return file.why in told or is_reason(file.why or "", history.state.secrets, was_sought=was_sought)


def _files(history: History, survey: Survey) -> Iterator[_Shown]:
    for output in survey.found_outputs():
        key = (output.task_id, output.n)
        what = f"output {output.path} of attempt {output.n} of {output.task_id}"
        yield _shown(what, output.state, output.detail, [(key, output.path)])
    for attempt in survey.attempts:
        for log in attempt.logs:
            what = f"{log.name} of attempt {attempt.n} of {attempt.task_id}"
            copies = [((attempt.task_id, attempt.n), log.name)]
            yield _Shown(what, log.withheld or None, log.place is not None, copies)
    for answer in survey.answers:
        what = f"the answer to attempt {answer.n} of {answer.task_id}"
        yield _shown(what, answer.state, answer.detail)
    for source in survey.campaign_files():
        yield _shown(f"{source.path} of the campaign", source.state, source.detail)
    given = _given(survey)
    for used in survey.used:
        what = f"{used.name}, which jobs were given,"
        yield _Shown(what, used.withheld or None, used.place is not None, given.get(used.sha256, ()))
    for environment in survey.environments:
        copies = [
            (key, ENVIRONMENT) for key, digest in history.environments.items() if digest == environment.sha256
        ]
        yield _shown("what jobs ran in", environment.state, environment.detail, copies)


def _given(survey: Survey) -> Mapping[str, Sequence[tuple[AttemptKey, str]]]:
    """Which attempts were given a file, and by what name; by its hash."""
    given: dict[str, list[tuple[AttemptKey, str]]] = {}
    for attempt in survey.attempts:
        for place in attempt.used:
            if 0 <= place < len(survey.used):
                used = survey.used[place]
                given.setdefault(used.sha256, []).append(((attempt.task_id, attempt.n), used.name))
    return given


def _shown(what: str, state: FileState, detail: str, copies: Sequence[tuple[AttemptKey, str]] = ()) -> _Shown:
    return _Shown(what, detail if state is FileState.WITHHELD else None, state in _HERE, copies)
