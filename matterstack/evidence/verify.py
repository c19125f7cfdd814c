"""Check a bundle against itself, and against a store where there is one.

A bundle says everything more than once: the manifest has the hashes of all files, and the crate those of the
payload; events have the hashes of outputs, logs, answers and of what jobs were given; report, tables,
pictures and crate all follow from the events and the survey.  So everything is made once more and compared.
What no library writes is compared to the byte, whoever made it; what one does, too, or else by what it says,
where its version is not the one that is here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.errors import NotFoundError
from matterstack.core.run.facts import Event
from matterstack.core.run.history_rules import HistoryChecker
from matterstack.core.shown_text import brief
from matterstack.evidence.against_store import compare_with_store
from matterstack.evidence.bindings import absences, bound_places, contradictions
from matterstack.evidence.confined_reading import (
    MOST_DOCUMENT_BYTES,
    opened,
    opened_document,
    sha256_of,
)
from matterstack.evidence.contents import (
    EVENTS,
    OUR_FILES,
    copied_files,
    derived_files,
    other_libraries,
    payload_file,
    seal_bytes,
)
from matterstack.evidence.crate.document import CRATE, crate_bytes
from matterstack.evidence.crate.file_entities import PayloadFile
from matterstack.evidence.crate.graph import file_id
from matterstack.evidence.history import History, LineError, fold_events, parse_lines
from matterstack.evidence.manifest import MANIFEST, SEAL, UNLISTED, manifest_bytes, parse_manifest
from matterstack.evidence.meaning import older_crate_agrees, says_the_same
from matterstack.evidence.presentation import View
from matterstack.evidence.report.pages import REPORT_HTML, REPORT_MD
from matterstack.evidence.strength import Finding, Strength, Verification
from matterstack.evidence.survey import SURVEY, UNBOUND_FORMAT, Survey, parse_survey
from matterstack.storage.confine import Confined, confined
from matterstack.storage.fact_codec import decode_fact
from matterstack.storage.files import chunks
from matterstack.storage.layout import Root

__all__ = ["Finding", "examine_bundle", "verify_bundle"]

DOCUMENTS: Final = OUR_FILES | {MANIFEST, SEAL}
UNSUSPICIOUS_BYTES: Final = 64 << 20
"""Files up to this size are hashed, whatever is said of them."""
_RULES: Final = frozenset({"fold", "paused", "held", "ended", "cancel", "amended", "live"})
"""Those of `matterstack.core.run.history_rules` that one run's events obey; others need those of all runs."""


def verify_bundle(folder: Path, store: Root | None = None) -> list[Finding]:
    """Check a bundle; an empty list says that it is whole.  See `examine_bundle` for how strongly.

    Raises:
        NotFoundError: there is no such folder.
        StoreError: the store cannot be read.
    """
    return list(examine_bundle(folder, store).findings)


def examine_bundle(folder: Path, store: Root | None = None) -> Verification:
    """Check a bundle, and say of each file how.

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
    return check.verification()


class _Check:
    """One verification: what was read, and what was found on the way."""

    def __init__(self, folder: Path, bundle: Confined) -> None:
        self.folder = folder
        self.bundle = bundle
        self.findings: list[Finding] = []
        self.hashes: dict[str, str] = {}
        self.history: History | None = None
        self.survey: Survey | None = None
        self.checks: dict[str, Strength] = {}

    def blame(self, path: str, problem: str) -> None:
        self.findings.append(Finding(path, problem))

    @property
    def blamed(self) -> set[str]:
        return {finding.path for finding in self.findings}

    def read(self, path: str) -> bytes:
        """Content of a file; nothing where there is none (which is found by the manifest)."""
        try:
            with opened_document(self.bundle, path) as reading:
                return b"".join(chunks(reading))
        except OSError:
            return b""

    def everything(self) -> None:
        self._hash_files()
        self._check_manifest()
        self._read_events()
        self._read_survey()
        if self.history is not None and self.survey is not None:
            copies = dict(copied_files(self.survey))

            def intact(path: str) -> bytes | None:
                return self.read(path) if self.hashes.get(path) == copies[path].sha256 else None

            for problem in contradictions(self.history, self.survey, intact):
                self.blame(SURVEY, problem)
            self._make_again(self.history, self.survey, copies)

    # ---- the files as they are ----

    def _hash_files(self) -> None:
        for top, folders, files in os.walk(self.folder):
            prefix = "" if Path(top) == self.folder else f"{Path(top).relative_to(self.folder)}/"
            for name in (*files, *(f for f in folders if (Path(top) / f).is_symlink())):
                self._hash_file(prefix + name)
            if not files and not folders:
                self.blame(prefix.rstrip("/") or ".", "is an empty folder, which no bundle holds")

    def _hash_file(self, path: str) -> None:
        try:
            with opened(self.bundle, path) as reading:
                size = os.fstat(reading).st_size
            problem = self._wrong_size(path, size) if size > UNSUSPICIOUS_BYTES else ""
            if problem:
                self.blame(path, problem)
            else:
                self.hashes[path] = sha256_of(self.bundle, path)
        except OSError as error:
            self.blame(path, f"cannot be read: {error.strerror or error}")

    def _wrong_size(self, path: str, size: int) -> str:
        """What is wrong with a large file, by its size alone: of one without end nobody makes a hash."""
        if path in DOCUMENTS and size > MOST_DOCUMENT_BYTES:
            return f"is larger than {MOST_DOCUMENT_BYTES >> 20} MiB, as none of its kind is"
        if path in UNLISTED or path == CRATE:
            return ""
        if self._sizes is None:
            too_large = size > MOST_DOCUMENT_BYTES
            return f"cannot be checked: {CRATE}, which has its size, cannot be read" if too_large else ""
        stated = self._sizes.get(file_id(path))
        if stated is None:
            return f"was added: {CRATE} does not know it"
        return "" if stated == str(size) else f"was changed: it has {size} bytes, and {CRATE} has {stated}"

    @cached_property
    def _sizes(self) -> Mapping[str, str] | None:
        """Sizes of files by their names in the crate; None where it cannot be read."""
        try:
            entities: Any = json.loads(self.read(CRATE), object_pairs_hook=without_twins)["@graph"]
            return {entity["@id"]: entity["contentSize"] for entity in entities if "contentSize" in entity}
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

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
            self.blame(MANIFEST, f"cannot be read: {brief(error)}")
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
            entities: Any = json.loads(self.read(CRATE), object_pairs_hook=without_twins)["@graph"]
            by_id = {entity["@id"]: entity.get("sha256") for entity in entities}
        except (ValueError, LookupError, TypeError, AttributeError):
            return {}
        return {path: digest for path in self.hashes if (digest := by_id.get(file_id(path))) is not None}

    # ---- what they say ----

    def _read_events(self) -> None:
        events = self.read(EVENTS)
        try:
            # The rules first: what they hold of a long run is let go before its history is made.
            broken = list(_broken_rules(events))
            self.history = fold_events(parse_lines(events))
            for problem in broken:
                self.blame(EVENTS, problem)
        except LineError as error:
            self.blame(EVENTS, str(error))
        except Exception as error:  # noqa: BLE001  whatever becomes of facts that nobody decided
            self.blame(EVENTS, f"its events do not follow from each other: {brief(error)}")

    def _read_survey(self) -> None:
        try:
            self.survey = parse_survey(self.read(SURVEY))
        except ValueError as error:
            self.blame(SURVEY, str(error))

    def _make_again(self, history: History, survey: Survey, copies: Mapping[str, PayloadFile]) -> None:
        if self.blamed & {EVENTS, SURVEY}:
            return  # what everything else follows from is not what it was
        for path, copy in copies.items():
            if self.hashes.get(path) != copy.sha256:
                if path not in self.blamed:
                    self.blame(path, f"is not the file that {SURVEY} speaks of")
            else:
                self.checks[path] = Strength.HASH_ONLY
        for place in bound_places(survey):
            if place in self.checks:
                self.checks[place] = Strength.BOUND
        self.checks[EVENTS] = Strength.RULES
        payload = {**copies, EVENTS: payload_file(self.read(EVENTS))}
        self._compare_derived(
            View(history, survey, self.read), payload, is_spoilt=bool(self.blamed & copies.keys())
        )

    def _compare_derived(self, view: View, payload: dict[str, PayloadFile], *, is_spoilt: bool) -> None:
        for path, data in derived_files(view):
            # Reports hold parts of copied files: they cannot be made again from copies that were changed.
            if not (is_spoilt and path in {REPORT_MD, REPORT_HTML}):
                self._compare_one(path, data, view.survey)
            payload[path] = payload_file(self.read(path))
        self.checks[SURVEY] = Strength.RULES
        for path in self.hashes.keys() - payload.keys() - self.blamed - {CRATE, *UNLISTED}:
            self.blame(path, f"was added: {MANIFEST} knows it, and {SURVEY} does not")
        if not self.findings:
            # It speaks of all others, and differs where one does; of the manifest each line was compared.
            self._compare_one(CRATE, crate_bytes(view, payload), view.survey)
            self.checks |= dict.fromkeys((MANIFEST, SEAL), Strength.BYTES)

    def _compare_one(self, path: str, made: bytes, survey: Survey) -> None:
        """Compare a file with what it must be: to the byte or, where another library wrote it, by meaning."""
        if path in self.blamed:
            return
        if self.hashes.get(path) == payload_file(made).sha256:
            self.checks[path] = Strength.BYTES
        elif (other_libraries(path, survey) and says_the_same(path, self.read(path), made)) or (
            path == CRATE and survey.format == UNBOUND_FORMAT and older_crate_agrees(self.read(path), made)
        ):
            self.checks[path] = Strength.MEANING
        else:
            self.blame(path, f"does not say what follows from {EVENTS} and {SURVEY}")

    # ---- the store ----

    def against(self, store: Root) -> None:
        """Compare with a store in which the run is (perhaps further on)."""
        if self.history is not None:
            self.findings += compare_with_store(store, self.history, self.read(EVENTS), self.survey)

    def verification(self) -> Verification:
        """All that was found, and how it was checked."""
        for path in self.hashes:
            if path in UNLISTED - {MANIFEST, SEAL}:
                continue  # beside the bundle, and checked by itself
            if path not in self.checks or path in self.blamed:
                self.checks[path] = Strength.NOT_CHECKED
        survey, history = self.survey, self.history
        return Verification(
            findings=tuple(sorted(set(self.findings))),
            checks=self.checks,
            absent=() if survey is None or history is None else tuple(absences(history, survey)),
            unbound=() if survey is None else tuple(map(str, survey.unbound())),
            seq=None if history is None else history.seq,
        )


def _broken_rules(events: bytes) -> Iterator[str]:
    checker = HistoryChecker()
    for row in parse_lines(events):
        event = Event(seq=row.seq, run_id=row.run_id, at=row.at, fact=decode_fact(row.type, row.data))
        for problem in checker.check(event):
            if problem.rule in _RULES:
                yield f"event {problem.seq}: {problem.problem}"
