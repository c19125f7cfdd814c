"""What engines say of their commits at this moment: how many there were, and how long they took.

A file for each living engine; see `matterstack.storage.living_reports`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import attrs

from matterstack.storage.layout import Root
from matterstack.storage.living_reports import Report, ReportFolder

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the classes in which commits are counted; there is one more, without a bound."""


@attrs.frozen(kw_only=True)
class CommitReport(Report):
    """The commits of one engine since it was opened, each from when it began until it was durable.

    Attributes:
        engine: tells the engines of one process apart.
        counts: of those that took at most so long, for each of `BOUNDS_S` (and more than all bounds before).
        total_s: how long all took together.
    """

    engine: str
    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    total_s: float = 0.0

    def after(self, took_s: float) -> CommitReport:
        """The report with one more commit counted."""
        place = bisect_left(BOUNDS_S, took_s)
        counts = tuple(count + (i == place) for i, count in enumerate(self.counts))
        return attrs.evolve(self, counts=counts, total_s=self.total_s + took_s)


def no_commits(engine: str) -> CommitReport:
    """The report of an engine of this process that has committed nothing yet."""
    return CommitReport.of_this_process(engine=engine)


_REPORTS: Final = ReportFolder("commits", CommitReport, lambda r: (r.engine,))
write_commits: Final = _REPORTS.write
remove_commits: Final = _REPORTS.remove
clean_commits: Final = _REPORTS.clean


def read_commits(root: Root) -> list[CommitReport]:
    """The reports of living engines, sorted; what cannot be read, or has other classes, is none."""
    reports = (report for report in _REPORTS.read(root) if len(report.counts) == len(BOUNDS_S) + 1)
    return sorted(reports, key=lambda r: (r.host, r.pid, r.engine))
