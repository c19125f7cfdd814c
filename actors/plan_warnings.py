"""What of a plan can be seen to end its own task, or to be told to everybody, though all of it can run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from matterstack.actors.secret_warnings import look_like_secrets
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKING
from matterstack.storage.staging import unusable_file

MOST_WARNINGS: Final = 20


def plan_warnings(tasks: Iterable[Task], workspace: Path) -> list[str]:
    """Say what would end tasks when they are reached, a line each, at most `MOST_WARNINGS`.  Blocking."""
    known = list(tasks)
    found = [*look_like_secrets(known), *_bad_questions(known), *_missing_files(known, workspace)]
    if len(found) > MOST_WARNINGS:
        found[MOST_WARNINGS:] = [f"and {len(found) - MOST_WARNINGS} more like these"]
    return found


def _bad_questions(tasks: Iterable[Task]) -> Iterator[str]:
    """Tasks that would fail as soon as they ask: their params are no manifest of their operator."""
    asking = [task for task in tasks if task.operator in ASKING]
    if not asking:
        return
    from matterstack.core.documents.manifests import ManifestError, read_manifest  # pydantic models

    for task in asking:
        try:
            read_manifest(task.operator, task.params)
        except ManifestError as error:
            yield f"task {task.id} would fail: {error}"


def _missing_files(tasks: Iterable[Task], workspace: Path) -> Iterator[str]:
    """Files that are not there now: they may be before they are needed, else staging ends their task."""
    seen: dict[str, str] = {}
    for task in tasks:
        for name, path in task.files.items():
            if str(path) not in seen:
                seen[str(path)] = unusable_file(str(path), workspace)
                if problem := seen[str(path)]:
                    what = f"files: {name!r} cannot be copied from {path}: {problem}"
                    yield f"task {task.id} would fail: {what}"
