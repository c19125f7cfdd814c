"""What living engines say of themselves: small files, each replaced as a whole by the engine that wrote it.

They are derived: nothing depends on them but what people are told, a power cut may take them, and what a
killed engine left is not shown (and cleaned up by the next one).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import attrs
from cattrs import Converter

from matterstack.core.ids import UtcTime, utc_moment, utc_text
from matterstack.storage.files import replace_derived
from matterstack.storage.layout import Root
from matterstack.storage.leases import this_process
from matterstack.storage.modes import make_folders
from matterstack.storage.small_files import read_small

HEARTBEAT_S: Final = 300.0
"""How often a report is written anew when nothing has changed."""
TRUSTED_S: Final = 3 * HEARTBEAT_S
"""How old the report of another host may be: whether its engine lives cannot be seen from here.

Clocks of hosts differ, so that much into the future, too.
"""
MOST_BYTES: Final = 1 << 18
_LEFT_OVER_S: Final = 3600.0
_PART: Final = ".part"


@attrs.frozen(kw_only=True)
class Report:
    """What an engine says of itself.

    Attributes:
        host, boot_id, pid, started: the engine's process, as no other one is called.
    """

    host: str
    boot_id: str
    pid: int
    started: int
    written_at: UtcTime

    @classmethod
    def of_this_process(cls, **said: Any) -> Self:  # noqa: ANN401  the fields of any report
        """What this process says at this moment."""
        me = this_process()
        return cls(
            host=me.host,
            boot_id=me.boot_id,
            pid=me.pid,
            started=start_time(me.pid) or 0,
            written_at=utc_text(datetime.now(UTC)),
            **said,
        )


_R = TypeVar("_R", bound=Report)


@attrs.frozen
class ReportFolder(Generic[_R]):
    """Reports of one kind, in a folder of the root's private one.

    Attributes:
        about: what tells the reports of one process apart; anything that JSON can hold.
    """

    name: str
    kind: type[_R]
    about: Callable[[_R], tuple[str, ...]]

    def write(self, root: Root, report: _R) -> None:
        """Replace what the engine has said before.

        Raises:
            OSError: it cannot be written; whoever asks is told less, and nothing else depends on it.
        """
        path = self._path(root, report)
        make_folders(path.parent)
        replace_derived(path, json.dumps(_CONVERTER.unstructure(report), allow_nan=False).encode())

    def remove(self, root: Root, report: _R) -> None:
        """The engine says nothing any more.

        Raises:
            OSError: the file cannot be removed.
        """
        self._path(root, report).unlink(missing_ok=True)

    def read(self, root: Root) -> list[_R]:
        """What living engines say; what cannot be read is left out."""
        return [report for _, report in self._all(root) if _is_of_living(report)]

    def clean(self, root: Root) -> None:
        """Remove what engines left that were killed, on this host surely, on others as far as can be told.

        Raises:
            OSError: something cannot be removed.
        """
        for path, report in list(self._all(root)):
            if not _is_of_living(report):
                path.unlink(missing_ok=True)
        for path in self._folder(root).glob(f".*{_PART}"):
            if _age_s(path) > _LEFT_OVER_S:
                path.unlink(missing_ok=True)

    def _folder(self, root: Root) -> Path:
        return root.private / self.name

    def _path(self, root: Root, report: _R) -> Path:
        first, *rest = self.about(report)
        named = (first, report.host, report.boot_id, report.pid, report.started, *rest)
        return self._folder(root) / f"{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:24]}.json"

    def _all(self, root: Root) -> Iterator[tuple[Path, _R]]:
        try:
            paths = sorted(self._folder(root).glob("*.json"))
        except OSError:
            return
        for path in paths:
            report = self._parsed(path)
            if report is not None:
                yield path, report

    def _parsed(self, path: Path) -> _R | None:
        try:
            value = json.loads(read_small(path, MOST_BYTES))
            if not isinstance(value, dict):
                return None
            report: _R = _CONVERTER.structure(value, self.kind)
            utc_moment(report.written_at)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return None
        return report


def _is_of_living(report: Report) -> bool:
    me = this_process()
    if report.boot_id == me.boot_id and start_time(report.pid) == report.started:
        return True
    if report.host == me.host:
        return False  # ended, or this machine was started anew since
    moment = utc_moment(report.written_at)
    if moment.tzinfo is None:
        return False
    return abs((datetime.now(UTC) - moment).total_seconds()) <= TRUSTED_S


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot, so that a number used again is not mistaken.

    See proc(5).  None when there is none, or only what its parent has not waited for yet.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        state, started = (words := fields.split())[0], int(words[19])
    except (OSError, ValueError, IndexError):
        return None
    return None if state in {"Z", "X"} else started


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _make_converter() -> Converter:
    """Strict about types: a report that says something else than it should says nothing."""
    converter = Converter(detailed_validation=False)
    for kind, checked in ((str, _checked(str)), (int, _checked(int)), (float, _checked(int, float))):
        converter.register_structure_hook(kind, checked)
    return converter


def _checked(*kinds: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _kind: Any) -> Any:  # noqa: ANN401  as cattrs has it
        if type(value) not in kinds:
            raise TypeError(value)
        return value

    return structure


_CONVERTER: Final = _make_converter()
