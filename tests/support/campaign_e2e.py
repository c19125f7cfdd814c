"""The whole life of a campaign under the installed command, with an engine that dies in the middle of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from tests.support.command import CommandLine
from tests.support.polling import wait_until

WHOLE_RUN_S: Final = 150.0
"""How long all of it may take; nothing depends on it but the end of a test that has failed."""


@attrs.frozen
class Life:
    """A run from its init to its evidence."""

    command_line: CommandLine
    slug: str
    run_id: str

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.command_line.run_folder(self.slug, self.run_id)

    def tasks(self) -> dict[str, Any]:
        """What ``run tasks --json`` says, by task id."""
        return self.command_line.tasks(self.run_id)

    def succeeded(self, task_id: str) -> bool:
        """Whether a task has."""
        task = self.tasks().get(task_id)
        return task is not None and task["status"] == "SUCCEEDED"

    def waiting(self) -> list[str]:
        """Tasks that are asked now, and that nobody has answered yet: their folder holds a question."""
        places = sorted(self.folder.glob("operators/*/request.json"))
        return [p.parent.name for p in places if not (p.parent / "response.json").exists()]


def begun(command_line: CommandLine, slug: str, settings: Sequence[str]) -> Life:
    """A new run of a workspace."""
    return Life(command_line, slug, command_line.new_run(slug, *settings))


def lived(life: Life, middle: Callable[[], bool], in_the_gap: Callable[[], None] | None = None) -> None:
    """Run an engine until ``middle``, end it with SIGKILL, and let another one bring the run to its end.

    What follows from any campaign is checked here: it is completed, nothing was asked or submitted twice, and
    its evidence is whole.

    Args:
        in_the_gap: what happens while there is no engine.
    """
    first = life.command_line.start("run", "loop", life.run_id, "--until-done")
    wait_until(lambda: _reached(life, middle), WHOLE_RUN_S, "the middle of the run")
    assert life.command_line.status(life.run_id)["status"] == "RUNNING"
    before = life.tasks()
    first.kill()
    if in_the_gap is not None:
        in_the_gap()
    second = life.command_line.start("run", "loop", life.run_id, "--until-done")
    done = second.wait(WHOLE_RUN_S)
    assert done.exit_code == 0, done.stdout + done.stderr
    status = life.command_line.status(life.run_id)
    assert (status["status"], status["iteration"] > 1) == ("COMPLETED", True)
    _nothing_twice(life, before)
    exported = life.command_line.json("run", "export-evidence", life.run_id)
    assert exported["is_complete"] is True
    assert life.command_line.json("evidence", "verify", exported["path"])["ok"] is True


def _reached(life: Life, middle: Callable[[], bool]) -> bool:
    status = life.command_line.status(life.run_id)
    assert status["status"] in {"PENDING", "RUNNING"}, status
    return middle()


def _nothing_twice(life: Life, before: dict[str, Any]) -> None:
    """Attempts that the first engine has started go on under the second with their token and their job."""
    after = life.tasks()
    for task_id, task in before.items():
        for attempt, later in zip(task["attempts"], after[task_id]["attempts"], strict=False):
            assert later["token"] == attempt["token"]
            if attempt["job_id"] is not None:
                assert later["job_id"] == attempt["job_id"]
    accepted = [
        event["data"]["token"]
        for event in life.command_line.events(life.run_id)
        if event["type"] == "JobAccepted"
    ]
    assert len(accepted) == len(set(accepted))
