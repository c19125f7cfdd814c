"""Secrets that living engines have no value for: a small file for each run that waits for one.

See `matterstack.storage.living_reports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from matterstack.core.ids import RunId, UtcTime
from matterstack.storage.layout import Root
from matterstack.storage.living_reports import Report, ReportFolder


@attrs.frozen(kw_only=True)
class SecretReport(Report):
    """What one engine lacks for one run.

    Attributes:
        missing: why each secret without a value has none, by its name.
        since: when it was first missed.
    """

    run_id: RunId
    missing: Mapping[str, str]
    since: UtcTime


def secret_report(run_id: RunId, missing: Mapping[str, str], since: UtcTime) -> SecretReport:
    """A report of this process."""
    return SecretReport.of_this_process(run_id=run_id, missing=missing, since=since)


_REPORTS: Final = ReportFolder("missing-secrets", SecretReport, lambda r: (r.run_id,))
write_secret_report: Final = _REPORTS.write
remove_secret_report: Final = _REPORTS.remove
clean_secret_reports: Final = _REPORTS.clean


def missing_secrets(root: Root, run_id: RunId) -> SecretReport | None:
    """What the engine that serves a run lacks; None when nothing, or when nobody says."""
    mine = [report for report in _REPORTS.read(root) if report.run_id == run_id]
    return max(mine, key=lambda report: report.written_at, default=None)
