"""The files that lie beside an answer, on their way to where the outputs of a job are.  Blocking.

An instrument may answer with any size: large files are copied a piece at a time, so that no other answer
waits for them.  Nothing has its name before it is whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.documents.fields import Problem, shown_name
from matterstack.core.file_names import normal_name
from matterstack.core.model.size_limits import size_problem
from matterstack.core.model.workflow_check import unsafe_name
from matterstack.storage.confine import Confined, ConfinementError, confined
from matterstack.storage.files import chunks, end_sparse, write_sparse

AT_ONCE_BYTES: Final = 1 << 20
"""What has no more than this is copied when it is found."""
PIECE_BYTES: Final = 64 << 20
_PART: Final = ".taking-over.part"


@attrs.define
class TakingOver:
    """The files of one answer.  What was copied is lost in a crash without harm: it is copied again.

    Attributes:
        source: the folder of the question.
        target: the folder of the attempt.
        version: of the answer that names them.
        total_bytes: how much there is.
        done_bytes: how much of it was copied.
        problems: why they cannot be taken; then they are not.
    """

    source: Path
    target: Path
    names: Sequence[str]
    version: tuple[object, ...]
    most_gib: float | None
    total_bytes: int = 0
    done_bytes: int = 0
    problems: list[Problem] = attrs.field(factory=list)
    is_done: bool = False
    is_dropped: bool = False
    _copying: Iterator[int] | None = None

    def look(self) -> None:
        """Find out whether all of them can be taken, and how much that is."""
        with confined(self.source) as folder:
            for place, name in enumerate(self.names):
                problem = unsafe_name(name) or self._size_problem(folder, name)
                self._blame(place, problem)
        self.is_done = bool(self.problems)

    def advance(self, most_bytes: int) -> None:
        """Copy some more of the files.

        Raises:
            OSError: the disk does not answer, or has no room.
        """
        if self._copying is None:
            self._copying = self._copied()
        copied = 0
        while copied < most_bytes and not self.is_done and not self.is_dropped:
            try:
                length = next(self._copying)
                copied += length
                self.done_bytes += length
            except StopIteration:
                self.is_done = True
            except OSError:
                self._copying = None
                raise

    def _blame(self, place: int, problem: str | None) -> None:
        if problem:
            self.problems.append(Problem(f"files.{place}", f"{shown_name(self.names[place])}: {problem}"))

    def _size_problem(self, folder: Confined, name: str) -> str | None:
        try:
            os.close(folder.open_file(name))
            size = folder.size_of(name)
        except FileNotFoundError:
            return "is not there; put it beside response.json first"
        except (ConfinementError, PermissionError) as error:
            return str(error.strerror)
        self.total_bytes += size
        return size_problem(size, self.most_gib)

    def _copied(self) -> Iterator[int]:
        """Copy file by file; tells after each chunk how long it was."""
        for place, given in enumerate(self.names):
            name = normal_name(given)
            try:
                with confined(self.source) as folder:
                    reading = folder.open_file(name)
            except FileNotFoundError:
                self._blame(place, "is not there; put it beside response.json first")
                continue
            except (ConfinementError, PermissionError) as error:
                self._blame(place, str(error.strerror))
                continue
            try:
                yield from self._copy(place, name, reading)
            except ConfinementError as error:
                self._blame(place, str(error.strerror))
            finally:
                os.close(reading)

    def _copy(self, place: int, name: str, reading: int) -> Iterator[int]:
        before = os.fstat(reading)
        with confined(self.target, make=True) as target:
            writing = target.create_file(_PART)
        try:
            for chunk in chunks(reading):
                write_sparse(writing, chunk)
                yield len(chunk)
            end_sparse(writing)
        finally:
            os.close(writing)
        after = os.fstat(reading)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self._blame(place, "changed while it was taken over; answer when it is whole")
        else:
            with confined(self.target) as target:
                target.take_in(target, _PART, name)


def own_names(names: Sequence[str]) -> list[str]:
    """What in the folder of an attempt may be of these files, whole or in part."""
    return [_PART, *(normal_name(name) for name in names if unsafe_name(name) is None)]


def files_beside(
    source: Path, target: Path, names: Sequence[str], version: tuple[object, ...], most_gib: float | None
) -> TakingOver:
    """The files of an answer; small ones have been copied already.

    Raises:
        OSError: the disk does not answer, or has no room.
    """
    taking = TakingOver(source, target, names, version, most_gib)
    taking.look()
    if taking.total_bytes <= AT_ONCE_BYTES:
        taking.advance(2 * AT_ONCE_BYTES)
    return taking
