"""What people call a run, for every face: its id, how the id begins, its workspace, or ``@last``."""

from __future__ import annotations

import sqlite3
from typing import Final

import attrs

from matterstack.core.errors import NotFoundError, UsageError
from matterstack.core.ids import LAST_RUN, RUN_ID_PATTERN, SLUG_PATTERN, RunId
from matterstack.evidence.imported import imported_runs
from matterstack.storage.layout import Root, require_run_id
from matterstack.storage.read.named_runs import newest_run, runs_beginning

MOST_NAMED: Final = 5
"""Candidates that are named where a name may mean several runs."""
_FORM: Final = "00000000T000000-aaaaaa"
_LIST: Final = "list them with: matterstack run list"


@attrs.frozen
class NamedRun:
    """The run that is meant; ``workspace`` is empty where only an import of it is here."""

    run_id: RunId
    workspace: str

    def __str__(self) -> str:
        return f"{self.run_id} ({self.workspace or 'imported'})"


def may_begin_an_id(text: str) -> bool:
    """Whether a run id can begin so.

    >>> may_begin_an_id("20260102T03"), may_begin_an_id("relax"), may_begin_an_id("")
    (True, False, False)
    """
    return bool(text) and RUN_ID_PATTERN.fullmatch(text + _FORM[len(text) :]) is not None


def find_run(
    connection: sqlite3.Connection, root: Root, name: str, *, takes_workspace: bool = True
) -> NamedRun:
    """The one run that a name means; a whole id is not looked for.

    Args:
        takes_workspace: whether a workspace may stand for its newest run; not for what cannot be undone.

    Raises:
        UsageError: it is no name of a run, or may mean several: names them.
        NotFoundError: no run is called so.
    """
    if RUN_ID_PATTERN.fullmatch(name):
        return NamedRun(RunId(name), "")
    if name == LAST_RUN:
        found = newest_run(connection)
        if found is None:
            raise NotFoundError(
                f"{LAST_RUN}: there are no runs yet", hint="make one: matterstack run init WORKSPACE"
            )
        return NamedRun(*found)
    begins = may_begin_an_id(name)
    of_workspace = newest_run(connection, name) if SLUG_PATTERN.fullmatch(name) else None
    if not begins and not takes_workspace:
        _refuse_workspace(name, of_workspace)
    if not begins and not SLUG_PATTERN.fullmatch(name):
        require_run_id(name)
    meant = _beginning(connection, root, name) if begins else []
    if takes_workspace and of_workspace is not None and of_workspace[0] not in {run.run_id for run in meant}:
        meant.append(NamedRun(*of_workspace))
    if not meant:
        workspace = ", nor has a workspace of this name one" if takes_workspace else ""
        raise NotFoundError(f"no run {name!r}: no run has an id that begins so{workspace}", hint=_LIST)
    if len(meant) > 1:
        raise UsageError(f"{name!r} may mean several runs: {_named(meant)}", hint="give more of the id")
    return meant[0]


def _refuse_workspace(name: str, newest: tuple[RunId, str] | None) -> None:
    """Say that it is no run id, and that of its newest run where it is a workspace."""
    if newest is None:
        require_run_id(name)
    else:
        raise UsageError(
            f"{name!r} is no run id: this takes no workspace", hint=f"its newest run is {newest[0]}"
        )


def _beginning(connection: sqlite3.Connection, root: Root, begun: str) -> list[NamedRun]:
    """Runs whose ids begin so, those included that were only imported; enough to name them."""
    found = {
        run_id: NamedRun(run_id, slug) for run_id, slug in runs_beginning(connection, begun, MOST_NAMED + 1)
    }
    for run_id in imported_runs(root):
        if run_id.startswith(begun):
            found.setdefault(run_id, NamedRun(run_id, ""))
    return sorted(found.values(), key=lambda run: run.run_id, reverse=True)


def _named(runs: list[NamedRun]) -> str:
    more = ", and more" if len(runs) > MOST_NAMED else ""
    return ", ".join(str(run) for run in runs[:MOST_NAMED]) + more
