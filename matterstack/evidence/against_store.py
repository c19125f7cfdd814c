"""Compare a bundle with the store that it came from, and with the run's folder there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from matterstack.core.errors import NotFoundError
from matterstack.evidence.confined_reading import sha256_of
from matterstack.evidence.contents import EVENTS
from matterstack.evidence.history import History, read_history
from matterstack.evidence.strength import Finding
from matterstack.evidence.survey import (
    IN_ORDER,
    SURVEY,
    UNBOUND_FORMAT,
    LogState,
    ManifestState,
    OutputRecord,
    Survey,
    UnclaimedRecord,
)
from matterstack.evidence.unclaimed import unclaimed_names
from matterstack.storage.bound_files import LOGS, MANIFEST_NAME
from matterstack.storage.confine import confined
from matterstack.storage.heads import has_been_head, head_of
from matterstack.storage.layout import Root, RunFolder, operator_folder
from matterstack.storage.question_files import answer_names
from matterstack.storage.read.deleted_runs import deleted_run
from matterstack.storage.schema import open_database, translated_errors
from matterstack.storage.secret_traces import ENVIRONMENT


def compare_with_store(store: Root, history: History, events: bytes, survey: Survey | None) -> list[Finding]:
    """Compare events to the byte, and files by their hashes; the run may have gone on in the store.

    Raises:
        StoreError: the store cannot be read.
    """
    try:
        with translated_errors(store.database), closing(open_database(store.database)) as connection:
            _, stored = read_history(connection, history.run_id, up_to=history.seq)
            head = head_of(connection, history.run_id)
            is_whole = has_been_head(connection, history.run_id, history.head)
    except NotFoundError:
        return _against_deleted(store, history)
    findings = []
    if events != stored:
        lines = zip(io.BytesIO(events), io.BytesIO(stored), strict=False)
        same = next((n for n, (mine, theirs) in enumerate(lines) if mine != theirs), None)
        where = "at its end" if same is None else f"from line {same + 1} on"
        problem = f"is not what the store has up to event {history.seq}: it differs {where}"
        findings.append(Finding(EVENTS, problem))
    elif not is_whole:
        problem = "is what the store has, and that is not what was stored in it: see `matterstack check`"
        findings.append(Finding(EVENTS, problem))
    chained_to = 0 if head is None else head.chained_to
    if survey is not None and survey.format != UNBOUND_FORMAT and survey.chained_to != chained_to:
        findings.append(Finding(SURVEY, f"says that events up to {survey.chained_to} were chained later"))
    if survey is not None:
        folder = store.run_folder(history.state.workspace, history.run_id)
        findings += _outputs(folder, survey)
        findings += _beside_outputs(folder, survey)
        findings += _answers(folder, survey)
        findings += _left_out(folder, history, survey)
        findings += _environments(folder, history, survey)
    return findings


def _against_deleted(store: Root, history: History) -> list[Finding]:
    """Of a run that was deleted the store has the head, which speaks for all of its events."""
    with translated_errors(store.database), closing(open_database(store.database)) as connection:
        deleted = deleted_run(connection, history.run_id)
    if deleted is None:
        return [Finding(EVENTS, f"the store has no run {history.run_id}")]
    if deleted.fact.head != history.head:
        return [Finding(EVENTS, f"is not what the store had when the run was deleted, at {deleted.at}")]
    return []


def _outputs(folder: RunFolder, survey: Survey) -> Iterator[Finding]:
    for output in survey.found_outputs():
        path = folder.attempt(output.task_id, output.n).path
        if output.state in IN_ORDER:
            problem = _output_problem(path, output)
            if problem is not None:
                yield Finding(output.place or SURVEY, f"in the run's folder, output {output.path} {problem}")
        elif output.sha256 and _sha256(path, output.path) == output.sha256:
            yield Finding(
                SURVEY,
                f"says that output {output.path} of attempt {output.n} of {output.task_id} is "
                f"{output.state}, and in the run's folder it is as it was",
            )


def _output_problem(folder: Path, output: OutputRecord | UnclaimedRecord) -> str | None:
    try:
        with confined(folder) as source:
            digest = sha256_of(source, output.path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if digest == output.sha256:
        return None
    since = "its task ended" if isinstance(output, OutputRecord) else "this bundle was made"
    return f"is not what it was when {since}"


def _sha256(folder: Path, name: str) -> str | None:
    try:
        with confined(folder) as source:
            return sha256_of(source, name)
    except OSError:
        return None


def _beside_outputs(folder: RunFolder, survey: Survey) -> Iterator[Finding]:
    """Logs and manifests: those that are there must be those of the bundle."""
    for record in survey.attempts:
        path = folder.attempt(record.task_id, record.n).path
        where = f"of attempt {record.n} of {record.task_id}"
        for log in record.logs:
            if log.name not in LOGS:
                continue
            found = _sha256(path, log.name)
            is_right = found != log.sha256 if log.state is LogState.MISSING else found == log.sha256
            if not is_right:
                yield Finding(log.place or SURVEY, f"{log.name} {where} is another one in the run's folder")
        if record.manifest_file is not None:
            if _sha256(path, MANIFEST_NAME) != record.manifest_file.sha256:
                problem = f"{MANIFEST_NAME} {where} is another one in the run's folder"
                yield Finding(record.manifest_file.place, problem)
        elif record.manifest is ManifestState.MISSING and _sha256(path, MANIFEST_NAME) is not None:
            yield Finding(
                SURVEY, f"says that {MANIFEST_NAME} {where} is missing, and it is in the run's folder"
            )
    for source in survey.sources:
        if source.state not in IN_ORDER and _sha256(folder.sources, source.path) == source.sha256:
            yield Finding(
                SURVEY,
                f"says that {source.path} of the campaign is {source.state}, and it is in the run's folder",
            )
    for version in survey.versions:
        is_there = _sha256(folder.versions, version.sha256) == version.sha256
        if version.state not in IN_ORDER and is_there:
            problem = f"says that {version.path} of the campaign, as it was later, is {version.state}"
            yield Finding(SURVEY, f"{problem}, and it is in the run's folder")


def _answers(folder: RunFolder, survey: Survey) -> Iterator[Finding]:
    for answer in survey.answers:
        path = operator_folder(folder.attempt(answer.task_id, answer.n).path)
        is_there = any(_sha256(path, name) == answer.sha256 for name in answer_names(answer.n))
        where = f"the answer to attempt {answer.n} of {answer.task_id}"
        if is_there is not (answer.state in IN_ORDER):
            found = "as it was" if is_there else "not as it was"
            yield Finding(SURVEY, f"says that {where} is {answer.state}; in the run's folder it is {found}")


def _left_out(folder: RunFolder, history: History, survey: Survey) -> Iterator[Finding]:
    """What attempts that were not enough have left must be told."""
    told = {(left.task_id, left.n, left.path) for left in survey.unclaimed}
    for record in survey.attempts:
        if (record.task_id, record.n) in history.claimed:
            continue
        try:
            with confined(folder.attempt(record.task_id, record.n).path) as inside:
                attempt = history.state.tasks[record.task_id].attempts[record.n - 1]
                names = unclaimed_names(inside, history.state.definition_of(attempt))
        except OSError:
            continue
        for name in names:
            if (record.task_id, record.n, name) not in told:
                problem = f"does not tell of {name}, which attempt {record.n} of {record.task_id} left behind"
                yield Finding(SURVEY, problem)


def _environments(folder: RunFolder, history: History, survey: Survey) -> Iterator[Finding]:
    for environment in survey.environments:
        if environment.state in IN_ORDER:
            continue
        keys = [key for key, digest in history.environments.items() if digest == environment.sha256]
        if any(_sha256(folder.attempt(*key).path, ENVIRONMENT) == environment.sha256 for key in keys):
            problem = f"says that what jobs ran in ({environment.sha256[:16]}) is {environment.state}"
            yield Finding(SURVEY, f"{problem}, and it is in the run's folder")
