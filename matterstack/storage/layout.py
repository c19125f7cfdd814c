"""Where things lie below a root."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.errors import NotFoundError, StoreError, UsageError
from matterstack.core.ids import RUN_ID_PATTERN, SLUG_PATTERN, RunId, TaskId
from matterstack.storage.modes import PRIVATE, ROOT_CONFIG

ROOT_VARIABLE: Final = "MATTERSTACK_ROOT"


@attrs.frozen
class Root:
    """A folder that holds workspaces and one store."""

    path: Path

    @cached_property
    def workspaces(self) -> Path:
        """Folder of all workspaces of the root."""
        return self.path / "workspaces"

    @property
    def config_file(self) -> Path:
        """What holds for all its runs, and who may use it; may be missing."""
        return self.path / ROOT_CONFIG

    @cached_property
    def private(self) -> Path:
        """Folder of the store and its locks."""
        return self.path / PRIVATE

    @cached_property
    def database(self) -> Path:
        """Path of the store's database file."""
        return self.private / "state.db"

    @cached_property
    def locks(self) -> Path:
        """Folder of the root's lock files."""
        return self.private / "locks"

    @property
    def secrets(self) -> Path:
        """Folder of values that jobs get and nobody else: a file each, by its name."""
        return self.private / "secrets"

    @property
    def monitors(self) -> Path:
        """Folder of what lets the root's owner make links to monitors: a file for each that listens."""
        return self.private / "monitors"

    @property
    def engine_log(self) -> Path:
        """Where engines write tracebacks that no user should have to read."""
        return self.private / "engine.log"

    @property
    def monitor_log(self) -> Path:
        """Path of the log of the root's monitors."""
        return self.private / "monitor.log"

    def workspace(self, slug: str) -> Workspace:
        """The workspace of this name.

        Raises:
            UsageError: the name is no plain name.
            NotFoundError: there is no such folder.
            StoreError: it may not be looked for.
        """
        if not SLUG_PATTERN.fullmatch(slug):
            raise UsageError(f"{slug!r} is no workspace name")
        path = self.workspaces / slug
        if not is_folder(path):
            have = ", ".join(self.slugs()) or "none"
            raise NotFoundError(f"no workspace {slug!r} in {self.workspaces} (there are: {have})")
        return Workspace(path)

    def slugs(self) -> list[str]:
        """Names of all workspaces, sorted."""
        try:
            return sorted(p.name for p in self.workspaces.iterdir() if (p / "campaign.py").is_file())
        except OSError:
            return []

    def run_folder(self, slug: str, run_id: RunId) -> RunFolder:
        """Folder of one run of a workspace."""
        return RunFolder(self.workspaces / slug / "runs" / run_id)


@attrs.frozen
class Workspace:
    """What a scientist wrote: ``campaign.py``, ``config.json`` and scripts."""

    path: Path

    @property
    def campaign_file(self) -> Path:
        """The Python file with ``get_campaign``."""
        return self.path / "campaign.py"

    @property
    def config_file(self) -> Path:
        """The workspace's configuration; may be missing."""
        return self.path / "config.json"


@attrs.frozen
class RunFolder:
    """Paths of the files of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The effective configuration, frozen at init."""
        return self.path / "config.json"

    @property
    def summary_file(self) -> Path:
        """A derived snapshot for people and scripts."""
        return self.path / "run.json"

    @property
    def sources(self) -> Path:
        """Copies of the workspace's files, as they were at init."""
        return self.path / "sources"

    @property
    def versions(self) -> Path:
        """Copies of what changed of the workspace's files later, or came later, each named by its SHA-256."""
        return self.path / "versions"

    @property
    def campaign_object(self) -> Path:
        """The campaign of a run that a host program started with an object; else not there."""
        return self.path / "campaign.pickle"

    @property
    def planning_log(self) -> Path:
        """Path of what ``campaign.py`` printed."""
        return self.path / "planning.log"

    def operator(self, task_id: TaskId) -> Path:
        """Where a question to a person, a lab or an instrument lies, and the answer to it."""
        return self.path / "operators" / task_id

    def attempt(self, task_id: TaskId, n: int) -> AttemptFolder:
        """Folder of attempt ``n`` of a task."""
        return AttemptFolder(self.path / "tasks" / task_id / str(n))


@attrs.frozen
class AttemptFolder:
    """Files of one attempt; the working directory of its job."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What the job was given."""
        return self.path / "manifest.json"

    @property
    def script(self) -> Path:
        """Path of the script that the backend runs."""
        return self.path / "job.sh"

    @property
    def claim(self) -> Path:
        """Holds the id of the job that works here."""
        return self.path / "claim"

    @property
    def claimant(self) -> Path:
        """Id of the job that works here, which made the file."""
        return self.claim / "job_id"

    @property
    def stdout(self) -> Path:
        """Path of what the command printed."""
        return self.path / "stdout.log"

    @property
    def stderr(self) -> Path:
        """What the command complained about."""
        return self.path / "stderr.log"

    @property
    def exit_record(self) -> Path:
        """Written by the job script as its last act."""
        return self.path / "exit.json"

    @property
    def result(self) -> Path:
        """Data that the command hands to ``analyze``, if it wrote any."""
        return self.path / "result.json"


def split_at_run(path: Path) -> tuple[Path, str]:
    """Split a path into the run's folder, whose place is trusted, and the way from there, which is not.

    A path that lies in no run is trusted whole.

    >>> split_at_run(Path("/r/workspaces/w/runs/20260102T030405-abcdef/tasks/a/1"))
    (PosixPath('/r/workspaces/w/runs/20260102T030405-abcdef'), 'tasks/a/1')
    """
    for depth, (parent, name) in enumerate(pairwise(path.parts), start=2):
        if parent == "runs" and RUN_ID_PATTERN.fullmatch(name):
            return Path(*path.parts[:depth]), "/".join(path.parts[depth:])
    return path, ""


def operator_folder(attempt: Path) -> Path:
    """Where the question of an operator's attempt, whose own folder this is, lies.

    >>> operator_folder(Path("/runs/r/tasks/a/2"))
    PosixPath('/runs/r/operators/a')
    """
    return attempt.parents[2] / "operators" / attempt.parent.name


def find_root(option: str | None, environment: str | None, start: Path) -> Root:
    """Find the root: the option, else the environment, else the nearest ancestor with ``workspaces/``.

    Raises:
        NotFoundError: there is none.
        StoreError: it cannot be looked for, since a folder may not be read.
    """
    for source, given in (("--root", option), (ROOT_VARIABLE, environment)):
        if given:
            path = Path(given)
            if not is_folder(path / "workspaces"):
                raise NotFoundError(
                    f"{source} {given}: no folder with workspaces/ in it",
                    hint=f"make one with: matterstack init {given}",
                )
            return Root(path.resolve())
    for folder in (start, *start.parents):
        if is_folder(folder / "workspaces"):
            return Root(folder.resolve())
    raise NotFoundError(
        f"no workspaces/ folder in {start} or above",
        hint="go to your root, give --root DIR, or make a new one with: matterstack init DIR",
    )


def is_folder(path: Path) -> bool:
    """Whether a folder is there.

    Raises:
        StoreError: that cannot be found out.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}", hint="it must be readable for you") from error


def require_run_id(text: str) -> RunId:
    """Check what a person typed.

    Raises:
        UsageError: it has not the form of a run id.
    """
    if not RUN_ID_PATTERN.fullmatch(text):
        raise UsageError(
            f"{text!r} is no run id (they look like 20260102T030405-abcdef)",
            hint="list them with: matterstack run list",
        )
    return RunId(text)
