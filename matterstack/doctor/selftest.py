"""Run a small campaign that comes with MatterStack, in a root of its own, and check what is left of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import trio

import matterstack
from matterstack.core.ids import RunId
from matterstack.core.run.history_rules import Problem
from matterstack.core.run.messages import Cancel
from matterstack.core.states import ENDED_RUNS, RunStatus
from matterstack.engine import Engine, Runtime, open_engine
from matterstack.storage.check import check_store
from matterstack.storage.layout import Root
from matterstack.storage.modes import make_folders
from matterstack.storage.read.reader import open_reader
from matterstack.storage.read.runs import RunSummary, campaign_state, require_run
from matterstack.usecases.commands import send_command
from matterstack.usecases.runs import create_run

CAMPAIGN: Final = "quickstart"
PARAMS: Final = {"points": 4, "tolerance_angstrom": 1.5}
"""Two rounds of four tasks."""
CANCEL_S: Final = 60.0


@attrs.frozen(kw_only=True)
class Report:
    """What the self-test saw of its run.

    Attributes:
        result: what the campaign found.
        problems: what `check` says of the store and the files.
        root: where all of it is kept; None when it went well, and is gone.
    """

    summary: RunSummary
    result: Mapping[str, Any]
    problems: list[Problem]
    took_s: float
    root: Path | None

    @property
    def ok(self) -> bool:
        """Whether the run COMPLETED, and everything fits."""
        return self.summary.status is RunStatus.COMPLETED and not self.problems


@attrs.define
class SelfTest:
    """One test.  `stop` may be called from another task.

    Attributes:
        backend: its name in ``config``.
        config: its part of a ``config.json``.
        below: the folder that the root of the test is made in; nodes of a cluster must see it.
        timeout_s: when this is over, the run is cancelled.
    """

    backend: str
    config: Mapping[str, Any]
    below: Path
    timeout_s: float
    _engine: Engine | None = None

    def stop(self) -> None:
        """Give up: the run is cancelled."""
        if self._engine is not None:
            self._engine.stop()

    async def run(self, root: Root) -> Report:
        """Run the campaign of a root that `make_root` made, and check what it leaves.

        Raises:
            StoreError: the root cannot be used.
        """
        began = trio.current_time()
        runtime = Runtime()
        run_id = await runtime.files(create_run, root, CAMPAIGN, {}, runtime)
        with trio.move_on_after(self.timeout_s):
            async with open_engine(root) as engine:
                self._engine = engine
                await engine.serve([run_id], until_done=True)
        await _end(root, run_id, runtime)
        problems = await trio.to_thread.run_sync(check_store, root)
        async with open_reader(root) as reader:
            summary = await reader.read(require_run, run_id)
            result = await reader.read(campaign_state, run_id)
        report = Report(
            summary=summary,
            result=result,
            problems=problems,
            took_s=trio.current_time() - began,
            root=root.path,
        )
        if not report.ok:
            return report
        await trio.to_thread.run_sync(shutil.rmtree, root.path)
        return attrs.evolve(report, root=None)

    def make_root(self) -> Root:
        """A new root with the campaign.  Blocking."""
        make_folders(self.below)
        folder = Path(tempfile.mkdtemp(prefix="self-test-", dir=self.below)).resolve()
        workspace = folder / "workspaces" / CAMPAIGN
        shutil.copytree(Path(matterstack.__file__).parent / "templates" / CAMPAIGN, workspace)
        config = {
            "default_backend": self.backend,
            "params": PARAMS,
            "backends": {self.backend: {**self.config, "poll_interval_s": 1.0}},
        }
        (workspace / "config.json").write_text(json.dumps(config))
        return Root(folder)


async def _end(root: Root, run_id: RunId, runtime: Runtime) -> None:
    """Leave no job behind of a run that did not come to its end."""
    async with open_reader(root) as reader:
        summary = await reader.read(require_run, run_id)
    if summary.status not in ENDED_RUNS:
        cancel = Cancel(by="self-test", reason="it was stopped, or took too long")
        with trio.move_on_after(CANCEL_S):
            await send_command(root, run_id, cancel, runtime)
