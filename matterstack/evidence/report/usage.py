"""What a run was allowed to use, and what it has used."""

from __future__ import annotations

from matterstack.evidence.durations import duration_text, hours_text
from matterstack.evidence.presentation import View, cores_of


def cap_rows(view: View) -> list[tuple[str, str]]:
    config = view.history.state.config
    rows = [("cap: jobs of this run at the same time", str(config.get("max_hpc_jobs_per_run", "")))]
    rows += [
        (
            f"cap: jobs on backend {name} ({backend.get('type', '')}), of all runs together",
            str(backend["max_jobs"]),
        )
        for name, backend in config.get("backends", {}).items()
    ]
    return [*rows, ("jobs of this run at the same time, at most", str(view.history.most_live))]


def usage_rows(view: View) -> list[tuple[str, str]]:
    usage = view.usage
    rows = [
        ("attempts", str(usage.attempts)),
        ("core hours", hours_text(usage.core_s)),
        ("GPU hours", hours_text(usage.gpu_s)),
        ("running, all attempts together", duration_text(usage.running_s)),
        ("waiting, all attempts together", duration_text(usage.waiting_s)),
        ("most cores of one attempt", str(max((cores_of(a) for a in view.history.attempts()), default=0))),
    ]
    if usage.unknown:
        rows.append(("attempts whose start is not known (not counted)", str(usage.unknown)))
    return rows
