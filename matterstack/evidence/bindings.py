"""What the events bind of a bundle's survey and files: where they differ, one of them was forged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from matterstack.core.model.patterns import matches
from matterstack.core.operators import ASKED
from matterstack.core.run.facts import BoundFile
from matterstack.core.run.state import AttemptState
from matterstack.evidence.contents import EVENTS, FOREIGN
from matterstack.evidence.environments import ENVIRONMENTS
from matterstack.evidence.gathering.answers import answer_place
from matterstack.evidence.gathering.given import UNREADABLE, UsedKey, recorded_manifest, used_files
from matterstack.evidence.gathering.log_files import bound_logs
from matterstack.evidence.gathering.sources import campaign_object_sha256, place_of_version
from matterstack.evidence.history import AttemptKey, End, History
from matterstack.evidence.ran_with import other_than_defined
from matterstack.evidence.survey import (
    UNBOUND_FORMAT,
    AttemptRecord,
    FileState,
    LogRecord,
    LogState,
    ManifestState,
    OutputRecord,
    Survey,
    UnclaimedRecord,
    portable,
)
from matterstack.evidence.withheld import withheld_contradictions
from matterstack.storage.bound_files import LOGS, MANIFEST_NAME
from matterstack.storage.outputs import RESULT
from matterstack.storage.question_files import is_asked_name

Content = Callable[[str], bytes | None]
"""Reads a file of the bundle; None where it is not the one that the survey speaks of."""
_NO_FILE: Final = frozenset({ManifestState.MISSING, ManifestState.CHANGED, ManifestState.UNREADABLE})


def contradictions(history: History, survey: Survey, content: Content) -> Iterator[str]:
    """What a survey says against the events, in words.

    Args:
        content: a file that is spoilt itself is no reason to blame the survey.
    """
    checks = (_whole, _answers, _sources, _outputs, _attempts, _unclaimed, _places, withheld_contradictions)
    for check in checks:
        yield from check(history, survey)
    ends = {(a.task_id, a.n): a for a in history.attempts() if a.ended_at is not None}
    for record in survey.attempts:
        attempt = ends.get((record.task_id, record.n))
        if attempt is not None:
            end = history.ends.get((record.task_id, record.n))
            yield from _manifest(attempt, record, end, survey)
            yield from _logs(history, attempt, record, survey, content)
    yield from _used(history, survey, content)


def bound_places(survey: Survey) -> Iterator[str]:
    """Files of the bundle whose hash an event has; all of them were compared with it by `contradictions`."""
    yield from (o.place for o in survey.outputs if o.place is not None)
    yield from (a.place for a in survey.answers if a.place is not None)
    yield from (s.place for s in survey.campaign_files() if s.place is not None)
    yield from (e.place for e in survey.environments if e.place is not None)
    for record in survey.attempts:
        if record.manifest_file is not None:
            yield record.manifest_file.place
        yield from (g.place for g in record.logs if g.place is not None and g.state is LogState.AS_IT_WAS)
    if survey.format != UNBOUND_FORMAT:
        # Their hashes are in the manifests, whose hashes are in the events.
        yield from (u.place for u in survey.used if u.place is not None)


def absences(history: History, survey: Survey) -> Iterator[str]:
    """What is named by its hash, or said not to be there, in words."""
    if not survey.tells_versions and history.changes.all:
        yield "which versions attempts were made under: an older version made this bundle"
    if not survey.has_folder:
        yield "the run's folder was not there"
    for output in survey.outputs:
        if output.state is not FileState.COPIED:
            yield f"{output.task_id}, attempt {output.n}: output {output.path} is {output.state}"
    for left in survey.unclaimed:
        if left.state is not FileState.COPIED:
            yield f"{left.task_id}, attempt {left.n}: {left.path} is {left.state}"
    for answer in survey.answers:
        if answer.state is not FileState.COPIED:
            yield f"{answer.task_id}, attempt {answer.n}: the answer is {answer.state}"
    for source in survey.campaign_files():
        if source.state is not FileState.COPIED:
            yield f"{source.path} of the campaign is {source.state}"
    for record in survey.attempts:
        if record.manifest in _NO_FILE:
            yield f"{record.task_id}, attempt {record.n}: {MANIFEST_NAME} is {record.manifest}"
        for log in record.logs:
            if log.place is None:
                others = FileState.WITHHELD if log.withheld else FileState.REFERENCED
                state = log.state if log.state is LogState.MISSING else others
                yield f"{record.task_id}, attempt {record.n}: {log.name} is {state}"
    for environment in survey.environments:
        if environment.state is not FileState.COPIED:
            yield f"what jobs ran in ({environment.sha256[:16]}) is {environment.state}"
    for used in survey.used:
        if used.withheld:
            yield f"{used.name}, which jobs were given, is withheld"
        elif used.place is None and not used.is_input:
            yield f"{used.name}, which jobs were given, is nowhere any more"


# ---- each part of a survey ----


def _whole(history: History, survey: Survey) -> Iterator[str]:
    if survey.run_id != history.run_id:
        yield f"is of run {survey.run_id}, and the events of run {history.run_id}"
    if survey.seq != history.seq:
        yield f"is as of event {survey.seq}, and the events end with event {history.seq}"
    head = "" if survey.format == UNBOUND_FORMAT else history.head
    if survey.head != head:
        yield f"has the head {survey.head or 'of nothing'}, and {EVENTS} gives {head or 'none'}"
    if not survey.has_folder and any(o.place is not None for o in survey.found_outputs()):
        yield "says that the run's folder is not there, and has files of it"
    if set(history.environments.values()) != {record.sha256 for record in survey.environments}:
        yield f"does not have the environments of jobs that {EVENTS} has"
    is_bound = any(end.logs is not None for end in history.ends.values())
    if survey.format == UNBOUND_FORMAT and is_bound:
        yield f"has format {survey.format}, which no version makes that makes these events"


def _answers(history: History, survey: Survey) -> Iterator[str]:
    answered = {key: (answer.by, answer.sha256) for key, answer in history.answers.items()}
    stated = {(a.task_id, a.n): (a.by, a.sha256) for a in survey.answers}
    if answered != stated or len(stated) != len(survey.answers):
        yield f"does not have the answers that {EVENTS} has"


def _sources(history: History, survey: Survey) -> Iterator[str]:
    if list(history.created.sources.items()) != [(s.path, s.sha256) for s in survey.sources]:
        yield f"does not have the campaign's files that {EVENTS} has"
    if list(history.later_code()) != [(s.path, s.sha256) for s in survey.versions]:
        yield f"does not have what {EVENTS} has of the campaign as it was later"
    kept = None if survey.campaign_object is None else survey.campaign_object.sha256
    if kept != campaign_object_sha256(history.created):
        yield f"does not have the campaign's object that {EVENTS} has"


def _outputs(history: History, survey: Survey) -> Iterator[str]:
    recorded = {
        (task_id, n, file.path): (file.sha256, file.size_bytes)
        for (task_id, n), files in history.outputs.items()
        for file in files
    }
    stated = {(o.task_id, o.n, o.path): (o.sha256, o.bytes) for o in survey.outputs}
    for key in sorted(recorded.keys() | stated.keys()):
        if recorded.get(key) != stated.get(key):
            task_id, n, path = key
            yield f"output {path} of attempt {n} of {task_id} is not as the events have it"
    if len(stated) != len(survey.outputs):
        yield "names an output twice"
    for output in survey.outputs:
        yield from _place_of_output(output, survey)


def _place_of_output(output: OutputRecord | UnclaimedRecord, survey: Survey) -> Iterator[str]:
    where = f"output {output.path} of attempt {output.n} of {output.task_id}"
    if (output.place is not None) is not (output.state is FileState.COPIED):
        yield f"{where} is {output.state}, and its place is {output.place}"
    if output.place is not None and not output.place.startswith(
        f"outputs/{output.task_id}.{output.n}/{portable(output.path)}"
    ):
        yield f"{where} lies at {output.place}"
    is_large = (output.bytes or 0) > survey.copy_below_bytes
    if is_large is not (output.state is FileState.REFERENCED) and output.state in _FOUND:
        yield f"{where} is {output.state}, and has {output.bytes} bytes"


_FOUND: Final = frozenset({FileState.COPIED, FileState.REFERENCED})


def _attempts(history: History, survey: Survey) -> Iterator[str]:
    ended = [(a.task_id, a.n, a.token) for a in history.attempts() if a.ended_at is not None]
    if ended != [(record.task_id, record.n, record.token) for record in survey.attempts]:
        yield "does not have the attempts that the events have"


def _unclaimed(history: History, survey: Survey) -> Iterator[str]:
    attempts = {(a.task_id, a.n): a for a in history.attempts()}
    seen: set[tuple[AttemptKey, str]] = set()
    for left in survey.unclaimed:
        key = (left.task_id, left.n)
        where = f"{left.path}, left behind by attempt {left.n} of {left.task_id},"
        attempt = attempts.get(key)
        if attempt is None or attempt.ended_at is None or key in history.claimed:
            yield f"{where} is of no attempt that was not enough"
            continue
        task = history.state.definition_of(attempt)
        given = {*task.files, *task.inputs}
        patterns = (*task.outputs, RESULT)
        if not any(matches(left.path, p) and (left.path not in given or left.path == p) for p in patterns):
            yield f"{where} is no output of that task"
        if (key, left.path) in seen:
            yield f"{where} is named twice"
        seen.add((key, left.path))
        yield from _place_of_output(left, survey)


def _places(_history: History, survey: Survey) -> Iterator[str]:
    """No two files lie at the same place, and what nobody knows lies where nobody takes it for something."""
    places = [o.place for o in (*survey.found_outputs(), *survey.answers, *survey.campaign_files())]
    places += [log.place for record in survey.attempts for log in record.logs]
    places += [record.manifest_file.place for record in survey.attempts if record.manifest_file is not None]
    places += [environment.place for environment in survey.environments]
    places += [foreign.path for foreign in survey.foreign]
    taken: set[str] = set()
    for place in places:
        if place is not None and place in taken:
            yield f"has two files at {place}"
        taken.add(place or "")
    for foreign in survey.foreign:
        if not foreign.path.startswith(f"{FOREIGN}/"):
            yield f"says that nobody knows of {foreign.path}, which is not in {FOREIGN}/"
    for answer in survey.answers:
        if answer.place not in {None, answer_place(answer.task_id, answer.n)}:
            yield f"the answer to attempt {answer.n} of {answer.task_id} lies at {answer.place}"
        if (answer.place is not None) is not (answer.state is FileState.COPIED):
            yield f"the answer to attempt {answer.n} of {answer.task_id} is {answer.state}, and lies there"
    for environment in survey.environments:
        place = f"{ENVIRONMENTS}/{environment.sha256}.json"
        if environment.place != (place if environment.state is FileState.COPIED else None):
            yield f"what jobs ran in is {environment.state}, and its place is {environment.place}"
    for source in survey.campaign_files():
        if (source.place is not None) is not (source.state is FileState.COPIED):
            yield f"{source.path} of the campaign is {source.state}, and its place is {source.place}"
    for version in survey.versions:
        if version.place not in {None, place_of_version(version.path, version.sha256)}:
            yield f"{version.path} of the campaign, as it was later, lies at {version.place}"


# ---- what an attempt was given ----


def _manifest(attempt: AttemptState, record: AttemptRecord, end: End | None, survey: Survey) -> Iterator[str]:
    where = f"{MANIFEST_NAME} of attempt {record.n} of {record.task_id}"
    recorded = recorded_manifest(attempt.manifest_sha256, end)
    if (recorded is None) is not (record.manifest is ManifestState.NEVER_SUBMITTED):
        yield f"{where} is {record.manifest}, and the events say otherwise"
    file = record.manifest_file
    if survey.format == UNBOUND_FORMAT:
        return
    if (file is not None) is not (record.manifest is ManifestState.IN_ORDER):
        yield f"{where} is {record.manifest}, and it says so of a file that is {'' if file else 'not '}there"
    if file is None and record.used:
        yield f"{where} is {record.manifest}, and the attempt was given files all the same"
    if file is not None and file.sha256 != recorded:
        yield f"{where} is not the one whose hash the events have"
    if file is not None and file.place != f"used/{record.task_id}.{record.n}/{MANIFEST_NAME}":
        yield f"{where} lies at {file.place}"


def _used(history: History, survey: Survey, content: Content) -> Iterator[str]:
    """What jobs were given follows from their manifests."""
    for record in survey.attempts:
        if any(not 0 <= place < len(survey.used) for place in record.used):
            yield f"attempt {record.n} of {record.task_id} was given what is not there"
            return
    if survey.format == UNBOUND_FORMAT:
        return  # no manifest is there
    wanted: dict[AttemptKey, tuple[UsedKey, ...]] = {}
    made = {(a.task_id, a.n): (history.state.definition_of(a), a) for a in history.attempts()}
    for record in survey.attempts:
        if record.manifest_file is None:
            continue
        key = (record.task_id, record.n)
        text = content(record.manifest_file.place)
        if text is None:
            return
        try:
            wanted[key] = used_files(text, history.state.workspace)
            other = other_than_defined(text, *made[key])
        except UNREADABLE:
            yield f"{MANIFEST_NAME} of attempt {record.n} of {record.task_id} cannot be read"
            continue
        if other:
            yield f"attempt {record.n} of {record.task_id} was given another {other} than its definition has"
        end = history.ends.get(key)
        if end is not None and not _agrees(end.given, text, wanted[key]):
            yield f"what attempt {record.n} of {record.task_id} was given is not as its end has it"
    all_used = sorted({key for keys in wanted.values() for key in keys})
    if all_used != [(u.name, u.origin, u.sha256, u.is_input) for u in survey.used]:
        yield "does not have the files that jobs were given, by their manifests"
        return
    place_of = {key: place for place, key in enumerate(all_used)}
    for record in survey.attempts:
        given = tuple(place_of[key] for key in wanted.get((record.task_id, record.n), ()))
        if given != record.used:
            yield f"does not have what attempt {record.n} of {record.task_id} was given, by its manifest"


def _agrees(given: tuple[BoundFile, ...] | None, manifest: bytes, used: tuple[UsedKey, ...]) -> bool:
    """Whether the end of a job has what the manifest lists; of very many files it has the manifest alone."""
    if not given or given[0].sha256 != hashlib.sha256(manifest).hexdigest():
        return True  # which `_manifest` has compared with the hash of when the job was accepted
    listed = [(file.path, file.sha256) for file in given[1:]]
    return not listed or listed == [(name, digest) for name, _, digest, _ in used]


# ---- what it printed ----


def _logs(
    history: History, attempt: AttemptState, record: AttemptRecord, survey: Survey, content: Content
) -> Iterator[str]:
    end = history.ends.get((record.task_id, record.n))
    is_last = attempt is history.state.tasks[attempt.task_id].last_attempt
    bound = bound_logs(end, is_last=is_last)
    names = [log.name for log in record.logs]
    if len(set(names)) != len(names):
        yield f"attempt {record.n} of {record.task_id} has a log twice"
    for name in (bound or {}).keys() - set(names):
        yield f"{name} of attempt {record.n} of {record.task_id} is left out, and its end has it"
    for log in record.logs:
        is_known = log.name in LOGS or (attempt.backend == ASKED and is_asked_name(log.name))
        problem = "is no log" if not is_known else _log_problem(log, bound, content)
        folder = "logs" if log.name in LOGS else "answers"
        if not problem and log.place not in {
            None,
            f"{folder}/{record.task_id}.{record.n}/{portable(log.name)}",
        }:
            problem = f"lies at {log.place}"
        if not problem and log.state is not LogState.MISSING:
            is_large = log.bytes > survey.copy_below_bytes
            if is_large is not (log.place is None) and not (log.withheld and log.place is None):
                problem = f"has {log.bytes} bytes, and its place is {log.place}"
        if problem:
            yield f"{log.name} of attempt {record.n} of {record.task_id} {problem}"


def _log_problem(log: LogRecord, bound: Mapping[str, BoundFile] | None, content: Content) -> str:
    was = None if bound is None else bound.get(log.name)
    if log.state is LogState.UNBOUND:
        is_unbound = bound is None or (was is not None and not was.sha256)
        return "" if is_unbound else "is said not to be bound, and the end of its job has it"
    if bound is None:
        return f"is {log.state}, and no event says what it was"
    size, digest = (0, hashlib.sha256(b"").hexdigest()) if was is None else (was.size_bytes, was.sha256)
    same = (log.bytes, log.sha256) == (size, digest)
    if log.state in {LogState.AS_IT_WAS, LogState.MISSING}:
        is_right = same and (log.state is LogState.AS_IT_WAS or log.place is None)
        return "" if is_right else f"is {log.state}, and the end of its job has another hash"
    if log.state is LogState.CHANGED:
        return "is said to have changed, and has not" if same else ""
    if log.bytes <= size:
        return "is said to be longer, and is not"
    if log.place is None:
        return ""  # not here: its beginning cannot be compared
    text = content(log.place)
    begins = text is None or hashlib.sha256(text[:size]).hexdigest() == digest
    return "" if begins else "does not begin with what the end of its job has"
