"""Look at what a job left behind."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.file_names import MOST_DEPTH, UnusableNameError, name_problem, normal_name
from matterstack.core.json_rules import json_problem
from matterstack.core.model.patterns import matches
from matterstack.core.model.size_limits import size_problem
from matterstack.core.model.workflow_check import RESERVED_NAMES
from matterstack.core.run.facts import OutputFile
from matterstack.core.shown_text import brief
from matterstack.storage.confine import Confined, ConfinementError, confined
from matterstack.storage.files import FileHash
from matterstack.storage.known_hashes import KnownHashes
from matterstack.storage.small_files import read_small

MOST_RESULT_BYTES: Final = 1 << 20
RESULT: Final = "result.json"
"""What a job hands to ``analyze``."""
NOT_WAITED_FOR: Final = "was not waited for"
"""Why an output was not fetched: its run is to end."""
NOT_FETCHED: Final = "not_fetched.json"
"""Which outputs were left where the job worked, and why; of a cluster behind ssh only."""
_MOST_NOT_FETCHED_BYTES: Final = 16 << 20
MOST_PROBLEMS_SHOWN: Final = 20
_EVERYTHING: Final = 1 << 62
FILE_COST_BYTES: Final = 1 << 16
"""A file takes as long as so many bytes, even where it is empty."""


@attrs.frozen(kw_only=True)
class Outputs:
    """What was found, and what is missing or broken, in words.

    Attributes:
        may_get_better: whether another try of the job may leave something else.
        given_up: some were left on a cluster, since nobody waited for them.
    """

    files: tuple[OutputFile, ...] = ()
    data: Any = None
    problem: str | None = None
    may_get_better: bool = True
    given_up: bool = False


def collect_outputs(
    folder: Path, patterns: Sequence[str], given: Collection[str], most_gib: float | None = None
) -> Outputs:
    """Find the files that match the patterns, make sure that they are on the disk, and read result.json.

    Args:
        given: names of files that were copied in; they count as outputs only where a pattern is
            exactly their name.
        most_gib: how large each of them may be; None: any size.
    """
    looking = OutputSearch(folder, patterns, given, most_gib=most_gib)
    while not looking.is_done:
        looking.advance(_EVERYTHING)
    return looking.found()


@attrs.define
class OutputSearch:
    """The same, some of it at a time: between two calls of `advance` nothing is open and nothing held up.

    Attributes:
        total_bytes: how much there is to hash, once that is known.
        done_bytes: how much of it was hashed.
        known: hashes that were made before.
    """

    folder: Path
    patterns: Sequence[str]
    given: Collection[str]
    most_gib: float | None = None
    known: KnownHashes | None = None
    total_bytes: int = 0
    done_bytes: int = 0
    is_done: bool = False
    _names: list[str] | None = None
    _files: list[OutputFile] = attrs.field(factory=list)
    _hashing: FileHash | None = None
    _began_as: os.stat_result | None = None
    _problems: list[str] = attrs.field(factory=list)
    _too_much: list[str] = attrs.field(factory=list)
    _data: Any = None
    _given_up: bool = False

    def advance(self, most_bytes: int) -> int:
        """Look, and hash some more; returns how many bytes that was, or cost.

        Raises:
            OSError: the folder cannot be read.
        """
        read = 0
        if self.patterns and (self._names is None or self._names):
            with confined(self.folder) as inside:
                if self._names is None:
                    self._look(inside)
                while read < most_bytes and self._left:
                    read += max(FILE_COST_BYTES, self._hash_some(inside, self._left[0], most_bytes - read))
        if not self._left:
            self._read_result()
            self.is_done = True
        return read

    def found(self) -> Outputs:
        """All outputs that were found, and their problems."""
        return Outputs(
            files=tuple(self._files),
            data=self._data,
            problem=_joined([*self._too_much, *self._problems]),
            may_get_better=not self._too_much,
            given_up=self._given_up,
        )

    def _read_result(self) -> None:
        """Unless what the job wrote is not here: then whatever lies in its place is somebody else's."""
        why = _noted(self.folder).get(RESULT)
        if why is None:
            try:
                self._data = read_result(self.folder / RESULT)
            except ValueError as error:
                self._problems.append(str(error))
        elif not self._given_up:
            self._given_up = why == NOT_WAITED_FOR
            self._too_much.append(_left_on_cluster(RESULT, why))

    @property
    def _left(self) -> list[str]:
        return self._names or []

    def _look(self, inside: Confined) -> None:
        self._names = []
        left_there = _not_fetched(self.folder, self.patterns)
        self._given_up = NOT_WAITED_FOR in left_there.values()
        deep: list[str] = []
        names = sorted(matching_outputs(inside, self.patterns, self.given, deep))
        self._too_much += [_left_on_cluster(name, why) for name, why in left_there.items()]
        self._too_much += [
            f"output {_short(name)!r} lies deeper than {MOST_DEPTH} folders" for name in deep[:1]
        ]
        for name in names:
            if problem := name_problem(name) or self._size_problem(inside, name):
                self._too_much.append(f"output {_short(name)!r} {problem}")
            else:
                self._names.append(name)
        self._problems += [
            f"its job ended well, but no file matches the output {pattern!r}"
            for pattern in self.patterns
            if not any(matches(name, _normal(pattern)) for name in (*names, *left_there, *deep))
        ]

    def _size_problem(self, inside: Confined, name: str) -> str | None:
        try:
            size = inside.size_of(name)
        except OSError:
            return None  # whoever hashes it says why
        self.total_bytes += size
        return size_problem(size, self.most_gib)

    def _hash_some(self, inside: Confined, name: str, most_bytes: int) -> int:
        if self._hashing is None:
            self._hashing = FileHash()
        read = 0
        try:
            descriptor = inside.open_file(name)
            try:
                output, read = self._hashed(name, descriptor, self._hashing, most_bytes)
            finally:
                os.close(descriptor)
            if output is None:
                self.done_bytes += read
                return read
        except OSError as error:
            self._problems.append(f"output {name!r} cannot be read: {error.strerror}")
            output = OutputFile(name, 0, "")
        self.done_bytes += max(read, output.size_bytes if self._hashing.done_bytes == 0 else 0)
        self._files.append(output)
        self._hashing = None
        del self._left[0]
        return read

    def _hashed(
        self, name: str, descriptor: int, hashing: FileHash, most_bytes: int
    ) -> tuple[OutputFile | None, int]:
        """Hash some more of an open file; the output is None as long as there is more."""
        before = os.fstat(descriptor)
        if self.known is not None and hashing.done_bytes == 0:
            sha256 = self.known.find(self.folder / name, before)
            if sha256 is not None:
                return OutputFile(name, before.st_size, sha256), 0
            self._began_as = before
        read = hashing.advance(descriptor, most_bytes)
        if not hashing.is_whole:
            return None, read
        if self.known is not None and self._began_as is not None:
            after = os.fstat(descriptor)
            if (after.st_ctime_ns, after.st_size) == (self._began_as.st_ctime_ns, hashing.size_bytes):
                self.known.keep(self.folder / name, after, hashing.sha256)
        return OutputFile(name, hashing.size_bytes, hashing.sha256), read


def _left_on_cluster(name: str, why: str) -> str:
    return f"output {name!r} {why}; it was left on the cluster"


def _noted(folder: Path) -> dict[str, str]:
    """What lies on a cluster still, with the reasons."""
    try:
        with confined(folder) as inside:
            text = inside.read(NOT_FETCHED, _MOST_NOT_FETCHED_BYTES)
        noted: Any = json.loads(text, object_pairs_hook=without_twins)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(noted, dict):
        return {}
    return {name: why for name, why in noted.items() if isinstance(why, str)}


def _not_fetched(folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """The same of declared outputs."""
    return {
        name: why
        for name, why in _noted(folder).items()
        if any(name == pattern or matches(name, _normal(pattern)) for pattern in patterns)
    }


def _joined(problems: Sequence[str]) -> str | None:
    more = len(problems) - MOST_PROBLEMS_SHOWN
    shown = [*problems[:MOST_PROBLEMS_SHOWN], *([f"and {more} more problems"] if more > 0 else [])]
    return "; ".join(shown) or None


def _short(name: str, most: int = 120) -> str:
    return name if len(name) <= most else f"{name[:most]}..."


def matching_outputs(
    folder: Confined, patterns: Sequence[str], given: Collection[str], deep: list[str] | None = None
) -> Iterator[str]:
    """Names of the files that match the patterns; arguments as in `collect_outputs`.

    ``deep`` gets folders that may hold such files, and lie too deep for any name.
    """
    declared = Declared.of(patterns, given)

    def too_deep(name: str) -> None:
        if deep is not None and declared.may_lie_below(name):
            deep.append(name)

    for name in folder.regular_files(leave_out=RESERVED_NAMES, too_deep=too_deep):
        if declared.includes(name):
            yield name


@attrs.frozen
class Declared:
    """Which files of an attempt's folder are its outputs.  All names are in their normal form."""

    patterns: tuple[str, ...]
    given: frozenset[str]

    @classmethod
    def of(cls, patterns: Collection[str], given: Collection[str]) -> Declared:
        """Of patterns and names as a campaign gave them, maybe with a ``./``."""
        return cls(tuple(map(_normal, patterns)), frozenset(map(_normal, given)))

    def includes(self, name: str) -> bool:
        """Whether a file that lies in the folder of a job that has ended is one of its outputs.

        What MatterStack itself keeps there is none, and what the job was given only where a pattern is its
        name.
        """
        if name.partition("/")[0] in RESERVED_NAMES:
            return False
        was_given = name in self.given
        return any(matches(name, p) and (not was_given or p == name) for p in self.patterns)

    def may_lie_below(self, folder: str) -> bool:
        """Whether files deep below a folder may be outputs: a pattern with ``**`` leads there."""
        return any(_leads_below(folder, p) for p in self.patterns if "**" in p.split("/"))


def _leads_below(folder: str, pattern: str) -> bool:
    fixed = pattern.split("/")[: pattern.split("/").index("**")]
    return matches("/".join(folder.split("/")[: len(fixed)]), "/".join(fixed)) if fixed else True


def _normal(name: str) -> str:
    try:
        return normal_name(name)
    except UnusableNameError:
        return name


def read_result(path: Path) -> Any:  # noqa: ANN401  any JSON
    """Read the data that a job hands to ``analyze``; None when it wrote none.

    Raises:
        ValueError: the file is there but cannot be used; says why.
    """
    try:
        text = read_small(path, MOST_RESULT_BYTES + 1)
    except FileNotFoundError:
        return None
    except ConfinementError as error:
        raise ValueError(f"result.json: {error.strerror}") from None
    except OSError as error:
        raise ValueError(f"result.json: cannot be read: {error.strerror}") from None
    if len(text) > MOST_RESULT_BYTES:
        raise ValueError(
            f"result.json: is larger than {MOST_RESULT_BYTES >> 20} MiB; "
            "put large data into an output file of its own"
        )
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=without_twins)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"result.json: is not valid JSON: {brief(error)}") from None
    # 1e999 parses as infinity, which the store could not write as JSON again.
    if problem := json_problem(value):
        raise ValueError(f"result.json: cannot be kept: {problem}")
    return value


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number; write null instead")
