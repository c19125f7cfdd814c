"""What an engine says of its backends, and of its commits, to whoever asks.

See `matterstack.storage.backend_reports` and `matterstack.storage.commit_reports`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, ParamSpec

import attrs
import trio

from matterstack.actors.runtime import Runtime
from matterstack.backends.base import Health
from matterstack.storage.backend_reports import (
    BackendReport,
    clean_reports,
    remove_report,
    write_report,
)
from matterstack.storage.commit_reports import CommitReport, clean_commits, remove_commits, write_commits
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import free_of_secrets

_P = ParamSpec("_P")
logger: Final = logging.getLogger(__name__)

STATISTICS_S: Final = 10.0
"""How old the statistics in a report may become at most, while commands are run."""
REMOVAL_S: Final = 2.0


@attrs.define
class _Files:
    """Writes what nothing depends on: that it cannot be written is said once."""

    of: str
    runtime: Runtime
    _could_write: bool = True

    async def do(self, write: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            await self.runtime.files(write, *args, **kwargs)
        except OSError as error:
            if self._could_write:
                logger.warning("%s: no report: %s", self.of, error.strerror or error)
            self._could_write = False
        else:
            self._could_write = True


@attrs.define
class Reporter:
    """Writes the report of one backend: at once when its state has changed, and its statistics now and then.

    It outlives the backend's actor, so that an outage is not forgotten in a crash.

    Attributes:
        statistics_s: how old the statistics may become, while commands are run.
    """

    root: Root
    runtime: Runtime
    report: BackendReport
    statistics_s: float = STATISTICS_S
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _stirred: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self) -> None:
        """Write until cancelled; then there is no report any more."""
        files = _Files(f"backend {self.report.backend}", self.runtime)
        await files.do(clean_reports, self.root)
        try:
            while True:
                self._changed, self._stirred = trio.Event(), trio.Event()
                now = attrs.evolve(self.report, written_at=self.runtime.now())
                await files.do(write_report, self.root, now)
                await self._wait()
        finally:
            with trio.move_on_after(REMOVAL_S, shield=True):
                await files.do(remove_report, self.root, self.report)

    async def _wait(self) -> None:
        with trio.move_on_after(self.runtime.heartbeat_s):
            await self._stirred.wait()
            with trio.move_on_after(self.statistics_s):
                await self._changed.wait()

    # ---- what is told ----

    def answered(self) -> None:
        """Note that the backend has answered."""
        self._note(attrs.evolve(self.report, out_since=None, problem=""))

    def failed(self, problem: str) -> None:
        """Note that the backend has not answered, and why."""
        since = self.report.out_since or self.runtime.now()
        self._note(attrs.evolve(self.report, out_since=since, problem=free_of_secrets(problem)))

    def limited(self, limit: str) -> None:
        """It takes no more jobs for now, because of this; empty: it does."""
        since = (self.report.limited_since or self.runtime.now()) if limit else None
        self._note(attrs.evolve(self.report, limited_since=since, limit=free_of_secrets(limit)))

    def health(self, health: Health) -> None:
        """What it knows of itself."""
        problem = free_of_secrets(health.accounting_problem)
        since = (self.report.accounting_out_since or self.runtime.now()) if problem else None
        self._note(attrs.evolve(self.report, accounting_out_since=since, accounting_problem=problem))
        if health.statistics != self.report.statistics:
            self.report = attrs.evolve(self.report, statistics=health.statistics)
            self._stirred.set()

    def _note(self, report: BackendReport) -> None:
        if report != self.report:
            self.report = report
            self._stirred.set()
            self._changed.set()


@attrs.define
class CommitReporter:
    """Writes the report of an engine's commits: at the first one, and then now and then."""

    root: Root
    runtime: Runtime
    report: CommitReport
    _committed: trio.Event = attrs.field(factory=trio.Event)

    def note(self, took_s: float) -> None:
        """Note how long a commit took (s)."""
        self.report = self.report.after(took_s)
        self._committed.set()

    async def serve(self) -> None:
        """Write until cancelled; then there is no report any more."""
        files = _Files("the journal", self.runtime)
        await self._committed.wait()  # an engine that only looks has nothing to tell
        await files.do(clean_commits, self.root)
        try:
            while True:
                self._committed = trio.Event()
                now = attrs.evolve(self.report, written_at=self.runtime.now())
                await files.do(write_commits, self.root, now)
                await trio.sleep(max(STATISTICS_S, self.runtime.report_pause_s))
                with trio.move_on_after(self.runtime.heartbeat_s):
                    await self._committed.wait()
        finally:
            with trio.move_on_after(REMOVAL_S, shield=True):
                await files.do(remove_commits, self.root, self.report)
