"""What engines say of their backends at this moment: outages, limits, how many questions were asked.

A file for each backend of each living engine; see `matterstack.storage.living_reports`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.ids import BackendName, UtcTime
from matterstack.storage.layout import Root
from matterstack.storage.living_reports import Report, ReportFolder


@attrs.frozen(kw_only=True)
class CommandStatistics:
    """How often one kind of question was asked (``failed``: got no answer), and how long that took."""

    count: int = 0
    failed: int = 0
    total_s: float = 0.0
    max_s: float = 0.0
    last_s: float = 0.0

    def after(self, took_s: float, *, failed: bool) -> CommandStatistics:
        """The statistics with one more command counted."""
        return CommandStatistics(
            count=self.count + 1,
            failed=self.failed + failed,
            total_s=self.total_s + took_s,
            max_s=max(self.max_s, took_s),
            last_s=took_s,
        )


@attrs.frozen(kw_only=True)
class BackendReport(Report):
    """One backend, as one engine sees it.

    Attributes:
        definition: tells backends of one name apart, which runs have frozen with different settings: see
            `definition_of`.
        engine: tells engines of one process apart.
        out_since: since when it does not answer; None while it does.
        problem: what it, or its command, complained about then.
        accounting_out_since, accounting_problem: the same of what tells of jobs that have ended.
        limited_since: since when it takes no more jobs for now; None while it does.
        limit: which limit that is, in the backend's own words.
        statistics: by the name of the command.
    """

    backend: BackendName
    definition: str = ""
    engine: str = ""
    out_since: UtcTime | None = None
    problem: str = ""
    accounting_out_since: UtcTime | None = None
    accounting_problem: str = ""
    limited_since: UtcTime | None = None
    limit: str = ""
    statistics: Mapping[str, CommandStatistics] = attrs.field(factory=dict)


def definition_of(backend: BackendName, config: Mapping[str, Any]) -> str:
    """What a backend of this config is called in reports; ``max_jobs`` does not tell them apart."""
    definition = {key: value for key, value in config.items() if key != "max_jobs"}
    return hashlib.sha256(ascii(f"{backend} {sorted(definition.items())!r}").encode()).hexdigest()[:12]


def blank_report(backend: BackendName, definition: str = "", engine: str = "") -> BackendReport:
    """A report of this process, of a backend of which there is nothing to tell yet."""
    return BackendReport.of_this_process(backend=backend, definition=definition, engine=engine)


# Not by the backend alone: runs may have frozen different definitions of one.
_REPORTS: Final = ReportFolder("backends", BackendReport, lambda r: (r.backend, r.definition, r.engine))
write_report: Final = _REPORTS.write
remove_report: Final = _REPORTS.remove
clean_reports: Final = _REPORTS.clean


def read_reports(root: Root) -> list[BackendReport]:
    """The reports of living engines, sorted; what cannot be read is none."""
    return sorted(_REPORTS.read(root), key=lambda r: (r.backend, r.host, r.pid, r.definition, r.engine))


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
