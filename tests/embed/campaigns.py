"""Campaigns of host programs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from matterstack import Campaign, Results, Task, Workflow


class Rounds(Campaign):
    """Runs one line of shell in each round."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:  # noqa: ARG002
        done = len(results)
        if done == len(self.lines):
            return None
        return Workflow([Task(id_of(done), command=["bash", "-c", self.lines[done]])])

    def analyze(self, state: dict[str, Any], results: Results) -> dict[str, Any]:  # noqa: ARG002
        return {"done": len(results)}


class WithAFile(Rounds):
    """Gives each of its tasks a file of the workspace, which the first one changes."""

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:
        workflow = super().plan(state, results)
        if workflow is None:
            return None
        files = {"in.dat": "in.dat"}
        return Workflow([Task(task.id, command=task.command, files=files) for task in workflow.tasks])


def id_of(number: int) -> Any:
    return f"round-{number}"


class Fragile(Rounds):
    """Cannot plan."""

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:  # noqa: ARG002
        raise ZeroDivisionError(f"it has {len(self.lines)} lines")


class WithALock(Rounds):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__([])
        self.guard = threading.Lock()


class _Gone:
    def __reduce__(self) -> Any:
        return (_vanish, ())


def _vanish() -> None:
    raise ModuleNotFoundError("No module named 'physics'")


class WithWhatIsGone(Rounds):
    """Can be pickled, and not loaded again."""

    def __init__(self) -> None:
        super().__init__([])
        self.physics = _Gone()
