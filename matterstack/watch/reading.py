"""Documents of the monitor, read when they are looked at and may have changed, and never too often."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs
import trio

from matterstack.core.errors import MatterStackError, MonitorError
from matterstack.watch.known import Json, Known, run_path
from matterstack.watch.view import Screen, View, opened_run, wanted_documents

INTERVAL_S: Final = 1.0
"""Between two readings of the same document."""
SHARE: Final = 4
"""One that takes long is read less often: a fourth of the time at most goes into it."""
EXPLAIN_AGE_S: Final = 30.0
"""Why a run stands still depends on the time as well as on what happens."""
LOG_AGE_S: Final = 1.0
MOST_RUNS_AT_ONCE: Final = 200


class Shelf(Protocol):
    """Where documents of a monitor are read from: `matterstack.client.Site`."""

    async def document(self, path: str) -> Any:  # noqa: ANN401  JSON
        """Read one document of the monitor."""


async def known_at_first(shelf: Shelf, run_id: str | None) -> Known:
    """All runs as they are now, the one that was asked for among them.

    Raises:
        MonitorError: the monitor does not answer, or does not let this client in.
        NotFoundError: there is no such run.
    """
    known = Known.of(await shelf.document("/api/runs"))
    if run_id is not None and run_id not in known.runs:
        # It says that there is none, unless it was made in this moment.
        view = await shelf.document(run_path(run_id))
        known.take_runs({"seq": view["seq"], "jobs": known.jobs, "runs": [view["run"]]})
    return known


@attrs.define(eq=False)
class Documents:
    """Keeps what is looked at up to date.

    Attributes:
        site: where they are.
        known: where they go.
        view: what is looked at, at this moment.
        tell: called when something has come.
    """

    site: Shelf
    known: Known
    view: Callable[[], View]
    tell: Callable[[], None]
    _asked: trio.Event = attrs.field(factory=trio.Event)
    _read_at: dict[str, float] = attrs.field(factory=dict)
    _not_before: dict[str, float] = attrs.field(factory=dict)

    def ask_again(self) -> None:
        """Something else may be looked at, or something has happened."""
        self._asked.set()

    async def read(self) -> None:
        """Read what is looked at until cancelled.

        Raises:
            MonitorError: the monitor does not let this client in any more.
        """
        while True:
            self._asked = trio.Event()
            due = await self._read_what_is_due()
            with trio.move_on_at(due):
                await self._asked.wait()

    async def _read_what_is_due(self) -> float:
        """Returns when the next one is."""
        await trio.lowlevel.checkpoint()
        view, known = self.view(), self.known
        known.follow(opened_run(view))
        wanted = wanted_documents(view, known)
        opened = known.open
        kept = [*wanted, *([] if opened is None else [run_path(opened.run_id)])]
        known.keep_documents(kept)
        self._not_before = {p: at for p, at in self._not_before.items() if p in {*kept, "/api/runs"}}
        due = [await self._refresh_runs()]
        if opened is not None and opened.tasks is None:
            due.append(await self._open_run(opened.run_id))
        due += [await self._refresh(path, view) for path in wanted]
        return min(due)

    async def _refresh_runs(self) -> float:
        if not self.known.changed:
            return math.inf
        path = "/api/runs"
        if trio.current_time() < (at := self._not_before.get(path, -math.inf)):
            return at
        named = sorted(self.known.changed)[:MOST_RUNS_AT_ONCE]
        self.known.changed.difference_update(named)
        document = await self._ask(path, f"?runs={','.join(named)}")
        if document is None or "error" in document:
            self.known.changed.update(named)
        else:
            self.known.take_runs(document)
        return self._not_before[path] if self.known.changed else math.inf

    async def _open_run(self, run_id: str) -> float:
        path = run_path(run_id)
        if trio.current_time() < (at := self._not_before.get(path, -math.inf)):
            return at
        view = await self._ask(path)
        past = await self._ask(run_path(run_id, "events")) if view is not None else None
        opened = self.known.open
        if opened is None or opened.run_id != run_id:
            return -math.inf
        if view is None or past is None:
            return self._not_before[path]
        if "error" in view:
            self.known.take_document(path, view)
            return math.inf
        self.known.take_runs({"seq": view["seq"], "jobs": self.known.jobs, "runs": [view["run"]]})
        opened.take(view, past.get("events", []))
        return -math.inf  # what is wanted may depend on it

    async def _refresh(self, path: str, view: View) -> float:
        known, now = self.known, trio.current_time()
        if path in known.documents and path not in known.stale:
            stale_at = self._read_at[path] + self._most_age_s(path, view)
            if now < stale_at:
                return stale_at
        if now < (at := self._not_before.get(path, -math.inf)):
            return at
        known.wait_for(path)
        known.take_document(path, await self._ask(path))
        if path in known.stale:
            return self._not_before[path]
        return self._read_at[path] + self._most_age_s(path, view)

    def _most_age_s(self, path: str, view: View) -> float:
        if path.endswith("/explain"):
            return EXPLAIN_AGE_S
        task = self.known.task(view.run_id, view.task_id)
        is_log = view.screen in {Screen.TASK, Screen.LOG} and "/log?" in path
        return LOG_AGE_S if is_log and task is not None and not task.has_ended else math.inf

    async def _ask(self, path: str, query: str = "") -> Json | None:
        """A document, or what was said instead of it; None when nobody answered (the connection tells)."""
        began = trio.current_time()
        document: Json | None
        try:
            document = await self.site.document(path + query)
        except MonitorError as error:
            if error.is_final:
                raise
            document = None
        except MatterStackError as error:
            document = {"error": str(error)}
        now = trio.current_time()
        self._read_at[path] = now
        self._not_before[path] = now + max(INTERVAL_S, SHARE * (now - began))
        self.tell()
        return document
