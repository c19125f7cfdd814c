"""Secrets that living engines have no value for: a small file for each run that waits for one.

See `matterstack.storage.living_reports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import attrs

from matterstack.core.ids import RunId, UtcTime, utc_text
from matterstack.storage.layout import Root
from matterstack.storage.leases import this_process
from matterstack.storage.living_reports import ReportFolder, start_time


@attrs.frozen(kw_only=True)
class SecretReport:
    """What one engine lacks for one run.

    Attributes:
        host, boot_id, pid, started: the engine's process, as no other one is called.
        missing: why each secret without a value has none, by its name.
        since: when it was first missed.
    """

    run_id: RunId
    host: str
    boot_id: str
    pid: int
    started: int
    missing: Mapping[str, str]
    since: UtcTime
    written_at: UtcTime


def secret_report(run_id: RunId, missing: Mapping[str, str], since: UtcTime) -> SecretReport:
    """A report of this process."""
    me = this_process()
    return SecretReport(
        run_id=run_id,
        host=me.host,
        boot_id=me.boot_id,
        pid=me.pid,
        started=start_time(me.pid) or 0,
        missing=missing,
        since=since,
        written_at=utc_text(datetime.now(UTC)),
    )


_REPORTS: Final = ReportFolder("missing-secrets", SecretReport, lambda r: (r.run_id,))
write_secret_report: Final = _REPORTS.write
remove_secret_report: Final = _REPORTS.remove
clean_secret_reports: Final = _REPORTS.clean


def missing_secrets(root: Root, run_id: RunId) -> SecretReport | None:
    """What the engine that serves a run lacks; None when nothing, or when nobody says."""
    mine = [report for report in _REPORTS.read(root) if report.run_id == run_id]
    return max(mine, key=lambda report: report.written_at, default=None)
