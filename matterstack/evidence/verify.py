"""Check a bundle against itself, and against a store where there is one.

A bundle says everything more than once: the manifest has the hashes of all files, and the crate those of the
payload; report, tables, pictures and crate all follow from the events and the survey.  So everything is
made once more and compared, and whatever was changed, taken away or added contradicts something.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.errors import NotFoundError
from matterstack.core.run.facts import Event
from matterstack.core.run.history_rules import HistoryChecker
from matterstack.evidence.confined_reading import opened, sha256_of
from matterstack.evidence.contents import (
    CONFIG,
    EVENTS,
    TASKS,
    closing_files,
    copied_files,
    derived_files,
    made_with,
    payload_file,
    seal_bytes,
)
from matterstack.evidence.crate.document import CRATE
from matterstack.evidence.crate.file_entities import WORKFLOW
from matterstack.evidence.crate.graph import file_id
from matterstack.evidence.gathering.sources import campaign_object_sha256
from matterstack.evidence.history import History, LineError, fold_events, parse_lines, read_history
from matterstack.evidence.manifest import MANIFEST, SEAL, UNLISTED, manifest_bytes, parse_manifest
from matterstack.evidence.presentation import View
from matterstack.evidence.report.pages import REPORT_HTML, REPORT_MD
from matterstack.evidence.survey import (
    IN_ORDER,
    SURVEY,
    FileState,
    OutputRecord,
    Survey,
    UnclaimedRecord,
    parse_survey,
    withheld_files,
)
from matterstack.storage.confine import Confined, confined
from matterstack.storage.fact_codec import decode_fact
from matterstack.storage.files import chunks
from matterstack.storage.heads import has_been_head
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database, translated_errors

_RULES: Final = frozenset({"fold", "paused", "ended", "live"})
"""Those of `matterstack.core.run.history_rules` that one run's events obey; others need those of all runs."""
_STATUS_WORDS: Final = ("matterstack-status", "matterstack-is-complete", "matterstack-seq")


@attrs.frozen(order=True)
class Finding:
    """Something that does not fit.

    Attributes:
        path: the file in the bundle that is to blame.
    """

    path: str
    problem: str


def verify_bundle(folder: Path, store: Root | None = None) -> list[Finding]:
    """Check a bundle; an empty list says that it is whole.

    Args:
        store: a root to compare with, in which the run may have gone on since.

    Raises:
        NotFoundError: there is no such folder.
        StoreError: the store cannot be read.
    """
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder}", hint="name the folder of a bundle")
    with confined(folder) as bundle:
        check = _Check(folder, bundle)
        check.everything()
        if store is not None:
            check.against(store)
    return sorted(set(check.findings))


class _Check:
    """One verification: what was read, and what was found on the way."""

    def __init__(self, folder: Path, bundle: Confined) -> None:
        self.folder = folder
        self.bundle = bundle
        self.findings: list[Finding] = []
        self.hashes: dict[str, str] = {}
        self.events = b""
        self.history: History | None = None
        self.survey: Survey | None = None

    def blame(self, path: str, problem: str) -> None:
        self.findings.append(Finding(path, problem))

    @property
    def blamed(self) -> set[str]:
        return {finding.path for finding in self.findings}

    def read(self, path: str) -> bytes:
        """Content of a file; nothing where there is none (which is found by the manifest)."""
        try:
            with opened(self.bundle, path) as reading:
                return b"".join(chunks(reading))
        except OSError:
            return b""

    def everything(self) -> None:
        self._hash_files()
        self._check_manifest()
        self._read_events()
        self._read_survey()
        if self.history is not None and self.survey is not None:
            self._check_survey(self.history, self.survey)
            self._make_again(self.history, self.survey)

    # ---- the files as they are ----

    def _hash_files(self) -> None:
        for top, folders, files in os.walk(self.folder):
            prefix = "" if Path(top) == self.folder else f"{Path(top).relative_to(self.folder)}/"
            for name in (*files, *(f for f in folders if (Path(top) / f).is_symlink())):
                try:
                    self.hashes[prefix + name] = sha256_of(self.bundle, prefix + name)
                except OSError as error:
                    self.blame(prefix + name, f"cannot be read: {error.strerror or error}")
            if not files and not folders:
                self.blame(prefix.rstrip("/") or ".", "is an empty folder, which no bundle holds")

    def _check_manifest(self) -> None:
        text = self.read(MANIFEST)
        seal = self.read(SEAL)
        for path in (MANIFEST, SEAL):
            if path not in self.hashes and path not in self.blamed:
                self.blame(path, "is missing")
        try:
            listed = parse_manifest(text)
        except ValueError as error:
            listed = {}
            self.blame(MANIFEST, f"cannot be read: {error}")
        found = {path: digest for path, digest in self.hashes.items() if path not in UNLISTED}
        trusted: Mapping[str, str] = {}
        if MANIFEST in self.hashes and seal != seal_bytes(text):
            fitting = manifest_bytes(found)
            if fitting == text:
                self.blame(SEAL, f"does not hold the hash of {MANIFEST}, which fits all files")
                return
            self.blame(MANIFEST, f"was changed: its hash is not the one in {SEAL}")
            if seal == seal_bytes(fitting):
                return  # every other file is what it was
            # What it says of others is not to be believed where the crate says otherwise.
            trusted = self._crate_hashes()
        if listed:
            self._compare(listed, found, trusted)

    def _compare(
        self, listed: Mapping[str, str], found: Mapping[str, str], trusted: Mapping[str, str]
    ) -> None:
        for path in listed.keys() - found.keys() - self.blamed:
            self.blame(path, "is missing")
        for path in found.keys() - listed.keys():
            if trusted.get(path) != found[path]:
                self.blame(path, f"was added: {MANIFEST} does not know it")
        for path in listed.keys() & found.keys():
            if listed[path] != found[path] and trusted.get(path) != found[path]:
                self.blame(
                    path, f"was changed: its SHA-256 is {found[path]}, and {MANIFEST} has {listed[path]}"
                )

    def _crate_hashes(self) -> dict[str, str]:
        """Hashes of payload files as the crate has them; none where it cannot be read."""
        try:
            entities: Any = json.loads(self.read(CRATE))["@graph"]
            by_id = {entity["@id"]: entity.get("sha256") for entity in entities}
        except (ValueError, LookupError, TypeError, AttributeError):
            return {}
        return {path: digest for path in self.hashes if (digest := by_id.get(file_id(path))) is not None}

    # ---- what they say ----

    def _read_events(self) -> None:
        self.events = self.read(EVENTS)
        try:
            self.history = fold_events(parse_lines(self.events))
            for problem in _broken_rules(self.events):
                self.blame(EVENTS, problem)
        except LineError as error:
            self.blame(EVENTS, str(error))
        except Exception as error:  # noqa: BLE001  whatever becomes of facts that nobody decided
            self.blame(EVENTS, f"its events do not follow from each other: {error}")

    def _read_survey(self) -> None:
        try:
            self.survey = parse_survey(self.read(SURVEY))
        except ValueError as error:
            self.blame(SURVEY, str(error))

    def _check_survey(self, history: History, survey: Survey) -> None:
        if survey.run_id != history.run_id:
            self.blame(SURVEY, f"is of run {survey.run_id}, and {EVENTS} of run {history.run_id}")
        if survey.seq != history.seq:
            self.blame(SURVEY, f"is as of event {survey.seq}, and {EVENTS} ends with event {history.seq}")
        if survey.head and survey.head != history.head:
            self.blame(SURVEY, f"has the head {survey.head}, and {EVENTS} gives {history.head}")
        answered = {key: (answer.by, answer.sha256) for key, answer in history.answers.items()}
        if answered != {(a.task_id, a.n): (a.by, a.sha256) for a in survey.answers}:
            self.blame(SURVEY, f"does not have the answers that {EVENTS} has")
        if dict(history.created.sources) != {source.path: source.sha256 for source in survey.sources}:
            self.blame(SURVEY, f"does not have the campaign's files that {EVENTS} has")
        kept = None if survey.campaign_object is None else survey.campaign_object.sha256
        if kept != campaign_object_sha256(history.created):
            self.blame(SURVEY, f"does not have the campaign's object that {EVENTS} has")
        if set(history.environments.values()) != {record.sha256 for record in survey.environments}:
            self.blame(SURVEY, f"does not have the environments of jobs that {EVENTS} has")
        if not history.state.secrets and any(withheld_files(survey)):
            self.blame(SURVEY, "withholds files for the sake of secrets, and the run has none")
        recorded = {
            (task_id, n, file.path): (file.sha256, file.size_bytes)
            for (task_id, n), files in history.outputs.items()
            for file in files
        }
        for output in survey.outputs:
            if (output.place is not None) is not (output.state is FileState.COPIED):
                where = f"{output.path} of attempt {output.n} of {output.task_id}"
                self.blame(SURVEY, f"output {where} is {output.state}, and its place is {output.place}")
        stated = {(o.task_id, o.n, o.path): (o.sha256, o.bytes) for o in survey.outputs}
        for key in sorted(recorded.keys() | stated.keys()):
            if recorded.get(key) != stated.get(key):
                task_id, n, path = key
                self.blame(SURVEY, f"output {path} of attempt {n} of {task_id} is not as {EVENTS} has it")

    def _make_again(self, history: History, survey: Survey) -> None:
        if self.blamed & {EVENTS, SURVEY}:
            return  # what everything else follows from is not what it was
        view = View(history, survey, self.read)
        copies = dict(copied_files(survey))
        for path, copy in copies.items():
            if self.hashes.get(path) != copy.sha256 and path not in self.blamed:
                self.blame(path, f"is not the file that {SURVEY} speaks of")
        if dict(survey.made_with) == dict(made_with()):
            self._compare_bytes(view, blamed_copies=bool(self.blamed & copies.keys()))
        else:
            self._compare_meaning(view)

    def _compare_bytes(self, view: View, *, blamed_copies: bool) -> None:
        payload = dict(copied_files(view.survey))
        payload[EVENTS] = payload_file(self.events)
        for path, data in derived_files(view):
            payload[path] = payload_file(data)
            # Reports hold parts of copied files: they cannot be made again from copies that were changed.
            if not (blamed_copies and path in {REPORT_MD, REPORT_HTML}):
                self._compare_one(path, payload[path].sha256)
        for path in self.hashes.keys() - payload.keys() - self.blamed - {CRATE, *UNLISTED}:
            self.blame(path, f"is in {MANIFEST}, but {SURVEY} does not speak of it")
        for path, data in closing_files(view, payload):
            # They speak of all others, and differ where one of them does.
            if not self.findings:
                self._compare_one(path, payload_file(data).sha256)

    def _compare_one(self, path: str, digest: str) -> None:
        if path not in self.blamed and self.hashes.get(path) != digest:
            self.blame(path, f"does not say what follows from {EVENTS} and {SURVEY}")

    def _compare_meaning(self, view: View) -> None:
        """For bundles that other versions of MatterStack, or of what draws and writes, have made."""
        expected = dict(
            zip(
                _STATUS_WORDS,
                (view.status.value, _word(view.is_complete), str(view.history.seq)),
                strict=True,
            )
        )
        page = self.read(REPORT_HTML).decode(errors="replace")
        for name, value in expected.items():
            if f'<meta name="{name}" content="{value}">' not in page:
                self.blame(REPORT_HTML, f"does not say that {name.removeprefix('matterstack-')} is {value}")
        text = self.read(REPORT_MD).decode(errors="replace")
        for line in (f"| status | **{view.status}**", f"| is_complete | **{_word(view.is_complete)}** |"):
            if line not in text:
                self.blame(REPORT_MD, f"does not say {line.strip('| ')!r}")
        hashes = self._crate_hashes()
        for path in (EVENTS, SURVEY, TASKS, CONFIG, WORKFLOW, REPORT_MD, REPORT_HTML):
            if path in self.hashes and hashes.get(path) != self.hashes[path]:
                self.blame(CRATE, f"has another hash of {path}")

    # ---- the store ----

    def against(self, store: Root) -> None:
        """Compare with a store in which the run is (perhaps further on)."""
        if self.history is None:
            return
        run_id, seq = self.history.run_id, self.history.seq
        try:
            with translated_errors(store.database), closing(open_database(store.database)) as connection:
                _, stored = read_history(connection, run_id, up_to=seq)
                is_whole = has_been_head(connection, run_id, self.history.head)
        except NotFoundError:
            self.blame(EVENTS, f"the store has no run {run_id}")
            return
        if stored != self.events:
            pairs = zip(self.events.splitlines(), stored.splitlines(), strict=False)
            same = next((n for n, (mine, theirs) in enumerate(pairs) if mine != theirs), None)
            where = "at its end" if same is None else f"from line {same + 1} on"
            self.blame(EVENTS, f"is not what the store has up to event {seq}: it differs {where}")
        elif not is_whole:
            self.blame(EVENTS, "is what the store has, and that is not what was stored in it: see `check`")
        if self.survey is not None:
            self._compare_outputs(store, self.history, self.survey)

    def _compare_outputs(self, store: Root, history: History, survey: Survey) -> None:
        folder = store.run_folder(history.state.workspace, history.run_id)
        for output in survey.found_outputs():
            if output.state in IN_ORDER:
                path = folder.attempt(output.task_id, output.n).path
                problem = _output_problem(path, output)
                if problem is not None:
                    self.blame(output.place or SURVEY, f"in the run's folder, output {output.path} {problem}")


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


def _broken_rules(events: bytes) -> Iterator[str]:
    checker = HistoryChecker()
    for row in parse_lines(events):
        event = Event(seq=row.seq, run_id=row.run_id, at=row.at, fact=decode_fact(row.type, row.data))
        for problem in checker.check(event):
            if problem.rule in _RULES:
                yield f"event {problem.seq}: {problem.problem}"


def _word(value: bool) -> str:
    return "true" if value else "false"
