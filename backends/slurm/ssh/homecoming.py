"""Where files from a cluster land before they take their place in a run.

rsync, and the other side with it, writes below one private folder of the root and nowhere else.  From there
what was asked for, and nothing else, is renamed into place by the code that no link leads astray
(`matterstack.storage.confine`).  What was broken off stays, so that the next copy goes on from it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from matterstack.backends.slurm.ssh.transfers import ENDED, RECORDS, TRACES
from matterstack.core.ids import RUN_ID_PATTERN
from matterstack.storage.confine import confined
from matterstack.storage.foreign_files import give_way, set_foreign_aside
from matterstack.storage.modes import make_folders
from matterstack.storage.outputs import NOT_FETCHED

FOLDER: Final = "homecoming"
"""Name of the folder in the root's private one."""
PARTIAL: Final = ".matterstack-partial"
"""Where rsync keeps what was broken off, beside the place of the file."""
KEPT_S: Final = 3 * 24 * 3600.0
"""How long something may lie here of which nobody has asked for more."""


@attrs.frozen
class Settled:
    """What took its place in a folder, and what could not, in words."""

    names: list[str] = attrs.field(factory=list)
    complaints: list[str] = attrs.field(factory=list)


@attrs.frozen
class Landing:
    """The landing place of one backend.  Blocking.

    Attributes:
        root: in whose folders files take their place.
        place: where they land, with the same tree of folders below it.
    """

    root: Path
    place: Path

    def make(self) -> None:
        """Make it, for this user alone.

        Raises:
            OSError: it cannot be made.
        """
        make_folders(self.place)

    def settle(self, folder: Path, names: Iterable[str]) -> Settled:
        """Rename into a folder what has landed of these names."""
        settled = Settled()
        for name in names:
            try:
                self._take_in(folder, name)
            except FileNotFoundError:
                continue
            except OSError as error:
                settled.complaints.append(f"{self._relative(folder)}/{name}: {error.strerror or error}")
            else:
                settled.names.append(name)
        return settled

    def _take_in(self, folder: Path, name: str) -> None:
        with confined(self.place / self._relative(folder)) as landed, confined(folder, make=True) as target:
            try:
                target.take_in(landed, name, name)
            except FileNotFoundError:
                raise
            except OSError:
                if name not in TRACES or not give_way(folder, name):
                    raise
                target.take_in(landed, name, name)

    def settle_alone(self, folder: Path, names: Sequence[str], given: Collection[str]) -> Settled:
        """The same, and set aside what lies in the folder and is neither given nor from the cluster.

        Where a record lies here and there is no trace of a job there, the folder there was cleaned after all
        had come home.

        Raises:
            OSError: something cannot be set aside.
        """
        settled = self.settle(folder, names)
        with confined(folder, make=True) as inside:
            was_cleaned = not {*RECORDS}.intersection(settled.names) and inside.exists(ENDED)
        if not was_cleaned and set_foreign_aside(folder, {*given, *settled.names}):
            # Some of it may have been in the way.
            rest = self.settle(folder, [name for name in names if name not in settled.names])
            settled = Settled([*settled.names, *rest.names], rest.complaints)
        return settled

    def show(self, folder: Path, names: Iterable[str]) -> None:
        """Let files that are still growing be seen in a folder, as far as they have come."""
        for name in names:
            # That a log is not seen before its job has ended does no harm.
            with (
                suppress(OSError),
                confined(self.place / self._relative(folder)) as landed,
                confined(folder, make=True) as target,
            ):
                target.share(landed, name, name)

    def clear(self, folder: Path) -> None:
        """Remove what landed for a folder, whatever it is."""
        place = self.place / self._relative(folder)
        shutil.rmtree(place, ignore_errors=True)
        # No folder above that of the task: rsync may just be making another one in it.
        with suppress(OSError):
            place.parent.rmdir()

    def sweep(self) -> None:
        """Remove what a process left that was killed, and nobody wanted since, and folders that are empty."""
        for folder in self._attempts():
            if _youngest(folder) < time.time() - KEPT_S:
                self.clear(self.root / folder.relative_to(self.place))
        for run in self._runs():
            with suppress(OSError):
                (run / "tasks").rmdir()
                run.rmdir()

    def bytes_of(self, folder: Path) -> int:
        """How much has landed for a folder so far."""
        place = self.place / self._relative(folder)
        return sum(_size(Path(top, name)) for top, _, files in os.walk(place) for name in files)

    def _attempts(self) -> Iterator[Path]:
        for run in self._runs():
            yield from run.glob("tasks/*/*")

    def _runs(self) -> Iterator[Path]:
        runs = self.place.glob("workspaces/*/runs/*")
        yield from (run for run in runs if RUN_ID_PATTERN.fullmatch(run.name))

    def _relative(self, folder: Path) -> Path:
        return folder.relative_to(self.root)


def note_not_fetched(folder: Path, reasons: Mapping[str, str]) -> None:
    """Say in a folder which outputs were left on the cluster, and why; nothing where there are none.

    Raises:
        OSError: that cannot be written.
    """
    give_way(folder, NOT_FETCHED)
    with confined(folder, make=True) as inside:
        if reasons:
            inside.replace(NOT_FETCHED, json.dumps(dict(sorted(reasons.items())), indent=2).encode())
        elif inside.exists(NOT_FETCHED):
            inside.replace(NOT_FETCHED, b"{}")


def _youngest(folder: Path) -> float:
    """When anything in a folder was changed last."""
    times = [0.0]
    for top, _, files in os.walk(folder):
        for path in (Path(top), *(Path(top, name) for name in files)):
            with suppress(OSError):
                times.append(path.lstat().st_mtime)
    return max(times)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
