"""What ``run explain`` says: asked in this process while it is waited for, then of the command itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import trio

from matterstack.backends.registry import words_of
from matterstack.core.ids import RunId, utc_text
from matterstack.explain.frontier import get_run_frontier
from matterstack.explain.load import load_situation
from matterstack.storage.layout import Root
from matterstack.usecases.explain import with_sights
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until

Causes: TypeAlias = list[dict[str, Any]]
SHAPE: Final = {"kind", "since", "blocks", "message", "action"}


def explained(command_line: CommandLine, run_id: str) -> Causes:
    """The causes that ``run explain --json`` prints."""
    document = command_line.json("run", "explain", run_id)
    assert document["run_id"] == run_id
    assert document["status"] == command_line.status(run_id)["status"]
    causes: Causes = document["causes"]
    assert all(set(cause) >= SHAPE for cause in causes)
    assert causes, "every run has a cause"
    return causes


def await_cause(
    command_line: CommandLine, run_id: str, kind: str, is_it: Callable[[Any], bool] = lambda _cause: True
) -> Causes:
    """The causes as soon as the first of them is of this kind (and is it)."""
    found: Causes = []

    def is_first(causes: Causes) -> bool:
        found[:] = causes
        return causes[0]["kind"] == kind and is_it(causes[0])

    def is_told() -> bool:
        return is_first(explained_here(command_line, run_id)) and is_first(explained(command_line, run_id))

    try:
        wait_until(is_told, PATIENCE_S)
    except TimeoutError:
        raise AssertionError(f"{kind} is not the first of {found}") from None
    return found


def explained_here(command_line: CommandLine, run_id: str) -> Causes:
    """The same, without the cost of a process."""
    now = utc_text(datetime.now(UTC))

    def load(store: sqlite3.Connection) -> Causes:
        situation = load_situation(store, Root(command_line.root), RunId(run_id), now, words_of)
        frontier = get_run_frontier(trio.run(with_sights, situation))
        return [cause.as_json() for cause in frontier.causes]

    return command_line.read(load)
