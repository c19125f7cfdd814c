"""Small workspaces whose tasks tell what they do, in files outside of their own folders."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import attrs

ONE_ROUND: Final = """\
import json
from pathlib import Path
from matterstack import Resources, Task, Workflow

TASKS = json.loads((Path(__file__).parent / "tasks.json").read_text())

class OneRound:
    def plan(self, state, results):
        if state:
            return None
        return Workflow([
            Task(**{**task, "resources": Resources(**task.get("resources", {}))}) for task in TASKS
        ])

    def analyze(self, state, results):
        return {"ended": {task["id"]: results[task["id"]].status for task in TASKS}}

def get_campaign():
    return OneRound()
"""


def write_workspace(
    root: Path,
    slug: str,
    campaign: str | bytes | None,
    *,
    config: Mapping[str, Any] | str | bytes | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write ``workspaces/<slug>``; returns its folder.  What is None is not written."""
    folder = root / "workspaces" / slug
    folder.mkdir(parents=True, exist_ok=True)
    if campaign is not None:
        _write(folder / "campaign.py", dedent(campaign) if isinstance(campaign, str) else campaign)
    if config is not None:
        text = config if isinstance(config, str | bytes) else json.dumps(config)
        _write(folder / "config.json", text)
    for name, text in (files or {}).items():
        _write(folder / name, text)
    return folder


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_tasks(
    root: Path, slug: str, tasks: Iterable[Mapping[str, Any]], *, max_jobs: int = 2, cap: int = 10
) -> Path:
    """Write a workspace whose campaign plans these tasks once, and is done when all have succeeded.

    The file ``tasks.json`` in it may be changed at any time before it is planned.
    """
    return write_workspace(
        root,
        slug,
        ONE_ROUND,
        config={
            "max_hpc_jobs_per_run": cap,
            "backends": {"local": {"type": "local", "max_jobs": max_jobs}},
        },
        files={"tasks.json": json.dumps(list(tasks))},
    )


@attrs.frozen
class Diary:
    """Files outside of all runs, in which tasks note what they did, and at which they wait."""

    folder: Path

    def task(self, task_id: str, then: str = "", **fields: Any) -> dict[str, Any]:
        """A task that notes its start, runs a line of shell, and notes its end if that went well."""
        begin, end = (f"echo {word} {task_id} >> {self.folder}/notes" for word in ("start", "end"))
        line = f"{begin}; {{ {then or ':'} ; }} && {end}"
        return {"id": task_id, "command": ["bash", "-c", line], **fields}

    def gate(self, name: str = "gate") -> str:
        """A line of shell that waits until `open` is called."""
        return f"until [ -e {self.folder}/{name} ]; do sleep 0.05; done"

    def crowd(self, count: int) -> str:
        """A line of shell that waits until so many tasks have started."""
        return f"until [ $(grep -c ^start {self.folder}/notes) -ge {count} ]; do sleep 0.02; done"

    def open(self, name: str = "gate") -> None:
        """Let all that wait at a gate go on."""
        (self.folder / name).touch()

    @property
    def notes(self) -> list[str]:
        """All notes: ``start TASK`` and ``end TASK``, in the order in which they were made."""
        try:
            return (self.folder / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []

    def started(self) -> list[str]:
        """Tasks in the order of their starts; a task that ran twice is in it twice."""
        return [note.removeprefix("start ") for note in self.notes if note.startswith("start ")]

    def ended(self) -> list[str]:
        """Tasks in the order of their ends."""
        return [note.removeprefix("end ") for note in self.notes if note.startswith("end ")]

    def most_at_once(self) -> int:
        """The largest number of tasks that had started and not ended."""
        now = most = 0
        for note in self.notes:
            now += 1 if note.startswith("start ") else -1
            most = max(most, now)
        return most
