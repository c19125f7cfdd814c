"""Lists of runs, those of the store and those that were imported, as far as they fit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from matterstack.core.errors import NotFoundError, UsageError
from matterstack.core.ids import SLUG_PATTERN, RunId
from matterstack.evidence.imported import imported_runs
from matterstack.storage.layout import Root, is_folder
from matterstack.storage.read.filtered_runs import RunFilter, filtered_runs, has_runs_of
from matterstack.storage.read.runs import RunSummary, run_summaries
from matterstack.usecases.labels import require_label


def require_fitting(connection: sqlite3.Connection, root: Root, wanted: RunFilter) -> None:
    """Check that what is asked for can be: a misspelt name must not look like an empty list.

    Raises:
        UsageError: a label or a name of a workspace has not the form of one.
        NotFoundError: there is no such workspace, nor a run of one of this name.
    """
    for label in wanted.labels:
        require_label(label)
    for slug in wanted.workspaces:
        if not SLUG_PATTERN.fullmatch(slug):
            raise UsageError(f"{slug!r} is no workspace name")
        if not has_runs_of(connection, slug) and not is_folder(root.workspaces / slug):
            have = ", ".join(root.slugs()) or "none"
            raise NotFoundError(f"no workspace {slug!r} in {root.workspaces} (there are: {have})")


def fitting_runs(connection: sqlite3.Connection, wanted: RunFilter) -> Sequence[RunSummary]:
    """Runs of the store that fit, the oldest first."""
    if wanted == RunFilter():
        return run_summaries(connection)
    found = filtered_runs(connection, wanted)
    return run_summaries(connection, found) if found else []


def imports_to_read(root: Root, wanted: RunFilter) -> list[RunId]:
    """Imported runs that may fit, as far as their ids tell: to read one means to read all of its events."""
    if wanted.labels:
        return []
    found = imported_runs(root)
    if wanted.since is not None:
        made = wanted.since[:19].replace("-", "").replace(":", "")
        found = [run_id for run_id in found if run_id[: len(made)] >= made]
    only_last = wanted.last is not None and wanted == RunFilter(last=wanted.last)
    return found[-wanted.last :] if only_last and wanted.last else found


def fitting_imports(imported: Iterable[RunSummary], wanted: RunFilter) -> Sequence[RunSummary]:
    """Of those that were imported, which nobody labels, those that fit."""
    return [
        run
        for run in imported
        if not wanted.labels
        and (not wanted.statuses or run.status in wanted.statuses)
        and (not wanted.workspaces or run.workspace in wanted.workspaces)
        and (wanted.since is None or run.created_at >= wanted.since)
    ]
