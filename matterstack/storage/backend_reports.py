"""What engines say of their backends at this moment: outages, limits, how many questions were asked.

A file for each backend of each living engine.  It is derived: nothing depends on it but what people are
told, a power cut may take it, and what a killed engine left is not shown (and cleaned up by the next one).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
from cattrs import Converter

from matterstack.core.ids import BackendName, UtcTime, utc_moment, utc_text
from matterstack.storage.files import json_bytes, replace_derived
from matterstack.storage.layout import Root
from matterstack.storage.leases import this_process
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
class CommandStatistics:
    """How often one kind of question was asked (``failed``: got no answer), and how long that took."""

    count: int = 0
    failed: int = 0
    total_s: float = 0.0
    max_s: float = 0.0
    last_s: float = 0.0

    def after(self, took_s: float, *, failed: bool) -> CommandStatistics:
        """Count one more."""
        return CommandStatistics(
            count=self.count + 1,
            failed=self.failed + failed,
            total_s=self.total_s + took_s,
            max_s=max(self.max_s, took_s),
            last_s=took_s,
        )


@attrs.frozen(kw_only=True)
class BackendReport:
    """One backend, as one engine sees it.

    Attributes:
        host, boot_id, pid, started: the engine's process, as no other one is called.
        definition: tells backends of one name apart, which runs have frozen with different settings.
        out_since: since when it does not answer; None while it does.
        problem: what it, or its command, complained about then.
        accounting_out_since, accounting_problem: the same of what tells of jobs that have ended.
        limited_since: since when it takes no more jobs for now; None while it does.
        limit: which limit that is, in the backend's own words.
        statistics: by the name of the command.
    """

    backend: BackendName
    host: str
    boot_id: str
    pid: int
    started: int = 0
    definition: str = ""
    written_at: UtcTime
    out_since: UtcTime | None = None
    problem: str = ""
    accounting_out_since: UtcTime | None = None
    accounting_problem: str = ""
    limited_since: UtcTime | None = None
    limit: str = ""
    statistics: Mapping[str, CommandStatistics] = attrs.field(factory=dict)


def blank_report(backend: BackendName, definition: str = "") -> BackendReport:
    """A report of this process, of a backend of which there is nothing to tell yet."""
    me = this_process()
    return BackendReport(
        backend=backend,
        host=me.host,
        boot_id=me.boot_id,
        pid=me.pid,
        started=_start_time(me.pid) or 0,
        definition=definition,
        written_at=utc_text(datetime.now(UTC)),
    )


def write_report(root: Root, report: BackendReport) -> None:
    """Replace the engine's report of that backend.

    Raises:
        OSError: it cannot be written; whoever asks is told less, and nothing else depends on it.
    """
    folder = _folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    replace_derived(folder / _file_name(report), json_bytes(_CONVERTER.unstructure(report)))


def remove_report(root: Root, report: BackendReport) -> None:
    """The engine stops serving the backend."""
    (_folder(root) / _file_name(report)).unlink(missing_ok=True)


def read_reports(root: Root) -> list[BackendReport]:
    """The reports of living engines, sorted; what cannot be read is none."""
    return sorted(
        (report for _, report in _reports(root) if _is_of_living(report)),
        key=lambda r: (r.backend, r.host, r.pid, r.definition),
    )


def clean_reports(root: Root) -> None:
    """Remove what engines left that were killed, on this host surely, on others as far as can be told.

    Raises:
        OSError: something cannot be removed.
    """
    for path, report in list(_reports(root)):
        if not _is_of_living(report):
            path.unlink(missing_ok=True)
    for path in _folder(root).glob(f".*{_PART}"):
        if _age_s(path) > _LEFT_OVER_S:
            path.unlink(missing_ok=True)


def by_backend(reports: Iterable[BackendReport]) -> dict[BackendName, dict[str, Any]]:
    """What all engines together say of each backend, as ``run status --json`` prints it.

    An outage or a limit is there when one of them has met it, since the earliest of them did.
    """
    found: dict[BackendName, list[BackendReport]] = {}
    for report in reports:
        found.setdefault(report.backend, []).append(report)
    return {backend: _merged(of_one) for backend, of_one in found.items()}


def _merged(reports: Sequence[BackendReport]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for since, words in _TROUBLES.items():
        met = sorted((str(getattr(r, since)), str(getattr(r, words))) for r in reports if getattr(r, since))
        merged[since], merged[words] = met[0] if met else (None, "")
    merged["statistics"] = {
        command: attrs.asdict(_sum([r.statistics[command] for r in reports if command in r.statistics]))
        for command in sorted({command for report in reports for command in report.statistics})
    }
    return merged


def _sum(parts: Sequence[CommandStatistics]) -> CommandStatistics:
    return CommandStatistics(
        count=sum(part.count for part in parts),
        failed=sum(part.failed for part in parts),
        total_s=sum(part.total_s for part in parts),
        max_s=max(part.max_s for part in parts),
        last_s=max(part.last_s for part in parts),
    )


def troubles(reports: Iterable[BackendReport]) -> list[str]:
    """What is out or used up, and since when: one line for people for each."""
    lines = []
    for backend, told in by_backend(reports).items():
        if told["out_since"]:
            lines.append(f"backend {backend} has not answered since {told['out_since']}: {told['problem']}")
        if told["accounting_out_since"]:
            since, problem = told["accounting_out_since"], told["accounting_problem"]
            lines.append(f"the accounting of backend {backend} has not answered since {since}: {problem}")
        if told["limited_since"]:
            since, limit = told["limited_since"], told["limit"]
            lines.append(f"backend {backend} has taken no more jobs since {since}: {limit}")
    return lines


_TROUBLES: Final = {
    "out_since": "problem",
    "accounting_out_since": "accounting_problem",
    "limited_since": "limit",
}


def _folder(root: Root) -> Path:
    return root.private / "backends"


def _file_name(report: BackendReport) -> str:
    # Not by the backend's name: that may be anything that JSON can hold.
    named = (report.backend, report.host, report.boot_id, report.pid, report.started, report.definition)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:24] + ".json"


def _reports(root: Root) -> Iterator[tuple[Path, BackendReport]]:
    try:
        paths = sorted(_folder(root).glob("*.json"))
    except OSError:
        return
    for path in paths:
        report = _parsed(path)
        if report is not None:
            yield path, report


def _parsed(path: Path) -> BackendReport | None:
    try:
        value = json.loads(read_small(path, MOST_BYTES))
        if not isinstance(value, dict):
            return None
        report: BackendReport = _CONVERTER.structure(value, BackendReport)
        utc_moment(report.written_at)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return report


def _is_of_living(report: BackendReport) -> bool:
    me = this_process()
    if report.boot_id == me.boot_id and _start_time(report.pid) == report.started:
        return True
    if report.host == me.host:
        return False  # ended, or this machine was started anew since
    moment = utc_moment(report.written_at)
    if moment.tzinfo is None:
        return False
    return abs((datetime.now(UTC) - moment).total_seconds()) <= TRUSTED_S


def _start_time(pid: int) -> int | None:
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
