"""What engines say of large outputs: how much of them was hashed, or has come home, by now.

A file for each group of tasks that are seen to together; see `matterstack.storage.living_reports`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

import attrs

from matterstack.core.ids import RunId, TaskId
from matterstack.storage.layout import Root
from matterstack.storage.living_reports import Report, ReportFolder


@attrs.frozen
class Finishing:
    """How far an engine is with the outputs of one task (bytes)."""

    done_bytes: int
    total_bytes: int


@attrs.frozen(kw_only=True)
class FinishingReport(Report):
    """The tasks of one run whose outputs are looked at together.

    Attributes:
        first: tells the group of tasks apart.
    """

    run_id: RunId
    first: str
    tasks: dict[TaskId, Finishing] = attrs.field(factory=dict)


_REPORTS: Final = ReportFolder("finishing", FinishingReport, lambda r: (r.run_id, r.first))
TOLD_FROM_BYTES: Final = 1 << 30
"""People are told how far an engine is where there is so much."""


@attrs.define
class FinishingNews:
    """Tells people how far this engine is with some tasks of a run.  Blocking; that it cannot does no harm.

    Attributes:
        first: tells the group of tasks apart.
    """

    root: Root
    run_id: RunId
    first: str
    is_told: bool = False
    is_over: bool = False

    def tell(self, tasks: Mapping[TaskId, Finishing]) -> None:
        """Replace what was told before; nothing is told of what is done in a moment."""
        if self.is_told or sum(one.total_bytes for one in tasks.values()) >= TOLD_FROM_BYTES:
            is_first, self.is_told = not self.is_told, True
            with suppress(OSError):
                if is_first:
                    _REPORTS.clean(self.root)
                _REPORTS.write(self.root, self._report(tasks))
            if self.is_over:  # whoever waited for this thread was cancelled
                self.end()

    def end(self) -> None:
        """Say nothing of these tasks any more."""
        self.is_over = True
        if self.is_told:
            with suppress(OSError):
                _REPORTS.remove(self.root, self._report({}))

    def _report(self, tasks: Mapping[TaskId, Finishing]) -> FinishingReport:
        return FinishingReport.of_this_process(run_id=self.run_id, first=self.first, tasks=dict(tasks))


def read_finishing(root: Root, run_id: RunId) -> dict[TaskId, Finishing]:
    """How far living engines are with the large outputs of a run."""
    reports = (report for report in _REPORTS.read(root) if report.run_id == run_id)
    return {task_id: far for report in reports for task_id, far in report.tasks.items()}


def finishing_words(far: Iterable[Finishing]) -> str:
    """How far all of these are together, as people read it; empty where there is nothing.

    >>> finishing_words([Finishing(1 << 30, 30 << 30), Finishing(2 << 30, 10 << 30)])
    'finishing: 3 of 40 GiB'
    """
    each = list(far)
    total = sum(one.total_bytes for one in each) / 2**30
    done = sum(one.done_bytes for one in each) / 2**30
    return f"finishing: {_figure(done)} of {_figure(total)} GiB" if each else ""


def _figure(gib: float) -> str:
    return f"{gib:,.0f}" if gib >= 10 or gib == int(gib) else f"{gib:.1f}"
