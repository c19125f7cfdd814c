"""What was found of a run's files when its bundle was made: the part of a bundle that the events do not say.

It is kept in the bundle as ``evidence.json``.  Events and survey together are all that the report, the
tables, the pictures and the crate are made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import attrs
from cattrs import Converter

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.ids import RunId, TaskId, Token
from matterstack.core.shown_text import brief, shown

SURVEY: Final = "evidence.json"
FORMAT: Final = 3
"""Raised when a bundle of the same events and files becomes another one.  What is made from a survey of an
older format is made as that version made it: report, tables and crate follow from the format too."""
FORMATS: Final = frozenset({1, 2, FORMAT})
UNBOUND_FORMAT: Final = 1
"""Made before ends of jobs were bound to logs, manifests and environments were in bundles, and README.md and
CITATION.cff beside them."""
TELLS_VERSIONS_FROM: Final = 3
"""Bundles of before do not say which attempt was made under which versions, nor what was changed."""


class FileState(StrEnum):
    """How a file that the store knows was found."""

    COPIED = "copied"
    """In the bundle, with the recorded hash."""
    REFERENCED = "referenced"
    """With the recorded hash, but too large to be copied: it is in the run's folder."""
    MISSING = "missing"
    CHANGED = "changed"
    """Its content is not what it was when its task ended; it is not in the bundle."""
    UNREADABLE = "unreadable"
    WITHHELD = "withheld"
    """It holds the value of a secret, or may: it stays in the run's folder, and is named by its hash."""


IN_ORDER: Final = frozenset({FileState.COPIED, FileState.REFERENCED, FileState.WITHHELD})


@attrs.frozen(kw_only=True)
class OutputRecord:
    """An output of an attempt.

    Attributes:
        path: relative to the attempt's folder.
        sha256: as recorded when the task ended; empty when the file could not be read then.
        place: where it is in the bundle.
        detail: what is wrong with it, in words.
    """

    task_id: TaskId
    n: int
    path: str
    bytes: int
    sha256: str
    state: FileState
    place: str | None = None
    detail: str = ""


@attrs.frozen(kw_only=True)
class UsedRecord:
    """A file that jobs were given.

    Attributes:
        name: in the attempt's folder.
        origin: where it came from, as the campaign named it.
        is_input: whether it is an output of another task.
        bytes: of the copy.
        place: where a copy is in the bundle; None of inputs (the output is there), and when there is none.
        withheld: why it is not copied, where that is for the sake of a secret.
    """

    name: str
    origin: str
    sha256: str
    is_input: bool
    bytes: int | None = None
    place: str | None = None
    withheld: str = ""


class LogState(StrEnum):
    """How a log was found, next to what the event says that ended its job."""

    AS_IT_WAS = "as it was"
    LONGER = "longer"
    """It grew after its job was seen to be over; what it was then is its beginning."""
    CHANGED = "changed"
    MISSING = "missing"
    UNBOUND = "not bound"
    """The event has no hash of it."""


@attrs.frozen(kw_only=True)
class LogRecord:
    """What a command printed, or what was asked.

    ``withheld``: why it is not copied, where that is for the sake of a secret.

    Attributes:
        bytes: as it was found; where it is missing, as the event has it.
        sha256: as ``bytes``.
    """

    name: str
    bytes: int
    sha256: str
    place: str | None = None
    withheld: str = ""
    state: LogState = LogState.UNBOUND


class ManifestState(StrEnum):
    """How the record of what a job was given was found."""

    IN_ORDER = "in order"
    NEVER_SUBMITTED = "never submitted"
    MISSING = "missing"
    CHANGED = "changed"
    UNREADABLE = "unreadable"


@attrs.frozen(kw_only=True)
class ManifestFile:
    """The copy of an attempt's ``manifest.json``."""

    bytes: int
    sha256: str
    place: str


@attrs.frozen(kw_only=True)
class AttemptRecord:
    """Files of an attempt that has ended.

    Attributes:
        used: places in `Survey.used`.
        manifest_file: the copy of ``manifest.json``; None where that is not in order.
    """

    task_id: TaskId
    n: int
    token: Token
    manifest: ManifestState
    detail: str = ""
    used: tuple[int, ...] = ()
    logs: tuple[LogRecord, ...] = ()
    manifest_file: ManifestFile | None = None


@attrs.frozen(kw_only=True)
class FoundFile:
    """What became of a file; fields as in `OutputRecord`."""

    sha256: str
    state: FileState
    bytes: int | None = None
    place: str | None = None
    detail: str = ""


@attrs.frozen(kw_only=True)
class AnswerRecord(FoundFile):
    """What a person or an instrument answered to an attempt."""

    task_id: TaskId
    n: int
    by: str


@attrs.frozen(kw_only=True)
class SourceRecord(FoundFile):
    """The copy of a file of the campaign that was kept when the run was made, or when it had changed.

    Attributes:
        path: in the workspace.
    """

    path: str


@attrs.frozen(kw_only=True)
class UnclaimedRecord(FoundFile):
    """An output of an attempt that was not enough: it was tried again, or cancelled.

    Nobody recorded its hash when the attempt ended: it is as it was found.

    Attributes:
        path: relative to the attempt's folder.
        sha256: empty when it cannot be read.
    """

    task_id: TaskId
    n: int
    path: str


@attrs.frozen(kw_only=True)
class EnvironmentRecord(FoundFile):
    """What was found of the software that jobs ran in; its hash stands in the events that ended them."""


@attrs.frozen(kw_only=True)
class ForeignRecord:
    """A file in the bundle's folder that no export made; it was kept."""

    path: str
    bytes: int
    sha256: str


@attrs.frozen(kw_only=True)
class Survey:
    """All files of a run that were found, and all that were not.

    Attributes:
        seq: number of the event that the bundle is as of.
        made_with: versions of what draws and writes; bundles are the same to the byte where these are.
        copy_below_bytes: larger files are referenced by their hash.
        has_folder: whether the run's folder was there at all.
        head: hash of that event, which no history has that differs in any event up to it.
        chained_to: number of the last event that was chained only when the store was brought up to date, as
            the store had it then; 0 where there is none.
        versions: files of the campaign that calls of it used, and that were not so when the run was made.
        campaign_object: the object of a host program that planned the run, where it was one.
    """

    run_id: RunId
    seq: int
    made_with: dict[str, str]
    copy_below_bytes: int
    has_folder: bool
    outputs: tuple[OutputRecord, ...] = ()
    unclaimed: tuple[UnclaimedRecord, ...] = ()
    used: tuple[UsedRecord, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    answers: tuple[AnswerRecord, ...] = ()
    sources: tuple[SourceRecord, ...] = ()
    campaign_object: SourceRecord | None = None
    foreign: tuple[ForeignRecord, ...] = ()
    head: str = ""
    chained_to: int = 0
    environments: tuple[EnvironmentRecord, ...] = ()
    versions: tuple[SourceRecord, ...] = ()
    format: int = FORMAT

    @property
    def tells_versions(self) -> bool:
        """Whether the bundle says what was changed, and names for each attempt what it was made under."""
        return self.format >= TELLS_VERSIONS_FROM

    def made_from(self) -> Iterator[SourceRecord]:
        """All that the campaign was when the run was made."""
        if self.campaign_object is not None:
            yield self.campaign_object
        yield from self.sources

    def campaign_files(self) -> Iterator[SourceRecord]:
        """All that the campaign ever was, as far as it was used."""
        yield from self.made_from()
        yield from self.versions

    def found_outputs(self) -> Iterator[OutputRecord | UnclaimedRecord]:
        """All outputs, whether their hashes were recorded or not."""
        yield from self.outputs
        yield from self.unclaimed

    def large(self) -> Iterator[tuple[str, OutputRecord | UnclaimedRecord]]:
        """Outputs that are named by their hash instead of being copied, by their places in an archive."""
        taken: set[str] = set()
        for output in self.found_outputs():
            if output.state is FileState.REFERENCED:
                yield free_place(f"outputs/{output.task_id}.{output.n}", output.path, taken), output

    def problems(self) -> list[str]:
        """What of the run's files is not as it should be, in words; empty when all is there."""
        found = [] if self.has_folder else ["the run's folder is not there"]
        found += [
            f"{o.task_id}, attempt {o.n}: output {shown(o.path)} is {o.state}: {o.detail}"
            for o in self.outputs
            if o.state not in IN_ORDER
        ]
        found += [
            f"{a.task_id}, attempt {a.n}: the answer is {a.state}: {a.detail}"
            for a in self.answers
            if a.state not in IN_ORDER
        ]
        found += [
            f"{a.task_id}, attempt {a.n}: manifest.json (what its job was given) is {a.manifest}"
            + (f": {a.detail}" if a.detail else "")
            for a in self.attempts
            if a.manifest not in {ManifestState.IN_ORDER, ManifestState.NEVER_SUBMITTED}
        ]
        found += [
            f"{a.task_id}, attempt {a.n}: log {shown(log.name)} is {log.state}"
            for a in self.attempts
            for log in a.logs
            if log.state in {LogState.CHANGED, LogState.MISSING}
        ]
        found += [
            f"{shown(s.path)}, as the campaign had it when the run was made, is {s.state}: {s.detail}"
            for s in self.made_from()
            if s.state not in IN_ORDER
        ]
        found += [
            f"{shown(s.path)} ({s.sha256[:16]}), which the campaign used later, is {s.state}: {s.detail}"
            for s in self.versions
            if s.state not in IN_ORDER
        ]
        found += [
            f"{shown(u.name)}, which jobs were given (from {shown(u.origin)}), is nowhere any more as it was"
            for u in self.used
            if u.place is None and not u.is_input and not u.withheld
        ]
        found += [
            f"what was found of the software that jobs ran in ({e.sha256[:16]}) is {e.state}: {e.detail}"
            for e in self.environments
            if e.state not in IN_ORDER
        ]
        return found

    def unbound(self) -> Iterator[Unbound]:
        """Files that no event binds, or not wholly; those that differ are `problems`."""
        for attempt in self.attempts:
            for log in attempt.logs:
                if log.state in _UNBOUND_LOGS:
                    name = f"{attempt.task_id}, attempt {attempt.n}: {shown(log.name)}"
                    yield Unbound(name, _UNBOUND_LOGS[log.state])
        for left in self.unclaimed:
            if left.sha256:
                yield Unbound(f"{left.task_id}, attempt {left.n}: {shown(left.path)}", _LEFT_BEHIND)
        for foreign in self.foreign:
            yield Unbound(shown(foreign.path), _FOREIGN)


_UNBOUND_LOGS: Final[Mapping[LogState, str]] = {
    LogState.LONGER: "it grew after its job was seen to be over, and only its beginning is bound",
    LogState.CHANGED: "it is not what it was when its job was seen to be over",
    LogState.UNBOUND: "no hash of it was recorded when its job ended",
}
_LEFT_BEHIND: Final = "left behind by an attempt that was not enough, and hashed as it was found"
_FOREIGN: Final = "found in the bundle's folder, and no export made it"


@attrs.frozen
class Unbound:
    """A file that no event binds, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def summed(unbound: Iterable[Unbound]) -> list[str]:
    """One line for all files of a kind, which may be many."""
    names: dict[str, list[str]] = {}
    for file in unbound:
        names.setdefault(file.why, []).append(file.name)
    return [
        f"{found[0]}: {why}"
        if len(found) == 1
        else f"{len(found)} files, the first of them {found[0]}: {why}"
        for why, found in names.items()
    ]


def withheld_files(survey: Survey) -> Iterator[tuple[str, str, str]]:
    """What is not in the bundle for the sake of a secret: what it is, its hash, and why."""
    for output in survey.found_outputs():
        if output.state is FileState.WITHHELD:
            what = f"{output.task_id}, attempt {output.n}: output {shown(output.path)}"
            yield what, output.sha256, output.detail
    for attempt in survey.attempts:
        for log in attempt.logs:
            if log.withheld:
                what = f"{attempt.task_id}, attempt {attempt.n}: {shown(log.name)}"
                yield what, log.sha256, log.withheld
    for answer in survey.answers:
        if answer.state is FileState.WITHHELD:
            yield f"{answer.task_id}, attempt {answer.n}: the answer", answer.sha256, answer.detail
    for source in survey.campaign_files():
        if source.state is FileState.WITHHELD:
            yield shown(source.path), source.sha256, source.detail
    for used in survey.used:
        if used.withheld:
            yield f"{shown(used.name)}, which jobs were given", used.sha256, used.withheld
    for environment in survey.environments:
        if environment.state is FileState.WITHHELD:
            yield "what jobs found of their software", environment.sha256, environment.detail


_CONVERTER: Final = Converter(forbid_extra_keys=True, detailed_validation=False)


_LATER: Final = {"head": "", "chained_to": 0, "environments": (), "versions": []}
"""What the first versions did not write, with what stands for nothing: theirs are the same to the byte."""


def survey_bytes(survey: Survey) -> bytes:
    """Write a survey, a line for each record.  In ASCII: a file's name may be no valid Unicode."""
    document = _CONVERTER.unstructure(survey)
    for key, nothing in _LATER.items():
        if document[key] == nothing:
            del document[key]
    if survey.format == UNBOUND_FORMAT:
        document.pop("environments", None)
        document["used"] = [_without(record, "withheld") for record in document["used"]]
        document["attempts"] = [_as_unbound(record) for record in document["attempts"]]
    lines = [f" {json.dumps(key)}: {_value(value)}" for key, value in sorted(document.items())]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _as_unbound(record: Mapping[str, Any]) -> dict[str, Any]:
    """An attempt's record as the format had it that knew of no bound logs."""
    old = _without(record, "manifest_file")
    old["logs"] = [_without(log, "state", "withheld") for log in record["logs"]]
    return old


def _without(record: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def _value(value: Any) -> str:  # noqa: ANN401  any JSON
    if isinstance(value, list | tuple) and value:
        return "[\n" + ",\n".join(f"  {json.dumps(record)}" for record in value) + "\n ]"
    return json.dumps(value)


def parse_survey(text: bytes) -> Survey:
    """Read a survey from what `survey_bytes` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        document = json.loads(text, object_pairs_hook=without_twins)
        survey = _CONVERTER.structure(document, Survey)
    except Exception as error:  # noqa: BLE001  whatever becomes of what nobody wrote
        raise ValueError(f"it is no survey of a bundle: {type(error).__name__}: {brief(error)}") from None
    if survey.format not in FORMATS:
        raise ValueError(
            f"its format is {survey.format}, and this version of MatterStack reads those up to {FORMAT}"
        )
    return survey


def portable(path: str) -> str:
    r"""A name that every file system and every archive takes: bytes that are no UTF-8 are written as ``%FF``.

    >>> print(portable("a b%"), portable("raw\udcff%"))
    a b% raw%FF%25
    """
    if path.isascii() or not any("\udc80" <= character <= "\udcff" for character in path):
        return path
    return "".join(
        f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in path.replace("%", "%25")
    )


def free_place(folder: str, path: str, taken: set[str]) -> str:
    """Where a file goes; no two of them to the same place, whatever their names are."""
    place = f"{folder}/{portable(path)}"
    while place in taken:
        place += "~"
    taken.add(place)
    return place
